"""Half-select disturb: the trains of weak pulses that cells suffer while others are written, in O(cells) a step.

Doses add (two half pulses equal one), so that all that counts is how many reference pulses the operations elsewhere are
worth to a cell. With v_k the share of an operation's amplitude that the cell sees and t_k its width, by the law,

    n = sum over k, v_k > onset, of t_k rate(v_k),   rate(v) = rate(v_max) (E(v) - E(onset)) / (E(v_max) - E(onset)),

E(v) = exp(v / slope). Widths are therefore sorted into levels of voltage, for each row and each column alone, and
summed from the top: the sums of t and of t E(v) above the cell's onset are all that it needs to know.
"""

from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, at_most, clip, expm1, floor_at, is_zero, namespace
from memenv.crossbars.operations import Operations, picked, summed
from memenv.crossbars.schemes import Scheme, difference, exposure
from memenv.devices.device import Device
from memenv.devices.law import TINY
from memenv.devices.reads import State

LEVELS = 64  # of voltage, from the array's least onset to its largest half-select voltage


class Seen(NamedTuple):
    """Operations as one polarity's pulses on cells elsewhere."""

    line_voltage: Array  # (..., lines, slots) [V] magnitude
    line_width: Array  # (..., lines, slots) [s] 0 where it is none
    voltage: Array  # (..., rows, cols) the same of the operation that writes the cell
    width: Array  # (..., rows, cols)
    columns: bool  # the lines are columns
    rest: bool  # on cells that share neither row nor column with it, else on those that share one


class Levels(NamedTuple):
    """Evenly spaced voltages for each array, on which operations are sorted."""

    low: Array  # (..., 1, 1) [V] the first
    high: Array  # (..., 1, 1) [V] the last
    slope: Array  # (..., 1, 1) [V] E(v) = exp((v - high) / slope)

    @property
    def gap(self) -> Array:
        """(..., 1, 1) [V] between two levels."""
        return floor_at(self.high - self.low, TINY) / (LEVELS - 1)

    def growth(self, voltage: Array) -> Array:
        """E(v) of voltages (...), 1 above the last level, where nothing is counted."""
        return namespace(voltage).exp(at_most((voltage - self.high) / self.slope, 0.0))

    def place(self, voltage: Array) -> tuple[Array, Array]:
        """The level at or below voltages (..., lines, n), and the share of the next one that keeps E(v)."""
        position = clip((voltage - self.low) / self.gap, 0.0, LEVELS - 1.0)
        below = clip(namespace(voltage).floor(position), 0.0, LEVELS - 2.0)
        return below, expm1((position - below) * (self.gap / self.slope)) / expm1(self.gap / self.slope)

    def above(self, onset: Array) -> Array:
        """The first level above each onset (...), LEVELS where there is none."""
        return clip(namespace(onset).floor((onset - self.low) / self.gap) + 1.0, 0.0, 1.0 * LEVELS)


def disturbed(scheme: Scheme, chip: Device, cell: State, operations: Operations, noise: Array) -> State:
    """The state after the half-select pulses of `operations`: all that SET first, then all that RESET.

    Where all cells have one slope, all pulses are exact but those within a level of a cell's onset, which hardly move
    it. Where slopes have mismatch, the strongest pulses are exact, and weaker ones relate to them as on a cell of the
    mean slope. The cycle noise is that of a train, whose pulses differ as they do to the cell of least onset. Data
    decide whether anything is to be done, which torch's vmap cannot trace.

    Args:
        scheme: with half-select voltages.
        chip: parametric cells (..., rows, cols).
        cell: their state.
        operations: of one step.
        noise: (6, ..., rows, cols) standard normal, three of `Device.pulse` for each polarity.
    """
    xp = namespace(cell.x)
    for side, part in (("set", noise[:3]), ("reset", noise[3:])):
        law = getattr(chip, side).law()
        pulses, onset = _seen(scheme, operations, side == "set"), law.onset + 0.0 * cell.x
        voltages = xp.stack([seen.line_voltage * (seen.line_width > 0) for seen in pulses])
        low, high = xp.amin(onset, (-2, -1)), xp.amax(xp.amax(voltages, (-2, -1)), 0)
        if not bool((high > low).any()):
            continue
        slope = (law.slope + 0.0 * onset).mean((-2, -1))
        levels = Levels(*(part[..., None, None] for part in (low, high, slope)))
        time = sum(_time(levels, seen, onset) for seen in pulses)
        alike = 1.0 if is_zero(law.cycle_noise) else _alike(levels, pulses)
        amplitude = (levels.high if side == "set" else -levels.high) + 0.0 * cell.x
        cell = chip.pulse(cell, amplitude, time * alike, part, 1.0 / alike)
    return cell


def _seen(scheme: Scheme, operations: Operations, up: bool) -> list[Seen]:
    """All that SETs (`up`) or RESETs cells elsewhere."""
    voltages = [scheme.half * namespace(part).abs(part) for part in operations[:3:2]]
    found = []
    for opposite in (False, True) if scheme.rest else (False,):
        widths = [
            width * ((amplitude > 0) == (up != opposite)) for amplitude, width in (operations[:2], operations[2:4])
        ]
        found.append(Seen(voltages[1], widths[1], voltages[0], widths[0], operations.columns, opposite))
    return found


def _time(levels: Levels, seen: Seen, onset: Array) -> Array:
    """(..., rows, cols) [s] at the highest voltage that what each cell has seen is worth to it; `onset` [V] of it."""
    xp = namespace(onset)
    first = levels.above(onset)
    below, share = levels.place(seen.voltage)
    cells = [below, share, seen.width]
    line = _sorted(*levels.place(seen.line_voltage), seen.line_width)
    cross = _sorted(*(cells if seen.columns else [xp.swapaxes(part, -1, -2) for part in cells]))
    level = xp.cumsum(1.0 + 0.0 * line[..., :1, :], -1) - 1.0

    def sums(growth: tuple[Array, Array, Array]) -> Array:
        """Over operations elsewhere, from the cell's first level on; growth at all levels, and of the cell's own."""
        lines, crosses = (_from_top(part * growth[0]) for part in (line, cross))
        row, column = (crosses, lines) if seen.columns else (lines, crosses)
        index = _whole(first)
        crossing = picked(row, index) + xp.swapaxes(picked(column, xp.swapaxes(index, -1, -2)), -1, -2)
        lower = xp.where(below >= first, (1.0 - share) * growth[1], 0.0 * share)
        own = seen.width * (lower + xp.where(below + 1.0 >= first, share * growth[2], 0.0 * share))
        if seen.rest:
            return difference(picked(lines.sum(-2)[..., None, :], index) + own, crossing)
        return difference(crossing, 2.0 * own)

    foot = levels.growth(onset)
    weighted = sums(tuple(levels.growth(levels.low + levels.gap * part) for part in (level, below, below + 1.0)))
    return floor_at(weighted - foot * sums((1.0, 1.0, 1.0)), 0.0) / floor_at(1.0 - foot, TINY)


def _alike(levels: Levels, pulses: list[Seen]) -> Array:
    """(..., rows, cols) sum(n^2) / sum(n)^2 of what pulses are worth: one over their number where they are alike."""
    total: list[Array] = [0.0, 0.0]
    for seen in pulses:
        worth = [
            width * floor_at(levels.growth(voltage) - levels.growth(levels.low), 0.0)
            for voltage, width in (seen[2:4], seen[:2])
        ]
        worth = [part / floor_at(namespace(part).amax(worth[1], (-2, -1)), 1e-30)[..., None, None] for part in worth]
        for power in (1, 2):
            own, lines = (part**power for part in worth)
            total[power - 1] = total[power - 1] + exposure(own, lines, seen.columns)[seen.rest]
    return clip(total[1] / floor_at(total[0], TINY) ** 2, TINY, 1.0)


def _sorted(below: Array, share: Array, weight: Array) -> Array:
    """(..., lines, LEVELS) sums of weights (..., lines, n) that lie at these places."""
    xp, level = namespace(weight), _whole(below)
    upper = summed(weight * share, level, LEVELS)
    return summed(weight, level, LEVELS) - upper + xp.concatenate([0.0 * upper[..., :1], upper[..., :-1]], -1)


def _from_top(values: Array) -> Array:
    """(..., lines, LEVELS + 1) sums of `values` (..., lines, LEVELS) from each level on."""
    xp = namespace(values)
    sums = xp.flip(xp.cumsum(xp.flip(values, (-1,)), -1), (-1,))
    return xp.concatenate([sums, 0.0 * sums[..., :1]], -1)


def _whole(number: Array) -> Array:
    return number.astype(np.int64) if namespace(number) is np else number.long()
