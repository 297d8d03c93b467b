"""Chips that learn few-shot tasks as the engine compiles them: what happens to the cells of a layer is one loop.

The same text as `memenv.learning.step` on arrays, but in single precision and with noise by key, and ten times as fast.
Arrays are NumPy's; or torch's, if what runs the programs of `memenv.learning.kernels` takes tensors.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from memenv.arrays import Array, constant, derived_as, is_zero, namespace, tree_map
from memenv.compiler.counter_rng import Key, Noise, Words
from memenv.compiler.runtime import run
from memenv.crossbars.memory_budget import check_memory
from memenv.devices.reads import State
from memenv.engine import Engine, EngineError, load_engine
from memenv.few_shot.chips import Draws, Hardware, summed
from memenv.few_shot.placement import placed
from memenv.learning import kernels
from memenv.learning import writing as costs
from memenv.learning.backprop import cross_entropy, forward, weight_gradient
from memenv.learning.kernels import Kept, Program, Shown, Spent
from memenv.learning.layers import Matrix, blank_layer, full_scale
from memenv.learning.pulse_trains import Costs
from memenv.learning.step import Adaptation, Counters, Layer, LayerNoise, Step, adapt_step
from memenv.learning.updates import counted

WORTHWHILE = 100_000  # cells at once, above which the seconds of compilation are soon regained
NOT_COUNTED = Counters(*[0.0] * len(Counters._fields))
Runner = Callable[[Program, Key, Any, tuple[Array, ...]], tuple[Shown, Kept]]  # of a program, its rest and what moves


def fits(hardware: Hardware, tasks: int, weights: int, engine: str = "auto") -> bool:
    """True if the chips of so many tasks, of so many weights each, are compiled.

    By "auto" they are where numba is installed, enough cells are worth it, and `not_compiled` names nothing; "numpy"
    and "numba" insist. The two fabricate other chips of one seed, alike in distribution.

    Raises:
        EngineError: an unknown engine, or numba where it is not installed or cannot compile these chips.
    """
    few = 2 * max(np.atleast_1d(hardware.devices_per_weight)) * tasks * weights < WORTHWHILE
    if engine == "auto" and (not_compiled(hardware) or few):
        return False
    compiles = load_engine(engine).name == "numba"
    if compiles and (what := not_compiled(hardware)):
        raise EngineError(f'engine "numba" does not compile chips with {what}: choose "numpy" or "auto"')
    return compiles


def not_compiled(hardware: Hardware) -> str:
    """The setting, if any, with which learning is no loop over weights: each cell has to get pulses of its own."""
    if hardware.device.not_compiled or hardware.device.devices:
        return f"device={hardware.device.name!r}"
    for name, simple in (("assume", "linear"), ("lines", False), ("accumulate", False)):
        if getattr(hardware, name) != simple:
            return f"{name}={getattr(hardware, name)!r}"
    return ""


def by_numpy(program: Callable[..., Any], key: Key, rest: Any, moving: tuple[np.ndarray, ...]) -> Any:
    """Runs a program on arrays."""
    arrays = tuple(np.asarray(part, np.float32) for part in moving)
    return run(program, key, (len(arrays[0]),), (arrays, rest), None, 1, False)


@dataclass(frozen=True)
class Weights:
    """The weights of a layer on every task's chip, and what a read of them says."""

    layer: Layer  # its chip and state are arrays (weights, devices), but for the state's x, which is shown
    shown: Shown
    reading: Array  # (weights,) [J] of one read of all devices
    axes: tuple[int, int, int]  # tasks, rows, outputs

    def seen(self, reads: int) -> Matrix:
        """The matrix of a layer, as `matrix` has it, but for the energy."""
        layer, (_, mean, variance) = self.layer, self.shown
        spread = variance.reshape(self.axes) if np.ndim(variance) else variance
        noise = None if is_zero(spread) else layer.scale**2 / reads * spread
        return Matrix(layer.scale * mean.reshape(self.axes), noise, 0.0)

    def read(self, reads: int) -> Matrix:
        """The matrices of layers."""
        energy = self.reading.reshape(self.axes[0], -1).sum(-1, dtype=float)
        return self.seen(reads)._replace(energy=reads * energy)


class Chips:
    """Fresh chips for all tasks, and what is done to them; each thing done draws its noise by a key of its own."""

    def __init__(self, hardware: Hardware, seed: int, runner: Runner = by_numpy, threads: int = 1) -> None:
        """`seed` of chips and noise; costs are counted where NumPy runs.

        Raises:
            EngineError: chips that cannot be compiled.
        """
        if what := not_compiled(hardware):
            raise EngineError(f"chips with {what} are not compiled")
        self.hardware, self.runner, self.engine = hardware, runner, Engine("numba", threads)
        self.keys = (Key(seed, step) for step in count())
        self.chip_keys = (Key(seed, step) for step in count(2**63))

    def written(self, weights: Sequence[Array], ranges: Sequence[Array]) -> tuple[tuple[Weights, ...], costs.Spent]:
        """Weights (tasks, rows, outputs) on fresh chips; `ranges` are the magnitudes that nominal devices can hold."""
        devices = self.hardware.devices_of(len(weights))
        tasks = np.arange(len(weights[0]), dtype=np.uint32)
        chips = Noise(next(self.chip_keys).words()[:, None], tasks).words(0)  # what a chip's layers have in common
        done, parts = [], []
        for w, most, number in zip(weights, ranges, devices, strict=True):
            blank, tested = self._blank(w, most, number, chips)
            layer, spent = self.rewritten(blank, w)
            done.append(layer)
            parts += [tested, spent]
        return tuple(done), summed(parts)

    def _blank(self, weights: Array, most: Array, devices: int, chips: Words) -> tuple[Weights, costs.Spent]:
        """Cells for weights (tasks, rows, outputs) that are in no known state yet, and what a test of them took."""
        hardware, device, axes = self.hardware, self.hardware.device, tuple(weights.shape)
        shape = math.prod(axes), 2 * devices
        check_memory(device, shape[0] * shape[1], device.pulse_channels)
        first, second = (np.repeat(word, math.prod(shape) // axes[0]) for word in chips)
        cells = self.engine.fabricate(device, next(self.keys), shape[0] * shape[1], (first, second))
        unknown, chip = _unknown(*shape), _of_shape(cells, shape)
        layer = blank_layer(device, chip, unknown, devices)
        differ = np.ndim(chip.x_lo) or np.ndim(chip.x_hi)  # else no cell is stuck
        layer = layer.replace(scale=layer.scale * most, good=1.0 if hardware.know_stuck and differ else None)
        tested = costs.UNCOUNTED
        if hardware.place_units:
            normal = partial(np.random.default_rng(next(self.keys).words()).standard_normal, dtype=np.float32)
            found, tested = placed(_of_shape(layer, (*axes, 2 * devices)), weights, normal)
            layer = _of_shape(found, shape)
        if not hardware.tolerance:
            return Weights(layer, Shown(unknown, 0.0, 0.0), unknown, axes), tested
        shown, kept = by_numpy(kernels.blank, next(self.keys), layer.replace(scale=1.0), (unknown,))
        return Weights(layer.replace(state=kept.state), shown, kept.reading, axes), tested

    def rewritten(self, weights: Weights, other: Array) -> tuple[Weights, costs.Spent]:
        """`rewrite` with weights (tasks, rows, outputs)."""
        layer, axes = weights.layer, weights.axes
        wanted = (other / layer.scale).reshape(-1)
        counted = bool(self.hardware.tolerance)
        if not counted or namespace(wanted) is not np:
            unknown = layer.replace(scale=1.0, state=State(x=_unknown(len(wanted), 2 * layer.plus), age=0.0))
            error = 0.0 if counted else self.hardware.write_error
            at_once, kept = self._run(kernels.program, (unknown, error), wanted)
            if not counted:
                return Weights(layer.replace(state=kept.state), at_once, kept.reading, axes), costs.UNCOUNTED
        still, shown, parts = layer.replace(scale=1.0), weights.shown, []
        x, goal = np.asarray(constant(shown.x)), constant(wanted)
        tried = costs.untried(x)
        for demand in costs.demands(layer, self.hardware.tolerance * full_scale(layer)):
            rest = still, tried, costs.Demand(*map(np.asarray, demand))
            shown, kept, tried, spent = by_numpy(kernels.verifying, next(self.keys), rest, (x, goal))
            still, x = still.replace(state=kept.state), shown.x
            parts.append(tree_map(lambda part: part.reshape(axes[0], -1).sum(-1, dtype=float), spent))
        if namespace(wanted) is not np:
            shown = Shown(*map(derived_as, shown, at_once))
        return Weights(still.replace(scale=layer.scale), shown, kept.reading, axes), summed(parts)

    def learn(
        self, weights: Weights, rate: Array, inputs: Array, errors: Array, _: LayerNoise, config: Adaptation
    ) -> tuple[Weights, Counters]:
        """`update` of layers."""
        layer, gradient = weights.layer, weight_gradient(inputs, errors)
        program = kernels.updating(replace(config, rates=(0.0,), loss=cross_entropy, reads=1), self.runner is by_numpy)
        change = (-rate / layer.scale * gradient).reshape(-1)
        shown, kept = self._run(program, layer.replace(scale=1.0), weights.shown.x, change)
        counters = NOT_COUNTED if kept.spent is None else _counters(kept.spent, gradient, weights.shown.x.shape[-1])
        return Weights(layer.replace(state=kept.state), shown, kept.reading, weights.axes), counters

    def rested(self, weights: Weights, seconds: float) -> Weights:
        """The weights after a time [s] without a pulse."""
        layer = weights.layer
        shown, kept = self._run(kernels.relax, (layer.replace(scale=1.0), seconds), weights.shown.x)
        return Weights(layer.replace(state=kept.state), shown, kept.reading, weights.axes)

    def _run(self, program: Callable[..., Any], rest: Any, *moving: Array) -> Any:
        return self.runner(program, next(self.keys), rest, moving)

    def steps(
        self,
        weights: tuple[Weights, ...],
        x: Array,
        targets: Array,
        rates: Sequence[Sequence[Array]],
        draws: Draws,
        **how: Any,
    ) -> Iterator[Step]:
        """Learn by pulses, a step each.

        Args:
            weights: of the layers.
            x: (tasks, n, inputs) examples.
            targets: (tasks, n, classes) one-hot.
            rates: of each step and layer.
            draws: noise of the products.
            how: fields of `Adaptation` that differ.
        """
        for step in rates:
            config = replace(self.hardware.adaptation(step), **how)
            sizes = [[(*x.shape[:-1], lines) for lines in layer.axes] for layer in weights]
            noise = tuple(LayerNoise(draws.normal(outputs), draws.normal(rows), (), None) for _, rows, outputs in sizes)
            taken = adapt_step(weights, x, targets, noise, config, Weights.read, self.learn)
            weights = taken.layers
            yield taken

    def outputs(self, weights: Sequence[Weights], x: Array, draws: Draws) -> Array:
        """(..., n, classes) that noisy reads of the chips make of examples (..., n, inputs)."""
        noise = [draws.normal((*x.shape[:-1], layer.axes[2])) for layer in weights]
        return forward([layer.seen(self.hardware.reads) for layer in weights], x, noise).outputs


def _of_shape(tree: Any, shape: tuple[int, ...]) -> Any:
    """The record, whose arrays of cells have another shape."""
    cells = math.prod(shape)
    return tree_map(lambda leaf: leaf.reshape(shape) if np.size(leaf) == cells else leaf, tree)


def _unknown(weights: int, devices: int) -> np.ndarray:
    """States (weights, devices) that are never read."""
    return np.broadcast_to(np.float32(0), (weights, devices))


def _counters(spent: Spent, gradient: Array, devices: int) -> Counters:
    """Of each task."""
    tasks = len(gradient)
    costs = Costs(*(part.reshape(tasks, -1).sum(-1, dtype=float) for part in spent.costs))
    limited = spent.limited.reshape(tasks, -1).sum(-1, dtype=float) / (gradient[0].size * devices)
    return counted(gradient, costs, limited)
