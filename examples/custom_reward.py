"""Rewards of one's own: energy by a weight of the environment, anything else by a Gymnasium wrapper around it."""

import os
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from agents.evaluation import evaluate
from agents.sb3.policy import SB3Policy, make_model
from agents.sb3.vec_env import GymVecEnv
from memenv import WriteVerify
from memenv.envs import TaskVectorEnv

QUICK = "MEMENV_QUICK" in os.environ
ENVS, STEPS = (256, 60_000) if QUICK else (1024, 1_000_000)


class GentleReward(VectorWrapper):
    """Minus `weight` times the amplitude of each pulse, a share of the driver's range: strong pulses wear cells out."""

    def __init__(self, env: VectorEnv, weight: float) -> None:
        super().__init__(env)
        self.weight = weight

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """A step of the environment, its reward changed."""
        observation, reward, *rest = self.env.step(action)
        return observation, reward - self.weight * 0.5 * (1.0 + np.clip(action[:, 1], -1.0, 1.0)), *rest


def program(name: str, task: WriteVerify, gentle: float = 0.0) -> None:
    """Train on the task, then say what an episode on fresh cells costs."""
    env = GentleReward(TaskVectorEnv(task, ENVS, AutoresetMode.SAME_STEP), gentle)
    model = make_model("ppo", GymVecEnv(env), seed=0)
    model.learn(STEPS)
    outcomes = evaluate(SB3Policy("ppo", model.policy, task, task), task, cells=1000, seed=1)
    print(
        f"{name:<8} {outcomes.pulses.mean():6.2f} pulses {outcomes.energy.mean() * 1e12:8.1f} pJ "
        f"{outcomes.latency.mean() * 1e6:8.2f} us, success {outcomes.accepted.mean():.1%}"
    )


program("pulses", WriteVerify(history=4))
program("energy", WriteVerify(history=4, weight_energy=4e8))
program("gentle", WriteVerify(history=4), gentle=0.06)
