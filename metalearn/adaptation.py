"""The inner loop: some steps of learning from a task's support, ideal or as a chip does it; NumPy or differentiable.

Leading axes are tasks, each with weights or a chip of its own. What a derivative shall do at a whole pulse is decided
here: rounding counts as the identity, and a further pulse of a train as what the next and the last one do.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import Array, floor_at, is_zero, namespace
from memenv.devices.protocol import LearningModel
from memenv.devices.reads import State
from memenv.few_shot.chips import Draws, Hardware
from memenv.learning.backprop import backward, cross_entropy, forward, weight_gradient
from memenv.learning.layers import Matrix
from memenv.learning.pulse_trains import Train, after
from memenv.learning.step import Counters, Layer, adapt_step, draw_noise, stochastic

Loss = Callable[[Array, Array], tuple[Array, Array]]  # of outputs and targets, and its derivative
Rates = Sequence[Sequence[Array]]  # of each step those of each layer; a plain 0 keeps a layer as it is


class Adapted(NamedTuple):
    """The layers after a step, and what it took."""

    layers: tuple[Any, ...]  # weights (..., rows, outputs), or layers of cells
    loss: Array  # (...,) on the support, before the step
    counters: tuple[Counters, ...] = ()  # of each layer of cells


# -- ideal -------------------------------------------------------------------------------------------------------------


def ideal(
    weights: Sequence[Array],
    x: Array,
    targets: Array,
    rates: Rates,
    first_order: bool = False,
    loss_of: Loss = cross_entropy,
) -> Iterator[Adapted]:
    """Gradient descent on a loss, a step each.

    Args:
        weights: (..., rows, outputs) of the layers; last rows hold the biases.
        x: (..., n, inputs) examples.
        targets: (..., n, outputs); of the cross-entropy one-hot.
        rates: of each step and layer.
        first_order: whether derivatives regard each step's gradient as constant.
        loss_of: outputs and targets.
    """
    for step in rates:
        seen = [w.detach() for w in weights] if first_order else weights
        matrices = [Matrix(w) for w in seen]
        passed = forward(matrices, x)
        loss, error = loss_of(passed.outputs, targets)
        lowest = min((number for number, rate in enumerate(step) if not is_zero(rate)), default=len(step) - 1)
        errors = backward(matrices, passed, error, lowest=lowest)
        weights = tuple(
            w if is_zero(rate) else w - rate * weight_gradient(rows, columns)
            for w, rate, rows, columns in zip(weights, step, passed.inputs, errors, strict=True)
        )
        yield Adapted(weights, loss)


def ideal_outputs(weights: Sequence[Array], x: Array) -> Array:
    """(..., n, classes) of examples (..., n, inputs)."""
    return forward([Matrix(w) for w in weights], x).outputs


# -- on a chip ---------------------------------------------------------------------------------------------------------


def on_chip(
    hardware: Hardware,
    layers: tuple[Layer, ...],
    x: Array,
    targets: Array,
    rates: Rates,
    draws: Draws,
    first_order: bool = False,
    loss_of: Loss = cross_entropy,
) -> Iterator[Adapted]:
    """Learning by pulses, a step each; arguments as of `ideal`. Torch differentiates straight through whole pulses."""
    for step in rates:
        config = replace(hardware.adaptation(step), loss=loss_of)
        if namespace(x) is not np:
            config = replace(config, rounding=straight_through, give=by_marginal_pulse)
        noise = draw_noise(layers, x.shape[-2], config, draws.normal, draws.uniform)
        before = layers
        layers, loss, counters = adapt_step(
            tuple(map(_constant, layers)) if first_order else layers, x, targets, noise, config
        )
        if first_order:
            layers = tuple(map(_moved, layers, before))
        yield Adapted(layers, loss, counters)


# -- what derivatives do at whole pulses -------------------------------------------------------------------------------


def straight_through(dose: Array, uniform: Array) -> Array:
    """Stochastically rounded, with the derivative of the dose."""
    return dose + (stochastic(dose, uniform) - dose).detach()


def by_marginal_pulse(chip: LearningModel, state: State, train: Train, noise: Sequence[Array]) -> State:
    """The states after a train; their derivative with respect to the count n is the step around it.

    (x(n + 1) - x(n - 1)) / 2, at n = 0 x(1) - x(0): doses are rounded at random, so that the expected state changes by
    whole pulses' steps, of which the next and the last one count here. The law's own derivative at a count is its speed
    there, far from what the first pulse of a stiff device does.
    """
    before, count = state._replace(x=state.x.detach()), train.count.detach()
    more, less = (
        after(chip, before, Train(train.up, other), noise).x for other in (count + 1.0, floor_at(count - 1.0, 0.0))
    )
    step = (more - less) / (1.0 + (count > 0))
    given = after(chip, state, Train(train.up, count), noise)
    return given._replace(x=given.x + (train.count - count) * step.detach())


def _constant(layer: Layer) -> Layer:
    return layer.replace(state=layer.state._replace(x=layer.state.x.detach()))


def _moved(layer: Layer, before: Layer) -> Layer:
    """The layer, whose states have the derivative one with respect to those before the step."""
    x = before.state.x
    return layer.replace(state=layer.state._replace(x=layer.state.x + (x - x.detach())))
