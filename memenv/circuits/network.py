"""The resistive network of a crossbar, checked, and its solution.

Each row line is wire from a terminal before column 0 along its cells; each column line is wire along its cells to a
terminal after the last row. A cell joins the two lines where they cross. Terminals are held at given voltages through
given resistances, rows and columns alike, so that this one circuit is a read (rows driven, columns at ground), a
transposed read (the reverse) and a write (both biased, as V/2 and V/3 schemes do).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, namespace
from memenv.circuits.ladders import COLS, ROWS, outward, resistances, sag


@dataclass(frozen=True, kw_only=True)
class Wires:
    """Resistances around the cells [ohm], each a float or an array (..., lines); 0 is an ideal conductor.

    A floating line is one whose terminal has a large resistance, such as 1e9 ohm.
    """

    row_segment: Array = 1.0  # from one cell of a row line to the next, and from its first cell to the terminal
    col_segment: Array = 1.0  # from one cell of a column line to the next, and from its last cell to the terminal
    row_terminal: Array = 0.0  # driver or sense circuit of a row line
    col_terminal: Array = 0.0  # driver or sense circuit of a column line


class Solution(NamedTuple):
    """Voltages and currents of networks; leading axes are those of the arguments, broadcast."""

    drop: Array  # (..., rows, cols) [V] on each cell: its row line less its column line
    row_current: Array  # (..., rows) [A] from the row terminals into the array
    col_current: Array  # (..., cols) [A] from the array into the column terminals
    residual: Array  # (...) bound on the error of the drops, see Network.residual
    iterations: Array  # (...) steps that the solver took
    converged: Array  # (...) bool: the residual is within the tolerance


class Network(NamedTuple):
    """A checked circuit, float64; every part broadcasts to (..., rows, cols)."""

    conductance: Array  # (..., rows, cols) [S]
    row_voltage: Array  # (..., rows, 1) [V]
    col_voltage: Array  # (..., 1, cols) [V]
    row_resistance: Array  # (..., rows or 1, cols) [ohm] from each node to the next one towards the terminal
    col_resistance: Array  # (..., rows, cols or 1) [ohm]

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, cols) of the whole batch."""
        return np.broadcast_shapes(*(tuple(part.shape) for part in self))

    @property
    def array_axes(self) -> int:
        """Number of leading axes that are of arrays; along those after them, the same array gets other inputs."""
        circuit = (self.conductance, self.row_resistance, self.col_resistance)
        lead = np.broadcast_shapes(*(tuple(part.shape[:-2]) for part in circuit))
        before = len(self.shape) - 2 - len(lead)
        return max((before + axis + 1 for axis, count in enumerate(lead) if count > 1), default=0)

    def arrays(self) -> Iterator["Network"]:
        """The arrays one by one, each with its inputs along one axis of the voltages: NumPy alone."""
        lead, axes = self.shape[:-2], self.array_axes
        count, inputs = math.prod(lead[:axes]), math.prod(lead[axes:])

        def parts(part: Array, of_arrays: bool) -> np.ndarray:
            own = (*lead[:axes], *(1,) * (len(lead) - axes)) if of_arrays else lead
            each = (count,) if of_arrays else (count, inputs)
            return np.broadcast_to(part, own + part.shape[-2:]).reshape(*each, *part.shape[-2:])

        for one in zip(*map(parts, self, (True, False, False, True, True)), strict=True):
            yield Network(*one)

    @property
    def ideal_drop(self) -> Array:
        """(..., rows, cols) [V] on each cell if wires had no resistance."""
        return self.row_voltage - self.col_voltage

    def sag(self, current: Array) -> Array:
        """(..., rows, cols) [V] that the wires take from each cell when the cells carry `current` [A]."""
        return sag(current, self.row_resistance, ROWS) + sag(current, self.col_resistance, COLS)

    def load(self, axis: int) -> Array:
        """(..., 1, 1) a bound on the eigenvalues of the wires of one kind, `ROWS` or `COLS`, times the cells.

        It is the largest of a line's sums of each cell's conductance times the wire between it and the terminal.
        """
        xp = namespace(self.conductance)
        resistance = self.row_resistance if axis == ROWS else self.col_resistance
        return xp.amax((self.conductance * outward(resistance, axis)).sum(axis), -1)[..., None, None]

    def residual(self, drop: Array) -> Array:
        """(..., 1, 1) how far drops (..., rows, cols) [V] are from Kirchhoff's laws.

        With R the wires and E the ideal drops, the error of V obeys (1 + R G) error = E - V - R G V. R and G are
        positive semidefinite, so that the power of the error in the cells, the sum of G error^2, is at most that of the
        right-hand side. Returned is the root of the latter over the power of E.
        """
        xp, ideal = namespace(drop), self.ideal_drop
        power = inner(self.conductance * ideal, ideal)
        defect = ideal - drop - self.sag(self.conductance * drop)
        return xp.sqrt(inner(self.conductance * defect, defect) / xp.where(power > 0, power, 1.0))


def inner(left: Array, right: Array) -> Array:
    """(..., 1, 1) sum over the cells of the product of two fields."""
    return namespace(left).einsum("...ij,...ij->...", left, right)[..., None, None]


def assembled(conductance: Array, wires: Wires, row_voltage: Array, col_voltage: Array) -> Network:
    """Check and convert a circuit; the arguments are those of `memenv.circuits.solver.fast`.

    Raises:
        ValueError: an argument has values or a shape that no circuit has.
    """
    xp = namespace(conductance, row_voltage, col_voltage, *vars(wires).values())
    device = getattr(conductance, "device", None)

    def double(value: Array) -> Array:
        return np.asarray(value, np.float64) if xp is np else xp.as_tensor(value, dtype=xp.float64, device=device)

    def lines(name: str, value: Array, count: int, least: float, allowed: str) -> Array:
        value = double(value)
        if value.ndim and value.shape[-1] != count:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; it must be a number or (..., {count})")
        if not bool((xp.isfinite(value) & (value >= least)).all()):
            raise ValueError(f"{name} must be {allowed}; some of it is not")
        return xp.broadcast_to(value, (*value.shape[:-1], count))

    g = double(conductance)
    if g.ndim < 2 or 0 in g.shape:
        raise ValueError(f"conductance has shape {tuple(g.shape)}; it must be (..., rows, cols) with a cell or more")
    bad = int((~(xp.isfinite(g) & (g >= 0))).sum())
    if bad:
        raise ValueError(
            f"conductance has {bad} negative, infinite or NaN values; every cell needs finite siemens >= 0"
        )
    count = {"row": g.shape[-2], "col": g.shape[-1]}
    ohm = "finite and >= 0 ohm (a floating line: a large resistance, such as 1e9)"
    wire = {
        field.name: lines(f"wires.{field.name}", getattr(wires, field.name), count[field.name[:3]], 0.0, ohm)
        for field in fields(wires)
    }
    net = Network(
        g,
        lines("row_voltage", row_voltage, count["row"], -np.inf, "finite volts")[..., :, None],
        lines("col_voltage", col_voltage, count["col"], -np.inf, "finite volts")[..., None, :],
        resistances(wire["row_segment"], wire["row_terminal"], count["col"], ROWS),
        resistances(wire["col_segment"], wire["col_terminal"], count["row"], COLS),
    )
    try:
        _ = net.shape
    except ValueError:
        leads = [tuple(part.shape[:-2]) for part in net]
        raise ValueError(f"leading axes of conductance, voltages and wires do not broadcast: {leads}") from None
    return net
