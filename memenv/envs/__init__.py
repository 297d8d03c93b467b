"""The environments: tasks (pure) and the two Gymnasium shells that run them; importing `memenv` registers their ids."""

from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from memenv.engine import Engine
from memenv.envs.crossbar_program.observation import ArrayView
from memenv.envs.crossbar_program.render import maps_image, maps_text
from memenv.envs.crossbar_program.task import CrossbarProgram
from memenv.envs.few_shot.observation import LearningView
from memenv.envs.few_shot.render import learning_image, learning_text
from memenv.envs.few_shot.task import FewShot
from memenv.envs.shells import TaskEnv, TaskVectorEnv
from memenv.envs.task import Task, TaskError
from memenv.envs.write_verify.observation import View
from memenv.envs.write_verify.task import WriteVerify

__all__ = [
    "ArrayView",
    "CrossbarProgram",
    "CrossbarProgramEnv",
    "CrossbarProgramVectorEnv",
    "FewShot",
    "FewShotEnv",
    "FewShotVectorEnv",
    "LearningView",
    "Task",
    "TaskEnv",
    "TaskError",
    "TaskVectorEnv",
    "View",
    "WriteVerify",
    "WriteVerifyEnv",
    "WriteVerifyVectorEnv",
]


def register() -> None:
    """Register memenv's ids with Gymnasium (once)."""
    for name in ("WriteVerify", "CrossbarProgram", "FewShot"):
        if f"memenv/{name}-v0" not in gym.registry:
            gym.register(
                f"memenv/{name}-v0",
                entry_point=f"memenv.envs:{name}Env",
                vector_entry_point=f"memenv.envs:{name}VectorEnv",
            )
