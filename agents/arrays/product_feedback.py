"""Programming an array for its product: plan all moves together, pulse once, read, and plan again.

Inputs x multiplied with wrong weights, W + E, are wrong by x E, in the mean square by trace(E^T H E) with H = E[x x^T].
If moves M are made, the others left, it is least where H (E + M) is 0 in the rows that move. To leave one weight more,
that was to move by m, costs m^2 / [H^-1]_ii once the others have taken over, the inverse that of the rows that move: as
optimal brain surgeon (Hassibi & Stork 1992) prunes weights, here moves are pruned, for each output in its own order,
until the cheapest would cost more than a pulse is worth. A pulse never lands where it should. So after each the cells
that were pulsed are read, and all moves are planned anew: small errors are left, or taken over by cells that move
anyhow, cells that failed, a final strong pulse included, are left for good, and only what still matters takes another
pulse. What cells have shown of themselves is kept throughout. It takes correlated inputs: where H is diagonal every
weight is on its own. What few inputs seem to tell of each other is chance; so H is shrunk towards its diagonal, as by
Ledoit & Wolf (2004, 10.1016/S0047-259X(03)00096-4), by as much as serves inputs that were held out, and all the way
where these do not gain for certain.

Of a pair of cells only the difference counts, so that one of the two can stay where it is, whatever it holds, even
stuck.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.linalg.blas import dger

from agents.arrays.noise import ArrayNoise
from agents.arrays.writing import PASSES, Aim, Progress, Writer, Written, ends, write_array
from agents.classical.write_verify import parameter
from agents.policy import Policy
from memenv.crossbars.crossbar import Crossbar, CrossbarState
from memenv.crossbars.encoding import Encoding, Mapping, check_weights
from memenv.crossbars.schemes import SCHEMES
from memenv.envs.write_verify.task import WriteVerify

METHODS = ("product", "inputs", "selective", "refit", "gradient")
NARROWEST, WIDEST = 0.006, 0.19  # [range] tolerances of cells
TOLD = 0.05  # [range] the widest tolerance that a policy is told
ANYTHING = 0.3  # [range] a row whose tolerance is wider stays as it is
MARGIN = 0.05  # [range] an end of the range is avoided: not every cell gets there
FOLDS = 4  # parts of the inputs, each of which is held out once
SHRINKAGES = (1.0, 4.0, 16.0, 64.0, 1e9)  # [least share] that are tried; the last leaves the diagonal alone
NEGLIGIBLE = 1e-9  # [mean input squared] added, for moments without an inverse
CLEAR = 2.0  # [standard errors] what inputs that are held out gain if it is to count
FEW = 2.0  # inputs that are held out are wrong by more than so many times what the others make believe
PLANS = 40  # at most
LEFT = 0.5  # of what was left before a pulse: while pulses leave more, a cell gets more of them, for the same plan
OFTEN = 12  # plans after which a cell that they moved stays where it is: some never obey
STEPS = 12  # of gradient descent
SELECTED = 0.9  # share of the inputs' power whose rows selective write-verify verifies
EXPONENT = 0.33  # tolerances by the inputs of a row go as their power^-EXPONENT


class Moments(NamedTuple):
    """Second moments of inputs [mean input squared]."""

    matrix: np.ndarray  # (rows, rows) H, shrunk
    surprise: float  # what errors do to inputs that were held out, of what they do to the others, with the least share

    @property
    def weight(self) -> np.ndarray:
        """(rows,) what a squared error in a row still does to products when all others have taken over."""
        return np.asarray(1.0 / np.diag(np.linalg.inv(self.matrix)))


def moments_of(inputs: np.ndarray, least: float) -> Moments:
    """Second moments of inputs (n, rows) in any unit, off the diagonal less by a share, `least` or more of it.

    The share is the one with which rows, told by some inputs to take over an error of another, serve the inputs best
    that were held out; 1 unless that is clearly better than if every row is on its own.
    """
    x, samples = inputs / (np.sqrt(np.mean(inputs**2)) or 1.0), np.arange(len(inputs))

    def left(judged: np.ndarray, told: np.ndarray, share: float) -> np.ndarray:
        """(n,) what errors of 1 in each row do to each of some inputs, squared, if others tell what is taken over."""
        inverse = np.linalg.inv(_shrunk(told, share))
        return np.asarray(((judged @ (inverse / np.diag(inverse))) ** 2).sum(1))

    folds = min(FOLDS, len(x))
    parts = [(x[samples % folds == fold], x[samples % folds != fold]) for fold in range(folds)]
    shares = [min(least * shrinkage, 1.0) for shrinkage in SHRINKAGES]
    if folds == 1:
        parts, shares = [(x, x)], [1.0]
    held = np.array([np.concatenate([left(*part, share) for part in parts]) for share in shares])
    best, believed = int(held.sum(1).argmin()), left(x, x, least).sum()
    gain = held[-1] - held[best]
    if gain.sum() <= CLEAR * gain.std() * np.sqrt(len(x)):
        best = -1
    return Moments(_shrunk(x, shares[best]), float(held[0].sum() / believed) if believed > 0 else 1.0)


def _shrunk(x: np.ndarray, share: float) -> np.ndarray:
    """(rows, rows) second moments of x (n, rows)."""
    moment = x.T @ x / len(x)
    own = np.diag(np.diag(moment))
    return np.asarray(moment + share * (own - moment) + NEGLIGIBLE * np.eye(len(moment)))


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Parameters that are learned, on other chips and matrices, for a price of a pulse, by `agents.tuning.tune`."""

    tuning_effort: ClassVar[float] = 1.0

    tolerance: float = parameter(
        0.022, 0.004, 0.15, log=True
    )  # [range] a move in a row with a weight of 1 worth a pulse
    share: float = parameter(0.004, 1e-4, 0.1, log=True)  # by which moments off the diagonal are less, the least


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
        method: "product", moves planned together after each pulse; or an opponent without that, where one cell of a
            pair stays where it is, too: "inputs", tolerances by the inputs of a row; "refit", then a second sweep
            towards the weights that serve products best with what cells hold; "selective", all rows coarsely, those
            with the largest inputs finely (as Yan et al. 2022, 10.1145/3489517.3530459, choose weights); "gradient", a
            pulse for every cell at a time, down the gradient of the products' error (as Büchel et al. 2023,
            10.1109/JETCAS.2023.3307508).
        passes: verify passes after the first.
        on_step: called with the number of cells that are open after each step.

    Returns:
        As of `write_array`; targets and missing weights are those of the rows as they were aimed at in the end, `asked`
        what the weights themselves asked for.

    Raises:
        ValueError: inputs of another shape or not finite, or an array whose rows cannot be written alone.
    """
    feedback = feedback or Feedback()
    check_product(crossbar, encoding, weights, inputs)
    x = np.asarray(inputs, float)
    moments = moments_of(x, feedback.share)
    task = replace(task, tolerance=float(np.clip(feedback.tolerance, NARROWEST, TOLD)), tolerance_unit="range")
    policy = replace(policy, task=task)  # type: ignore[type-var]
    writer = Writer.of(crossbar, task, policy, state, noise, on_step)
    if method == "product":
        return _planned(writer, state, weights, encoding, moments, feedback.tolerance, passes)
    power = np.mean(x**2, axis=0)
    power, moment = power / (power.mean() or 1.0), x.T @ x / (np.mean(x**2) or 1.0) / len(x)
    wide = feedback.tolerance * np.maximum(power, 1e-12) ** -EXPONENT
    tolerances = np.where(wide > ANYTHING, np.inf, np.clip(wide, NARROWEST, WIDEST))
    if method == "selective":
        order = np.argsort(-power, kind="stable")
        fine = np.cumsum(power[order]) - power[order] < SELECTED * power.sum()
        coarse = np.where(power[order] > 0, WIDEST, np.inf)
        tolerances = np.where(fine, feedback.tolerance, coarse)[np.argsort(order)]
    everywhere = np.repeat(tolerances[:, None], crossbar.cols, 1)
    more: dict[str, Any] = {"on_step": on_step, "passes": passes, "tolerance": everywhere}
    if method == "gradient":
        return _descended(writer, state, weights, encoding, moment, more | {"passes": 0})

    def swept(state: CrossbarState, aims: np.ndarray, **known: Any) -> Written:
        seen, state = writer.look(state)
        aim = for_difference(aims, encoding, seen, ends(crossbar, task))
        return write_array(crossbar, task, policy, state, aim, noise, **more, **known)

    first = swept(state, weights)
    if method != "refit":
        return first
    reach = first.low, first.high
    error = encoding.decode(first.reading) - weights
    price = (feedback.tolerance * encoding.scale * (encoding.high - encoding.low)) ** 2
    aims = weights + error + moves(error, moments.matrix, price, *_room(encoding, first.reading, reach))
    second = swept(first.state, aims, reach=reach)
    return second._replace(asked=first.asked, failed=second.failed | first.failed, passes=second.passes + first.passes)


def _planned(
    writer: Writer,
    state: CrossbarState,
    weights: np.ndarray,
    encoding: Encoding,
    moments: Moments,
    tolerance: float,
    passes: int,
) -> Written:
    """Plan, pulse, read, until no move is worth a pulse, even after `passes` further reads of all cells."""
    device, shape, pairs = writer.crossbar.device, writer.crossbar.shape, encoding.kind == "pairs"
    size = device.g_max - device.g_min
    now = writer.begin(state)
    asked = for_difference(weights, encoding, now.reading, (now.low, now.high))((now.low, now.high)).targets
    if not pairs:  # the reference column goes to its place, and stays
        reference = np.zeros(shape, bool)
        reference[:, -1] = True
        now = writer.verify_pass(now, asked, reference, lambda _, __, x, goal: np.abs(x - goal) <= tolerance)
    reads = np.ones(shape)

    def obeys(cells: np.ndarray, before: np.ndarray, x: np.ndarray, goal: np.ndarray) -> np.ndarray:
        last = (now.passes.flat[cells] >= OFTEN - 1) | over  # an ordinary write: no plan comes after
        near = np.where(last, 0.0, LEFT * np.abs(before - goal))
        crossed = ~last & ((before < goal) != (x < goal))
        return np.asarray((np.abs(x - goal) <= np.maximum(near, writer.task.tolerance)) | crossed)

    def plan(now: Progress, tolerance: float, moved: np.ndarray, touched: np.ndarray) -> tuple[np.ndarray, Mapping]:
        """Moves (rows, outputs) worth a pulse, as before but for touched outputs, and the targets that go with them."""
        tired = now.passes >= OFTEN
        low, high = np.minimum(now.low, now.reading), np.maximum(now.high, now.reading)
        reach = np.where(tired, now.reading, low), np.where(tired, now.reading, high)
        held, price = encoding.decode(now.reading), (tolerance * size * encoding.scale) ** 2
        room, move = _room(encoding, now.reading, reach), moved.copy()
        error, least, most = (part[:, touched] for part in (held - weights, *room))
        move[:, touched] = moves(error, moments.matrix, price, least, most)
        return move, for_difference(held + move, encoding, now.reading, reach, now.passes > 0)(reach)

    every: np.ndarray = np.ones(weights.shape[1], bool)
    move, touched = np.zeros(weights.shape), every
    for number in range(1, PLANS + 1):
        over = number == PLANS
        move, mapping = plan(now, tolerance, move, touched)
        opened = np.repeat(move != 0, 2, -1) if pairs else np.column_stack([move != 0, np.zeros(len(move), bool)])
        opened &= mapping.targets != now.reading
        if opened.any():
            now = writer._replace(final=not over).verify_pass(now, mapping.targets, opened, obeys)
            reads = np.where(opened, 1.0, reads)
            touched = np.asarray((opened[:, 0::2] | opened[:, 1::2] if pairs else opened[:, :-1]).any(0))
        elif passes:
            again, state = writer.look(now.state)
            now = now._replace(state=state, reading=(reads * now.reading + again) / (reads + 1.0))
            reads, passes, touched = reads + 1.0, passes - 1, every
        else:
            break
    _, mapping = plan(now, NEGLIGIBLE, move, every)
    wide = (tolerance * np.maximum(moments.weight, 1e-12) ** -0.5)[:, None] + np.zeros(shape)
    wide = np.where(wide > ANYTHING, np.inf, wide)
    return now.written(mapping, np.abs(now.reading - mapping.targets) <= wide * size, asked, wide)


def moves(error: np.ndarray, moment: np.ndarray, price: float, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Moves (rows, outputs) of weights, 0 where none is worth its price, after which the products' error is least.

    Args:
        error: (rows, outputs) E of the weights as they are.
        moment: (rows, rows) H [mean input squared].
        price: [weight^2] of a move at all, in a row of mean inputs that is on its own.
        least: (rows, outputs) at most 0: moves have to lie above.
        most: (rows, outputs) at least 0: moves have to lie below.
    """
    inverse, moved = np.linalg.inv(moment), np.empty_like(error)
    for output in range(error.shape[1]):
        left, free, move = inverse.copy(order="F"), np.ones(len(error), bool), -error[:, output]
        low, high = least[:, output], most[:, output]
        for _ in range(len(error)):
            own = np.where(free, np.diag(left), 1.0)
            beyond = np.where(free, np.maximum(move - high, low - move), 0.0)
            loss = np.where(free, move**2 / own, np.inf)
            row = int(beyond.argmax() if beyond.max() > 0 else loss.argmin())
            if beyond[row] <= 0 and loss[row] >= price:
                break
            to = np.clip(move[row], low[row], high[row]) if beyond[row] > 0 else 0.0
            column = np.where(free, left[:, row], 0.0)
            move, free[row] = move + (to - move[row]) / own[row] * column, False
            move[row] = to
            left = dger(-1.0 / own[row], column, column, a=left, overwrite_a=True)
        moved[:, output] = move
    return moved


def _room(encoding: Encoding, seen: np.ndarray, reach: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest move (rows, outputs) of the weights of cells `seen` [S], a reference left as it is."""
    columns, pairs, held = np.arange(seen.shape[1]), encoding.kind == "pairs", encoding.decode(seen)
    minus = columns % 2 == 1 if pairs else columns == columns[-1]
    least, most = (
        encoding.decode(np.where(minus, far if pairs else seen, near)) - held for near, far in (reach, reach[::-1])
    )
    return np.minimum(least, 0.0), np.maximum(most, 0.0)


def _descended(
    writer: Writer,
    state: CrossbarState,
    weights: np.ndarray,
    encoding: Encoding,
    moment: np.ndarray,
    more: dict[str, Any],
) -> Written:
    """Steps down the gradient, each as far as serves its output best; a pulse where a cell is to go far enough."""
    task, steps = replace(writer.task, max_pulses=1), list[Written]()
    policy = replace(writer.policy, task=task)  # type: ignore[type-var]
    for _ in range(STEPS):
        seen, state = writer.look(state)
        held = encoding.decode(seen)
        slope = moment @ (held - weights)
        far = (slope**2).sum(0) / np.maximum((slope * (moment @ slope)).sum(0), 1e-300)
        aim = for_difference(held - far * slope, encoding, seen, ends(writer.crossbar, task))
        steps.append(write_array(writer.crossbar, task, policy, state, aim, writer.noise, **more))
        state = steps[-1].state
    return steps[-1]._replace(asked=steps[0].asked, failed=~steps[-1].accepted)


def for_difference(
    wanted: np.ndarray,
    encoding: Encoding,
    seen: np.ndarray,
    reach: tuple[np.ndarray, np.ndarray],
    tried: np.ndarray | None = None,
) -> Aim:
    """Targets whose differences are `wanted` (rows, outputs), with one cell of each pair where it was `seen` [S].

    Written is the cell of a pair whose target is nearer to the middle of its range, where cells land best. Told which
    were `tried` (rows, cols) before, it is one of these, else the one whose target is nearer to the end that it moves
    to: doses saturate there, and what misses is planned again. Both are where one alone does not get there, by their
    `reach` now and, later, by what they have shown. A reference column stays where it was once cells have been tried.
    """
    stays, (low, high) = np.zeros(seen.shape, bool), reach
    if encoding.kind == "pairs":
        difference = wanted / encoding.scale
        goal = np.stack([seen[:, 1::2] + difference, seen[:, 0::2] - difference], -1).reshape(seen.shape)
        margin = MARGIN * (high - low).max()
        possible = (goal >= low + margin) & (goal <= high - margin)
        if tried is None:
            rank = np.abs(goal - 0.5 * (low + high))
        else:
            rank = np.where(tried, -1.0, np.where(goal > seen, high - goal, goal - low))
        rank = np.where(possible, rank, np.inf)
        first = rank[:, 0::2] <= rank[:, 1::2]
        either = possible[:, 0::2] | possible[:, 1::2]
        stays[:, 0::2], stays[:, 1::2] = either & ~first, either & first
    elif tried is not None:
        stays[:, -1] = True

    def aim(reach: tuple[np.ndarray, np.ndarray]) -> Mapping:
        def mapped(kept: np.ndarray) -> Mapping:
            return encoding.mapped(wanted, (np.where(kept, seen, reach[0]), np.where(kept, seen, reach[1])))

        missed = np.abs(mapped(stays).missing) > 1e-9 * np.abs(wanted).max()
        return mapped(stays & ~np.repeat(missed, 2, -1) if encoding.kind == "pairs" else stays)

    return aim


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
