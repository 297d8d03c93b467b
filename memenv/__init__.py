"""memenv: reinforcement-learning environments for programming memristor crossbars and for learning on them."""

from typing import TYPE_CHECKING

from memenv.circuits.network import Wires
from memenv.crossbars.converters import Converter, CrossbarError
from memenv.crossbars.crossbar import Crossbar
from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Device, Driver, Mismatch
from memenv.devices.law import Response
from memenv.devices.mixture import Mixture
from memenv.devices.protocol import CellModel
from memenv.devices.reads import Read, Retention, State
from memenv.devices.records import DeviceError, from_json, to_json
from memenv.engine import Engine, load_engine
from memenv.envs import CrossbarProgram, FewShot, TaskError, WriteVerify, register
from memenv.lazy import lazily

if TYPE_CHECKING:
    from memenv.devices.measured import TableDevice
    from memenv.fitting.trains import fit, read_pulses

__version__ = "0.1.0"
# fmt: off
__all__ = [
    "CellModel", "Converter", "Crossbar", "CrossbarError", "CrossbarProgram", "Device", "DeviceError", "Driver",
    "Engine", "FewShot", "Mismatch", "Mixture", "Read", "Response", "Retention", "State", "TableDevice", "TaskError",
    "Wires", "WriteVerify", "fit", "from_json", "load_device", "load_engine", "presets", "read_pulses", "to_json",
]

__getattr__ = lazily(
    __name__, {"memenv.devices.measured": ("TableDevice",), "memenv.fitting.trains": ("fit", "read_pulses")}
)
register()
