"""The registered ids: what they fix, how long their episodes are, and that nothing contradicts them."""

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
    assert spec.max_episode_steps == variant.max_episode_steps == task.max_steps


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.fixed])
def test_what_an_id_fixes_is_refused_as_an_argument(name):
    own, value = next(iter(VARIANTS[name].fixed.items()))
    for make in (gym.make, gym.make_vec):
        with pytest.raises(TaskError, match=f"{own} is given, and memenv/{name}-v0 is made with {own}=.*leave it out"):
            make(f"memenv/{name}-v0", **{own: value})


def test_an_unknown_variant_is_refused_with_those_that_there_are():
    with pytest.raises(TaskError, match="variant is 'WriteVerifyMenu', allowed are None, WriteVerify, WriteVerifyDisc"):
        gym.make("memenv/WriteVerify-v0", variant="WriteVerifyMenu")
