"""Likelihood of pulse trains under a device record: the moments of one step, and a filter along whole trains.

The state between two reads is unknown by the read noise; it is carried as mean and variance, moved by the law of
`law.py` at the nodes of a Gauss-Hermite rule over state and cycle noise, and corrected at each read (a Gaussian
assumed-density filter; Sarkka, Bayesian Filtering and Smoothing, 10.1017/CBO9781139344203, chapter 6). Cycle noise,
additive noise and read noise part by themselves: a read error comes back with the opposite sign in the next step.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from memenv.arrays import Array
from memenv.devices.device import Device
from memenv.devices.law import Law, equivalent_pulses, move, reachable_kappa


def _rule(states: int, cycles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of state and of cycle noise, and their weights, (nodes, 1) each."""
    state, share = np.polynomial.hermite_e.hermegauss(states)
    cycle, part = np.polynomial.hermite_e.hermegauss(cycles)
    weights = np.outer(share / share.sum(), part / part.sum())
    return np.repeat(state, cycles)[:, None], np.tile(cycle, states)[:, None], weights.reshape(-1, 1)


BOTH = _rule(3, 3)  # along a train
KNOWN = _rule(1, 9)  # from a known state: all nodes for the cycle noise
ROOT = math.sqrt(2 * math.pi)
ASIDE = 10.0  # [range] beyond any step
LEAST = 1e-18  # variance [range^2] below which a state counts as known


class Trains(NamedTuple):
    """Pulse trains in units of the range; arrays (reads, trains) or (trains,)."""

    reading: np.ndarray  # (reads, trains) [range], NaN where a train has ended
    amplitude: np.ndarray  # (reads, trains) [V] signed, of the pulse before the read
    width: np.ndarray  # (reads, trains) [s]
    device: np.ndarray  # (trains,) index of the device
    x_lo: np.ndarray  # (trains,) [range] bounds of that device
    x_hi: np.ndarray  # (trains,) [range]
    jump: np.ndarray  # (reads, trains) the read is a jump that no noise explains: nothing is predicted of it

    def select(self, trains: np.ndarray) -> "Trains":
        """Some of the trains, by index."""
        return Trains(*(array[..., trains] for array in self))


class Moments(NamedTuple):
    """Mean and variance of the state after a pulse."""

    mean: np.ndarray  # [range]
    variance: np.ndarray  # [range^2]


def step(
    device: Device, x: Array, variance: Array | None, amplitude: Array, width: Array, rate: Array = 1.0
) -> Moments:
    """Moments after one pulse from a state of mean `x` and `variance`, None for a known one; arrays (..., cells).

    `rate` multiplies dose and additive noise: a cell's own share of the mismatch.
    """
    law = reachable(device.law(amplitude > 0), device.x_lo, device.x_hi)
    n = equivalent_pulses(law, np.abs(amplitude), width)
    dose = (law.dose * rate * n)[..., None, :]
    sigma = _spread_out(law.cycle_noise)
    spread = law._replace(**{name: _spread_out(getattr(law, name)) for name in ("gamma", "margin", "growing", "kappa")})
    states, cycles, weights = KNOWN if variance is None else BOTH
    start = x[..., None, :]
    if variance is not None:
        start = start + np.sqrt(np.maximum(variance, LEAST))[..., None, :] * states
    x_lo, x_hi = _spread_out(device.x_lo), _spread_out(device.x_hi)
    s = dose * np.exp(sigma * cycles - 0.5 * sigma**2)
    # the same poles with bounds out of the way: they stop the step only after the additive noise
    free = spread._replace(margin=spread.margin - ASIDE)
    end = move(free, np.clip(start, x_lo, x_hi), x_lo - ASIDE, x_hi + ASIDE, (amplitude > 0)[..., None, :], s)
    kick = (law.additive_noise * rate * np.sqrt(n))[..., None, :]
    place, square = _clipped(end, kick, x_lo, x_hi)
    mean = (place * weights).sum(axis=-2)
    return Moments(mean, ((square + (place - mean[..., None, :]) ** 2) * weights).sum(axis=-2))


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


def reachable(law: Law, x_lo: Array, x_hi: Array) -> Law:
    """The law with kappa such that the second pole lies outside each cell's own range, as in a fabricated chip."""
    return law._replace(kappa=reachable_kappa(law, x_hi - x_lo))


def _spread_out(value: Array) -> Array:
    """With an axis for the nodes before that of the cells."""
    return value[..., None, :] if getattr(value, "ndim", 0) else value


def innovations(device: Device, trains: Trains, up_rate: Array, down_rate: Array) -> tuple[np.ndarray, np.ndarray]:
    """Each read less its prediction, and the variance of that, (reads - 1, ..., trains) [range]; NaN at the jumps.

    Args:
        device: with floats, or arrays (..., 1) of variants to compare.
        trains: to be predicted; NaN in them gives NaN.
        up_rate: (..., trains) factor of the SET dose of each train's device.
        down_rate: (..., trains) that of RESET.
    """
    noise = np.asarray(device.read.noise) ** 2
    shape = np.broadcast_shapes(np.shape(noise), np.shape(up_rate), trains.device.shape)
    chip = device.replace(x_lo=trains.x_lo, x_hi=trains.x_hi)
    x = np.broadcast_to(trains.reading[0], shape)
    variance = np.broadcast_to(noise, shape)
    difference, total = (np.full((len(trains.reading) - 1, *shape), np.nan) for _ in range(2))
    longest = np.flatnonzero(np.isfinite(trains.reading).any(axis=1))[-1]
    for k in range(1, longest + 1):
        amplitude = trains.amplitude[k]
        rate = np.where(amplitude > 0, up_rate, down_rate)
        moved = step(chip, x, variance, amplitude, trains.width[k], rate)
        total[k - 1] = moved.variance + noise
        difference[k - 1] = trains.reading[k] - moved.mean
        gain = moved.variance / total[k - 1]
        x = np.where(trains.jump[k], trains.reading[k], moved.mean + gain * difference[k - 1])
        variance = np.where(trains.jump[k], noise, moved.variance * (1 - gain))
        difference[k - 1] = np.where(trains.jump[k], np.nan, difference[k - 1])
    return difference, total
