"""The scales of observations: everything in [-1, 1], errors logarithmic, and back; element-wise, symbolic values too.

Errors in tolerances span decades, and the amplitude that a step needs grows with the logarithm of that step.
"""

import math

import numpy as np

from memenv.arrays import Array, clip

UNIT = (0.0, 1.0)


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
