"""memenv: reinforcement-learning environments for programming memristor crossbars and for learning on them."""

from memenv.circuits.solver import Wires
from memenv.crossbars.converters import Converter, CrossbarError
from memenv.crossbars.crossbar import Crossbar
from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Device, Driver, Mismatch, Read, Retention, State
from memenv.devices.law import Response
from memenv.devices.mixture import Mixture
from memenv.devices.protocol import CellModel
from memenv.devices.records import DeviceError, from_json, to_json
from memenv.envs import CrossbarProgram, WriteVerify, register

__version__ = "0.1.0"
__all__ = [
    "CellModel",
    "Converter",
    "Crossbar",
    "CrossbarError",
    "CrossbarProgram",
    "Device",
    "DeviceError",
    "Driver",
    "Mismatch",
    "Mixture",
    "Read",
    "Response",
    "Retention",
    "State",
    "Wires",
    "WriteVerify",
    "from_json",
    "load_device",
    "presets",
    "to_json",
]

register()
