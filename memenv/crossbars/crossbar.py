"""Arrays of cells between lines: written by a scheme that disturbs neighbours, read and multiplied through converters.

    current[..., cols] = voltage[..., rows] @ conductance[..., rows, cols]

Rows are driven and columns sensed; the transposed product drives columns and senses rows. Leading axes are a batch of
arrays. Pure methods of a frozen record on records of arrays, NumPy or torch; noise is an argument.
"""

import dataclasses
import math
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from memenv.arrays import Array, floor_at, is_zero, namespace, sqrt, tree_map
from memenv.bounds import MANY, is_word, real, shown, whole
from memenv.circuits.solver import Wires, effective, fast, sooner_solved
from memenv.crossbars.converters import Converter, CrossbarError
from memenv.crossbars.disturb import disturbed
from memenv.crossbars.ir_drop import apparent, remaining
from memenv.crossbars.memory_budget import check_memory
from memenv.crossbars.operations import Operations, cell_by_cell, check_levels, line_by_line
from memenv.crossbars.schemes import SCHEMES, Scheme, exposure
from memenv.devices.catalogue import Loaded
from memenv.devices.protocol import CellModel, parametric
from memenv.devices.reads import State
from memenv.devices.spatial import SmoothNormals
from memenv.devices.uncertainty import of_chips

WRITING = ("cells", "rows", "columns")
LEAST_VARIANCE = 1e-30  # [A^2] keeps the derivative of its root finite where all inputs are zero


class CrossbarState(NamedTuple):
    """Fabricated arrays and what became of them; every array has the leading axes of the batch, if there is one."""

    chip: CellModel  # the cells as fabricated, arrays (..., rows, cols)
    cell: State  # arrays (..., rows, cols)
    pulses: Array  # (..., rows, cols) that the cell was written with
    reads: Array  # (..., rows, cols) of the cell alone
    energy: Array  # (..., rows, cols) [J] of pulses, half-select pulses and reads
    latency: Array  # (...) [s] of all operations and reads so far
    sequential: Array  # (...) [s] that they would have taken cell by cell


@dataclass(frozen=True, kw_only=True)
class Crossbar:
    """A nominal array: device, size, how it is written, and the converters around it.

    Raises:
        CrossbarError: a setting outside its range.
        DeviceError: an unknown or impossible device.
    """

    device: Loaded = Loaded("threshold")  # name, path or record; a list of those mixes them
    rows: int = 64
    cols: int = 64
    scheme: str = "1T1R"  # "1T1R", "V/2" or "V/3": what cells see that are not written
    writing: str = "cells"  # one after another, or "rows" / "columns": the cells of a line that share a pulse together
    levels: tuple[int, int] = (8, 3)  # amplitudes (for each polarity) and widths that a line distinguishes
    wires: Wires | None = None  # resistances [ohm], None = ideal conductors
    dac: Converter = field(default_factory=Converter)  # [V]
    adc: Converter = field(default_factory=Converter)  # [A]
    correlation: float = 0.0  # share of the mismatch's variance that is spatially correlated ...
    reach: float = 4.0  # [cells] ... over this distance

    def __post_init__(self) -> None:
        for name in ("rows", "cols"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, MANY, CrossbarError))
        for name, allowed in (("scheme", SCHEMES), ("writing", WRITING)):
            if not is_word(getattr(self, name), allowed):
                raise CrossbarError(f"{name} is {shown(getattr(self, name))}, allowed is {', '.join(allowed)}")
        check_levels(self.levels)
        real("correlation", self.correlation, 0.0, 1.0, CrossbarError)
        real("reach", self.reach, 1e-6, MANY, CrossbarError)
        for name, kinds, words in (
            ("dac", Converter, "a Converter"),
            ("adc", Converter, "a Converter"),
            ("wires", Wires | None, "Wires or None"),
        ):
            if not isinstance(getattr(self, name), kinds):
                raise CrossbarError(f"{name} is {shown(getattr(self, name))}, allowed is {words}")
        self._check_ranges()
        if self._bias.half and any(device.record is None for device in self.device.devices or (self.device,)):
            raise CrossbarError(
                f"scheme is {self.scheme!r}, but {self.device.name}, no parametric device, does not know what part of "
                "a pulse does; allowed is 1T1R"
            )

    def _check_ranges(self) -> None:
        """Converters that round to zero, or clip, whatever the array is used for are a mistake in the unit."""
        volts = float(np.max(self.device.read.voltage))
        one = float(np.max(self.device.g_max * self.device.read.voltage))
        for name, converter, unit, most in (
            ("dac", self.dac, "V", volts),
            ("adc", self.adc, "A", one * max(self.shape)),
        ):
            if converter.step > 2 * most:
                raise CrossbarError(
                    f"{name} has levels {converter.step:.3g} {unit} apart, at most {2 * most:.3g} are allowed: all "
                    f"that the array carries, {most:.3g} {unit}, would be rounded to zero; lower its full_scale"
                )
        if self.adc.bits and self.adc.full_scale < one:
            raise CrossbarError(
                f"adc has a full_scale of {self.adc.full_scale:.3g} A, at least {one:.3g} is needed: what one cell "
                "conducts"
            )

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.rows, self.cols

    @property
    def not_compiled(self) -> str:
        """The device or setting with which writing and reading are no loop over cells (memenv/engine.py), if any."""
        if self.device.not_compiled:
            return self.device.not_compiled
        for name, simple in (("scheme", "1T1R"), ("writing", "cells"), ("wires", None)):
            if getattr(self, name) != simple:
                return f"{name}={getattr(self, name)!r}"
        return ""

    @property
    def write_channels(self) -> int:
        """Standard normals that each cell takes in a step of writing: of its pulse, and of both half-select trains."""
        return self.device.pulse_channels * (3 if self._bias.half else 1)

    @property
    def _bias(self) -> Scheme:
        return SCHEMES[self.scheme]

    # -- chips -------------------------------------------------------------------------------------------------------

    def fabricate(self, rng: Any, arrays: tuple[int, ...] = ()) -> CellModel:
        """A chip of arrays (*arrays, rows, cols) of the device: mismatch, stuck and collapsed cells.

        What is uncertain of the device is drawn for each array, a chip of its own. With `correlation` > 0 mismatch is
        spatially correlated; which cells are stuck stays independent.

        Raises:
            CrossbarError: the arrays would not fit into the memory that is free; the message says how much they need.
        """
        shape, count = (*arrays, *self.shape), math.prod(arrays)
        check_memory(self.device, math.prod(shape), self.write_channels)
        rng = of_chips(rng, count)
        draws: Any = SmoothNormals(rng, count, *self.shape, self.reach, self.correlation) if self.correlation else rng
        return shaped(self.device.fabricate(draws, count * self.rows * self.cols), shape)

    def fresh(self, chip: CellModel, x: Array, noise: Array) -> CrossbarState:
        """Resting cells of a chip at `x` (..., rows, cols) [range], never written.

        `noise` (2, ..., rows, cols) standard normal: drift, trap.
        """
        zero = namespace(x).zeros_like(x)
        array = zero[..., 0, 0]
        return CrossbarState(chip, chip.fresh(x, noise), zero, zero, zero, array, array)

    def conductance(self, state: CrossbarState) -> Array:
        """True conductances (..., rows, cols) [S]."""
        return state.chip.conductance(state.cell)

    # -- writing -----------------------------------------------------------------------------------------------------

    def plan(self, amplitude: Array, width: Array, enabled: Array) -> Operations:
        """The operations that give (or, where lines share pulses, nearly give) each cell its pulse.

        Args:
            amplitude: (..., rows, cols) [V]; positive SETs, negative RESETs.
            width: (..., rows, cols) [s].
            enabled: (..., rows, cols) bool, cells that get one.
        """
        if self.writing == "cells":
            return cell_by_cell(amplitude, width, enabled)
        columns = self.writing == "columns"
        return line_by_line(amplitude, width, enabled, self.device.driver, self.levels, columns=columns)

    def write(self, state: CrossbarState, operations: Operations, noise: Array) -> CrossbarState:
        """The state after one step of writing.

        Every cell gets its own pulse first, then the half-select pulses of all operations elsewhere, SETs before
        RESETs, then it rests while the others are written. For one operation this is exact. For several it differs from
        one after another in the order alone, which the law of a polarity does not see (doses add): what is neglected is
        of first order in the doses that disturb, some of which in truth come before the cell's own pulse of the other
        polarity. Wires lower the amplitude at the cells that are written, by what the step's first conductances draw;
        what others see is not lowered.

        Args:
            state: of the arrays.
            operations: of one step, as `plan` makes them.
            noise: (write_channels, ..., rows, cols) standard normal.
        """
        chip, own, channels = state.chip, operations, self.device.pulse_channels
        before = chip.conductance(state.cell)
        amplitude = own.amplitude
        if self.wires is not None:
            amplitude = amplitude * remaining(self._bias, before, self.wires, own)
        cell = chip.pulse(state.cell, amplitude, own.width, noise[:channels])
        if self._bias.half:
            cell = disturbed(self._bias, parametric(chip, "half-select disturb"), cell, own, noise[channels:])
        after = chip.conductance(cell)
        energy = chip.pulse_energy(before, after, amplitude, own.width)
        if self._bias.half:
            energy = energy + self._half_select_energy(chip, before, after, own)
        return state._replace(
            cell=chip.rest(cell, own.latency[..., None, None] - own.width),
            pulses=state.pulses + (own.width > 0),
            energy=state.energy + energy,
            latency=state.latency + own.latency,
            sequential=state.sequential + own.sequential,
        )

    def _half_select_energy(self, chip: CellModel, before: Array, after: Array, operations: Operations) -> Array:
        """[J] in cells that are not written while others are, (..., rows, cols)."""
        own, lines = operations.amplitude**2 * operations.width, operations.line_amplitude**2 * operations.line_width
        beside, elsewhere = exposure(own, lines, operations.columns)
        shares = self._bias
        return chip.pulse_energy(before, after, 1.0, shares.half**2 * beside + shares.rest**2 * elsewhere)

    def rest(self, state: CrossbarState, seconds: Array) -> CrossbarState:
        """The state after `seconds` (float or (..., rows, cols)) [s] without a pulse; no latency of writing."""
        return state._replace(cell=state.chip.rest(state.cell, seconds))

    # -- reading -----------------------------------------------------------------------------------------------------

    def sense(self, state: CrossbarState, noise: Array, enabled: Array | None = None) -> tuple[Array, CrossbarState]:
        """One read of each cell [S], (..., rows, cols), NaN where not `enabled`, and the state after it.

        The cells of a line are read at once where lines are written at once. Converter and noise are those of the
        device's `read`; wires lower what is read by what they take of the cells' voltage and current. Without
        transistors a read drives a whole line, whose other cells take their energy too: the row of a cell that is read
        alone.

        Args:
            state: of the arrays.
            noise: (2, ..., rows, cols) standard normal: thermal noise, telegraph trap.
            enabled: (..., rows, cols) bool, cells that are read; all if None.
        """
        chip, duration = state.chip, state.chip.read.duration
        xp, g = namespace(state.cell.x, noise), chip.conductance(state.cell)
        one = xp.ones_like(state.cell.x)
        reading, cell = chip.sense(state.cell, noise)
        if self.wires is not None:
            alone, columns = self.writing == "cells", self.writing == "columns"
            reading = reading + apparent(self._bias, g, self.wires, alone=alone, columns=columns) - g
        asked = one > 0
        if enabled is not None:
            asked = enabled & asked
            reading = xp.where(asked, reading, math.nan * one)
            if cell.trap is not None:
                cell = cell._replace(trap=xp.where(asked, cell.trap, chip.rest(state.cell, duration).trap))
        counted = asked * one
        seconds = duration * counted
        latency = sequential = seconds.sum((-2, -1))
        if self.writing != "cells":
            latency = xp.amax(seconds, -2 if self.writing == "columns" else -1).sum(-1)
        return reading, state._replace(
            cell=chip.rest(cell, floor_at(latency[..., None, None] - duration, 0.0)),
            reads=state.reads + counted,
            energy=state.energy + (self._driven(counted) if self._bias.half else counted) * chip.read_energy(g),
            latency=state.latency + latency,
            sequential=state.sequential + sequential,
        )

    def _driven(self, counted: Array) -> Array:
        """Reads (..., rows or 1, 1 or cols) in which each cell's line is driven, where cells `counted` are read."""
        if self.writing == "cells":
            return counted.sum(-1)[..., None]
        columns = self.writing == "columns"
        lines = namespace(counted).amax(counted, -2 if columns else -1)
        return lines[..., None, :] if columns else lines[..., None]

    # -- products ----------------------------------------------------------------------------------------------------

    def product(self, state: CrossbarState, inputs: Array, noise: tuple[Array, Array]) -> Array:
        """Voltages through the converter onto the rows, currents of the columns through the converter: [A].

        The read noises of the cells are independent normals, so that the noise of a column's current is one normal with
        the sum of their variances: exact, and cheaper than a normal a cell. A telegraph trap adds the mean and the
        variance that its last read leaves it; its converter for single cells has no part in a product. With wires the
        currents are those of the whole network, and the noise is that of ideal wires.

        Args:
            state: of the arrays.
            inputs: (..., n, rows) [V], n of them for each array.
            noise: standard normals (..., n, rows) of the DAC and (..., n, cols) of the cells and the ADC.

        Returns:
            (..., n, cols) [A].
        """
        seen, driven = state.chip.read_moments(state.cell), self.dac.convert(inputs, noise[0])
        currents = self._currents(seen.mean, driven)
        variance = (self.adc.noise * self.adc.full_scale) ** 2
        if not is_zero(seen.variance):
            variance = variance + driven**2 @ seen.variance
        if not is_zero(variance):
            currents = currents + noise[1] * sqrt(floor_at(variance, LEAST_VARIANCE))
        return self.adc.rounded(currents)

    def _currents(self, g: Array, driven: Array) -> Array:
        """Noise-free currents (..., n, cols) [A] of voltages (..., n, rows) [V]."""
        if self.wires is None:
            return driven @ g
        g = floor_at(g, 0.0)
        if not sooner_solved(g, driven.shape[-2]):
            return driven @ effective(g, self.wires)
        found = fast(g[..., None, :, :], self.wires, driven, 0.0)
        if not bool(found.converged.all()):
            warnings.warn(
                f"IR drop: {int((~found.converged).sum())} of {math.prod(found.converged.shape)} reads did not "
                f"converge; the largest residual is {float(found.residual.max()):.2g}",
                RuntimeWarning,
                stacklevel=3,
            )
        return found.col_current

    def product_energy(self, state: CrossbarState, inputs: Array) -> Array:
        """(..., rows, cols) [J] in each cell while the array multiplies `inputs` (..., n, rows) [V]."""
        time = state.chip.read.duration
        return (inputs**2).sum(-2)[..., :, None] * time * self.conductance(state)


def shaped(record: Any, shape: tuple[int, ...]) -> Any:
    """The record with its arrays, (cells,) or (..., rows, cols), in `shape`; (-1,) makes them flat, in C order."""
    return tree_map(lambda leaf: leaf.reshape(shape) if getattr(leaf, "ndim", 0) else leaf, record)
