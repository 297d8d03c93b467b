"""The optimum on measured tables: hand-computed chains, its own prediction, and the classical controllers behind it."""

from typing import Any

import numpy as np
import pytest

from agents.classical.inverse import HistoryInverse
from agents.classical.optimum import TableOptimum
from agents.classical.write_verify import ISPP, ConstantPulse
from agents.evaluation import EVALUATION, evaluate, noise_of
from memenv.devices.measured import TableDevice, Tables
from memenv.devices.reads import Read
from memenv.envs.write_verify.task import WriteVerify

PLACES = np.linspace(0.0, 1.0, 101)
EVEN = np.array([0.0, 0.5 - 1e-9, 0.5 + 1e-9, 1.0])  # cumulative probabilities of two equally likely outcomes
TOLERANCE = 0.045  # of nodes 0.01 apart: every step below is a whole number of them


def table(cdf: np.ndarray, *devices: tuple[Any, Any]) -> TableDevice:
    """Devices between 1 and 2 uS, x from 0 to 1, of SET and RESET steps [range], each (quantiles, places) or less."""
    steps = [[np.broadcast_to(step, (len(cdf), len(PLACES))) for step in both] for both in devices]
    grid = np.tile(1e-6 * (1 + PLACES), (len(devices), 1))
    tables = Tables(np.arange(len(devices)), grid, cdf, 1e-6 * np.swapaxes(steps, 0, 1))
    return TableDevice(name="synthetic", g_min=1e-6, g_max=2e-6, tables=tables)


def expected_cost(optimum: TableOptimum, which: Any, x: Any, target: Any) -> np.ndarray:
    """The optimum's expected cost (cells,) [pulses] from states `x` [range] of devices `which` to their targets."""
    parts = zip(np.atleast_1d(which), np.atleast_1d(x), np.atleast_1d(target), strict=True)
    return np.array([optimum.plans[n].cost[optimum._places(optimum.plans[n], begun, goal)] for n, begun, goal in parts])


def cost(device: TableDevice, start: float, target: float, **task: Any) -> float:
    """Expected cost of the optimum on the first device."""
    optimum = TableOptimum(task=WriteVerify(device=device, tolerance=TOLERANCE, **{"give_up": True} | task))
    return float(expected_cost(optimum, 0, start, target)[0])


@pytest.fixture(scope="module")
def noisy() -> TableDevice:
    """Two devices with gradual RESET; SET leaps on the first and is gradual, on the way to a low end, on the second."""
    cdf = np.linspace(0.0, 1.0, 41)
    scatter = np.sqrt(12) * (cdf - 0.5)[:, None]
    leap = (0.9 + 0.05 * scatter) * (1 - PLACES)
    return table(cdf, (leap, -0.12 + 0.04 * scatter), (0.05 + 0.02 * scatter - 0.07 * PLACES, -0.1 + 0.05 * scatter))


def test_each_step_succeeds_every_other_time() -> None:
    device = table(EVEN, (np.array([0.0, 0.0, 0.1, 0.1])[:, None], -0.2))
    assert cost(device, 0.2, 0.5) == pytest.approx(6.0, rel=1e-3)
    assert cost(device, 0.4, 0.5) == pytest.approx(2.0, rel=1e-3)
    assert cost(device, 0.6, 0.5) == pytest.approx(3.0, rel=1e-3)  # one RESET to 0.4, then two SETs


def test_the_way_can_lead_away_from_the_target() -> None:
    leap = np.where(PLACES <= 0.3, 0.5 - PLACES, 1.0 - PLACES)  # SET from below 0.3 ends at 0.5, else at 1
    device = table(EVEN, (leap, -0.1))
    assert cost(device, 0.4, 0.5) == pytest.approx(2.0)  # RESET to 0.3, SET to 0.5
    towards = TableOptimum(task=WriteVerify(give_up=True, device=device, tolerance=TOLERANCE), towards_only=True)
    assert expected_cost(towards, 0, 0.4, 0.5) == pytest.approx(6.0)  # SET to 1 first


def test_the_budget_decides_between_trying_and_giving_up() -> None:
    device = table(EVEN, (0.1, -0.1))
    assert cost(device, 0.2, 0.5, max_pulses=3) == pytest.approx(3.0)
    assert cost(device, 0.2, 0.5, max_pulses=2) == pytest.approx(2.0)  # not a pulse is spent, failure costs two
    assert cost(device, 0.2, 0.5, max_pulses=2, give_up=False) == pytest.approx(4.0)


def test_steps_smaller_than_the_nodes_are_not_rounded_away() -> None:
    device = table(EVEN, (0.004, -0.004))
    assert cost(device, 0.2, 0.5, max_pulses=200) == pytest.approx((0.3 - TOLERANCE) / 0.004, rel=0.02)


def test_the_predicted_cost_is_the_mean_of_the_played_one(noisy: TableDevice) -> None:
    task, cells = WriteVerify(give_up=True, device=noisy), 3000
    optimum = TableOptimum(task=task)
    chip = task.fabricate(np.random.default_rng(5), cells)
    noise = noise_of(task, range(cells), 7, EVALUATION).next()
    episode = task.initial(chip, noise.drawn(task.initial_draws), {})
    outcomes = evaluate(optimum, task, cells, 7, chip=chip)
    played = outcomes.pulses + task.max_pulses * ~outcomes.accepted
    excess = played - expected_cost(optimum, chip.which, episode.reading, episode.target)
    assert abs(excess.mean()) < 3 * excess.std() / np.sqrt(cells)


def test_halving_the_nodes_leaves_the_expected_cost(noisy: TableDevice, rng: np.random.Generator) -> None:
    task, which = WriteVerify(give_up=True, device=noisy), np.repeat([0, 1], 500)
    x, target = rng.random(1000), rng.uniform(0.1, 0.9, 1000)
    coarse, fine = (expected_cost(TableOptimum(task=task, resolution=r), which, x, target) for r in (4, 9))
    assert coarse.mean() == pytest.approx(fine.mean(), rel=0.01)


@pytest.mark.parametrize("kind", [ConstantPulse, ISPP, HistoryInverse])
@pytest.mark.parametrize("patience", [3.0, 8.0, 50.0])
def test_no_classical_controller_is_cheaper(noisy: TableDevice, kind: Any, patience: float) -> None:
    task = WriteVerify(give_up=True, device=noisy)

    def played(policy: Any) -> float:
        outcomes = evaluate(policy, task, 1000, 3)
        return float(np.mean(outcomes.pulses + task.max_pulses * ~outcomes.accepted))

    follower = played(kind(task=task, patience=patience))
    restricted, free = (played(TableOptimum(task=task, towards_only=only)) for only in (True, False))
    assert free <= restricted + 0.1  # of the noise of 1,000 cells
    assert restricted < follower


def test_it_knows_no_other_devices(noisy: TableDevice) -> None:
    with pytest.raises(ValueError, match="measured tables"):
        TableOptimum(task=WriteVerify(give_up=True, device="threshold"))
    with pytest.raises(ValueError, match="noisy"):
        TableOptimum(task=WriteVerify(give_up=True, device=noisy.replace(read=Read(noise=0.001))))
    with pytest.raises(ValueError, match="needs the chip"):
        TableOptimum(task=WriteVerify(give_up=True, device=noisy)).begin(None, 3)
