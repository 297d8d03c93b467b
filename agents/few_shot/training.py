"""Reinforcement learning of how a chip learns: stable-baselines3's PPO on the native vector environment."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from agents.few_shot.agent import FewShotAgent
from agents.sb3.vec_env import GymVecEnv
from memenv.envs.few_shot.task import FewShot
from memenv.envs.shells import TaskVectorEnv

ENVS, ROLLOUT = 128, 20  # tasks side by side, and steps of each between updates
HIDDEN = 64


def train(
    task: FewShot,
    steps: int = 400_000,
    seed: int = 0,
    card: str = "{}",
    judge: Callable[[int, FewShotAgent], None] | None = None,
) -> FewShotAgent:
    """The agent after so many steps of the environments together; reproducible from the seed.

    Args:
        task: what it learns to do, of the split "train".
        steps: of all environments together.
        seed: of tasks, chips, noise and weights.
        card: JSON that is kept with it.
        judge: called with the steps so far and the agent, ten times.
    """
    torch.set_num_threads(1)
    model = ppo(task, seed)
    model.learn(steps, _Judge(steps, card, judge) if judge else None)
    return exported(model, card)


def ppo(task: FewShot, seed: int) -> PPO:
    """An untrained model and its environments."""
    return PPO(
        "MlpPolicy",
        GymVecEnv(TaskVectorEnv(task, ENVS, AutoresetMode.SAME_STEP)),
        n_steps=ROLLOUT,
        batch_size=ENVS * ROLLOUT // 4,
        n_epochs=8,
        gamma=1.0,
        gae_lambda=0.95,
        ent_coef=0.0,
        learning_rate=LinearSchedule(2e-3, 1e-4, 1.0),
        target_kl=0.05,
        policy_kwargs={"net_arch": [HIDDEN, HIDDEN], "log_std_init": -1.0},
        seed=seed,
        device="cpu",
    )


def exported(model: PPO, card: str) -> FewShotAgent:
    """The actor's mean as arrays."""
    policy: Any = model.policy
    layers = [part for part in policy.mlp_extractor.policy_net if isinstance(part, torch.nn.Linear)]
    parts = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in (*layers, policy.action_net)]
    return FewShotAgent(weights=tuple(np.vstack((weight.T, bias)) for weight, bias in parts), card=card)


class _Judge(BaseCallback):
    """Shows the agent to whoever judges it, ten times in a training."""

    def __init__(self, steps: int, card: str, judge: Callable[[int, FewShotAgent], None]) -> None:
        super().__init__()
        self.every, self.card, self.judge, self.judged = steps / 10, card, judge, 0

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        if self.num_timesteps // self.every > self.judged:
            self.judged = int(self.num_timesteps // self.every)
            self.judge(self.num_timesteps, exported(model, self.card))

    def _on_step(self) -> bool:
        return True
