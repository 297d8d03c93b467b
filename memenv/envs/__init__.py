"""The environments: tasks (pure) and the two Gymnasium shells that run them."""

from memenv.envs.crossbar_program import ArrayView, CrossbarProgram, CrossbarProgramEnv, CrossbarProgramVectorEnv
from memenv.envs.few_shot import FewShot, FewShotEnv, FewShotVectorEnv, LearningView
from memenv.envs.registration import register
from memenv.envs.shells import TaskEnv, TaskVectorEnv
from memenv.envs.task import Task, TaskError
from memenv.envs.write_verify import View, WriteVerify, WriteVerifyEnv, WriteVerifyVectorEnv

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
    "register",
]
