"""Measured devices: one pulse drawn from inverse-CDF tables of the conductance change given the conductance.

The file is an .npz with the keys `device` (N,), the devices' numbers; `conductance` (N, K) [S], a grid for each device;
`cdf` (C,), cumulative probabilities; `dg_set` and `dg_reset` (N, C, K) [S], where entry [n, c, k] is the change that a
SET (RESET) pulse makes from `conductance[n, k]` at the cumulative probability `cdf[c]`.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import ndtr

from memenv.arrays import Array, choose
from memenv.devices.device import Device, Driver, Read, Reads, State
from memenv.devices.records import DeviceError
from memenv.files import FLOATS, WHOLE, Entry, load_archive, named

WHAT = "table of measured devices"
ONE_PULSE = Driver(set_min=1.0, set_max=1.0, reset_min=1.0, reset_max=1.0, width_min=1e-6, width_max=1e-6)
NUMBERS = (*FLOATS, *WHOLE)
CONDUCTANCES = (1e-30, 1e6)  # [S] that are not taken for an error
CHANGES = Entry(("devices", "probabilities", "places"), NUMBERS)
ENTRIES = {
    "conductance": Entry(("devices", "places"), NUMBERS),
    "cdf": Entry(("probabilities",), NUMBERS),
    "device": Entry(("devices",), NUMBERS),
    "dg_set": CHANGES,
    "dg_reset": CHANGES,
}


class Steps(NamedTuple):
    """Mean effect of one pulse on the state, per device and place; index 0 SET, 1 RESET."""

    x: np.ndarray  # (devices, places) [range] where the pulse starts
    mean: np.ndarray  # (2, devices, places) [range] mean change of the state
    spread: np.ndarray  # (2, devices, places) [range] standard deviation from pulse to pulse


class Tables:
    """The numbers of one file, shared by all cells: no record and no array, so that selecting cells leaves it whole."""

    def __init__(self, device: np.ndarray, conductance: np.ndarray, cdf: np.ndarray, dg: np.ndarray) -> None:
        """Takes the file's arrays; `dg` (2, N, C, K) [S] are the changes of SET and RESET."""
        low, high = conductance[:, :1], conductance[:, -1:]
        self.device, self.conductance, self.cdf, self.dg = device, conductance, cdf, dg
        self.low, self.high = low[:, 0], high[:, 0]  # (N,) [S] ends of each device's grid
        self.rank = ((conductance - low) / (high - low) + 2.0 * np.arange(len(device))[:, None]).ravel()

    def after(self, g: np.ndarray, which: np.ndarray, up: np.ndarray, quantile: np.ndarray) -> np.ndarray:
        """Conductance [S] after a pulse from `g` on devices `which` at `quantile` of its distribution, all (cells,)."""
        devices, places = self.conductance.shape
        low, high = self.low[which], self.high[which]
        rank = (g - low) / (high - low) + 2.0 * which
        right = np.clip(np.searchsorted(self.rank, rank, side="right"), which * places + 1, which * places + places - 1)
        part = np.clip((rank - self.rank[right - 1]) / (self.rank[right] - self.rank[right - 1]), 0.0, 1.0)
        k = right - which * places
        c = np.clip(np.searchsorted(self.cdf, quantile, side="right"), 1, len(self.cdf) - 1)
        share = np.clip((quantile - self.cdf[c - 1]) / (self.cdf[c] - self.cdf[c - 1]), 0.0, 1.0)
        table = np.where(up, 0, devices) + which  # row of the two polarities' tables, one after the other
        flat = self.dg.reshape(2 * devices, len(self.cdf), places)
        below = (1 - part) * flat[table, c - 1, k - 1] + part * flat[table, c - 1, k]
        above = (1 - part) * flat[table, c, k - 1] + part * flat[table, c, k]
        found: np.ndarray = np.clip(g + (1 - share) * below + share * above, low, high)
        return found


@dataclass(frozen=True, kw_only=True)
class TableDevice(Reads):
    """Measured devices, usable wherever a `Device` is; the sign of the amplitude is all that a pulse can choose.

    The state x is (G - g_min) / (g_max - g_min) with g_min and g_max the means over the devices of the ends of their
    grids; a cell is one of the devices, its bounds are the ends of that device's own grid, and the state is clipped to
    them after each pulse: tables extrapolated beyond the measured range stay inside it. Magnitude and width of a pulse
    do not matter (they enter its energy), nothing relaxes or drifts. NumPy only.
    """

    name: str
    source: str = ""
    g_min: float  # [S] conductance at x = 0
    g_max: float  # [S] conductance at x = 1
    tables: Tables = field(repr=False)
    x_lo: Array = 0.0  # [range] lower bound of the state
    x_hi: Array = 1.0  # [range] upper bound of the state
    which: Array = None  # (cells,) row of the cell's device in the tables, None before fabrication
    driver: Driver = ONE_PULSE
    read: Read = field(default_factory=Read)
    retention: None = None

    polarity_only = True
    pulse_channels = Device.pulse_channels
    read_channels = Device.read_channels
    devices = Device.devices
    record = None  # the law of its pulses is not known

    @property
    def not_compiled(self) -> str:
        """Tables are looked up, by NumPy."""
        return f"measured tables ({self.name})"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The devices of an .npz file.

        Raises:
            DeviceError: no such file, a damaged one, other arrays than those, NaN, or grids that do not increase.
        """
        path = Path(path)
        try:
            _, arrays = load_archive(path, WHAT, ENTRIES)
            with named(path, WHAT):
                tables = _checked(arrays)
        except ValueError as error:
            raise DeviceError(str(error)) from None
        return cls(
            name=path.stem,
            source=f"{len(tables.device)} measured devices of {path.name}; their one pulse is taken as 1 V, 1 us",
            g_min=float(tables.low.mean()),
            g_max=float(tables.high.mean()),
            tables=tables,
        )

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def fabricate(self, rng: Any, cells: int) -> Self:
        """A chip of `cells` cells (int >= 1), each one of the measured devices, all equally likely."""
        which = rng.integers(len(self.tables.device), size=cells)
        x_lo, x_hi = (self._x(ends[which]) for ends in (self.tables.low, self.tables.high))
        return self.replace(which=which, x_lo=x_lo, x_hi=x_hi)

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1) -> State:
        """The state after `count` pulses of the polarity of `amplitude` (cells,).

        Args:
            state: of the cells, arrays (cells,).
            amplitude: (cells,) [V]; positive SETs, negative RESETs, zero does nothing; the magnitude does not matter.
            width: (cells,) [s]; does not matter.
            noise: (3, cells) standard normal; channel 0 draws the step.
            count: whole pulses in the train, a number or (cells,).
        """
        g = self.conductance(state)
        up, touched = amplitude > 0, (amplitude != 0) & (count > 0)
        quantile = ndtr(noise[0])
        for done in range(int(np.max(count))):
            g = np.where(touched & (done < count), self.tables.after(g, self.which, up, quantile), g)
            quantile = 16807 * quantile % 1.0  # uniform again, all but independent: Lehmer's generator on the one draw
        age = np.where(touched, 0.0 * state.age, state.age + width * count)
        return state._replace(x=np.where(touched, self._x(g), state.x), age=age)

    def reference_pulse(self, up: Array, like: Array) -> tuple[Array, Array]:
        """Signed amplitude [V] and width [s] of the one pulse of each polarity."""
        return choose(up, self.driver.set_max, -self.driver.reset_max, like), self.driver.width_max

    def mean_step(self, g: Array, up: Array) -> Array:
        """Magnitude (cells,) [S] of the mean step at `g` (cells,) [S] over all measured devices."""
        size, (places, up_step, down_step) = self.g_max - self.g_min, self._mean_steps
        x = (g - self.g_min) / size
        return size * np.where(up, np.interp(x, places, up_step), np.interp(x, places, down_step))

    @cached_property
    def _mean_steps(self) -> np.ndarray:
        """(3, places) [range]: states, and the magnitude there of the mean SET and RESET step."""
        steps = self.steps()
        places = np.linspace(steps.x.min(), steps.x.max(), 201)
        means = [
            np.mean([np.interp(places, *curve) for curve in zip(steps.x, mean, strict=True)], axis=0)
            for mean in steps.mean
        ]
        return np.stack([places, *np.abs(means)])

    def steps(self) -> Steps:
        """Mean and standard deviation of the (clipped) step of every device at every place of its grid."""
        tables = self.tables
        low, high = (ends[:, None, None] - tables.conductance[:, None, :] for ends in (tables.low, tables.high))
        dg = np.clip(tables.dg, low, high) / (self.g_max - self.g_min)
        weight = np.gradient(tables.cdf)[:, None]
        weight[[0, -1]] /= 2  # the trapezoidal rule
        weight /= weight.sum()
        mean = (dg * weight).sum(axis=2)
        spread = np.sqrt(((dg - mean[:, :, None]) ** 2 * weight).sum(axis=2))
        return Steps(x=self._x(tables.conductance), mean=mean, spread=spread)

    def _x(self, g: np.ndarray) -> np.ndarray:
        """State [range] of a conductance [S]."""
        return (g - self.g_min) / (self.g_max - self.g_min)


def _checked(arrays: dict[str, np.ndarray]) -> Tables:
    """The tables, if grids and probabilities are in order."""
    g, cdf = arrays["conductance"].astype(np.float64), arrays["cdf"].astype(np.float64)
    if g.shape[1] < 2:
        raise ValueError(f"conductance has the shape {g.shape}, (devices, 2 places or more) is needed")
    if cdf.size < 2 or np.any(np.diff(cdf) <= 0) or cdf[0] < 0 or cdf[-1] > 1:
        raise ValueError(f"cdf must increase inside 0..1, it runs from {cdf.flat[0]:g} to {cdf.flat[-1]:g}")
    low, high = CONDUCTANCES
    for n, row in enumerate(g):
        if row[0] < low or row[-1] > high or np.any(np.diff(row) <= 0):
            raise ValueError(
                f"conductance of device {arrays['device'][n]} must be positive and increasing, from {low:g} S to "
                f"{high:g} S at most"
            )
    dg = np.stack([arrays["dg_set"], arrays["dg_reset"]]).astype(np.float64)
    tables = Tables(device=arrays["device"], conductance=g, cdf=cdf, dg=dg)
    if np.any(np.diff(tables.rank) <= 0):
        raise ValueError("conductance has places that are too close to each other to tell apart")
    return tables
