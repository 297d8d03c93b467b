"""The common part of devices with equations of their own: state, mismatch and noise in time, reads."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Device, Driver
from memenv.devices.reads import Read, Reads, Retention, State
from memenv.devices.records import DeviceError

SLOWEST = 1e-30  # [state/s] a rate below counts as this
BEYOND = 1 + 1e-6  # of the driver's ends, for rounding


@dataclass(frozen=True, kw_only=True)
class Physics(Reads, ABC):
    """A device whose state x is its conductance in the range; the subclass says what a pulse does to it.

    Where a source states neither mismatch nor cycle noise, both are assumed, as log-normal factors on the time that a
    pulse acts: `spread` from cell to cell, `cycle_noise` from pulse to pulse.
    """

    name: str
    source: str  # where equations and numbers come from, and which are assumptions
    g_min: Array  # [S] conductance at x = 0
    g_max: Array  # [S] conductance at x = 1
    x_lo: Array = 0.0  # [range] lower bound of each cell
    x_hi: Array = 1.0  # [range] upper bound of each cell
    driver: Driver
    read: Read = field(default_factory=lambda: Read(noise=0.004))
    retention: Retention | None = None
    spread: float = 0.2  # [ln]
    cycle_noise: float = 0.1  # [ln]
    speed: Array = 1.0  # [1] of a cell's own time

    polarity_only, pulse_channels, read_channels = False, 1, Device.read_channels
    not_compiled = "physics of its own, integrated by NumPy"
    record, devices = None, ()

    def fabricate(self, rng: Any, cells: int) -> Self:
        """A chip of `cells` cells, each with a speed of its own."""
        return dataclasses.replace(self, speed=np.exp(self.spread * rng.standard_normal((1, cells))[0]))

    @abstractmethod
    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """Cells after `count` pulses; as `CellModel` has it."""

    def acting(self, width: Array, noise: Array, count: Array) -> Array:
        """(cells,) [s] that a train of pulses acts on each cell."""
        return width * count * self.speed * np.exp(self.cycle_noise * noise[0])

    def check(self, amplitude: Array, width: Array) -> None:
        """Refuses pulses for which the equations were not made.

        Raises:
            DeviceError: beyond the driver.
        """
        driver = self.driver
        most: Array = np.where(np.asarray(amplitude) > 0, driver.set_max, driver.reset_max)
        over = (np.abs(amplitude) > most * BEYOND) | (np.asarray(width) > driver.width_max * BEYOND)
        if over.any():
            at = int(np.argmax(over))
            volts, seconds = (float(np.ravel(part)[at % np.size(part)]) for part in (amplitude, width))
            raise DeviceError(
                f"a pulse of {volts:g} V and {seconds:g} s lies outside the range of {self.name}: at most "
                f"{driver.set_max:g} V (SET), {driver.reset_max:g} V (RESET), {driver.width_max:g} s"
            )

    def written(self, state: State, conductance: Array, amplitude: Array, seconds: Array) -> State:
        """The state after a pulse of `amplitude` [V] for `seconds` that left `conductance` [S], each (cells,)."""
        x = (conductance - self.g_min) / (self.g_max - self.g_min)
        pulsed = (amplitude != 0) & (seconds > 0)
        return state._replace(
            x=np.where(pulsed, np.minimum(np.maximum(x, self.x_lo), self.x_hi), state.x),
            age=np.where(pulsed, 0.0 * state.age, state.age + seconds),
        )


def travelled(
    start: Array, end: Array, rate: Callable[[np.ndarray], np.ndarray], seconds: Array, places: int = 33
) -> np.ndarray:
    """States (cells,) that have moved from `start` towards `end` for `seconds`, at `rate` (places, cells) >= 0.

    dx/dt = f(x) does not depend on time, so t = integral of dx / f(x): summed between places with ln(1 / f) linear in
    between, which is exact for exponentials, and inverted. Neither runaway nor self-limitation needs small steps.
    """
    way, step = end - start, 1.0 / (places - 1)
    along = np.linspace(0.0, 1.0, places).reshape(-1, *(1,) * np.ndim(start))
    slow = 1.0 / np.maximum(rate(start + way * along), SLOWEST)
    bend = np.log(slow[1:] / slow[:-1])
    bend = np.where(np.abs(bend) < 1e-9, 1e-9, bend)
    first = np.abs(way) * step * slow[:-1]  # [s] of an interval, at the pace of its first place
    took = np.concatenate([0.0 * first[:1], np.cumsum(first * np.expm1(bend) / bend, axis=0)])
    last = np.minimum((took[1:] <= seconds).sum(axis=0), places - 2)

    def of(parts: np.ndarray, place: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = np.take_along_axis(parts, place[None], axis=0)[0]
        return chosen

    bend, first = of(bend, last), of(first, last)
    left = np.minimum(seconds, of(took, last + 1)) - of(took, last)
    part = np.log1p(bend * left / np.maximum(first, 1e-300)) / bend
    moved: np.ndarray = start + way * step * (last + np.minimum(np.maximum(part, 0.0), 1.0))
    return moved
