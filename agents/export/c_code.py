"""A policy as C99: its decision (`agents.export.decision`) in statements, its network as loops over its weights."""

from dataclasses import replace
from typing import Any

import numpy as np

from agents.export.c_text import Statements, array, commented
from agents.export.decision import Decision, traced, variable
from agents.export.recording import Steps
from agents.export.templates import FLOATS, HEADER, MAIN, NETWORK, NUMBERS, PACKED, SOURCE
from agents.predictor.gru import Weights
from agents.predictor.policy import FEATURES, OUTPUTS, PulsePredictor
from memenv.devices.protocol import parametric
from memenv.envs.scales import READS

LAYERS, WIDE = ("in", "gates", "new", "mix", "out"), ("gates", "new", "mix")
WEAK = 0.6  # of each width counts for the simulated cell of main.c, which is weaker than its record
WHOLE = "Hand-over to secant where the record's predictions fail on a cell: included, as in Python."


def c_files(policy: Any, steps: Steps, command: str = "", bits: int = 32) -> dict[str, str]:
    """The texts of policy.h, policy.c, main.c and vector.h.

    Args:
        policy: a controller whose text is element-wise (all but `bayes` and the bounds), or a pulse predictor.
        steps: decisions of the policy, the test vector.
        command: that made them, for the header.
        bits: of the weights of a network, 32 or as for `rounded`: they lose nothing if the policy is.

    Raises:
        ValueError: another kind of policy, a device without a record, or a task by levels.
    """
    task, learned, pulse = policy.task, isinstance(policy, PulsePredictor), Statements()
    device = parametric(task.device, "memenv export")
    decision = traced(policy)
    begin, body = _decided(decision)
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
        "memory": max(len(decision.memory), 1),
        "hidden": len(policy.weights.b_in) if learned else 1,
        "lowest": READS[0],
        "highest": READS[1],
        "network": _network(policy, bits) if learned else "",
        "begin": "\n        ".join(begin.lines),
        "body": "\n    ".join(body.lines),
        "numbers": NUMBERS,
        "weak": WEAK,
        "pulse": "\n    ".join(pulse.lines),
    }
    texts = {"policy.h": HEADER, "policy.c": SOURCE, "main.c": MAIN}
    return {name: text.substitute(own) for name, text in texts.items()} | {"vector.h": _vector(steps)}


def _decided(decision: Decision) -> tuple[Statements, Statements]:
    """The memory of an unknown cell, and a decision."""
    begin, body = Statements(), Statements()
    for place, value in enumerate(decision.unknown):
        begin.set(f"cell->memory[{place}]", value)
    if decision.features:
        begin.lines.append("memset(cell->hidden, 0, sizeof cell->hidden);")
        body.lines.append(f"float features[{FEATURES}], outputs[{OUTPUTS}];")
        for place, feature in enumerate(decision.features):
            body.set(f"features[{place}]", feature)
        body.lines.append("network(features, cell->hidden, outputs);")
    for name, value in zip(("amplitude", "width", "give_up"), decision.pulse, strict=True):
        body.set(f"pulse.{name}", value)
    after = [body.name(leaf) for leaf in decision.memory]  # all of it before any is written
    body.lines += [f"const real m{place} = {text};" for place, text in enumerate(after)]
    body.lines += [f"cell->memory[{place}] = m{place};" for place in range(len(after))]
    return begin, body


def rounded(policy: PulsePredictor, bits: int) -> PulsePredictor:
    """The policy with the weights and biases that so many bits hold, each layer's on a scale of its own.

    First and last layer have 8 all the same: they are small, and pulses depend on them most.
    """
    held: dict[str, np.ndarray] = {}
    for layer in LAYERS:
        rows = np.multiply(*_whole(_matrix(policy.weights, layer), _bits(layer, bits)))
        held |= {f"w_{layer}": rows[:-1], f"b_{layer}": rows[-1]}
    return replace(policy, weights=policy.weights._replace(**held))


def _matrix(weights: Weights, layer: str) -> np.ndarray:
    """The weights (inputs + 1, outputs) of a layer, whose last input is a one."""
    return np.vstack([getattr(weights, f"w_{layer}"), getattr(weights, f"b_{layer}")])


def _bits(layer: str, bits: int) -> int:
    """The bits of a layer's weights."""
    return bits if layer in WIDE or bits == 32 else 8


def _whole(matrix: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """A matrix in whole numbers that so many bits hold, and its scale."""
    scale = float(max(np.abs(matrix).max(), 1e-30) / (2 ** (bits - 1) - 1))
    return np.rint(matrix / scale), scale


def _packed(whole: np.ndarray, bits: int) -> np.ndarray:
    """Bytes of whole numbers, one after the other from the lowest bit, 2^(bits - 1) added; and one more byte."""
    each = np.unpackbits((whole + 2 ** (bits - 1)).astype(np.uint8)[..., None], axis=-1, bitorder="little")[..., :bits]
    return np.append(np.packbits(each.ravel(), bitorder="little"), np.uint8(0))


def _network(policy: PulsePredictor, bits: int) -> str:
    """The network in C, with its weights."""
    arrays = []
    for layer in LAYERS:
        matrix, own, scale = _matrix(policy.weights, layer), _bits(layer, bits), 1.0
        if bits == 32:
            arrays.append(array("float", f"w_{layer}", matrix.T))
        else:
            whole, scale = _whole(matrix, own)
            arrays.append(array("uint8_t", f"w_{layer}", _packed(whole.T, own)))
        arrays.append(f"#define n_{layer} {own}\n#define s_{layer} {scale!r}f\n")
    return NETWORK.substitute(
        weight=FLOATS if bits == 32 else PACKED,
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
