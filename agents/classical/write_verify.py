"""Classical write-verify: hand-written controllers that see reads and their last pulses, and know the nominal device.

Amplitudes are fractions of the driver's range and widths fractions of its logarithmic range, so that one default works
for any device; the fields made by `parameter` carry the range in which an automatic tuner searches them. A controller
is a pure function: what it remembers of each cell travels in the state. An observation whose last pulse is zero is the
first of an episode, which is all that `episode_start` could say, so that argument is not used.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from agents.policy import one_or_many
from memenv.arrays import tree_map
from memenv.devices.device import Driver
from memenv.devices.law import Law, equivalent_pulses, move, pulse_worth
from memenv.devices.protocol import CellModel, one_device, parametric
from memenv.envs.pulse_actions import amplitude_range
from memenv.envs.write_verify.observation import View
from memenv.envs.write_verify.task import WriteVerify

Float = np.ndarray  # (cells,) float64
Bool = np.ndarray  # (cells,) bool


def parameter(default: Any, low: float, high: float, *, log: bool = False) -> Any:
    """A dataclass field that a tuner may set between `low` and `high`, on a logarithmic scale where `log`."""
    return field(default=default, metadata={"range": (low, high), "log": log})


def check_device(device: CellModel, who: str, needs_law: bool) -> None:
    """Refuses a mixture; and, where the law is needed and there is more to choose than the polarity, one without."""
    one_device(device, f"the controller {who}")
    if needs_law and not device.polarity_only:
        parametric(device, who)


def driven(driver: Driver, up: Bool, level: Any) -> Float:
    """Magnitudes [V] at a fraction `level` of the driver's range, which it does not leave."""
    low, high = amplitude_range(up, driver)
    magnitude: Float = low + np.clip(level, 0.0, 1.0) * (high - low)
    return magnitude


def width_at(driver: Driver, level: Any) -> Any:
    """Width [s] at a fraction `level` of the driver's logarithmic range."""
    return driver.width_min * (driver.width_max / driver.width_min) ** level


def pulse_for(law: Law, driver: Driver, up: Bool, count: Float, width: Any) -> tuple[Float, Float]:
    """Magnitude [V] and width [s] worth `count` reference pulses, of the driver; see `pulse_worth`."""
    return pulse_worth(law, *amplitude_range(up, driver), driver.width_min, driver.width_max, count, width)


class Memory(NamedTuple):
    """Memory that every controller has of a cell, arrays (cells,); `own` is the particular controller's."""

    read: Float  # [range] the last read
    target: Float  # [range] the last target
    nearest: Float  # [range] the least distance to the target since the last progress
    idle: Float  # pulses since then that should have brought some
    own: Any


@dataclass(frozen=True, kw_only=True)
class Controller(ABC):
    """A hand-written controller of one device: the subclass chooses the pulse, giving up is common to all.

    A cell is given up after `patience` successive pulses that would have moved the nominal device measurably, and after
    which this one is no nearer to its target and still on the same side; infinite patience never gives up.
    Where the device knows no amplitude (`polarity_only`), the sign of the error is all there is to choose.
    """

    tuning_effort: ClassVar[float] = 1.0  # share of the trials and cells that tuning spends on it
    needs_law: ClassVar[bool] = False  # it inverts that of the nominal device

    task: WriteVerify
    patience: float = parameter(8.0, 2.0, 50.0, log=True)

    def __post_init__(self) -> None:
        check_device(self.task.device, type(self).__name__, self.needs_law)

    @abstractmethod
    def fresh(self, cells: int) -> Any:
        """The controller's own memory of unknown cells: None, or tuples of arrays with a leading axis (cells,)."""

    @abstractmethod
    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Any]:
        """Magnitudes (cells,) [V], widths (cells,) [s], own memory; `memory` is that from before the last pulse."""

    def begin(self, chip: CellModel | None, cells: int) -> Memory:
        """The memory before the first observation."""
        del chip
        nothing = np.zeros(cells)
        return Memory(nothing, nothing, nothing, nothing, None if self.task.device.polarity_only else self.fresh(cells))

    @one_or_many
    def predict(self, observation: np.ndarray, state: Memory | None = None) -> tuple[np.ndarray, Memory]:
        """Actions of the task and the memory after them; see `agents.policy.Policy`."""
        view = self.task.view(observation)
        unknown = self.unknown(view)
        decision, memory = self.act(view, unknown if state is None else choose(view.amplitude == 0, unknown, state))
        amplitude, width, gave_up, *gate = decision
        return self.task.encode(amplitude, width, gave_up, gate=gate[0] if gate else None), memory

    def unknown(self, view: View) -> Memory:
        """The memory of cells at the first observation."""
        far = np.full(len(view.read), np.inf)
        return self.begin(None, len(far))._replace(read=view.read, target=view.target, nearest=far)

    def gate(self, own: Any) -> tuple[Float, ...]:
        """The gate (cells,) [V] of the pulse decided on, by the own memory after it; nothing: fully open."""
        return ()

    def act(self, view: View, memory: Memory) -> tuple[tuple[Any, ...], Memory]:
        """Signed amplitudes [V], widths [s], giving up, `gate`, and the memory after: element-wise if `decide` is."""
        nearest, idle = self._stalled(view, memory)
        up = view.read < view.target
        if self.task.device.polarity_only:
            amplitude, own = driven(self.task.device.driver, up, 1.0), None
            width = self.width(1.0) + 0.0 * view.read
        else:
            amplitude, width, own = self.decide(view, memory, up)
        decision = np.where(up, amplitude, -amplitude), width, idle >= self.patience, *self.gate(own)
        return decision, Memory(view.read, view.target, nearest, idle, own)

    def width(self, level: Any) -> Any:
        """Width [s] at a fraction `level` of the driver's logarithmic range."""
        return width_at(self.task.device.driver, level)

    def _stalled(self, view: View, memory: Memory) -> tuple[Float, Float]:
        """Least distance to the target and idle pulses, after the last pulse and its read."""
        device, up = self.task.device, view.amplitude > 0
        noise = device.read.noise if device.record is None else device.record.verify_noise
        least = max(0.5 * self.task.tolerance_x, 4.0 * noise)
        expected = 1.0 * (view.amplitude != 0)
        if device.record is not None:
            law = device.record.law(up)
            dose = law.dose * equivalent_pulses(law, np.abs(view.amplitude), view.width)
            place = np.clip(memory.read, device.x_lo, device.x_hi)
            expected = np.minimum(np.abs(move(law, place, device.x_lo, device.x_hi, up, dose) - place) / least, 1.0)
        distance, other = np.abs(view.read - view.target), view.target != memory.target
        crossed = (view.read < view.target) != (memory.read < memory.target)
        progress = (distance < memory.nearest - least) | crossed | other
        return np.where(progress, distance, memory.nearest), np.where(progress, 0.0, memory.idle + expected)


class Pair(NamedTuple):
    """A number of each polarity of a cell, arrays (cells,)."""

    set: Float
    reset: Float

    def of(self, up: Bool) -> Float:
        """That of SET where `up`, else that of RESET."""
        number: Float = np.where(up, self.set, self.reset)
        return number


def choose(where: Bool, rows: Any, others: Any) -> Any:
    """The record `rows` where `where` (cells,), the record `others` elsewhere."""

    def pick(new: Any, old: Any) -> Any:
        return np.where(where.reshape(-1, *(1,) * (new.ndim - 1)), new, old) if getattr(new, "ndim", 0) else new

    return tree_map(pick, rows, others)


def turned(view: View, memory: Memory, up: Bool) -> Bool:
    """True where a ramp begins again: at the first pulse, at a change of polarity, at a new target."""
    anew: Bool = (view.amplitude == 0) | (up != (view.amplitude > 0)) | (view.target != memory.target)
    return anew


@dataclass(frozen=True, kw_only=True)
class ConstantPulse(Controller):
    """The same SET pulse and the same RESET pulse, again and again."""

    set_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's range] SET amplitude
    reset_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's range] RESET amplitude
    width_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's log range] width

    def fresh(self, cells: int) -> None:
        """Nothing to remember."""

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, None]:
        """One pulse a polarity."""
        amplitude = driven(self.task.device.driver, up, np.where(up, self.set_level, self.reset_level))
        return amplitude, self.width(self.width_level) + 0.0 * amplitude, None


class Ramp(NamedTuple):
    """Place of a climbing amplitude, arrays (cells,) [of the driver's range]."""

    level: Float  # of the last pulse
    step: Float  # by which it climbs (ShrinkingISPP), or the integral of the error [range] (VoltageIncrementalPI)


@dataclass(frozen=True, kw_only=True)
class ISPP(Controller):
    """Incremental step pulse programming: the amplitude climbs pulse by pulse and restarts at each change of polarity.

    As on NeuRRAM (Wan et al., Nature 608, 504 (2022), 10.1038/s41586-022-04992-8): from 1.2 V by 0.1 V a pulse of 1 us.
    """

    set_start: float = parameter(0.3, 0.0, 1.0)  # [of the driver's range] first SET amplitude
    reset_start: float = parameter(0.3, 0.0, 1.0)  # [of the driver's range] first RESET amplitude
    step: float = parameter(0.06, 0.005, 0.5, log=True)  # [of the driver's range]
    width_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's log range] width

    def fresh(self, cells: int) -> Ramp:
        """No pulse yet."""
        return Ramp(np.zeros(cells), np.zeros(cells))

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Ramp]:
        """One step up the ramp, or its start."""
        start = np.where(up, self.set_start, self.reset_start)
        level = np.where(turned(view, memory, up), start, np.minimum(memory.own.level + self.step, 1.0))
        amplitude = driven(self.task.device.driver, up, level)
        return amplitude, self.width(self.width_level) + 0.0 * amplitude, memory.own._replace(level=level)


@dataclass(frozen=True, kw_only=True)
class ShrinkingISPP(Controller):
    """ISPP whose step shrinks at each overshoot, and which then resumes below the last amplitude of that polarity."""

    set_start: float = parameter(0.3, 0.0, 1.0)  # [of the driver's range] first SET amplitude
    reset_start: float = parameter(0.3, 0.0, 1.0)  # [of the driver's range] first RESET amplitude
    step: float = parameter(0.08, 0.005, 0.5, log=True)  # [of the driver's range] before the first overshoot
    shrink: float = parameter(0.6, 0.1, 1.0)  # [1] factor on the step at each overshoot
    resume: float = parameter(0.5, 0.0, 1.0)  # [1] where to resume, from the start (0) to the last amplitude (1)
    width_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's log range] width

    def fresh(self, cells: int) -> tuple[Ramp, Pair]:
        """No pulse yet, the step at its largest, and the levels at which the polarities turned."""
        starts = Pair(np.full(cells, self.set_start), np.full(cells, self.reset_start))
        return Ramp(np.zeros(cells), np.full(cells, self.step)), starts

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, tuple[Ramp, Pair]]:
        """One step up the ramp, or where it resumes."""
        ramp, reached = memory.own
        new_target = (view.target != memory.target) | (view.amplitude == 0)
        turn = turned(view, memory, up)
        step = np.where(new_target, self.step, np.where(turn, np.maximum(self.shrink * ramp.step, 0.002), ramp.step))
        start = np.where(up, self.set_start, self.reset_start)
        resumed = start + self.resume * (reached.of(up) - start)
        level = np.where(turn, resumed, np.minimum(ramp.level + step, 1.0))
        reached = Pair(np.where(up, level, reached.set), np.where(up, reached.reset, level))
        amplitude = driven(self.task.device.driver, up, level)
        return amplitude, self.width(self.width_level) + 0.0 * amplitude, (Ramp(level, step), reached)


@dataclass(frozen=True, kw_only=True)
class VoltageIncrementalPI(Controller):
    """Voltage-incremental PI (VIPI): the amplitude climbs by a proportional and an integral part of the error.

    After OpenMENA (arXiv:2511.03747); the integral starts anew at each change of polarity, as the ramp does.
    """

    set_start: float = parameter(0.3, 0.0, 1.0)  # [of the driver's range] first SET amplitude
    reset_start: float = parameter(0.3, 0.0, 1.0)  # [of the driver's range] first RESET amplitude
    proportional: float = parameter(0.1, 0.003, 3.0, log=True)  # [of the driver's range / range] climb by error
    integral: float = parameter(0.03, 0.001, 1.0, log=True)  # [of the driver's range / range] climb by summed error
    width_level: float = parameter(0.5, 0.0, 1.0)  # [of the driver's log range] width

    def fresh(self, cells: int) -> Ramp:
        """No pulse yet."""
        return Ramp(np.zeros(cells), np.zeros(cells))

    def decide(self, view: View, memory: Memory, up: Bool) -> tuple[Float, Float, Ramp]:
        """One step up the ramp, or its start."""
        turn, error = turned(view, memory, up), np.abs(view.target - view.read)
        total = np.where(turn, error, memory.own.step + error)
        climbed = np.minimum(memory.own.level + self.proportional * error + self.integral * total, 1.0)
        level = np.where(turn, np.where(up, self.set_start, self.reset_start), climbed)
        amplitude = driven(self.task.device.driver, up, level)
        return amplitude, self.width(self.width_level) + 0.0 * amplitude, Ramp(level, total)
