"""An integrated metal oxide by fits to its chips: each pulse makes a step that amplitude, width and state decide."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Driver
from memenv.devices.physics.model import Physics
from memenv.devices.reads import State

BINS = np.array([5.62, 10.0, 17.8, 31.6, 56.2, 100.0, 178.0])  # [uS] between the eight rows of coefficients
SET = np.array(  # c1 ... c4, d0 ... d4
    [
        [-0.47, -3.851, 9.369, 10.4, -1.26, -0.02, 0.82, -0.57, 0.94],
        [-0.47, -3.769, 7.512, 8.419, -1.22, -0.02, 0.84, -0.57, 0.81],
        [-0.47, -3.729, 6.801, 7.582, -1.03, -0.02, 0.72, -0.47, 0.63],
        [-0.47, -3.517, 6.180, 6.851, -0.78, -0.01, 0.53, -0.33, 0.45],
        [-0.47, -3.426, 5.946, 6.558, -0.37, 5e-3, 0.15, -0.01, 0.11],
        [-0.47, -3.373, 5.005, 5.792, 0.14, 0.01, -0.29, 0.31, -0.21],
        [-0.47, -3.422, 4.936, 5.840, 0.34, 0.01, -0.41, 0.37, -0.29],
        [-0.47, -3.572, 4.864, 5.785, 0.26, 0.01, -0.29, 0.25, -0.20],
    ]
)
RESET = np.array(
    [
        [0.89, 8.96, 6.2, -10.90, 0.04, 2e-4, 0.02, 5e-3, 0.03],
        [0.51, 6.88, 6.2, -8.61, -5e-3, -4e-4, -2e-3, -0.01, 0.02],
        [0.34, 4.93, 6.2, -8.14, -0.07, -3e-3, -0.07, -0.05, -0.02],
        [0.25, 3.63, 6.2, -7.77, -0.11, -4e-3, -0.11, -0.09, -0.03],
        [0.23, 2.91, 6.2, -7.42, -0.15, -6e-3, -0.17, -0.13, -0.06],
        [0.21, 2.33, 6.2, -7.30, -0.12, -5e-3, -0.16, -0.13, -0.06],
        [0.22, 1.93, 6.2, -7.10, -0.04, -2e-3, -0.10, -0.11, -0.04],
        [0.28, 1.68, 6.2, -7.00, 0.10, 3e-3, 0.02, -0.05, -4e-3],
    ]
)
STEP = 155.0, -89.0  # [uS] c0 of SET and RESET


@dataclass(frozen=True, kw_only=True)
class Nili(Physics):
    """A pulse adds D exp(xi (d0 + d1 L^2 + d2 V L + d3 V^2 L + d4 V^3)), L = log10(t / 1 s), xi a normal of each cell.

    D = c0 (s - tanh(c1 (L - c2))) (tanh(c3 V - c4) + s), s = 1 (SET) or -1 (RESET), coefficients by the conductance
    before the pulse: two halves of a pulse are not the whole. Nili et al., "Comprehensive Compact Phenomenological
    Modeling of Integrated Metal-Oxide Memristors" (2020), where 1 + xi (...) stands for the exponential: there, a SET
    pulse of 1 V lowers the conductance of every sixth cell at 12 uS. Where the coefficients were published again, the
    base of the logarithm is not stated: with e, the deviation of a step of 0.8 V and 0.1 us would be eleven times the
    step, with 10 it is four times, and the middle of a SET's times is 0.1 ms, of a range from 0.1 us to 0.1 s.
    """

    name: str = "physics/nili"
    source: str = (
        "Nili et al. 2020; coefficients (Apache-2.0) as in pytorch-metal-oxide-memristor-crossbar, second-hand. The "
        "base 10 of the logarithm, widths, read noise (0.4 %), cycle noise (10 % of a step) and log-normal steps from "
        "cell to cell are assumptions."
    )
    g_min: Array = 3.16e-6
    g_max: Array = 3.16e-4
    driver: Driver = Driver(set_min=0.8, set_max=1.15, reset_min=0.8, reset_max=1.5, width_min=1e-7, width_max=1e-3)
    deviation: Array = 0.0  # xi [1]

    def fabricate(self, rng: Any, cells: int) -> Self:
        """A chip of cells, each with a deviation of its own."""
        return dataclasses.replace(self, deviation=rng.standard_normal((1, cells))[0])

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """One step after the other; the noise of a train is the same in each."""
        self.check(amplitude, width)
        factor, g = np.exp(self.cycle_noise * noise[0]), 1e6 * (self.g_min + state.x * (self.g_max - self.g_min))
        for k in range(int(np.max(count))):
            moved = g + factor * self._step(g, np.asarray(amplitude), np.log10(np.maximum(width, 1e-30)))
            g = np.where(k < count, np.clip(moved, 1e6 * self.g_min, 1e6 * self.g_max), g)
        return self.written(state, 1e-6 * g, amplitude, width * count)

    def _step(self, g: Array, volts: Array, log_time: Array) -> Array:
        """[uS] that a pulse adds without noise to cells of g [uS]."""
        up, row = volts > 0, np.searchsorted(BINS, g)
        sign, most = np.where(up, 1.0, -1.0), np.where(up, *STEP)
        c1, c2, c3, c4, *d = np.moveaxis(np.where(up[..., None], SET[row], RESET[row]), -1, 0)
        mean = most * (sign - np.tanh(c1 * (log_time - c2))) * (np.tanh(c3 * volts - c4) + sign)
        powers = 1.0, log_time**2, volts * log_time, volts**2 * log_time, volts**3
        own = sum(coefficient * power for coefficient, power in zip(d, powers, strict=True))
        return mean * np.exp(self.deviation * own)
