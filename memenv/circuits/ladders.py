"""Lines of wire with cells on them: running sums, voltage sag, and the closed inverse of a line.

Fields are (..., rows, cols). Row lines run along the last axis and end in their terminal at column 0; column lines run
along the axis before it and end in their terminal at the last row. Only this file knows which way that is.
"""

import functools
from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, namespace

ROWS, COLS = -1, -2  # the axis along which the lines of a kind run
BLOCK = 32  # cells summed by one product with a triangle of ones: two to five times as fast as cumsum
HUGE = 1e140  # of its kind squared still a number


@functools.cache
def _triangle(size: int) -> np.ndarray:
    """(size, size) ones on and below the diagonal."""
    return np.tril(np.ones((size, size)))


def _running_sum(field: Array, axis: int, backwards: bool) -> Array:
    """Inclusive sums of `field` (..., rows, cols) along an axis, from its end if `backwards`."""
    xp = namespace(field)
    if xp is not np:
        return field.flip(axis).cumsum(axis).flip(axis) if backwards else field.cumsum(axis)
    length, sums = field.shape[axis], np.empty(field.shape)
    for begin in range(0, length, BLOCK):
        size = min(BLOCK, length - begin)
        first = length - begin - size if backwards else begin
        before = first + size if backwards else first - 1  # the position whose sum goes on
        ones = _triangle(size).T if backwards else _triangle(size)
        if axis == ROWS:
            part = np.matmul(field[..., first : first + size], ones.T, out=sums[..., first : first + size])
            if begin:
                part += sums[..., before, None]
        else:
            part = np.matmul(ones, field[..., first : first + size, :], out=sums[..., first : first + size, :])
            if begin:
                part += sums[..., before, None, :]
    return sums


def outward(field: Array, axis: int) -> Array:
    """Sums from the terminal of each line to each of its nodes (voltages)."""
    return _running_sum(field, axis, backwards=axis == COLS)


def inward(field: Array, axis: int) -> Array:
    """Sums from the far end of each line to each of its nodes (currents); the transpose of outward."""
    return _running_sum(field, axis, backwards=axis == ROWS)


def resistances(segment: Array, terminal: Array, length: int, axis: int) -> Array:
    """(..., rows, cols) or what broadcasts to it [ohm]: from each node to the next one on the way to the terminal.

    Args:
        segment: (..., lines) [ohm] of wire between two nodes, and from the last node to the terminal.
        terminal: (..., lines) [ohm] of the circuit at the end of the line.
        length: number of nodes on a line.
        axis: `ROWS` or `COLS`.
    """
    xp = namespace(segment, terminal)
    last = np.arange(length) == (0 if axis == ROWS else length - 1)
    last = last if axis == ROWS else last[:, None]
    if xp is not np:
        last = xp.as_tensor(last, device=segment.device)
    across = (..., slice(None), None) if axis == ROWS else (..., None, slice(None))
    return segment[across] + terminal[across] * last


def sag(current: Array, resistance: Array, axis: int) -> Array:
    """(..., rows, cols) [V]: what the wire of a line takes from each node when the cells draw `current` [A]."""
    return outward(resistance * inward(current, axis), axis)


class Ladder(NamedTuple):
    """All lines of one kind with their cells, inverted.

    With g the cells of a line at 0 V on their other side and D the Laplacian of its wire, (D + g)^-1 = L L^T, where
    L = weight * outward(root * .). The weight is the voltage along a line that is fed at its terminal alone, the far
    end being at 1 V: Ohm and Kirchhoff give it node by node on the way to the terminal. The square of the root is
    resistance / (weight of this node * weight of the next one). All of it is positive, nothing cancels, and wire
    without resistance is no special case.
    """

    weight: Array  # (..., rows, cols)
    root: Array  # (..., rows, cols) [ohm^0.5]
    square: Array  # (..., rows, cols) [ohm] of the root
    axis: int

    def down(self, field: Array) -> Array:
        """L times `field`."""
        sums = outward(self.root * field, self.axis)
        sums *= self.weight
        return sums

    def up(self, field: Array) -> Array:
        """L^T times `field`."""
        sums = inward(self.weight * field, self.axis)
        sums *= self.root
        return sums

    def voltage(self, current: Array) -> Array:
        """(..., rows, cols) [V] of the nodes, terminals at 0 V, when `current` [A] is fed into them."""
        flow = self.square * inward(self.weight * current, self.axis)
        return self.weight * outward(flow, self.axis)


def ladder(conductance: Array, resistance: Array, axis: int) -> Ladder:
    """Invert all lines of a kind.

    Args:
        conductance: (..., rows, cols) [S].
        resistance: broadcasts to it [ohm], from each node to the next one towards the terminal.
        axis: `ROWS` or `COLS`.

    Lines that damp by more than `HUGE` are taken to damp by it: the result is finite and not their inverse.
    """
    xp = namespace(conductance, resistance)
    shape = np.broadcast_shapes(tuple(conductance.shape), tuple(resistance.shape))
    cells, wires = (xp.moveaxis(xp.broadcast_to(part, shape), axis, 0) for part in (conductance, resistance))
    nodes = list(zip(cells, wires, strict=True))
    voltage, current = xp.ones_like(cells[0]), 0.0
    line = [voltage]
    with np.errstate(over="ignore", invalid="ignore"):
        for cell, wire in nodes[::-1] if axis == ROWS else nodes:
            current = current + cell * voltage
            voltage = voltage + wire * current
            line.append(voltage)
        weights = xp.stack(line[::-1] if axis == ROWS else line, axis)
        weights = xp.where(weights < HUGE, weights, HUGE)  # NaN too
    if axis == ROWS:
        weight, following = weights[..., 1:], weights[..., :-1]
    else:
        weight, following = weights[..., :-1, :], weights[..., 1:, :]
    square = resistance / (weight * following)
    return Ladder(weight, xp.sqrt(square), square, axis)
