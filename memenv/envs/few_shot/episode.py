"""An episode of few-shot learning: the chip, its task, what it says, and what learning has cost."""

from typing import NamedTuple

import numpy as np

from memenv.devices.protocol import CellModel
from memenv.envs.few_shot.actions import Float
from memenv.envs.few_shot.chips import Written
from memenv.learning.step import Layer

OF_LAYERS = ("gradient", "limited", "saturated")  # counters that are observed


class Chip(NamedTuple):
    """Fresh chips of tasks."""

    cells: tuple[CellModel, ...]  # of each layer
    kinds: np.ndarray | None  # (tasks,) of a mixture, which of its devices a chip is of


class Seen(NamedTuple):
    """A chip's answers to the support, and to the queries; arrays (tasks,) unless said otherwise."""

    loss: Float  # mean cross-entropy of the support
    worst: Float  # largest cross-entropy of a support example
    support: Float  # share of the support that is right
    accuracy: Float  # share of the queries that is right
    answers: np.ndarray  # (tasks, queries) int, the class that each is taken for


class Step(NamedTuple):
    """The effects of the last step; arrays (tasks,) unless said otherwise, zero before the first."""

    fall: Float  # of the support's loss
    accuracy: Float  # gained on the queries
    pulses: Float  # for each device in the mean
    energy: Float  # [J] of pulses and of reads of the support
    signal: np.ndarray  # (tasks, layers) the action's components of the gains
    means: np.ndarray  # (tasks,) bool: class means have been written
    layers: np.ndarray  # (tasks, 3, layers) OF_LAYERS


class Stream(NamedTuple):
    """The place in a stream of tasks, and what became of those before; arrays (tasks, ...)."""

    number: np.ndarray  # int, tasks before this one
    kind: np.ndarray  # as of the episode, of the task before; of the first one its own
    instance: np.ndarray
    newest: Float  # accuracy with which the task before was left, 0 in the first
    kept: Float  # accuracy on the task before that one, asked again then, 0 in the first two


class LearningEpisode(NamedTuple):
    """Everything about the tasks' current episodes."""

    written: tuple[Written, ...]  # the layers on their chips
    kind: np.ndarray  # (tasks, ways) int, which classes
    instance: np.ndarray  # (tasks, ways, shots + queries) int, which drawings of them
    seen: Seen
    steps: Float  # (tasks,) of the task
    stopped: np.ndarray  # (tasks,) bool
    pulses: Float  # (tasks,) for each device in the mean
    energy: Float  # (tasks,) [J]
    last: Step
    stream: Stream

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers' cells."""
        return tuple(one.layer for one in self.written)
