"""Reads, rest and what time does to a conductance, as every device has them: one text, whatever its pulses are.

Element-wise functions on records, generic over NumPy and torch; noise is an argument.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, clip, floor_at, is_zero, namespace
from memenv.devices.law import TINY


@dataclass(frozen=True, kw_only=True)
class Read:
    """The read of a conductance."""

    voltage: Array = 0.1  # [V]
    duration: Array = 1e-6  # [s]
    noise: Array = 0.0  # [range] Gaussian standard deviation at g_max
    noise_exponent: Array = 0.0  # [1] the standard deviation grows with (G / g_max) to this power
    noise_log_time: Array = 0.0  # [s] t_r of 1/f noise: times sqrt(ln((t + t_r) / (2 t_r))), 0 = no growth
    telegraph: Array = 0.0  # [range] amplitude of a two-level trap
    telegraph_occupancy: Array = 0.5  # [share] of the time in which the trap lowers the conductance
    telegraph_time: Array = 1e-3  # [s] correlation time of the trap
    adc_bits: Array = 0  # [bit] over g_min..g_max, 0 = no rounding


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Change of a written conductance, with g = G / g_max and t the time since the last pulse.

    Relaxation adds (shift(t) + sigma(g, t) z) g_max with one standard normal z a pulse; shift and the polynomial
    sigma(g) are given at two times and linear in ln t between them (constant outside). Drift multiplies by
    (t / drift_t0)^(-nu), nu = |mu + s z|, mu and s = clip(a + b ln g, low, high) for t > drift_t0.
    """

    early: Array = 1e-6  # [s] the first of the two times
    late: Array = 1.0  # [s] the second
    shift_early: Array = 0.0  # [g_max]
    shift_late: Array = 0.0  # [g_max]
    sigma_early: tuple[Array, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)  # [g_max] coefficients of 1, g, g^2, g^3, g^4
    sigma_late: tuple[Array, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)  # [g_max]
    drift_t0: Array = 1.0  # [s]
    drift_mean: tuple[Array, ...] = (0.0, 0.0, 0.0, 0.0)  # [1] a, b, low, high
    drift_spread: tuple[Array, ...] = (0.0, 0.0, 0.0, 0.0)  # [1] a, b, low, high


class State(NamedTuple):
    """Memory of a cell, arrays (cells,); None where the device has no use for it."""

    x: Array  # [range] state written by the pulses
    age: Array  # [s] since the last pulse
    relaxation: Array | None = None  # standard normal, drawn at the last pulse
    drift: Array | None = None  # standard normal of the cell's drift exponent
    trap: Array | None = None  # [1] probability that the telegraph trap is occupied, 0 or 1 right after a read


class ReadMoments(NamedTuple):
    """Moments of a read of each cell, arrays (cells,)."""

    mean: Array  # [S]
    variance: Array  # [S^2], the float 0 without read noise


class Reads:
    """The common part of devices: all but what a pulse does, and how cells differ."""

    g_min: Array  # [S] conductance at x = 0
    g_max: Array  # [S] conductance at x = 1
    read: Read
    retention: Retention | None

    def fresh(self, x: Array, noise: Array) -> State:
        """The state of cells at `x` (cells,) [range] that rest; noise (2, cells) standard normal: drift, trap."""
        age = x * 0.0 + self.read.duration
        trap = (
            None
            if is_zero(self.read.telegraph)
            else (noise[1] < _normal_quantile(self.read.telegraph_occupancy)) + 0.0 * x
        )
        if self.retention is None:
            return State(x=x, age=age, trap=trap)
        return State(x=x, age=age, relaxation=x * 0.0, drift=noise[0] * 1.0, trap=trap)

    def rest(self, state: State, seconds: Array) -> State:
        """The state after `seconds` (float or (cells,)) [s] without a pulse."""
        return state._replace(age=state.age + seconds, trap=self._trap_after(state.trap, seconds))

    def _trap_after(self, trap: Array | None, seconds: Array) -> Array | None:
        """Probability that the trap is occupied `seconds` after it was `trap`: it forgets exponentially."""
        if trap is None:
            return None
        occupancy = self.read.telegraph_occupancy
        return occupancy + (trap - occupancy) * math.exp(-1.0) ** (seconds / self.read.telegraph_time)

    def conductance(self, state: State) -> Array:
        """True conductance [S], (cells,), `state.age` after the last pulse."""
        g = self.g_min + state.x * (self.g_max - self.g_min)
        return g if self.retention is None else self._retained(g, state)

    def sense(self, state: State, noise: Array) -> tuple[Array, State]:
        """One read [S], (cells,), and the state after it; noise (2, cells) standard normal: thermal, trap."""
        xp = namespace(state.x, noise)
        g = self.conductance(state)
        size, read = self.g_max - self.g_min, self.read
        seen = g
        if not is_zero(read.noise):
            seen = seen + self.read_deviation(g, state.age) * noise[0]
        trap = state.trap
        if trap is not None:
            trap = (noise[1] < _normal_quantile(self._trap_after(trap, read.duration))) + 0.0 * g
            seen = seen - read.telegraph * size * trap
        if not is_zero(read.adc_bits):
            steps = floor_at(2.0**read.adc_bits - 1, 1.0)
            lsb = size / steps
            rounded = self.g_min + lsb * clip(xp.round((seen - self.g_min) / lsb), 0.0, steps)
            seen = rounded if isinstance(read.adc_bits, int) else xp.where(read.adc_bits > 0, rounded, seen)
        return seen, state._replace(trap=trap, age=state.age + read.duration)

    def read_moments(self, state: State) -> ReadMoments:
        """Mean and variance of one read of each cell where no converter rounds it, as in a sum along a line."""
        g, read = self.conductance(state), self.read
        mean, variance = g, 0.0
        if not is_zero(read.noise):
            variance = self.read_deviation(g, state.age) ** 2 + 0.0 * g
        if state.trap is not None:
            height = read.telegraph * (self.g_max - self.g_min)
            occupied: Array = self._trap_after(state.trap, read.duration)
            mean = g - height * occupied
            variance = variance + height**2 * occupied * (1 - occupied) + 0.0 * g
        return ReadMoments(mean, variance)

    def read_deviation(self, g: Array, age: Array) -> Array:
        """Standard deviation [S] of the thermal noise of a read of `g` (cells,) [S], `age` [s] after the last pulse."""
        xp, read = namespace(g), self.read
        sigma = read.noise * (self.g_max - self.g_min)
        if not is_zero(read.noise_exponent):
            sigma = sigma * floor_at(g / self.g_max, TINY) ** read.noise_exponent
        if not is_zero(read.noise_log_time):
            t_r = floor_at(read.noise_log_time * 1.0 + 0.0 * g, 1e-20)
            elapsed = floor_at(age, 0.0) + read.duration
            growth = xp.sqrt(floor_at(xp.log((elapsed + t_r) / (2 * t_r)), TINY))
            sigma = sigma * xp.where(t_r > 1e-20, growth, 1.0 + 0.0 * g)
        return sigma

    def _retained(self, g: Array, state: State) -> Array:
        """Conductance [S] after relaxation and drift."""
        xp, kept = namespace(g), self.retention
        assert kept is not None
        age = floor_at(state.age, 1e-9)
        early, late = kept.early + 0.0 * age, kept.late + 0.0 * age
        part = clip(xp.log(age / early) / floor_at(xp.log(late / early), TINY), 0.0, 1.0)
        level = g / self.g_max

        def sigma(c: tuple[Array, ...]) -> Array:
            return floor_at(c[0] + level * (c[1] + level * (c[2] + level * (c[3] + level * c[4]))), 0.0)

        spread = sigma(kept.sigma_early) * (1 - part) + sigma(kept.sigma_late) * part
        shift = kept.shift_early * (1 - part) + kept.shift_late * part
        g = floor_at(g + self.g_max * (shift + spread * state.relaxation), 0.0)
        log_level = xp.log(floor_at(g / self.g_max, TINY))
        mean, deviation = (
            clip(c[0] + c[1] * log_level, c[2] + 0.0 * age, c[3] + 0.0 * age)
            for c in (kept.drift_mean, kept.drift_spread)
        )
        decades = xp.log(floor_at(age / kept.drift_t0, 1.0))
        return g * xp.exp(-xp.abs(mean + deviation * state.drift) * decades)

    def pulse_energy(self, before: Array, after: Array, amplitude: Array, width: Array) -> Array:
        """V^2 G t [J] with the mean of the conductances [S] before and after the pulse; arrays (cells,)."""
        return 0.5 * (before + after) * amplitude**2 * width

    def read_energy(self, g: Array) -> Array:
        """V^2 G t [J] of one read of conductances `g` [S]."""
        return g * (self.read.voltage**2 * self.read.duration)


def _normal_quantile(share: Array) -> Array:
    """Standard normal quantile, so that `normal < quantile` has the probability `share`."""
    from scipy.special import ndtri  # here, for `import memenv` to stay light

    xp = namespace(share)
    return ndtri(share) if xp is np else xp.special.ndtri(share)
