"""Runners of a task's episodes under the Gymnasium shells: on arrays by NumPy; the others are in files of their own."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from memenv.arrays import numbers, tree_map
from memenv.envs.episodes_ahead import EpisodesAhead
from memenv.envs.noise import CellNoise, Episodes, Sheet
from memenv.envs.noise_ahead import NoiseAhead
from memenv.envs.task import Observation, OwnDraw, Task

PER_CELL = ("start", "target")  # reset options with one number (or map of an array) for all or one for each
OPTIONS = ("chip_seed", *PER_CELL)
ROOM = 2**26  # bytes of episodes to come ...
MOST_AHEAD = 4  # ... and how many of an environment


class Look(NamedTuple):
    """All that a shell hands out of episodes as they are now; arrays (cells, ...), the caller's, numbers float32."""

    observation: Observation
    reward: np.ndarray  # of the last step, 0 before the first
    terminated: np.ndarray  # bool
    info: dict[str, np.ndarray]  # the task's, and the terms that the reward is the sum of


class Runner(Protocol):
    """Episodes in a batch of cells (or arrays), and the noise that feeds them."""

    @property
    def episode(self) -> Any:
        """The episodes; None before the first reset."""

    def reset(self, episodes: Episodes, options: dict[str, Any], rows: np.ndarray | None = None) -> None:
        """New episodes everywhere, or for the cells with the indices `rows` after a reset of all.

        `options` are arrays (cells, ...) of all cells.
        """

    def step(self, action: np.ndarray) -> None:
        """One step of all cells."""

    def look(self) -> Look:
        """The present view of the episodes."""


class NumpyRunner:
    """Runs a task by its methods."""

    def __init__(self, task: Task, cells: int) -> None:
        self.task, self.cells = task, cells
        self.noise = NoiseAhead(task, cells)
        self.episode: Any = None
        self.own: list[Any] = []  # weak references to the arrays that `_put` has made, in order
        self.ahead: EpisodesAhead | None = None  # of tasks that draw by counter themselves, for whom starts are dear

    def fresh(self, episodes: Episodes, options: dict[str, Any], rows: np.ndarray | None) -> tuple[Sheet, Any]:
        """The noise of new episodes, and the episodes."""
        if self.ahead and rows is not None and episodes.number.all() and not options:
            noise, fresh = self.ahead.take(rows, episodes)
            return Sheet(noise), fresh
        started, given = self.noise.start(episodes), of_rows(options, rows)
        return started, self.noise.fresh(started, given.get("chip_seed"), given)

    def reset(self, episodes: Episodes, options: dict[str, Any], rows: np.ndarray | None = None) -> None:
        """New episodes everywhere, or for some cells."""
        started, fresh = self.fresh(episodes, options, rows)
        self.episode = fresh if rows is None else self._put(rows, fresh)
        self.noise.begin(started, rows)
        if rows is None and self.ahead is None and isinstance(self.task.initial_draws[0], OwnDraw):
            count = min(ROOM // sum(part.nbytes for part in numbers(fresh).values()), MOST_AHEAD)
            self.ahead = EpisodesAhead(self.cells, count, self._started) if count > 1 else None

    def _put(self, rows: np.ndarray, fresh: Any) -> Any:
        """The episodes with others in these rows; what no step has replaced since the last time is not copied again."""
        before, self.own = iter(self.own), []

        def replaced(old: Any, new: Any) -> Any:
            if not getattr(old, "ndim", 0):
                return old
            known = next(before, None)
            out = old if known is not None and known() is old else old.copy()
            out[rows] = new
            self.own.append(weakref.ref(out))
            return out

        return tree_map(replaced, self.episode, fresh)

    def __getstate__(self) -> dict[str, Any]:
        """All but what refers to arrays, for copies and pickles."""
        return self.__dict__ | {"own": []}

    def _started(self, episodes: Episodes) -> tuple[CellNoise, Any]:
        """The noise of episodes on new chips, and the episodes."""
        started = self.noise.start(episodes)
        return started.noise, self.noise.fresh(started, None, {})

    def step(self, action: np.ndarray) -> None:
        """One step of all cells."""
        self.episode = self.task.transition(self.episode, action, self.noise.step())  # may refuse the action
        self.noise.go_on()

    def look(self) -> Look:
        """The present view of the episodes."""
        terms = dict(self.task.reward(self.episode))
        return Look(
            parts(np.copy, self.task.observe(self.episode)),
            sum(terms.values(), np.zeros(self.cells)).astype(np.float32),
            self.task.terminated(self.episode).copy(),
            {name: single(value) for name, value in (self.task.info(self.episode) | named(terms)).items()},
        )


def named(terms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Terms of a reward by their names in info."""
    return {f"reward/{name}": value for name, value in terms.items()}


def single(leaf: Any) -> Any:
    """A copy of an array, of numbers in single precision."""
    return leaf.astype(np.float32 if leaf.dtype == np.float64 else leaf.dtype, order="C")


def of_rows(options: dict[str, Any], rows: np.ndarray | None) -> dict[str, Any]:
    """Reset options, arrays (cells, ...), of all or some of the cells."""
    return options if rows is None else {name: value[rows] for name, value in options.items()}


def parts(function: Callable[[np.ndarray], np.ndarray], observation: Observation) -> Observation:
    """The function of an observation's array, or of each of its arrays."""
    if isinstance(observation, dict):
        return {name: function(part) for name, part in observation.items()}
    return function(observation)
