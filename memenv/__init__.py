"""memenv: reinforcement-learning environments for programming memristor crossbars and for learning on them."""

from memenv.converters import Converter, CrossbarError
from memenv.crossbar import Crossbar
from memenv.device import Device, Driver, Mismatch, Read, Retention, State
from memenv.envs import CrossbarProgram, WriteVerify, register
from memenv.law import Response
from memenv.mixture import Mixture
from memenv.presets import load_device, presets
from memenv.records import DeviceError, from_json, to_json
from memenv.wires import Wires

__version__ = "0.1.0"
__all__ = [
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
