"""stable-baselines3 and sb3-contrib as clients: their own check, and every algorithm for a few steps."""

import gymnasium as gym
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from registered import CELL, IDS, MENU

pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

import sb3_contrib as contrib
from stable_baselines3 import DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env

from agents.sb3.vec_env import GymVecEnv

STEPS = 128
ON = {"n_steps": 32, "batch_size": 32, "n_epochs": 1}
OFF = {"learning_starts": 64, "train_freq": 8, "batch_size": 16}
ALGORITHMS = {
    "PPO": (PPO, CELL, "MlpPolicy", ON),
    "RecurrentPPO": (contrib.RecurrentPPO, CELL, "MlpLstmPolicy", ON),
    "SAC": (SAC, CELL, "MlpPolicy", OFF),
    "TD3": (TD3, CELL, "MlpPolicy", OFF),
    "TQC": (contrib.TQC, CELL, "MlpPolicy", OFF),
    "DQN": (DQN, MENU, "MlpPolicy", OFF),
    "QRDQN": (contrib.QRDQN, MENU, "MlpPolicy", OFF),
    "MaskablePPO": (contrib.MaskablePPO, MENU, "MlpPolicy", ON),
}


def single(name, arguments):
    """Two single environments, as most people make them."""
    return make_vec_env(name, n_envs=2, seed=0, env_kwargs=arguments | {"max_episode_steps": 6})


def native(name, arguments):
    """The native batch of two."""
    more = {"autoreset_mode": AutoresetMode.SAME_STEP, "max_episode_steps": 6}
    return GymVecEnv(gym.make_vec(name, num_envs=2, **more, **arguments))


def observations(name):
    """The observation space of an id."""
    return gym.make(name).observation_space


@pytest.mark.parametrize("name", IDS)
def test_the_check_of_stable_baselines_finds_nothing_to_say(name):
    check_env(gym.make(name).unwrapped)  # as Gymnasium's wrappers hide compute_reward


@pytest.mark.parametrize("door", [single, native])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_learns_and_sees_who_succeeded(algorithm, door):
    kind, (name, arguments), policy, settings = ALGORITHMS[algorithm]
    model = kind(policy, door(name, arguments), seed=0, device="cpu", **settings)
    model.learn(STEPS)
    assert model.num_timesteps >= STEPS
    assert len(model.ep_success_buffer) >= 10  # what it logs as rollout/success_rate


@pytest.mark.parametrize("name", IDS)
def test_ppo_learns_on_every_id(name):
    policy = "MultiInputPolicy" if isinstance(observations(name), spaces.Dict) else "MlpPolicy"
    model = PPO(policy, single(name, {}), n_steps=8, batch_size=8, n_epochs=1, seed=0, device="cpu")
    assert model.learn(16).num_timesteps == 16


def test_hindsight_learns_on_ids_with_goals():
    names = [name for name in IDS if "achieved_goal" in getattr(observations(name), "spaces", {})]
    if not names:
        pytest.skip("no id has goals")
    for name in names:
        kind = DQN if isinstance(gym.make(name).action_space, spaces.Discrete) else SAC
        more = OFF | {"replay_buffer_class": HerReplayBuffer}
        model = kind("MultiInputPolicy", single(name, {}), seed=0, device="cpu", **more)
        assert model.learn(STEPS).num_timesteps >= STEPS
