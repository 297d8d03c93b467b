"""Controllers by name: what the command line and the comparison know."""

from typing import Any

from agents.classical.bayes import Bayesian, Clairvoyant
from agents.classical.write_verify import (
    ISPP,
    ConstantPulse,
    HistoryInverse,
    NominalInverse,
    ShrinkingISPP,
    VoltageIncrementalPI,
)
from agents.policy import Policy
from memenv.envs.write_verify.task import WriteVerify

CONTROLLERS: dict[str, type[Any]] = {
    "constant": ConstantPulse,
    "ispp": ISPP,
    "ispp-shrinking": ShrinkingISPP,
    "vipi": VoltageIncrementalPI,
    "nominal": NominalInverse,
    "history": HistoryInverse,
    "bayes": Bayesian,
    "clairvoyant": Clairvoyant,
}


def controllers() -> tuple[str, ...]:
    """The names of the hand-written controllers, the clairvoyant bound last."""
    return tuple(CONTROLLERS)


def controller(name: str, task: WriteVerify) -> Policy:
    """The controller of a name, with its default parameters, for a task.

    Raises:
        ValueError: no controller has that name.
    """
    if name not in CONTROLLERS:
        raise ValueError(f"unknown controller {name!r}; known are {', '.join(CONTROLLERS)}")
    found: Policy = CONTROLLERS[name](task=task)
    return found
