"""The registered ids: what they fix, how long their episodes are, and that nothing contradicts them."""

import functools

import gymnasium as gym
import pytest

import memenv  # noqa: F401, registers
from memenv.envs import TaskError
from memenv.envs.variants import VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_an_id_makes_its_task_alone_and_in_batches_and_states_its_length_and_its_score(name):
    variant = VARIANTS[name]
    spec = gym.spec(f"memenv/{name}-v0")
    assert spec.reward_threshold == variant.reward_threshold
    env, envs = gym.make(spec.id), gym.make_vec(spec.id, num_envs=2)
    task = env.unwrapped.task
    for own, value in variant.fixed.items():
        assert getattr(task, own) == getattr(envs.unwrapped.task, own) == value
    assert spec.max_episode_steps == variant.max_episode_steps == getattr(task, "episode_steps", task.max_steps)


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.fixed])
def test_what_an_id_fixes_is_refused_as_an_argument(name):
    own, value = next(iter(VARIANTS[name].fixed.items()))
    for make in (gym.make, gym.make_vec):
        with pytest.raises(TaskError, match=f"{own} is given, and memenv/{name}-v0 is made with {own}=.*leave it out"):
            make(f"memenv/{name}-v0", **{own: value})


@pytest.mark.parametrize(
    ("name", "variant"),
    [("WriteVerify", "WriteVerifyGoal"), ("WriteVerifyDiscrete", "WriteVerifyGoal"), ("WriteVerifyDiscrete", None)],
)
def test_an_id_does_not_make_the_environment_of_another(name, variant):
    for make in (gym.make, gym.make_vec, functools.partial(gym.make_vec, vectorization_mode="sync")):
        with pytest.raises(TaskError, match=f"variant is {variant!r}, and memenv/{name}-v0 has its own: leave it out"):
            make(f"memenv/{name}-v0", variant=variant)
    again = gym.make(gym.make(f"memenv/{name}-v0").spec)
    assert again.unwrapped.spec.kwargs == gym.spec(f"memenv/{name}-v0").kwargs


def test_an_unknown_variant_is_refused_with_those_that_there_are():
    with pytest.raises(TaskError, match="variant is 'WriteVerifyMenu', allowed are None, WriteVerify, WriteVerifyDisc"):
        gym.make("memenv/WriteVerify-v0", variant="WriteVerifyMenu")


def test_more_pulses_than_the_limit_of_the_id_are_warned_of_unless_it_is_raised():
    env = gym.make("memenv/WriteVerify-v0", max_pulses=60)
    envs = gym.make_vec("memenv/WriteVerify-v0", num_envs=2, max_pulses=60)
    env.reset(seed=0, options={"start": 2e-6, "target": 5e-5})
    for _ in range(50):  # RESETs, away from the target
        _, _, terminated, truncated, _ = env.step(env.action_space.sample() * 0)
    assert truncated and not terminated
    for shell in (env, envs):
        with pytest.warns(UserWarning, match="truncated after 50 steps, .* allow 60: pass max_episode_steps=60"):
            shell.reset()
    longer = gym.make("memenv/WriteVerify-v0", max_pulses=60, max_episode_steps=60)
    longer.reset(seed=0, options={"start": 2e-6, "target": 5e-5})
    for _ in range(60):
        _, _, terminated, truncated, _ = longer.step(longer.action_space.sample() * 0)
    assert truncated and terminated
    longer.reset()
    gym.make_vec("memenv/WriteVerify-v0", num_envs=2, max_pulses=60, max_episode_steps=60).reset()
