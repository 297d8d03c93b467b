"""The scales of observations and targets: everything in [-1, 1], errors logarithmic, states and siemens, and back.

Errors in tolerances span decades, and the amplitude that a step needs grows with the logarithm of that step.
All but `given_state` are element-wise, and take symbolic values too.
"""

import math
from typing import Any

import numpy as np

from memenv.arrays import Array, clip
from memenv.devices.protocol import CellModel
from memenv.envs.task import TaskError

UNIT = (0.0, 1.0)
READS = (-1.0, 2.0)  # [range] observed reads are clipped there
FARTHEST = 3.0  # [range] observed errors are clipped there


def symlog(value: Array, farthest: float) -> Array:
    """sign(v) ln(1 + |v|) / ln(1 + farthest), clipped to -1 to 1: of values beyond plus and minus `farthest` > 0."""
    magnitude = np.minimum(np.log1p(np.abs(value)) * (1.0 / math.log1p(farthest)), 1.0)
    return np.where(value < 0, -magnitude, magnitude)


def symlog_inverse(scaled_value: Array, farthest: float) -> Array:
    """The values of which `symlog` made these."""
    magnitude = np.expm1(np.abs(scaled_value) * math.log1p(farthest))
    return np.where(scaled_value < 0, -magnitude, magnitude)


def scaled(value: Array, limits: tuple[float, float]) -> Array:
    """The limits become -1 and 1, values beyond them these."""
    low, high = limits
    return clip((value - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0)  # at last, as single precision rounds, too


def unscaled(scaled_value: Array, limits: tuple[float, float]) -> Array:
    """The values of which `scaled` made these."""
    low, high = limits
    return low + (scaled_value + 1.0) * ((high - low) / 2.0)


def siemens(chip: CellModel, x: Array) -> Array:
    """Conductances [S] of states [range] of a chip's cells."""
    return chip.g_min + x * (chip.g_max - chip.g_min)


def fraction(chip: CellModel, g: Array) -> Array:
    """States [range] of conductances [S] of a chip's cells."""
    return (g - chip.g_min) / (chip.g_max - chip.g_min)


def given_state(device: CellModel, chip: CellModel, name: str, conductance: Any) -> Array:
    """States [range] of conductances [S] that a user gave, (cells,) or (arrays, rows, cols).

    Raises:
        TaskError: one that is out of the range of a nominal device.
    """
    g = np.asarray(conductance, float)
    low, high = np.max(device.g_min), np.min(device.g_max)
    outside = ~((low <= g) & (g <= high))  # true of NaN
    if outside.any():
        where = ""
        if g.ndim > 1:
            row, col = np.argwhere(outside)[0][-2:]
            where = f" in row {row}, column {col} ({np.sum(outside)} such cells)"
        raise TaskError(
            f"{name} is {g[outside].flat[0]:.4g} S{where}, outside the reachable range {low:.4g} to {high:.4g} S "
            f"of {device.name}"
        )
    return fraction(chip, g)
