"""`memenv/WriteVerify-v0`: one cell of an unknown chip to a target conductance."""

from memenv.envs.write_verify.env import WriteVerifyEnv, WriteVerifyVectorEnv
from memenv.envs.write_verify.observation import View
from memenv.envs.write_verify.task import WriteVerify

__all__ = ["View", "WriteVerify", "WriteVerifyEnv", "WriteVerifyVectorEnv"]
