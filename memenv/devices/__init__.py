"""Devices: their protocol, the law of a pulse, records, measured tables, mixtures, and presets with their sources."""

from typing import TYPE_CHECKING

from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Device, Driver, Mismatch
from memenv.devices.gate import Gate
from memenv.devices.law import Response
from memenv.devices.mixture import Mixture
from memenv.devices.protocol import CellModel
from memenv.devices.reads import Read, ReadMoments, Reads, Retention, State
from memenv.devices.records import DeviceError, from_json, to_json
from memenv.devices.uncertainty import Uncertainty
from memenv.lazy import lazily

if TYPE_CHECKING:
    from memenv.devices.measured import TableDevice

# fmt: off
__all__ = [
    "CellModel", "Device", "DeviceError", "Driver", "Gate", "Mismatch", "Mixture", "Read", "ReadMoments", "Reads",
    "Response", "Retention", "State", "TableDevice", "Uncertainty", "from_json", "load_device", "presets", "to_json",
]

__getattr__ = lazily(__name__, {"memenv.devices.measured": ("TableDevice",)})
