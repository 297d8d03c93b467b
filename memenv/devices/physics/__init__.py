"""Devices with equations of their own, which are not the law of memenv: the test of whatever was trained on that."""

from memenv.devices.physics.jart import JartVcm
from memenv.devices.physics.model import Physics
from memenv.devices.physics.nili import Nili
from memenv.devices.physics.pcm import PcmWithMemory
from memenv.devices.physics.self_accelerating import SelfAccelerating
from memenv.devices.physics.sky130 import Sky130
from memenv.devices.physics.vteam import Vteam

__all__ = ["JartVcm", "Nili", "PcmWithMemory", "Physics", "SelfAccelerating", "Sky130", "Vteam"]
