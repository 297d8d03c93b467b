"""Programming an array for its product by error feedback: each row takes the accumulated residual of those before.

Inputs x multiplied with wrong weights, W + E, are wrong by x E, in the mean square by trace(E^T H E) with H = E[x x^T].
Once a row of E is known and stays, the rows to come serve the product best if they are off by

    E_rest = -H_rest,rest^-1 H_rest,row E_row

and what the row then still contributes is d E_row^2, where d is what the rows to come cannot predict of its input. This
is optimal brain surgeon (Hassibi & Stork 1992) as GPTQ walks through it (Frantar et al. 2022, arXiv:2210.17323), with
the residuals of write-verify, and cells that fail, in place of rounding. It takes correlated inputs: where H is
diagonal nothing is passed on. What few inputs seem to tell of each other is chance; so H is shrunk, as by Ledoit & Wolf
(2004, 10.1016/S0047-259X(03)00096-4), by as much as serves inputs that were held out.

Two more things follow from judging the product alone. A row needs only the precision that its d asks for, and no pulse
where d is next to nothing; and of a pair of cells only the difference counts, so that one of the two can stay where it
is, whatever it holds, even stuck.

Rows that were written before a cell failed cannot take its residual. So where cells have failed the array is swept once
more, towards the weights that come nearest to the product with what cells have shown that they can reach.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from agents.arrays.noise import ArrayNoise
from agents.arrays.writing import PASSES, Aim, Written, ends, write_array
from agents.classical.write_verify import parameter
from agents.policy import Policy
from memenv.arrays import put, take
from memenv.crossbars.crossbar import Crossbar, CrossbarState
from memenv.crossbars.encoding import Encoding, Mapping, check_weights
from memenv.crossbars.schemes import SCHEMES
from memenv.envs.write_verify.task import WriteVerify

METHODS = ("product", "inputs", "selective", "refit", "gradient")
NARROWEST, WIDEST = 0.006, 0.19  # [range] tolerances that tasks, and policies trained for them, can be given
ANYTHING = 0.3  # [range] a row whose tolerance is wider stays as it is
MARGIN = 0.05  # [range] an end of the range is avoided: not every cell gets there
FOLDS = 4  # parts of the inputs, each of which is held out once
SHRINKAGES = (1.0, 4.0, 16.0, 64.0, 256.0)  # [least ridge] that are tried, and
LEAST = 1e-9  # [mean input squared] ridge, for moments without an inverse
NOTHING = 1e9  # [mean input squared] a ridge with which nothing is passed on
FEW = 1.5  # inputs that are held out are wrong by more than so many times what the others make believe
WINS = 1.3  # times that a second sweep has to lower the error of the products, as far as reads and examples tell
WORTH = 0.5  # [tolerances] a move in the second sweep that serves the product less, of a row of mean inputs, is left
DESCENTS = 60  # through all rows, for the weights of the second sweep
STEPS = 12  # of gradient descent
SELECTED = 0.9  # share of the inputs' power whose rows selective write-verify verifies


class Rows(NamedTuple):
    """Facts about the rows that inputs tell, in the order in which these are written."""

    order: np.ndarray  # (rows,) int, those with the largest inputs first
    weight: np.ndarray  # (rows,) d, what a squared error in the row still does to products, in mean inputs squared
    passed: np.ndarray  # (rows, rows) what of the error of one (first index) the target of a later one takes over
    ridge: float  # [mean input squared] with which it was found
    surprise: float  # what errors do to inputs that were held out, of what they do to the others, with the least ridge


def rows_of(inputs: np.ndarray, ridge: float) -> Rows:
    """The order of the rows, and what they do for each other, from inputs (n, rows) in any unit.

    What is passed on supposes that the mean square of every input is larger than it is by a ridge times the mean of
    all, `ridge` or the multiple of it that serves inputs best which were held out: inputs to come are not quite like
    these, and corrections have to fit into the range of the cells. Nothing is passed on where that serves best.
    """
    order, samples = np.argsort(-(inputs**2).sum(0), kind="stable"), np.arange(len(inputs))
    x = inputs[:, order] / (np.sqrt(np.mean(inputs**2)) or 1.0)  # inputs that are all zero leave every row as it is

    def left(held: np.ndarray, ridge: float) -> np.ndarray:
        """What errors of 1 in each row do to inputs, squared, if the others tell what is passed on."""
        kept = x[~held]
        return np.asarray(((x[held] + x[held] @ _passed(kept.T @ kept / len(kept), ridge).T) ** 2).sum(0) / len(x))

    folds = min(FOLDS, len(x))
    parts = [samples % folds == fold for fold in range(folds)] if folds > 1 else []
    least, moment = max(ridge, LEAST), x.T @ x / len(x)
    ridges = (*(least * shrinkage for shrinkage in SHRINKAGES), NOTHING) if parts else (NOTHING,)
    weights = [np.sum([left(held, one) for held in parts], 0) if parts else np.diag(moment) for one in ridges]
    best = int(np.argmin([weight.sum() for weight in weights]))
    believed = ((x + x @ _passed(moment, least).T) ** 2).sum() / len(x)
    surprise = float(weights[0].sum() / believed) if believed > 0 else 1.0
    return Rows(order, weights[best], _passed(moment, ridges[best]), ridges[best], surprise)


def _passed(moment: np.ndarray, ridge: float) -> np.ndarray:
    """(rows, rows) what later rows make of an error of 1 in a row."""
    if ridge == NOTHING:
        return np.zeros(moment.shape)
    upper = np.linalg.cholesky(np.linalg.inv(moment + ridge * np.eye(len(moment)))).T
    return np.triu(upper / np.diag(upper)[:, None], 1)


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Parameters that are learned, on other chips and matrices, for a price of a pulse, by `agents.tuning.tune`.

    The defaults lie between what `benchmarks/product_feedback.py --trials 26` learns for threshold (0.016, 0.35, 0.093)
    and for hfo2-array-om (0.031, 0.31, 0.021).
    """

    tuning_effort: ClassVar[float] = 1.0

    tolerance: float = parameter(0.022, 0.008, 0.15, log=True)  # [range] of a row with a weight of 1
    exponent: float = parameter(0.33, 0.0, 0.6)  # rows get tolerance * weight^-exponent
    ridge: float = parameter(0.04, 1e-4, 1.0, log=True)  # [mean input squared] the least

    def tolerances(self, rows: Rows) -> np.ndarray:
        """(rows,) [range] in the order of writing, infinite where a row stays as it is."""
        wide = self.tolerance * np.maximum(rows.weight, 1e-12) ** -self.exponent
        return np.where(wide > ANYTHING, np.inf, np.clip(wide, NARROWEST, WIDEST))


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
    method: str = "product",
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
        method: "product", feedback with a second sweep where cells fail; or an opponent without feedback, where one
            cell of a pair stays where it is, too: "inputs", tolerances by the inputs of a row; "refit", then a second
            sweep; "selective", all rows coarsely, those with the largest inputs finely (as Yan et al. 2022,
            10.1145/3489517.3530459, choose weights); "gradient", a pulse for every cell at a time, down the gradient of
            the products' error (as Büchel et al. 2023, 10.1109/JETCAS.2023.3307508).
        passes: verify passes after the first.
        on_step: called with the number of cells that are open, or in rows still to come, after each step.

    Returns:
        As of `write_array`; targets and missing weights are those of the rows as they were aimed at in the end, `asked`
        what the weights themselves asked for.

    Raises:
        ValueError: inputs of another shape or not finite, or an array whose rows cannot be written alone.
    """
    feedback = feedback or Feedback()
    check_product(crossbar, encoding, weights, inputs)
    x = np.asarray(inputs, float)
    rows = rows_of(x, feedback.ridge)
    if method != "product":
        power = np.mean(x**2, axis=0)[rows.order]
        rows = rows._replace(weight=power / (power.mean() or 1.0), passed=0.0 * rows.passed)
    tolerances = feedback.tolerances(rows)
    if method == "selective":
        fine = np.cumsum(rows.weight) - rows.weight < SELECTED * rows.weight.sum()
        tolerances = np.where(fine, feedback.tolerance, np.where(rows.weight > 0, WIDEST, np.inf))
    sweep = _Sweep(crossbar, task, policy, encoding, noise, rows, tolerances, passes, on_step)
    moment = x.T @ x / (np.mean(x**2) or 1.0) / len(x)
    if method == "gradient":
        return sweep.descended(state, weights, moment)
    written = sweep.through(state, weights)
    if method == "refit" or (method == "product" and written.failed.any()):
        shrunk = (moment + rows.ridge * np.eye(len(moment))) / (1 + rows.ridge)
        aims = refitted(weights, written, encoding, shrunk, feedback.tolerance)
        off, left = (part - weights for part in (encoding.decode(written.reading), aims))
        if (off * (shrunk @ off)).sum() > WINS**2 * (left * (shrunk @ left)).sum():
            written = sweep.through(written.state, aims, written)
    return written


def refitted(
    weights: np.ndarray, written: Written, encoding: Encoding, moment: np.ndarray, tolerance: float
) -> np.ndarray:
    """Weights (rows, outputs) near those that the cells hold, whose products are best, as far as cells reach.

    The least of trace(E^T H E), found row by row, where only weights move that would at a price for their |move|:
    others are hardly worth a pulse.

    Args:
        weights: (rows, outputs) that are wanted.
        written: the array.
        encoding: of the weights.
        moment: (rows, rows) H, shrunk [mean input squared].
        tolerance: [range] by which the price goes.
    """
    held, pairs, columns = encoding.decode(written.reading), encoding.kind == "pairs", np.arange(written.low.shape[1])
    minus = columns % 2 == 1 if pairs else columns == columns[-1]
    least, most = (
        encoding.decode(np.where(minus, far if pairs else written.reading, near))
        for near, far in ((written.low, written.high), (written.high, written.low))
    )
    least, most = np.minimum(least - held, 0.0), np.maximum(most - held, 0.0)
    slope, moved = moment @ (held - weights), 0.0 * held
    price = WORTH * tolerance * encoding.scale * (encoding.high - encoding.low)
    for cost in (price, 0.0):  # first for what is worth a move, then for how far
        for _ in range(DESCENTS):
            for row, own in enumerate(np.diag(moment)):
                best = moved[row] - slope[row] / own
                best = np.sign(best) * np.maximum(np.abs(best) - cost / own, 0.0)
                step = np.clip(best, least[row], most[row]) - moved[row]
                moved[row] += step
                slope += moment[:, row, None] * step
        least, most = least * (moved != 0), most * (moved != 0)
    return np.asarray(held + moved)


class _Sweep(NamedTuple):
    """Everything that stays the same while an array is written, a row after another."""

    crossbar: Crossbar
    task: WriteVerify
    policy: Policy
    encoding: Encoding
    noise: ArrayNoise
    rows: Rows
    tolerances: np.ndarray  # (rows,) [range] in the order of writing
    passes: int
    on_step: Callable[[int], None] | None

    def through(self, state: CrossbarState, weights: np.ndarray, earlier: Written | None = None) -> Written:
        """All rows written once, or once more, each with what those before have left for it."""
        crossbar, encoding, rows = self.crossbar, self.encoding, self.rows
        line, aims = crossbar.replace(rows=1), weights[rows.order].astype(float)
        parts: dict[int, Written] = {}
        whole = state
        for number, (row, tolerance) in enumerate(zip(rows.order, self.tolerances, strict=True)):
            here, wanted, ahead = slice(row, row + 1), aims[number : number + 1], crossbar.rows - 1 - number
            part = take(state, here)._replace(latency=whole.latency, sequential=whole.sequential)
            part = line.rest(part, whole.latency - state.latency)
            seen, part = self.look(line, part)
            idle = np.isinf(tolerance)
            task, policy = self.precise(tolerance)

            def aim(wanted: np.ndarray, seen: np.ndarray = seen, idle: bool = idle) -> Aim:
                return untouched(wanted, encoding, seen) if idle else for_difference(wanted, encoding, seen, crossbar)

            written = write_array(
                line,
                task,
                policy,
                part,
                aim(wanted),
                self.noise,
                passes=self.passes,
                reach=(earlier.low[here], earlier.high[here]) if earlier else None,
                on_step=functools.partial(_counted, self.on_step, crossbar.cols * ahead) if self.on_step else None,
            )
            if earlier:
                written = written._replace(
                    asked=earlier.asked[here],
                    failed=written.failed | earlier.failed[here],
                    passes=written.passes + earlier.passes[here],
                )
            else:
                written = written._replace(asked=aim(weights[here])(ends(line, task)).targets)
            if rows.passed[number].any():  # one more read: the last one was chosen for being inside
                again, read = self.look(line, written.state)
                written = written._replace(state=read, reading=0.5 * (written.reading + again))
            error = encoding.decode(written.reading) - wanted
            aims[number + 1 :] += rows.passed[number, number + 1 :, None] * error
            parts[int(row)] = written._replace(tolerance=np.full(line.shape, tolerance))
            whole = whole._replace(latency=written.state.latency, sequential=written.state.sequential)
        return _joined([parts[row] for row in range(crossbar.rows)], line, state, whole)

    def look(self, crossbar: Crossbar, state: CrossbarState) -> tuple[np.ndarray, CrossbarState]:
        """One read of all cells."""
        channels = crossbar.device.read_channels
        return crossbar.sense(state, self.noise.read.standard_normal((channels, *crossbar.shape)))

    def precise(self, tolerance: float, **more: Any) -> tuple[WriteVerify, Policy]:
        """Task and policy of a tolerance [range]."""
        task = dataclasses.replace(self.task, tolerance=min(float(tolerance), WIDEST), tolerance_unit="range", **more)
        return task, dataclasses.replace(self.policy, task=task)  # type: ignore[type-var]

    def descended(self, state: CrossbarState, weights: np.ndarray, moment: np.ndarray) -> Written:
        """Steps down the gradient, each as far as serves its output best; a pulse where a cell is to go far enough."""
        crossbar, encoding, steps = self.crossbar, self.encoding, list[Written]()
        tolerance = np.empty((crossbar.rows, 1))
        tolerance[self.rows.order, 0] = self.tolerances
        task, policy = self.precise(self.tolerances.min(), max_pulses=1)
        for _ in range(STEPS):
            seen, state = self.look(crossbar, state)
            held = encoding.decode(seen)
            slope = moment @ (held - weights)
            far = (slope**2).sum(0) / np.maximum((slope * (moment @ slope)).sum(0), 1e-300)
            aim = for_difference(held - far * slope, encoding, seen, crossbar)
            written = write_array(crossbar, task, policy, state, aim, self.noise, passes=0, on_step=self.on_step)
            steps, state = [*steps, written], written.state
        return written._replace(asked=steps[0].asked, failed=~written.accepted, tolerance=tolerance + 0.0 * seen)


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
    targets, missing = (np.concatenate(rows) for rows in zip(*(part.mapping[:2] for part in parts), strict=True))
    others = (np.concatenate(rows) for rows in zip(*(part[2:] for part in parts), strict=True))
    return Written(state, Mapping(targets, missing, parts[0].mapping.order), *others)


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
