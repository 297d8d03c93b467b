"""The protocol of programming: which cells train, tune and evaluate, what an interval covers, what a failure costs."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import gamma

from agents import comparison, tuning
from agents.classical.inverse import HistoryInverse
from agents.classical.write_verify import ISPP, parameter
from agents.comparison import CompareConfig, compare, metrics, summary
from agents.evaluation import EVALUATION, TRAINING, TUNING, Outcomes, evaluate, seeded
from agents.library import BOUNDS, known_policies, load_policy
from agents.tuning import Tuned, cost, costs, on_cells, one_by_one, tune
from memenv import WriteVerify
from memenv.devices.device import Device
from memenv.experiments import reporting
from memenv.experiments.reporting import mean_and_half_width

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CELLS = 64  # of every purpose: equal streams would then give equal cells
SEEDS = (0, 1, 2)  # a plain seed of 1 must not be the purpose 1 with a seed of 0


class Watch:
    """The doses of all cells that are fabricated, by who asks for them."""

    def __init__(self) -> None:
        self.purpose, self.cells, self.chips = "training", {}, 0

    def fabricate(self, device: Device, *arguments: Any) -> Any:
        """Fabricates and notes."""
        chip = fabricate(device, *arguments)
        self.cells.setdefault(self.purpose, set()).update(np.ravel(chip.set.dose).tolist())
        self.chips += 1
        return chip

    @contextmanager
    def during(self, purpose: str) -> Iterator[None]:
        """Everything is for this purpose."""
        before, self.purpose = self.purpose, purpose
        yield
        self.purpose = before

    def named(self, purpose: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose cells are for this purpose."""

        def watched(*arguments: Any, **more: Any) -> Any:
            with self.during(purpose):
                return function(*arguments, **more)

        return watched


fabricate = Device.fabricate


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Every fabrication is noted."""
    one = Watch()
    monkeypatch.setattr(Device, "fabricate", lambda *arguments: one.fabricate(*arguments))
    return one


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning on few cells, all of which are arrays, and no pictures."""
    monkeypatch.setattr(tuning, "compiled", lambda _: False)
    monkeypatch.setattr(tuning, "CELLS", CELLS)
    monkeypatch.setattr(tuning, "FINAL_CELLS", CELLS)
    monkeypatch.setattr(comparison, "picture", lambda _: Figure())


@dataclass(frozen=True)
class Resigned:
    """Gives up cells that read above `effort`, and leaves the others to ISPP."""

    task: WriteVerify
    effort: float = parameter(1.0, 0.0, 1.0)
    tuning_effort = 1.0

    def begin(self, chip: Any, cells: int) -> Any:
        """As ISPP."""
        return ISPP(task=self.task).begin(chip, cells)

    def predict(self, observation: np.ndarray, state: Any = None, *more: Any) -> tuple[np.ndarray, Any]:
        """See `agents.policy.Policy`."""
        action, state = ISPP(task=self.task).predict(observation, state, *more)
        view = self.task.view(observation)
        one = np.ones(len(view.read))
        lost = self.task.encode(one, one, one > 0)
        return np.where((view.read > self.effort)[:, None], lost, action), state


# -- who sees which cells ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["ppo", "pulse"])
def test_training_tuning_and_evaluation_never_see_each_others_cells(
    algo: str, watch: Watch, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("stable_baselines3")
    from agents import training

    monkeypatch.setattr(comparison, "shipped_or_tuned", watch.named("tuning", comparison.shipped_or_tuned))
    monkeypatch.setattr(comparison, "evaluate", watch.named("evaluation", comparison.evaluate))
    monkeypatch.setattr(training, "evaluate", watch.named("judging", training.evaluate))
    names = {"device": ("threshold",), "max_pulses": 4}
    trained = [0]
    for seed in SEEDS:
        out = tmp_path / str(seed)
        compare(CompareConfig(**names, controllers=("ispp",), cells=CELLS, seed=seed, trials=2, out=out))
        settings = {"algo": algo, "steps": 2 if algo == "pulse" else 1, "envs": CELLS, "evaluation_cells": CELLS}
        training.train(training.TrainConfig(**names, **settings, seed=seed, evaluations=1, out=out / "run"))
        trained.append(len(watch.cells["training"]))
    seen = watch.cells
    assert min(map(len, seen.values())) >= CELLS and seen.keys() == {"tuning", "evaluation", "judging", "training"}
    assert not seen["training"] & (seen["tuning"] | seen["evaluation"] | seen["judging"])
    assert not seen["evaluation"] & (seen["tuning"] | seen["judging"])
    assert min(np.diff(trained)) >= CELLS  # and each of neighbouring seeds trains on cells of its own


@pytest.mark.parametrize("algo", ["ppo", "pulse"])
def test_a_resumed_training_goes_on_with_other_cells_and_ends_where_it_was_to_end(
    algo: str, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("stable_baselines3")
    from agents import training

    monkeypatch.setattr(training, "evaluate", watch.named("judging", training.evaluate))
    steps = 3 if algo == "pulse" else 16 * CELLS
    settings = {"algo": algo, "envs": CELLS, "evaluation_cells": CELLS, "max_pulses": 4, "evaluations": 1}
    config = training.TrainConfig(**settings, steps=steps, out=tmp_path)
    training.train(config)
    with watch.during("resumed"):
        training.train(replace(config, steps=2 * steps, resume=True))
    assert not watch.cells["training"] & watch.cells["resumed"] and watch.cells["resumed"]
    with (tmp_path / "eval.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[-1]["steps"]) == 2 * steps


def test_training_through_the_device_draws_from_seeds_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from agents.predictor import training as pulse_training

    met: list[np.random.Generator] = []
    roll = pulse_training.rollout

    def rollout(weights: Any, device: Device, config: Any, rng: np.random.Generator) -> Any:
        met.append(rng)
        return roll(weights, device, config, rng)

    monkeypatch.setattr(pulse_training, "rollout", rollout)
    config = pulse_training.PulseTrainingConfig(hidden=4, iterations=1, streams=8, steps=1, seed=3)
    pulse_training.train([WriteVerify(give_up=True).device], config)
    seeds = [seeded(3, purpose).bit_generator.seed_seq.entropy for purpose in (TRAINING, EVALUATION, TUNING)]
    assert [rng.bit_generator.seed_seq.entropy for rng in met] == seeds[:1] and seeds[0] not in seeds[1:]


def test_a_resumed_training_through_the_device_goes_on_with_other_noise_at_the_rate_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("stable_baselines3")
    from agents import training

    met: list[Any] = []
    learn = training.pulse_training.train

    def noted(devices: Any, settings: Any, *more: Any) -> Any:
        met.append(settings)
        return learn(devices, settings, *more)

    monkeypatch.setattr(training.pulse_training, "train", noted)
    config = training.TrainConfig(algo="pulse", envs=8, evaluation_cells=8, max_pulses=2, evaluations=1, steps=2)
    training.train(replace(config, out=tmp_path))
    training.train(replace(config, out=tmp_path, steps=4, resume=True))
    first, second = met
    assert first.seed != second.seed and first.iterations == second.iterations == 2
    assert second.learning_rate == pytest.approx(0.505 * first.learning_rate)  # half-way down the cosine


def test_programming_tunes_on_cells_that_it_does_not_program(
    watch: Watch, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.arrays import programming as command

    monkeypatch.setattr(command, "shipped_or_tuned", watch.named("tuning", command.shipped_or_tuned))
    monkeypatch.setattr(command, "maps", lambda *_: Figure())
    np.save(tmp_path / "w.npy", np.eye(8))
    sizes = {"rows": 8, "cols": 8, "products": 4, "controller": "ispp", "trials": 2}
    command.program(command.ProgramConfig(weights=tmp_path / "w.npy", **sizes, out=tmp_path / "out"))
    assert watch.cells["tuning"] and not watch.cells["tuning"] & watch.cells["training"]


def test_benchmarks_tune_on_seeds_that_their_figures_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import one_pulse
    import product_feedback

    met: list[int] = []
    shoots = one_pulse.shoot

    def shot(policy: Any, task: WriteVerify, cells: int, seed: int, purpose: int) -> Any:
        met.append(purpose)
        return shoots(policy, task, cells, seed, purpose)

    def work(name: str, rng: np.random.Generator, *sizes: int) -> Any:
        met.append(rng.bit_generator.seed_seq.entropy[0])
        return product_feedback.Workload(*np.ones((3, 4, 4)))

    def programmed(method: str, *more: Any) -> dict[str, float]:
        met.append(more[-1][0])
        return dict.fromkeys((*product_feedback.ERRORS, *product_feedback.COSTS), 1.0)

    monkeypatch.setattr(one_pulse, "shoot", shot)
    monkeypatch.setattr(one_pulse, "FACTORS", (0.8, 1.0))
    monkeypatch.setattr(product_feedback, "workload", work)
    monkeypatch.setattr(product_feedback, "program", programmed)
    task = WriteVerify(give_up=True, device="threshold", max_pulses=2)
    config = product_feedback.ProductFeedbackConfig(trials=2, chips=2, device=("threshold",), workloads=("white",))
    product_feedback.learned("threshold", config)
    assert set(met) == {TUNING} and len(met) > 40
    met.clear()
    product_feedback.measure(config, {"threshold": product_feedback.Feedback()})
    assert set(met) == {EVALUATION} and len(met) > 30
    met.clear()
    one_pulse.best_factors(task, one_pulse.OnePulseConfig(cells=20))
    assert met == [TUNING, TUNING, EVALUATION, EVALUATION]


def test_the_products_of_a_benchmark_are_judged_on_inputs_that_feedback_is_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import product_feedback

    given: list[np.ndarray] = []
    write = product_feedback.write_product

    def noted(*arguments: Any, **more: Any) -> Any:
        given.append(arguments[6])
        return write(*arguments, **more)

    monkeypatch.setattr(product_feedback, "write_product", noted)
    work = product_feedback.workload("correlated", np.random.default_rng(0), 6, 3, 30)
    assert not np.isin(work.known, work.held).any()
    larger = work._replace(held=2.0 * work.held)  # the error is a part of the products
    found = [
        product_feedback.program("product", one, "threshold", "history", product_feedback.Feedback(), "erased", (0,))
        for one in (work, larger)
    ]
    assert all(inputs is work.known for inputs in given) and found[0] == pytest.approx(found[1])


def test_a_cell_stays_the_same_as_long_as_it_is_programmed(watch: Watch) -> None:
    task = WriteVerify(give_up=True, device="threshold", max_pulses=8)
    evaluate(ISPP(task=task), task, 20, 0)
    assert watch.chips == 1


def test_only_a_bound_looks_at_the_chip() -> None:
    task = WriteVerify(give_up=True, device="threshold", max_pulses=6)
    for name in [name for name in known_policies(task) if name not in BOUNDS]:
        policy = load_policy(name, task)
        honest = evaluate(policy, task, 12, 0)

        class Blind:
            def begin(self, chip: Any, cells: int, policy: Any = policy) -> Any:
                return policy.begin(None, cells)

            predict = staticmethod(policy.predict)

        np.testing.assert_array_equal(evaluate(Blind(), task, 12, 0).pulses, honest.pulses, err_msg=name)


def test_several_devices_are_trained_on_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from agents.predictor import training as pulse_training
    from memenv import load_device

    met: list[str] = []
    roll = pulse_training.rollout

    def rollout(weights: Any, device: Device, *more: Any) -> Any:
        met.append(device.name)
        return roll(weights, device, *more)

    monkeypatch.setattr(pulse_training, "rollout", rollout)
    config = pulse_training.PulseTrainingConfig(hidden=4, iterations=4, streams=8, steps=1)
    pulse_training.train([load_device(name) for name in ("threshold", "alox-hfo2")], config)
    assert met == ["threshold", "alox-hfo2"] * 2


# -- what a failure costs ----------------------------------------------------------------------------------------------


def test_tuning_pays_for_failures_what_evaluation_counts() -> None:
    task = WriteVerify(give_up=True, device="threshold", max_pulses=7, rounds=2)
    policy = Resigned(task, effort=0.8)
    outcomes = evaluate(policy, task, 200, 3, purpose=TUNING)
    assert 0.1 < outcomes.accepted.mean() < 0.9
    paid = outcomes.pulses + np.where(outcomes.accepted, 0, 7)
    assert cost(policy, task, 200, 3) == pytest.approx(paid.mean())


def test_training_keeps_the_policy_whose_failures_are_paid_as_in_tuning() -> None:
    pytest.importorskip("stable_baselines3")
    from agents import training

    task = WriteVerify(give_up=True, device="threshold", max_pulses=7)
    outcomes = evaluate(Resigned(task, effort=0.5), task, 200, 3, purpose=TUNING)
    figures = training._figures([outcomes], 7)
    assert figures["cost"] == pytest.approx(cost(Resigned(task, effort=0.5), task, 200, 3))
    assert figures["success"] == outcomes.accepted.mean() < 1


def test_what_reinforcement_learning_earns_is_minus_the_cost_of_tuning() -> None:
    pytest.importorskip("stable_baselines3")
    from agents import training

    (task,) = training._tasks(training._completed(training.TrainConfig(max_pulses=30)))
    assert task.weight_acceptance == pytest.approx(task.weight_pulses * 30)


def test_tuning_does_not_learn_to_give_up(small: None) -> None:
    task = WriteVerify(give_up=True, device="threshold", max_pulses=20)
    tuned = tune(Resigned(task, effort=0.2), trials=60, seed=0)
    assert tuned.parameters["effort"] > 0.9


def test_every_generation_is_judged_on_cells_of_its_own_and_the_best_of_the_last_judgement_wins() -> None:
    calls: list[tuple[float, int, int]] = []

    def judged(policy: Any, cells: int, seed: int) -> float:
        calls.append((policy.effort, cells, seed))
        far = abs(policy.effort - 0.3)
        return 1.0 - far if cells == tuning.FINAL_CELLS else far  # of the best, the last judgement prefers the worst

    tuned = tune(Resigned(WriteVerify(give_up=True), effort=0.9), trials=26, seed=5, judged=one_by_one(judged))
    trials, final = calls[:25], calls[25:]
    assert tuned.trials == 25 and calls[0][0] == 0.9 and {cells for _, cells, _ in final} == {tuning.FINAL_CELLS}
    generations = [trials[at : at + 5] for at in range(0, 25, 5)]
    assert [len({seed for *_, seed in one}) for one in generations] == [1] * 5
    assert len({seed for *_, seed in calls}) == 6 and 5 not in {seed for *_, seed in calls}
    sizes = [cells for _, cells, _ in trials]
    assert sizes == sorted(sizes) and sizes[0] == tuning.CELLS < sizes[-1] < tuning.FINAL_CELLS
    assert tuned.policy.effort == tuned.parameters["effort"]
    assert tuned.cost == min(judged(tuned.policy, tuning.FINAL_CELLS, 0), *(1.0 - abs(e - 0.3) for e, *_ in final))
    best = [min(one, key=lambda call: abs(call[0] - 0.3))[0] for one in generations]
    assert {0.9, *best} <= {effort for effort, *_ in final}


def test_loops_and_evaluations_tell_the_same_cost_of_every_parameter_set() -> None:
    pytest.importorskip("numba")
    task = WriteVerify(give_up=True, device="threshold", weight_latency=1e3)
    policies = [ISPP(task=task, step=step, width_level=width) for step, width in ((0.03, 0.0), (0.06, 0.5), (0.2, 1.0))]
    together, alone = on_cells(policies, 6000, 0), [cost(policy, task, 3000, 0) for policy in policies]
    np.testing.assert_allclose(together, alone, rtol=0.04)
    np.testing.assert_array_equal(together[1:3], on_cells(policies[1:3], 6000, 0))  # whatever else is tried


def test_time_has_the_price_at_which_policies_are_trained() -> None:
    task = WriteVerify(give_up=True, device="threshold", weight_latency=200.0, weight_energy=1e6)
    policy = ISPP(task=task)
    outcomes = evaluate(policy, task, 200, 3, purpose=TUNING)
    free = costs(replace(task, weight_latency=0.0, weight_energy=0.0), outcomes)
    np.testing.assert_allclose(costs(task, outcomes) - free, outcomes.latency / 100e-6 + outcomes.energy / 20e-9)
    rewards = evaluate(policy, replace(task, weight_latency=0.0), 200, 3, purpose=TUNING).returns - outcomes.returns
    np.testing.assert_allclose(rewards, 200.0 * outcomes.latency, rtol=1e-5)


def test_a_comparison_judges_the_policy_that_was_tuned_in_the_task_that_was_asked_for(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[tuple[Any, WriteVerify, int, int]] = []

    def judged(policy: Any, task: WriteVerify, cells: int, seed: int, **more: Any) -> Outcomes:
        met.append((policy, task, cells, seed))
        return evaluate(policy, task, cells, seed, **more)

    def tuned(policy: Any, trials: int, seed: int) -> Tuned:
        assert (trials, seed) == (9, 4)
        return Tuned(policy=replace(policy, step=0.2), cost=0.0, trials=trials)

    monkeypatch.setattr(comparison, "evaluate", judged)
    monkeypatch.setattr(comparison, "shipped_or_tuned", tuned)
    options = {"tolerance": 0.05, "max_pulses": 6, "rounds": 2, "confirm_reads": 1, "cells": 10, "seed": 4, "trials": 9}
    compare(CompareConfig(device=("threshold",), controllers=("ispp",), out=tmp_path, **options))
    ((policy, task, cells, seed),) = met
    assert policy.step == 0.2 and (cells, seed) == (10, 4)
    assert (task.tolerance, task.max_pulses, task.rounds, task.confirm_reads) == (0.05, 6, 2, 1)


# -- what figures mean -------------------------------------------------------------------------------------------------


def made(rng: np.random.Generator, cells: int) -> tuple[Outcomes, dict[str, float]]:
    """Outcomes of a made-up controller, and what its figures are in truth."""
    accepted = rng.random(cells) < 0.7
    pulses = rng.gamma(4.0, 1.25, cells)
    error, energy, latency = rng.standard_normal(cells), rng.gamma(2.0, 1.0, cells), rng.random(cells)
    false = accepted & (rng.random(cells) < 0.2)
    outcomes = Outcomes(
        pulses=pulses,
        reads=pulses + 1.0,
        accepted=accepted,
        acceptances=accepted.astype(int),
        false_acceptances=false.astype(float),
        error=error,
        energy=energy,
        latency=latency,
        returns=accepted - 0.02 * pulses,
        round_pulses=np.where(accepted, pulses, np.nan)[:, None],
        error_by_pulse=np.zeros(51),
        handed_over=np.zeros_like(accepted),
        examples=(),
    )
    truth = {
        "pulses_mean": 5.0,
        "pulses_per_accepted": 5.0 / 0.7,
        "pulses_median": float(gamma.median(4.0, scale=1.25)),
        "return_mean": 0.7 - 0.02 * 5.0,
        "success_rate": 0.7,
        "false_acceptance_rate": 0.2,
        "error_rms": 1.0,
        "energy_mean": 2.0,
        "latency_mean": 0.5,
    }
    return outcomes, truth


def check_coverage(inside: list[list[bool]]) -> None:
    """Of the intervals (experiments, figures) 95 % hold the truth: neither 90 nor 99, and of no figure only 80."""
    shares = np.mean(inside, axis=0)
    assert 0.93 < shares.mean() < 0.97 and (shares > 0.87).all() and (shares < 0.995).all(), shares


def test_intervals_of_a_comparison_cover_the_truth_in_95_of_100_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "RESAMPLES", 400)
    rng = np.random.default_rng(1)
    inside = []
    for number in range(150):
        outcomes, truth = made(rng, 150)
        found = metrics(outcomes, number)
        inside.append([found[f"{name}_low"] <= value <= found[f"{name}_high"] for name, value in truth.items()])
    check_coverage(inside)


def test_intervals_of_means_cover_the_truth_in_95_of_100_experiments() -> None:
    rng = np.random.default_rng(2)
    found = [mean_and_half_width(rng.gamma(4.0, 1.25, 150)) for _ in range(1000)]
    check_coverage([[abs(mean - 5.0) <= half] for mean, half in found])


def test_intervals_of_benchmarks_cover_the_truth_in_95_of_100_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "RESAMPLES", 400)
    rng = np.random.default_rng(3)
    inside = []
    for number in range(400):
        total, count = rng.gamma(4.0, 1.25, 150), rng.integers(1, 4, 150)
        found = reporting.mean_interval(total, number), reporting.ratio_interval(total, count, number)
        inside.append([low <= truth <= high for (_, low, high), truth in zip(found, (5.0, 2.5), strict=True)])
    check_coverage(inside)


def test_paired_intervals_cover_a_difference_that_intervals_of_both_sides_would_hide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "RESAMPLES", 400)
    rng = np.random.default_rng(6)
    inside, seen, apart = [], [], []
    for number in range(400):
        cell = rng.gamma(4.0, 1.25, 150)  # what both controllers meet
        mine, rival = cell + rng.normal(0.0, 0.5, 150), cell + rng.normal(0.2, 0.5, 150)
        _, low, high = reporting.paired_interval(mine, rival, number)
        inside.append([low <= -0.2 <= high])
        seen.append(high < 0.0)
        apart.append(reporting.mean_interval(mine, number)[2] < reporting.mean_interval(rival, number + 1000)[1])
    check_coverage(inside)
    assert np.mean(seen) > 0.85 and np.mean(apart) < 0.05


def test_an_interval_over_seeds_is_one_over_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import ppo_learning

    monkeypatch.setattr(ppo_learning, "RESAMPLES", 400)
    curves = np.random.default_rng(4).standard_normal((200, 16))  # points, seeds
    middle, low, high = ppo_learning.summarise(curves)
    assert middle.shape == low.shape == high.shape == (200,)
    assert 0.88 < np.mean((low <= 0) & (high >= 0)) < 0.98  # of 16 seeds a bootstrap covers 93 %


def test_percentiles_and_means_are_over_all_cells_and_errors_over_the_accepted() -> None:
    outcomes, _ = made(np.random.default_rng(5), 1000)
    found, wins = summary(outcomes), outcomes.accepted
    for name, share in (("median", 50), ("p95", 95), ("p99", 99)):
        assert found[f"pulses_{name}"] == np.percentile(outcomes.pulses, share)
    assert found["pulses_per_accepted"] == pytest.approx(outcomes.pulses.sum() / wins.sum())
    assert found["false_acceptance_rate"] == pytest.approx(outcomes.false_acceptances.sum() / wins.sum())
    assert found["error_rms"] == pytest.approx(np.sqrt(np.mean(outcomes.error[wins] ** 2)))
    assert found["energy_mean"] == pytest.approx(outcomes.energy.mean())
    assert found["latency_mean"] == pytest.approx(outcomes.latency.mean())


def test_a_cell_that_is_never_accepted_takes_its_whole_budget_and_no_more() -> None:
    task = WriteVerify(give_up=True, device="threshold", tolerance=0.005, max_pulses=5)
    outcomes = evaluate(ISPP(task=task, patience=np.inf, set_start=0.0, reset_start=0.0, step=0.005), task, 300, 0)
    lost = ~outcomes.accepted
    assert lost.any() and (outcomes.pulses[lost] == 5).all() and outcomes.pulses.max() == 5
    assert np.isnan(outcomes.round_pulses[lost]).all()


def test_outcomes_are_those_of_the_last_step_and_of_the_truth() -> None:
    task = WriteVerify(give_up=True, device="hfo2-array-om", max_pulses=6)
    outcomes = evaluate(HistoryInverse(task=task), task, 400, 0)
    wins, wrong = outcomes.accepted, np.abs(outcomes.error) > task.tolerance
    np.testing.assert_array_equal(outcomes.false_acceptances, wins & wrong)
    assert (wins & wrong).any() and (~wins).any()
    np.testing.assert_array_equal(outcomes.acceptances, wins)


# -- what training maximises -------------------------------------------------------------------------------------------


def test_returns_are_the_sums_of_the_rewards_of_whole_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WriteVerify, "reward", lambda _, last: {"a": 1.0 * last.pulsed, "b": 2.0 * last.accepted})
    task = WriteVerify(rounds=2, max_pulses=9)
    outcomes = evaluate(ISPP(task=task), task, CELLS, 0)
    assert 0 < outcomes.accepted.sum() < CELLS
    np.testing.assert_array_equal(outcomes.returns, outcomes.pulses + 2.0 * outcomes.acceptances)


def test_the_acceptance_that_training_maximises_is_that_of_noisy_reads() -> None:
    torch = pytest.importorskip("torch")
    from agents.predictor.policy import Decision
    from agents.predictor.training import acceptance

    device = load_quiet(read_noise=0.02)
    cells = 4000
    one = torch.ones(cells)
    decision = Decision(one * device.set.amplitude, one * device.set.width, one)
    state = device.fresh(0.3 * one, torch.zeros(2, cells))
    noise = torch.randn(3, cells, generator=torch.Generator().manual_seed(0))
    reads, _ = device.sense(
        device.pulse(state, *decision[:2], noise), torch.randn(2, cells, generator=torch.Generator().manual_seed(1))
    )
    seen = (reads - device.g_min) / (device.g_max - device.g_min)
    for off in (0.0, 0.02, 0.05):
        target = one * (float(seen.mean()) + off)
        expected = float(((seen - target).abs() <= 0.02).float().mean())
        told = acceptance(device, state, decision, target, 0.02 * one, device.read.noise)
        assert float(told.mean()) == pytest.approx(expected, abs=0.03)


def test_training_tells_the_acceptance_the_noise_of_the_devices_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from agents.predictor import training as pulse_training
    from agents.predictor.gru import Weights, initial_weights
    from agents.predictor.policy import FEATURES, OUTPUTS

    told: list[float] = []
    accept = pulse_training.acceptance

    def noted(*arguments: Any) -> Any:
        told.append(arguments[-1])
        return accept(*arguments)

    monkeypatch.setattr(pulse_training, "acceptance", noted)
    rng = np.random.default_rng(0)
    weights = Weights(*(torch.tensor(part, dtype=torch.float32) for part in initial_weights(rng, FEATURES, 4, OUTPUTS)))
    config = pulse_training.PulseTrainingConfig(hidden=4, streams=8, steps=2)
    pulse_training.rollout(weights, load_quiet(read_noise=0.03), config, rng)
    assert told == [0.03, 0.03]


def load_quiet(read_noise: float) -> Device:
    """A device whose reads are noisy and whose pulses hardly are."""
    from memenv import load_device
    from memenv.devices.device import Mismatch
    from memenv.devices.reads import Read

    device = load_device("threshold")
    return device.replace(mismatch=Mismatch(), read=Read(noise=read_noise))


# -- what a step is paid -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [1, 2])
def test_energy_and_latency_are_paid_step_by_step(rounds: int) -> None:
    from memenv.envs import TaskVectorEnv

    task = WriteVerify(device="threshold", tolerance=0.005, rounds=rounds, weight_energy=1e9, weight_latency=1e4)
    env = TaskVectorEnv(task, 8, "Disabled")
    env.reset(seed=0)
    rng, paid = np.random.default_rng(0), {"energy": 0.0, "latency": 0.0}
    for _ in range(4):
        action = rng.uniform(-1, 1, (8, 3)).astype(np.float32)
        _, _, over, _, info = env.step(action)
        assert not over.any()
        paid = {name: paid[name] + info[f"reward/{name}"] for name in paid}
        np.testing.assert_allclose(paid["energy"], -1e9 * info["energy"], rtol=1e-6)
        np.testing.assert_allclose(paid["latency"], -1e4 * info["latency"], rtol=1e-6)


def test_arrays_pay_for_energy_and_latency_step_by_step() -> None:
    from memenv.envs import CrossbarProgram, TaskVectorEnv

    task = CrossbarProgram(device="threshold", rows=3, cols=3, weight_energy=1e9, weight_latency=1e4)
    env = TaskVectorEnv(task, 2, "Disabled")
    env.reset(seed=0)
    env.action_space.seed(0)
    paid = {"energy": 0.0, "latency": 0.0}
    for _ in range(3):
        *_, info = env.step(env.action_space.sample())
        paid = {name: paid[name] + info[f"reward/{name}"] for name in paid}
    np.testing.assert_allclose(paid["energy"], -1e9 * info["energy"], rtol=1e-5)
    np.testing.assert_allclose(paid["latency"], -1e4 * info["latency"], rtol=1e-5)
