"""Controllers that invert the law of the nominal device, as it is or corrected by what a cell's responses say."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from agents.classical.write_verify import Bool, Controller, Float, Memory, Pair, parameter, pulse_for
from memenv.devices.device import Device
from memenv.devices.law import Law, dose_to_reach
from memenv.devices.protocol import parametric
from memenv.devices.uncertainty import expected_spread
from memenv.envs.write_verify.observation import View


def nominal(controller: Controller) -> Device:
    """The record whose law a controller inverts."""
    return parametric(controller.task.device, type(controller).__name__)


@dataclass(frozen=True, kw_only=True)
class NominalInverse(Controller):
    """The pulse that would take the nominal device from the read to the target, damped; knows nothing of the cell."""

    needs_law = True

    gain: float = parameter(1.0, 0.1, 1.2)  # [1] of the dose
    width_level: float = parameter(0.25, 0.0, 1.0)  # [of the driver's log range] of widths, where they suffice

    def fresh(self, cells: int) -> None:
        """Nothing to remember."""

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, None]:
        """The inverse of the nominal law."""
        device = nominal(self)
        law = device.law(up)
        dose = dose_to_reach(law, view.read, view.target, device.x_lo, device.x_hi, up)
        return *pulse_for(law, device.driver, up, self.gain * dose / law.dose, self.width(self.width_level)), None


class Learnt(NamedTuple):
    """Evidence of the responses about each polarity of a cell."""

    excess: Pair  # [ln] dose of the cell above the nominal one
    variance: Pair  # [ln^2] what is not known of it


@dataclass(frozen=True, kw_only=True)
class HistoryInverse(Controller):
    """The inverse of the nominal model, corrected for each cell and polarity by its responses so far.

    The excess of a cell's log dose over the nominal one is filtered (Kalman, one number a polarity): a response far
    above the noise counts fully, one in the noise hardly, and no response at all says that the cell is weaker than
    believed, not by how much. The device's mismatch and uncertainty say how much to expect, how much of it is a shift
    of the threshold, and what one polarity tells about the other. As long as a polarity is badly known its pulses are
    weaker, by `caution` standard deviations of the log dose, since an overshoot costs more than an undershoot.
    """

    needs_law = True

    spread: float = parameter(1.0, 0.2, 3.0, log=True)  # [1] factor on the mismatch of the record
    error: float = parameter(0.05, 0.02, 1.0, log=True)  # [ln] of the model, besides cycle noise, mismatch and reads
    caution: float = parameter(0.5, 0.0, 2.0)  # [standard deviations]
    width_level: float = parameter(0.25, 0.0, 1.0)  # [of the driver's log range] of widths, where they suffice

    def fresh(self, cells: int) -> Learnt:
        """A nominal cell, known to the spread of its polarities."""
        nothing = np.zeros(cells)
        return Learnt(Pair(nothing, nothing), Pair(*(nothing + self._variance(up) for up in (True, False))))

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Learnt]:
        """The inverse of the corrected law."""
        learnt = self._learn(view, memory)
        excess, variance = (part.of(up) for part in learnt)
        law = self._corrected(up, excess)
        dose = dose_to_reach(law, view.read, view.target, *self._bounds(view, memory), up)
        count = self._aim(up) * dose / law.dose * np.exp(-self.caution * np.sqrt(variance))
        return *pulse_for(law, self.task.device.driver, up, count, self.width(self.width_level)), learnt

    def _aim(self, up: Bool) -> Any:
        """The part of the dose to the target that a pulse is meant to have [1]."""
        return 1.0

    def _variance(self, up: bool) -> Any:
        """Variance [ln^2] of a polarity's log dose before any response."""
        return sum(self._shares(up)) + self.error**2

    def _shares(self, up: bool) -> tuple[Any, Any, Any]:
        """Variance [ln^2] of a polarity's log dose from cell to cell: common to both, its own, by the threshold."""
        device = nominal(self)
        spread, response = expected_spread(device), device.set if up else device.reset
        threshold = spread.threshold * response.threshold / response.slope
        slope = spread.slope * (response.amplitude - response.threshold) / response.slope
        own = spread.asymmetry**2 + slope**2
        return self.spread**2 * spread.rate**2, self.spread**2 * own, self.spread**2 * threshold**2

    def _learn(self, view: View, memory: Memory) -> Learnt:
        """The Kalman step after the last pulse, whose response is the dose that the nominal law needs for it."""
        learnt, up = memory.own, view.amplitude > 0
        excess, variance = (part.of(up) for part in learnt)
        law, bounds, sign = self._corrected(up, excess), self._bounds(view, memory), np.where(up, 1.0, -1.0)
        drive = np.maximum(np.abs(view.amplitude) - law.onset, 0.05 * law.slope) / law.slope
        count = view.width / law.unit * np.expm1(drive)
        blur = np.sqrt((1.5 * nominal(self).verify_noise) ** 2 + law.additive_noise**2 * count + 1e-8)
        seen, far = (dose_to_reach(law, memory.read, view.read + more, *bounds, up) for more in (0.0, sign * blur))
        least = np.maximum(far - seen, 1e-12)
        seen, expected = np.maximum(seen, least), law.dose * count + 1e-12
        shift = self._shift(up)
        steepness = (1.0 - shift) + shift / -np.expm1(-drive)  # d ln(dose) / d excess
        doubt = law.cycle_noise**2 + self.error**2 + (least / np.minimum(seen, expected)) ** 2
        gain = variance * steepness / (variance * steepness**2 + doubt) * (view.amplitude != 0)
        change = gain * np.log(seen / expected)
        common, _, _ = self._shares(True)
        to_set = np.where(up, 1.0, common / self._variance(True))
        to_reset = np.where(up, common / self._variance(False), 1.0)
        known = gain * steepness
        return Learnt(
            Pair(learnt.excess.set + to_set * change, learnt.excess.reset + to_reset * change),
            Pair(learnt.variance.set * (1.0 - to_set**2 * known), learnt.variance.reset * (1.0 - to_reset**2 * known)),
        )

    def _shift(self, up: Bool) -> Float:
        """The part of the excess that is a shift of the threshold."""
        part = (shares[2] / np.maximum(sum(shares), 1e-12) for shares in map(self._shares, (True, False)))
        return Pair(*part).of(up)

    def _corrected(self, up: Bool, excess: Float) -> Law:
        """The nominal law of each cell's polarity with its excess."""
        law, shift = nominal(self).law(up), self._shift(up)
        return law._replace(onset=law.onset - shift * excess * law.slope, dose=law.dose * np.exp((1 - shift) * excess))

    def _bounds(self, view: View, memory: Memory) -> tuple[Float, Float]:
        """The nominal bounds, moved out to where the reads and the target say that they must be [range]."""
        device, spare = self.task.device, 0.5 * self.task.tolerance_x
        low = np.minimum(np.minimum(memory.read, view.read), view.target) - spare
        high = np.maximum(np.maximum(memory.read, view.read), view.target) + spare
        return np.minimum(device.x_lo, low), np.maximum(device.x_hi, high)


@dataclass(frozen=True, kw_only=True)
class Overshooting(HistoryInverse):
    """`HistoryInverse` that may aim past the target with one polarity, and short of it with the other.

    Where one polarity is coarse and the other fine, as on a device whose SET crosses the range in one pulse, going too
    far on purpose and coming back in small steps is cheaper than approaching from one side.
    """

    set_aim: float = parameter(1.0, 0.2, 5.0, log=True)  # [1] of the dose to the target
    reset_aim: float = parameter(1.0, 0.2, 5.0, log=True)

    def _aim(self, up: Bool) -> Any:
        """The aim of each cell's polarity."""
        return np.where(up, self.set_aim, self.reset_aim)
