"""Whole trains under a fitted device: how far they are off, at which pulses, and whether they remember earlier ones."""

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from memenv.devices.device import Device
from memenv.devices.law import equivalent_pulses, move
from memenv.fitting.likelihood import Filtered, Trains, WanderingRead, at_gate, reachable

SIGNS = {"set": 1, "reset": -1}
SMOOTH = 21  # reads over which a train is averaged, at most a fifth of it
PLACES = 21  # where a train may begin, its first read being noisy
REPEATS = 8  # of every train, simulated, to see what noise explains
FAR = 0.05  # of the range: trains that are off by more are said not to follow the law
GROUPS = 6  # of amplitudes, or of widths
EARLY = 5  # pulses after a change of polarity that are looked at for a memory
SURE = 4.0  # standard errors, and ...
STRONG = 0.1  # ... of the mean step, beyond which a memory is worth a word


class Trace(NamedTuple):
    """Root mean square distance of the trains of a polarity from the law without noise [range], smoothed."""

    polarity: str
    trains: int
    distance: float  # measured
    expected: float  # of trains that the device itself makes, with its noise
    reads: int  # over which was smoothed
    far: int  # trains that are off by more than `FAR`
    away: int  # those of them that are off by more than the noise of the device ever makes them

    def __str__(self) -> str:
        """A sentence."""
        what = "its own noise makes"
        if self.distance > max(FAR, 1.3 * self.expected):
            verdict = " The law does not follow them."
        else:
            off = f"more than {FAR:.0%}"
            verdict = f" The law does not follow {self.away} of them, {off} of the range off." if self.away else ""
            if rest := self.far - self.away:
                more = " more" if self.away else ""
                verdict += f" {rest}{more} are {off} off: noise, says the record, or what the law does not know."
        return (
            f"{self.polarity.upper()}: whole trains ({self.trains}) are {self.distance:.1%} of the range off the law "
            f"(root mean square, smoothed over {self.reads} reads); {what} {self.expected:.1%}.{verdict}"
        )


def traces(device: Device, trains: Trains, rate: np.ndarray) -> list[Trace]:
    """How far whole trains are off; `rate` (2, trains) are the devices' own doses, SET and RESET."""
    most = np.where(np.nansum(np.sign(trains.amplitude), axis=0) >= 0, 1, -1)
    out = []
    for polarity, sign in SIGNS.items():
        of = np.flatnonzero((most == sign) & ~trains.jump.any(axis=0))
        if not len(of):
            continue
        length = np.isfinite(trains.reading[:, of]).sum(axis=0)
        longest = int(length.max())
        reads = max(1, min(SMOOTH, longest // 5) // 2 * 2 - 1)
        of = of[length >= reads]  # of shorter ones nothing is left, smoothed
        some, own = trains.select(of), rate[:, of]
        some = some._replace(**{name: getattr(some, name)[:longest] for name in ("reading", "amplitude", "width")})
        noise = math.hypot(device.read.noise, getattr(device.read, "wander", 0.0))
        begin = some.reading[0] + noise * np.linspace(-3, 3, PLACES)[:, None]
        paths = _walk(device, some, own, begin)
        distance, best = _distance(paths, some.reading, reads)
        begin = np.broadcast_to(np.take_along_axis(begin, best[None], axis=0), (REPEATS, len(of)))
        copies = _walk(device, some, own, begin, np.random.default_rng(0))
        path = np.take_along_axis(paths, best[None, None], axis=1)
        again = np.array([_distance(path, copy, reads)[0] for copy in np.moveaxis(copies, 1, 0)])
        far, away = (int((distance > np.maximum(FAR, least)).sum()) for least in (FAR, 1.3 * again.max(axis=0)))
        out.append(Trace(polarity, len(of), _mean(distance), _mean(again), reads, far, away))
    return out


def _mean(distance: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(distance**2)))


def _distance(paths: np.ndarray, reading: np.ndarray, reads: int) -> tuple[np.ndarray, np.ndarray]:
    """(trains,) the least distance of the reads from paths (reads, places, trains), and at which place."""
    off = sliding_window_view(reading[:, None] - paths, reads, axis=0).mean(axis=-1)
    square = np.nanmean(off**2, axis=0)
    best = square.argmin(axis=0)
    return np.sqrt(square.min(axis=0)), best


def _walk(
    device: Device, trains: Trains, rate: np.ndarray, begin: np.ndarray, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Reads (reads, places, trains) from `begin` (places, trains), with noise if there is a generator."""
    read, shape = device.read, begin.shape
    kept = math.exp(-1 / read.memory) if isinstance(read, WanderingRead) else 0.0
    wander = read.wander if isinstance(read, WanderingRead) else 0.0
    x, away = np.clip(begin, trains.x_lo, trains.x_hi), np.zeros(shape)
    out = [x if rng is None else x + read.noise * rng.standard_normal(shape)]
    for k, (volts, width) in enumerate(zip(trains.amplitude[1:], trains.width[1:], strict=True), 1):
        up = volts > 0
        law = reachable(device.law(up), trains.x_lo, trains.x_hi)
        magnitude, x_hi = np.abs(np.nan_to_num(volts)), trains.x_hi
        own, z = np.where(up, *rate), np.zeros(4) if rng is None else rng.standard_normal((4, *shape))
        if device.gate is not None and trains.gate is not None:
            gate = at_gate(device.gate, trains.gate[k])
            magnitude, x_hi = gate.limits(up, magnitude, width, x, trains.x_hi, z[0])
        n = equivalent_pulses(law, magnitude, width)
        s, added = law.dose * own * n, 0.0
        if rng is not None:
            s = s * np.exp(law.cycle_noise * z[0] - 0.5 * law.cycle_noise**2)
            added = law.additive_noise * own * np.sqrt(n) * z[1]
            away = kept * away + wander * math.sqrt(1 - kept**2) * z[2]
        x = move(law, x, trains.x_lo, x_hi, up, s, added)
        out.append(x if rng is None else x + away + read.noise * z[3])
    return np.where(np.isfinite(trains.reading)[:, None], np.array(out), np.nan)


# -- what the pulses were, and what came before ------------------------------------------------------------------------


def at_each_pulse(polarity: str, trains: Trains, seen: Filtered) -> list[str]:
    """Sentences on the mean step at each amplitude and width, where there are several."""
    sign, out = SIGNS[polarity], list[str]()
    of = (np.sign(trains.amplitude[1:]) == sign) & np.isfinite(seen.error)
    off, moved = -sign * seen.error[of], sign * (seen.after - seen.before + seen.error)[of]
    kinds = [("amplitude", "V"), ("width", "s"), *([] if trains.gate is None else [("gate", "V")])]
    for name, unit in kinds:
        values = np.abs(getattr(trains, name)[1:][of])
        each = np.unique(values)
        if len(each) < 2:
            continue
        edges = each if len(each) <= GROUPS else np.quantile(values, np.arange(GROUPS) / GROUPS)
        group, parts = np.searchsorted(edges, values, side="right") - 1, []
        for k in np.unique(group):
            mine = group == k
            away, unsure = off[mine].mean(), off[mine].std() / math.sqrt(mine.sum())
            clear = abs(away) > max(3 * unsure, STRONG * abs(moved[mine].mean()))
            parts.append(f"{values[mine].mean():.3g} {unit} {away:+.2%}{' (!)' if clear else ''}")
        out.append(f"{polarity.upper()} steps by {name}, law less measured [of the range]: {', '.join(parts)}.")
    return out


def memories(polarity: str, trains: Trains, seen: Filtered) -> list[str]:
    """Sentences on steps that depend on what came before them, of which the law knows the state only."""
    sign = SIGNS[polarity]
    way = np.sign(np.nan_to_num(trains.amplitude[1:]))
    of = (way == sign) & np.isfinite(seen.error)
    since = np.zeros(way.shape, int)
    for k in range(1, len(way)):
        since[k] = np.where(way[k] == way[k - 1], since[k - 1] + 1, 0)
    size = float(np.abs((seen.after - seen.before)[of]).mean()) if of.any() else 0.0
    out = []

    def effect(cause: np.ndarray, where: np.ndarray) -> float | None:
        """[range] of one unit of a cause, where it is sure and strong."""
        x, y, weight = cause[where], sign * seen.error[where], 1 / seen.variance[where]
        x = x - np.average(x, weights=weight) if np.ptp(x) > 0 else x
        information = float(weight @ x**2)
        slope = float(weight @ (x * y)) / max(information, 1e-300)
        swing = abs(slope) * float(np.sqrt(np.average(x**2, weights=weight)))
        return slope if abs(slope) * math.sqrt(information) > SURE and swing > STRONG * size / 2 else None

    early = (since < EARLY) * 1.0
    if min(early[of].sum(), (of.sum() - early[of].sum())) >= 10 and (away := effect(early, of)):
        out.append(
            f"{polarity.upper()}: the first {EARLY} steps of a train are {abs(away):.3g} of the range "
            f"{'larger' if away > 0 else 'smaller'} than the law makes them, beside the later ones "
            f"({size:.3g} is the mean step): the device remembers what came before, the law does not."
        )
    for name in ("amplitude", "width"):
        before = np.log(np.maximum(np.abs(np.nan_to_num(getattr(trains, name)[:-1])), 1e-30))
        pairs = of & (since > 0)
        if pairs.sum() < 20 or np.ptp(before[pairs]) < 1e-6:
            continue
        if slope := effect(before, pairs):
            out.append(
                f"{polarity.upper()}: steps are {'larger' if slope > 0 else 'smaller'} after a pulse of larger {name} "
                f"({abs(slope) * float(np.ptp(before[pairs])):.3g} of the range over the {name}s, {size:.3g} is the "
                "mean step): the device remembers the pulse before, the law does not."
            )
    return out
