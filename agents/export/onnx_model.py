"""A policy as an ONNX model, by torch's own exporter: its decision (`agents.export.decision`) in tensors."""

from typing import Any

import torch

from agents.export.decision import single, traced
from agents.predictor.gru import Weights, forward
from agents.predictor.policy import PulsePredictor
from memenv.arrays import clip
from memenv.compiler.trace import Routine, Symbol
from memenv.devices.protocol import parametric
from memenv.envs.scales import READS

ASKED, GIVEN = ("conductance", "goal", "cell", "hidden"), ("amplitude", "width", "give_up", "cell_next", "hidden_next")
OWN = ("cell->read", "cell->amplitude", "cell->width", "(real)cell->pulses")  # columns of `cell` before its memory
ABOUT = (
    "The next pulse of cells, from a conductance that was read and the one that is wanted [S]. What is known of a cell "
    "begins with zeros, and again with zeros for another target. Hand-over to secant where the record's predictions "
    "fail on a cell, and giving up: included, as in Python."
)
FUNCTIONS = {name: getattr(torch, name) for name in ("abs", "exp", "expm1", "floor", "log", "log1p", "sqrt", "tanh")}
FUNCTIONS["select"] = torch.where


class Decides(torch.nn.Module):
    """The decision of a policy about cells: in double precision, but for its network.

    Inputs: conductance and goal (cells,) [S], cell (cells, numbers) and hidden (cells, units), which begin with zeros.
    Outputs (cells,): amplitude [V], width [s], giving up; and what is known of the cells after.
    """

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.device = parametric(policy.task.device, "memenv export")
        self.decision, self.recurrent = traced(policy), False
        for name, value in (("low", self.device.g_min), ("span", self.device.g_max - self.device.g_min)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))  # plain numbers lose digits in exports
        self.sizes = len(OWN) + len(self.decision.memory), 1
        if isinstance(policy, PulsePredictor):
            self.recurrent, self.sizes = policy.memory, (self.sizes[0], len(policy.weights.b_in))
            for name, weight in policy.weights._asdict().items():
                self.register_buffer(name, torch.tensor(weight, dtype=torch.float32))

    def forward(self, conductance: Any, goal: Any, cell: Any, hidden: Any) -> tuple[Any, ...]:
        """The next pulse."""
        read, target = ((seen - self.low) / self.span for seen in (conductance, goal))
        read = clip(read, *READS)
        own, memory = cell[:, : len(OWN)].unbind(1), cell[:, len(OWN) :].unbind(1)
        first = own[-1] == 0
        values = Values({"read": read, "target": target, **dict(zip(OWN, own, strict=True))})
        for place, (known, value) in enumerate(zip(memory, self.decision.unknown, strict=True)):
            values.names[f"memory[{place}]"] = torch.where(first, values.of(value) + 0.0 * read, known)
        if self.decision.features:
            weights = Weights(*(getattr(self, name) for name in Weights._fields))
            features = torch.stack([values.of(value) + 0.0 * read for value in self.decision.features], -1)
            before = torch.where(first[:, None], 0.0, hidden)
            outputs, after = forward(weights, features.float(), before if self.recurrent else None)
            hidden = before if after is None else after
            values.names |= {f"outputs[{place}]": one for place, one in enumerate(outputs.double().unbind(1))}
        amplitude, width, give_up = (values.of(value) for value in self.decision.pulse)
        again, pulses = give_up + 0.0 * read > 0, own[-1]
        last = (torch.where(again, old, new) for old, new in zip(own[1:], (amplitude, width, pulses + 1), strict=True))
        known = (values.of(value) + 0.0 * read for value in self.decision.memory)
        return amplitude, width, again, torch.stack([read, *last, *known], 1), hidden


class Values:
    """Symbolic values in tensors (cells,), each computed once."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names  # of variables
        self._made: dict[int, tuple[Any, Symbol]] = {}  # by identity, which the symbol kept here keeps unique

    def of(self, value: Any) -> Any:
        """The tensor of a value, or a number."""
        one = single(value)
        if one.operation == "name":
            return self.names[one.operands[0]]
        if id(one) not in self._made:
            self._made[id(one)] = self._computed(one), one
        return self._made[id(one)][0]

    def _computed(self, value: Symbol) -> Any:
        if value.operation in ("literal", "constant"):
            kind = torch.bool if value.kind == "bool" else torch.float64
            return torch.tensor(value.operands[0], dtype=kind)
        operands = [self.of(operand) for operand in value.operands]
        if isinstance(value.operation, Routine):
            return FUNCTIONS[value.operation.name](*operands)
        named = {f"operand_{place}": operand for place, operand in enumerate(operands)}
        return eval(value.operation.format(*named), FUNCTIONS | named)  # the text that loops have of it, too


def onnx_bytes(policy: Any) -> bytes:
    """The model of `Decides`, for any number of cells.

    Raises:
        ImportError: onnx or onnxscript are missing (extra `onnx`).
        ValueError: a policy that cannot be traced, a device without a record, or a task by levels.
    """
    import onnxscript  # noqa: F401  # torch asks for it late, in other words

    model = Decides(policy).eval()
    numbers, units = model.sizes
    goal = torch.tensor([0.4, 0.6], dtype=torch.float64) * model.device.g_max
    example = (0.5 * goal, goal, torch.zeros(2, numbers, dtype=torch.float64), torch.zeros(2, units))
    made = torch.onnx.export(
        model,
        example,
        input_names=ASKED,
        output_names=GIVEN,
        dynamic_shapes=[{0: torch.export.Dim.DYNAMIC}] * len(ASKED),
        dynamo=True,
        verbose=False,
        optimize=False,  # which takes seconds; whoever runs the model does it
    )
    assert made is not None
    made.model.doc_string = ABOUT
    content: bytes = made.model_proto.SerializeToString()
    return content
