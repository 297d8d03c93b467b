"""The inner loop on chips as the engine compiles it: what happens to cells is one loop, and so are its derivatives.

From the same text as `adapt.on_chip` with tensors, but in single precision and with noise by key: some hundred passes
over all cells become one, and neither noise nor intermediate results are kept for the derivatives.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import torch

from memenv.arrays import tree_map
from memenv.backprop import forward, weight_gradient
from memenv.device import Device
from memenv.engine import Engine
from memenv.fewshot.chips import Draws, Hardware
from memenv.fused.run import run
from memenv.noise import Key
from memenv.onchip import Adaptation, Counters, Layer, LayerNoise, adapt_step
from memenv.synapses import Matrix, blank_layer
from memenv.weight_cells import Program, lay, pull, teaching, wait
from metalearn.adapt import Adapted, Rates, by_first_pulse, straight_through

NOT_COUNTED = Counters(*[0.0] * len(Counters._fields))


def fits(hardware: Hardware) -> bool:
    """Whether learning on such chips can be compiled: numba is there, and each cell gets pulses of its own at once."""
    usual = not hardware.lines and not hardware.accumulate and hardware.assume == "linear"
    return usual and isinstance(hardware.device, Device) and importlib.util.find_spec("numba") is not None


@dataclass(frozen=True)
class Weights:
    """The weights of a layer on every task's chip, and what a read of them says."""

    layer: Layer  # its chip and state are arrays (weights, devices), but for the state's x ...
    x: torch.Tensor  # (weights, devices) ... which is here
    mean: torch.Tensor  # (weights,) [S]
    variance: torch.Tensor | float  # (weights,) [S^2], or alike for all
    axes: tuple[int, int, int]  # tasks, rows, outputs

    def read(self, reads: int) -> Matrix:
        """What `matrix` says of layers."""
        scale, variance = self.layer.scale, self.variance
        mean = scale * self.mean.view(self.axes)
        if not isinstance(variance, torch.Tensor):
            return Matrix(
                mean, scale**2 / reads * mean.new_full((1, 1, 1), variance).expand(self.axes) if variance else None
            )
        return Matrix(mean, scale**2 / reads * variance.view(self.axes))


class Chips:
    """Fresh chips for all tasks, and what is done to them; each thing done draws its noise by a key of its own."""

    def __init__(self, hardware: Hardware, seed: int) -> None:
        """`seed` of chips and noise."""
        self.hardware = hardware
        self.keys = (Key(seed, step) for step in count())

    def written(self, weights: Sequence[torch.Tensor], ranges: Sequence[torch.Tensor]) -> tuple[Weights, ...]:
        """Weights (tasks, rows, outputs) on fresh chips; `ranges` are the magnitudes that nominal devices can hold."""
        return tuple(map(self._written, weights, ranges))

    def _written(self, weights: torch.Tensor, most: torch.Tensor) -> Weights:
        hardware, device = self.hardware, self.hardware.device
        shape = weights.numel(), 2 * hardware.devices_per_weight
        cells = Engine("numba", torch.get_num_threads()).fabricate(device, next(self.keys), shape[0] * shape[1])
        chip = tree_map(lambda leaf: leaf.reshape(shape) if isinstance(leaf, np.ndarray) else leaf, cells)
        unknown = np.broadcast_to(np.float32(0), shape)  # never read
        layer = blank_layer(device, chip, unknown, hardware.devices_per_weight)
        scale = layer.scale * most
        differ = np.ndim(chip.x_lo) or np.ndim(chip.x_hi)  # else no cell is stuck
        layer = layer.replace(scale=1.0, good=1.0 if hardware.know_stuck and differ else None)
        rest = layer, hardware.write_error
        return self._run(lay, rest, layer.replace(scale=scale), tuple(weights.shape), (weights / scale).reshape(-1))

    def learn(
        self, weights: Weights, rate: Any, inputs: torch.Tensor, errors: torch.Tensor, _: LayerNoise, config: Adaptation
    ) -> tuple[Weights, Counters]:
        """`update` of layers, whose costs are not counted."""
        change = (-rate / weights.layer.scale * weight_gradient(inputs, errors)).reshape(-1)
        layer = weights.layer.replace(scale=1.0)
        program = teaching(replace(config, rates=(0.0,)))
        return self._run(program, layer, weights.layer, weights.axes, weights.x, change), NOT_COUNTED

    def rested(self, weights: Weights, seconds: float) -> Weights:
        """The weights after a time [s] without a pulse."""
        rest = weights.layer.replace(scale=1.0), seconds
        return self._run(wait, rest, weights.layer, weights.axes, weights.x)

    def _run(self, program: Program, rest: Any, layer: Layer, axes: tuple[int, ...], *moving: torch.Tensor) -> Weights:
        x, mean, variance, state = _Run.apply(program, next(self.keys), rest, *moving)
        return Weights(layer.replace(state=state), x, mean, variance, axes)  # type: ignore[arg-type]


class _Run(torch.autograd.Function):
    """A program of `memenv.weight_cells` on tensors; the state that it returns is NumPy's."""

    @staticmethod
    def forward(ctx: Any, program: Program, key: Key, rest: Any, *moving: torch.Tensor) -> tuple[Any, ...]:
        """What it shows, and the state."""
        ctx.program, ctx.key, ctx.rest = program, key, rest
        ctx.save_for_backward(*moving)
        shown, state = _run(program, key, moving, rest)
        return *(torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in shown), state

    @staticmethod
    def backward(ctx: Any, *towards: torch.Tensor | None) -> tuple[Any, ...]:
        """Derivatives of what moves, by the same noise."""
        slopes = tuple(0.0 if part is None else part.contiguous().numpy() for part in towards[:-1])
        moved = _run(pull(ctx.program), ctx.key, ctx.saved_tensors, ctx.rest, slopes)
        return None, None, None, *map(torch.from_numpy, moved)


def _run(program: Any, key: Key, moving: Sequence[torch.Tensor], *rest: Any) -> Any:
    arrays = tuple(part.detach().contiguous().numpy() for part in moving)
    return run(program, key, (len(arrays[0]),), (arrays, *rest), None, torch.get_num_threads(), False)


def on_chips(
    chips: Chips, weights: tuple[Weights, ...], x: torch.Tensor, targets: torch.Tensor, rates: Rates, draws: Draws
) -> Iterator[Adapted]:
    """Learning by pulses, a step each; arguments and derivatives as of `adapt.on_chip`."""
    for step in rates:
        config = replace(chips.hardware.adaptation(step), rounding=straight_through, give=by_first_pulse)
        sizes = [[(*x.shape[:-1], lines) for lines in layer.axes] for layer in weights]
        noise = tuple(LayerNoise(draws.normal(outputs), draws.normal(rows), (), None) for _, rows, outputs in sizes)
        weights, loss, _ = adapt_step(weights, x, targets, noise, config, Weights.read, chips.learn)
        yield Adapted(weights, loss)


def outputs(chips: Chips, weights: Sequence[Weights], x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """(..., n, classes) that noisy reads of the chips make of examples (..., n, inputs)."""
    noise = [draws.normal((*x.shape[:-1], layer.axes[2])) for layer in weights]
    return forward([layer.read(chips.hardware.reads) for layer in weights], x, noise).outputs
