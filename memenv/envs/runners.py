"""What runs a task's episodes under the Gymnasium shells: on arrays by NumPy; the other is in `compiled_runner.py`."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from memenv.arrays import put
from memenv.envs.task import Observation, Streams, Task

PER_CELL = ("start", "target")  # reset options with one number (or map of an array) for all or one for each


class Runner(Protocol):
    """Episodes in a batch of cells (or arrays), and the noise that feeds them; arrays handed out are the caller's."""

    episode: Any  # None before the first reset

    @property
    def seeded(self) -> bool:
        """Whether `seed` was called."""

    def seed(self, rng: np.random.Generator) -> None:
        """Draw all that follows from `rng`."""

    def reset(self, options: dict[str, Any]) -> None:
        """New episodes everywhere."""

    def reset_rows(self, rows: np.ndarray, options: dict[str, Any]) -> None:
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
    """Runs a task by its methods; each source of noise has a generator of its own."""

    def __init__(self, task: Task, cells: int) -> None:
        self.task, self.cells = task, cells
        self.streams: Streams | None = None
        self.episode: Any = None

    def seed(self, rng: np.random.Generator) -> None:
        """Draw all that follows from generators spawned from `rng`."""
        self.streams = Streams(rng)

    @property
    def seeded(self) -> bool:
        """Whether `seed` was called."""
        return self.streams is not None

    def fresh(self, cells: int, options: dict[str, Any]) -> Any:
        """New episodes for `cells` cells (or arrays)."""
        assert self.streams is not None
        chip_rng = np.random.default_rng(options["chip_seed"]) if "chip_seed" in options else self.streams.chip
        chip = self.task.fabricate(chip_rng, cells)
        return self.task.initial(chip, self.streams.draw(self.task.initial_draws, cells), options)

    def reset(self, options: dict[str, Any]) -> None:
        """New episodes everywhere."""
        self.episode = self.fresh(self.cells, options)

    def reset_rows(self, rows: np.ndarray, options: dict[str, Any]) -> None:
        """New episodes for the cells with the indices `rows`."""
        self.episode = put(self.episode, rows, self.fresh(len(rows), of_rows(options, rows)))

    def step(self, action: np.ndarray) -> None:
        """One step of all cells."""
        assert self.streams is not None
        self.episode = self.task.transition(self.episode, action, self.streams.draw(self.task.step_draws, self.cells))

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
    """Reset options of some of the cells."""
    return {name: value[rows] if name in PER_CELL else value for name, value in options.items()}


def parts(function: Callable[[np.ndarray], np.ndarray], observation: Observation) -> Observation:
    """The function of an observation's array, or of each of its arrays."""
    if isinstance(observation, dict):
        return {name: function(part) for name, part in observation.items()}
    return function(observation)
