"""Chips that learn few-shot tasks: their circuits, fresh ones, and what is written to them and read; NumPy or torch.

Leading axes are tasks, each with a chip of its own.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import Array, constant, derived_as, namespace, tree_map
from memenv.bounds import whole
from memenv.compiler.counter_rng import parts
from memenv.devices.protocol import CellModel
from memenv.devices.uncertainty import of_chips
from memenv.few_shot.placement import placed
from memenv.learning.backprop import forward
from memenv.learning.layers import full_scale
from memenv.learning.step import Adaptation, Counters, Layer, fabricate_layer, matrix, program
from memenv.learning.writing import UNCOUNTED, Spent, demands, pulse_and_verify, untried


class Draws(NamedTuple):
    """Sources of noise, of NumPy or of torch."""

    normal: Callable[[tuple[int, ...]], Any]  # shape -> standard normal
    uniform: Callable[[tuple[int, ...]], Any]  # shape -> in [0, 1)


MOST_DEVICES = 1000  # of one sign in a weight


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A chip and the circuits around it: alike for whatever initialisations are compared."""

    device: CellModel  # nominal
    devices_per_weight: int | tuple[int, ...] = 1  # plus devices, and as many minus devices; or of each layer
    pulsed: str = "both"  # which devices learn: "both", "set", "reset" or "plus"
    max_pulses: int = 10  # at most per device and step
    reads: int = 4  # averaged in each product
    write_error: float = 0.01  # [range] standard deviation of a device's state after a verified write ...
    tolerance: float = 0.0  # ... or, not zero: [of a weight's range] to which weights are written by pulses that count
    know_stuck: bool = True  # whether a test has found the cells that do not move
    place_units: bool = False  # whether a test of all devices finds each hidden unit the column that suits it
    accumulate: bool = False  # mixed precision: the residual of whole pulses is accumulated
    lines: bool = False  # stochastic row-parallel updates
    assume: str = "linear"  # what a pulse is taken to do: as at mid-range, or by the nominal "law"

    def __post_init__(self) -> None:
        """Raises ValueError: numbers of devices that are not positive and whole."""
        for number in np.atleast_1d(self.devices_per_weight):
            whole("devices_per_weight", number.item(), 1, MOST_DEVICES)

    def devices_of(self, layers: int) -> tuple[int, ...]:
        """Plus devices a weight of each of so many layers.

        Raises:
            ValueError: numbers for another number of layers.
        """
        given = self.devices_per_weight
        each = given if isinstance(given, tuple) else (given,) * layers
        if len(each) == 1:
            each *= layers
        if len(each) != layers:
            raise ValueError(
                f"devices_per_weight is {','.join(map(str, each))}: one number, or one for each of the {layers} layers "
                "that the chip holds, is needed"
            )
        return each

    def adaptation(self, rates: Sequence[Array]) -> Adaptation:
        """The way such a chip learns with these rates of its layers."""
        return Adaptation(
            rates=tuple(rates),
            devices=self.pulsed,
            max_pulses=self.max_pulses,
            reads=self.reads,
            accumulate=self.accumulate,
            lines=self.lines,
            assume=self.assume,
        )


def fresh_chip(
    hardware: Hardware, rng: Any, sizes: Sequence[int], tasks: int, kinds: np.ndarray | None = None
) -> tuple[Layer, ...]:
    """Layers of new cells for each of `tasks` tasks.

    Args:
        hardware: what they are made of.
        rng: draws the cells.
        sizes: the features, the outputs of each layer, the ways.
        tasks: how many.
        kinds: (tasks,) of a mixture, the number of the device that a task's chip is of; else each cell is of any.
    """
    return tuple(
        fabricate_layer(
            hardware.device,
            part,
            *pair,
            devices_per_weight=devices,
            batch=(tasks,),
            know_stuck=hardware.know_stuck,
            kinds=kinds,
        )
        for part, pair, devices in zip(
            parts(of_chips(rng, tasks), len(sizes) - 1),
            pairwise(sizes),
            hardware.devices_of(len(sizes) - 1),
            strict=True,
        )
    )


def write(
    hardware: Hardware, layers: Sequence[Layer], weights: Sequence[Array], ranges: Sequence[Array], draws: Draws
) -> tuple[tuple[Layer, ...], Spent]:
    """The layers with `weights` written and verified; `ranges` are the magnitudes that nominal devices can hold."""
    done, parts = [], []
    for blank, w, most in zip(layers, weights, ranges, strict=True):
        layer = blank.replace(scale=blank.scale * most)
        if hardware.place_units:
            layer, spent = placed(layer, w, draws.normal)
            parts.append(spent)
        layer, spent = rewrite(hardware, layer, w, draws)
        done.append(layer)
        parts.append(spent)
    return tuple(done), summed(parts)


def rewrite(hardware: Hardware, layer: Layer, weights: Array, draws: Draws) -> tuple[Layer, Spent]:
    """The layer with other weights (..., rows, outputs), and what that took of each task's chip.

    Torch takes the derivatives of a write at once for those through pulses: a weight that arrives is what was wanted.
    """
    shape = tuple(layer.state.x.shape)
    if not hardware.tolerance:
        error, relaxation = hardware.write_error * draws.normal(shape), draws.normal(shape)
        return program(layer, weights, error, relaxation), UNCOUNTED
    at_once = weights if namespace(weights) is np else program(layer, weights).state.x
    layer = layer.replace(state=layer.state._replace(x=constant(layer.state.x)))
    wanted = constant(weights / layer.scale) + 0.0 * layer.state.x[..., 0]
    tried, parts = untried(layer.state.x), []
    for demand in demands(layer, hardware.tolerance * full_scale(layer)):
        noise = [draws.normal(shape) for _ in range(3)]
        layer, tried, spent = pulse_and_verify(layer, wanted, tried, demand, draws.normal(shape), noise)
        parts.append(tree_map(lambda part: part.sum((-2, -1)), spent))
    return layer.replace(state=layer.state._replace(x=derived_as(layer.state.x, at_once))), summed(parts)


def summed(parts: Iterable[Spent]) -> Spent:
    """All costs together."""
    return Spent(*map(sum, zip(UNCOUNTED, *parts, strict=True)))


def chip_outputs(hardware: Hardware, layers: Sequence[Layer], x: Array, draws: Draws) -> Array:
    """(..., n, classes) that noisy reads of the chip make of examples (..., n, inputs)."""
    noise = [draws.normal((*x.shape[:-1], layer.shape[1])) for layer in layers]
    return forward([matrix(layer, hardware.reads) for layer in layers], x, noise).outputs


def total(counters: Sequence[Counters], what: str) -> Array:
    """The sum over the layers of one of the counters."""
    return sum(map(operator.attrgetter(what), counters))
