"""Spatially correlated parameters: normals that vary smoothly over an array, for `Device.fabricate`."""

import math
from typing import Any

import numpy as np

from memenv.devices.uncertainty import of_chips


class SmoothNormals:
    """Stands in for a generator in `Device.fabricate`: normals vary smoothly over each array, other draws do not.

    A share `correlation` of the variance is white noise blurred by a Gaussian of `reach` cells (edges meet, as on a
    torus), the rest is each cell's own. Every normal has unit variance; on arrays much larger than the reach those of
    two cells at the distance d have a correlation coefficient of correlation * exp(-d^2 / (4 reach^2)).
    """

    def __init__(self, rng: Any, arrays: int, rows: int, cols: int, reach: float, correlation: float) -> None:
        """Takes the generator to draw from and the shape (arrays, rows, cols) of the cells in C order.

        Raises:
            ValueError: reach <= 0, or correlation outside 0..1.
        """
        if not (math.isfinite(reach) and reach > 0):
            raise ValueError(f"reach is {reach!r} cells, allowed is a number > 0")
        if not 0 <= correlation <= 1:
            raise ValueError(f"correlation is {correlation!r}, allowed is a share of 0 to 1")
        self.rng, self.random, self.integers, self.shape = rng, rng.random, rng.integers, (arrays, rows, cols)
        self.reach, self.correlation = reach, correlation
        self.chip_normal = of_chips(rng, arrays).chip_normal

    def standard_normal(self, shape: tuple[int, int]) -> np.ndarray:
        """Standard normals (draws, arrays * rows * cols)."""
        from scipy.ndimage import gaussian_filter  # here, for `import memenv` to stay light

        blur, own = np.split(np.array([*self.rng.standard_normal((2 * shape[0], *self.shape))]), 2)
        point = np.zeros(self.shape[1:])
        point[0, 0] = 1.0
        blur = gaussian_filter(blur, (0, 0, self.reach, self.reach), mode="wrap")
        blur /= np.linalg.norm(gaussian_filter(point, self.reach, mode="wrap"))
        smooth: np.ndarray = (np.sqrt(self.correlation) * blur + np.sqrt(1 - self.correlation) * own).reshape(shape)
        return smooth
