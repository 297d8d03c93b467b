"""Learning as the chip does it: forward read, transposed read, and outer products turned into whole pulses.

One text for NumPy (the simulator) and torch (differentiable, `torch.func`): pure functions on frozen records, noise
an argument. `layers` has the weights on cells, `backprop` the products and losses, `updates` the pulses.
Leading axes of layers, examples, targets and noise are a batch of tasks; `torch.func.vmap` over them does the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from memenv.arrays import Array, is_zero
from memenv.learning.backprop import backward, cross_entropy, forward, squared_error
from memenv.learning.layers import Layer, Matrix, fabricate_layer, matrix, program, rest
from memenv.learning.updates import Adaptation, Counters, LayerNoise, nearest, stochastic, unrounded, update, whole

__all__ = [
    "Adaptation",
    "Counters",
    "Layer",
    "LayerNoise",
    "Step",
    "adapt_step",
    "backward",
    "cross_entropy",
    "draw_noise",
    "fabricate_layer",
    "forward",
    "matrix",
    "nearest",
    "program",
    "rest",
    "squared_error",
    "stochastic",
    "unrounded",
    "update",
    "whole",
]


class Step(NamedTuple):
    """The outcome of one step."""

    layers: tuple[Any, ...]
    loss: Array  # (...,) before the step
    counters: tuple[Counters, ...]  # of every layer


def draw_noise(
    layers: tuple[Layer, ...],
    examples: int,
    config: Adaptation,
    normal: Callable[..., Any],
    uniform: Callable[..., Any],
) -> tuple[LayerNoise, ...]:
    """Noise of one step on `examples` examples; normal(shape) and uniform(shape) draw it, of NumPy or torch."""

    def one(layer: Layer, rate: Array) -> LayerNoise:
        (rows, outputs, devices), batch = layer.shape, tuple(layer.state.x.shape[:-3])
        reads = normal((*batch, examples, outputs)), normal((*batch, examples, rows))
        if is_zero(rate):
            return LayerNoise(*reads, (), None)
        slots = (*batch, 2, int(config.max_pulses) * examples) if config.lines else ()
        return LayerNoise(
            *reads,
            rounding=(uniform((*slots, rows)), uniform((*slots, outputs * devices)))
            if config.lines
            else (uniform((*batch, *layer.shape)),),
            pulse=normal((*batch, 6 if config.lines else 3, *layer.shape)),
            sense=normal((*batch, 2, *layer.shape)) if config.assume == "law" else None,
        )

    return tuple(one(layer, rate) for layer, rate in zip(layers, _rates(layers, config), strict=True))


def adapt_step(
    layers: tuple[Any, ...],
    x: Array,
    targets: Array,
    noise: tuple[LayerNoise, ...],
    config: Adaptation,
    read: Callable[..., Matrix] = matrix,
    learn: Callable[..., tuple[Any, Counters]] = update,
) -> Step:
    """One step of learning from examples, the same for each task of a batch.

    Args:
        layers: from input to output.
        x: (..., n, inputs).
        targets: (..., n, outputs); of the cross-entropy, rows sum to one.
        noise: of each layer, as `draw_noise` draws it.
        config: how to learn.
        read: what layers show, arguments as of `matrix`; others than `Layer` need another one ...
        learn: ... and another one of these, arguments as of `update`.

    Raises:
        ValueError: sizes, rates or choices that do not fit the layers, or parts of pulses for measured devices.
    """
    rates = _rates(layers, config)
    matrices = tuple(read(layer, config.reads) for layer in layers)
    passed = forward(matrices, x, [one.forward for one in noise])
    if passed.outputs.shape[-2:] != targets.shape[-2:]:
        raise ValueError(f"targets have the shape {tuple(targets.shape)}, outputs {tuple(passed.outputs.shape)}")
    loss, error = config.loss(passed.outputs, targets)
    lowest = min((number for number, rate in enumerate(rates) if not is_zero(rate)), default=len(layers))
    errors = backward(matrices, passed, error, [one.backward for one in noise], lowest)
    nothing = Counters(*[0.0 * loss] * len(Counters._fields))
    learnt = []
    for number, (layer, rate) in enumerate(zip(layers, rates, strict=True)):
        new, counters = layer, nothing
        if not is_zero(rate):
            new, counters = learn(layer, rate, passed.inputs[number], errors[number], noise[number], config)
        products = x.shape[-2] * (2 if number > lowest else 1)
        learnt.append((new, counters._replace(read_energy=products * matrices[number].energy)))
    new_layers, all_counters = zip(*learnt, strict=True)
    return Step(new_layers, loss, all_counters)


def _rates(layers: tuple[Layer, ...], config: Adaptation) -> tuple[Array, ...]:
    """The rate of every layer."""
    if len(config.rates) not in (1, len(layers)):
        raise ValueError(f"{len(config.rates)} rates for {len(layers)} layers: one for each, or one for all, is needed")
    return config.rates * len(layers) if len(config.rates) == 1 else config.rates
