"""A pulse predictor as an ONNX model, by torch's own exporter: features, network and pulse, without the hand-over."""

from typing import Any

import torch

from agents.predictor.gru import Weights, forward
from agents.predictor.policy import PulsePredictor, Sight, decide, features
from memenv.devices.device import Driver

SEEN = ("read", "target", "previous", "amplitude", "width")  # as `Sight` has them
GIVEN = ("amplitude_next", "width_next", "reachable")
ABSENT = (
    "The hand-over to secant, where the record's predictions fail on a cell, is not in it: watch for cells that take "
    "many pulses, or export to C, which has it."
)


class Predictor(torch.nn.Module):
    """The decision of a predictor's own network about cells, in single precision.

    Inputs (cells,): read, target and the read before the last pulse [range], amplitude [V] and width [s] of that pulse
    (0 before the first, with `previous` the read itself and the shortest width), and memory (cells, hidden), zeros at
    first. Outputs (cells,): amplitude [V], width [s], the probability that the target can be reached, and the memory.
    """

    def __init__(self, policy: PulsePredictor) -> None:
        super().__init__()
        self.policy, self.tolerance = policy, float(policy.task.tolerance_x)
        for name, weight in policy.weights._asdict().items():
            self.register_buffer(name, torch.tensor(weight, dtype=torch.float32))

    def forward(
        self, read: Any, target: Any, previous: Any, amplitude: Any, width: Any, memory: Any
    ) -> tuple[Any, ...]:
        """The next pulse."""
        weights = Weights(*(getattr(self, name) for name in Weights._fields))
        sight = Sight(read, target, previous, amplitude, width, self.tolerance + 0.0 * read)
        known = memory if self.policy.memory else None
        outputs, known = forward(weights, features(self.policy.device, sight), known)
        decision = decide(self.policy.device, sight, outputs)
        return decision.amplitude, decision.width, torch.sigmoid(decision.reachable), memory if known is None else known


def onnx_bytes(policy: PulsePredictor) -> bytes:
    """The model of `Predictor`, for any number of cells.

    Raises:
        ImportError: onnx or onnxscript are missing (extra `onnx`).
        ValueError: no pulse predictor.
    """
    if not isinstance(policy, PulsePredictor):
        raise ValueError(f"{type(policy).__name__} has no network: export it --to c")
    import onnxscript  # noqa: F401  # torch asks for it late, in other words

    model, driver = Predictor(policy).eval(), policy.device.driver
    example = _example(driver, len(policy.weights.b_in))
    with torch.no_grad():
        model(*example)  # once before it is traced: limits of single precision are looked up then
    names, given = (*SEEN, "memory"), (*GIVEN, "memory_next")
    made = torch.onnx.export(
        model,
        example,
        input_names=names,
        output_names=given,
        dynamic_shapes=[{0: torch.export.Dim.DYNAMIC}] * len(names),
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    made.model.doc_string = ABSENT
    content: bytes = made.model_proto.SerializeToString()
    return content


def _example(driver: Driver, hidden: int) -> tuple[Any, ...]:
    """Inputs of two cells; no two are one tensor, which would become one input."""
    numbers = (0.5, 0.3, 0.4, driver.set_max, driver.width_min)
    return *(torch.full((2,), float(number)) for number in numbers), torch.zeros(2, hidden)
