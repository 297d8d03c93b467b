"""The gate of 1T1R cells in pulse trains: where their SETs stop by its voltage, and what it leaves of their RESETs.

The table of the gate is part of the likelihood of the trains, as the laws are: a SET that arrives tells where it was
stopped, one that does not tells of the dose. How much of the spread of stops belongs to the cell is told afterwards, by
the variance between and within devices of what the prediction of arrived SETs misses.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from memenv.devices.device import Device
from memenv.devices.gate import Gate
from memenv.fitting.coordinates import LEVEL, NUDGE, values, with_values
from memenv.fitting.estimation import Estimate, Likeliest
from memenv.fitting.likelihood import Trains, at_gate, filtered
from memenv.fitting.mean_response import SHAPES, Single, fit_mean, predict

KNOTS = 8  # of the table, at most
LOSS = 0.7  # [V] where no RESET tells it: a transistor's threshold
LOSSES = np.linspace(0.0, 2.0, 9)  # [V] from which the search may begin
HEADROOM = 0.05  # of the range of reads, by which an upper bound that the gate hides is above them
NOISE, MOVED = 0.02, 0.03  # [range] from which the search for the spread of stops begins; a SET that goes to its stop
SHARES = np.linspace(0.0, 0.99, 100)  # of the variance of stops, that may be between devices
UNKNOWN = 0.9  # share: where less than that may be none, nothing is known of it
ARRIVED = 0.8  # share of a shift of its stop that a SET follows, from which it counts as arrived


def first_gate(trains: Trains) -> Gate | None:
    """The gate where the search for it begins, in the units of the trains; None of devices without one."""
    if trains.gate is None:
        return None
    up, down = (np.sign(trains.amplitude[1:]) == sign for sign in (1, -1))
    up &= np.isfinite(trains.reading[1:])
    set_, reset = trains.gate[1:][up], trains.gate[1:][down]
    low, high = (float(end([set_.min(), reset.min(), set_.max(), reset.max()])) for end in (min, max))
    volts = _knots(set_)
    if len(volts) == 1:
        volts = np.unique([low, volts[0], high])
    nearest, after = np.abs(set_[:, None] - volts).argmin(axis=1), trains.reading[1:][up]
    moved = after - trains.reading[:-1][up] > MOVED  # of the others some began beyond where they would be stopped
    own = [after[moved & (nearest == k)] for k in range(len(volts))]
    stops = np.maximum.accumulate([np.median(part) if len(part) else 0.0 for part in own])
    amplitude = float(np.nanmax(np.abs(trains.amplitude[1:][down])))
    loss = max(0.0, min(LOSS, float(reset.min()) - amplitude))  # one that takes nothing from what was measured
    table, noise = [tuple(row.tolist()) for row in (volts, stops)], (NOISE,) * len(volts)
    return Gate(low=low, high=high, loss=loss, volts=table[0], stops=table[1], cycle_noise=noise)


def _knots(volts: np.ndarray) -> np.ndarray:
    """Ascending gate voltages [V] for a table of those of SETs (pulses,) [V], where they are dense."""
    each = np.unique(volts)
    if len(each) > KNOTS:
        each = np.unique(np.quantile(volts, np.linspace(0.0, 1.0, KNOTS)))
    apart = np.ptp(each) / (2 * KNOTS)
    return each[np.append(True, np.diff(each) > apart)]


def above_reads(g: np.ndarray) -> float:
    """[S] the upper bound that is assumed of reads (reads, trains) [S] which a gate keeps below it."""
    return float(np.nanmax(g) + HEADROOM * np.ptp(g[np.isfinite(g)]))


def gate_names(gate: Gate | None, trains: Trains) -> tuple[str, ...]:
    """The parameters of the gate that trains may tell."""
    if gate is None or trains.gate is None:
        return ()
    down = np.sign(trains.amplitude) == -1
    rows = tuple(f"gate.{row}.{k}" for row in ("stops", "cycle_noise") for k in range(len(gate.volts)))
    return (*rows, "gate.loss") if np.ptp(trains.gate[down]) > 0 else rows


def acting(gate: Gate | None, trains: Trains, steps: Single) -> Single:
    """Steps with what the gate leaves of them: amplitudes, and where SETs stop."""
    if gate is None or trains.gate is None:
        return steps
    volts, amplitude = (np.nan_to_num(part[1:].T.ravel()) for part in (trains.gate, trains.amplitude))
    up, last = amplitude > 0, steps.last
    passed, _ = at_gate(gate, volts).limits(up, np.abs(amplitude), steps.width, 0.0 * volts, 1.0, 0.0)
    own = up[last], passed[last], steps.width[last], steps.before, steps.x_hi, 0.0
    _, stop = at_gate(gate, volts[last]).limits(*own)
    return steps._replace(amplitude=np.sign(amplitude) * passed, x_hi=stop)


def with_loss(device: Device, trains: Trains, steps: Single) -> Device:
    """The device with the loss with which the law follows RESETs best, where they are at several gate voltages."""
    if device.gate is None or "gate.loss" not in gate_names(device.gate, trains):
        return device
    costs = []
    for loss in LOSSES.tolist():
        own = with_values(device, {"gate.loss": loss})
        acted = acting(own.gate, trains, steps)
        response = fit_mean(own, "reset", acted, (), SHAPES[:1])[0]
        costs.append(float(np.square(predict(own.replace(reset=response), acted, False) - acted.after).sum()))
    return with_values(device, {"gate.loss": float(LOSSES[int(np.argmin(costs))])})


def in_units(gate: Gate | None, low: float, size: float) -> Gate | None:
    """The gate in units of a range that begins at `low` and has a `size` in those of its own."""
    if gate is None:
        return None
    stops = tuple((stop - low) / size for stop in gate.stops)
    return dataclasses.replace(gate, stops=stops, cycle_noise=tuple(noise / size for noise in gate.cycle_noise))


def title(device: Device, name: str) -> str:
    """A parameter as reports name it: entries of the gate's table by their voltage."""
    row, _, place = name.rpartition(".")
    return f"{row} {device.gate.volts[int(place)]:.4g} V" if device.gate and place.isdigit() else name


class Share(NamedTuple):
    """The share of the variance of stops that is between devices, and what is known of it."""

    devices: int
    value: float = 0.0
    low: float = 0.0  # of the 95 % interval ...
    high: float = 0.0  # ... that ends close to one for few devices, which may be alike by chance
    square: float = 0.0  # its expectation, all shares being as likely

    @property
    def told(self) -> bool:
        """False where there may be no mismatch, and may be more than all that was seen."""
        return self.devices > 1 and (self.low > 0 or self.high < UNKNOWN)


def with_gate(likeliest: Likeliest, trains: Trains, estimate: Estimate) -> tuple[Device, Estimate]:
    """The record's gate, its stops in order and their spread parted, and what is known of it."""
    device = likeliest.device
    if device.gate is None or trains.gate is None:
        return device, estimate
    share, known = _share_of_devices(likeliest, device.gate, trains, trains.gate), dict[str, tuple[float, float]]()
    spread, part = np.array(device.gate.cycle_noise), share.value if share.told else 0.0
    gate = dataclasses.replace(
        device.gate,
        loss=max(device.gate.loss, 0.0),
        stops=tuple(np.maximum.accumulate(device.gate.stops).tolist()),
        mismatch=tuple((spread * math.sqrt(part)).tolist()) if share.told else (),
        cycle_noise=tuple((spread * math.sqrt(1 - part)).tolist()),
    )
    few = float(stats.t.ppf(0.975, share.devices - 1)) / LEVEL if share.devices > 1 else 0.0
    of_mean = few * math.sqrt(share.square / share.devices) * spread
    errors, intervals = list(estimate.errors), list(estimate.intervals)
    for k, name in enumerate(estimate.names):
        row, _, place = name.rpartition(".")
        if row == "gate.stops":
            errors[k] = math.hypot(errors[k], of_mean[int(place)])
            stop, far = gate.stops[int(place)], LEVEL * errors[k]
            intervals[k] = stop - far, stop + far
        elif row == "gate.cycle_noise" and share.told:
            low, high = intervals[k]
            intervals[k] = low * math.sqrt(max(1 - share.high, 0.0)), high * math.sqrt(1 - share.low)
            known[f"gate.mismatch.{place}"] = low * math.sqrt(share.low), high * math.sqrt(share.high)
    own = dataclasses.replace(estimate, errors=tuple(errors), intervals=tuple(intervals))
    device = device.replace(gate=gate)
    ends = zip(values(device, tuple(known)), known.values(), strict=True)
    mute = ("gate.loss",) * ("gate.loss" not in own.names) + ("gate.mismatch",) * (not share.told)
    logs = tuple(math.log(high / value) / LEVEL if value else 0.0 for value, (_, high) in ends)
    return device, own.joined(Estimate(tuple(known), logs, tuple(known.values()), np.eye(len(known)), mute))


def _share_of_devices(likeliest: Likeliest, gate: Gate, trains: Trains, volts: np.ndarray) -> Share:
    """How stops differ between devices beside how they do within, by SETs that arrived: the ratio is of an F test."""
    device, own = likeliest.device, likeliest.offsets[:, trains.device]
    higher = {f"gate.stops.{k}": stop + NUDGE for k, stop in enumerate(gate.stops)}
    seen, moved = (filtered(one, trains, own) for one in (device, with_values(device, higher)))
    arrived = np.isfinite(seen.error) & (moved.after - seen.after > ARRIVED * NUDGE)
    which = np.broadcast_to(trains.device, arrived.shape)[arrived]
    away = seen.error[arrived] / np.interp(volts[1:][arrived], gate.volts, gate.cycle_noise)
    _, which, count = np.unique(which, return_inverse=True, return_counts=True)
    devices, pulses = len(count), len(away)
    if devices < 2 or pulses < 2 * devices:
        return Share(1)
    mean, freedom = np.bincount(which, away) / count, devices - 1
    between = float(count @ (mean - away.mean()) ** 2) / freedom
    within = float(np.square(away - mean[which]).sum()) / (pulses - devices)
    size = (pulses - count @ count / pulses) / freedom  # pulses of a device
    ratios = 1.0, *(freedom / stats.chi2.ppf((0.975, 0.025), freedom)).tolist()
    more = [max(ratio * between / within - 1, 0.0) / size for ratio in ratios]  # mismatch over the noise of pulses
    value, low, high = (own / (1 + own) for own in more)
    expected = 1 + size * SHARES / (1 - SHARES)
    weights = stats.chi2.pdf(freedom * between / within / expected, freedom) / expected
    return Share(devices, value, low, high, float(weights @ SHARES / weights.sum()))
