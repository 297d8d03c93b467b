"""IR drop: the currents of a crossbar's lines and the voltage on each of its cells, wires included.

`memenv.circuits.network` says what the circuit is, `memenv.circuits.nodal` has the reference solution.
"""

import functools
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import Array, constant, floor_at, namespace, tree_map
from memenv.circuits.batched import installed, many_inputs, worthwhile
from memenv.circuits.ladders import COLS, ROWS, Ladder, inward, ladder, outward, sag
from memenv.circuits.network import Network, Solution, Wires, assembled, inner

__all__ = ["Solution", "Wires", "effective", "fast", "sooner_solved"]

CHUNK = 2**15  # cells of a batch that are solved together: what a cache holds
FEW, MANY = 32, 512  # inputs of an array that are solved sooner than `effective`, by conjugate gradients and by sweeps
MOST_DROPS = 2**26  # that are worth keeping for currents alone: half a GB


def fast(
    conductance: Array,
    wires: Wires,
    row_voltage: Array = 0.0,
    col_voltage: Array = 0.0,
    *,
    start: Array | None = None,
    tolerance: float = 1e-7,
    max_iterations: int = 200,
) -> Solution:
    """Solve networks by conjugate gradients on the row lines, the column lines being eliminated.

    With u and w [V] the sags of rows and columns, E the drops over ideal wires and K the inverse of a kind of lines
    (`memenv.circuits.ladders.Ladder`), Kirchhoff's laws are u = K_r G (E - w) and w = K_c G (E - u). Both K are
    products L L^T of running sums, so that y = L_r^-1 u obeys (1 - M M^T) y = L_r^T G (E - K_c G E) with
    M = L_r^T G L_c. The singular values of M are below 1, and far below for wires worth building: a few steps do. Where
    numba is installed, arrays that get many inputs at once are solved by compiled sweeps over the lines instead
    (`memenv.circuits.batched`).

    Tensors in, tensors out, with derivatives of every order by conductances, voltages and resistances: they are
    solutions of the same network, whatever the steps were. (torch.func.grad can follow, vmap cannot; batches are
    leading axes.) Arithmetic is float64, results have the conductances' type. What does not converge says so and is
    finite.

    Args:
        conductance: (..., rows, cols) [S], finite, >= 0.
        wires: resistances [ohm].
        row_voltage: (..., rows) or a float [V] at the row terminals.
        col_voltage: (..., cols) or a float [V] at the column terminals.
        start: (..., rows, cols) [V] drops of a similar network, as of the solution before a pulse.
        tolerance: largest residual of a converged solution.
        max_iterations: steps after which to give up.

    Raises:
        ValueError: an argument has values or a shape that no circuit has.
    """
    net = assembled(conductance, wires, row_voltage, col_voltage)
    xp = namespace(*net)
    fixed = Network(*(constant(part) for part in net))
    guess = None
    if start is not None:
        guess = constant(xp.asarray(start))
        if guess.shape[-2:] != net.shape[-2:] or not bool(xp.isfinite(guess).all()):
            raise ValueError(f"start, of shape {tuple(guess.shape)}, must be finite drops of an array {net.shape[-2:]}")
        guess = fixed.conductance * guess
    with np.errstate(all="ignore"):
        if xp is np and guess is None and worthwhile(net, tolerance):
            found = _many(net, tolerance, max_iterations)
        else:
            solve = _in_pieces if xp is np else _solve
            found = _solution(net, tolerance, *solve(net, _Solver.of(fixed, tolerance, max_iterations), guess))
    kind = xp.result_type(conductance, 1.0) if hasattr(conductance, "dtype") else xp.float64
    drop, into, out_of = (
        part.astype(kind, copy=False) if xp is np else part.to(kind)
        for part in (found.drop, found.row_current, found.col_current)
    )
    return found._replace(drop=drop, row_current=into, col_current=out_of)


def effective(conductance: Array, wires: Wires) -> Array:
    """(..., rows, cols) [S]: the matrix E with col_current = row_voltage @ E, columns at 0 V.

    A transposed read has the transposed matrix: with rows at 0 V, col_voltage @ E^T is the current out of the rows.
    Found by elimination of row after row of dense matrices (..., cols, cols): as costly as some dozens of solutions by
    `fast`, and all reads after it are matrix products. Differentiable with tensors, by memory of rows * cols^2.

    Args:
        conductance: (..., rows, cols) [S], finite, >= 0.
        wires: resistances [ohm].

    Raises:
        ValueError: an argument has values or a shape that no circuit has.
    """
    net = assembled(conductance, wires, 0.0, 0.0)
    xp = namespace(*net)
    g = net.conductance
    rows = ladder(g, net.row_resistance, ROWS)
    weighted, sums = g * rows.weight, outward(rows.square, ROWS)
    nearer = np.minimum.outer(np.arange(g.shape[-1]), np.arange(g.shape[-1]))
    one = xp.eye(g.shape[-1], dtype=g.dtype) if xp is np else xp.eye(g.shape[-1], dtype=g.dtype, device=g.device)
    admittance, source = 0.0, None  # (..., cols, cols), (..., cols, rows so far) [S]: what the columns see above a row
    for i in range(g.shape[-2]):
        outer = weighted[..., i, :, None] * weighted[..., i, None, :]
        row = g[..., i, :, None] * one - outer * sums[..., i, :][..., nearer]
        admittance = admittance + row
        drive = row.sum(-1)[..., None]
        source = drive if source is None else xp.concatenate((source, drive), -1)
        both = xp.concatenate((admittance, source), -1)
        both = xp.linalg.solve(one + admittance * net.col_resistance[..., i, None, :], both)
        admittance, source = both[..., : g.shape[-1]], both[..., g.shape[-1] :]
    return xp.swapaxes(source, -1, -2)


def sooner_solved(conductance: Array, inputs: int) -> bool:
    """True if so many inputs of each array (..., rows, cols) are better given to `fast` than to `effective`."""
    if inputs <= FEW:
        return True
    drops = inputs * math.prod(conductance.shape)
    return namespace(conductance) is np and installed() and inputs <= MANY and drops <= MOST_DROPS


class _Solver(NamedTuple):
    """Lines of both kinds, inverted, for any currents; parts broadcast to (..., rows, cols)."""

    net: Network
    rows: Ladder
    cols: Ladder
    amplification: Array  # (..., 1, 1) of a step's residue, at most, in Network.residual; squared
    tolerance: float
    max_iterations: int

    @staticmethod
    def of(net: Network, tolerance: float, max_iterations: int) -> "_Solver":
        """Invert the lines."""
        bound = net.load(ROWS)
        return _Solver(
            net,
            ladder(net.conductance, net.row_resistance, ROWS),
            ladder(net.conductance, net.col_resistance, COLS),
            bound * (1 + bound),
            tolerance,
            max_iterations,
        )

    def sag(self, injected: Array, power: Array | None = None, guess: Array | None = None) -> tuple[Array, Array]:
        """The sag y (..., rows, cols) [V] with y = R (injected - G y), and the steps taken (..., 1, 1).

        Args:
            injected: (..., rows, cols) [A].
            power: (..., 1, 1) [W] that the residual refers to; without it, the steps go on until the first residue is
                reduced by the tolerance.
            guess: (..., rows, cols) [A] a guess of injected - G y.
        """
        xp = namespace(injected)
        g = self.net.conductance
        residue = self.rows.up(injected - g * self.cols.voltage(injected))
        left = inner(residue, residue)
        goal = self.tolerance**2 * (left if power is None else power / floor_at(self.amplification, 1e-300))
        if guess is None:
            y = xp.zeros_like(residue)
        else:
            y = self.rows.up(injected - g * sag(guess, self.net.col_resistance, COLS)) + 0.0 * residue
            residue = residue - self._apply(y)
            left = inner(residue, residue)
        direction = 1.0 * residue
        iterations = xp.zeros_like(left, dtype=xp.int64)
        for _ in range(self.max_iterations):
            active = left > goal
            if not bool(active.any()):
                break
            image = self._apply(direction)
            length = xp.where(active, left / xp.where(active, inner(direction, image), 1.0), 0.0)
            y += length * direction
            image *= length
            residue -= image
            before, left = left, inner(residue, residue)
            direction *= xp.where(active, left / xp.where(active, before, 1.0), 0.0)
            direction += residue
            iterations = iterations + active
        u = self.rows.down(y)
        return u + self.cols.voltage(injected - g * u), iterations

    def _apply(self, y: Array) -> Array:
        """(1 - M M^T) y."""
        current = self.rows.down(y)
        current *= self.net.conductance
        current = self.cols.voltage(current)
        current *= self.net.conductance
        return y - self.rows.up(current)


def _solution(net: Network, tolerance: float, drop: Array, residual: Array, iterations: Array) -> Solution:
    """Of the drops (..., rows, cols) [V], their residuals (..., 1, 1) and the steps taken (..., 1, 1)."""
    current, residual = net.conductance * drop, residual[..., 0, 0]
    return Solution(drop, current.sum(-1), current.sum(-2), residual, iterations[..., 0, 0], residual <= tolerance)


def _many(net: Network, tolerance: float, max_iterations: int) -> Solution:
    """Of arrays with many inputs; conjugate gradients take those that the compiled sweeps do not solve."""
    solved = []
    for one in net.arrays():
        solver = _Solver.of(one, tolerance, max_iterations)
        found = many_inputs(one, solver.rows, solver.cols, tolerance, max_iterations)
        left = ~found.converged
        if left.any():
            rest = one._replace(row_voltage=one.row_voltage[left], col_voltage=one.col_voltage[left])
            again = _solution(rest, tolerance, *_in_pieces(rest, solver._replace(net=rest), None))
            again = again._replace(iterations=again.iterations + found.iterations[left])
            for whole, part in zip(found, again, strict=True):
                whole[left] = part
        solved.append(found)
    parts = solved[0] if len(solved) == 1 else (np.concatenate(part) for part in zip(*solved, strict=True))
    return Solution(*(part.reshape(*net.shape[:-2], *part.shape[1:]) for part in parts))


def _solve(net: Network, solver: _Solver, guess: Array | None) -> tuple[Array, Array, Array]:
    """Drops (..., rows, cols) [V], residuals and iterations (..., 1, 1)."""
    fixed, ideal = solver.net, net.ideal_drop
    injected = net.conductance * ideal
    power = inner(constant(injected), constant(ideal))
    xp = namespace(injected)
    if xp is np:
        found, iterations = solver.sag(injected, power, guess)
    else:
        circuit = (net.conductance, net.row_resistance, net.col_resistance)
        found, iterations = _differentiable_sag(xp)(*circuit, injected, solver, power, guess)
    drop = ideal - found
    residual = fixed.residual(constant(drop))
    finite = xp.isfinite(residual)
    return xp.where(finite, drop, ideal), xp.where(finite, residual, np.inf), iterations


@functools.cache
def _differentiable_sag(torch: ModuleType) -> Any:
    """_Solver.sag as a function that torch differentiates, made where tensors are: memenv does not import torch.

    The gradient d of y = R (i - G y) goes to the right-hand side as (1 + G R)^-1 d = d - G y', y' being the sag for the
    currents d: once more the same network. R is symmetric, so that y' is the gradient of i as well.
    """

    class Sag(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def forward(
            conductance: Array, row: Array, col: Array, injected: Array, solver: _Solver, *hints: Array | None
        ) -> tuple[Array, Array]:
            return solver.sag(injected, *hints)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Array, Array]) -> None:
            ctx.save_for_backward(*inputs[:4], output[0])
            ctx.mark_non_differentiable(output[1])
            ctx.solver = inputs[4]

        @staticmethod
        def backward(ctx: Any, gradient: Array, _: Array) -> tuple[Array | None, ...]:
            conductance, row, col, injected, found = ctx.saved_tensors
            back, _ = Sag.apply(conductance, row, col, gradient, ctx.solver, None, None)
            carried, adjoint = injected - conductance * found, gradient - conductance * back
            return (
                (-back * found).sum_to_size(conductance.shape),
                (inward(adjoint, ROWS) * inward(carried, ROWS)).sum_to_size(row.shape),
                (inward(adjoint, COLS) * inward(carried, COLS)).sum_to_size(col.shape),
                back.sum_to_size(injected.shape),
                *(None, None, None),
            )

    return Sag.apply


def _in_pieces(net: Network, solver: _Solver, guess: Array | None) -> tuple[Array, Array, Array]:
    """_solve for a large batch: along its first axis, so many at a time that the cache holds them."""
    shape = net.shape
    count = min(shape[0], -(-math.prod(shape) // CHUNK)) if len(shape) > 2 else 1
    if count <= 1:
        return _solve(net, solver, guess)
    solved = []
    for k in range(count):
        piece = slice(k * shape[0] // count, (k + 1) * shape[0] // count)

        def cut(part: Array, piece: slice = piece) -> Array:
            varies = getattr(part, "ndim", 0) == len(shape) and part.shape[0] > 1
            return part[piece] if varies else part

        solved.append(_solve(*tree_map(cut, (net, solver, guess))))
    drop, residual, iterations = (np.concatenate(parts) for parts in zip(*solved, strict=True))
    return drop, residual, iterations
