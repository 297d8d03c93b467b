"""Programming arrays for their product: moves planned together, after each pulse."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from agents.arrays.noise import ArrayNoise
from agents.arrays.product_feedback import FEW, WIDEST, Feedback, for_difference, moments_of, moves, write_product
from agents.arrays.writing import Written, for_weights, fresh_array, write_array
from agents.classical.inverse import HistoryInverse
from agents.evaluation import EVALUATION
from memenv import Mismatch, WriteVerify, load_device
from memenv.crossbars.crossbar import Crossbar
from memenv.crossbars.encoding import Encoding

ROWS, OUTPUTS = 12, 8
UNIFORM = Feedback(tolerance=0.03, share=1e-3)


def correlated(rows: int = ROWS, reach: float = 6.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs that resemble their neighbours', for the second moment and to judge on."""
    place = np.arange(rows)
    root = np.linalg.cholesky(np.exp(-np.abs(place[:, None] - place) / reach))
    return tuple(np.random.default_rng(seed).standard_normal((2, 2000, rows)) @ root.T)


def setting(device: Any = "threshold", rows: int = ROWS) -> tuple[Crossbar, WriteVerify, np.ndarray, Encoding]:
    """An array, a task, and weights in the middle of what it can hold."""
    crossbar = Crossbar(device=device, rows=rows, cols=2 * OUTPUTS, writing="rows")
    weights = np.random.default_rng(1).uniform(-1, 1, (rows, OUTPUTS))
    return (
        crossbar,
        WriteVerify(device=crossbar.device, give_up=True),
        weights,
        Encoding.of(weights, crossbar.device, largest=1.5),
    )


def written(
    inputs: np.ndarray, feedback: Feedback = UNIFORM, device: Any = "threshold", seed: int = 0, method: str = "product"
) -> Written:
    crossbar, task, weights, encoding = setting(device)
    noise = ArrayNoise.of(EVALUATION, seed)
    state = fresh_array(crossbar, noise)
    policy = HistoryInverse(task=task)
    given = crossbar, task, policy, state, weights, encoding, inputs, noise
    return write_product(*given, feedback=feedback, method=method)


def product_error(result: Written, inputs: np.ndarray, device: Any = "threshold") -> float:
    """r.m.s. in units of the product's, of the true conductances."""
    crossbar, _, weights, encoding = setting(device)
    off = inputs @ (encoding.decode(crossbar.conductance(result.state)) - weights)
    return float(np.sqrt((off**2).mean() / ((inputs @ weights) ** 2).mean()))


def planned(inputs: np.ndarray, price: float, far: float = 9.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Second moments, errors and the moves that are planned for them."""
    moment = moments_of(inputs, 0.0).matrix
    error = np.random.default_rng(1).standard_normal((ROWS, OUTPUTS))
    most = np.full(error.shape, far)
    return moment, error, moves(error, moment, price, -most, most)


def test_rows_that_move_are_the_best_that_they_can_be_for_those_that_stay() -> None:
    moment, error, move = planned(correlated()[0], 0.1)
    assert 0.2 < (move == 0).mean() < 0.8
    for output in range(OUTPUTS):
        moved = move[:, output] != 0
        best = -np.linalg.solve(moment[np.ix_(moved, moved)], (moment @ (error * (move == 0)))[moved, output])
        np.testing.assert_allclose((error + move)[moved, output], best, atol=1e-6)


def test_a_move_is_made_where_leaving_it_would_cost_more_than_its_price() -> None:
    moment, error, move = planned(correlated()[0], 0.1)

    def left(output: int, free: np.ndarray) -> float:
        """Least error of the products of an output if some rows are free to move."""
        stays = np.where(free, 0.0, error[:, output])
        stays[free] = -np.linalg.solve(moment[np.ix_(free, free)], (moment @ stays)[free])
        return float(stays @ moment @ stays)

    for output in range(OUTPUTS):
        moved = move[:, output] != 0
        for row in np.flatnonzero(moved):
            assert left(output, moved & (np.arange(ROWS) != row)) - left(output, moved) >= 0.1 - 1e-9


def test_a_move_ends_where_a_cell_does_and_others_take_the_rest() -> None:
    moment, error, move = planned(correlated()[0], 1e-9, far=0.5)
    assert np.abs(move).max() == 0.5 and (np.abs(move) == 0.5).any()
    alone = error + np.clip(-error, -0.5, 0.5)
    for output in range(OUTPUTS):
        off, plain = error[:, output] + move[:, output], alone[:, output]
        assert off @ moment @ off < 0.7 * (plain @ moment @ plain)


def test_inputs_that_know_nothing_of_each_other_leave_each_weight_on_its_own() -> None:
    moments = moments_of(np.diag([1.0, 3.0, 2.0]), 0.0)
    np.testing.assert_allclose(moments.matrix, np.diag([1, 9, 4]) * 3 / 14, atol=1e-8)
    error = np.array([[0.3], [0.3], [-0.3]])
    far = np.ones((3, 1))
    np.testing.assert_allclose(moves(error, moments.matrix, 0.05, -far, far), [[0.0], [-0.3], [0.3]])


def test_feedback_makes_products_of_correlated_inputs_better_at_no_more_pulses() -> None:
    """Of inputs like the identity nothing is taken over; for others a move gets a lower price, as it does more."""
    known, held = correlated()
    alone, passed = (
        [written(inputs, Feedback(tolerance=tolerance, share=1e-3), seed=seed) for seed in range(3)]
        for inputs, tolerance in ((np.eye(ROWS), 0.03), (known, 0.02))
    )
    errors = [np.mean([product_error(one, held) for one in many]) for many in (alone, passed)]
    pulses = [np.mean([one.state.pulses.mean() for one in many]) for many in (alone, passed)]
    assert errors[1] < 0.7 * errors[0]
    assert pulses[1] < 1.1 * pulses[0]


@dataclass(frozen=True, kw_only=True)
class Resigned:
    """Gives every cell up."""

    task: WriteVerify

    def begin(self, chip: Any, cells: int) -> None:
        return None

    def predict(self, observation: np.ndarray, state: Any = None, *_: Any) -> tuple[np.ndarray, Any]:
        cells = len(observation)
        return self.task.encode(np.ones(cells), np.ones(cells), np.ones(cells, bool)), None


def test_a_cell_that_is_given_up_gets_a_final_strong_pulse_before_others_take_over() -> None:
    crossbar, task, weights, encoding = setting("ideal")
    noise = ArrayNoise.of(EVALUATION, 0)
    given = crossbar, task, Resigned(task=task), fresh_array(crossbar, noise)
    result = write_product(*given, weights, encoding, np.eye(ROWS), noise, feedback=UNIFORM)
    assert (result.state.pulses[result.failed] > 0).all() and result.failed.mean() > 0.3


def test_without_correlation_targets_are_the_plain_ones() -> None:
    _, _, weights, encoding = setting("ideal")
    result = written(np.eye(ROWS), device="ideal")
    assert not result.failed.any()
    np.testing.assert_allclose(encoding.decode(result.mapping.targets), weights, atol=1e-9)


def test_one_cell_of_a_pair_is_enough() -> None:
    crossbar, task, weights, encoding = setting("ideal")
    result = written(np.eye(ROWS), device="ideal")
    pulsed = (result.state.pulses > 0).reshape(ROWS, OUTPUTS, 2).sum(-1)
    assert (pulsed <= 1).mean() > 0.8
    off = np.abs(encoding.decode(crossbar.conductance(result.state)) - weights) / encoding.scale
    size = crossbar.device.g_max - crossbar.device.g_min
    assert off.max() <= 2 * 0.03 * size and off[pulsed <= 1].max() <= 1.001 * 0.03 * size
    noise = ArrayNoise.of(EVALUATION, 0)
    state, policy = fresh_array(crossbar, noise), HistoryInverse(task=task)
    plain = write_array(crossbar, task, policy, state, for_weights(weights, encoding), noise)
    assert result.state.pulses.sum() < 0.65 * plain.state.pulses.sum()


def test_stuck_cells_are_made_good_by_others() -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(rate=0.3, stuck_anywhere=0.15))
    known, held = correlated()
    alone, passed = (
        np.mean([product_error(written(inputs, device=device, seed=seed), held, device) for seed in range(3)])
        for inputs in (np.eye(ROWS), known)
    )
    assert passed < 0.7 * alone


def test_where_cells_fail_a_second_sweep_makes_products_better_than_opponents_do() -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(rate=0.3, stuck_anywhere=0.15))
    known, held = correlated()
    results = {
        method: [written(known, device=device, seed=seed, method=method) for seed in range(3)]
        for method in ("product", "inputs", "refit", "selective")
    }
    errors = {name: np.mean([product_error(one, held, device) for one in found]) for name, found in results.items()}
    pulses = {name: np.mean([one.state.pulses.mean() for one in found]) for name, found in results.items()}
    assert errors["product"] < errors["refit"] < 0.7 * errors["inputs"] and pulses["product"] < 1.1 * pulses["refit"]
    assert pulses["selective"] <= pulses["inputs"] and results["selective"][0].tolerance.max() == WIDEST


def test_gradient_descent_lowers_the_error_of_products() -> None:
    known, held = correlated()
    crossbar, _, weights, encoding = setting()
    before = encoding.decode(crossbar.conductance(fresh_array(crossbar, ArrayNoise.of(EVALUATION, 0)))) - weights
    error = np.sqrt(((held @ before) ** 2).mean() / ((held @ weights) ** 2).mean())
    assert product_error(written(known, method="gradient"), held) < 0.4 * error


@pytest.mark.parametrize("samples", [1, 8, 16, 64])
def test_few_inputs_pass_on_no_more_than_serves_others(samples: int) -> None:
    """A row's error costs others no more, on average, than if nothing was taken over."""
    rng = np.random.default_rng(samples)
    few, others = rng.standard_normal((samples, 16)), rng.standard_normal((4000, 16))
    moments = moments_of(few, 0.004)
    cost, rash = (
        ((others @ (inverse / np.diag(inverse))) ** 2).mean()
        for inverse in map(np.linalg.inv, (moments.matrix, few.T @ few / samples + 1e-3 * np.eye(16)))
    )
    assert cost < 1.1 and cost <= rash
    assert (moments.surprise > FEW) == (samples < 64)


def test_what_inputs_seem_to_tell_by_chance_is_not_used() -> None:
    """Of twenty handfuls of inputs that resemble their neighbours none makes a row's error cost others more."""
    root = np.eye(16) + 0.3 * np.eye(16, k=1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        few, others = rng.standard_normal((16, 16)) @ root, rng.standard_normal((4000, 16)) @ root
        inverse = np.linalg.inv(moments_of(few, 0.004).matrix)
        assert ((others @ (inverse / np.diag(inverse))) ** 2).mean() < 1.01 * (others**2).mean()


@pytest.mark.parametrize("device", ["threshold", "hfo2-array-om"])
def test_few_white_inputs_never_make_products_worse_than_cell_by_cell(device: str) -> None:
    crossbar, task, weights, encoding = setting(device)
    errors = []
    for seed in range(4):
        few, held = (np.random.default_rng(seed).standard_normal((n, ROWS)) for n in (ROWS, 2000))
        noise = ArrayNoise.of(EVALUATION, seed)
        state, policy = fresh_array(crossbar, noise), HistoryInverse(task=task)
        plain = write_array(crossbar, task, policy, state, for_weights(weights, encoding), noise)
        fed = written(few, Feedback(tolerance=0.02), device, seed)
        errors.append([product_error(one, held, device) for one in (fed, plain)])
    assert np.mean(errors, 0)[0] <= 1.02 * np.mean(errors, 0)[1]


def test_a_stuck_cell_that_may_stay_costs_no_pulse() -> None:
    crossbar, _, _, encoding = setting("ideal", rows=1)
    device = crossbar.device
    seen = np.tile(device.g_min + np.array([0.2, 0.5]) * (device.g_max - device.g_min), OUTPUTS)[None]
    wanted = np.full((1, OUTPUTS), 0.1)
    reach = np.full(seen.shape, device.g_min), np.full(seen.shape, device.g_max)
    aim = for_difference(wanted, encoding, seen, reach)
    mapping = aim(reach)
    np.testing.assert_array_equal(mapping.targets[0, 1::2], seen[0, 1::2])  # plus goes to the middle, minus stays
    np.testing.assert_allclose(encoding.decode(mapping.targets), wanted)
    plus_fails = reach[0], np.where(np.arange(2 * OUTPUTS) % 2 == 0, seen, reach[1])
    again = aim(plus_fails)
    assert (again.targets[0, 1::2] < seen[0, 1::2]).all()
    np.testing.assert_allclose(encoding.decode(again.targets), wanted)


def test_rows_with_small_inputs_get_wide_tolerances_and_few_pulses() -> None:
    sizes = np.repeat([1.0, 0.05], ROWS // 2)
    inputs = np.random.default_rng(0).standard_normal((500, ROWS)) * sizes
    result = written(inputs, Feedback(tolerance=0.02), "ideal")
    assert result.tolerance[: ROWS // 2].max() < 0.02 < 0.15 < result.tolerance[ROWS // 2 :].min()
    assert result.state.pulses[: ROWS // 2].sum() > 1.2 * result.state.pulses[ROWS // 2 :].sum()
    off = np.abs(result.reading - result.mapping.targets) / (load_device("ideal").g_max - load_device("ideal").g_min)
    assert (off <= result.tolerance)[result.accepted].all() and result.accepted.mean() > 0.95


def test_rows_without_inputs_get_no_pulse() -> None:
    known, held = correlated()
    used = np.arange(ROWS) % 4 > 0
    result = written(known * used, Feedback(tolerance=0.02), "ideal")
    assert not result.state.pulses[~used].any() and (result.state.pulses[used].sum(1) > 0).all()
    assert product_error(result, held * used, "ideal") < 0.05


def test_a_reference_column_takes_part() -> None:
    crossbar, task, weights, _ = setting()
    encoding = Encoding.of(weights, crossbar.device, kind="reference")
    crossbar, noise = crossbar.replace(cols=OUTPUTS + 1), ArrayNoise.of(EVALUATION, 0)
    known, held = correlated()
    result = write_product(
        crossbar,
        task,
        HistoryInverse(task=task),
        fresh_array(crossbar, noise),
        weights,
        encoding,
        known,
        noise,
        feedback=UNIFORM,
    )
    off = held @ (encoding.decode(crossbar.conductance(result.state)) - weights)
    assert np.sqrt((off**2).mean() / ((held @ weights) ** 2).mean()) < 0.1


def test_the_result_is_that_of_one_array() -> None:
    result = written(correlated()[0])
    shape = (ROWS, 2 * OUTPUTS)
    assert all(part.shape == shape for part in (result.reading, result.accepted, result.failed, result.passes))
    assert result.mapping.targets.shape == result.state.cell.x.shape == shape
    np.testing.assert_array_equal(result.mapping.order, np.arange(OUTPUTS))
    assert float(result.state.latency) > ROWS * 2e-6 and (result.state.reads >= 2).all()
    age = result.state.cell.age
    assert age.min() > 0 and age[result.state.pulses > 0].max() <= float(result.state.latency)


def test_equal_noise_programs_equal_arrays_and_inputs_are_never_written() -> None:
    inputs = correlated()[0]
    inputs.flags.writeable = False
    np.testing.assert_array_equal(written(inputs).state.cell.x, written(inputs).state.cell.x)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.ones((5, ROWS + 1)), r"\(5, 13\), \(n, 12\) is needed"),
        (np.ones(ROWS), r"\(12,\)"),
        (np.ones((0, ROWS)), r"\(0, 12\)"),
        (np.full((5, ROWS), np.nan), "NaN"),
        (np.full((5, ROWS), "a"), "shape"),
    ],
)
def test_unusable_inputs_are_refused(inputs: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        written(inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"scheme": "V/2"}, "V/2"), ({"writing": "columns"}, "columns"), ({"rows": ROWS + 1}, "13")],
)
def test_arrays_whose_rows_cannot_be_written_alone_are_refused(changes: dict[str, Any], message: str) -> None:
    crossbar, task, weights, encoding = setting()
    crossbar, noise = crossbar.replace(**changes), ArrayNoise.of(EVALUATION, 0)
    state, policy = fresh_array(crossbar, noise), HistoryInverse(task=task)
    with pytest.raises(ValueError, match=message):
        write_product(crossbar, task, policy, state, weights, encoding, np.ones((3, crossbar.rows)), noise)


def test_spares_are_refused() -> None:
    crossbar, task, weights, _ = setting()
    encoding = Encoding.of(weights[:, 1:], crossbar.device, spares=1)
    noise = ArrayNoise.of(EVALUATION, 0)
    state, policy = fresh_array(crossbar, noise), HistoryInverse(task=task)
    with pytest.raises(ValueError, match="spares is 1"):
        write_product(crossbar, task, policy, state, weights[:, 1:], encoding, correlated()[0], noise)
