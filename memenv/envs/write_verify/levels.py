"""Levels: targets from a list, each with a band of its own, and what reading them back gets wrong."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import stepwise
from memenv.bounds import is_number, is_row, shown
from memenv.devices.protocol import CellModel
from memenv.envs.task import TaskError

MOST = 256
SAME = 1e-6  # [range] between a target that is given and its level
FAR = 1e9  # [range] where loops take a band's open end
BANDS = ("conductance", "resistance", "relative")
NAME = "target_levels"


class Level(NamedTuple):
    """A target and the band in which a read is accepted [range]; an end that is open is infinite."""

    low: float
    target: float
    high: float

    @property
    def half(self) -> float:
        """The distance of the target to the nearer end of its band."""
        return min(self.target - self.low, self.high - self.target)

    @property
    def ends(self) -> tuple[float, float]:
        """Those of the band, an open one at FAR."""
        return max(self.low, -FAR), min(self.high, FAR)


def specified(value: Any) -> Any:
    """A number of levels, or tuples of numbers or of bands, as plain numbers.

    Raises:
        TaskError: anything else.
    """
    if is_number(value) and 2 <= value <= MOST and value == int(value):
        return int(value)
    row = tuple(value) if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0 else None
    if row is not None and (not row or 2 <= len(row) <= MOST):
        if all(map(is_number, row)):
            return tuple(map(float, row))
        if all(is_row(band, 3) and is_number(band[1]) and all(map(_is_end, band)) for band in row):
            closed = ((-math.inf if low is None else low, at, math.inf if up is None else up) for low, at, up in row)
            return tuple(tuple(map(float, band)) for band in closed)
    raise TaskError(
        f"{NAME} is {shown(value)}, allowed are 2 to {MOST} of them: a whole number, a list of targets, or one of "
        "(low, target, high), where None leaves an end open"
    )


def _is_end(value: Any) -> bool:
    """True of an end of a band: a number, or infinity or None where it is open."""
    return value is None or is_number(value) or value in (-math.inf, math.inf)


def read_levels(text: str | None) -> Any:
    """Levels of a command line: their number, targets `0.1,0.5,0.9`, or bands `:0.1:0.2,0.4:0.5:0.6`; None: none.

    Raises:
        TaskError: anything else.
    """
    if text is None:
        return ()
    try:
        parts = [[float(end) if end else None for end in part.split(":")] for part in text.split(",")]
    except ValueError:
        raise TaskError(f"{NAME} is {shown(text)}, a number of levels is needed, or a list of them") from None
    if all(len(part) == 1 for part in parts):
        return specified(parts[0][0] if len(parts) == 1 else [target for (target,) in parts])
    return specified(parts)


def levels_of(task: Any) -> tuple[Level, ...]:
    """The levels of a `WriteVerify`, in ascending order.

    So many levels lie at equal distances in `target_range`: of conductances, or, with bands "resistance", of
    resistances. Bands that are not given reach from target - w to target + w: of conductances with w the tolerance, of
    resistances with w that part of the resistances between the ends of `target_range`, or, "relative", of conductances
    with w that part of the target.

    Raises:
        TaskError: several devices, a target out of the device's range or outside its band, bands that overlap.
    """
    device, spec, own = task.device, task.target_levels, task.tolerance_unit == "S"
    if device.devices:
        raise TaskError(f"{NAME} is {shown(spec)}, device is {device.name}: levels are those of one device")
    low, high = (float(task.siemens(device, end)) for end in task.target_range)
    given = spec if isinstance(spec, tuple) else ()
    if not given and task.bands == "resistance":
        given, own = tuple(1.0 / np.linspace(1.0 / low, 1.0 / high, spec)), True
    elif not given:
        given, own = tuple(np.linspace(low, high, spec)), True
    levels = []
    for one in given:
        ends = (x if own else task.siemens(device, x) for x in (one if isinstance(one, tuple) else (one,)))
        band = tuple(map(float, ends))
        levels.append(Level(*(task.fraction(device, g) for g in (band if len(band) == 3 else _band(task, *band)))))
    levels.sort(key=lambda level: level.target)
    _check(levels, device)
    return tuple(levels)


def _band(task: Any, g: float) -> tuple[float, float, float]:
    """The band about a conductance [S]."""
    device = task.device
    span = 1.0 if task.tolerance_unit == "S" else float(device.g_max - device.g_min)
    if task.bands == "conductance":
        return g - task.tolerance * span, g, g + task.tolerance * span
    if task.bands == "relative":
        return g * (1 - task.tolerance), g, g * (1 + task.tolerance)
    low, high = (float(task.siemens(device, end)) for end in task.target_range)
    wide = task.tolerance * (1 / low - 1 / high)
    return 1 / (1 / g + wide), g, 1 / (1 / g - wide) if 1 / g > wide else math.inf


def _check(levels: Sequence[Level], device: CellModel) -> None:
    """Refuse levels that nobody can write, or tell from each other."""
    for number, level in enumerate(levels):
        named = f"level {number} of {NAME}, {level.target:.4g} of the range of {device.name},"
        if not -SAME <= level.target <= 1 + SAME:
            raise TaskError(f"{named} lies outside what it reaches, {device.g_min:.4g} to {device.g_max:.4g} S")
        if not level.low < level.target < level.high:
            raise TaskError(f"{named} is outside its own band, {level.low:.4g} to {level.high:.4g}")
        if math.isinf(level.half):
            raise TaskError(f"{named} has a band without ends: one of them is needed")
    for number, (one, other) in enumerate(pairwise(levels)):
        if one.high >= other.low:
            raise TaskError(
                f"bands of levels {number} and {number + 1} of {NAME} overlap: {one.low:.4g} to {one.high:.4g} and "
                f"{other.low:.4g} to {other.high:.4g} of the range; take fewer levels or a smaller tolerance"
            )


def by_number(values: Sequence[float], number: Any) -> Any:
    """The value of each level number (cells,), a whole one; element-wise."""
    return stepwise(number, [place + 0.5 for place in range(len(values) - 1)], values)


def level_of(levels: Sequence[Level], x: Any) -> Any:
    """The number (cells,) of the level that states [range] are read as: bands are told apart half-way; element-wise."""
    cuts = [0.5 * (one.high + other.low) for one, other in pairwise(levels)]
    return stepwise(x, cuts, [float(number) for number in range(len(levels))])


def in_band(levels: Sequence[Level], x: Any, target: Any) -> Any:
    """(cells,) bool: states [range] are in the bands of their targets; element-wise."""
    number = level_of(levels, target)
    low, high = (by_number(ends, number) for ends in zip(*(level.ends for level in levels), strict=True))
    return (x >= low) & (x <= high)


def drawn_level(levels: Sequence[Level], x: Any, uniform: Any) -> Any:
    """Targets (cells,) of any level, all alike but for one in whose band the state is; of uniforms, element-wise."""
    inside = in_band(levels, x, x)
    place = np.floor(uniform * (len(levels) - 1.0 * inside))
    here = np.where(inside, level_of(levels, x), 1.0 * len(levels))
    return by_number([level.target for level in levels], place + 1.0 * (place >= here))


def check_targets(levels: Sequence[Level], targets: np.ndarray) -> None:
    """Refuse targets (cells,) [range] that are no levels.

    Raises:
        TaskError: one that is none.
    """
    known = np.array([level.target for level in levels])
    far = np.abs(targets[:, None] - known).min(1) > SAME
    if far.any():
        named = ", ".join(f"{x:.4g}" for x in known)
        raise TaskError(f"target is {targets[far][0]:.4g} of the range, allowed are the {NAME}: {named}")


def bit_errors(wanted: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """Share of wrong bits (cells,) of level numbers among `count`, whose neighbours differ in one bit (Gray's code)."""
    one, other = (number.astype(np.int64) ^ (number.astype(np.int64) >> 1) for number in (wanted, found))
    bits = math.ceil(math.log2(count))
    wrong: np.ndarray = (((one ^ other)[..., None] >> np.arange(bits)) & 1).mean(-1)
    return wrong
