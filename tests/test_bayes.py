"""The Bayesian controller, the oracle bound, and the cost that both expect after a pulse."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from agents.classical.bayes import Bayesian
from agents.classical.cost_to_go import CostToGo
from agents.classical.inverse import HistoryInverse
from agents.classical.particles import Oracle
from agents.classical.revealed import Revealed
from agents.classical.write_verify import ISPP
from agents.evaluation import evaluate
from agents.stress import case
from memenv.devices.catalogue import load_device
from memenv.devices.device import Mismatch
from memenv.devices.protocol import parametric
from memenv.devices.uncertainty import Uncertainty
from memenv.envs.noise import Episodes, cells_of
from memenv.envs.write_verify.task import WriteVerify

THRESHOLD = WriteVerify(give_up=True, device="threshold")


def mean_pulses(policy: Any, cells: int) -> float:
    """Mean pulses a cell on one chip, the same for every policy."""
    return float(evaluate(policy, policy.task, cells, 0).pulses.mean())


# -- the cost to go ----------------------------------------------------------------------------------------------------


def test_without_noise_a_cell_costs_one_pulse_outside_and_none_inside() -> None:
    cost = CostToGo(cycle_noise=0.0, additive=0.0, read_noise=0.0, farthest=50.0)
    np.testing.assert_allclose(cost(np.array([0.5, 2.0, 40.0]), np.full(3, 0.01)), [0.0, 1.0, 1.0], atol=0.02)


def test_the_cost_grows_with_distance_and_with_what_is_unknown() -> None:
    cost = CostToGo(cycle_noise=0.15, additive=0.0, read_noise=0.2, farthest=50.0)
    distance, sigma = np.meshgrid(np.geomspace(1.5, 40, 12), np.geomspace(0.05, 2.0, 8), indexing="ij")
    table = cost(distance, sigma)
    assert (np.diff(table, axis=0) > -1e-9).all()
    assert (np.diff(table, axis=1) > -1e-9).all()


def test_the_cost_of_a_known_device_is_what_it_takes_on_it() -> None:
    linear = dataclasses.replace(load_device("ideal").set, cycle_noise=0.2)
    task = WriteVerify(give_up=True, device=load_device("ideal").replace(set=linear, reset=linear))
    policy, noise = Oracle(task=task), np.random.default_rng(0)
    distance = np.abs(noise.random(4000) - noise.uniform(0.1, 0.9, 4000)) / 0.02
    expected = policy._value(distance[distance > 2], np.full((distance > 2).sum(), 0.2)).mean()
    assert mean_pulses(policy, 1000) == pytest.approx(expected, rel=0.06)


# -- the posterior -----------------------------------------------------------------------------------------------------


def test_the_posterior_concentrates_on_the_rate_of_the_cell() -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(rate=0.5))
    task = WriteVerify(give_up=True, device=device, tolerance=0.005, rounds=5)
    policy, cells = Bayesian(task=task), 60
    noise = Episodes.of(3, range(cells)).noise(cells_of(task))
    chip, noise = task.fabricate(noise.chip, cells), noise.next()
    episode, belief = task.initial(chip, noise.drawn(task.initial_draws), {}), policy.begin(None, cells)
    for _ in range(6):
        action, belief = policy.predict(task.observe(episode), belief)
        noise = noise.next()
        episode = task.transition(episode, action, noise.drawn(task.step_draws))
    weight = np.exp(belief.log_weight)
    weight /= weight.sum(axis=1, keepdims=True)
    rate = np.log(belief.particles.set.dose / device.set.dose)
    mean = (weight * rate).sum(axis=1)
    spread = np.sqrt((weight * (rate - mean[:, None]) ** 2).sum(axis=1))
    truth = np.log(chip.set.dose / device.set.dose)
    assert spread.mean() < 0.15
    assert np.sqrt(np.mean(((mean - truth) / spread) ** 2)) < 2.0
    assert np.corrcoef(mean, truth)[0, 1] > 0.95


def test_particles_stay_in_the_law_where_thresholds_are_uncertain_and_the_slope_is_not_the_records() -> None:
    thresholds = Uncertainty(parameters=("set.threshold", "reset.threshold"), deviations=(0.13, 0.13))
    device = load_device("threshold").replace(uncertainty=thresholds)
    wrong = case(WriteVerify(give_up=True, device=device), "slope=0.25")
    assert evaluate(Bayesian(task=wrong.told), wrong.true, 100, 0).accepted.mean() > 0.6


def test_what_no_particle_explains_does_not_end_in_nan() -> None:
    policy = Bayesian(task=WriteVerify(give_up=True, device="ideal"))
    task, state, (read, target, spent) = policy.task, policy.begin(None, 1), np.array([[0.2], [0.5], [0.0]])
    for amplitude in (0.0, 1.0, -1.0):
        pulse = np.array([amplitude]), np.array([1e-6])
        observation = task.observations.show(read, target, task.tolerance, spent, pulse, spent, task.device.driver)
        action, state = policy.predict(observation, state)
        assert np.isfinite(action).all()
        assert np.isfinite(state.log_weight).all()


def test_with_nothing_to_learn_the_bayesian_is_the_oracle() -> None:
    device = parametric(load_device("alox-hfo2"), "the test")
    task = WriteVerify(give_up=True, device=device.replace(uncertainty=None))
    knowing = Bayesian(task=task, wrong=0.0), Oracle(task=task), Revealed(task=task)
    seen = [evaluate(one, task, 100, 1).pulses for one in knowing]
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[2], seen[1])


def test_a_first_pulse_that_tells_all_is_worth_less_than_knowing_and_more_than_finding_out() -> None:
    oracle, revealed, bayes = (mean_pulses(kind(task=THRESHOLD), 400) for kind in (Oracle, Revealed, Bayesian))
    assert oracle + 0.5 < revealed < bayes - 0.2


def test_the_first_pulse_is_chosen_without_a_look_at_the_cell() -> None:
    task, cells = THRESHOLD, 20
    one, other = (task.fabricate(np.random.default_rng(seed), cells) for seed in (0, 1))
    seen = task.observations.show(
        np.full(cells, 0.3),
        np.full(cells, 0.6),
        task.tolerance,
        0 * np.ones(cells),
        (np.zeros(cells), 1e-6),
        0.0,
        task.device.driver,
    )
    policy = Revealed(task=task)
    first = [policy.predict(seen, policy.begin(chip, cells))[0] for chip in (one, other)]
    np.testing.assert_array_equal(*first)
    np.testing.assert_array_equal(first[0], Bayesian(task=task, wrong=0.0).predict(seen)[0])


def test_a_wrong_record_costs_less_where_the_prior_allows_for_it() -> None:
    one = case(THRESHOLD, "slope=0.5")
    trusting, open_minded = (
        evaluate(Bayesian(task=one.told, wrong=share), one.true, 120, 0) for share in (0.0, Bayesian.wrong)
    )
    assert open_minded.pulses.mean() < 0.7 * trusting.pulses.mean()
    assert open_minded.accepted.mean() > trusting.accepted.mean() + 0.05


def test_reads_finer_than_the_cloud_of_particles_do_not_leave_one_of_them_alone() -> None:
    wrong = case(WriteVerify(give_up=True, device="enode-sandia"), "slope=0.5")
    simple, found = (evaluate(kind(task=wrong.told), wrong.true, 200, 0) for kind in (HistoryInverse, Bayesian))
    assert found.accepted[simple.accepted].mean() > 0.99


def test_what_was_learnt_pays_for_later_targets() -> None:
    task = WriteVerify(give_up=True, device="threshold", rounds=3)
    by_round = np.nanmean(evaluate(Bayesian(task=task), task, 150, 0).round_pulses, axis=0)
    assert by_round[2] < by_round[1] < by_round[0]


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_the_oracle_gives_up_at_once_and_only_what_cannot_be_reached() -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(collapsed=1.0))
    task = WriteVerify(give_up=True, device=device)
    chip = task.fabricate(np.random.default_rng(0), 200)
    outcomes = evaluate(Oracle(task=task), task, 200, 0, chip=chip)
    tried = outcomes.pulses > 0
    assert 0.1 < tried.mean() < 0.4
    assert outcomes.accepted[tried].mean() > 0.98
    assert not outcomes.accepted[~tried].any()


def test_the_bayesian_knows_when_to_stop() -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(rate=0.5, stuck_anywhere=0.5))
    task = WriteVerify(give_up=True, device=device)
    outcomes = evaluate(Bayesian(task=task), task, 200, 0)
    assert outcomes.accepted.mean() > 0.45
    assert outcomes.pulses[~outcomes.accepted].mean() < 4


def test_the_oracle_refuses_to_guess_the_chip() -> None:
    with pytest.raises(ValueError, match="needs the chip"):
        Oracle(task=THRESHOLD).predict(np.zeros((1, 7), np.float32))


# -- what it amounts to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("controller", [Bayesian, Oracle])
def test_an_ideal_device_takes_one_pulse(controller: type[Any]) -> None:
    assert mean_pulses(controller(task=WriteVerify(give_up=True, device="ideal")), 50) == 1.0


def test_the_more_a_controller_knows_the_fewer_pulses_it_needs() -> None:
    ladder = [mean_pulses(c(task=THRESHOLD), 600) for c in (ISPP, HistoryInverse, Bayesian, Oracle)]
    assert ladder == sorted(ladder, reverse=True)
    assert ladder[0] > 2 * ladder[1]
