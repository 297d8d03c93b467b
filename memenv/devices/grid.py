"""The pulses that an instrument can make: multiples of a step, or lists; others are rounded to the nearest of them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from memenv.arrays import Array, stepwise
from memenv.devices.device import Driver

SLACK = 1e-6  # [steps] by which a multiple may miss the range, as quotients round


def multiples(low: float, high: float, step: float) -> tuple[int, int]:
    """The first and the last multiple, 1 or more, within a range."""
    return max(math.ceil(low / step - SLACK), 1), math.floor(high / step + SLACK)


def within(values: Sequence[float], low: float, high: float) -> list[float]:
    """The values within a range."""
    return [value for value in values if low * (1 - SLACK) <= value <= high * (1 + SLACK)]


def on_grid(driver: Driver, up: Array, magnitude: Array, width: Array) -> tuple[Array, Array]:
    """The nearest magnitudes (cells,) [V] and widths (cells,) [s] that the instrument makes; element-wise.

    Widths are nearest in their logarithm, as half a dose is as wrong as a double one.
    """
    ends = (driver.set_min, driver.set_max), (driver.reset_min, driver.reset_max)
    if driver.amplitude_step:
        set_to, reset_to = (_stepped(magnitude, driver.amplitude_step, *each, even=True) for each in ends)
        magnitude = np.where(up, set_to, reset_to)
    if driver.amplitudes:
        set_to, reset_to = (_listed(magnitude, within(driver.amplitudes, *each), even=True) for each in ends)
        magnitude = np.where(up, set_to, reset_to)
    if driver.width_step:
        width = _stepped(width, driver.width_step, driver.width_min, driver.width_max, even=False)
    if driver.widths:
        width = _listed(width, within(driver.widths, driver.width_min, driver.width_max), even=False)
    return magnitude, width


def _stepped(value: Any, step: float, low: float, high: float, even: bool) -> Any:
    """The multiple of a step nearest to each value, in itself or (not `even`) in its logarithm."""
    first, last = multiples(low, high, step)
    count = np.floor(value * (1.0 / step))
    half = (count + 0.5) ** 2 if even else count * (count + 1.0)
    return step * np.clip(count + 1.0 * ((value * (1.0 / step)) ** 2 > half), 1.0 * first, 1.0 * last)


def _listed(value: Any, values: Sequence[float], even: bool) -> Any:
    """The one of some values nearest to each, in itself or (not `even`) in its logarithm."""
    cuts = [0.5 * (one + other) if even else math.sqrt(one * other) for one, other in pairwise(values)]
    return stepwise(value, cuts, values)
