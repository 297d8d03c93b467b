"""stable-baselines3: memenv's batches as its environments, its models as policies."""

from typing import TYPE_CHECKING

from memenv.lazy import lazily

if TYPE_CHECKING:
    from agents.sb3.cells import PPO_OF_CELLS, SAC_OF_CELLS, CellsPolicy, CellsVecEnv
    from agents.sb3.lines import PPO_OF_LINES, LinesPolicy, LinesVecEnv
    from agents.sb3.policy import RECIPES, SB3Policy
    from agents.sb3.vec_env import GymVecEnv

__all__ = [
    "PPO_OF_CELLS",
    "PPO_OF_LINES",
    "RECIPES",
    "SAC_OF_CELLS",
    "CellsPolicy",
    "CellsVecEnv",
    "GymVecEnv",
    "LinesPolicy",
    "LinesVecEnv",
    "SB3Policy",
]

__getattr__ = lazily(
    __name__,
    {
        "agents.sb3.cells": ("PPO_OF_CELLS", "SAC_OF_CELLS", "CellsPolicy", "CellsVecEnv"),
        "agents.sb3.lines": ("PPO_OF_LINES", "LinesPolicy", "LinesVecEnv"),
        "agents.sb3.policy": ("RECIPES", "SB3Policy"),
        "agents.sb3.vec_env": ("GymVecEnv",),
    },
)
