"""The secant controller, an engineer's page of code: it adapts to each cell and needs no record of the device."""

from dataclasses import dataclass

import numpy as np

from agents.classical.write_verify import Bool, Controller, Float, Memory, Pair, driven, parameter, turned
from memenv.envs.pulse_actions import amplitude_range
from memenv.envs.write_verify.observation import View

FINEST = 0.1  # [tolerances] a step that is wanted counts as at least this


@dataclass(frozen=True, kw_only=True)
class Secant(Controller):
    """Amplitude = base + slope x ln(dose that the step needs); the base follows the doses that were seen.

    The dose s is that of an exponential approach to a bound, dx/ds = (bound - x) / (1 + room), where `room` lies
    between the bound and the range. After a read the base of the last polarity falls by `gain` x slope x (ln of the
    dose seen - ln of the dose expected of that amplitude), the other one by `share` of that. The first pulse after a
    start or a turn of polarity aims at a dose smaller by `caution`: an overshoot costs more than an undershoot. The
    numbers that stand here are those of a longer search on `threshold`, from where every tuning begins.
    """

    set_base: float = parameter(0.53, 0.2, 1.6)  # [of the driver's range] SET amplitude of dose 1, of an average cell
    reset_base: float = parameter(0.59, 0.2, 1.6)  # [of the driver's range] RESET amplitude of dose 1
    set_slope: float = parameter(0.073, 0.03, 0.3, log=True)  # [of the driver's range / ln] SET
    reset_slope: float = parameter(0.077, 0.03, 0.3, log=True)  # [of the driver's range / ln] RESET
    set_room: float = parameter(0.064, 0.02, 5.0, log=True)  # [range] from x = 1 to the bound of SET
    reset_room: float = parameter(0.18, 0.02, 5.0, log=True)  # [range] from x = 0 to the bound of RESET
    gain: float = parameter(0.85, 0.2, 1.3)  # [1]
    share: float = parameter(0.18, 0.0, 1.0)  # [1] of a correction that the other polarity takes over
    least: float = parameter(0.5, 0.05, 4.0, log=True)  # [tolerances] a step that is seen counts as at least this
    caution: float = parameter(0.35, 0.0, 1.2)  # [ln]
    width_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's log range] width

    def fresh(self, cells: int) -> Pair:
        """Amplitudes of dose 1 of average cells [of the driver's range]."""
        return Pair(np.full(cells, self.set_base), np.full(cells, self.reset_base))

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Pair]:
        """The amplitude for the step to the target."""
        bases, driver = self._corrected(view, memory), self.task.device.driver
        base, slope = self._line(bases, up)
        wanted = self._log_dose(view.read, view.target, up, FINEST) - self.caution * turned(view, memory, up)
        amplitude = driven(driver, up, base + slope * wanted)
        return amplitude, self.width(self.width_level) + 0.0 * amplitude, bases

    def _corrected(self, view: View, memory: Memory) -> Pair:
        """The bases, after the last pulse and its read."""
        bases, up = memory.own, view.amplitude > 0
        low, high = amplitude_range(up, self.task.device.driver)
        base, slope = self._line(bases, up)
        surplus = base + slope * self._log_dose(memory.read, view.read, up, self.least)
        surplus = surplus - (np.abs(view.amplitude) - low) / (high - low)
        change = self.gain * surplus * (view.amplitude != 0)
        return Pair(
            set=bases.set - np.where(up, 1.0, self.share) * change,
            reset=bases.reset - np.where(up, self.share, 1.0) * change,
        )

    def _line(self, bases: Pair, up: Bool) -> tuple[Float, Float]:
        """Base and slope of each cell's polarity."""
        return bases.of(up), np.where(up, self.set_slope, self.reset_slope)

    def _log_dose(self, x: Float, goal: Float, up: Bool, least: float) -> Float:
        """ln of the dose from one state to another [range]; a step counts as at least `least` [tolerances]."""
        step = np.maximum(np.where(up, goal - x, x - goal), least * self.task.tolerance_x)
        room = np.where(up, self.set_room, self.reset_room)
        way = np.maximum(room + np.where(up, 1.0 - x, x), 1.1 * step)  # reads may lie beyond the bound
        log_dose: Float = np.log(-(1.0 + room) * np.log1p(-step / way))
        return log_dose
