"""What runs a task's episodes under the Gymnasium shells: on arrays by NumPy; the other is in `compiled_runner.py`."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from memenv.arrays import put
from memenv.envs.noise import Episodes, Sheet
from memenv.envs.noise_ahead import NoiseAhead
from memenv.envs.task import Observation, Task

PER_CELL = ("start", "target")  # reset options with one number (or map of an array) for all or one for each
OPTIONS = ("chip_seed", *PER_CELL)


class Runner(Protocol):
    """Episodes in a batch of cells (or arrays), and the noise that feeds them; arrays handed out are the caller's."""

    episode: Any  # None before the first reset

    def reset(self, episodes: Episodes, options: dict[str, Any]) -> None:
        """New episodes everywhere."""

    def reset_rows(self, rows: np.ndarray, episodes: Episodes, options: dict[str, Any]) -> None:
        """New episodes for the cells with the indices `rows`."""

    def step(self, action: np.ndarray) -> None:
        """One step of all cells."""

    def observation(self) -> Observation:
        """Observations (cells, ...)."""

    def reward(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Reward (cells,) of the last step and the terms that it is the sum of."""

    def terminated(self) -> np.ndarray:
        """(cells,) bool."""

    def info(self) -> dict[str, np.ndarray]:
        """The task's info, arrays (cells, ...)."""


class NumpyRunner:
    """Runs a task by its methods."""

    def __init__(self, task: Task, cells: int) -> None:
        self.task, self.cells = task, cells
        self.noise = NoiseAhead(task, cells)
        self.episode: Any = None

    def fresh(self, episodes: Episodes, options: dict[str, Any]) -> tuple[Sheet, Any]:
        """The noise of new episodes, and the episodes."""
        started = self.noise.start(episodes)
        return started, self.noise.fresh(started, options.get("chip_seed"), options)

    def reset(self, episodes: Episodes, options: dict[str, Any]) -> None:
        """New episodes everywhere."""
        started, self.episode = self.fresh(episodes, options)
        self.noise.begin(started)

    def reset_rows(self, rows: np.ndarray, episodes: Episodes, options: dict[str, Any]) -> None:
        """New episodes for the cells with the indices `rows`."""
        started, fresh = self.fresh(episodes, of_rows(options, rows))
        self.episode = put(self.episode, rows, fresh)
        self.noise.begin(started, rows)

    def step(self, action: np.ndarray) -> None:
        """One step of all cells."""
        self.episode = self.task.transition(self.episode, action, self.noise.step())

    def observation(self) -> Observation:
        """Observations (cells, ...)."""
        return parts(np.copy, self.task.observe(self.episode))

    def reward(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Reward (cells,) of the last step and the terms that it is the sum of."""
        terms = dict(self.task.reward(self.episode))
        return sum(terms.values(), np.zeros(self.cells)), terms

    def terminated(self) -> np.ndarray:
        """(cells,) bool."""
        return self.task.terminated(self.episode)

    def info(self) -> dict[str, np.ndarray]:
        """The task's info, arrays (cells, ...)."""
        return {name: value.copy() for name, value in self.task.info(self.episode).items()}


def of_rows(options: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Reset options, arrays (cells, ...), of some of the cells."""
    return {name: value[rows] for name, value in options.items()}


def parts(function: Callable[[np.ndarray], np.ndarray], observation: Observation) -> Observation:
    """The function of an observation's array, or of each of its arrays."""
    if isinstance(observation, dict):
        return {name: function(part) for name, part in observation.items()}
    return function(observation)
