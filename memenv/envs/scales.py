"""A symmetric logarithmic scale for observed errors: linear near zero, [-1, 1] up to the farthest; element-wise."""

from typing import Any

import numpy as np


def symlog(value: Any, far: float) -> Any:
    """sign(v) ln(1 + |v|) / ln(1 + far) of values, clipped to [-1, 1], which are -far and far."""
    magnitude = np.minimum(np.log1p(np.abs(value)) / np.log1p(far), 1.0)
    return np.where(value < 0, -magnitude, magnitude)


def symlog_inverse(scaled: Any, far: float) -> Any:
    """The values in -far to far of `symlog`."""
    magnitude = np.expm1(np.abs(scaled) * np.log1p(far))
    return np.where(scaled < 0, -magnitude, magnitude)
