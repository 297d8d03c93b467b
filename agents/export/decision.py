"""What a policy decides about a cell, as symbolic values: from its own text, traced as for compiled loops.

The hand-over to `secant`, the watch over the record's predictions and giving up are part of that text, and so of all
that is exported. What is known of a cell from pulse to pulse is what a C structure `cell` holds, by C's names.
"""

from itertools import count
from typing import Any, NamedTuple

import numpy as np

from agents.bulk.policies import Remembered, compiled_policy
from agents.predictor.policy import PulsePredictor
from memenv.arrays import tree_map
from memenv.bounds import shown
from memenv.compiler.trace import Symbol, symbolic
from memenv.envs.pulse_actions import signals_of, volts
from memenv.envs.write_verify.observation import View


class Decision(NamedTuple):
    """Symbolic values of variables `read`, `target`, `cell->...`, `memory[i]`, `outputs[i]`."""

    unknown: list[Any]  # the memory of a cell before its first pulse
    features: tuple[Any, ...]  # inputs of the network, none without one
    pulse: tuple[Any, ...]  # signed amplitude [V], width [s], giving up; from the network's `outputs`
    memory: list[Any]  # after it


def variable(text: str) -> Symbol:
    """A number that is known by this text."""
    return Symbol("float32", "name", text)


class OneCell(Symbol):
    """A variable that passes for an array with one cell, where memories of unknown cells are made."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


def traced(policy: Any) -> Decision:
    """The decision of a policy.

    Raises:
        ValueError: a policy that cannot be traced, or a task by levels.
    """
    parts, task = compiled_policy(policy), policy.task
    if task.target_levels:
        raise ValueError(f"target_levels is {shown(task.target_levels)}: exported is a task with one tolerance for all")
    read, target, places = OneCell("float32", "name", "read"), variable("target"), count()
    seen: dict[str, Any] = {
        "read": read,
        "target": target,
        "error": (read - target) / task.tolerance_x,
        "response": (read - variable("cell->read")) / task.tolerance_x,
        "amplitude": variable("cell->amplitude"),
        "width": variable("cell->width"),
        "budget": 1.0 - variable("(real)cell->pulses") / task.max_pulses,
    }
    view, unknown, after = View(**seen), list[Any](), list[Any]()

    def remembered(leaf: Any) -> Any:
        unknown.append(leaf)
        return variable(f"memory[{next(places)}]")

    own, learned = policy.unknown(view), isinstance(policy, PulsePredictor)
    memory = tree_map(remembered, (read, own) if learned else Remembered((), own))
    features = parts.inputs(view, memory)
    outputs = tuple(variable(f"outputs[{place}]") for place in range(parts.channels[1]))
    (amplitude, width, gave_up), known = parts.decide(view, memory, outputs)
    driver = task.device.driver
    pulse = (*volts(*signals_of(amplitude, width, driver), driver), gave_up)
    tree_map(after.append, known)
    return Decision(unknown, features, pulse, after)


def single(value: Any) -> Symbol:
    """A value as a symbol; an array with one number counts as that number."""
    return value if isinstance(value, Symbol) else symbolic(np.asarray(value, float).item())
