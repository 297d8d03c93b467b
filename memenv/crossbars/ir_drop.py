"""IR drop at single cells: what wires leave of a driver's amplitude, and what conductance a read of the cell shows.

On writing each line carries the current of the cells that are written on it and, in half-select schemes, of those that
are not. Lines that belong to no written cell are taken to be at their bias all along; all else of the linear circuit is
exact, so that with transistors (1T1R) nothing is neglected.
"""

from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, floor_at, namespace
from memenv.circuits.ladders import COLS, ROWS, ladder, outward
from memenv.circuits.network import Wires, assembled
from memenv.circuits.solver import effective
from memenv.crossbars.operations import Operations
from memenv.crossbars.schemes import Scheme


class Source(NamedTuple):
    """A line as one of its cells sees it (Thevenin), (..., rows, cols), the other cells on it being half-selected."""

    share: Array  # of the half-select voltage that the others pull its potential by, without the cell's own current
    resistance: Array  # [ohm]


def remaining(scheme: Scheme, conductance: Array, wires: Wires, operations: Operations) -> Array:
    """The share (..., rows, cols) of an operation's amplitude that reaches the cell it writes; 1 on other cells.

    Args:
        scheme: biases of the lines.
        conductance: (..., rows, cols) [S] before the step.
        wires: resistances [ohm].
        operations: of the step.

    Raises:
        ValueError: wires that no circuit has.
    """
    xp, net = namespace(conductance), assembled(conductance, wires, 0.0, 0.0)
    g = net.conductance
    rows, cols = _source(scheme, g, net.row_resistance, ROWS), _source(scheme, g, net.col_resistance, COLS)
    if operations.alone:
        share = (1 - scheme.half * (rows.share + cols.share)) / (1 + g * (rows.resistance + cols.resistance))
    elif operations.columns:
        share = _shared(scheme, g, operations, net.col_resistance, COLS, rows)
    else:
        share = _shared(scheme, g, operations, net.row_resistance, ROWS, cols)
    share = xp.where(operations.width > 0, share, 1.0 + 0.0 * share)
    return _like(share, conductance)


def apparent(scheme: Scheme, conductance: Array, wires: Wires, *, alone: bool, columns: bool) -> Array:
    """The conductances (..., rows, cols) [S] that reads of single cells show, all other lines being grounded.

    Args:
        scheme: without half-select voltages, transistors disconnect all other cells but those read at once.
        conductance: (..., rows, cols) [S].
        wires: resistances [ohm].
        alone: transistors leave one cell at a time connected, else one line.
        columns: that line is a column.

    Raises:
        ValueError: wires that no circuit has.
    """
    if scheme.half:
        return effective(conductance, wires)
    net = assembled(conductance, wires, 0.0, 0.0)
    g, paths = net.conductance, [(net.row_resistance, ROWS), (net.col_resistance, COLS)]
    (resistance, axis), (crossing, other) = paths[::-1] if columns else paths
    seen = g / (1 + g * outward(crossing + 0.0 * g, other))
    if alone:
        seen = seen / (1 + seen * outward(resistance + 0.0 * g, axis))
    else:
        seen = seen * (1 - ladder(seen, resistance, axis).voltage(seen))
    return _like(seen, conductance)


def _like(value: Array, other: Array) -> Array:
    """`value` in the type of `other`."""
    return value.astype(other.dtype, copy=False) if namespace(other) is np else value.to(other.dtype)


def _source(scheme: Scheme, g: Array, resistance: Array, axis: int) -> Source:
    """Lines along `axis` with wire `resistance` [ohm] from node to node."""
    if not scheme.half:
        return Source(0.0 * g, outward(resistance + 0.0 * g, axis))
    lines = ladder(g, resistance, axis)
    own = g * lines.weight**2 * outward(lines.square, axis)  # of the line's response to the cell's current; below 1
    left = floor_at(1 - own, 1e-12)
    return Source((lines.voltage(g) - own) / left, own / (g * left))


def _shared(scheme: Scheme, g: Array, operations: Operations, resistance: Array, axis: int, across: Source) -> Array:
    """The same for operations that write several cells of a line along `axis` at once, one slot after another."""
    xp = namespace(g)
    bias, divider = scheme.half * across.share, 1 / (1 + g * across.resistance)
    share = 1.0 + 0.0 * g
    for slot in range(operations.line_width.shape[-1]):
        volts, seconds = operations.line_amplitude[..., slot], operations.line_width[..., slot]
        volts, seconds = (part[..., None, :] if operations.columns else part[..., :, None] for part in (volts, seconds))
        members = (operations.width > 0) & (operations.amplitude == volts) & (operations.width == seconds)
        if not bool(members.any()):
            continue
        branch = xp.where(members, g * divider, g if scheme.half else 0.0 * g)
        beyond = xp.where(members, bias, 1.0 - scheme.half + 0.0 * g)
        sag = ladder(branch, resistance, axis).voltage(branch * (1 - beyond))
        share = xp.where(members, (1 - sag - bias) * divider, share)
    return share
