"""Whatever learns tasks: numbers, chips as NumPy has them or as the engine compiles them; and how it begins with them.

All three answer the same calls, so that evaluation, pictures and `adapt` are one text. Leading axes are tasks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from memenv.few_shot import chips
from memenv.few_shot.chips import Draws, Hardware, chip_outputs, fresh_chip
from memenv.few_shot.compiled_chips import Chips
from memenv.few_shot.heads import class_means, column_offsets, head_inputs, less_offsets
from memenv.few_shot.initialisations import Initialisation
from memenv.learning.step import matrix, rest
from memenv.learning.writing import UNCOUNTED, Spent
from metalearn.adaptation import Rates, ideal, ideal_outputs, on_chip

Layers = tuple[Any, ...]


class Learner(Protocol):
    """Everything that is done to the layers of all tasks."""

    def written(self, weights: Sequence[np.ndarray], ranges: Sequence[float]) -> tuple[Layers, Spent]:
        """Layers with weights (rows, outputs), of which nominal devices hold magnitudes up to `ranges`; the costs."""

    def rewritten(self, layer: Any, weights: np.ndarray) -> tuple[Any, Spent]:
        """The layer with other weights (tasks, rows, outputs), and what that took."""

    def outputs(self, layers: Layers, x: np.ndarray) -> np.ndarray:
        """(tasks, n, classes) of examples (tasks, n, inputs)."""

    def product(self, layers: Layers) -> Spent:
        """The costs of taking one example through the layers."""

    def steps(
        self, layers: Layers, x: np.ndarray, targets: np.ndarray, rates: Rates, offsets: np.ndarray | float
    ) -> Iterator[Any]:
        """Learning, a step each; `layers` and `counters` of each. `offsets` are subtracted from outputs."""

    def rested(self, layers: Layers, seconds: float) -> Layers:
        """The layers after a time [s] without a pulse."""


@dataclass(frozen=True)
class Numbers:
    """Weights that change by gradients as wanted."""

    tasks: int

    def written(self, weights: Sequence[np.ndarray], ranges: Sequence[float]) -> tuple[Layers, Spent]:
        """See `Learner`."""
        return tuple(np.broadcast_to(w, (self.tasks, *w.shape)) for w in weights), UNCOUNTED

    def rewritten(self, layer: Any, weights: np.ndarray) -> tuple[Any, Spent]:
        """See `Learner`."""
        return weights, UNCOUNTED

    def outputs(self, layers: Layers, x: np.ndarray) -> np.ndarray:
        """See `Learner`."""
        return ideal_outputs(layers, x)

    def product(self, layers: Layers) -> Spent:
        """See `Learner`."""
        return UNCOUNTED

    def steps(
        self, layers: Layers, x: np.ndarray, targets: np.ndarray, rates: Rates, offsets: np.ndarray | float
    ) -> Iterator[Any]:
        """See `Learner`; numbers are not off."""
        return ideal(layers, x, targets.astype(x.dtype), rates)

    def rested(self, layers: Layers, seconds: float) -> Layers:
        """See `Learner`."""
        return layers


@dataclass(frozen=True)
class Cells:
    """Chips whose cells are NumPy's arrays."""

    hardware: Hardware
    tasks: int
    chips: np.random.Generator
    draws: Draws

    def written(self, weights: Sequence[np.ndarray], ranges: Sequence[float]) -> tuple[Layers, Spent]:
        """See `Learner`."""
        if not weights:
            return (), UNCOUNTED
        sizes = (len(weights[0]) - 1, *(w.shape[1] for w in weights))
        fresh = fresh_chip(self.hardware, self.chips, sizes, self.tasks)
        return chips.write(self.hardware, fresh, weights, ranges, self.draws)

    def rewritten(self, layer: Any, weights: np.ndarray) -> tuple[Any, Spent]:
        """See `Learner`."""
        return chips.rewrite(self.hardware, layer, weights, self.draws)

    def outputs(self, layers: Layers, x: np.ndarray) -> np.ndarray:
        """See `Learner`."""
        return chip_outputs(self.hardware, layers, x, self.draws)

    def product(self, layers: Layers) -> Spent:
        """See `Learner`."""
        reads = self.hardware.reads
        return chips.summed(
            Spent(0.0, 0.0, reads * layer.state.x[0].size, matrix(layer, reads).energy) for layer in layers
        )

    def steps(
        self, layers: Layers, x: np.ndarray, targets: np.ndarray, rates: Rates, offsets: np.ndarray | float
    ) -> Iterator[Any]:
        """See `Learner`."""
        return on_chip(self.hardware, layers, x, targets, rates, self.draws, loss_of=less_offsets(offsets))

    def rested(self, layers: Layers, seconds: float) -> Layers:
        """See `Learner`."""
        return rest(layers, seconds)


@dataclass(frozen=True)
class Compiled:
    """Chips whose cells are run by compiled loops."""

    chips: Chips
    tasks: int
    draws: Draws

    def written(self, weights: Sequence[np.ndarray], ranges: Sequence[float]) -> tuple[Layers, Spent]:
        """See `Learner`."""
        return self.chips.written([np.broadcast_to(w, (self.tasks, *w.shape)) for w in weights], ranges)

    def rewritten(self, layer: Any, weights: np.ndarray) -> tuple[Any, Spent]:
        """See `Learner`."""
        return self.chips.rewritten(layer, weights)

    def outputs(self, layers: Layers, x: np.ndarray) -> np.ndarray:
        """See `Learner`."""
        return self.chips.outputs(layers, x, self.draws)

    def product(self, layers: Layers) -> Spent:
        """See `Learner`."""
        reads = self.chips.hardware.reads
        return chips.summed(
            Spent(0.0, 0.0, reads * layer.shown.x.size // self.tasks, layer.read(reads).energy) for layer in layers
        )

    def steps(
        self, layers: Layers, x: np.ndarray, targets: np.ndarray, rates: Rates, offsets: np.ndarray | float
    ) -> Iterator[Any]:
        """See `Learner`."""
        targets = targets.astype(np.float32)
        return self.chips.steps(layers, x, targets, rates, self.draws, loss=less_offsets(offsets))

    def rested(self, layers: Layers, seconds: float) -> Layers:
        """See `Learner`."""
        return tuple(self.chips.rested(layer, seconds) for layer in layers)


def seated(hardware: Hardware, init: Initialisation) -> Hardware:
    """The chip that an initialisation takes: without the devices that are given for a head which stays in digital.

    Raises:
        ValueError: devices a weight for another number of layers.
    """
    given, hidden = hardware.devices_per_weight, len(init.hidden)
    if init.head == "digital" and isinstance(given, tuple) and len(given) == hidden + 1 > 1:
        hardware = replace(hardware, devices_per_weight=given[:-1])
    hardware.devices_of(hidden + (init.head != "digital"))
    return hardware


def learner_of(
    hardware: Hardware | None,
    init: Initialisation,
    tasks: int,
    chip: np.random.Generator,
    noise: np.random.Generator,
    compiled: bool = False,
) -> Learner:
    """The learner of so many tasks, on chips drawn from one generator with noise from another; or numbers."""
    if hardware is None:
        return Numbers(tasks)
    hardware = seated(hardware, init)
    if not compiled:
        return Cells(hardware, tasks, chip, Draws(noise.standard_normal, noise.random))
    draws = Draws(partial(noise.standard_normal, dtype=np.float32), partial(noise.random, dtype=np.float32))
    return Compiled(Chips(hardware, int(chip.integers(2**62))), tasks, draws)


# -- a task ------------------------------------------------------------------------------------------------------------


class Begun(NamedTuple):
    """Layers that hold an initialisation and, if that is its head, the class means of each task."""

    layers: Layers
    head: np.ndarray | None  # (tasks, rows, classes) of a digital head
    rates: list[list[float]]  # of the steps of learning that follow
    initial: Spent  # of putting the initialisation on the chip
    means: Spent  # of reading the support and of writing the class means
    offsets: np.ndarray | float = 0.0  # (tasks, 1, classes) of the columns of a written head

    def outputs(self, learner: Learner, layers: Layers, x: np.ndarray) -> np.ndarray:
        """(tasks, n, classes) of examples (tasks, n, inputs), by the layers as they are now."""
        if self.head is not None:
            return head_inputs(learner.outputs, layers, x) @ self.head
        return learner.outputs(layers, x) - self.offsets

    def steps(self, learner: Learner, x: np.ndarray, targets: np.ndarray) -> Iterator[Any]:
        """Learning from these layers, as of `Learner`."""
        return learner.steps(self.layers, x, targets, self.rates, self.offsets)


def begin(
    learner: Learner, init: Initialisation, x: np.ndarray, targets: np.ndarray, layers: Layers | None = None
) -> Begun:
    """The start of learning from supports x (tasks, n, inputs) with one-hot targets (tasks, n, classes).

    On fresh layers, which `init` is written to; or on layers that have learned another task.

    Raises:
        ValueError: class means are the head, and a class has no example.
    """
    hidden, initial = len(init.hidden), UNCOUNTED
    if layers is None:
        kept = hidden if init.head == "digital" else hidden + 1
        layers, initial = learner.written(init.weights(targets.shape[-1])[:kept], init.ranges.tolist()[:kept])
    rates = init.rates.tolist() if init.rates.any() or init.head == "zeros" else []
    if init.head == "zeros":
        return Begun(layers, None, rates, initial, UNCOUNTED)
    features = head_inputs(learner.outputs, layers[:hidden], x)
    means = class_means(features, targets.astype(x.dtype), init.means_gain)

    def read(layers: Layers) -> Spent:
        return Spent(*(x.shape[1] * cost for cost in learner.product(layers)))

    if init.head == "digital":
        return Begun(layers, means, [], initial, read(layers))
    head, spent = learner.rewritten(layers[-1], means)
    offsets = column_offsets(learner.outputs((head,), features), features, means)
    layers = *layers[:hidden], head
    return Begun(layers, None, rates, initial, chips.summed((read(layers), spent)), offsets)


def adapt(
    init: Initialisation, images: np.ndarray, labels: np.ndarray, hardware: Hardware | None = None, seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """Learn classes from a few examples: what names the classes (m,) of further images (m, 28, 28).

    Args:
        init: where learning starts, and its rates.
        images: (n, 28, 28), uint8 in units of 1/255 or float in [0, 1].
        labels: (n,) whole numbers from 0.
        hardware: the chip that learns, a fresh one; without it numbers do.
        seed: of the chip and of the noise of its writes, reads and pulses.

    Raises:
        ValueError: labels that do not fit the images, or class means of a class without an example.
    """
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0:
        raise ValueError(f"labels are {labels.dtype} {labels.shape}: a whole number from 0 for each image is needed")
    x, targets = init.front(images)[None], np.eye(int(labels.max()) + 1)[labels][None]
    rng = np.random.default_rng(seed)
    learner = learner_of(hardware, init, 1, rng, rng)
    begun = begin(learner, init, x, targets)
    layers = begun.layers
    for step in begun.steps(learner, x, targets):
        layers = step.layers
    return lambda others: begun.outputs(learner, layers, init.front(others)[None])[0].argmax(-1)
