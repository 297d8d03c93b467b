"""The law of a pulse: what one programming pulse does to the state of a memristor, exactly, and its inverse.

A cell holds a dimensionless state x; its conductance is G = g_min + x (g_max - g_min). With u the distance of x to a
pole and s the dose of a pulse, SET (x rises) and RESET (x falls) each follow

    dr/ds = -+ r^gamma,   r = u / (1 - kappa u)                                                             (1)
    s = dose * n * exp(cycle_noise z - cycle_noise^2 / 2)                                                   (2)
    n = (t / width) * expm1((|V| - threshold - shift) / slope) / expm1((amplitude - threshold) / slope)     (3)

so that n counts the pulses in units of the reference pulse (amplitude, width). The pole lies `margin` beyond the bound
that the pulse drives towards (steps shrink, minus sign), or, where `growing`, the same distance behind the bound that
it leaves (steps grow, plus sign). kappa puts a second pole, with exponent 2 - gamma, at the distance 1 / kappa from the
first: the Moebius substitution keeps (1) exact with it. The flow is integrated over the whole pulse: two half pulses
equal one, no pulse passes a bound, and there is a gradient everywhere. gamma = 0 is the linear device, gamma = 1 with
kappa = 0 the soft bounds of Fusi & Abbott (10.1038/nn1859) and NeuroSim's exponential LTP/LTD
(10.1109/TCAD.2018.2789723); the exponential rate above a threshold is the usual compact form of field-accelerated
switching.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, at_most, clip, expm1, floor_at, is_zero, namespace

TINY = 1e-12  # the least distance to a pole [range]: keeps r^(gamma - 1) and its derivatives finite there
STEEPEST = 80.0  # the largest exponent of a rate, which single precision holds
MOST_PULSES = 1e18  # what one pulse is worth at most [reference pulses]
DOSES = (1e-9, 1e12)  # of a reference pulse; times MOST_PULSES and the noise of a cycle single precision holds it
GAMMAS = (0.0, 8.0)
SPREADS = (0.0, 5.0)  # standard deviations of logarithms, or in units of the range
FLOOR = 1e-7  # the least 1 + (gamma - 1) r^(gamma - 1) s: the flow has arrived (or has run away, and meets the bound)


@dataclass(frozen=True, kw_only=True)
class Response:
    """Law of the pulses of one polarity; floats for a nominal device, arrays (cells,) for a chip."""

    amplitude: Array = 1.0  # [V] magnitude of the reference pulse
    width: Array = 1e-6  # [s] duration of the reference pulse
    threshold: Array = 0.5  # [V] no change at or below this magnitude
    slope: Array = 0.2  # [V] of the exponential growth of the rate above threshold
    shift: Array = 0.0  # [V] a cell's departure from the threshold
    dose: Array = 0.05  # [1] s of one reference pulse
    gamma: Array = 1.0  # [1] exponent of the law at the pole
    margin: Array = 0.0  # [range] from the bound to the pole beyond it
    growing: Array = False  # the pole lies behind: steps grow on the way
    kappa: Array = 0.0  # [1/range] inverse distance between the two poles, 0 = one pole
    cycle_noise: Array = 0.0  # [1] standard deviation of ln s from pulse to pulse
    additive_noise: Array = 0.0  # [range] standard deviation added by one reference pulse, grows with sqrt(n)

    def law(self) -> "Law":
        """The parameters that one pulse needs."""
        return Law(
            onset=self.threshold + self.shift,
            slope=self.slope,
            unit=self.width * _drive(self.amplitude - self.threshold, self.slope),
            dose=self.dose,
            gamma=self.gamma,
            margin=self.margin,
            growing=self.growing,
            kappa=self.kappa,
            cycle_noise=self.cycle_noise,
            additive_noise=self.additive_noise,
        )


class Law(NamedTuple):
    """The response of cells to one pulse each, floats or arrays (cells,); fields as in `Response`."""

    onset: Array  # [V] threshold and shift
    slope: Array  # [V]
    unit: Array  # [s] width * expm1((amplitude - threshold) / slope)
    dose: Array
    gamma: Array
    margin: Array
    growing: Array
    kappa: Array
    cycle_noise: Array
    additive_noise: Array


def equivalent_pulses(law: Law, magnitude: Array, width: Array) -> Array:
    """Equation (3): a pulse of `magnitude` [V] and `width` [s], (cells,), in reference pulses, 0 below threshold."""
    pulses = width / law.unit * _drive(floor_at(magnitude - law.onset, 0.0), law.slope)
    return at_most(pulses, MOST_PULSES)


def _drive(volts: Array, slope: Array) -> Array:
    """Growth of the rate `volts` (cells,) [V] above threshold; slopes with mismatch must not take it to infinity."""
    return expm1(at_most(volts / slope, STEEPEST))


def flow(r: Array, gamma: Array, s: Array) -> Array:
    """r >= 0 after the dose s of dr/ds = -r^gamma, exactly; a negative s runs the flow backwards (r grows)."""
    xp = namespace(r, gamma, s)
    if isinstance(gamma, float | int):
        if gamma == 1:
            return r * xp.exp(-s)
        if gamma == 0:
            return floor_at(r - s, 0.0)
    a = _exponent_above_one(gamma)
    r = floor_at(r, 0.0)
    exponent = xp.log1p(floor_at(a * s * (r + TINY) ** a, FLOOR - 1.0)) / a
    return r * xp.exp(clip(-exponent, -60.0, 60.0))


def flow_dose(r: Array, end: Array, gamma: Array) -> Array:
    """The inverse of `flow`: the dose s that takes r to `end`; both > 0."""
    xp = namespace(r, end, gamma)
    if isinstance(gamma, float | int) and gamma == 1:
        return xp.log(r / end)
    a = _exponent_above_one(gamma)
    far, near = (0.5 * clip(-a * xp.log(place), -60.0, 60.0) for place in (end, r))
    apart = far - near  # end^-a - r^-a by a hyperbolic sine: finite in float32, and no difference of ones where a is 0
    return xp.exp(far + near) * (expm1(apart) - expm1(-apart)) / a


def _exponent_above_one(gamma: Array) -> Array:
    """gamma - 1, kept off zero in arrays: there log1p(a z) / a is already z to all digits."""
    if isinstance(gamma, float | int):
        return gamma - 1.0
    xp = namespace(gamma)
    return xp.where(xp.abs(gamma - 1.0) < 1e-8, 1e-8, gamma - 1.0)


class _Poles(NamedTuple):
    """Places of the poles for each cell and polarity."""

    sign: Array  # +1 SET, -1 RESET
    shrinking: Array  # +1 steps shrink on the way, -1 steps grow
    bound: Array  # [range] the bound next to the pole


def _poles(law: Law, x_lo: Array, x_hi: Array, up: Array) -> _Poles:
    xp = namespace(up, x_lo, x_hi)
    sign = xp.where(up, 1.0, -1.0)
    if law.growing is False:
        return _Poles(sign, 1.0, xp.where(up, x_hi, x_lo))
    shrinking = xp.where(law.growing + 0 * up > 0, -1.0, 1.0)
    return _Poles(sign, shrinking, xp.where(sign * shrinking > 0, x_hi, x_lo))


def move(law: Law, x: Array, x_lo: Array, x_hi: Array, up: Array, s: Array, noise: Array = 0.0) -> Array:
    """Equation (1): the state (cells,) after the dose s >= 0 (cells,), SET where `up`, else RESET; never past a bound.

    `noise` (cells,) [range] adds to the step before the bound stops it, as in aihwkit and in NeuroSim.
    """
    sign, shrinking, bound = _poles(law, x_lo, x_hi, up)
    u = floor_at(sign * shrinking * (bound - x) + law.margin, 0.0)
    dose = s if law.growing is False else floor_at(shrinking * s, -60.0)  # e^60 is beyond any bound
    if is_zero(law.kappa):
        moved = u - flow(u, law.gamma, dose)
    else:
        r = flow(u / floor_at(1 - law.kappa * u, 1e-6), law.gamma, dose)
        moved = u - r / (1 + law.kappa * r)
    return clip(x + sign * shrinking * moved + noise, x_lo, x_hi)


def dose_to_reach(law: Law, x: Array, goal: Array, x_lo: Array, x_hi: Array, up: Array) -> Array:
    """The inverse of `move`: the dose s >= 0 (cells,) from x to `goal`; 0 if that lies behind, large beyond reach."""
    sign, shrinking, bound = _poles(law, x_lo, x_hi, up)
    start, end = (floor_at(sign * shrinking * (bound - place) + law.margin, 1e-6) for place in (x, goal))
    if not is_zero(law.kappa):
        start, end = (u / floor_at(1 - law.kappa * u, 1e-6) for u in (start, end))
    return floor_at(shrinking * flow_dose(start, end, law.gamma), 0.0)


def pulse_worth(
    law: Law, low: Array, high: Array, width_min: float, width_max: float, count: Array, width: Array
) -> tuple[Array, Array]:
    """The inverse of `equivalent_pulses`: magnitude (cells,) [V] and width (cells,) [s] worth `count` reference pulses.

    The amplitude between `low` and `high` [V] is chosen for the `width` asked for; where it does not reach, the width
    between `width_min` and `width_max` [s] makes up for it.
    """
    xp = namespace(count, width)
    ideal = law.onset + law.slope * xp.log1p(count * law.unit / width)
    amplitude = clip(ideal, low, high)
    drive = _drive(floor_at(amplitude - law.onset, 1e-9), law.slope)
    filled = clip(count * law.unit / drive, width_min, width_max)
    return amplitude, xp.where((ideal >= low) & (ideal <= high), width + 0.0 * count, filled)


def reachable_kappa(law: Law | Response, size: Array) -> Array:
    """kappa, at most such that the second pole lies outside a range of `size` (cells,) [range]."""
    if is_zero(law.kappa):
        return law.kappa
    return np.minimum(law.kappa, 0.999 / floor_at(size + law.margin, TINY))
