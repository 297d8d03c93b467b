"""Chips that learn few-shot tasks: their circuits, fresh ones, and what is written to them and read; NumPy or torch.

Leading axes are tasks, each with a chip of its own.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import Array
from memenv.compiler.counter_rng import parts
from memenv.devices.protocol import CellModel
from memenv.devices.uncertainty import of_chips
from memenv.learning.backprop import forward
from memenv.learning.step import Adaptation, Counters, Layer, fabricate_layer, matrix, program


class Draws(NamedTuple):
    """Sources of noise, of NumPy or of torch."""

    normal: Callable[[tuple[int, ...]], Any]  # shape -> standard normal
    uniform: Callable[[tuple[int, ...]], Any]  # shape -> in [0, 1)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A chip and the circuits around it: alike for whatever initialisations are compared."""

    device: CellModel  # nominal
    devices_per_weight: int = 1  # plus devices, and as many minus devices
    pulsed: str = "both"  # which devices learn: "both", "set", "reset" or "plus"
    max_pulses: int = 10  # at most per device and step
    reads: int = 4  # averaged in each product
    write_error: float = 0.01  # [range] standard deviation of a device's state after a verified write
    know_stuck: bool = True  # whether a test has found the cells that do not move
    accumulate: bool = False  # mixed precision: the residual of whole pulses is accumulated
    lines: bool = False  # stochastic row-parallel updates
    assume: str = "linear"  # what a pulse is taken to do: as at mid-range, or by the nominal "law"

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
            devices_per_weight=hardware.devices_per_weight,
            batch=(tasks,),
            know_stuck=hardware.know_stuck,
            kinds=kinds,
        )
        for part, pair in zip(parts(of_chips(rng, tasks), len(sizes) - 1), pairwise(sizes), strict=True)
    )


def write(
    hardware: Hardware, layers: Sequence[Layer], weights: Sequence[Array], ranges: Sequence[Array], draws: Draws
) -> tuple[Layer, ...]:
    """The layers with `weights` written and verified; `ranges` are the magnitudes that nominal devices can hold."""
    written = []
    for layer, w, most in zip(layers, weights, ranges, strict=True):
        shape = tuple(layer.state.x.shape)
        error, relaxation = hardware.write_error * draws.normal(shape), draws.normal(shape)
        written.append(program(layer.replace(scale=layer.scale * most), w, error, relaxation))
    return tuple(written)


def chip_outputs(hardware: Hardware, layers: Sequence[Layer], x: Array, draws: Draws) -> Array:
    """(..., n, classes) that noisy reads of the chip make of examples (..., n, inputs)."""
    noise = [draws.normal((*x.shape[:-1], layer.shape[1])) for layer in layers]
    return forward([matrix(layer, hardware.reads) for layer in layers], x, noise).outputs


def total(counters: Sequence[Counters], what: str) -> Array:
    """The sum over the layers of one of the counters."""
    return sum(map(operator.attrgetter(what), counters))
