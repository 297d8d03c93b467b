"""PCM with memory: the step of a SET pulse depends on how many came since the last RESET, which is complete."""

from dataclasses import dataclass
from math import log
from typing import NamedTuple, cast

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Driver
from memenv.devices.physics.model import Physics
from memenv.devices.reads import Read, Reads, Retention, State

RANGE = 12.0  # [uS] g_max, and as a share of the 25 uS in which drift, noise and programming error are published:
SHARE = RANGE / 25.0
LONGEST = 200  # SET pulses after which the mean conductance no longer grows


class Remembering(NamedTuple):
    """A `State` that knows how many SET pulses came since the last RESET."""

    x: Array
    age: Array
    relaxation: Array
    drift: Array
    sets: Array
    trap: None = None


@dataclass(frozen=True, kw_only=True)
class PcmWithMemory(Physics):
    """A SET pulse changes G [uS] by a normal with mean m1 G + c1 + A1 exp(-p/a), deviation m2 G + c2 + A2 exp(-p/a).

    p counts SET pulses of 50 ns since the last RESET (Nandakumar et al., J. Appl. Phys. 124, 152135 (2018),
    10.1063/1.5042408). Shorter and longer ones count as so many pulses (an assumption); the amplitude, of which the
    source knows one, does not matter. A RESET leaves the amorphous state, and forgets. Programming error, drift and
    read noise as in the preset `pcm`.
    """

    name: str = "physics/pcm"
    source: str = (
        "Nandakumar et al. 2018, 10.1063/1.5042408 (second-hand numbers of the SET pulse); drift, programming error "
        "and read noise as in the preset pcm. Range (12 uS), widths other than 50 ns and driver are assumptions."
    )
    g_min: Array = 1e-7
    g_max: Array = 1e-6 * RANGE
    driver: Driver = Driver(set_min=0.8, set_max=1.2, reset_min=1.2, reset_max=1.8, width_min=1e-8, width_max=2e-7)
    read: Read = Read(noise=0.0088 * 25.0 * SHARE**0.35 / (RANGE - 0.1), noise_exponent=0.35, noise_log_time=2.5e-7)
    retention: Retention | None = Retention(
        early=1e-6,
        late=20.0,
        sigma_late=(0.26348 / RANGE, 1.9650 * SHARE / RANGE, -1.1731 * SHARE**2 / RANGE, 0.0, 0.0),
        drift_t0=20.0,
        drift_mean=(0.0244 - 0.0155 * log(SHARE), -0.0155, 0.049, 0.1),
        drift_spread=(-0.0059 - 0.0125 * log(SHARE), -0.0125, 0.008, 0.045),
    )
    spread: float = 0.0  # the source's deviation holds that of devices
    cycle_noise: float = 0.0
    mean: tuple[float, float, float] = (-0.084, 0.880, 1.40)  # m1, c1, A1
    deviation: tuple[float, float, float] = (0.091, 0.260, 2.15)  # m2, c2, A2
    forgetting: float = 2.6  # [pulses] a
    unit: float = 5e-8  # [s] of the source's pulse
    amorphous: float = 0.1  # [uS] after a RESET

    pulse_channels = 2  # step, programming error

    def fresh(self, x: Array, noise: Array) -> State:
        """Cells that rest at `x`, as if SET pulses without noise had brought them there."""
        p = np.arange(LONGEST + 1.0)
        curve = np.full(LONGEST + 1, self.amorphous)
        for k in range(LONGEST):
            curve[k + 1] = curve[k] + self._moment(self.mean, curve[k], p[k])
        sets = np.interp(1e6 * (self.g_min + x * (self.g_max - self.g_min)), curve, p)
        state = Reads.fresh(self, x, noise)
        return cast(State, Remembering(state.x, state.age, state.relaxation, state.drift, sets))

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """One step of the size that so many pulses would make, or the amorphous state."""
        cell = cast(Remembering, state)
        dose = self.acting(width, noise, count) / self.unit
        g = 1e6 * (self.g_min + cell.x * (self.g_max - self.g_min))
        step = dose * self._moment(self.mean, g, cell.sets)
        step = step + np.sqrt(dose) * np.maximum(self._moment(self.deviation, g, cell.sets), 0.0) * noise[0]
        up, pulsed = np.asarray(amplitude) > 0, (np.asarray(amplitude) != 0) & (dose > 0)
        written = self.written(state, 1e-6 * np.where(up, g + step, self.amorphous), amplitude, width * count)
        sets = np.where(pulsed, np.where(up, cell.sets + dose, 0.0), cell.sets)
        relaxation = np.where(pulsed, noise[1], cell.relaxation)
        return cast(State, cast(Remembering, written)._replace(sets=sets, relaxation=relaxation))

    def _moment(self, numbers: tuple[float, float, float], g: Array, sets: Array) -> Array:
        slope, constant, early = numbers
        return slope * g + constant + early * np.exp(-sets / self.forgetting)
