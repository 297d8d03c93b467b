"""The gate of a 1T1R cell: the transistor in series, whose word line limits what a pulse can do to the memristor.

With v the gate voltage that a pulse reaches, w (1 - exp(-(t / rise)^stretch)) of a word line at w [V] for t [s],

    SET stops at x = min(x_hi, stops(v) + mismatch(v) z_cell + cycle_noise(v) z)                            (1)
    RESET acts with min(|V|, v - loss)                                                                      (2)

z being standard normals, of the cell and of the pulse, the latter that of the cycle noise: a SET that has arrived does
not feel its dose, one that has not does not feel where it stops, and what is added to the write is independent. (1) is
the transistor's saturation current, its table linear between the gate voltages at which it was measured; (2) is a
source follower, which passes its gate voltage less `loss`. stretch = 1 is a word line that is charged through a
resistance; below 1 it stands for SETs that creep on with time, as filaments under a limited current do.
"""

import math
from dataclasses import dataclass

import numpy as np

from memenv.arrays import Array, at_most, clip, expm1, floor_at, is_zero, namespace

AT_ONCE = 1e-18  # [s] the least rise among cells
FLAT = 1e-9  # [range] by which stops differ at least that tell a voltage
SLACK = 1e-6  # [steps] by which the last one may miss the largest voltage, as quotients round


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The gate voltages of the driver and what they do; low = high is a gate that is held."""

    low: Array = 1.0  # [V] least gate voltage of the driver
    high: Array = 3.0  # [V] largest one: the gate stands here where nobody chooses
    step: float = 0.0  # [V] between those that the driver makes, from `low` on; 0 = any
    rise: Array = 0.0  # [s] time constant of the word line, 0 = at once
    stretch: Array = 1.0  # exponent of time in units of it
    loss: Array = 0.7  # [V] by which what RESET acts with stays below the gate
    volts: tuple[Array, ...] = ()  # [V] of the table, ascending
    stops: tuple[Array, ...] = ()  # [range] where a SET stops
    mismatch: tuple[Array, ...] = ()  # [range] its standard deviation from cell to cell, empty = none
    cycle_noise: tuple[Array, ...] = ()  # [range] and from pulse to pulse
    cell: Array = 0.0  # standard normal of a cell, 0 of the nominal device

    @property
    def held(self) -> bool:
        """True where there is no voltage to choose."""
        return bool(self.low == self.high)

    def volts_of(self, signal: Array) -> Array:
        """Gate voltages (cells,) [V] of signals in [-1, 1], as the driver makes them."""
        above = 0.5 * (signal + 1.0) * (self.high - self.low)
        if self.step:
            last = 1.0 * math.floor((self.high - self.low) / self.step + SLACK)
            above = self.step * np.clip(np.floor(above * (1.0 / self.step) + 0.5), 0.0, last)
        return self.low + above

    def signal_of(self, volts: Array) -> Array:
        """The inverse of `volts_of`, clipped to the driver's."""
        return clip(2.0 * (volts - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0)

    def to_stop(self, x: Array, width: Array) -> Array:
        """The least gate voltages (cells,) [V] at which SETs of `width` [s] stop at `x` (cells,) [range], unclipped."""
        volts: Array = self.volts[0] + 0.0 * x
        for low, high, at, beyond in zip(self.volts, self.volts[1:], self.stops, self.stops[1:], strict=False):
            volts = volts + (high - low) * clip((x - at) / max(beyond - at, FLAT), 0.0, 1.0)
        return volts / self.share(width + 0.0 * x)

    def share(self, width: Array) -> Array:
        """Share of the gate voltage that pulses of `width` (cells,) [s] reach."""
        if is_zero(self.rise):
            return 1.0
        return -expm1(-((width / floor_at(self.rise + 0.0 * width, AT_ONCE)) ** self.stretch))

    def limits(
        self, up: Array, magnitude: Array, width: Array, x: Array, x_hi: Array, noise: Array
    ) -> tuple[Array, Array]:
        """Magnitudes [V] that act and upper bounds [range], each (cells,), under the gate at `high`.

        Args:
            up: (cells,) SET, else RESET.
            magnitude: (cells,) [V] of the pulse.
            width: (cells,) [s] of the pulse.
            x: (cells,) [range] states, which no SET lowers.
            x_hi: [range] upper bound of the cell itself.
            noise: (cells,) standard normal of the pulse, or 0.
        """
        xp = namespace(x, magnitude)
        volts = (self.high + 0.0 * x) * self.share(width + 0.0 * x)
        passed = at_most(magnitude, floor_at(volts - self.loss, 0.0))
        stop = self._at(volts, self.stops)
        stop = stop + self._at(volts, self.mismatch) * self.cell + self._at(volts, self.cycle_noise) * noise
        stop = at_most(floor_at(stop, x), x_hi)  # no SET lowers a state
        return xp.where(up, magnitude, passed), xp.where(up, stop, x_hi)

    def _at(self, volts: Array, row: tuple[Array, ...]) -> Array:
        """A row of the table at gate voltages (cells,) [V], linear in between and constant outside; 0 without one."""
        if not row:
            return 0.0
        value = row[0]
        for at, beyond, low, high in zip(self.volts, self.volts[1:], row, row[1:], strict=False):
            value = value + (high - low) * clip((volts - at) / (beyond - at), 0.0, 1.0)
        return value


def to_choose(gate: Gate | None) -> Gate | None:
    """The gate, where there is one and a voltage to choose."""
    return None if gate is None or gate.held else gate
