"""A task, as the two Gymnasium shells see it: pure batched functions and the noise they take as an argument."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces

from memenv.bounds import MOST_WEIGHT, is_number, is_row, real, shown


class TaskError(ValueError):
    """An argument, an option or an action that the task does not allow; the message says what is."""


def clipped(action: Any) -> np.ndarray:
    """Numbers of actions, clipped to -1..1 as Gymnasium's own environments do.

    Raises:
        TaskError: no numbers, or NaN among them.
    """
    given = np.asarray(action)
    if given.dtype.kind not in "fiu":
        raise TaskError(f"action is of type {given.dtype}, numbers in [-1, 1] are needed")
    inside: np.ndarray = given.clip(-1.0, 1.0)
    if math.isnan(np.minimum.reduce(inside, None)):  # of a NaN anywhere
        raise TaskError("action has a component nan, allowed is -1 to 1: keep it finite")
    return inside


def check(task: Any, name: str, good: bool, allowed: str) -> None:
    """Refuses the argument of this name of a task, unless it is `good`."""
    if not good:
        raise TaskError(f"{name} is {shown(getattr(task, name))}, allowed is {allowed}")


def weights_of(task: Any) -> dict[str, float]:
    """The weights of a task's rewards, by name, as plain numbers, each in its range."""
    names = [name for name in task.__dataclass_fields__ if name.startswith("weight_")]
    return {name: real(name, getattr(task, name), 0, MOST_WEIGHT, TaskError) for name in names}


def check_target_range(value: Any) -> None:
    """Refuses what is no range of targets.

    Raises:
        TaskError: not two numbers 0 <= low < high <= 1.
    """
    if not is_row(value, 2) or not all(map(is_number, value)) or not 0 <= value[0] < value[1] <= 1:
        raise TaskError(f"target_range is {shown(value)}, allowed is 0 <= low < high <= 1")


@dataclass(frozen=True)
class NormalDraw:
    """Standard normals (*shape, envs, *layout): of each cell as many channels as `shape` says, if it says any."""

    shape: tuple[int, ...]
    layout: tuple[int, ...] = ()  # of what one environment takes, such as (rows, cols) of an array


@dataclass(frozen=True)
class UniformDraw:
    """Uniforms in [0, 1) of shape (*shape, envs, *layout), as `NormalDraw`."""

    shape: tuple[int, ...]
    layout: tuple[int, ...] = ()  # of what one environment takes, such as (rows, cols) of an array


@dataclass(frozen=True)
class OwnDraw:
    """The noise itself, a `CellNoise` with a key for each environment, of a task that draws from it by counter."""

    shape: tuple[int, ...] = ()
    layout: tuple[int, ...] = ()


Draw = NormalDraw | UniformDraw | OwnDraw
Observation = np.ndarray | dict[str, np.ndarray]


class Task(Protocol):
    """A Markov decision process, batched over cells (or arrays of them).

    Episodes are records of arrays with a leading axis (cells,), observations such arrays or dictionaries of them.
    """

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one cell."""

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one cell."""

    @property
    def initial_draws(self) -> tuple[Draw, ...]:
        """The noise of `initial`; the layout of the first is that of the reset options start and target."""

    @property
    def step_draws(self) -> tuple[Draw, ...]:
        """The noise of `transition`."""

    def check_memory(self, cells: int) -> None:
        """Raises a TaskError if so many do not fit into the memory."""

    def fabricate(self, rng: Any, cells: int) -> Any:
        """A chip, drawn from a NumPy generator or from what stands in for it (`Draws` of memenv/compiler)."""

    def initial(self, chip: Any, noise: tuple[np.ndarray, ...], options: dict[str, Any]) -> Any:
        """Fresh episodes."""

    def transition(self, episode: Any, action: np.ndarray, noise: tuple[np.ndarray, ...]) -> Any:
        """The episodes after one step."""

    def observe(self, episode: Any) -> Observation:
        """Observations (cells, ...)."""

    def reward(self, episode: Any) -> Mapping[str, np.ndarray]:
        """Named reward terms (cells,) of the last step, zero before the first."""

    def terminated(self, episode: Any) -> np.ndarray:
        """(cells,) bool."""

    def info(self, episode: Any) -> dict[str, np.ndarray]:
        """Arrays (cells, ...) that the agent does not see."""


@runtime_checkable
class ElementwiseTask(Task, Protocol):
    """A task written element-wise, up to sums over the cells of an array, without branches on values: to be compiled.

    `begin`, `advance`, `observation_parts`, `info_parts`, `reward`, `terminated` and `actions.decoded` take symbolic
    values (memenv/compiler) in place of arrays (cells,), of crossbars (arrays, rows, cols) and (arrays,). Episodes are
    named tuples.
    """

    @property
    def not_compiled(self) -> str:
        """The setting that stands against it, for a message; else empty."""

    @property
    def of_one_step(self) -> tuple[str, ...]:
        """Fields of an episode that no later step needs."""

    @property
    def actions(self) -> Any:
        """`components` makes numbers (cells, ..., channels) of actions, `decoded` sense of the arrays of channels."""

    @property
    def observations(self) -> Any:
        """`observed` makes an observation of its parts."""

    def begin(self, chip: Any, noise: Sequence[Any], options: dict[str, Any]) -> Any:
        """`initial`, without what concerns all cells at once."""

    def advance(self, episode: Any, decoded_action: Any, noise: Sequence[Any]) -> Any:
        """`transition`, of what the action means and without what concerns all cells at once."""

    @property
    def devices(self) -> Sequence[Any]:
        """Those of which cells are, drawn at random; empty where all are of one."""

    def chip_of(self, episode: Any) -> Any:
        """The chip of episodes."""

    def with_chip(self, episode: Any, chip: Any) -> Any:
        """The episodes with another chip."""

    def observation_parts(self, episode: Any) -> tuple[Any, ...] | dict[str, Any]:
        """The parts of the observation."""

    def info_parts(self, episode: Any) -> dict[str, Any]:
        """The part of info that is a number a cell (or an array)."""

    def info_of_observation(self, observation_parts: Any) -> dict[str, np.ndarray]:
        """The rest of info, which follows from the parts of the observation."""
