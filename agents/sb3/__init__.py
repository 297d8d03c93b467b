"""stable-baselines3: memenv's batches as its environments, its models as policies."""

from typing import TYPE_CHECKING

from memenv.lazy import lazily

if TYPE_CHECKING:
    from agents.sb3.policy import RECIPES, SB3Policy
    from agents.sb3.vec_env import GymVecEnv

__all__ = ["RECIPES", "GymVecEnv", "SB3Policy"]

__getattr__ = lazily(__name__, {"agents.sb3.policy": ("RECIPES", "SB3Policy"), "agents.sb3.vec_env": ("GymVecEnv",)})
