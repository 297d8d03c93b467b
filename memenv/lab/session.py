"""A bench as the task sees it: under limits, every pulse and read written down, and none of the record done twice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Device, Driver
from memenv.devices.protocol import CellModel
from memenv.devices.reads import Read, ReadMoments, State
from memenv.lab.bench import Bench, BenchError, Limits, named
from memenv.lab.log import Log, Row

SAME = 1e-9  # relative difference of amplitudes and widths that are the same
BELOW, SMALL = 6.0, 0.02  # [read noise], [range]: reads that are not more negative are noise about zero
KEPT = ("name", "g_min", "g_max", "x_lo", "x_hi", "driver", "read", "record", "devices")
Rows = np.ndarray  # (n,) int, places of cells among all of a run


class Session:
    """Cells on a bench. First come the rows of an earlier record, then the bench.

    Arrays (cells,): `steps` rows so far, `pulses`, `reads`, `energy` [J], and of the reads `last`, `low`, `high` [S].
    """

    def __init__(
        self,
        bench: Bench,
        device: CellModel,
        cells: np.ndarray,
        targets: np.ndarray,
        limits: Limits,
        log: Log,
        past: Mapping[int, Sequence[Row]],
        gated: bool = False,
    ) -> None:
        """`cells` (n,) int are their numbers on the bench, `targets` (n,) [S], `past` the rows of an earlier record.

        `limits` are those that `Limits.filled` gives; with `gated` each pulse brings a gate voltage.
        """
        self.bench, self.device, self.cells, self.targets = bench, device, cells, targets
        self.limits, self.log, self.gated = limits, log, gated
        self.past = [past.get(int(cell), ()) for cell in cells]
        self.steps, self.pulses, self.reads = (np.zeros(len(cells), int) for _ in range(3))
        self.energy, self.amplitude, self.width, self.gate = (np.zeros(len(cells)) for _ in range(4))
        self.last, self.low, self.high = (np.full(len(cells), value) for value in (np.nan, np.inf, -np.inf))
        self.least = -max(BELOW * device.read.noise, SMALL) * (device.g_max - device.g_min)  # [S] of a read
        self.waiting = np.zeros(len(cells), bool)  # for the read after a pulse

    def allowed(self, rows: Rows, amplitude: np.ndarray, width: np.ndarray, reads: int) -> np.ndarray:
        """(n,) bool: a pulse and so many reads keep to the limits, whatever the cell conducts up to `g_max`."""
        limits, top = self.limits, np.fmax(self.last[rows], self.device.g_max)
        energy = self.device.pulse_energy(top, top, amplitude, width) + reads * self.device.read_energy(top)
        within = self.energy[rows] + energy <= limits.energy
        if limits.pulses is not None:
            within &= self.pulses[rows] + 1 <= limits.pulses
        if limits.reads is not None:
            within &= self.reads[rows] + reads <= limits.reads
        return cast(np.ndarray, within)

    def pulse(self, rows: Rows, amplitude: np.ndarray, width: np.ndarray, *gate: np.ndarray) -> None:
        """One pulse on each cell, at the gate if one is chosen; what the record holds is only compared with it."""
        volts, seconds, most = cast(tuple[float, ...], (self.limits.amplitude, self.limits.width, self.limits.gate))
        within = (np.abs(amplitude) <= volts * (1 + SAME)) & (width <= seconds * (1 + SAME))
        for own in gate:
            within &= own <= most * (1 + SAME)
        if not within.all():
            raise BenchError(
                f"a pulse beyond the limits was asked of {named(self.cells[rows[~within]])}: none is given"
            )
        self.amplitude[rows], self.width[rows], self.gate[rows] = amplitude, width, gate[0] if gate else 0.0
        new = np.array([self._new(row) for row in rows], bool)
        self.waiting[rows] = True
        pulses = [part[new] for part in (amplitude, width, *gate)]
        self._ask("a pulse on", rows[new], lambda cells: self.bench.pulse(cells, *pulses))
        self.pulses[rows] += 1

    def read(self, rows: Rows) -> np.ndarray:
        """(n,) [S] a read of each cell, of the record as far as it goes; written down with the pulse before it."""
        g = np.array([self._known(row) for row in rows])
        new = np.isnan(g)
        if new.any():
            seen = self._ask("a read of", rows[new], self.bench.read)
            g[new] = seen if np.shape(seen) == (new.sum(),) else np.nan
        bad = ~((g >= self.least) & (g <= self.limits.conductance))
        self._note(rows[~bad], g[~bad], new[~bad])
        if bad.any():
            raise BenchError(f"the read of {named(self.cells[rows[bad]])} is {_fault(g[bad][0])}")
        return g

    def unmoved(self, rows: Rows, least: Any) -> np.ndarray:
        """(n,) bool: the reads of many pulses lie within `least` [S]."""
        return cast(np.ndarray, (self.pulses[rows] >= self.limits.unmoved) & (self.high[rows] - self.low[rows] < least))

    def close(self) -> None:
        """Leave the bench in its safe state, and write down pulses that nobody read."""
        try:
            self._ask("switching off", np.arange(len(self.cells)), lambda cells: self.bench.off())
        finally:
            left = np.flatnonzero(self.waiting).tolist()
            self.log.add(self._row(row, np.nan) for row in left if self._new(row))
            self.log.close()

    def _new(self, row: int) -> bool:
        """True where the next row is none of the record; else its pulse must be the one that is asked for."""
        past, step = self.past[row], self.steps[row]
        if step >= len(past):
            return True
        pulse = past[step].amplitude, past[step].width, past[step].gate or 0.0
        given = self.amplitude[row], self.width[row], self.gate[row]
        if not np.allclose(pulse, given, rtol=SAME, atol=0.0):
            shown, ours = (f"{v:g} V, {t:g} s{f', gate {g:g} V' if self.gated else ''}" for v, t, g in (pulse, given))
            raise BenchError(
                f"the record has {shown} as step {step} of cell {self.cells[row]}, this policy gives {ours}: "
                "resume with the policy and task of the record"
            )
        return False

    def _known(self, row: int) -> float:
        """[S] the next read of the record; NaN: none."""
        self._new(row)
        past, step = self.past[row], self.steps[row]
        return past[step].conductance if step < len(past) else np.nan

    def _ask(self, what: str, rows: Rows, call: Callable[[np.ndarray], Any]) -> Any:
        """What the bench answers."""
        if not len(rows):
            return None
        try:
            return call(self.cells[rows])
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(f"{what} {named(self.cells[rows])} failed: {type(error).__name__}: {error}") from error

    def _note(self, rows: Rows, g: np.ndarray, new: np.ndarray) -> None:
        """Keep reads, and what pulse and read have cost; write down what is new."""
        self.log.add(self._row(row, value) for row, value in zip(rows[new], g[new], strict=True))
        before = np.where(np.isnan(self.last[rows]), g, self.last[rows])
        self.energy[rows] += self.device.pulse_energy(before, g, self.amplitude[rows], self.width[rows])
        self.energy[rows] += self.device.read_energy(g)
        self.last[rows], self.low[rows] = g, np.minimum(self.low[rows], g)
        self.high[rows] = np.maximum(self.high[rows], g)
        self.steps[rows] += 1
        self.reads[rows] += 1
        self.amplitude[rows], self.width[rows], self.gate[rows], self.waiting[rows] = 0.0, 0.0, 0.0, False

    def _row(self, row: int, g: float) -> Row:
        numbers = int(self.cells[row]), int(self.steps[row]), self.amplitude[row], self.width[row], g, self.targets[row]
        return Row(*numbers, self.gate[row] if self.gated else None)


def _fault(g: float) -> str:
    """The fault that a read [S] tells of, and what to do."""
    if not np.isfinite(g):
        return "no finite number: check contacts and ranges"
    if g > 0:
        return f"{g:g} S, an overload: check contacts and ranges"
    return f"{g:g} S, negative: check the sign of current and read voltage, and the instrument's offset"


@dataclass(frozen=True, kw_only=True)
class OnBench:
    """Cells of a session as a `CellModel`, so that the task's own text drives them; conductances are the last reads."""

    session: Session
    rows: Rows
    name: str
    g_min: Array
    g_max: Array
    x_lo: Array
    x_hi: Array
    driver: Driver
    read: Read
    record: Device | None
    devices: Sequence[CellModel]
    gate: tuple[Array, ...] = ()  # [V] of the next pulse, where one is chosen

    polarity_only, pulse_channels, read_channels, not_compiled = False, 0, 0, "a bench"

    @classmethod
    def of(cls, session: Session) -> Self:
        """All cells of a session; range, driver and read are those of the device that the policy expects."""
        own = {name: getattr(session.device, name) for name in KEPT}
        return cls(session=session, rows=np.arange(len(session.cells)), **own)

    def fabricate(self, rng: Any, cells: int) -> Self:
        """The cells that are there."""
        del rng, cells
        return self

    def fresh(self, x: Array, noise: Array) -> State:
        """Cells that nobody has read."""
        del noise
        return State(x=0.0 * x, age=0.0 * x)

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """One pulse on each cell; its effect is known when it is read."""
        del noise, count
        self.session.pulse(self.rows, amplitude, width, *self.gate)
        return state

    def driven(self, volts: Array) -> Self:
        """The cells with their gates at `volts`."""
        return replace(self, gate=(volts,))

    def rest(self, state: State, seconds: Array) -> State:
        """Time passes without help."""
        del seconds
        return state

    def sense(self, state: State, noise: Array) -> tuple[Array, State]:
        """A read of each cell."""
        del noise
        g = self.session.read(self.rows)
        return g, state._replace(x=(g - self.g_min) / (self.g_max - self.g_min))

    def conductance(self, state: State) -> Array:
        """The last read."""
        return self.g_min + state.x * (self.g_max - self.g_min)

    def read_moments(self, state: State) -> ReadMoments:
        """The last read, and the noise that the device expects."""
        return ReadMoments(self.conductance(state), (self.read.noise * (self.g_max - self.g_min)) ** 2)

    def pulse_energy(self, before: Array, after: Array, amplitude: Array, width: Array) -> Array:
        """As the device has it."""
        return self.session.device.pulse_energy(before, after, amplitude, width)

    def read_energy(self, g: Array) -> Array:
        """As the device has it."""
        return self.session.device.read_energy(g)
