"""Likelihood of pulse trains under a device record: the moments of one step, and a filter along whole trains.

The state between two reads is unknown by the read noise; it is carried as mean and variance, moved by the law of
`law.py` at the nodes of a Gauss-Hermite rule over state and cycle noise, and corrected at each read (a Gaussian
assumed-density filter; Sarkka, Bayesian Filtering and Smoothing, 10.1017/CBO9781139344203, chapter 6). Cycle noise,
additive noise and read noise part by themselves: a read error comes back with the opposite sign in the next step.
Slow wander of the reads, which moves no state and comes back to zero, is a second component of the filter's state: an
Ornstein-Uhlenbeck process sampled at the reads.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from memenv.arrays import Array
from memenv.devices.device import Device
from memenv.devices.gate import Gate
from memenv.devices.law import Law, equivalent_pulses, move, reachable_kappa
from memenv.devices.reads import Read


def _rule(states: int, cycles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of state and of cycle noise, and their weights, (nodes, 1) each."""
    state, share = np.polynomial.hermite_e.hermegauss(states)
    cycle, part = np.polynomial.hermite_e.hermegauss(cycles)
    weights = np.outer(share / share.sum(), part / part.sum())
    return np.repeat(state, cycles)[:, None], np.tile(cycle, states)[:, None], weights.reshape(-1, 1)


BOTH = _rule(3, 3)  # along a train
KNOWN = _rule(1, 9)  # from a known state: all nodes for the cycle noise
ROOT = math.sqrt(2 * math.pi)
RAGGED = 4  # times as long as a train are others, from which it is filtered apart
ASIDE = 10.0  # [range] beyond any step
LEAST = 1e-18  # variance [range^2] below which a state counts as known


class Trains(NamedTuple):
    """Pulse trains in units of the range; arrays (reads, trains) or (trains,)."""

    reading: np.ndarray  # (reads, trains) [range], NaN where a train has ended
    amplitude: np.ndarray  # (reads, trains) [V] signed, of the pulse before the read
    width: np.ndarray  # (reads, trains) [s]
    device: np.ndarray  # (trains,) index of the device
    x_lo: np.ndarray  # (trains,) [range] bounds, were those of the device 0 and 1
    x_hi: np.ndarray  # (trains,) [range]
    jump: np.ndarray  # (reads, trains) the read is a jump that no noise explains: nothing is predicted of it
    gate: np.ndarray | None = None  # (reads, trains) [V] during the pulse; None of devices without one

    def select(self, trains: np.ndarray) -> "Trains":
        """Some of the trains, by index."""
        parts: list[Any] = [part if part is None else part[..., trains] for part in self]
        return Trains(*parts)

    def bounds(self, device: Device, own: Array) -> tuple[Array, Array]:
        """Bounds [range] (..., trains) of a device, of which each train's own adds own[2] and own[3]."""
        return self.x_lo + device.x_lo + own[2], self.x_hi + device.x_hi - 1.0 + own[3]

    def pulses(self) -> np.ndarray:
        """(kinds, reads, trains) amplitudes, widths and gate voltages."""
        return np.stack([self.amplitude, self.width, *([] if self.gate is None else [self.gate])])

    def thinned(self, reads: int) -> "Trains":
        """About so many reads of each train, the pulses between two as one; themselves where the pulses differ."""
        every = max(1, len(self.reading) // reads)
        pulses = self.pulses()[:, 1:]
        if np.any(np.nanmin(pulses, axis=1) < np.nanmax(pulses, axis=1)):
            return self
        rows = (array[::every] for array in (self.reading, self.amplitude, self.width * every, self.jump))
        return self._replace(**dict(zip(("reading", "amplitude", "width", "jump"), rows, strict=True)))


@dataclass(frozen=True, kw_only=True)
class WanderingRead(Read):
    """A read as trains are fitted: with what a record does not know."""

    wander: Array = 0.0  # [range] stationary standard deviation of slow wander
    memory: Array = 30.0  # [reads] in which it is forgotten to 1/e


class Moments(NamedTuple):
    """Mean and variance of the state after a pulse."""

    mean: np.ndarray  # [range]
    variance: np.ndarray  # [range^2]
    gain: Array  # [1] of the state before: its covariance with the state after over its variance


class _Pulse(NamedTuple):
    """A pulse ready for cells in any state; arrays (..., nodes, cells)."""

    law: Law  # with the bounds out of the way: they stop the step only after the additive noise
    up: np.ndarray
    s: np.ndarray  # dose at the nodes of the cycle noise
    kick: np.ndarray  # [range] additive noise
    x_lo: Array  # [range]
    x_hi: Array  # [range]
    stop: Array | None  # [range] where the gate stops a SET from below it, at the nodes of the cycle noise
    states: np.ndarray | None  # (nodes, 1) of the state, None for a known one
    weights: np.ndarray  # (nodes, 1)


def _pulse(device: Device, known: bool, amplitude: Array, width: Array, rate: Array, volts: Array = None) -> _Pulse:
    """The pulse with the nodes for cells in a known state, or in one of which mean and variance are known.

    `volts` (cells,) [V] are at the gate, where there is one; None: fully open.
    """
    states, cycles, weights = KNOWN if known else BOTH
    up, magnitude, stop = (amplitude > 0)[..., None, :], np.abs(amplitude), None
    if device.gate is not None:
        gate = at_gate(device.gate, device.gate.high + 0.0 * width if volts is None else volts, _spread_out)
        pulse = up, *(_spread_out(part) for part in (magnitude, width, device.x_lo, device.x_hi)), cycles
        magnitude, stop = gate.limits(*pulse)
        magnitude = magnitude[..., 0, :]
    law = reachable(device.law(amplitude > 0), device.x_lo, device.x_hi)
    n = equivalent_pulses(law, magnitude, width)
    sigma = _spread_out(law.cycle_noise)
    spread = law._replace(**{name: _spread_out(getattr(law, name)) for name in ("gamma", "margin", "growing", "kappa")})
    return _Pulse(
        law=spread._replace(margin=spread.margin - ASIDE),
        up=up,
        s=(law.dose * rate * n)[..., None, :] * np.exp(sigma * cycles - 0.5 * sigma**2),
        kick=(law.additive_noise * rate * np.sqrt(n))[..., None, :],
        x_lo=_spread_out(device.x_lo),
        x_hi=_spread_out(device.x_hi),
        stop=stop,
        states=None if known else states,
        weights=weights,
    )


def _after(pulse: _Pulse, x: Array, variance: Array | None) -> Moments:
    """Moments after a pulse from states of mean `x` and `variance`, arrays (..., cells)."""
    start, gain = x[..., None, :], 0.0
    if variance is not None:
        spread = np.sqrt(np.maximum(variance, LEAST))
        start = start + spread[..., None, :] * pulse.states
    low, high = pulse.x_lo, pulse.x_hi
    start = np.clip(start, low, high)
    if pulse.stop is not None:
        high = np.maximum(pulse.stop, start)
    end = move(pulse.law, start, low - ASIDE, high + ASIDE, pulse.up, pulse.s)
    place, square = _clipped(end, pulse.kick, low, high)
    weighted = place * pulse.weights
    mean = weighted.sum(axis=-2)
    if variance is not None:
        gain = (weighted * pulse.states).sum(axis=-2) / spread
    return Moments(mean, ((square + (place - mean[..., None, :]) ** 2) * pulse.weights).sum(axis=-2), gain)


def step(device: Device, x: Array, amplitude: Array, width: Array, rate: Array = 1.0) -> Moments:
    """Moments after one pulse from a known state; arrays (..., cells).

    `rate` multiplies dose and additive noise: a cell's own share of the mismatch.
    """
    return _after(_pulse(device, True, amplitude, width, rate), x, None)


def _clipped(mean: Array, sigma: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Mean and variance of a normal variable of `mean` and `sigma` that is clipped to low..high."""
    sigma = sigma + 1e-12
    a, b = (low - mean) / sigma, (high - mean) / sigma
    if not np.any(a > -8) and not np.any(b < 8):  # no bound near
        return mean, sigma**2
    below, above = ndtr(a), ndtr(-b)
    left, right = np.exp(-0.5 * a * a) / ROOT, np.exp(-0.5 * b * b) / ROOT
    inside = 1 - below - above
    first = left - right  # of the standard normal inside, as are the moments below
    centre = np.where(below > above, a, np.where(above > 0, b, 0.0))  # about the bound that matters: no cancellation
    shift = (a - centre) * below + (b - centre) * above + first - centre * inside
    square = (a - centre) ** 2 * below + (b - centre) ** 2 * above + inside * (1 + centre**2) + a * left - b * right
    square = square - 2 * centre * first
    return mean + sigma * (centre + shift), sigma**2 * np.maximum(square - shift**2, 0.0)


def at_gate(gate: Gate, volts: Array, shaped: Callable[[Array], Array] = lambda value: value) -> Gate:
    """The gate at `volts` [V], its parameters with further axes."""
    stops, noise = (tuple(map(shaped, row)) for row in (gate.stops, gate.cycle_noise))
    return dataclasses.replace(gate, high=shaped(volts), loss=shaped(gate.loss), stops=stops, cycle_noise=noise)


def reachable(law: Law, x_lo: Array, x_hi: Array) -> Law:
    """The law with kappa such that the second pole lies outside each cell's own range, as in a fabricated chip."""
    return law._replace(kappa=reachable_kappa(law, x_hi - x_lo))


def _spread_out(value: Array) -> Array:
    """With an axis for the nodes before that of the cells."""
    return value[..., None, :] if getattr(value, "ndim", 0) else value


class Filtered(NamedTuple):
    """Trains as a device predicts them read by read, arrays (reads - 1, ..., trains); NaN at the jumps."""

    before: np.ndarray  # [range] expected state before the pulse
    after: np.ndarray  # [range] expected state after it
    error: np.ndarray  # [range] the read less its prediction: that state, and the wander
    variance: np.ndarray  # [range^2] of the error


def filtered(device: Device, trains: Trains, own: Array) -> Filtered:
    """Every read of trains as the reads before it predict it.

    Args:
        device: with floats, or arrays (..., 1) of variants to compare; its read may wander (`WanderingRead`).
        trains: to be predicted; NaN in them gives NaN.
        own: (4, ..., trains) of each train's device, beside what all share: logarithm of its SET and RESET dose [1],
            and what its lower and upper bound are higher [range].
    """
    reads = np.isfinite(trains.reading).sum(axis=0)
    short = RAGGED * reads < reads.max()
    if not short.any():
        return _filtered(device, trains, own)
    groups = [np.flatnonzero(short), np.flatnonzero(~short)]
    parts = zip(*(filtered(device, trains.select(some), own[..., some]) for some in groups), strict=True)
    order = np.argsort(np.concatenate(groups))
    return Filtered(*(np.concatenate(pair, axis=-1)[..., order] for pair in parts))


def _filtered(device: Device, trains: Trains, own: Array) -> Filtered:
    """`filtered` of trains of like length."""
    read = device.read
    noise, wander, kept = np.asarray(read.noise) ** 2, np.zeros(()), np.zeros(())
    if isinstance(read, WanderingRead):
        wander, kept = np.asarray(read.wander) ** 2, np.exp(-1 / np.asarray(read.memory))
    up_rate, down_rate = np.exp(own[:2])
    chip = device.replace(**dict(zip(("x_lo", "x_hi"), trains.bounds(device, own), strict=True)))
    shape = np.broadcast_shapes(noise.shape, chip.x_hi.shape, trains.device.shape)
    x = np.broadcast_to(trains.reading[0], shape)
    # moments of state and wander where a train begins, or begins again: their sum is known by the read
    fresh = tuple(np.broadcast_to(moment, shape) for moment in (noise + wander, 0.0, -wander, wander))
    variance, away, shared, loose = fresh
    before, after, difference, total = (np.full((len(trains.reading) - 1, *shape), np.nan) for _ in range(4))
    longest = np.flatnonzero(np.isfinite(trains.reading).any(axis=1))[-1]
    pulses = np.nan_to_num(trains.pulses())
    again = np.append([True, True], (pulses[:, 2:] == pulses[:, 1:-1]).all(axis=(0, 2)))
    for k in range(1, longest + 1):
        if k == 1 or not again[k]:
            rate = np.where(trains.amplitude[k] > 0, up_rate, down_rate)
            gates = None if trains.gate is None else trains.gate[k]
            pulse = _pulse(chip, False, trains.amplitude[k], trains.width[k], rate, gates)
        moved = _after(pulse, x, variance)
        before[k - 1], after[k - 1] = x, moved.mean
        away, shared = kept * away, kept * moved.gain * shared
        loose = wander + kept**2 * (loose - wander)
        along, beside = moved.variance + shared, loose + shared  # covariances of state and wander with the read
        total[k - 1] = along + beside + noise
        difference[k - 1] = trains.reading[k] - moved.mean - away
        gain, follow = along / total[k - 1], beside / total[k - 1]
        x, away = moved.mean + gain * difference[k - 1], away + follow * difference[k - 1]
        variance, shared, loose = moved.variance - gain * along, shared - gain * beside, loose - follow * beside
        jump = trains.jump[k]
        if jump.any():
            x = np.where(jump, trains.reading[k], x)
            known = variance, away, shared, loose
            variance, away, shared, loose = (np.where(jump, *pair) for pair in zip(fresh, known, strict=True))
            difference[k - 1] = np.where(jump, np.nan, difference[k - 1])
    return Filtered(before, after, difference, total)
