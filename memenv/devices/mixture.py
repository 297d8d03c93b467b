"""A distribution over devices: every cell is drawn from one of several nominal devices (domain randomisation)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import Array, tree_map
from memenv.devices.device import Device, Driver
from memenv.devices.protocol import CellModel, parametric
from memenv.devices.reads import Read, Reads, Retention, State
from memenv.devices.records import DeviceError
from memenv.devices.uncertainty import of_chips


@dataclass(frozen=True, kw_only=True)
class Mixture(Reads):
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
        chosen = [choice == number for number in range(len(chips) - 1)]

        def mix(*leaves: Any) -> Any:
            if isinstance(leaves[0], str):
                return self.name
            if all(not getattr(leaf, "ndim", 0) and leaf == leaves[0] for leaf in leaves):
                return leaves[0]
            return np.select(chosen, leaves[:-1], leaves[-1])

        mixed: Device = tree_map(mix, *_alike(chips))
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
    def read(self) -> Read:  # type: ignore[override]  # of a frozen record it is read-only in any case
        """The read of a conductance."""
        return self.nominal.read

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """The state after pulses."""
        return self.nominal.pulse(state, amplitude, width, noise, count)

    # -- as circuits that learn take it --------------------------------------------------------------------------------

    @property
    def retention(self) -> Retention | None:  # type: ignore[override]
        """Relaxation and drift."""
        return self.nominal.retention

    def reference_pulse(self, up: Array, like: Array) -> tuple[Array, Array]:
        """Signed amplitude [V] and width [s] of one reference pulse."""
        return self.nominal.reference_pulse(up, like)

    def mean_step(self, g: Array, up: Array) -> Array:
        """Magnitude [S] of what a reference pulse changes in the mean of the devices."""
        return sum(device.mean_step(g, up) for device in self.devices) / len(self.devices)


def _alike(chips: Sequence[Device]) -> list[Device]:
    """The chips with a neutral retention where another of the mixture has one; nominal devices as cells."""
    neutral = Retention() if any(chip.retention for chip in chips) else None
    return [chip.replace(uncertainty=None, retention=chip.retention or neutral) for chip in chips]


# -- chips of mixtures in fewer numbers --------------------------------------------------------------------------------


class Compact(NamedTuple):
    """A chip of a mixture in which numbers that follow from a cell's device are left out."""

    chosen: tuple[Array, ...]  # of every device but the last, which cells are of it: (cells,) bool
    own: Device  # the chip, 0 in place of what is left out


def compact(devices: Sequence[CellModel], chip: Any) -> Any:
    """The `Compact` of a mixture's chip, other chips as they are; element-wise, also on symbolic values."""
    if not devices:
        return chip
    found = [True] * (len(devices) - 1)

    def own(leaf: Any, *values: Any) -> Any:
        if not _told(values):
            return leaf
        found[:] = [before & (leaf == value) for before, value in zip(found, values, strict=False)]
        return 0.0

    left = tree_map(own, chip, *_as_fabricated(devices))
    return Compact(tuple(found), left)


def whole(devices: Sequence[CellModel], chip: Any) -> Any:
    """The chip of which `compact` made this."""
    if not devices:
        return chip
    chosen, own = chip

    def filled(leaf: Any, *values: Any) -> Any:
        return np.select(chosen, values[:-1], values[-1]) if _told(values) else leaf

    return tree_map(filled, own, *_as_fabricated(devices))


def _told(values: Sequence[Any]) -> bool:
    """True of a parameter that is a number of each device, not of each cell, and not the same of all."""
    plain = all(isinstance(value, float | int) for value in values)
    return plain and any(value != values[0] for value in values)


def _as_fabricated(devices: Sequence[CellModel]) -> list[Device]:
    """A chip of each device, of one cell; parameters without spread are numbers."""
    records, rng = (parametric(device, "a mixture") for device in devices), np.random.default_rng(0)
    return _alike([record.fabricate(of_chips(rng, 1), 1) for record in records])
