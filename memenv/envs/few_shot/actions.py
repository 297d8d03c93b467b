"""A chip's next step as an action: rates of its layers, threshold, share of the examples, class means, stopping."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from memenv.envs.task import clipped
from memenv.learning.backprop import cross_entropy

Float = np.ndarray  # (tasks,) float64
SPAN = 30.0  # gains lie between one over this and this
REST_BELOW = -0.95  # a layer whose component lies below gets no pulses
STOP_ABOVE = 0.5  # of the last component
MOST_THRESHOLD = 2.0  # [pulses]


class Choice(NamedTuple):
    """The settings of a learning step."""

    gain: np.ndarray  # (tasks, layers) factors of the base rates, or of the class means, 0 for no pulses
    threshold: Float  # [pulses] doses below it are not given
    share: Float  # of the examples, those with the largest errors
    means: np.ndarray  # (tasks,) bool: the head is brought to class means, and nothing else learns
    stop: np.ndarray  # (tasks,) bool: no more learning


@dataclass(frozen=True, kw_only=True)
class LearningActions:
    """Actions (tasks, layers + 4) in [-1, 1]: a zero everywhere is one step at the base rates, from all examples."""

    layers: int

    @cached_property
    def space(self) -> spaces.Box:
        """Box (layers + 4,) float32 in [-1, 1]."""
        return spaces.Box(-1.0, 1.0, (self.layers + 4,), np.float32)

    def decoded(self, action: Any) -> Choice:
        """The meaning of actions (tasks, layers + 4), clipped to -1..1.

        Raises:
            TaskError: no numbers, or NaN among them.
        """
        parts = clipped(action).astype(np.float64)
        signal, (threshold, share, means, stop) = parts[:, :-4], parts[:, -4:].T
        return Choice(
            gain=np.where(signal < REST_BELOW, 0.0, SPAN**signal),
            threshold=MOST_THRESHOLD * np.maximum(threshold, 0.0),
            share=1.0 + np.minimum(share, 0.0),
            means=means > 0,
            stop=stop > STOP_ABOVE,
        )

    def encode(
        self, gain: np.ndarray, threshold: Any = 0.0, share: Any = 1.0, stop: Any = False, means: Any = False
    ) -> np.ndarray:
        """Actions (tasks, layers + 4) float32 of gains (tasks, layers) and of what else is chosen, clipped."""
        least = SPAN ** (REST_BELOW + 0.01)
        signal = np.where(gain > 0, np.log(np.clip(gain, least, SPAN)) / np.log(SPAN), -1.0)
        rest = np.asarray(threshold) / MOST_THRESHOLD, np.asarray(share) - 1.0
        decisions = np.where(means, 1.0, -1.0), np.where(stop, 1.0, 0.0)
        columns = [np.broadcast_to(part, len(signal)) for part in (*rest, *decisions)]
        action: np.ndarray = np.clip(np.column_stack([signal, *columns]), -1.0, 1.0).astype(np.float32)
        return action


def of_the_worst(share: Float) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The cross-entropy, whose error is kept for a share (tasks,) of the examples, those with the largest ones."""

    def loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, error = cross_entropy(outputs, targets)
        place = (-np.abs(error).sum(-1)).argsort(-1, kind="stable").argsort(-1)
        kept = place < np.maximum(np.rint(share * error.shape[1]), 1)[:, None]
        return mean, error * kept[..., None]

    return loss
