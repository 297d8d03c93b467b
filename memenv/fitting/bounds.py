"""The bounds of devices in trains of pulses, where the search for them begins: where trains come to rest."""

import math
from typing import NamedTuple

import numpy as np

from memenv.devices.records import DeviceError
from memenv.fitting.checks import siemens
from memenv.fitting.pulse_data import PulseData

RAMP = 0.9  # of the range: where every train of a device sweeps so much, the trains have bounds of their own
WANDERS = 3.0  # noises, of which the turning points of ramps must differ by more
NEAR = 6.0  # noises from the extreme read, within which reads at the bound lie
STILL = 8  # reads there, at least, of which later ones lie within a standard deviation of the earlier ones


class Bounds(NamedTuple):
    """First values of the search for bounds; the first axis is low, high."""

    trains: np.ndarray  # (2, trains) [S]
    devices: np.ndarray  # (2, devices) [S]
    nominal: tuple[float, float]  # [S]
    free: tuple[bool, bool]  # whether the trains may tell more of them


def find_bounds(data: PulseData, g_min: float | None, g_max: float | None) -> Bounds:
    """The bounds as given, else where each device's trains come to rest, else the extreme reads of all devices.

    Where all trains of a device are ramps through the whole range that do not rest, each has its own: the turning
    points of ramps wander over the life of a device, and the steps follow them.

    Raises:
        DeviceError: ranges of devices that do not overlap, bounds that are no range, or that the reads leave.
    """
    each = np.array([np.nanmin(data.conductance, axis=0), np.nanmax(data.conductance, axis=0)])
    owns = [data.device == own for own in range(len(data.devices))]
    extreme = np.array([[each[0, of].min(), each[1, of].max()] for of in owns]).T
    _check_overlap(data, extreme)
    trains, devices, nominal, free = each.copy(), extreme.copy(), [0.0, 0.0], [True, True]
    for side, (stated, pick) in enumerate(((g_min, np.minimum), (g_max, np.maximum))):
        if stated is not None:
            trains[side], devices[side], nominal[side], free[side] = stated, stated, stated, False
            continue
        rest = np.array([_rest(data, own, side) for own in range(len(owns))])
        moving = np.isnan(rest)
        nominal[side] = float(pick.reduce(extreme[side]) if moving.all() else rest[~moving].mean())
        # nobody knows where a device that moves on would rest: no closer than it came, nor than the others
        devices[side] = np.where(moving, pick(extreme[side], nominal[side]), rest)
        ramps = [moving[own] and _ramps(data, each, own, side) for own in range(len(owns))]
        free[side] = not any(ramps)
        trains[side] = nominal[side] if free[side] else devices[side, data.device]
        for own, of in enumerate(owns):
            if ramps[own]:
                trains[side, of] = each[side, of]
                devices[side, own] = each[side, of].mean()
        if not free[side]:
            nominal[side] = float(devices[side].mean())
    low, high = nominal
    if not 0 < low < high:
        raise DeviceError(
            f"g_min is {low:g} S and g_max {high:g} S, as {'stated' if None not in (g_min, g_max) else 'trains end'}: "
            "0 < g_min < g_max is needed; state both, or take trains whose pulses move the device"
        )
    for name, stated, beyond in (("g_min", g_min, low - each[0].min()), ("g_max", g_max, each[1].max() - high)):
        if stated is not None and beyond > 0.2 * (high - low):
            raise DeviceError(f"{name} is {stated:g} S, but reads go {beyond:.3g} S beyond it")
    return Bounds(trains, devices, (low, high), (free[0], free[1]))


def _ramps(data: PulseData, each: np.ndarray, own: int, side: int) -> bool:
    """True where the trains of a device, from each[0] to each[1] (trains,) [S], all sweep its range and end further
    apart than noise explains."""
    of = data.device == own
    sweeps = np.ptp(each[:, of], axis=0) >= RAMP * np.ptp(each[:, of])
    ends = each[side, of & (data.polarity() == 2 * side - 1)]
    noise = _noise([reads[np.isfinite(reads)] for reads in data.conductance[:, of].T])
    return len(ends) > 1 and bool(sweeps.all() and ends.std() > WANDERS * noise)


def _noise(series: list[np.ndarray]) -> float:
    """Standard deviation [S] of reads about a smooth course; 0 where no series has three."""
    bends = np.concatenate([np.diff(reads, 2) for reads in series])
    return 1.4826 * float(np.median(np.abs(bends))) / 6**0.5 if len(bends) else 0.0


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


def _rest(data: PulseData, own: int, side: int) -> float:
    """The conductance [S] at which trains of a device come to rest at one end; NaN: they do not."""
    sign = 2 * side - 1
    stretches = _stretches(data, own, sign)
    if not stretches:
        return math.nan
    noise = _noise(stretches)
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
        return math.nan
    still = np.concatenate([tail[len(tail) // 2 :] for tail in tails])
    spread = float(np.sqrt(np.mean([tail.var() for tail in tails])))  # in each
    drift = float(np.average(drifts, weights=[len(tail) for tail in tails]))
    if abs(drift) + 2 * spread / np.sqrt(len(still)) > spread and spread > 0:  # trains that move on drift by three
        return math.nan
    return float(still.mean())
