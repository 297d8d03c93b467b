"""Frames a second of SB3 PPO on WriteVerify next to Gymnasium's CartPoleVectorEnv: the same adapter and network.

    OMP_NUM_THREADS=1 python benchmarks/ppo_speed.py

Both run by turns in one process, so that a busy machine slows both alike. Printed: median frames a second, and the
median over the turns of their ratio, for the whole of learning and for collecting rollouts alone.
"""

import statistics
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

import memenv
from agents.sb3.vec_env import GymVecEnv

ENVS, TURNS, ROLLOUTS = 1024, 7, 4
SETTINGS: dict[str, Any] = {"n_steps": 16, "batch_size": 4096, "n_epochs": 4, "policy_kwargs": {"net_arch": [64, 64]}}


class SameStepCartPole(CartPoleVectorEnv):
    """Gymnasium's CartPoleVectorEnv, which knows NEXT_STEP only, with the ended poles reset in the same step."""

    metadata = CartPoleVectorEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step; `final_obs` and `final_info` where an episode ended."""
        observation, reward, terminated, truncated, info = super().step(action)
        done = self.prev_done
        if done.any():
            info = {"final_obs": observation.copy(), "_final_obs": done, "final_info": {}, "_final_info": done}
            assert self.state is not None
            self.state[:, done] = self.np_random.uniform(self.low, self.high, (4, int(done.sum())))
            self.steps[done] = 0
            observation = self.state.T.astype(np.float32)
            self.prev_done = np.zeros(self.num_envs, bool)
        return observation, reward, terminated, truncated, info


class RolloutSeconds(BaseCallback):
    """Time spent in collecting rollouts."""

    seconds = 0.0

    def _on_rollout_start(self) -> None:
        self.began = time.perf_counter()

    def _on_rollout_end(self) -> None:
        self.seconds += time.perf_counter() - self.began

    def _on_step(self) -> bool:
        return True


def frames_per_second(model: PPO) -> tuple[float, float]:
    """Of learning, and of its rollouts alone."""
    rollouts, frames = RolloutSeconds(), ENVS * SETTINGS["n_steps"] * ROLLOUTS
    began = time.perf_counter()
    model.learn(frames, callback=rollouts, reset_num_timesteps=False)
    return frames / (time.perf_counter() - began), frames / rollouts.seconds


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    same_step = AutoresetMode.SAME_STEP
    models = {
        "WriteVerify": gym.make_vec("memenv/WriteVerify-v0", num_envs=ENVS, autoreset_mode=same_step),
        "CartPoleVectorEnv": SameStepCartPole(num_envs=ENVS),
    }
    runs = {
        name: PPO("MlpPolicy", GymVecEnv(env), seed=0, device="cpu", **SETTINGS)  # type: ignore[arg-type]
        for name, env in models.items()
    }
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name, model in runs.items():
            measured = frames_per_second(model)
            if turn:  # the first is for warming up
                speeds[name].append(measured)
    print(f"memenv {memenv.__version__}, gymnasium {gym.__version__}, torch {torch.__version__}, {ENVS} environments")
    for place, what in enumerate(("learning", "rollouts")):
        ours, theirs = ([turn[place] for turn in values] for values in speeds.values())
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(
            f"{what:<9} WriteVerify {statistics.median(ours):>9,.0f} frames/s   CartPoleVectorEnv "
            f"{statistics.median(theirs):>9,.0f} frames/s   ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
