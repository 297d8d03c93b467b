"""The noise of one array that is programmed, hashed as an environment's is (memenv/envs/noise.py).

How often an array is written and read is up to whoever programs it, so each source of noise counts its own calls: more
reads do not change what the next pulse does.
"""

from typing import NamedTuple

import numpy as np

from agents.evaluation import mixed
from memenv.envs.noise import CellNoise, Episodes
from memenv.envs.task import NormalDraw, UniformDraw


class Numbers:
    """Stands in for a NumPy generator; the numbers of its calls are its steps."""

    def __init__(self, seed: int, number: int) -> None:
        """`number` of the source among those of the seed."""
        self.episode = Episodes.of(seed, range(number, number + 1))
        self.noise = self.episode.noise(0)

    def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Standard normals."""
        normals: np.ndarray = self._next(shape).drawn((NormalDraw((), shape),))[0][0]
        return normals

    def chip_normal(self, shape: tuple[int, int]) -> np.ndarray:
        """Standard normals (channels, cells), alike for all cells: they are of one chip."""
        channels, cells = shape
        return np.repeat(self.standard_normal((channels, 1)), cells, axis=1)

    def random(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform in [0, 1)."""
        uniforms: np.ndarray = self._next(shape).drawn((UniformDraw((), shape),))[0][0]
        return uniforms

    def integers(self, high: int, size: int) -> np.ndarray:
        """Whole numbers (size,), 0 <= n < high."""
        return (self.random((size,)) * high).astype(int)

    def _next(self, shape: tuple[int, ...]) -> CellNoise:
        """The noise of the next call."""
        cells = int(np.prod(shape))
        if cells > self.noise.key.shape[1]:
            self.noise = self.episode.noise(cells)._replace(step=self.noise.step)
        self.noise = self.noise.next()
        return self.noise


class ArrayNoise(NamedTuple):
    """Sources of noise, none of which depends on how often the others are asked."""

    chip: Numbers
    start: Numbers
    cycle: Numbers
    read: Numbers

    @classmethod
    def of(cls, *seed: int) -> "ArrayNoise":
        """Of several whole numbers >= 0."""
        return cls(*(Numbers(mixed(*seed), number) for number in range(4)))
