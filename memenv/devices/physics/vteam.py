"""VTEAM: a threshold in voltage, a power of the excess, a resistance that is linear in the state."""

from dataclasses import dataclass

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Driver
from memenv.devices.physics.model import Physics
from memenv.devices.reads import Read, State


@dataclass(frozen=True, kw_only=True)
class Vteam(Physics):
    """dw/dt = k_off (v/v_off - 1)^a_off for v > v_off, k_on (v/v_on - 1)^a_on for v < v_on, 0 <= w <= d.

    R = R_on + (R_off - R_on) w / d (Kvatinsky et al., IEEE TCAS-II 62, 786 (2015), 10.1109/TCSII.2015.2433536); numbers
    as in MemTorch's model. Its v < 0 SETs: v is minus our amplitude. The rate does not depend on w: exact over a pulse.
    """

    name: str = "physics/vteam"
    source: str = (
        "Kvatinsky et al. 2015, 10.1109/TCSII.2015.2433536, parameters as in MemTorch's model. Driver, read (10 mV, "
        "below both thresholds; noise 0.4 %), spread 20 % and cycle noise 10 % are assumptions."
    )
    g_min: Array = 1e-3
    g_max: Array = 2e-2
    driver: Driver = Driver(set_min=0.2, set_max=0.3, reset_min=0.02, reset_max=0.4, width_min=1e-9, width_max=1e-7)
    read: Read = Read(voltage=0.01, noise=0.004)
    d: float = 3e-9  # [m]
    k_on: float = -10.0  # [m/s]
    k_off: float = 5e-4  # [m/s]
    a_on: float = 3.0
    a_off: float = 1.0
    v_on: float = -0.2  # [V]
    v_off: float = 0.02  # [V]

    not_compiled = ""

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """w moves at a constant rate, and stops at its bounds."""
        on, off = (np.maximum(-amplitude / v - 1.0, 0.0) for v in (self.v_on, self.v_off))
        rate = self.k_on * on**self.a_on + self.k_off * off**self.a_off
        r_on, r_off = 1.0 / self.g_max, 1.0 / self.g_min
        w = (1.0 / (self.g_min + state.x * (self.g_max - self.g_min)) - r_on) / (r_off - r_on)
        w = np.minimum(np.maximum(w + rate / self.d * self.acting(width, noise, count), 0.0), 1.0)
        return self.written(state, 1.0 / (r_on + w * (r_off - r_on)), amplitude, width * count)
