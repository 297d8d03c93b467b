"""Who decides how a chip learns: controllers as they are described, equal chances for all, the agent and its file."""

import json
from dataclasses import replace

import numpy as np
import pytest

from agents.evaluation import TUNING
from agents.few_shot.agent import FewShotAgent, shipped_agent
from agents.few_shot.schedules import ConstantRate, DecayingRate, Schedule, UntilLoss, learn, own_schedule
from agents.tuning import one_by_one, tune
from memenv.envs import FewShot
from memenv.envs.few_shot.actions import SPAN
from memenv.envs.few_shot.observation import LearningView
from memenv.few_shot import bank


@pytest.fixture(scope="module")
def task() -> FewShot:
    """A small one, for which an encoder takes no time."""
    few = bank.glyph_split("train").select(np.arange(8))
    return FewShot(init="random", ways=3, queries=2, max_steps=4, characters=few, device=["alox-hfo2", "enode-sandia"])


def observed(task: FewShot, *, step=0, loss=1.0, fall=0.0, gain=1.0) -> np.ndarray:
    """An observation of one task."""
    none, of_layer = np.zeros(1), np.zeros((1, 1))
    view = LearningView(
        budget=none + 1 - step / task.max_steps,
        loss=none + loss,
        fall=none + fall,
        support=none + 0.5,
        worst=none + loss,
        pulses=none,
        last_pulses=none,
        signal=of_layer + np.log(gain) / np.log(SPAN),
        gradient=of_layer,
        limited=of_layer,
        saturated=of_layer,
    )
    return task.observations.observed(view)


def chosen(policy, task: FewShot, **seen) -> tuple[float, bool]:
    """Gain and whether it stops."""
    choice = task.actions.decoded(policy.predict(observed(task, **seen))[0])
    return float(choice.gain[0, 0]), bool(choice.stop[0])


def test_rates_stay_decay_or_follow_the_schedule_and_then_stop(task):
    constant = ConstantRate(task=task, gain=0.5, steps=2.4)
    decaying = DecayingRate(task=task, gain=2.0, decay=0.5, steps=3)
    schedule = Schedule(task=task, gains=(3.0, 0.3), steps=4)
    for policy, gains in ((constant, [0.5, 0.5]), (decaying, [2.0, 1.0, 0.5]), (schedule, [3.0, 0.3])):
        for step, gain in enumerate(gains):
            assert chosen(policy, task, step=step) == (pytest.approx(gain, rel=1e-5), False)
        assert chosen(policy, task, step=len(gains))[1]


def test_the_initialisations_own_schedule_has_its_rates(tmp_path, task):
    start = replace(task.start, rates=np.array([[0.4], [0.1], [0.1]]))
    start.save(tmp_path / "own.npz")
    own = own_schedule(replace(task, init=str(tmp_path / "own.npz")))
    assert own.gains == pytest.approx((2.0, 0.5, 0.5))
    assert chosen(own, task, step=1) == (pytest.approx(0.5, rel=1e-5), False) and chosen(own, task, step=3)[1]
    assert own_schedule(replace(own.task, max_steps=2)).gains == pytest.approx((2.0, 0.5))


def test_any_rule_may_begin_with_class_means_and_goes_on_from_there(task):
    until = UntilLoss(task=task, gain=0.5, loss=0.2, threshold=0.1, written=1.0, size=2.0, tolerance=0.7)
    first, later = (task.actions.decoded(until.predict(observed(task, step=step))[0]) for step in (0, 1))
    assert (first.means[0], later.means[0]) == (True, False)
    np.testing.assert_allclose([first.gain[0, 0], later.gain[0, 0]], [2.0, 0.5], rtol=1e-5)
    np.testing.assert_allclose([first.threshold[0], later.threshold[0]], [0.7, 0.1], rtol=1e-5)
    assert chosen(until, task, loss=0.1) == (pytest.approx(2.0, rel=1e-5), False)  # not before they are written


def test_feedback_stops_at_a_small_loss(task):
    until = UntilLoss(task=task, gain=0.5, loss=0.2)
    assert chosen(until, task, loss=0.3) == (pytest.approx(0.5, rel=1e-5), False) and chosen(until, task, loss=0.1)[1]


def test_everyone_meets_the_same_tasks_chips_and_noise(task):
    idle, again = (learn(ConstantRate(task=task, steps=steps), task, 20, 3) for steps in (0.5, 0.5))
    for first, second in zip(idle, again, strict=True):
        np.testing.assert_array_equal(first, second)
    late = learn(Schedule(task=task, gains=(1.0, 1.0, 1.0), steps=3.0), task, 20, 3)
    mixed = learn(DecayingRate(task=task, gain=1.0, decay=1.0, steps=3.0), task, 20, 3)
    np.testing.assert_array_equal(late.accuracy, mixed.accuracy)
    other = learn(ConstantRate(task=task, steps=0.5), task, 20, 3, TUNING)
    assert (other.accuracy != idle.accuracy).any()


def test_an_episode_does_not_depend_on_when_those_beside_it_end(task):
    class Impatient(ConstantRate):
        def choose(self, view, step):
            gain, stop = super().choose(view, step)
            return gain, stop | (np.arange(len(step)) == 3) & (len(step) == 20)

    whole = learn(ConstantRate(task=task, steps=4.0), task, 20, 0)
    part = learn(Impatient(task=task, steps=4.0), task, 20, 0)
    others = np.arange(20) != 3
    np.testing.assert_array_equal(whole.accuracy[others], part.accuracy[others])
    assert part.steps[3] == 0 and (part.steps[others] == 4).all()


def test_a_reward_is_what_the_queries_gained_less_what_the_pulses_cost(task):
    learnt = learn(ConstantRate(task=task, gain=0.3, steps=2.0), task, 30, 0)
    idle = learn(ConstantRate(task=task, steps=0.5), replace(task, device="ideal"), 30, 0)
    assert (learnt.steps == 2).all() and (learnt.energy > 0).all()
    chance = learnt.accuracy - learnt.reward - task.weight_pulses * learnt.pulses
    assert abs(chance.mean() - 1 / 3) < 0.15 and idle.pulses.max() == 0


def test_tuning_takes_tuples_of_parameters(task):
    wanted = np.array([0.2, 5.0])

    def cost(policy: Schedule, cells: int, seed: int) -> float:
        return float(np.abs(np.log(policy.gains) - np.log(wanted)).sum())

    start = Schedule(task=task, gains=(1.0, 1.0), steps=2.0)
    tuned = tune(start, 200, 0, judged=one_by_one(cost))
    assert isinstance(tuned.policy.gains, tuple) and len(tuned.policy.gains) == 2
    assert tuned.cost < 0.25 * cost(start, 1, 0)


# -- the agent ---------------------------------------------------------------------------------------------------------


def test_an_agent_survives_its_file_and_does_not_fit_another_task(tmp_path, rng, task):
    weights = tuple(rng.standard_normal(shape).astype(np.float32) for shape in ((12, 5), (6, 5)))
    agent = FewShotAgent(weights=weights, card='{"seed": 1}')
    agent.save(tmp_path / "agent.npz")
    again = FewShotAgent.load(tmp_path / "agent.npz").fits(task)
    assert again.card == agent.card
    action, _ = again.predict(observed(task))
    np.testing.assert_array_equal(action, agent.predict(observed(task))[0])
    assert task.action_space.contains(action[0])
    with pytest.raises(ValueError, match=r"made for \(11, 5\) observations and actions, the task has \(15, 6\)"):
        again.fits(replace(task, network="mlp"))


def test_an_agent_of_the_first_format_sees_what_it_was_trained_on(rng, task):
    weights = (np.eye(11, dtype=np.float32), np.zeros((1, 11), np.float32))
    agent = FewShotAgent(weights=(np.vstack(weights)[:, [0, 1, 2, 3]],), format=1)
    seen = observed(task, step=1, loss=0.3, fall=0.2)
    np.testing.assert_allclose(agent.predict(seen)[0], [[0.75, 0.3, 0.2, -1.0, 0.5]], rtol=1e-5)


@pytest.mark.parametrize("content", [b"", b"PK nonsense", None])
def test_a_missing_or_damaged_file_is_no_agent(tmp_path, content):
    path = tmp_path / "agent.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="is no few-shot agent"):
        FewShotAgent.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight0": np.full((12, 5), np.nan)}, "60 of 60 numbers in weight0 are NaN"),
        ({"weight0": np.ones((12, 5), complex)}, "weight0 is of type complex128"),
        ({"weight1": np.ones((7, 4))}, "are no layers"),
        ({"weight2": np.ones((5, 4)), "weight4": np.ones((5, 4))}, "it lacks weight3"),
        ({"format": np.array(4)}, "it has the format 4, this program reads 1 to 3"),
        ({"format": np.array("1")}, "format is of type <U1"),
    ],
)
def test_nothing_of_an_agent_is_taken_in_part(changes, message, tmp_path):
    arrays = {"weight0": np.ones((12, 5)), "weight1": np.ones((6, 4)), "format": np.array(1)}
    np.savez(tmp_path / "agent.npz", **arrays | changes)
    with pytest.raises(ValueError) as error:
        FewShotAgent.load(tmp_path / "agent.npz")
    assert "agent.npz is no few-shot agent: " in str(error.value) and message in str(error.value)


def test_training_is_reproducible_and_the_export_decides_as_the_model_does(task, monkeypatch):
    pytest.importorskip("stable_baselines3")
    from agents.few_shot import training as few_shot_training
    from agents.few_shot.training import exported, ppo, train

    monkeypatch.setattr(few_shot_training, "ENVS", 8)
    monkeypatch.setattr(few_shot_training, "ROLLOUT", 8)
    seen: list[int] = []
    agents = [train(task, 100, seed=0, judge=lambda steps, agent: seen.append(steps)) for _ in range(2)]
    for first, second in zip(agents[0].weights, agents[1].weights, strict=True):
        np.testing.assert_array_equal(first, second)
    assert seen == [64, 64]
    model = ppo(task, seed=0)
    observation = model.env.reset()
    np.testing.assert_allclose(
        exported(model, "{}").predict(observation)[0], model.predict(observation, None, None, True)[0], atol=1e-5
    )


def test_the_shipped_agent_beats_constant_rates_on_tasks_and_chips_that_it_has_never_seen():
    task = FewShot(split="test")
    agent = shipped_agent(task)
    assert json.loads(agent.card)["init"] == task.init
    learnt = learn(agent, task, 200, 0)
    constant = learn(ConstantRate(task=task, gain=0.25, steps=5), task, 200, 0)  # about as many pulses
    assert learnt.reward.mean() > constant.reward.mean() + 0.01
    assert learnt.accuracy.mean() > constant.accuracy.mean() + 0.01
