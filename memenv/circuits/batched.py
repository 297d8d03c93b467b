"""Many inputs of one array with wires: alternating line solves, compiled, with Chebyshev's acceleration.

With K the inverse of a kind of lines, u = K_r G (E - w) and w = K_c G (E - u) hold for the sags of rows and columns
(`memenv.circuits.solver.fast`). Solving the one and the other in turn is a sweep, which takes an error of w to
K_c G K_r G times it. Its eigenvalues lie between 0 and the product of b / (1 + b) for rows and columns, where b bounds
the resistance of a line's wires against that of its cells (`Network.load`): so Chebyshev's semi-iteration (Golub &
Varga 1961, 10.1007/BF01386013) needs no inner products and takes the same steps for all inputs. Each set of drops is
put into Kirchhoff's laws in the end; what does not obey them is not converged.
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from memenv.circuits.ladders import COLS, ROWS, Ladder
from memenv.circuits.network import Network, Solution
from memenv.compiler.cache import compiled

FEWEST = 8  # inputs of an array for which a group of GROUP, the others idle, is quicker than one after the other
GROUP = 32  # as in memenv.circuits.batched_kernel, which only numba imports
SWEEPS = 50  # where there is no end after these, conjugate gradients are quicker
FINEST = 1e-7  # residual that fields in single precision are good for; they blur it by 1e-8 or so


def worthwhile(net: Network, tolerance: float) -> bool:
    """True where `many_inputs` should solve it: many inputs an array, and numba is installed."""
    inputs = math.prod(net.shape[net.array_axes : -2])
    return inputs >= FEWEST and tolerance >= FINEST and installed()


def many_inputs(net: Network, rows: Ladder, cols: Ladder, tolerance: float, max_iterations: int) -> Solution:
    """Solve one array for voltages (inputs, rows, 1) and (inputs, 1, cols); one of `Network.arrays`."""
    inputs, height, width = net.shape
    circuit = [
        np.array(np.broadcast_to(part, (height, width)))
        for part in (net.conductance, rows.weight, rows.square, cols.weight, cols.square, net.col_resistance)
    ]
    loads = [float(net.load(axis)[0, 0]) for axis in (ROWS, COLS)]
    rho = float(np.prod([load / (1 + load) for load in loads]))
    drop, row_current, col_current = np.empty(net.shape), np.empty((inputs, height)), np.empty((inputs, width))
    residual, iterations = np.empty(inputs), np.empty(inputs, int)
    work = np.empty((3, height, width, GROUP), np.float32)
    solve, most = _loop(), min(max_iterations, SWEEPS)
    into, out_of, off, sweeps = np.empty((height, GROUP)), np.empty((width, GROUP)), np.empty(GROUP), np.empty(1, int)
    for begin in range(0, inputs, GROUP):
        part = slice(begin, begin + GROUP)
        count = len(drop[part])
        volts = _columns(net.row_voltage[part, :, 0]), _columns(net.col_voltage[part, 0])
        solve(*circuit, *volts, rho, tolerance, most, *work, drop[part], into, out_of, off, sweeps)
        row_current[part], col_current[part] = into.T[:count], out_of.T[:count]
        residual[part], iterations[part] = off[:count], sweeps[0]
    return Solution(drop, row_current, col_current, residual, iterations, residual <= tolerance)


def _columns(volts: np.ndarray) -> np.ndarray:
    """(lines, GROUP) of the voltages (inputs, lines), without voltage where there is no input."""
    columns = np.zeros((volts.shape[1], GROUP))
    columns[:, : len(volts)] = volts.T
    return columns


@functools.cache
def installed() -> bool:
    """True where numba is there to compile the sweeps."""
    return importlib.util.find_spec("numba") is not None


@functools.cache
def _loop() -> Callable[..., None]:
    text = Path(__file__).with_name("batched_kernel.py").read_text(encoding="utf-8")
    return compiled(text, "solve wires for many inputs")
