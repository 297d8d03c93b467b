"""Controllers of 1T1R cells, which drive the gate: a rising word line, and RADAR's coarse and fine pulses."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.classical.write_verify import Bool, Controller, Float, Memory, driven, parameter, turned
from memenv.envs.task import TaskError
from memenv.envs.write_verify.observation import View


class Climb(NamedTuple):
    """Place on a ramp, arrays (cells,)."""

    level: Float  # [of the range] of what climbs
    fine: Float  # 1 where the ramp is a fine one
    gate: Float  # [V]


@dataclass(frozen=True, kw_only=True)
class GateISPP(Controller):
    """ISPP by the word line: the gate of SET pulses climbs at a fixed bit line, the source line of RESETs at full gate.

    Each ramp restarts at a change of polarity, as in the ISPP of Le et al., IEEE TED 2021, 10.1109/TED.2021.3097975.
    """

    gate_start: float = parameter(0.3, 0.0, 1.0)  # [of the gate's range] of the first SET
    gate_step: float = parameter(0.03, 0.005, 0.5, log=True)  # [of the gate's range]
    bit_level: float = parameter(0.8, 0.0, 1.0)  # [of the driver's range] SET amplitude
    reset_start: float = parameter(0.3, 0.0, 1.0)  # [of the driver's range] first RESET amplitude
    reset_step: float = parameter(0.06, 0.005, 0.5, log=True)  # [of the driver's range]
    width_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's log range] width

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task.gate is None:
            raise TaskError(
                f"device is {self.task.device.name}: {type(self).__name__} drives a gate: a record with "
                '`gate` is needed, not held, and action="continuous"'
            )

    def fresh(self, cells: int) -> Climb:
        """No pulse yet."""
        return Climb(*np.zeros((3, cells)))

    def coarse(self, up: Bool) -> tuple[Float, Float]:
        """The start and the step of each coarse ramp, (cells,)."""
        return np.where(up, self.gate_start, self.reset_start), np.where(up, self.gate_step, self.reset_step)

    def ramps(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Float]:
        """Where pulses are fine (1, else 0), and the start and the step of each ramp, all (cells,)."""
        return 0.0 * view.read, *self.coarse(up)

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Climb]:
        """One step up the ramp, or its start."""
        fine, start, step = self.ramps(view, memory, up)
        anew = turned(view, memory, up) | (fine != memory.own.fine)
        level = np.where(anew, start, np.minimum(memory.own.level + step, 1.0))
        coarse_set, gate = up & (fine == 0), self.task.gate
        amplitude = driven(self.task.device.driver, up, np.where(coarse_set, self.bit_level, level))
        assert gate is not None
        volts = gate.volts_of(2.0 * np.where(coarse_set, level, 1.0) - 1.0)
        return amplitude, self.width(self.width_level) + 0.0 * amplitude, Climb(level, fine, volts)

    def gate(self, own: Climb) -> tuple[Float]:
        """The gate of the pulse."""
        return (own.gate,)


@dataclass(frozen=True, kw_only=True)
class Radar(GateISPP):
    """RADAR: coarse pulses as of `GateISPP` until the read is near the target or has passed it, then fine ones.

    Fine pulses at full gate climb from a weak bit line (SET) or source line (RESET), and restart where the read crosses
    the target. After Le et al., IEEE TED 2021, 10.1109/TED.2021.3097975.
    """

    near: float = parameter(0.15, 0.02, 0.5, log=True)  # [range] from the target, in which pulses are fine
    fine_set: float = parameter(0.1, 0.0, 1.0)  # [of the driver's range] first fine SET amplitude
    fine_reset: float = parameter(0.1, 0.0, 1.0)  # [of the driver's range] first fine RESET amplitude
    fine_set_step: float = parameter(0.03, 0.005, 0.5, log=True)  # [of the driver's range]
    fine_reset_step: float = parameter(0.03, 0.005, 0.5, log=True)  # [of the driver's range]

    def ramps(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Float]:
        """Those of both kinds."""
        start, step = self.coarse(up)
        near = np.abs(view.read - view.target) < self.near
        passed = (view.amplitude != 0) & (up != (view.amplitude > 0))
        fine = near | passed | ((memory.own.fine > 0) & (view.target == memory.target))
        first = np.where(up, self.fine_set, self.fine_reset)
        further = np.where(up, self.fine_set_step, self.fine_reset_step)
        return 1.0 * fine, np.where(fine, first, start), np.where(fine, further, step)
