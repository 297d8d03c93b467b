"""IR drop on reads: what the exact and the fast solver take, and whether the fast one converges on arrays of all kinds.

    OMP_NUM_THREADS=1 python benchmarks/ir_drop.py

First table: cells of 10 to 100 kohm, 1 ohm a segment, random voltages; the best of `repeats` calls, arguments checked
and lines inverted in each. `error` is the largest of a column current relative to the largest current, `each` relative
to that column's own current. `restarted` starts from the solution. `64 inputs` are 64 voltage vectors on one array
(with numba by compiled sweeps, see `memenv.circuits.batched`), `effective` is the matrix that gives all its reads.
badcrossbar, another exact solver, takes part if it is installed.

Second table: random arrays of 4 x 4 to 256 x 256 cells (sides uniform in the logarithm), segments of 0.1 to 10 ohm,
each array's cells between two random bounds in 1 kohm to 10 Mohm, terminals of 0 to 1 kohm; the first `compared` of
them also by the exact solver.

Third table: what wires leave of a third of the amplitude in the V/3 scheme, while the cell that is farthest from both
terminals is written; cells of 10 kohm to 1 Mohm, uniform in conductance, 5 ohm a segment. `Crossbar.write` lowers the
amplitude of the written cell and takes the bias of all others to be whole.
"""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from memenv.circuits.nodal import exact
from memenv.circuits.solver import Wires, effective, fast
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown

INPUTS = 64
PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True, kw_only=True)
class IRDropConfig:
    """Time the solvers of a crossbar's wires, and test that the fast one converges."""

    sizes: tuple[int, ...] = option((32, 64, 128, 256), help="rows and columns of the arrays timed")
    repeats: int = option(7, help="calls of which the best counts; a third of it for what takes long")
    arrays: int = option(1000, help="random arrays for the statistics")
    compared: int = option(100, help="of them, compared with the exact solution")
    seed: int = option(0, help="of arrays and voltages")


def milliseconds(call: Callable[[], Any], repeats: int) -> float:
    """The best of `repeats` calls."""
    times = []
    for _ in range(max(1, repeats)):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def badcrossbar() -> Callable[[np.ndarray, np.ndarray], Any] | None:
    """Its solver for conductances and voltages, 1 ohm a segment, or None."""
    try:
        import badcrossbar
    except ImportError:
        return None
    return lambda g, volts: badcrossbar.compute(volts[:, None], 1.0 / g, 1.0)


def timings(config: IRDropConfig) -> str:
    """The first table."""
    rng, around, peer = np.random.default_rng(config.seed), Wires(), badcrossbar()
    few, lines = config.repeats // 3, []
    np.ones(
        2**21
    ).sum()  # 16 MB freed: glibc keeps memory from then on, as in a long program (else up to twice the time)
    for size in config.sizes:
        g, volts = 1.0 / rng.uniform(1e4, 1e5, (size, size)), rng.uniform(0.0, 1.0, (INPUTS, size))
        reference, found = exact(g, around, volts[0]), fast(g, around, volts[0])
        error = np.abs(found.col_current - reference.col_current)
        one = milliseconds(lambda g=g, v=volts[0]: fast(g, around, v), config.repeats)
        many = milliseconds(lambda g=g, v=volts: fast(g, around, v), few)
        warm = milliseconds(lambda g=g, v=volts[0], d=found.drop: fast(g, around, v, start=d), config.repeats)
        figures = [
            milliseconds(lambda g=g, v=volts[0]: exact(g, around, v), few),
            *((milliseconds(lambda g=g, v=volts[0]: peer(g, v), few),) if peer else ()),
            one,
            warm,
            many,
            many / one,
            milliseconds(lambda g=g: effective(g, around), few),
        ]
        errors = [error.max() / reference.col_current.max(), (error / reference.col_current).max()]
        lines.append([str(size), *(f"{x:.3g}" for x in figures), *(f"{x:.1e}" for x in errors), str(found.iterations)])
    head = ["size", "exact [ms]", *(["badcrossbar [ms]"] if peer else []), "fast [ms]", "restarted [ms]"]
    head += [f"{INPUTS} inputs [ms]", f"{INPUTS} inputs / one", "effective [ms]", "error", "each", "steps"]
    return markdown(head, lines)


def convergence(config: IRDropConfig) -> str:
    """The second table."""
    rng = np.random.default_rng(config.seed)
    converged, steps, residuals, current_errors, drop_errors = [], [], [], [], []
    for k in range(config.arrays):
        rows, cols = np.exp(rng.uniform(np.log(4), np.log(257), 2)).astype(int)
        low, high = np.sort(rng.uniform(3, 7, 2))
        g, volts = 10.0 ** -rng.uniform(low, high, (rows, cols)), rng.uniform(0.0, 1.0, rows)
        row_segment, col_segment = 10.0 ** rng.uniform(-1, 1, 2)
        row_terminal, col_terminal = rng.uniform(0, 1000, 2) * rng.integers(0, 2, 2)
        around = Wires(
            row_segment=row_segment, col_segment=col_segment, row_terminal=row_terminal, col_terminal=col_terminal
        )
        found = fast(g, around, volts)
        converged.append(bool(found.converged))
        steps.append(int(found.iterations))
        residuals.append(float(found.residual))
        if k < config.compared:
            reference = exact(g, around, volts)
            error = np.abs(found.col_current - reference.col_current).max()
            current_errors.append(error / reference.col_current.max())
            drop_errors.append(np.abs(found.drop - reference.drop).max())
    lines = [
        [name, *(f"{x:{form}}" for x in np.percentile(values, PERCENTILES))]
        for name, values, form in (
            ("steps", steps, ".0f"),
            ("residual", residuals, ".1e"),
            (f"error of the currents ({len(current_errors)} arrays)", current_errors, ".1e"),
            (f"error of the drops [V] ({len(drop_errors)} arrays)", drop_errors, ".1e"),
        )
        if values
    ]
    head = [f"{sum(converged)} of {config.arrays} converged", *(f"{p} %" for p in PERCENTILES)]
    return markdown(head, lines)


def half_selected(config: IRDropConfig) -> str:
    """The third table."""
    lines = []
    for size in config.sizes:
        g = np.random.default_rng(config.seed).uniform(1e-6, 1e-4, (size, size))
        row_volts, col_volts = np.full(size, 1 / 3), np.full(size, 2 / 3)
        row_volts[0], col_volts[-1] = 1.0, 0.0
        seen = 3 * fast(g, Wires(row_segment=5.0, col_segment=5.0), row_volts, col_volts).drop
        beside, rest = np.concatenate([seen[0, :-1], seen[1:, -1]]), -seen[1:, :-1]
        spans = (f"{part.min():.2f} to {part.max():.2f}" for part in (beside, rest))
        lines.append([str(size), f"{seen[0, -1] / 3:.2f}", *spans])
    return markdown(["size", "written cell, of V", "on its lines, of V/3", "elsewhere, of V/3"], lines)


def main() -> None:
    """Measure and print."""
    config = parse(IRDropConfig, sys.argv[1:], "ir_drop.py")
    print(f"`{shlex.join(['python', 'benchmarks/ir_drop.py', *sys.argv[1:]])}`\n")
    print(timings(config))
    print(convergence(config))
    print(half_selected(config))


if __name__ == "__main__":
    main()
