"""What a task is to the two Gymnasium shells: pure batched functions and the noise they take as an argument."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces


class NormalDraw(NamedTuple):
    """Standard normals of shape (*shape, cells, *layout) from a named stream."""

    stream: str
    shape: tuple[int, ...]
    layout: tuple[int, ...] = ()  # of what one environment takes, such as (rows, cols) of an array

    def sample(self, rng: np.random.Generator, cells: int) -> np.ndarray:
        """The numbers, from the stream `rng`."""
        return rng.standard_normal((*self.shape, cells, *self.layout))


class UniformDraw(NamedTuple):
    """Uniforms in [0, 1) of shape (*shape, cells, *layout) from a named stream."""

    stream: str
    shape: tuple[int, ...]
    layout: tuple[int, ...] = ()  # of what one environment takes, such as (rows, cols) of an array

    def sample(self, rng: np.random.Generator, cells: int) -> np.ndarray:
        """The numbers, from the stream `rng`."""
        return rng.random((*self.shape, cells, *self.layout))


Draw = NormalDraw | UniformDraw
Observation = np.ndarray | dict[str, np.ndarray]


class Streams:
    """One random generator a source of randomness, spawned from an environment's `np_random`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.chip, self.task, self.cycle, self.read = rng.spawn(4)

    def draw(self, draws: tuple[Draw, ...], cells: int) -> tuple[np.ndarray, ...]:
        """The arrays that `draws` asks for."""
        return tuple(draw.sample(getattr(self, draw.stream), cells) for draw in draws)


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

    def fabricate(self, rng: np.random.Generator, cells: int) -> Any:
        """A chip."""

    def initial(self, chip: Any, noise: tuple[np.ndarray, ...], options: dict[str, Any]) -> Any:
        """Fresh episodes."""

    def transition(self, episode: Any, action: np.ndarray, noise: tuple[np.ndarray, ...]) -> Any:
        """The episodes after one step."""

    def observe(self, episode: Any) -> Observation:
        """Observations (cells, ...)."""

    def reward(self, episode: Any) -> Mapping[str, np.ndarray]:
        """Named reward terms (cells,) of the last step."""

    def terminated(self, episode: Any) -> np.ndarray:
        """(cells,) bool."""

    def info(self, episode: Any) -> dict[str, np.ndarray]:
        """Arrays (cells, ...) that the agent does not see."""
