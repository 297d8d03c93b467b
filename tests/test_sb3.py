"""The adapter to stable-baselines3: what it says is what SB3's own vector environment says, step for step."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import memenv

pytest.importorskip("stable_baselines3")

from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from agents.sb3.vec_env import GymVecEnv

SAME_STEP = AutoresetMode.SAME_STEP


def pair(make, envs):
    """The same single environments under the adapter and under SB3's DummyVecEnv."""
    return GymVecEnv(SyncVectorEnv([make] * envs, autoreset_mode=SAME_STEP)), DummyVecEnv([make] * envs)


def native(envs=1, **task):
    return GymVecEnv(gym.make_vec("memenv/WriteVerify-v0", num_envs=envs, autoreset_mode=SAME_STEP, **task))


def assert_same_transitions(ours, theirs, steps, seed=5):
    """Both say the same for `steps` steps of random actions; the number of terminated and of truncated episodes."""
    ours.seed(seed)
    theirs.seed(seed)
    ours.action_space.seed(seed)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    np.testing.assert_equal(ours.reset_infos, theirs.reset_infos)
    ended = [0, 0]
    for _ in range(steps):
        action = np.stack([ours.action_space.sample() for _ in range(ours.num_envs)])
        got, expected = ours.step(action), theirs.step(action)
        for a, b in zip(got[:3], expected[:3], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        for done, own, other in zip(got[2], got[3], expected[3], strict=True):
            if done:
                np.testing.assert_equal(own, other)  # terminal_observation and TimeLimit.truncated among the rest
                ended[own["TimeLimit.truncated"]] += 1
            else:
                assert own == {}
    return ended


def test_cart_pole_is_that_of_sb3_with_terminated_and_truncated_episodes():
    terminated, truncated = assert_same_transitions(
        *pair(lambda: gym.make("CartPole-v1", max_episode_steps=20), 4), 300
    )
    assert terminated > 5 and truncated > 5


def test_pendulum_is_that_of_sb3_with_truncated_episodes_only():
    terminated, truncated = assert_same_transitions(*pair(lambda: gym.make("Pendulum-v1", max_episode_steps=9), 3), 60)
    assert terminated == 0 and truncated == 3 * 6


@pytest.mark.parametrize("action", ["continuous", "discrete"])
def test_memenv_single_environments_are_those_of_sb3(action):
    def make():
        return gym.make("memenv/WriteVerify-v0", max_pulses=6, max_episode_steps=5, tolerance=0.1, action=action)

    terminated, truncated = assert_same_transitions(*pair(make, 3), 100)
    assert terminated > 5 and truncated > 5


def test_memenv_native_batch_of_one_is_the_single_environment_of_sb3():
    ours = native(max_pulses=6, history=2)
    theirs = DummyVecEnv([lambda: gym.make("memenv/WriteVerify-v0", max_pulses=6, history=2)])
    terminated, _ = assert_same_transitions(ours, theirs, 200)
    assert terminated > 20


def test_infos_that_only_some_environments_have_stay_theirs():
    class Counts(gym.Wrapper):
        def step(self, action):
            *rest, info = self.env.step(action)
            odd = {"odd": {"pulses": info["pulses"]}} if info["pulses"] % 2 else {}
            return *rest, info | odd

    terminated, _ = assert_same_transitions(
        *pair(lambda: Counts(gym.make("memenv/WriteVerify-v0", max_pulses=9)), 3), 100
    )
    assert terminated > 5


def test_next_step_autoreset_is_refused():
    with pytest.raises(ValueError, match=r"NEXT_STEP.*autoreset_mode=AutoresetMode.SAME_STEP"):
        GymVecEnv(gym.make_vec("memenv/WriteVerify-v0", num_envs=2))


def test_equal_seeds_give_equal_episodes_and_the_next_reset_is_new():
    def episodes(seed):
        env = native(3)
        env.seed(seed)
        return env.reset(), env.step(np.full((3, 3), 0.5, np.float32))[0], env.reset()

    first, again, other = episodes(1), episodes(1), episodes(2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[0], first[2])


def test_monitor_counts_length_and_return_on_top():
    env = VecMonitor(native(8, max_pulses=4), info_keywords=("is_success", "pulses"))
    env.seed(0)
    env.reset()
    episodes = []
    for _ in range(30):
        infos = env.step(np.full((8, 3), 0.3, np.float32))[3]
        episodes += [info["episode"] for info in infos if "episode" in info]
    assert len(episodes) > 30
    for episode in episodes:
        assert episode["l"] == episode["pulses"] <= 4
        won = episode["is_success"]
        assert won == (episode["r"] > 0)


def test_normalize_scales_observations_and_terminal_observations_on_top():
    env, plain = VecNormalize(native(64, max_pulses=3)), native(64, max_pulses=3)
    for each in (env, plain):
        each.seed(0)
        each.reset()
    action = np.full((64, 3), 0.2, np.float32)
    for _ in range(3):
        scaled, _, done, infos = env.step(action)
        raw, _, _, raw_infos = plain.step(action)
    np.testing.assert_allclose(env.unnormalize_obs(scaled), raw, atol=1e-3)
    assert done.sum() > 10 and 0.5 < scaled.std() < 2
    for row in np.flatnonzero(done):
        terminal = env.unnormalize_obs(infos[row]["terminal_observation"])
        np.testing.assert_allclose(terminal, raw_infos[row]["terminal_observation"], atol=1e-3)


@pytest.mark.parametrize("envs", [1, 5])
def test_masks_reach_maskable_ppo(envs):
    env = native(envs, action="discrete")
    env.seed(0)
    observation = env.reset()
    assert is_masking_supported(env)
    masks = get_action_masks(env)
    assert masks.shape == (envs, env.action_space.n) and masks.dtype == bool
    np.testing.assert_array_equal(masks[:, 0], observation[:, 2] < 0)  # SET where the read is below the target
    assert not is_masking_supported(
        GymVecEnv(SyncVectorEnv([lambda: gym.make("CartPole-v1")], autoreset_mode=SAME_STEP))
    )


def test_masks_of_single_environments_are_those_of_the_native_batch():
    single, _ = pair(lambda: gym.make("memenv/WriteVerify-v0", action="discrete").unwrapped, 1)
    batch = native(1, action="discrete")
    for env in (single, batch):
        env.seed(3)
        env.reset()
        env.step(np.zeros(1, int))
    np.testing.assert_array_equal(get_action_masks(single), get_action_masks(batch))


def test_attributes_and_methods_are_answered_for_the_indices_asked():
    env = native(4, action="discrete")
    env.reset()
    assert env.get_attr("num_envs", indices=[0, 2]) == [4, 4]
    assert len(env.env_method("action_masks", indices=1)) == 1
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 4
    with pytest.raises(ValueError, match="for all"):
        env.set_attr("max_episode_steps", 3, indices=0)
    env.set_attr("max_episode_steps", 3)
    assert env.get_attr("max_episode_steps") == [3] * 4


def test_options_reach_the_reset():
    env = native(2)
    env.set_options({"chip_seed": 4, "target": 30e-6})
    env.reset()
    device = memenv.load_device("threshold")
    conductance = 30e-6 - device.g_min
    np.testing.assert_allclose(
        [obs[1] for obs in env.env.reset(options={"target": 30e-6})[0]],
        2 * conductance / (device.g_max - device.g_min) - 1,
    )
    env.set_options([{"chip_seed": 1}, {"chip_seed": 2}])
    with pytest.raises(ValueError, match="one for all"):
        env.reset()
