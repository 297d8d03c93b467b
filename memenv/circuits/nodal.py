"""Nodal analysis of a crossbar's network: slow, exact to rounding, no idea in common with `memenv.circuits.solver`."""

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from memenv.arrays import Array
from memenv.circuits.network import Solution, Wires, assembled


def exact(conductance: Array, wires: Wires, row_voltage: Array = 0.0, col_voltage: Array = 0.0) -> Solution:
    """Solve Kirchhoff's equations at every node, with one sparse factorisation of each array for all its voltages.

    The arguments are those of `memenv.circuits.solver.fast`, NumPy alone.

    Raises:
        ValueError: an argument has values or a shape that no circuit has.
    """
    net = assembled(conductance, wires, row_voltage, col_voltage)
    rows, cols = net.shape[-2:]
    lead = net.shape[:-2]
    circuit = (net.conductance, net.row_resistance, net.col_resistance)
    several = np.broadcast_shapes(*(part.shape[:-2] for part in circuit))
    several = (1,) * (len(lead) - len(several)) + several
    cells, row_wire, col_wire = (np.broadcast_to(part, net.shape) for part in circuit)
    volts = [
        np.broadcast_to(net.row_voltage[..., 0], (*lead, rows)),
        np.broadcast_to(net.col_voltage[..., 0, :], (*lead, cols)),
    ]
    volt = np.concatenate(volts, -1)
    drop = np.empty(net.shape)
    for index in np.ndindex(several):
        one = tuple(slice(None) if size == 1 else k for k, size in zip(index, several, strict=True))
        first = tuple(0 if size == 1 else k for k, size in zip(index, several, strict=True))
        found = _drops(cells[first], row_wire[first], col_wire[first], volt[one].reshape(-1, rows + cols))
        drop[one] = found.reshape(drop[one].shape)
    current = net.conductance * drop
    residual = net.residual(drop)[..., 0, 0]
    steps = np.zeros(residual.shape, int)
    return Solution(drop, current.sum(-1), current.sum(-2), residual, steps, np.isfinite(residual))


def _drops(cells: np.ndarray, row_wire: np.ndarray, col_wire: np.ndarray, volt: np.ndarray) -> np.ndarray:
    """Drops (inputs, rows, cols) [V] of one array, whose terminals, rows first, have the voltages (inputs, lines)."""
    rows, cols = cells.shape
    terminals = rows + cols
    row_node = terminals + np.arange(cells.size).reshape(rows, cols)
    col_node = row_node + cells.size
    row_next = np.hstack((np.arange(rows)[:, None], row_node[:, :-1]))  # on the way to the terminal
    col_next = np.vstack((col_node[1:], rows + np.arange(cols)))
    ends = np.reshape(((row_node, col_node), (row_next, col_next)), (2, -1))
    ohm = np.reshape((row_wire, col_wire), -1)

    short = ends[:, ohm == 0]
    count = terminals + 2 * cells.size
    count, node = connected_components(csc_array((np.ones(short.shape[1]), short), (count, count)), directed=False)
    siemens = np.concatenate((1 / ohm[ohm > 0], cells.ravel()))
    one, other = node[np.hstack((ends[:, ohm > 0], (row_node.ravel(), col_node.ravel())))]
    value = np.concatenate((siemens, siemens, -siemens, -siemens))
    place = np.concatenate(((one, one), (other, other), (one, other), (other, one)), axis=1)
    laplacian = csc_array((value, place), (count, count))

    known = node[:terminals]
    free = np.setdiff1d(np.arange(count), known)
    voltage = np.empty((count, len(volt)))
    voltage[known] = volt.T
    if len(free):
        rest = laplacian[free]
        factor = splu(rest[:, free], permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        voltage[free] = factor.solve(-(rest[:, known] @ volt.T))
    return np.moveaxis(voltage[node[row_node]] - voltage[node[col_node]], -1, 0)
