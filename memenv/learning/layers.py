"""Weights on crossbar cells: several devices carry each weight, in pairs or against a reference column.

A layer has `rows` = inputs + 1 lines (the last one, driven by one, holds the biases) and `outputs` columns of weights;
a weight is w = scale (sum of its plus devices - sum of its minus devices), [scale] = 1/S, and a layer without minus
devices subtracts as many reference conductances. Arrays of cells are (..., rows, outputs, devices), plus devices first;
leading axes are a batch of layers, each on its own part of the chip.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from memenv.arrays import Array, clip, floor_at, is_zero, namespace, tree_map
from memenv.bounds import MOST, whole
from memenv.compiler.counter_rng import parts
from memenv.crossbars.memory_budget import FEW, check_memory
from memenv.devices.mixture import Mixture
from memenv.devices.protocol import CellModel, LearningModel, learning
from memenv.devices.reads import ReadMoments, State

PASSES = 4  # over the devices of a weight, in which those that can move make up for those that cannot
LEAST_VARIANCE = 1e-30  # [weight^2] keeps the derivative of its root finite where all inputs are zero


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The cells of a layer, what they hold, and what their user knows about them."""

    device: LearningModel  # the nominal device: what the user knows
    chip: LearningModel  # its fabricated cells, arrays (..., rows, outputs, devices): what the pulses meet
    state: State  # of the cells
    scale: Array  # [1/S] weight of a conductance; (..., 1, 1) where chips are of several devices
    plus: int  # devices that raise a weight; all others lower it
    reference: Array  # [S] conductance of a zero weight's devices and of the reference column; or (..., 1, 1, 1)
    step: tuple[Array, Array]  # [S] what one reference pulse (SET, RESET) is taken to change there; or (..., 1, 1, 1)
    good: Array | None = None  # (..., rows, outputs, devices) 0 where a device is known to be stuck, else 1
    residual: Array = 0.0  # (..., rows, outputs, devices) [S] accumulated residual of updates

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, outputs, devices)."""
        return tuple(self.state.x.shape[-3:])

    def fan_out(self, weights: Array) -> Array:
        """One share a device with that device's sign: (..., rows, outputs) to (..., rows, outputs, devices)."""
        return namespace(weights).stack([weights] * self.plus + [-weights] * (self.shape[-1] - self.plus), -1)

    def fan_in(self, cells: Array) -> Array:
        """The adjoint of `fan_out`: plus devices less minus devices."""
        return over_devices(cells[..., : self.plus]) - over_devices(cells[..., self.plus :])


class Matrix(NamedTuple):
    """A read of a layer: the mean and the variance of each weight."""

    weights: Array  # (..., rows, outputs)
    variance: Array | None = None  # (..., rows, outputs) or a number alike for all, None without read noise
    energy: Array = 0.0  # (...,) [J] of one product, at most: every line at the read voltage


def over_devices(cells: Array) -> Array:
    """The sum over the devices of a weight: a few, of which a loop is faster than a reduction."""
    return sum(cells[..., device] for device in range(cells.shape[-1]))


# -- building and writing ----------------------------------------------------------------------------------------------


def fabricate_layer(
    device: CellModel,
    rng: Any,
    inputs: int,
    outputs: int,
    *,
    w_max: float = 1.0,
    devices_per_weight: int = 1,
    pair: bool = True,
    batch: tuple[int, ...] = (),
    know_stuck: bool = True,
    kinds: np.ndarray | None = None,
) -> Layer:
    """A layer of fresh cells, all weights near zero: every cell stands at mid-range or as near as it can.

    Args:
        device: nominal device, or a mixture of them.
        rng: draws the chip.
        inputs: lines without that of the biases.
        outputs: columns of weights.
        w_max: largest magnitude of a weight of nominal devices; sets the scale.
        devices_per_weight: k; a pair has k plus and k minus devices.
        pair: whether there are minus devices; else the reference column is subtracted.
        batch: leading axes.
        know_stuck: whether a test has found the cells that do not move at all.
        kinds: (*batch,) of a mixture: the number of the device that all cells of a layer are of. The layer's circuits
            know its range, as two reads tell it, and of its pulses only what they change in the mixture's devices:
            the geometric mean of the steps as shares of the range.

    Raises:
        ValueError: a size that is not a positive whole number, or a `w_max` that is not positive and finite; or kinds
            without pairs or without a mixture.
    """
    for name, size in (("inputs", inputs), ("outputs", outputs), ("devices_per_weight", devices_per_weight)):
        whole(name, size, 1, MOST)
    if not (w_max > 0 and math.isfinite(w_max)):
        raise ValueError(f"w_max is {w_max!r}: a positive number is needed")
    devices = devices_per_weight * (2 if pair else 1)
    shape = (*batch, inputs + 1, outputs, devices)
    cells = math.prod(shape)
    if kinds is not None and not (pair and isinstance(device, Mixture)):
        raise ValueError("kinds say which device of a mixture a chip of pairs is of: give a list of devices")
    if cells > FEW:
        check_memory(device, cells, device.pulse_channels)
    making, resting = parts(rng, 2)
    if kinds is None or not isinstance(device, Mixture):
        fabricated = device.fabricate(making, cells)
    else:
        fabricated = device.fabricate_of(np.repeat(kinds, cells // kinds.size), making, cells)
    chip = tree_map(lambda leaf: leaf.reshape(shape) if getattr(leaf, "ndim", 0) else leaf, fabricated)
    blank = blank_layer(device, chip, np.zeros(shape), devices_per_weight, w_max, kinds)
    layer = fresh(blank, resting.standard_normal((2, *shape)))
    return layer if know_stuck and not np.all(layer.good) else layer.replace(good=None)


def blank_layer(
    device: CellModel, chip: CellModel, x: Array, plus: int, w_max: float = 1.0, kinds: np.ndarray | None = None
) -> Layer:
    """A layer of a chip whose cells `x` (..., rows, outputs, devices) are in no known state; arguments as above."""
    nominal = learning(device)
    g_min, g_max, *step = _known(nominal, kinds)
    size = g_max - g_min
    return Layer(
        device=nominal,
        chip=learning(chip),
        state=State(x=x, age=0.0),
        scale=w_max / (0.5 * x.shape[-1] * (size if kinds is None else size[..., 0])),
        plus=plus,
        reference=0.5 * (g_min + g_max),
        step=tuple(step),
    )


def fresh(layer: Layer, noise: Array) -> Layer:
    """The layer with all cells at mid-range or as near as they can, and what a test finds of the stuck. Element-wise.

    Of `layer.state` the shape counts; noise (2, ..., rows, outputs, devices) standard normal, of the chip's `fresh`.
    """
    chip, nothing = layer.chip, 0.0 * layer.state.x
    x = clip((layer.reference - chip.g_min) / (chip.g_max - chip.g_min) + nothing, chip.x_lo, chip.x_hi)
    return layer.replace(state=chip.fresh(x, noise), good=1.0 * (chip.x_hi > chip.x_lo) + nothing)


def program(
    layer: Layer, weights: Array, error: Array = 0.0, relaxation: Array = 0.0, compensate: bool = True
) -> Layer:
    """The layer with `weights` (..., rows, outputs) written by a verified write, and no residual.

    Devices of a weight share it evenly. The gradient reaches `weights`.

    Args:
        layer: its cells.
        weights: wanted; the last row holds the biases.
        error: (..., rows, outputs, devices) [range] departure of the states from their goals.
        relaxation: the same shape, standard normal, of devices that relax after a write.
        compensate: whether what a stuck or narrow device fails to give is made up for by those that are known to move,
            as writing until the weight reads right does.

    Raises:
        ValueError: weights of another shape or (in NumPy) not finite.
    """
    if tuple(weights.shape[-2:]) != layer.shape[:2]:
        raise ValueError(
            f"weights have the shape {tuple(weights.shape)}, (..., {layer.shape[0]}, {layer.shape[1]}) is needed: "
            "the last row holds the biases"
        )
    if namespace(weights) is np and not np.all(np.isfinite(weights)):
        raise ValueError("weights must be finite numbers")
    return written(layer, weights / layer.scale, error, relaxation, compensate)


def written(layer: Layer, wanted: Array, error: Array, relaxation: Array, compensate: bool = True) -> Layer:
    """`program` of wanted sums of conductances [S], plus less minus devices. Element-wise."""
    chip, size = layer.chip, layer.chip.g_max - layer.chip.g_min

    def bounded(g: Array) -> Array:
        return chip.g_min + size * clip((g - chip.g_min) / size, chip.x_lo, chip.x_hi)

    g = bounded(layer.reference + layer.fan_out(wanted / layer.shape[-1]))
    for _ in range(PASSES if compensate else 0):
        missing = wanted - _apparent(layer, g)
        g = bounded(g + layer.fan_out(missing) * share(layer.good, g))
    x = clip((g - chip.g_min) / size + error, chip.x_lo, chip.x_hi)
    state = layer.state
    return layer.replace(
        state=state._replace(
            x=x,
            age=0.0 * x + chip.read.duration,
            relaxation=None if state.relaxation is None else relaxation + 0.0 * x,
        ),
        residual=0.0,
    )


def full_scale(layer: Layer) -> float:
    """[S] that plus less minus devices show of the largest weight of nominal pairs."""
    g_min, g_max = _mean_range(layer.device)
    return layer.plus * (g_max - g_min)


def share(eligible: Array | None, like: Array) -> Array:
    """The part of a change that each device takes: 1 over the number of eligible ones, 0 where not eligible."""
    if eligible is None:
        return 1.0 / like.shape[-1]
    return eligible / floor_at(over_devices(eligible), 1.0)[..., None]


def rest(layers: tuple[Layer, ...], seconds: Array) -> tuple[Layer, ...]:
    """The layers after `seconds` [s] without a pulse."""
    return tuple(layer.replace(state=layer.chip.rest(layer.state, seconds)) for layer in layers)


# -- reading -----------------------------------------------------------------------------------------------------------


def _apparent(layer: Layer, g: Array) -> Array:
    """Plus less minus (or reference) conductances [S], (..., rows, outputs), of conductances `g` of the cells."""
    if 2 * layer.plus == layer.shape[-1]:
        return layer.fan_in(g)
    return layer.fan_in(g) - (2 * layer.plus - layer.shape[-1]) * layer.reference


def matrix(layer: Layer, reads: int = 1) -> Matrix:
    """The mean of `reads` reads of the layer."""
    seen = moments(layer)
    return Matrix(
        weights=layer.scale * seen.mean,
        variance=None if is_zero(seen.variance) else layer.scale**2 / reads * seen.variance,
        energy=reads * layer.chip.read_energy(layer.chip.conductance(layer.state)).sum((-3, -2, -1)),
    )


def moments(layer: Layer) -> ReadMoments:
    """Mean [S] and variance [S^2] of a read of plus less minus devices, (..., rows, outputs). Element-wise.

    Cells' thermal noises are independent normals, so their sum along a driven line is one normal with the sum of their
    variances: exact. A telegraph trap enters by its stationary mean and variance. The converter of a single cell's
    read has no part in a product.
    """
    chip, state = layer.chip, layer.state
    trap = None if is_zero(chip.read.telegraph) else chip.read.telegraph_occupancy
    seen, noisy = chip.read_moments(state._replace(trap=trap)), trap is not None or not is_zero(chip.read.noise)
    return ReadMoments(_apparent(layer, seen.mean), over_devices(seen.variance) if noisy else 0.0)


def product(seen: Matrix, inputs: Array, noise: Array | None) -> Array:
    """inputs (..., n, rows) through the weights to (..., n, outputs); noise (..., n, outputs) standard normal."""
    return _noisy(inputs @ seen.weights, inputs, seen.variance, noise)


def transposed(seen: Matrix, errors: Array, noise: Array | None) -> Array:
    """errors (..., n, outputs) back through the same cells to (..., n, rows); noise (..., n, rows) standard normal."""
    variance: Any = seen.variance
    if np.ndim(variance):
        variance = variance.swapaxes(-1, -2)
    return _noisy(errors @ seen.weights.swapaxes(-1, -2), errors, variance, noise)


def _noisy(mean: Array, driven: Array, variance: Array | None, noise: Array | None) -> Array:
    if variance is None or noise is None:
        return mean
    if np.ndim(variance) and variance.shape[-2] == driven.shape[-1]:
        summed = driven**2 @ variance
    else:  # alike for all cells of a layer
        summed = variance * namespace(mean).einsum("...i,...i->...", driven, driven)[..., None]
    return mean + noise * namespace(mean).sqrt(summed + LEAST_VARIANCE)


# -- what the user knows of the device ---------------------------------------------------------------------------------


def _known(device: LearningModel, kinds: np.ndarray | None) -> tuple[Array, ...]:
    """g_min, g_max, and what SET and RESET change at mid-range [S], of layers of these kinds (..., 1, 1, 1)."""
    if kinds is None:
        return (*_mean_range(device), *_both_steps(device))
    own = [learning(one) for one in device.devices]
    g_min, g_max = np.transpose([_mean_range(one) for one in own])[:, kinds, None, None, None]
    shares = [np.array(_both_steps(one)) / (one.g_max - one.g_min) for one in own]
    return (g_min, g_max, *(share * (g_max - g_min) for share in np.exp(np.log(shares).mean(0))))


def _both_steps(device: LearningModel) -> tuple[float, float]:
    """Changes by SET and RESET at mid-range [S]."""
    up, down = device.mean_step(np.full(2, 0.5 * sum(_mean_range(device))), np.array([True, False]))
    return float(up), float(down)


def _mean_range(device: LearningModel) -> tuple[float, float]:
    """g_min and g_max [S], of a mixture in the mean."""
    return float(np.mean(device.g_min)), float(np.mean(device.g_max))
