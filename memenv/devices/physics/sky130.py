"""The ReRAM cell of SkyWater's open 130 nm process: a filament that grows by field and Joule heat."""

from dataclasses import dataclass

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Driver
from memenv.devices.physics.model import Physics, travelled
from memenv.devices.reads import Read, State

KELVIN = 8.617333262e-5  # [eV/K]


@dataclass(frozen=True, kw_only=True)
class Sky130(Physics):
    """dT/dt = v0 [exp(-(E_ox - gamma a0 V/Tox) / kTemp) - exp(-(E_r + gamma a0 V/Tox) / kTemp)], T in 3.3 to 4.9 nm.

    gamma = 16.5 - 1.25 ((Tox - T)/nm)^3, I = I0 exp(-(Tox - T)/(Tox - Tc)) sinh(V / 0.43 V). The heat time, 0.23 ns, is
    far below the shortest pulse: Temp = 300 K + 0.23 ns |V I| / C.
    """

    name: str = "physics/sky130"
    source: str = (
        "SkyWater's open ReRAM model (sky130_fd_pr_reram, Apache-2.0): equations and numbers, with the temperature in "
        "balance. Driver, read noise (0.4 % at g_max, growing with the root of the conductance), spread 20 % and cycle "
        "noise 10 % are assumptions."
    )
    g_min: Array = 2.98e-7  # of T = 3.3 nm at 0.1 V
    g_max: Array = 1.0019e-4  # of T = 4.9 nm
    driver: Driver = Driver(set_min=0.8, set_max=1.8, reset_min=0.8, reset_max=2.0, width_min=1e-8, width_max=1e-6)
    read: Read = Read(noise=0.004, noise_exponent=0.5)
    thickness: float = 5.0  # [nm] Tox
    critical: float = 4.7249  # [nm] Tc
    shortest: float = 3.3  # [nm]
    longest: float = 4.9  # [nm]
    velocity: float = 150e9  # [nm/s]
    barriers: tuple[float, float] = (1.501, 1.500)  # [eV] of growth, of dissolution
    jump: float = 0.25  # [nm] a0
    current: float = 6.140e-5  # [A]
    scale: float = 0.430  # [V]
    heating: float = 0.23e-9 / 3.1825e-16  # [K/W]

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """The filament grows (SET) or dissolves (RESET)."""
        self.check(amplitude, width)
        full = self.current * np.sinh(self.read.voltage / self.scale) / self.read.voltage  # [S] without a gap
        decay, volts = self.thickness - self.critical, np.asarray(amplitude)
        g = self.g_min + state.x * (self.g_max - self.g_min)
        length = np.clip(self.thickness + decay * np.log(g / full), self.shortest, self.longest)

        def rate(t: np.ndarray) -> np.ndarray:
            gap = self.thickness - t
            power = np.abs(volts * self.current * np.exp(-gap / decay) * np.sinh(volts / self.scale))
            thermal = KELVIN * (300.0 + self.heating * power)
            field = (16.5 - 1.25 * gap**3) * self.jump * volts / self.thickness  # [eV]
            grow, shrink = (np.exp(-(e - s * field) / thermal) for e, s in zip(self.barriers, (1, -1), strict=True))
            speed: np.ndarray = self.velocity * np.abs(grow - shrink)
            return speed

        end = np.where(volts > 0, self.longest, self.shortest)
        length = travelled(length, end, rate, self.acting(width, noise, count))
        return self.written(state, full * np.exp(-(self.thickness - length) / decay), volts, width * count)
