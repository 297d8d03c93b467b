"""Chips of environments: the programs of `memenv.learning.kernels` on the weights of many tasks."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import is_zero, put, take, tree_map
from memenv.compiler.counter_rng import Draws, Noise
from memenv.devices.mixture import Mixture
from memenv.devices.protocol import CellModel
from memenv.devices.reads import State
from memenv.envs.few_shot.programs import PRODUCTS, STEP_BITS, in_blocks, launched, normal_pair, places_of, under
from memenv.envs.noise import CellNoise
from memenv.few_shot.chips import Hardware, summed
from memenv.few_shot.heads import class_means, head_inputs
from memenv.learning import kernels
from memenv.learning.backprop import forward, weight_gradient
from memenv.learning.kernels import Kept, Program, Shown, Spent
from memenv.learning.layers import Layer, Matrix, blank_layer
from memenv.learning.pulse_trains import Costs
from memenv.learning.step import Step, adapt_step
from memenv.learning.updates import Adaptation, Counters, LayerNoise, counted
from memenv.learning.writing import Demand, demands, untried


class Written(NamedTuple):
    """A layer on the chips of tasks, and what it shows when it is read."""

    layer: Layer  # its chip and state are arrays (tasks, rows, outputs, devices), or (tasks, 1, 1, 1)
    seen: Matrix


@dataclass(frozen=True)
class Chips:
    """Everything that is done to the chips of tasks; each operation takes the noise (tasks,) of its step."""

    hardware: Hardware
    sizes: tuple[int, ...]  # the features, the outputs of each layer, the ways
    compiled: bool  # else NumPy

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Rows and outputs of each layer."""
        return [(inputs + 1, outputs) for inputs, outputs in pairwise(self.sizes)]

    @property
    def plus(self) -> int:
        """Plus devices of a weight, alike in all layers."""
        return self.hardware.devices_of(1)[0]

    @property
    def places(self) -> list[int]:
        """The place of each layer's first weight."""
        return self._ends[:-1]

    @property
    def _ends(self) -> list[int]:
        return [0, *accumulate(map(math.prod, self.shapes))]

    def fabricate(self, noise: CellNoise, kinds: np.ndarray | None) -> tuple[CellModel, ...]:
        """The cells of each layer; of a mixture, a task's are all of the device with the number kinds[task]."""
        devices = 2 * self.plus
        return tuple(
            self._fabricated(noise, kinds, first * devices, (rows, outputs * devices), (rows, outputs, devices))
            for first, (rows, outputs) in zip(self.places, self.shapes, strict=True)
        )

    def _fabricated(
        self, noise: CellNoise, kinds: np.ndarray | None, first: int, cells: tuple[int, int], shape: tuple[int, ...]
    ) -> CellModel:
        tasks, rest = len(noise.step), (self.hardware.device, kinds)
        if self.compiled:
            chip = launched(_fabricate, noise, first, cells, (), rest)
        elif kinds is None:  # as a device of any class expects it: arrays (cells,)
            flat = [np.repeat(part, math.prod(cells)) for part in (noise.key, noise.other_key, noise.step)]
            place = np.tile(places_of(first, 1, cells).ravel(), tasks)
            chip = _fabricate(under(flat, place), len(place), (), rest)
        else:
            rest = rest[0], kinds[:, None]
            flat = [part.reshape(-1, 1) for part in noise]
            chip = _fabricate(under(flat, places_of(first, 1, cells).reshape(1, -1)), math.prod(cells), (), rest)

        def shaped(leaf: Any) -> Any:
            if not getattr(leaf, "ndim", 0):
                return leaf
            return leaf.reshape(tasks, *(shape if leaf.size > tasks else (1, 1, 1)))

        fabricated: CellModel = tree_map(shaped, chip)
        return fabricated

    def write(
        self,
        chip: Sequence[CellModel],
        kinds: np.ndarray | None,
        weights: Sequence[np.ndarray],
        ranges: Sequence[float],
        noise: CellNoise,
    ) -> tuple[Written, ...]:
        """Weights (rows, outputs), alike for all tasks, on fresh chips; `ranges` are what nominal devices can hold."""
        tasks, hardware = len(noise.step), self.hardware
        written = []
        for cells, w, most, first in zip(chip, weights, ranges, self.places, strict=True):
            unknown = np.broadcast_to(np.float32(0), (tasks, *w.shape, 2 * self.plus))
            layer = self._blank if kinds is None else take(self._blank, kinds)
            differ = np.ndim(cells.x_lo) or np.ndim(cells.x_hi)  # else no cell is stuck
            layer = layer.replace(
                chip=_lean(cells),
                state=State(x=unknown, age=0.0),
                scale=layer.scale * most,
                good=1.0 if hardware.know_stuck and differ else None,
            )
            wanted = np.broadcast_to(w / layer.scale, (tasks, *w.shape)).astype(np.float32)
            rest = _blind(layer), hardware.write_error
            written.append(self._shown(layer, *self._run(kernels.program, noise, first, (wanted,), rest)))
        return tuple(written)

    @functools.cached_property
    def _blank(self) -> Layer:
        """A layer whose weights reach to one, without its cells; of a mixture, such a layer on each of its devices.

        Circuits that write know its nominal device, where that has a law; those that learn do without.
        """
        device, devices = self.hardware.device, self.plus
        nominal: Any = device.record
        if isinstance(device, Mixture):
            nominal = tree_map(lambda leaf: leaf[:, None, None, None] if np.ndim(leaf) else leaf, device.nominal)
        kinds = np.arange(len(device.devices)) if device.devices else None
        unknown = np.zeros((len(device.devices) or 1, 1, 1, 2 * devices))
        return blank_layer(device, device, unknown, devices, 1.0, kinds).replace(device=nominal, chip=None)

    def step(
        self,
        written: tuple[Written, ...],
        x: np.ndarray,
        targets: np.ndarray,
        noise: CellNoise,
        config: Adaptation,
    ) -> Step:
        """`adapt_step` on examples x (tasks, n, features)."""
        products = [
            LayerNoise(
                forward=self.normals(noise, 3 * number + 1, (x.shape[1], outputs)),
                backward=self.normals(noise, 3 * number + 2, (x.shape[1], rows)) if number else None,
                rounding=(),
                pulse=None,
            )
            for number, (rows, outputs) in enumerate(self.shapes)
        ]
        numbers = iter(range(len(written)))

        def learn(layer: Written, rate: Any, inputs: Any, errors: Any, _: LayerNoise, config: Adaptation) -> Any:
            return self.learn(next(numbers), layer, rate, inputs, errors, noise, config)

        return adapt_step(written, x, targets, tuple(products), config, _seen, learn)

    def with_means(
        self,
        step: Step,
        written: Sequence[Written],
        x: np.ndarray,
        targets: np.ndarray,
        noise: CellNoise,
        size: np.ndarray,
        tolerance: np.ndarray,
    ) -> Step:
        """The step, but with class means written to the heads of some tasks, in which nothing has been learned.

        Counters have what is missing in place of the gradient, and the share of weights that are off as saturated.

        Args:
            step: of all tasks.
            written: the layers before it.
            x: (tasks, n, features) of the examples.
            targets: (tasks, n, classes) one-hot.
            noise: of the step.
            size: (tasks,) root mean square of the class means, 0 where none are to be written.
            tolerance: (tasks,) weights that read as being off by less stay.
        """
        rows = np.flatnonzero(size)
        if not len(rows):
            return step
        given = tuple(written), x, targets, noise, size, tolerance
        (*hidden, head), x, targets, noise, size, tolerance = take(given, rows)
        inputs = head_inputs(lambda layers, x: self.outputs(layers, x, noise, 1), hidden, x[..., :-1])
        scale, each = head.layer.scale, (slice(None), None, None)
        wanted = (class_means(inputs, targets, size[each]) / scale).astype(np.float32)
        layer, tolerated = head.layer.replace(scale=1.0), (tolerance[each] / scale).astype(np.float32)
        states, tried, parts = layer.state.x, untried(layer.state.x), []
        for number, demand in enumerate(demands(layer, tolerated), 1):
            moving, rest = (states, wanted), (layer, tried, Demand(*map(np.asarray, demand)))
            first = number * self._ends[-1]
            shown, kept, tried, spent = self._run(kernels.verifying, noise, first, moving, rest)
            states, layer = shown.x, layer.replace(state=kept.state)
            parts.append(tree_map(_sum, spent))
        missing = scale * (wanted - layer.fan_in(tried.reading))
        (*passed, last), costs = take(step.counters, rows), summed(parts)
        last = last._replace(
            pulses=costs.pulses,
            energy=costs.energy,
            read_energy=costs.read_energy,
            saturated=tried.open.mean((1, 2)),
            gradient=np.sqrt((missing**2).mean((1, 2))),
        )
        passed = [
            one._replace(read_energy=x.shape[1] * read.seen.energy) for one, read in zip(passed, hidden, strict=True)
        ]
        new, old = self._shown(head.layer, shown, kept), step.layers[-1]
        before, after = ((one.layer.state, one.seen) for one in (old, new))
        (state, seen), counters = put((before, step.counters), rows, (after, (*passed, last)))
        head = Written(old.layer.replace(state=state), seen)
        return step._replace(layers=(*step.layers[:-1], head), counters=counters)

    def outputs(self, written: Sequence[Written], x: np.ndarray, noise: CellNoise, lane: int = 0) -> np.ndarray:
        """(tasks, n, outputs of the last) that noisy reads make of examples x (tasks, n, features), 0 <= lane < 3."""
        drawn = [
            self.normals(noise, 3 * number + lane, (x.shape[1], one.seen.weights.shape[-1]))
            for number, one in enumerate(written)
        ]
        outputs: np.ndarray = forward([one.seen for one in written], x, drawn).outputs
        return outputs

    def learn(
        self,
        number: int,
        written: Written,
        rate: np.ndarray,
        inputs: np.ndarray,
        errors: np.ndarray,
        noise: CellNoise,
        config: Adaptation,
    ) -> tuple[Written, Counters]:
        """`update` of the layer of this number, as one of `adapt_step`; tasks with a rate of zero keep their cells."""
        gradient, rows = weight_gradient(inputs, errors), np.flatnonzero(rate.ravel())
        whole = written.layer, noise, rate, gradient, config.threshold
        layer, now, rate, change, threshold = whole if len(rows) == len(gradient) else take(whole, rows)
        learnt, spent = written, Spent(Costs(*np.zeros((4, len(gradient)))), np.zeros(len(gradient)))
        if len(rows):
            program = _teaching(replace(config, rates=(0.0,), threshold=0.0, loss=_none, reads=1))
            moving = layer.state.x, (-rate / layer.scale).astype(np.float32) * change
            shown, kept = self._run(program, now, self.places[number], moving, (_blind(layer), threshold))
            new = self._shown(layer, shown, kept)
            fields = new.layer.state, new.seen, tree_map(_sum, kept.spent)
            if len(rows) < len(gradient):
                fields = put((written.layer.state, written.seen, spent), rows, fields)
            state, seen, spent = fields
            learnt = Written(written.layer.replace(state=state), seen)
        limited = spent.limited / (gradient[0].size * written.layer.shape[-1])
        return learnt, counted(gradient, spent.costs, limited)

    def rested(self, written: Sequence[Written], seconds: float, noise: CellNoise) -> tuple[Written, ...]:
        """The layers after a time [s] without a pulse."""
        parts = []
        for one, first in zip(written, self.places, strict=True):
            x, rest = one.layer.state.x, (_blind(one.layer), seconds)
            parts.append(self._shown(one.layer, *self._run(kernels.relax, noise, first, (x,), rest, x.shape[1:-1])))
        return tuple(parts)

    def normals(self, noise: CellNoise, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """Standard normals (tasks, *shape) float32, those of the pair of lanes of a product."""
        size, tasks = math.prod(shape), len(noise.step)
        moved = noise._replace(step=noise.step + np.uint32((PRODUCTS + number) << STEP_BITS))
        pair = self._run(normal_pair, moved, 0, (), (), (1, (size + 1) // 2))
        return np.concatenate(pair, 1).reshape(tasks, -1)[:, :size].reshape(tasks, *shape)

    def _shown(self, layer: Layer, shown: Shown, kept: Kept) -> Written:
        """The matrices of layers, in single precision."""
        x, mean, variance = shown
        read = layer.chip.read
        if np.ndim(variance) and all(map(is_zero, (read.noise_exponent, read.noise_log_time, read.telegraph))):
            variance = variance[:, :1, :1]  # alike for all cells of a chip
        reads = self.hardware.reads
        seen = Matrix(
            weights=(layer.scale * mean).astype(np.float32),
            variance=None if is_zero(variance) else (layer.scale**2 / reads * variance).astype(np.float32),
            energy=reads * _sum(kept.reading),
        )
        return Written(layer.replace(state=tree_map(_single, kept.state._replace(x=x))), seen)

    def _run(
        self,
        program: Callable[..., Any],
        noise: CellNoise,
        first: int,
        moving: tuple[np.ndarray, ...],
        rest: Any,
        shape: tuple[int, ...] = (),
    ) -> Any:
        """A program on arrays (tasks, rows, outputs) of weights, of which the first has a place."""
        run = launched if self.compiled else in_blocks
        return run(program, noise, first, shape or moving[-1].shape[1:], moving, rest)


def _seen(written: Written, reads: int) -> Matrix:
    return written.seen


def _blind(layer: Layer) -> Layer:
    """The layer in units of conductance, to circuits that do not know its device."""
    return layer.replace(scale=1.0, device=None)


# -- helpers -----------------------------------------------------------------------------------------------------------


def _fabricate(noise: Noise, cells: int, _: Any, rest: tuple[Any, np.ndarray | None]) -> CellModel:
    device, kinds = rest
    made: CellModel = (
        device.fabricate(Draws(noise), cells) if kinds is None else device.fabricate_of(kinds, Draws(noise), cells)
    )
    return made


@functools.cache
def _teaching(config: Adaptation) -> Program:
    """`kernels.updating` that counts, with a threshold (tasks, 1, 1, 1) beside the layer."""

    def update(noise: Noise, weights: int, moving: Any, rest: tuple[Layer, Any]) -> tuple[Shown, Kept]:
        layer, threshold = rest
        program: Program = kernels.updating.__wrapped__(replace(config, threshold=threshold), True)
        return program(noise, weights, moving, layer)

    return update


def _none(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In place of a loss, of which programs of cells know nothing."""
    raise NotImplementedError


def _sum(part: np.ndarray) -> np.ndarray:
    """(tasks,) float64 of arrays (tasks, ...)."""
    total: np.ndarray = part.reshape(len(part), -1).sum(-1).astype(float)
    return total


def _lean(chip: Any) -> Any:
    """The chip without what has no further use."""
    return chip.replace(driver=None, mismatch=None) if chip.record else chip


def _single(leaf: Any) -> Any:
    return leaf.astype(np.float32, copy=False) if isinstance(leaf, np.ndarray) else leaf
