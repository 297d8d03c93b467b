"""Programming an array for its product by error feedback: each row takes the accumulated residual of those before.

Inputs x multiplied with wrong weights, W + E, are wrong by x E, in the mean square by trace(E^T H E) with H = E[x x^T].
Once a row of E is known and stays, the rows to come serve the product best if they are off by

    E_rest = -H_rest,rest^-1 H_rest,row E_row

and what the row then still contributes is d E_row^2, where d is what the rows to come cannot predict of its input. This
is optimal brain surgeon (Hassibi & Stork 1992) as GPTQ walks through it (Frantar et al. 2022, arXiv:2210.17323), with
the residuals of write-verify, and cells that fail, in place of rounding. It takes correlated inputs: where H is
diagonal nothing is passed on.

Two more things follow from judging the product alone. A row needs only the precision that its d asks for, and no pulse
where d is next to nothing; and of a pair of cells only the difference counts, so that one of the two can stay where it
is, whatever it holds, even stuck.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from agents.arrays.noise import ArrayNoise
from agents.arrays.writing import PASSES, Aim, Written, write_array
from agents.classical.write_verify import parameter
from agents.policy import Policy
from memenv.arrays import put, take
from memenv.crossbars.crossbar import Crossbar, CrossbarState
from memenv.crossbars.encoding import Encoding, Mapping, check_weights
from memenv.crossbars.schemes import SCHEMES
from memenv.envs.write_verify.task import WriteVerify

NARROWEST, WIDEST = 0.006, 0.19  # [range] tolerances that tasks, and policies trained for them, can be given
ANYTHING = 0.3  # [range] a row whose tolerance is wider stays as it is
MARGIN = 0.05  # [range] an end of the range is avoided: not every cell gets there


class Rows(NamedTuple):
    """Facts about the rows that inputs tell, in the order in which these are written."""

    order: np.ndarray  # (rows,) int, those with the largest inputs first
    weight: np.ndarray  # (rows,) d, what a squared error in the row still does to products, in mean inputs squared
    passed: np.ndarray  # (rows, rows) what of the error of one (first index) the target of a later one takes over


def rows_of(inputs: np.ndarray, ridge: float) -> Rows:
    """The order of the rows, and what they do for each other, from inputs (n, rows) in any unit.

    What is passed on supposes that the mean square of every input is larger by `ridge` times the mean of all: inputs
    to come are not quite like these, and corrections have to fit into the range of the cells.
    """
    moment = inputs.T @ inputs
    size = np.trace(moment) / len(moment) or 1.0  # inputs that are all zero leave every row as it is
    order = np.argsort(-np.diag(moment), kind="stable")
    moment = moment[np.ix_(order, order)] / size
    upper = np.linalg.cholesky(np.linalg.inv(moment + ridge * np.eye(len(moment)))).T
    effect = upper / np.diag(upper)[:, None]  # of an error of 1 in a row: itself, and what later rows make of it
    return Rows(order, np.einsum("ki,ij,kj->k", effect, moment, effect), np.triu(effect, 1))


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Parameters that are learned, on other chips and matrices, for a price of a pulse, by `agents.tuning.tune`.

    The defaults lie between what `benchmarks/product_feedback.py --trials 26` learns for threshold (0.016, 0.35, 0.093)
    and for hfo2-array-om (0.031, 0.31, 0.021).
    """

    tuning_effort: ClassVar[float] = 1.0

    tolerance: float = parameter(0.022, 0.008, 0.15, log=True)  # [range] of a row with a weight of 1
    exponent: float = parameter(0.33, 0.0, 0.6)  # rows get tolerance * weight^-exponent
    ridge: float = parameter(0.04, 1e-4, 1.0, log=True)  # [mean input squared]

    def tolerances(self, rows: Rows) -> np.ndarray:
        """(rows,) [range] in the order of writing, infinite where a row stays as it is."""
        wide = self.tolerance * np.maximum(rows.weight, 1e-12) ** -self.exponent
        return np.where(wide > ANYTHING, np.inf, np.clip(wide, NARROWEST, WIDEST))

    def by_row(self, inputs: np.ndarray) -> np.ndarray:
        """(rows,) [range] tolerances in the order of the array, from inputs (n, rows)."""
        rows = rows_of(inputs, self.ridge)
        tolerances = np.empty(len(rows.order))
        tolerances[rows.order] = self.tolerances(rows)
        return tolerances


def write_product(
    crossbar: Crossbar,
    task: WriteVerify,
    policy: Policy,
    state: CrossbarState,
    weights: np.ndarray,
    encoding: Encoding,
    inputs: np.ndarray,
    noise: ArrayNoise,
    *,
    feedback: Feedback | None = None,
    passes: int = PASSES,
    on_step: Callable[[int], None] | None = None,
) -> Written:
    """Program one array, whatever it holds, so that its products with inputs like the given ones are right.

    Args:
        crossbar: the array, with transistors and ideal wires, written cell by cell or row by row.
        task: budget and confirming reads; tolerances are those of `feedback`.
        policy: for single cells; a dataclass with a `task`.
        state: of the array, without batch axes.
        weights: (rows, outputs).
        encoding: of the weights, without spares.
        inputs: (n, rows) examples of what will be multiplied, in any unit, unlike those that it is judged on.
        noise: of the array.
        feedback: what is learned.
        passes: verify passes after the first.
        on_step: called with the number of cells that are open, or in rows still to come, after each step.

    Returns:
        As of `write_array`; targets and missing weights are those of the rows as they were aimed at in the end.

    Raises:
        ValueError: inputs of another shape or not finite, or an array whose rows cannot be written alone.
    """
    feedback = feedback or Feedback()
    check_product(crossbar, encoding, weights, inputs)
    rows = rows_of(np.asarray(inputs, float), feedback.ridge)
    line, aims = crossbar.replace(rows=1), weights[rows.order].astype(float)
    parts: dict[int, Written] = {}
    whole = state
    for number, (row, tolerance) in enumerate(zip(rows.order, feedback.tolerances(rows), strict=True)):
        wanted, ahead = aims[number : number + 1], crossbar.cols * (crossbar.rows - 1 - number)
        part = take(state, slice(row, row + 1))._replace(latency=whole.latency, sequential=whole.sequential)
        part = line.rest(part, whole.latency - state.latency)
        seen, part = line.sense(part, noise.read.standard_normal((crossbar.device.read_channels, *line.shape)))
        idle = np.isinf(tolerance)
        row_task = dataclasses.replace(task, tolerance=min(float(tolerance), WIDEST), tolerance_unit="range")
        written = write_array(
            line,
            row_task,
            dataclasses.replace(policy, task=row_task),  # type: ignore[type-var]
            part,
            untouched(wanted, encoding, seen) if idle else for_difference(wanted, encoding, seen, crossbar),
            noise,
            passes=passes,
            on_step=functools.partial(_counted, on_step, ahead) if on_step else None,
        )
        error = encoding.decode(written.reading) - wanted
        aims[number + 1 :] += rows.passed[number, number + 1 :, None] * error
        parts[int(row)] = written
        whole = whole._replace(latency=written.state.latency, sequential=written.state.sequential)
    return _joined([parts[row] for row in range(crossbar.rows)], line, state, whole)


def for_difference(wanted: np.ndarray, encoding: Encoding, seen: np.ndarray, crossbar: Crossbar) -> Aim:
    """Targets whose differences are `wanted` (rows, outputs), with one cell of each pair where it was `seen` [S].

    The cell whose target would lie nearest to the middle of the range is the one that is written. Both are where one
    alone does not get there, by what the device can reach in general and, later, by what this cell has shown.
    """
    device = crossbar.device
    size, stays = device.g_max - device.g_min, np.zeros(seen.shape, bool)
    if encoding.kind == "pairs":
        plus, minus, difference = seen[:, 0::2], seen[:, 1::2], wanted / encoding.scale
        far_plus, far_minus = (np.abs(g - device.g_min - 0.5 * size) for g in (minus + difference, plus - difference))
        possible = np.minimum(far_plus, far_minus) <= (0.5 - MARGIN) * size
        stays[:, 0::2], stays[:, 1::2] = possible & (far_minus < far_plus), possible & (far_plus <= far_minus)

    def aim(reach: tuple[np.ndarray, np.ndarray]) -> Mapping:
        def mapped(kept: np.ndarray) -> Mapping:
            low, high = (np.where(kept, seen, end) for end in reach)
            return encoding.mapped(wanted, (low, high))

        missed = np.abs(mapped(stays).missing) > 1e-9 * encoding.scale * size
        return mapped(stays & ~np.repeat(missed, 2, -1) if encoding.kind == "pairs" else stays)

    return aim


def untouched(wanted: np.ndarray, encoding: Encoding, seen: np.ndarray) -> Aim:
    """Targets as `seen` (rows, cols) [S], where weights `wanted` (rows, outputs) do not matter."""
    mapping = encoding.mapped(wanted, (seen, seen))
    return lambda reach: mapping


def _counted(on_step: Callable[[int], None], ahead: int, left: int) -> None:
    on_step(ahead + left)


def _joined(parts: list[Written], line: Crossbar, before: CrossbarState, whole: CrossbarState) -> Written:
    """One array of its rows; those written first have rested while the others were."""
    state = before
    for row, part in enumerate(parts):
        rested = line.rest(part.state, whole.latency - part.state.latency)
        state = put(state, slice(row, row + 1), rested)
    state = state._replace(latency=whole.latency, sequential=whole.sequential)
    targets, missing, outside = (
        np.concatenate(rows) for rows in zip(*(part.mapping[:3] for part in parts), strict=True)
    )
    others = (np.concatenate(rows) for rows in zip(*(part[2:] for part in parts), strict=True))
    return Written(state, Mapping(targets, missing, outside, parts[0].mapping.order), *others)


def check_product(crossbar: Crossbar, encoding: Encoding, weights: np.ndarray, inputs: np.ndarray) -> None:
    """Refuses what cannot be programmed for a product; the arguments are those of `write_product`.

    Raises:
        ValueError: as `write_product`.
    """
    check_weights(weights)
    if SCHEMES[crossbar.scheme].half or crossbar.wires is not None:
        raise ValueError(
            f"scheme is {crossbar.scheme!r}, wires are {crossbar.wires}: rows can be written alone only where "
            "transistors disconnect the others (1T1R) and wires are ideal"
        )
    if crossbar.writing == "columns":
        raise ValueError("writing is 'columns': rows are written one after another here; allowed is cells or rows")
    if encoding.spares:
        raise ValueError(f"spares is {encoding.spares}: each row would choose its own; allowed is 0")
    values, needed = np.asarray(inputs), (crossbar.rows, encoding.columns(weights.shape[-1]))
    if (weights.shape[-2], needed[1]) != crossbar.shape or weights.ndim != 2:
        raise ValueError(f"weights have the shape {weights.shape}; the array takes {crossbar.shape} cells")
    if values.dtype.kind not in "fiu" or values.ndim != 2 or values.shape[1] != crossbar.rows or not len(values):
        raise ValueError(f"inputs have the shape {values.shape}, (n, {crossbar.rows}) is needed: examples by rows")
    if not np.isfinite(values).all():
        raise ValueError("some inputs are NaN or infinite; finite examples are needed")
