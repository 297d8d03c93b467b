"""memenv: reinforcement-learning environments for programming memristor crossbars and for learning on them."""

from memenv.device import Device, Driver, Mismatch, Read, Retention, State
from memenv.envs import WriteVerify, register
from memenv.law import Response
from memenv.mixture import Mixture
from memenv.presets import load_device, presets
from memenv.records import DeviceError, from_json, to_json

__version__ = "0.1.0"
__all__ = [
    "Device",
    "DeviceError",
    "Driver",
    "Mismatch",
    "Mixture",
    "Read",
    "Response",
    "Retention",
    "State",
    "WriteVerify",
    "from_json",
    "load_device",
    "presets",
    "to_json",
]

register()
