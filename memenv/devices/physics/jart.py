"""JART VCM: oxygen vacancies in a disc, moved by field and Joule heat; the circuit is solved, not fitted."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from memenv.arrays import Array, take
from memenv.devices.device import Driver
from memenv.devices.physics.model import Physics, travelled
from memenv.devices.reads import State

CHARGE = 1.602176634e-19  # [C]
BOLTZMANN = 8.617333262e-5  # [eV/K]
PLANCK = 4.135667696e-15  # [eV s]
MASS = 9.1093837e-31  # [kg]
VACUUM = 8.8541878e-12  # [F/m]
Float = np.ndarray  # (places, cells)


class Circuit(NamedTuple):
    """Current [A], voltages [V] and temperature [K] at a state, arrays (places, cells)."""

    current: Float
    disc: Float  # across the disc
    cell: Float  # without series and line resistance
    temperature: Float


@dataclass(frozen=True, kw_only=True)
class JartVcm(Physics):
    """dN/dt by hopping of vacancies, with limits, at the field and temperature of a circuit in series.

    Equations of the state: Ntinas et al., SMACD 2023, 10.1109/SMACD58065.2023.10192107, explicit form of JART VCM v1b
    (Bengel et al., IEEE TCAS-I 67, 4618 (2020), 10.1109/TCSI.2020.3018502). Their explicit fit of the current is
    replaced by the circuit: disc, plug with the largest N, series and line resistance that heats; in SET a Schottky
    contact in thermionic field emission (Padovani and Stratton, Solid-State Electronics 9, 695 (1966)), whose barrier
    falls with its field; in RESET and at the read voltage the contact drops a few per cent and is left out.
    """

    name: str = "physics/jart"
    source: str = (
        "Ntinas et al., SMACD 2023, 10.1109/SMACD58065.2023.10192107 (state), JART VCM v1b (contact); ranges of "
        "radius, length, N_min and N_max as stated there, taken as uniform (N_min: logarithmically). No cycle "
        "noise is stated: 10 % is an assumption, as are driver and read noise (0.4 %)."
    )
    g_min: Array = 1.591e-5  # of N = 0.008 at 0.1 V
    g_max: Array = 6.435e-4  # of N = 20
    driver: Driver = Driver(set_min=0.35, set_max=1.1, reset_min=0.6, reset_max=1.6, width_min=1e-8, width_max=1e-5)
    spread: float = 0.0
    radius: Array = 45.0  # [nm]
    disc: Array = 0.4  # [nm] its length
    least: Array = 0.008  # [1e26 / m^3] N_min
    most: Array = 20.0  # [1e26 / m^3] N_max
    length: float = 3.0  # [nm] of disc and plug
    plug: float = 20.0  # [1e26 / m^3]
    mobility: float = 4e-6  # [m^2 / V s]
    series: float = 650.0  # [Ohm]
    line: float = 719.2437  # [Ohm], which heats:
    line_heating: float = 719.2437**2 * 3.92e-3 * 90471.47  # [Ohm / A^2]
    thermal: tuple[float, float] = (15.72e6, 0.27 * 15.72e6)  # [K/W] SET, RESET
    barrier: float = 1.35  # [eV] of a hop
    hop: float = 0.25e-9  # [m]
    attempts: float = 2e13  # [Hz]
    contact: tuple[float, float] = (0.18, 0.1)  # [eV] barrier without field, conduction band below it
    richardson: float = 6.01e5  # [A / m^2 K^2]
    permittivity: tuple[float, float] = (17.0, 5.5)  # static, of the barrier's lowering

    def fabricate(self, rng: Any, cells: int) -> Self:
        """A chip of cells with their own geometry and bounds."""
        lot = rng.random((4, cells))
        ranges = (40.5, 49.5), (0.36, 0.44), (np.log(4e-3), np.log(0.25)), (18.0, 22.0)
        radius, disc, least, most = (low + (high - low) * lot[k] for k, (low, high) in enumerate(ranges))
        cell = dataclasses.replace(self, radius=radius, disc=disc, least=np.exp(least), most=most)
        bounds = [(cell._conductance(n) - self.g_min) / (self.g_max - self.g_min) for n in (cell.least, cell.most)]
        return dataclasses.replace(cell, x_lo=bounds[0], x_hi=bounds[1])

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """N rises (SET) or falls (RESET), on a logarithmic scale."""
        self.check(amplitude, width)
        volts, seconds, g = np.abs(amplitude), self.acting(width, noise, count), self.conductance(state)
        n = np.clip(self._disc(1.0) / (1.0 / g - self._series()), self.least, self.most)
        out, up = n + 0.0 * volts, np.asarray(amplitude) > 0
        for rows, setting in ((up, True), (~up, False)):
            if rows.any():
                cell = take(self, rows)
                end = np.log((cell.most if setting else cell.least) + 0.0 * n[rows])
                out[rows] = np.exp(travelled(np.log(n[rows]), end, cell._rate(volts[rows], setting), seconds[rows]))
        return self.written(state, self._conductance(out), amplitude, width * count)

    def _area(self) -> Array:
        return np.pi * (self.radius * 1e-9) ** 2

    def _resistance(self, length: Array, n: Array) -> Array:
        """[Ohm] of a piece of the filament, length [nm]."""
        return length * 1e-9 / (n * 1e26 * 2 * CHARGE * self.mobility * self._area())

    def _disc(self, n: Array) -> Array:
        return self._resistance(self.disc, n)

    def _series(self) -> Array:
        """[Ohm] of all but the disc, cold."""
        return self.series + self.line + self._resistance(self.length - self.disc, self.plug)

    def _conductance(self, n: Array) -> Array:
        """[S] at small voltages."""
        return 1.0 / (self._series() + self._disc(n))

    def _rate(self, volts: np.ndarray, setting: bool) -> Callable[[Float], Float]:
        """The rate of ln N [1/s] at ln N (places, cells)."""
        heat = self.thermal[0 if setting else 1] * (45.0 / self.radius) ** 2

        def rate(log_n: Float) -> Float:
            n = np.exp(log_n)
            at = self._circuit(n, volts, heat, setting)
            field = at.disc / (self.disc * 1e-9) if setting else at.cell / (self.length * 1e-9)  # [V/m]
            tilt = np.minimum(2 * field * self.hop / (np.pi * self.barrier), 0.999)
            level, slope = np.sqrt(1 - tilt**2) + tilt * np.arcsin(tilt), 0.5 * np.pi * tilt
            along, against = (
                np.exp(-self.barrier * (level + s * slope) / (BOLTZMANN * at.temperature)) for s in (-1, 1)
            )
            room = 1 - (n / self.most) ** 10 if setting else 1 - (self.least / n) ** 10
            hops = 0.5 * (self.plug + n) * self.hop * self.attempts * (along - against) * np.maximum(room, 0.0)
            moved: Float = hops / (self.disc * 1e-9) / n
            return moved

        return rate

    def _circuit(self, n: Float, volts: np.ndarray, heat: Array, setting: bool) -> Circuit:
        """The currents at which all parts agree; a SET's contact by bisection of its voltage."""

        def ohmic(contact: Float) -> Circuit:
            cold, disc, hot = self._series() + self._disc(n), self._disc(n), self.line_heating
            root = np.sqrt(cold / (3 * hot))  # of hot I^3 + cold I = V
            current = 2 * root * np.sinh(np.arcsinh(1.5 * (volts - contact) / (cold * root)) / 3)
            cell = volts - current * (self.series + self.line + hot * current**2)
            return Circuit(current, current * disc, cell, 293.0 + heat * current * cell)

        low, high = 0.0 * n, volts + 0.0 * n
        if not setting:
            return ohmic(low)
        for _ in range(24):
            middle = 0.5 * (low + high)
            at = ohmic(middle)
            enough = self._emitted(n, middle, at.temperature) > at.current
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return ohmic(0.5 * (low + high))

    def _emitted(self, n: Float, volts: Float, temperature: Float) -> Float:
        """[A] of the contact by thermionic field emission at `volts`."""
        donors, thermal = 2 * n * 1e26, BOLTZMANN * temperature
        static, lowering = (part * VACUUM for part in self.permittivity)
        fall = (CHARGE**3 * donors * (self.contact[0] - self.contact[1] + volts) / (8 * np.pi**2 * lowering**3)) ** 0.25
        barrier = np.maximum(self.contact[0] - fall, 0.0)
        tunnel = CHARGE * PLANCK / (4 * np.pi) * np.sqrt(donors / (MASS * static))  # [eV] E_00
        ratio = tunnel / thermal
        width, slope = tunnel / np.tanh(ratio), tunnel / (ratio - np.tanh(ratio))
        root = np.sqrt(np.pi * tunnel * (volts + barrier / np.cosh(ratio) ** 2))
        prefactor = self._area() * self.richardson * temperature / BOLTZMANN
        emitted: Float = prefactor * root * np.exp(-barrier / width) * np.expm1(np.minimum(volts / slope, 200.0))
        return emitted
