"""stable-baselines3: memenv's batches as its environments, its models as policies."""

from typing import TYPE_CHECKING

from memenv.lazy import lazily

if TYPE_CHECKING:
    from agents.sb3.cells import PPO_OF_CELLS, SAC_OF_CELLS, CellsPolicy, CellsVecEnv
    from agents.sb3.policy import RECIPES, SB3Policy
    from agents.sb3.vec_env import GymVecEnv

__all__ = ["PPO_OF_CELLS", "RECIPES", "SAC_OF_CELLS", "CellsPolicy", "CellsVecEnv", "GymVecEnv", "SB3Policy"]

__getattr__ = lazily(
    __name__,
    {
        "agents.sb3.cells": ("PPO_OF_CELLS", "SAC_OF_CELLS", "CellsPolicy", "CellsVecEnv"),
        "agents.sb3.policy": ("RECIPES", "SB3Policy"),
        "agents.sb3.vec_env": ("GymVecEnv",),
    },
)
