"""Agents that decide how a chip learns: rules with a schedule, and a trained one."""

from agents.few_shot.agent import FewShotAgent, shipped_agent
from agents.few_shot.schedules import ConstantRate, DecayingRate, UntilLoss, learn

__all__ = ["ConstantRate", "DecayingRate", "FewShotAgent", "UntilLoss", "learn", "shipped_agent"]
