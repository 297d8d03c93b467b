"""A distribution over devices: every cell is drawn from one of several nominal devices (domain randomisation)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from memenv.arrays import tree_map
from memenv.devices.device import Device, Driver, Retention
from memenv.devices.records import DeviceError


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several nominal devices, equally likely; a fabricated chip is an ordinary `Device` with one array a parameter."""

    devices: tuple[Device, ...]

    polarity_only = False

    def __post_init__(self) -> None:
        if len(self.devices) < 2:
            raise DeviceError(f"a mixture of {len(self.devices)} devices: at least two are needed")
        for device in self.devices:
            if not isinstance(device, Device):
                raise DeviceError(f"a mixture takes parametric devices, {type(device).__name__} is not one")

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

    def fabricate(self, rng: np.random.Generator, cells: int) -> Device:
        """A chip of `cells` cells, each of a device drawn at random."""
        return self.fabricate_of(rng.integers(len(self.devices), size=cells), rng, cells)

    def fabricate_of(self, choice: np.ndarray, rng: np.random.Generator, cells: int) -> Device:
        """A chip of `cells` cells of which cell i is of the device with the number choice[i]."""
        retention = any(device.retention for device in self.devices)
        chips = [_alike(device.fabricate(rng, cells), retention) for device in self.devices]
        chosen = [choice == number for number in range(len(chips) - 1)]

        def mix(*leaves: Any) -> Any:
            if isinstance(leaves[0], str):
                return self.name
            if all(not getattr(leaf, "ndim", 0) and leaf == leaves[0] for leaf in leaves):
                return leaves[0]
            return np.select(chosen, leaves[:-1], leaves[-1])

        return tree_map(mix, *chips)


def _alike(chip: Device, retention: bool) -> Device:
    """The chip with a neutral retention where another device of the mixture has one."""
    return chip.replace(retention=Retention()) if retention and chip.retention is None else chip
