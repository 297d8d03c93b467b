"""TorchRL as a client: specs, infos, masks, and the native batch."""

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode
from registered import CELL, IDS, MENU

pytest.importorskip("torchrl", reason="TorchRL is not installed: extra clients")

import torch
from torchrl.envs import ActionMask, GymEnv, GymWrapper, TransformedEnv
from torchrl.envs.utils import check_env_specs

RANDOM = 0


def with_infos(name, arguments):
    """A single environment whose infos TorchRL reads."""
    return GymEnv(name, **arguments).auto_register_info_dict()


def batch(mode):
    """The native batch of four cells, whose episodes are cut after five steps."""
    return GymWrapper(gym.make_vec(CELL[0], num_envs=4, autoreset_mode=mode, max_episode_steps=5))


@pytest.mark.parametrize("name", IDS)
def test_what_an_id_says_is_what_its_specs_promise(name):
    check_env_specs(GymEnv(name), seed=RANDOM)


@pytest.mark.parametrize("name", IDS)
def test_every_info_is_read(name):
    env = with_infos(name, {})
    check_env_specs(env, seed=RANDOM)
    given = set(gym.make(name).reset(seed=RANDOM)[1])
    assert given <= set(env.rollout(3)["next"].keys())


def test_masks_keep_random_actions_to_sensible_ones():
    env = TransformedEnv(with_infos(*MENU), ActionMask())
    check_env_specs(env, seed=RANDOM)
    seen = env.rollout(40, break_when_any_done=False)
    allowed, chosen = seen["action_mask"], seen["action"]
    assert not allowed.all(-1).any() and len(chosen) == 40
    assert allowed[chosen.bool()].all()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_the_native_batch_runs_whole_episodes_one_after_another(mode):
    env = batch(mode)
    check_env_specs(env, seed=RANDOM)
    seen = env.rollout(30, break_when_any_done=False)
    done, step = seen["next", "done"][..., 0], torch.zeros(4, dtype=int)
    for now in done.T:
        step += 1
        assert (step <= 5).all()
        step[now] = 0
    assert done.sum() >= 4 * 5
    following = seen["next", "observation"][:, :-1] == seen["observation"][:, 1:]
    assert following.all(-1)[~done[:, :-1]].all() and not following.all(-1)[done[:, :-1]].any()


def test_next_step_is_refused():
    """The trap of docs/clients.md: where TorchRL takes it, that page changes."""
    with pytest.raises(RuntimeError, match="SAME_STEP or DISABLED"):
        batch(AutoresetMode.NEXT_STEP)
