"""`memenv/FewShot-v0`: how a chip of an unknown device learns new classes."""

from memenv.envs.few_shot.env import FewShotEnv, FewShotVectorEnv
from memenv.envs.few_shot.observation import LearningView
from memenv.envs.few_shot.task import FewShot

__all__ = ["FewShot", "FewShotEnv", "FewShotVectorEnv", "LearningView"]
