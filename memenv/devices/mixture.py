"""A distribution over devices: every cell is drawn from one of several nominal devices (domain randomisation)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from memenv.arrays import Array, tree_map
from memenv.devices.device import Device, Driver, Read, ReadMoments, Retention, State
from memenv.devices.protocol import parametric
from memenv.devices.records import DeviceError


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several nominal devices, equally likely; a fabricated chip is an ordinary `Device` with one array a parameter.

    Asked as a device itself, it answers with a row of cells, one of each nominal device: arrays (devices,).
    """

    devices: tuple[Device, ...]

    polarity_only = Device.polarity_only
    pulse_channels = Device.pulse_channels
    read_channels = Device.read_channels
    not_compiled = Device.not_compiled
    record = None  # but each device has one

    def __post_init__(self) -> None:
        if len(self.devices) < 2:
            raise DeviceError(f"a mixture of {len(self.devices)} devices: at least two are needed")
        for device in self.devices:
            if parametric(device, "a mixture").gate is not None:
                raise DeviceError(f"device is {device.name}: it has a gate, a mixture takes devices without")
        drivers = [device.driver for device in self.devices]
        if any(one.gridded for one in drivers) and any(one != drivers[0] for one in drivers):
            raise DeviceError(f"the devices of {self.name} have different drivers: one grid of pulses is needed")

    @property
    def name(self) -> str:
        """The names of the devices, joined by +."""
        return "+".join(device.name for device in self.devices)

    @property
    def driver(self) -> Driver:
        """The driver, if the devices have one in common; else a cell's own is that of its chip."""
        if any(device.driver != self.devices[0].driver for device in self.devices):
            raise DeviceError(f"the devices of {self.name} have different drivers: pass the driver of the chip")
        return self.devices[0].driver

    def fabricate(self, rng: Any, cells: int) -> Device:
        """A chip of `cells` cells, each of a device drawn at random."""
        return self.fabricate_of(rng.integers(len(self.devices), size=cells), rng, cells)

    def fabricate_of(self, choice: np.ndarray, rng: Any, cells: int) -> Device:
        """A chip of `cells` cells of which cell i is of the device with the number choice[i]."""
        return self._chosen(choice, [device.fabricate(rng, cells) for device in self.devices])

    def _chosen(self, choice: np.ndarray, chips: Sequence[Device]) -> Device:
        """The chip whose cell i is that of chips[choice[i]]."""
        retention = any(device.retention for device in self.devices)
        chosen = [choice == number for number in range(len(chips) - 1)]

        def mix(*leaves: Any) -> Any:
            if isinstance(leaves[0], str):
                return self.name
            if all(not getattr(leaf, "ndim", 0) and leaf == leaves[0] for leaf in leaves):
                return leaves[0]
            return np.select(chosen, leaves[:-1], leaves[-1])

        mixed: Device = tree_map(mix, *(_alike(chip, retention) for chip in chips))
        return mixed

    # -- the row of nominal devices ------------------------------------------------------------------------------------

    @cached_property
    def nominal(self) -> Device:
        """A cell of each device, as a chip."""
        return self._chosen(np.arange(len(self.devices)), self.devices)

    @property
    def g_min(self) -> Array:
        """[S] conductance at x = 0."""
        return self.nominal.g_min

    @property
    def g_max(self) -> Array:
        """[S] conductance at x = 1."""
        return self.nominal.g_max

    @property
    def x_lo(self) -> Array:
        """[range] lower bound of the state."""
        return self.nominal.x_lo

    @property
    def x_hi(self) -> Array:
        """[range] upper bound of the state."""
        return self.nominal.x_hi

    @property
    def read(self) -> Read:
        """The read of a conductance."""
        return self.nominal.read

    def fresh(self, x: Array, noise: Array) -> State:
        """`Device.fresh`, as all that follows of the device of the same name."""
        return self.nominal.fresh(x, noise)

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """The state after pulses."""
        return self.nominal.pulse(state, amplitude, width, noise, count)

    def rest(self, state: State, seconds: Array) -> State:
        """The state after a time without a pulse."""
        return self.nominal.rest(state, seconds)

    def sense(self, state: State, noise: Array) -> tuple[Array, State]:
        """One read, and the state after it."""
        return self.nominal.sense(state, noise)

    def conductance(self, state: State) -> Array:
        """True conductance [S]."""
        return self.nominal.conductance(state)

    def read_moments(self, state: State) -> ReadMoments:
        """Mean and variance of a read."""
        return self.nominal.read_moments(state)

    def pulse_energy(self, before: Array, after: Array, amplitude: Array, width: Array) -> Array:
        """Energy [J] of a pulse."""
        return self.nominal.pulse_energy(before, after, amplitude, width)

    def read_energy(self, g: Array) -> Array:
        """Energy [J] of a read."""
        return self.nominal.read_energy(g)

    # -- as circuits that learn take it --------------------------------------------------------------------------------

    @property
    def retention(self) -> Retention | None:
        """Relaxation and drift."""
        return self.nominal.retention

    def reference_pulse(self, up: Array, like: Array) -> tuple[Array, Array]:
        """Signed amplitude [V] and width [s] of one reference pulse."""
        return self.nominal.reference_pulse(up, like)

    def mean_step(self, g: Array, up: Array) -> Array:
        """Magnitude [S] of what a reference pulse changes in the mean of the devices."""
        return sum(device.mean_step(g, up) for device in self.devices) / len(self.devices)


def _alike(chip: Device, retention: bool) -> Device:
    """The chip with a neutral retention where another device of the mixture has one; a nominal device as a cell."""
    chip = chip if chip.uncertainty is None else chip.replace(uncertainty=None)
    return chip.replace(retention=Retention()) if retention and chip.retention is None else chip
