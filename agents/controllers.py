"""Controllers by name: what the command line and the comparison know."""

from collections.abc import Callable
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
from memenv.envs.write_verify.task import WriteVerify

CONTROLLERS: dict[str, Callable[..., Any]] = {
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


def controller(name: str, task: WriteVerify) -> Any:
    """The controller of a name, with its default parameters, for a task.

    Raises:
        ValueError: no controller has that name.
    """
    if name not in CONTROLLERS:
        raise ValueError(f"unknown controller {name!r}; known are {', '.join(CONTROLLERS)}")
    return CONTROLLERS[name](task=task)
