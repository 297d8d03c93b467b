"""Checks of a fitted law against data: rows of measured and predicted steps, and what to say about them."""

import math
from typing import NamedTuple

import numpy as np

from memenv.devices.device import Device

POLARITIES = ("set", "reset")
PARTS = 6  # of the range
MEAN_LIMIT, SPREAD_LIMIT = 0.10, 0.25  # relative departures above which the law is said not to describe the data
EQUAL = 1e-6  # of the largest mean step: steps that spread less are equal
LEAST_SHARE = 0.02  # of the largest mean step, a departure below which is not worth a word
PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12}


class Steps(NamedTuple):
    """Measured and predicted steps of one polarity, arrays (steps,) [range]."""

    place: np.ndarray  # where they start, as a share of the cell's own range
    mean: np.ndarray  # the step, or its mean where that is what is known
    spread: np.ndarray  # its known standard deviation, 0 for single steps
    mean_law: np.ndarray
    spread_law: np.ndarray


class Row(NamedTuple):
    """Steps that start in one part of the range, of one polarity."""

    polarity: str  # set or reset
    low: float  # [S] of the nominal range
    high: float  # [S]
    steps: int
    mean: float  # [range] measured
    mean_law: float  # [range] predicted
    spread: float  # [range] measured standard deviation, read noise included
    spread_law: float  # [range] predicted


def rows(device: Device, polarity: str, steps: Steps, within: bool = False) -> tuple[Row, ...]:
    """The steps gathered by sixths of the range; parts without steps are left out.

    Args:
        device: whose nominal range names the parts.
        polarity: set or reset.
        steps: of that polarity.
        within: the spread is that known of each step (tables of several devices), not that of the steps together.
    """
    part = np.clip((steps.place * PARTS).astype(int), 0, PARTS - 1)
    size = device.g_max - device.g_min
    out = []
    for k in range(PARTS):
        mean, spread, mean_law, spread_law = (column[part == k] for column in steps[1:])
        if len(mean) < 2:
            continue
        among, among_law = (0.0, 0.0) if within else (mean.var(), mean_law.var())
        out.append(
            Row(
                polarity=polarity,
                low=device.g_min + size * k / PARTS,
                high=device.g_min + size * (k + 1) / PARTS,
                steps=len(mean),
                mean=float(mean.mean()),
                mean_law=float(mean_law.mean()),
                spread=math.sqrt((spread**2).mean() + among),
                spread_law=math.sqrt((spread_law**2).mean() + among_law),
            )
        )
    return tuple(out)


def misfits(table: tuple[Row, ...], who: str, unsure: float = 0.0) -> list[str]:
    """A sentence for every row in which mean or spread depart by more than the limits and by more than chance.

    Args:
        table: rows of `rows`.
        who: predicted them.
        unsure: relative standard error of the mean steps on top of that from their number: few devices were seen.
    """
    out = []
    for row in table:
        largest = max(abs(other.mean) for other in table if other.polarity == row.polarity)
        chance = 3 * math.hypot(row.spread / math.sqrt(row.steps), unsure * row.mean)
        where = f"{row.polarity.upper()} from {' to '.join(siemens(row.low, row.high))}: {who}"
        away = abs(row.mean_law) - abs(row.mean)
        if abs(away) > max(MEAN_LIMIT * abs(row.mean), LEAST_SHARE * largest, chance):
            out.append(
                f"{where} makes the mean step {row.mean_law:.3g} of the range, measured is {row.mean:.3g} "
                f"({abs(away) / largest:.0%} of the largest step too {'large' if away > 0 else 'small'})."
            )
        if row.spread < EQUAL * largest:  # a ratio would say nothing
            if row.spread_law > LEAST_SHARE * largest:
                out.append(f"{where} makes its spread {row.spread_law:.3g}, the measured steps are equal.")
            continue
        wide = row.spread_law / row.spread - 1
        if abs(wide) > max(SPREAD_LIMIT, 3 / math.sqrt(2 * row.steps), 3 * unsure):
            out.append(f"{where} makes its spread {row.spread_law:.3g}, measured is {row.spread:.3g} ({wide:+.0%}).")
    return out


def largest_misfit(table: tuple[Row, ...]) -> str:
    """The largest departure of the mean step, of the largest step, for both polarities."""
    parts = []
    for polarity in POLARITIES:
        own = [row for row in table if row.polarity == polarity]
        away = max(abs(row.mean_law - row.mean) for row in own) / max(abs(row.mean) for row in own)
        parts.append(f"{polarity.upper()} {away:.1%}")
    return f"Largest misfit of the mean step in a sixth of the range, of the largest such step: {', '.join(parts)}."


def bound_spreads(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Standard deviations [range] of the bounds (devices,), such that the sizes of the ranges spread as they do.

    Bounds that shift together are no spread of the range; the record draws its two bounds apart.
    """
    ends = np.std([low, high], axis=1, ddof=1)
    scale = np.std(high - low, ddof=1) / max(float(np.hypot(*ends)), 1e-12)
    return float(ends[0] * min(scale, 1.0)), float(ends[1] * min(scale, 1.0))


def siemens(*values: float) -> list[str]:
    """Conductances [S] with the prefix that suits the largest."""
    prefix, unit = next(((p, u) for p, u in PREFIXES.items() if max(values) >= u), ("p", 1e-12))
    return [f"{value / unit:.4g} {prefix}S" for value in values]
