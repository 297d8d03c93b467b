"""Programming an array with a policy for single cells: all open cells at once, under the array's constraints.

A cell that does not read as it should is open: it gets pulses, each followed by a read, until it is accepted, given up,
or has spent the budget of this pass. Then cells are read again, all of them where writing one disturbs others, and
those that are out of tolerance are re-programmed, in a limited number of verify passes. A failed cell tells how far
it goes: what it read last is taken for the end of its range on that side, and where targets stand for weights, the
partner of its pair takes the difference. Many policies give up long before that end, so where transistors shield the
others, a cell that is given up gets one final strong pulse towards its target, but for the last pass; should that take
it across, it has not failed, and is re-programmed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from agents.arrays.noise import ArrayNoise
from agents.classical.write_verify import driven, width_at
from agents.policy import Policy
from memenv.arrays import put, take, tree_map
from memenv.crossbars.crossbar import Crossbar, CrossbarState, shaped
from memenv.crossbars.encoding import Encoding, Mapping
from memenv.crossbars.schemes import SCHEMES
from memenv.devices.grid import on_grid
from memenv.devices.protocol import CellModel, one_device
from memenv.envs.write_verify.task import WriteVerify

PASSES = 3  # verify passes after the first
FINAL = 0.3  # [of the driver's logarithmic range] width of the final strong pulse, its amplitude is the largest

Aim = Callable[[tuple[np.ndarray, np.ndarray]], Mapping]  # of the least and largest conductance (rows, cols) [S]


class Written(NamedTuple):
    """The outcome of an array; arrays (rows, cols)."""

    state: CrossbarState
    mapping: Mapping  # the targets of the end, and where weights lie
    reading: np.ndarray  # [S] the last read
    accepted: np.ndarray  # bool, the last read was inside
    failed: np.ndarray  # bool, was given up or spent the budget of a pass, for this target or an earlier one
    passes: np.ndarray  # verify passes in which the cell was programmed
    asked: np.ndarray  # [S] the targets of the beginning, before any failed
    tolerance: np.ndarray  # [range] infinite where a cell was left as it was
    low: np.ndarray  # [S] the least conductance that the cell can reach, for all that it has shown
    high: np.ndarray  # [S] the largest

    @property
    def outside(self) -> np.ndarray:
        """(rows, cols) bool, the target that was asked for is out of the cell's reach."""
        slack = 1e-6 * (self.high.max() - self.low.min())
        return np.asarray((self.asked < self.low - slack) | (self.asked > self.high + slack))


def at(targets: np.ndarray) -> Aim:
    """Targets (rows, cols) [S] that stay, whatever cells can reach."""
    return lambda reach: Mapping(targets, 0.0 * targets, None)


def for_weights(weights: np.ndarray, encoding: Encoding) -> Aim:
    """The targets that come nearest to weights (rows, outputs) with what cells have shown that they can reach."""
    return lambda reach: encoding.mapped(weights, reach)


def levelled(aim: Aim, task: WriteVerify) -> Aim:
    """The targets of an aim, each at the nearest level of the task; without levels as they are."""
    if not task.target_levels:
        return aim
    known = task.siemens(task.device, np.array([level.target for level in task.target_bands]))

    def nearest(reach: tuple[np.ndarray, np.ndarray]) -> Mapping:
        mapping = aim(reach)
        return mapping._replace(targets=known[np.abs(mapping.targets[..., None] - known).argmin(-1)])

    return nearest


def fresh_array(crossbar: Crossbar, noise: ArrayNoise) -> CrossbarState:
    """A new chip of one array whose cells lie anywhere in their own ranges, as those of `WriteVerify` do."""
    chip = crossbar.fabricate(noise.chip)
    x = chip.x_lo + (chip.x_hi - chip.x_lo) * noise.start.random(crossbar.shape)
    return crossbar.fresh(chip, x, noise.cycle.standard_normal((2, *crossbar.shape)))


def ends(crossbar: Crossbar, task: WriteVerify) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest conductance (rows, cols) [S] of nominal cells."""
    device = crossbar.device
    low, high = (task.siemens(device, x + np.zeros(crossbar.shape)) for x in (device.x_lo, device.x_hi))
    return low, high


def write_array(
    crossbar: Crossbar,
    task: WriteVerify,
    policy: Policy,
    state: CrossbarState,
    aim: Aim,
    noise: ArrayNoise,
    *,
    passes: int = PASSES,
    reach: tuple[np.ndarray, np.ndarray] | None = None,
    tolerance: np.ndarray | None = None,
    on_step: Callable[[int], None] | None = None,
    on_pulse: Callable[[np.ndarray, np.ndarray, np.ndarray], None] | None = None,
) -> Written:
    """Program one array, whatever it holds.

    Args:
        crossbar: the array, and how it is written.
        task: tolerance, budget of a pass and confirming reads; one round, no history.
        policy: answers the task's observations. What it has learnt of a cell it keeps when the cell is re-programmed.
        state: of the array, without batch axes.
        aim: the targets, asked before each pass.
        noise: of the array.
        passes: verify passes after the first; with 0 cells are not read again. The last has no final strong pulses.
        reach: (rows, cols) [S] least and largest conductance of the cells, as far as it is known; else the device's.
        tolerance: (rows, cols) [range] of each cell, infinite where it stays as it is; the task's if None.
        on_step: called with the number of open cells after each step.
        on_pulse: called with the pulses of each step: cells (n,), flat indices, signed amplitudes [V], widths [s].

    Raises:
        ValueError: a task of several rounds or with a history, or an array of several devices.
    """
    device = one_device(crossbar.device, "an array that is written cell by cell")
    disturbing = bool(SCHEMES[crossbar.scheme].half)
    writer = Writer.of(crossbar, task, policy, state, noise, on_step)._replace(final=not disturbing)
    writer = writer._replace(on_pulse=on_pulse or writer.on_pulse)
    now = writer.begin(state, reach)
    wide = float(np.max(task.tolerance_x)) + np.zeros(crossbar.shape) if tolerance is None else tolerance
    slack = (device.g_max - device.g_min) * wide

    def within(cells: np.ndarray, before: np.ndarray, x: np.ndarray, goal: np.ndarray) -> np.ndarray:
        chip = take(writer.chip, cells)
        return np.asarray(
            task.within(chip, x, goal) if tolerance is None else np.abs(x - goal) <= tolerance.flat[cells]
        )

    def missed(reading: np.ndarray, target: np.ndarray) -> np.ndarray:
        if task.target_levels:
            return np.asarray(~task.within(device, *(task.fraction(device, part) for part in (reading, target))))
        return np.asarray(np.abs(reading - target) > slack)

    asked = aim((now.low, now.high)).targets
    for number in range(1 + passes):
        mapping = aim((now.low, now.high))
        target = mapping.targets
        opened = missed(now.reading, target) & (target >= now.low - slack) & (target <= now.high + slack)
        if not opened.any():
            break
        one = writer._replace(final=writer.final and number < passes)
        now = one.verify_pass(now, target, opened, within)
        if passes:
            again, state = writer.look(now.state, None if disturbing else opened)
            known = now.knowledge.without_pulses()  # other cells' pulses, and time, have moved it since
            now = now._replace(state=state, reading=np.where(np.isnan(again), now.reading, again), knowledge=known)
    return now.written(mapping, ~missed(now.reading, mapping.targets), asked, wide)


Arrived = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
# cells (n,) that need no further pulse for now: of their flat indices, reads before and after the last, targets [range]


class _Knowledge(NamedTuple):
    """What is known of each cell of the array; arrays (rows, cols)."""

    memory: Any  # the policy's state, leading axis (cells,); None before a policy without `begin` has been asked
    asked: np.ndarray  # bool, cells about which it has been asked
    change: np.ndarray  # [range] by the last pulse
    amplitude: np.ndarray  # [V] of it, signed
    width: np.ndarray  # [s] of it

    def of(self, rows: np.ndarray) -> Any:
        """The policy's state of some cells, flat indices."""
        return None if self.memory is None else take(self.memory, rows)

    def after(self, rows: np.ndarray, memory: Any) -> Self:
        """With the policy's new state of some cells."""
        asked, whole = self.asked.copy(), self.memory
        asked.flat[rows] = True
        if whole is None:
            whole = tree_map(lambda leaf: np.zeros((asked.size, *leaf.shape[1:]), leaf.dtype), memory)
        return self._replace(memory=put(whole, rows, memory), asked=asked)

    def pulsed(self, rows: np.ndarray, change: np.ndarray, amplitude: np.ndarray, width: np.ndarray) -> Self:
        """With the last pulse of some cells, changed by `change` (n,)."""
        parts = np.stack(self[2:])
        parts.reshape(3, -1)[:, rows] = change, amplitude.flat[rows], width.flat[rows]
        return self._replace(change=parts[0], amplitude=parts[1], width=parts[2])

    def without_pulses(self) -> Self:
        """With what the policy remembers alone."""
        return self.pulsed(np.arange(self.asked.size), *np.zeros((3, self.asked.size)))


class Progress(NamedTuple):
    """What was done to an array so far, and what it has shown; arrays (rows, cols)."""

    state: CrossbarState
    reading: np.ndarray  # [S] the last read
    low: np.ndarray  # [S] the least conductance that the cell can reach, for all that it has shown
    high: np.ndarray  # [S] the largest
    failed: np.ndarray  # bool
    passes: np.ndarray  # in which the cell was programmed
    knowledge: _Knowledge

    def written(self, mapping: Mapping, accepted: np.ndarray, asked: np.ndarray, tolerance: np.ndarray) -> Written:
        """The outcome, if this is the end."""
        reach = self.low, self.high
        return Written(self.state, mapping, self.reading, accepted, self.failed, self.passes, asked, tolerance, *reach)


class Writer(NamedTuple):
    """Everything that stays the same while an array is programmed."""

    crossbar: Crossbar
    task: WriteVerify
    policy: Policy
    chip: CellModel  # arrays (cells,)
    noise: ArrayNoise
    on_step: Callable[[int], None]
    on_pulse: Callable[[np.ndarray, np.ndarray, np.ndarray], None] = lambda *_: None
    final: bool = False  # cells that are given up get a final strong pulse

    @classmethod
    def of(
        cls,
        crossbar: Crossbar,
        task: WriteVerify,
        policy: Policy,
        state: CrossbarState,
        noise: ArrayNoise,
        on_step: Callable[[int], None] | None,
    ) -> Self:
        """The writer of the array in a state; arguments as of `write_array`.

        Raises:
            ValueError: a task of several rounds or with a history.
        """
        if task.rounds != 1 or task.history != 1:
            raise ValueError(
                f"rounds is {task.rounds} and history is {task.history}: an array takes tasks with 1 of each"
            )
        return cls(crossbar, task, policy, shaped(state.chip, (-1,)), noise, on_step or (lambda _: None))

    def begin(self, state: CrossbarState, reach: tuple[np.ndarray, np.ndarray] | None = None) -> Progress:
        """Before the first pulse: each cell is read."""
        shape = self.crossbar.shape
        reading, state = self.look(state)
        nothing = np.zeros(shape, bool)
        memory = self.policy.begin(self.chip, self.crossbar.rows * self.crossbar.cols)
        knowledge = _Knowledge(memory, nothing, *np.zeros((3, *shape)))
        return Progress(
            state, reading, *(reach or ends(self.crossbar, self.task)), nothing, np.zeros(shape, int), knowledge
        )

    def look(self, state: CrossbarState, enabled: np.ndarray | None = None) -> tuple[np.ndarray, CrossbarState]:
        """One read of the cells."""
        channels = self.crossbar.device.read_channels
        noise = self.noise.read.standard_normal((channels, *self.crossbar.shape))
        return self.crossbar.sense(state, noise, enabled)

    def verify_pass(self, now: Progress, target: np.ndarray, opened: np.ndarray, arrived: Arrived) -> Progress:
        """One pass, until no cell is open.

        Args:
            now: what was done before.
            target: (rows, cols) [S].
            opened: (rows, cols) bool.
            arrived: closes cells.
        """
        task, crossbar, shape = self.task, self.crossbar, self.crossbar.shape
        state, knowledge = now.state, now.knowledge
        lost, reading, rows = np.zeros(shape, bool), now.reading.copy(), np.flatnonzero(opened)
        spent = np.zeros(len(rows))
        while len(rows):
            chip = take(self.chip, rows)
            x, goal = (task.fraction(chip, part.flat[rows]) for part in (reading, target))
            change, amplitude, width = (part.flat[rows] for part in knowledge[2:])
            last = amplitude, width
            seen = task.observations.show(x, goal, task.tolerance_of(chip), change, last, spent, chip.driver)
            action, memory = self.policy.predict(seen, knowledge.of(rows), ~knowledge.asked.flat[rows], True)
            *pulse, gave_up = task.decode(action, chip.driver)
            up, spent = x < goal, spent + 1
            knowledge = knowledge.after(rows, memory)
            if self.final:
                pulse = [np.where(gave_up, last, own) for last, own in zip(self._final(up), pulse, strict=True)]
            else:
                lost.flat[rows[gave_up]] = True
                kept = rows, x, up, spent, *pulse, gave_up
                rows, x, up, spent, *pulse, gave_up = (part[~gave_up] for part in kept)
            enabled = _placed(np.ones(len(rows), bool), rows, shape)
            amplitude, width = (_placed(part, rows, shape) for part in pulse)
            operations = crossbar.plan(amplitude, width, enabled)
            self.on_pulse(rows, operations.amplitude.flat[rows], operations.width.flat[rows])
            noise = self.noise.cycle.standard_normal((crossbar.write_channels, *shape))
            state, inside = crossbar.write(state, operations, noise), np.ones(len(rows), bool)
            before = x
            for _ in range(1 + task.confirm_reads):
                asked = rows[inside]
                again, state = self.look(state, _placed(inside, rows, shape))
                reading.flat[asked] = again.flat[asked]
                chip = take(self.chip, rows)
                x, goal = (task.fraction(chip, part.flat[rows]) for part in (reading, target))
                inside = inside & arrived(rows, before, x, goal)
            over = inside | gave_up | (spent >= task.max_pulses)
            lost.flat[rows[over & ~inside & ~(gave_up & (up != (x < goal)))]] = True
            knowledge = knowledge.pulsed(rows, x - before, operations.amplitude, operations.width)
            rows, spent = rows[~over], spent[~over]
            self.on_step(len(rows))
        low = np.where(lost & (reading > target), reading, now.low)
        high = np.where(lost & (reading < target), reading, now.high)
        high = np.maximum(high, np.where(reading > target, low, 0.0))
        failed, passes = now.failed | lost, now.passes + opened
        return Progress(state, reading, np.minimum(low, high), high, failed, passes, knowledge)

    def _final(self, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed amplitudes [V] and widths [s] (cells,) of final strong pulses."""
        driver = self.crossbar.device.driver
        amplitude = driven(driver, up, 1.0)
        amplitude, width = on_grid(driver, up, amplitude, width_at(driver, FINAL) + 0.0 * amplitude)
        return np.where(up, amplitude, -amplitude), width


def _placed(values: np.ndarray, rows: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(rows, cols) with `values` at some flat indices, 0 elsewhere."""
    whole = np.zeros(shape, values.dtype)
    whole.flat[rows] = values
    return whole
