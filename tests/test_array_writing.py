"""Programming arrays with policies for single cells."""

from typing import Any

import numpy as np
import pytest

from agents.arrays.noise import ArrayNoise
from agents.arrays.writing import Written, at, for_weights, fresh_array, write_array
from agents.classical.inverse import HistoryInverse
from agents.classical.write_verify import ISPP
from agents.evaluation import EVALUATION, evaluate, noise_of
from agents.library import load_policy
from memenv import Mismatch, WriteVerify, load_device
from memenv.crossbars.crossbar import Crossbar, CrossbarState, shaped
from memenv.crossbars.encoding import Encoding, reach

ROWS, COLS = 16, 20


def noise(seed: int = 0) -> ArrayNoise:
    return ArrayNoise.of(EVALUATION, seed)


def whole_range(low: float = 0.1, high: float = 0.9, seed: int = 5) -> np.ndarray:
    """Random targets of threshold cells [S]."""
    device = load_device("threshold")
    x = np.random.default_rng(seed).uniform(low, high, (ROWS, COLS))
    return device.g_min + x * (device.g_max - device.g_min)


def written(
    name: str = "history", passes: int = 3, targets: np.ndarray | None = None, seed: int = 0, **settings: Any
) -> Written:
    crossbar = Crossbar(rows=ROWS, cols=COLS, **settings)
    task = WriteVerify(device=crossbar.device, give_up=True)
    state = fresh_array(crossbar, noise(seed))
    aim = at(whole_range() if targets is None else targets)
    return write_array(crossbar, task, load_policy(name, task), state, aim, noise(seed + 1), passes=passes)


def error(crossbar: Crossbar, result: Written) -> np.ndarray:
    """[range] true errors."""
    device = crossbar.device
    return (crossbar.conductance(result.state) - result.mapping.targets) / (device.g_max - device.g_min)


@pytest.mark.parametrize("policy", [ISPP, HistoryInverse, "specialist"])
def test_with_transistors_an_array_is_programmed_as_its_cells_alone_are(policy: Any) -> None:
    task, cells = WriteVerify(give_up=True), 16 * 64
    decider = load_policy(policy, task) if policy == "specialist" else policy(task=task)
    alone = noise_of(task, range(cells), 0, EVALUATION)
    chip = task.fabricate(alone.chip, cells)
    start = task.initial(chip, alone.next().drawn(task.initial_draws), {})
    alone = evaluate(decider, task, cells, 0)

    crossbar, shape = Crossbar(rows=16, cols=64), (16, 64)
    counters = np.zeros(shape)
    state = CrossbarState(
        shaped(chip, shape), shaped(start.cell, shape), counters, counters, counters, np.zeros(()), np.zeros(())
    )
    target = task.siemens(chip, start.target).reshape(shape)
    together = write_array(crossbar, task, decider, state, at(target), noise(3), passes=0)
    pulses = together.state.pulses.ravel()
    spread = np.hypot(pulses.std(), alone.pulses.std()) / np.sqrt(cells)
    assert abs(pulses.mean() - alone.pulses.mean()) < 3 * spread
    assert abs(together.accepted.mean() - alone.accepted.mean()) < 0.01
    energy = together.state.energy.ravel() - chip.read_energy(start.true_conductance)  # of the first look
    spread = np.hypot(energy.std(), alone.energy.std()) / np.sqrt(cells)
    assert abs(energy.mean() - alone.energy.mean()) < 3 * spread
    latency = float(together.state.sequential) / cells - chip.read.duration
    assert latency == pytest.approx(alone.latency.mean(), rel=0.15)


def test_every_cell_that_can_be_programmed_is() -> None:
    crossbar = Crossbar(rows=ROWS, cols=COLS)
    result = written()
    np.testing.assert_array_equal(np.abs(result.reading - result.mapping.targets) / 9.8e-5 <= 0.02, result.accepted)
    assert (result.accepted | result.failed).all()
    assert result.accepted.mean() > 0.97
    assert np.abs(error(crossbar, result))[result.accepted].max() < 0.02 + 5 * 0.004


def test_cells_that_are_right_already_get_no_pulse() -> None:
    crossbar = Crossbar(device="ideal", rows=4, cols=5)
    task = WriteVerify(device=crossbar.device, give_up=True)
    state = fresh_array(crossbar, noise())
    target = crossbar.conductance(state).copy()
    target[1, 2] = task.siemens(crossbar.device, 0.5)
    result = write_array(crossbar, task, ISPP(task=task), state, at(target), noise(1))
    only = np.zeros((4, 5), bool)
    only[1, 2] = True
    np.testing.assert_array_equal(result.state.pulses > 0, only)
    np.testing.assert_array_equal(result.passes, only)


def test_cells_that_writing_disturbs_are_opened_again() -> None:
    crossbar = Crossbar(rows=ROWS, cols=COLS, scheme="V/2")
    once, again = (written(passes=passes, seed=2, scheme="V/2") for passes in (0, 3))
    inside_once, inside_again = (np.abs(error(crossbar, one)) <= 0.02 for one in (once, again))
    assert inside_once.mean() < 0.3 and inside_again.mean() > 0.5
    assert once.passes.max() == 1 and again.passes.max() > 1
    disturbed = (once.passes == 1) & ~once.failed & ~inside_once
    assert (again.passes[disturbed] > 1).mean() > 0.9
    assert written(passes=3, seed=2).passes.mean() < again.passes.mean() - 0.3  # with transistors, read noise alone


def test_passes_are_limited() -> None:
    assert written(passes=1, scheme="V/2").passes.max() == 2


def test_writing_rows_takes_the_time_of_rows_and_nearly_the_same_pulses() -> None:
    cells, rows = written("ispp"), written("ispp", writing="rows")
    assert cells.state.latency == pytest.approx(cells.state.sequential)
    assert rows.state.latency < 0.3 * rows.state.sequential
    assert rows.state.pulses.mean() == pytest.approx(cells.state.pulses.mean(), rel=0.1)


def test_counters_add_up() -> None:
    result = written(writing="columns")
    assert (result.state.reads[result.passes == 0] == 1).all()
    np.testing.assert_array_less(result.state.pulses, result.state.reads)
    assert result.state.sequential > 1e-6 * result.state.reads.sum()  # [s] of reads, pulses on top


def test_a_confirmed_cell_is_read_more_often_and_falsely_accepted_less_often() -> None:
    crossbar = Crossbar(rows=32, cols=64)
    state, false = fresh_array(crossbar, noise()), []
    target = crossbar.device.g_min + 9.8e-5 * np.random.default_rng(0).uniform(0.1, 0.9, crossbar.shape)
    for confirm in (0, 2):
        task = WriteVerify(confirm_reads=confirm, give_up=True)
        result = write_array(crossbar, task, HistoryInverse(task=task), state, at(target), noise(1), passes=0)
        false.append((np.abs(error(crossbar, result)) > 0.02)[~result.failed].mean())
    assert false[1] < 0.6 * false[0]


def stuck_array() -> tuple[Crossbar, CrossbarState, np.ndarray, Encoding]:
    """An array with a fifth of its cells stuck, and weights for it."""
    device = load_device("threshold").replace(mismatch=Mismatch(rate=0.3, stuck_anywhere=0.2))
    crossbar = Crossbar(device=device, rows=ROWS, cols=COLS)
    weights = np.random.default_rng(2).uniform(-0.5, 0.5, (ROWS, COLS // 2))
    return crossbar, fresh_array(crossbar, noise()), weights, Encoding.of(weights, device, largest=1.0)


def test_the_partner_of_a_stuck_cell_takes_the_difference() -> None:
    crossbar, state, weights, encoding = stuck_array()
    task = WriteVerify(device=crossbar.device, give_up=True)
    policy = HistoryInverse(task=task)
    targets = encoding.mapped(weights).targets

    def share(missing: np.ndarray) -> float:
        return float((np.abs(missing) > 2 * 0.02 * 9.8e-5 * encoding.scale).mean())

    def missed(aim: Any) -> float:
        result = write_array(crossbar, task, policy, state, aim, noise(1))
        g = crossbar.conductance(result.state)
        assert result.failed[state.chip.x_lo == state.chip.x_hi].mean() > 0.9
        return share(encoding.decode(g, result.mapping.order) - weights)

    possible = share(encoding.mapped(weights, reach(state.chip, targets)).missing)
    assert possible <= missed(for_weights(weights, encoding)) < possible + 0.04
    assert missed(at(targets)) > 2 * possible + 0.04


def test_a_target_out_of_reach_of_every_cell_is_not_tried() -> None:
    device = load_device("ideal").replace(x_hi=0.6)
    crossbar = Crossbar(device=device, rows=2, cols=3)
    task = WriteVerify(device=device, give_up=True)
    target = np.full((2, 3), task.siemens(device, 0.5))
    target[0, 1] = task.siemens(device, 0.8)
    result = write_array(crossbar, task, ISPP(task=task), fresh_array(crossbar, noise()), at(target), noise(1))
    outside = target == target[0, 1]
    assert not result.passes[outside].any()  # a nominal cell does not get there
    np.testing.assert_array_equal(~result.accepted, outside)
    np.testing.assert_array_equal(result.outside, outside)


def test_a_cell_whose_end_is_known_is_not_tried_again() -> None:
    crossbar, state, weights, encoding = stuck_array()
    task, aim = WriteVerify(device=crossbar.device, give_up=True), at(encoding.mapped(weights).targets)
    policy = HistoryInverse(task=task)
    first = write_array(crossbar, task, policy, state, aim, noise(1))
    again = write_array(crossbar, task, policy, first.state, aim, noise(2), reach=(first.low, first.high))
    missed = (state.chip.x_lo == state.chip.x_hi) & first.outside
    assert missed.mean() > 0.1 and not (again.state.pulses > first.state.pulses)[missed].mean() > 0.05


def test_a_cell_that_is_given_up_gets_a_final_strong_pulse_unless_it_is_the_last_pass() -> None:
    device = load_device("ideal")
    crossbar = Crossbar(device=device, rows=1, cols=2)
    task = WriteVerify(device=device, give_up=True)
    x = np.array([[0.5, 0.1]])
    state = crossbar.fresh(device, x, np.zeros((2, 1, 2)))
    target = task.siemens(device, np.array([[0.53, 0.9]]))
    for passes, pulses in ((0, [[0, 0]]), (1, [[1, 1]]), (2, [[2, 1]])):
        result = write_array(crossbar, task, Resigned(task), state, at(target), noise(1), passes=passes)
        np.testing.assert_array_equal(result.state.pulses, pulses)
        np.testing.assert_array_equal(result.passes, [[1 + passes, 1]])
        assert result.failed.all()  # in the last pass there is nothing left to try
    assert (crossbar.conductance(result.state) > crossbar.conductance(state)).tolist() == [[False, True]]


class Resigned:
    """Gives every cell up."""

    def __init__(self, task: WriteVerify) -> None:
        self.task = task

    def begin(self, chip: Any, cells: int) -> None:
        return None

    def predict(self, observation: np.ndarray, state: Any = None, *_: Any) -> tuple[np.ndarray, Any]:
        cells = len(observation)
        return self.task.encode(np.ones(cells), np.ones(cells), np.ones(cells, bool)), None


def test_inputs_are_never_written() -> None:
    crossbar, state, weights, encoding = stuck_array()
    task, before = WriteVerify(device=crossbar.device, give_up=True), state.cell.x.copy()
    for part in (state.cell.x, state.cell.age, state.pulses, state.energy, weights):
        part.flags.writeable = False
    write_array(crossbar, task, HistoryInverse(task=task), state, for_weights(weights, encoding), noise())
    np.testing.assert_array_equal(state.cell.x, before)


def test_equal_noise_programs_equal_arrays() -> None:
    one, other = written(scheme="V/3", passes=0), written(scheme="V/3", passes=0)
    np.testing.assert_array_equal(one.state.cell.x, other.state.cell.x)


@pytest.mark.parametrize("name", ["ispp", "vipi", "nominal", "bayes", "oracle", "generalist"])
def test_every_kind_of_policy_programs_an_array(name: str) -> None:
    crossbar = Crossbar(rows=4, cols=6, writing="rows")
    task = WriteVerify(max_pulses=30, give_up=True)
    targets = whole_range()[:4, :6]
    result = write_array(crossbar, task, load_policy(name, task), fresh_array(crossbar, noise()), at(targets), noise(1))
    assert result.accepted.mean() > 0.8 and result.state.pulses.max() < 90


def test_a_task_of_several_rounds_is_refused() -> None:
    crossbar, task = Crossbar(rows=2, cols=2), WriteVerify(rounds=2, give_up=True)
    with pytest.raises(ValueError, match="rounds is 2"):
        write_array(crossbar, task, ISPP(task=task), fresh_array(crossbar, noise()), at(np.ones((2, 2))), noise())
