"""A policy as C99: its own text, traced on symbolic values as for compiled loops, so that nothing is written twice.

The hand-over to `secant`, the watch over the record's predictions and giving up are part of that text, and so of the
export. The network is a few loops over its weights.
"""

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from agents.bulk.policies import Remembered, compiled_policy
from agents.export.c_text import OneCell, Statements, array, commented, variable
from agents.export.recording import Steps
from agents.export.templates import HEADER, MAIN, NETWORK, SOURCE
from agents.predictor.policy import FEATURES, OUTPUTS, PulsePredictor
from memenv.arrays import tree_map
from memenv.bounds import shown
from memenv.devices.device import Driver
from memenv.devices.protocol import parametric
from memenv.envs.pulse_actions import signals_of, volts
from memenv.envs.scales import READS
from memenv.envs.write_verify.observation import View

LAYERS = ("in", "gates", "new", "mix", "out")
WEAK = 0.6  # of each width counts for the simulated cell of main.c, which is weaker than its record
WHOLE = "Hand-over to secant where the record's predictions fail on a cell: included, as in Python."


def c_files(policy: Any, steps: Steps, command: str = "", int8: bool = False) -> dict[str, str]:
    """The texts of policy.h, policy.c, main.c and vector.h.

    Args:
        policy: a controller whose text is element-wise (all but `bayes` and the bounds), or a pulse predictor.
        steps: decisions of the policy, the test vector.
        command: that made them, for the header.
        int8: the weights of a network in 8 bits; they lose nothing if the policy is `rounded`.

    Raises:
        ValueError: another kind of policy, a device without a record, or a task by levels.
    """
    task, learned, pulse = policy.task, isinstance(policy, PulsePredictor), Statements()
    if task.target_levels:
        raise ValueError(f"target_levels is {shown(task.target_levels)}: exported is a task with one tolerance for all")
    device = parametric(task.device, "memenv export")
    begin, body, memory = _decision(policy, device.driver)
    state = device.fresh(variable("x"), np.zeros(2))
    after = device.pulse(state, variable("amplitude"), WEAK * variable("width"), np.zeros(device.pulse_channels))
    pulse.lines.append(f"return {pulse.name(after.x)};")
    own = {
        "what": type(policy).__name__,
        "device": commented(device.name),
        "command": commented(command),
        "about": WHOLE if learned and policy.standby is not None else "A controller without a network.",
        "g_min": device.g_min,
        "span": device.g_max - device.g_min,
        "tolerance": float(task.tolerance_x),
        "max_pulses": task.max_pulses,
        "memory": max(memory, 1),
        "hidden": len(policy.weights.b_in) if learned else 1,
        "lowest": READS[0],
        "highest": READS[1],
        "network": _network(policy, int8) if learned else "",
        "begin": "\n        ".join(begin.lines),
        "body": "\n    ".join(body.lines),
        "weak": WEAK,
        "pulse": "\n    ".join(pulse.lines),
    }
    texts = {"policy.h": HEADER, "policy.c": SOURCE, "main.c": MAIN}
    return {name: text.substitute(own) for name, text in texts.items()} | {"vector.h": _vector(steps)}


def _decision(policy: Any, driver: Driver) -> tuple[Statements, Statements, int]:
    """The memory of an unknown cell, a decision, and how many numbers are remembered."""
    parts, tolerance, learned = compiled_policy(policy), policy.task.tolerance_x, isinstance(policy, PulsePredictor)
    begin, body, places = Statements(), Statements(), count()
    read, target = OneCell("float32", "name", "read"), variable("target")
    seen: dict[str, Any] = {
        "read": read,
        "target": target,
        "error": (read - target) / tolerance,
        "response": (read - variable("cell->read")) / tolerance,
        "amplitude": variable("cell->amplitude"),
        "width": variable("cell->width"),
        "budget": 1.0 - variable("(real)cell->pulses") / policy.task.max_pulses,
    }
    view = View(**seen)

    def remembered(leaf: Any) -> Any:
        place = next(places)
        begin.set(f"cell->memory[{place}]", leaf)
        return variable(f"memory[{place}]")

    unknown = policy.unknown(view)
    memory = tree_map(remembered, (read, unknown) if learned else Remembered((), unknown))
    if learned:
        begin.lines.append("memset(cell->hidden, 0, sizeof cell->hidden);")
        body.lines.append(f"float features[{FEATURES}], outputs[{OUTPUTS}];")
        for place, feature in enumerate(parts.inputs(view, memory)):
            body.set(f"features[{place}]", feature)
        body.lines.append("network(features, cell->hidden, outputs);")
    outputs = tuple(variable(f"outputs[{place}]") for place in range(parts.channels[1]))
    (amplitude, width, gave_up), known = parts.decide(view, memory, outputs)
    given = volts(*signals_of(amplitude, width, driver), driver)
    for name, value in zip(("amplitude", "width", "give_up"), (*given, gave_up), strict=True):
        body.set(f"pulse.{name}", value)
    after: list[str] = []
    tree_map(lambda leaf: after.append(body.name(leaf)), known)  # all of it before any is written
    kept = [f"const real m{place} = {text};" for place, text in enumerate(after)]
    body.lines += [*kept, *(f"cell->memory[{place}] = m{place};" for place in range(len(after)))]
    return begin, body, next(places)


def rounded(policy: PulsePredictor) -> PulsePredictor:
    """The policy with the weights that 8 bits hold, each row of outputs on a scale of its own."""
    matrices = {f"w_{layer}": getattr(policy.weights, f"w_{layer}") for layer in LAYERS}
    held = {name: np.multiply(*_bytes(matrix)) for name, matrix in matrices.items()}
    return replace(policy, weights=policy.weights._replace(**held))


def _bytes(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers (inputs, outputs) of -127 to 127, and the scales (outputs,) of a matrix."""
    scale = np.maximum(np.abs(matrix).max(0), 1e-30) / 127.0
    return np.rint(matrix / scale).astype(np.int8), scale


def _network(policy: PulsePredictor, int8: bool) -> str:
    """The network in C, with its weights."""
    arrays, weights, kind = [], policy.weights, "int8_t" if int8 else "float"
    for layer in LAYERS:
        matrix = getattr(weights, f"w_{layer}")
        whole, scale = _bytes(matrix)
        arrays.append(array(kind, f"w_{layer}", (whole if int8 else matrix).T))
        arrays.append(array("float", f"s_{layer}", scale) if int8 else f"#define s_{layer} 0\n")
        arrays.append(array("float", f"b_{layer}", getattr(weights, f"b_{layer}")))
    return NETWORK.substitute(
        kind=kind,
        arrays="".join(arrays),
        features=FEATURES,
        outputs=OUTPUTS,
        recurrent=int(policy.memory),
    )


def _vector(steps: Steps) -> str:
    """The test vector as constant arrays."""
    made = [
        array("int", f"vector_{name}", values.astype(int))
        if values.dtype.kind in "ib"
        else array("double", f"vector_{name}", values)
        for name, values in steps._asdict().items()
    ]
    return "/* Reads and targets [S], and what the policy answered in Python [V, s]. */\n" + "".join(made)
