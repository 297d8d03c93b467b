"""The bounds of devices in trains of pulses: where trains come to rest, and how much that differs between devices."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from memenv.devices.records import DeviceError
from memenv.fitting.checks import siemens
from memenv.fitting.pulse_data import PulseData

RAMP = 0.9  # of the range: where every train of a device sweeps so much, the trains have bounds of their own
NEAR = 6.0  # noises from the extreme read, within which reads at the bound lie
STILL = 8  # reads there, at least, of which later ones lie within a standard deviation of the earlier ones


class Bounds(NamedTuple):
    """Bounds of trains and devices; the first axis of `end` is low, high."""

    low: np.ndarray  # (trains,) [S]
    high: np.ndarray  # (trains,) [S]
    end: np.ndarray  # (2, devices) [S] those of the devices
    error: np.ndarray  # (2, devices) [S] standard errors, NaN where trains do not come to rest
    nominal: tuple[float, float]  # [S]

    @property
    def determined(self) -> np.ndarray:
        """(2,) whether trains of all devices come to rest at that bound."""
        return np.isfinite(self.error).all(axis=1)


def find_bounds(data: PulseData, g_min: float | None, g_max: float | None) -> Bounds:
    """The bounds as given, else where each device's trains come to rest, else the extreme reads of all devices.

    Where all trains of a device are ramps through the whole range, each has its own: the turning points of ramps wander
    over the life of a device, and the steps follow them.

    Raises:
        DeviceError: ranges of devices that do not overlap, bounds that are no range, or that the reads leave.
    """
    lows, highs = np.nanmin(data.conductance, axis=0), np.nanmax(data.conductance, axis=0)
    devices = range(len(data.devices))
    end = np.array([[lows[data.device == own].min(), highs[data.device == own].max()] for own in devices]).T
    _check_overlap(data, end)
    error = np.full(end.shape, np.nan)
    for own in devices:
        of = data.device == own
        ramps = of.sum() > 2 and not np.any(highs[of] - lows[of] < RAMP * np.ptp(end[:, own]))
        for side in (0, 1):
            if rest := _rest(data, own, side):
                end[side, own], error[side, own] = rest
        if ramps:
            end[:, own] = lows[of].mean(), highs[of].mean()
        else:
            lows[of], highs[of] = end[:, own]
    for side, bounds in ((0, lows), (1, highs)):
        if len(data.devices) > 1:
            shared = _shared(end[side], error[side], 2 * side - 1)
            bounds += (shared - end[side])[data.device]
            end[side] = shared
    low, high = (end[0].mean() if g_min is None else g_min), (end[1].mean() if g_max is None else g_max)
    if not 0 < low < high:
        raise DeviceError(f"g_min is {low:g} S and g_max {high:g} S: 0 < g_min < g_max is needed")
    for name, given, beyond in (("g_min", g_min, low - lows.min()), ("g_max", g_max, highs.max() - high)):
        if given is not None and beyond > 0.2 * (high - low):
            raise DeviceError(f"{name} is {given:g} S, but reads go {beyond:.3g} S beyond it")
    for side, given, bounds in ((0, g_min, lows), (1, g_max, highs)):
        if given is not None:
            bounds[:], end[side], error[side] = given, given, np.nan
    return Bounds(lows, highs, end, error, (float(low), float(high)))


def spread_of_bounds(bounds: Bounds, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (2,) of the devices' bounds and their 95 % intervals (2, 2) [range of `size` S].

    What the errors of the bounds explain is taken off (DerSimonian and Laird, 10.1016/0197-2456(86)90046-2). Bounds
    that shift together are no spread of the range, and the record draws its two bounds apart: both are scaled to
    the spread of the ranges' sizes. NaN where trains do not come to rest.
    """
    end, error = bounds.end / size, bounds.error / size
    free = end.shape[1] - 1
    seen, explained = end.var(axis=1, ddof=1), (error**2).mean(axis=1)
    within = np.maximum(seen - explained, 0.0)
    apart = float(np.ptp(end, axis=0).var(ddof=1) - explained.sum())
    scale = min(max(apart, 0.0) / within.sum(), 1.0) if np.isfinite(apart) and within.sum() > 0 else 1.0
    limits = free * seen[:, None] / stats.chi2.ppf([0.975, 0.025], free) - explained[:, None]
    return np.sqrt(scale * within), np.sqrt(scale * np.maximum(limits, 0.0))


def _shared(end: np.ndarray, error: np.ndarray, outward: int) -> np.ndarray:
    """(devices,) [S] bounds: one for all where those at rest differ by no more than their errors explain.

    Nobody knows where a device that moves on would rest: no closer than it came, nor than the others.
    """
    moving = np.isnan(error)
    if moving.all():
        return np.full(end.shape, outward * (outward * end).max())
    rest, weight = end[~moving], error[~moving] ** -2.0
    mean = float(np.average(rest, weights=weight))
    if len(rest) > 1 and float(weight @ (rest - mean) ** 2) < stats.chi2.ppf(0.99, len(rest) - 1):
        return np.full(end.shape, mean)
    return np.where(moving, outward * np.maximum(outward * end, (outward * rest).min()), end)


def _check_overlap(data: PulseData, end: np.ndarray) -> None:
    """Ranges of devices (2, devices) [S] that have something in common."""
    lowest, highest = int(end[1].argmin()), int(end[0].argmax())
    if end[0, highest] > end[1, lowest]:
        spans = [" to ".join(siemens(*end[:, own])) for own in (lowest, highest)]
        raise DeviceError(
            f"the ranges of devices {data.devices[lowest]} ({spans[0]}) and {data.devices[highest]} ({spans[1]}) do "
            "not overlap: fit them apart, or check the units"
        )


def _stretches(data: PulseData, own: int, sign: int) -> list[np.ndarray]:
    """Reads [S] after pulses of one sign in a row, of the device's trains."""
    out = []
    for train in np.flatnonzero(data.device == own):
        of = np.concatenate([[0], data.of(sign)[:, train].astype(int), [0]])
        edges = np.flatnonzero(np.diff(of))
        out += [data.conductance[first:last, train] for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return [reads for reads in out if len(reads) >= STILL]


def _rest(data: PulseData, own: int, side: int) -> tuple[float, float] | None:
    """Where trains of a device come to rest at one end, and the standard error of that [S]; None: they do not."""
    sign = 2 * side - 1
    stretches = _stretches(data, own, sign)
    if not stretches:
        return None
    noise = 1.4826 * float(np.median(np.abs(np.concatenate([np.diff(reads, 2) for reads in stretches])))) / 6**0.5
    extreme = max(float((sign * reads).max()) for reads in stretches)
    tails, drifts = list[np.ndarray](), list[float]()
    for reads in stretches:
        near = sign * reads >= extreme - NEAR * noise
        tail = reads[int(near.argmax()) :] if near.any() else reads[:0]
        if len(tail) < STILL:
            continue
        drifts.append(sign * (tail[len(tail) // 2 :].mean() - tail[: len(tail) // 2].mean()))
        tails.append(tail)
    if not tails:
        return None
    still = np.concatenate([tail[len(tail) // 2 :] for tail in tails])
    spread = float(np.sqrt(np.mean([tail.var() for tail in tails])))  # in each
    drift = float(np.average(drifts, weights=[len(tail) for tail in tails]))
    if abs(drift) + 2 * spread / np.sqrt(len(still)) > spread and spread > 0:  # trains that move on drift by three
        return None
    return float(still.mean()), float(2 * spread / np.sqrt(len(still))) + 1e-6 * abs(extreme)
