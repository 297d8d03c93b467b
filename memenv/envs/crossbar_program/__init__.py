"""`memenv/CrossbarProgram-v0`: an array of unknown cells to a target matrix."""

from memenv.envs.crossbar_program.env import CrossbarProgramEnv, CrossbarProgramVectorEnv
from memenv.envs.crossbar_program.observation import ArrayView
from memenv.envs.crossbar_program.task import CrossbarProgram

__all__ = ["ArrayView", "CrossbarProgram", "CrossbarProgramEnv", "CrossbarProgramVectorEnv"]
