"""Writing lines: how the pulses that cells should get become operations that a driver can apply, and what they take.

One operation drives one line (a row or a column) with one pulse; the cells enabled on it get that pulse, all of them
the same. Writing cell by cell is the case of one enabled cell an operation.
"""

import math
from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, clip, floor_at, namespace
from memenv.bounds import MANY, shown, whole
from memenv.crossbars.converters import CrossbarError
from memenv.devices.device import Driver
from memenv.devices.grid import on_grid


class Operations(NamedTuple):
    """One step of writing: what every cell gets, and by which operations; a width of 0 means none."""

    amplitude: Array  # (..., rows, cols) [V] signed, of the operation that writes the cell
    width: Array  # (..., rows, cols) [s]
    line_amplitude: Array  # (..., lines, slots) [V] signed, of the operations of each line
    line_width: Array  # (..., lines, slots) [s]
    columns: bool = False  # the lines are columns, else rows
    alone: bool = False  # each operation writes one cell

    @property
    def count(self) -> Array:
        """(...,) operations of each array."""
        return (self.line_width > 0).sum((-2, -1))

    @property
    def latency(self) -> Array:
        """(...,) [s] that they take, one after another."""
        return self.line_width.sum((-2, -1))

    @property
    def sequential(self) -> Array:
        """(...,) [s] that the same pulses would take cell by cell."""
        return self.width.sum((-2, -1))


def cell_by_cell(amplitude: Array, width: Array, enabled: Array) -> Operations:
    """A pulse of its own for every enabled cell, one after another.

    Args:
        amplitude: (..., rows, cols) [V]; positive SETs, negative RESETs.
        width: (..., rows, cols) [s].
        enabled: (..., rows, cols) bool, cells that get one.
    """
    pulsed = enabled & (amplitude != 0) & (width > 0)
    amplitude, width = amplitude * pulsed, width * pulsed
    return Operations(amplitude, width, amplitude, width, alone=True)


def one_line(amplitude: Array, width: Array, enabled: Array, *, columns: bool = False) -> Operations:
    """One operation at most a line: a pulse (..., lines) [V, s] for all its enabled cells (..., rows, cols) bool."""
    xp = namespace(amplitude, width)
    axis = -2 if columns else -1
    used = enabled.any(axis) & (amplitude != 0) & (width > 0)
    amplitude, width = amplitude * used, width * used

    def of_cells(line: Array) -> Array:
        return xp.where(enabled, line[..., None, :] if columns else line[..., :, None], 0.0 * line[..., :1, None])

    return Operations(of_cells(amplitude), of_cells(width), amplitude[..., None], width[..., None], columns)


def line_by_line(
    amplitude: Array,
    width: Array,
    enabled: Array,
    driver: Driver,
    levels: tuple[int, int],
    *,
    columns: bool = False,
) -> Operations:
    """The pulses of all cells under the constraint that cells written together share amplitude and width.

    The cells of a line are grouped by polarity and by the interval of the driver's range, evenly divided, in which
    their amplitude (and, on a logarithmic scale, their width) lies. Each group is one operation at its members' mean
    amplitude and mean width, as the instrument makes them: pulses that are alike stay as they are, and (1, 1) shares
    one amplitude among all cells of a polarity.

    Args:
        amplitude: (..., rows, cols) [V]; positive SETs, negative RESETs.
        width: (..., rows, cols) [s].
        enabled: (..., rows, cols) bool, cells that get a pulse.
        driver: whose ranges are divided (floats).
        levels: intervals of amplitude, for each polarity, and of width; both >= 1.
        columns: cells of a column are written together, else those of a row.
    """
    xp = namespace(amplitude, width)
    if columns:
        amplitude, width, enabled = (xp.swapaxes(part, -1, -2) for part in (amplitude, width, enabled))
    pulsed = enabled & (amplitude != 0) & (width > 0)
    slot = _slots(amplitude, width, driver, levels)
    slots = 2 * levels[0] * levels[1]
    many = floor_at(summed(1.0 * pulsed, slot, slots), 1.0)
    volts, seconds = (summed(part * pulsed, slot, slots) / many for part in (amplitude, width))
    if driver.gridded:
        up, used = volts > 0, volts != 0
        height, length = on_grid(driver, up, np.abs(volts), seconds)
        volts, seconds = np.where(up, height, -height) * used, length * used
    amplitude, width = (picked(part, slot) * pulsed for part in (volts, seconds))
    if columns:
        amplitude, width = (xp.swapaxes(part, -1, -2) for part in (amplitude, width))
    return Operations(amplitude, width, volts, seconds, columns)


def _slots(amplitude: Array, width: Array, driver: Driver, levels: tuple[int, int]) -> Array:
    """(..., lines, cells) int, the number of each cell's group on its line."""
    xp = namespace(amplitude, width)
    up = amplitude > 0
    low = xp.where(up, driver.set_min + 0.0 * amplitude, driver.reset_min + 0.0 * amplitude)
    high = xp.where(up, driver.set_max + 0.0 * amplitude, driver.reset_max + 0.0 * amplitude)
    height = (xp.abs(amplitude) - low) / floor_at(high - low, 1e-12)
    span = max(math.log(driver.width_max / driver.width_min), 1e-12)
    length = xp.log(floor_at(width / driver.width_min, 1.0)) / span
    parts = (clip(xp.floor(part * n), 0.0, n - 1.0) for part, n in zip((height, length), levels, strict=True))
    strength, duration = parts
    number = (up * levels[0] + strength) * levels[1] + duration
    return number.astype(np.int64) if xp is np else number.long()


def summed(values: Array, slot: Array, slots: int) -> Array:
    """(..., lines, slots) the sums of `values` (..., lines, cells) over the cells of each slot."""
    xp = namespace(values)
    if xp is not np:
        return values.new_zeros((*values.shape[:-1], slots)).scatter_add(-1, slot, values)
    lines = slot.reshape(-1, slot.shape[-1])
    index = lines + slots * np.arange(len(lines))[:, None]
    sums = np.bincount(index.ravel(), values.ravel(), slots * len(lines))
    return sums.reshape(*slot.shape[:-1], slots).astype(values.dtype, copy=False)


def picked(values: Array, slot: Array) -> Array:
    """(..., lines, cells) the entry of `values` (..., lines, slots) that each cell's slot names."""
    xp = namespace(values)
    return np.take_along_axis(values, slot, -1) if xp is np else xp.take_along_dim(values, slot, -1)


def check_levels(levels: tuple[int, int]) -> None:
    """Refuses anything but two whole numbers >= 1."""
    if not isinstance(levels, tuple) or len(levels) != 2:
        raise CrossbarError(f"levels is {shown(levels)}, allowed are two whole numbers >= 1: amplitudes and widths")
    for number in levels:
        whole("levels", number, 1, MANY, CrossbarError, "for amplitudes and for widths")
