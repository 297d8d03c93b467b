"""Outer products as pulses: a wanted change of weights, the whole pulses that the hardware gives for it, and the cells.

A wanted change of a weight is shared by its devices as a wanted change of conductance, divided by what one reference
pulse of the nominal device changes, limited, rounded, and given to the fabricated cells, which do with it what they do.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from memenv.arrays import Array, choose, clip, floor_at, is_zero, namespace
from memenv.devices.law import TINY
from memenv.devices.reads import State
from memenv.learning.backprop import cross_entropy, weight_gradient
from memenv.learning.layers import Layer, share
from memenv.learning.pulse_trains import Costs, Train, after, costs

Rounding = Callable[[Array, Array], Array]  # (dose, uniform in [0, 1)) -> pulses of the same sign; or zero
ASSUMED = ("linear", "law")
LEAST_STEP = 0.01  # of the mid-range step: near a bound the law asks for no more pulses than that


# -- rounding ----------------------------------------------------------------------------------------------------------


def stochastic(dose: Array, uniform: Array) -> Array:
    """Whole pulses whose mean is the dose."""
    return namespace(dose).floor(dose + uniform)


def nearest(dose: Array, uniform: Array) -> Array:
    """The nearest whole pulses: doses below a half are lost, unless they accumulate."""
    return namespace(dose).round(dose)


def whole(dose: Array, uniform: Array) -> Array:
    """The whole pulses in a dose: what is below one is lost, unless it accumulates."""
    return namespace(dose).trunc(dose)


def unrounded(dose: Array, uniform: Array) -> Array:
    """Parts of pulses, as an ideal device takes them."""
    return dose


# -- how the chip learns -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """Learning of a chip from one set of examples; an Array may be a tensor that meta-learning tunes.

    Weights change by pulses to `devices`: "both" raises plus devices and lowers minus devices, or the reverse; "set"
    gives SET pulses only, to plus devices for more and to minus devices for less weight (where RESET is abrupt, as in
    phase change); "reset" RESET pulses only, to the respective others (where SET is abrupt, as in filaments); "plus"
    leaves minus devices alone. Known stuck devices get none, and their partners take their share.

    With `lines` updates are stochastic and row-parallel: rows and columns are driven at random, with probabilities in
    proportion to inputs and errors, and cells where both are driven get a pulse (Gokmen & Vlasov,
    10.3389/fnins.2016.00333); all SETs come first, then all RESETs. With `accumulate` what was not given is a residual
    that is added to the next change: mixed precision (Nandakumar et al., 10.3389/fnins.2020.00406).

    Whoever wants the gradient to pass whole pulses by another way replaces `rounding` and `give`: the law's own
    derivative at no pulse, its speed, says little of a device that a single pulse takes across its range.
    """

    rates: tuple[Array, ...] = (0.1,)  # [1] of each layer (or elementwise), one for all; a plain 0 keeps a layer as is
    loss: Callable[[Array, Array], tuple[Array, Array]] = cross_entropy  # (outputs, targets) -> (loss, error)
    rounding: Rounding = stochastic
    max_pulses: float = 10  # [pulses] at most per device and change; of lines: slots per example
    threshold: Array = 0.0  # [pulses] doses below it are not given
    accumulate: bool = False  # keep the residual of what was not given
    devices: str = "both"  # which devices of a weight learn: "both", "set", "reset" or "plus"
    assume: str = "linear"  # what a pulse does: as at mid-range, or by the nominal "law" where the device is read
    lines: bool = False  # stochastic row-parallel updates
    reads: int = 1  # reads averaged in each product
    give: Callable[[Any, State, Train, Sequence[Array]], State] = after  # what a train does to the cells of a chip

    def __post_init__(self) -> None:
        """Raises ValueError: a choice that does not exist, or choices that exclude each other."""
        for name, choices in (("devices", ("both", "set", "reset", "plus")), ("assume", ASSUMED)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose from {', '.join(choices)}")
        if not self.max_pulses >= 1 or (math.isfinite(self.max_pulses) and self.max_pulses != int(self.max_pulses)):
            raise ValueError(f"max_pulses is {self.max_pulses!r}: a whole number of at least 1, or inf, is needed")
        for name, values in (("rates", self.rates), ("threshold", (self.threshold,))):
            if any(isinstance(value, float | int) and not 0 <= value < math.inf for value in values):
                raise ValueError(f"{name} is {getattr(self, name)!r}: finite numbers of at least 0 are needed")
        if self.reads < 1:
            raise ValueError(f"reads is {self.reads!r}: at least 1 is needed")
        if self.lines and (self.accumulate or self.assume == "law" or not is_zero(self.threshold)):
            raise ValueError(
                "lines are updates of whole rows and columns: accumulate, law and threshold are for single cells"
            )
        if self.lines and not math.isfinite(self.max_pulses):
            raise ValueError("lines need a finite max_pulses, the slots of an example")


class LayerNoise(NamedTuple):
    """Noise of one layer in one step; normals are standard, uniforms in [0, 1)."""

    forward: Array | None  # (..., n, outputs) normal
    backward: Array | None  # (..., n, rows) normal
    rounding: tuple[Array, ...]  # uniform: (..., rows, outputs, devices); of lines, for SETs and RESETs, those of the
    # rows (..., 2, slots * n, rows) and of the columns (..., 2, slots * n, outputs * devices)
    pulse: Array | None  # (..., 3, rows, outputs, devices) normal, a train's; of lines 6, SETs' and RESETs'
    sense: Array | None = None  # (..., 2, rows, outputs, devices) normal, where the law is assumed


class Counters(NamedTuple):
    """Costs of a step of one layer, (...,) each; all zero for a layer that does not learn."""

    pulses: Array  # [pulses] given to all devices
    energy: Array  # [J] of the pulses
    read_energy: Array  # [J] of the products, at most: every line at the read voltage
    limited: Array  # [share] of the devices of which more than `max_pulses` were wanted
    saturated: Array  # [share] of the pulsed devices that end within 2 % of the range of the bound ahead, or stuck
    gradient: Array  # root mean square of the weights' gradient


# -- from gradients to pulses ------------------------------------------------------------------------------------------


def update(
    layer: Layer, rate: Array, inputs: Array, errors: Array, noise: LayerNoise, config: Adaptation
) -> tuple[Layer, Counters]:
    """The layer after one step down the gradient, and what that took, products not included.

    Args:
        layer: its cells.
        rate: [1] of learning, broadcast against (..., rows, outputs); of lines (..., 1, 1).
        inputs: (..., n, rows) the last of which is one.
        errors: (..., n, outputs) derivative of the loss with respect to the layer's outputs.
        noise: of this layer.
        config: how to learn.

    Raises:
        ValueError: pulses of one polarity without minus devices; or parts of pulses for devices known by polarity.
    """
    if len(_polarities(config)) == 1 and layer.plus == layer.shape[-1]:
        raise ValueError(f"devices={config.devices!r} needs pairs: one polarity moves the weight of one device one way")
    gradient = weight_gradient(inputs, errors)
    if config.lines:
        trains, residual, limited = _row_parallel(layer, rate, inputs, errors, noise, config)
    else:
        trains, residual, limited = _cell_by_cell(layer, -rate * gradient, noise, config)
    state, totals = layer.state, []
    normals = _channels(noise.pulse)
    for number, train in enumerate(trains):
        before = state
        state = config.give(layer.chip, before, train, normals[3 * number : 3 * number + 3])
        totals.append([part.sum((-3, -2, -1)) for part in costs(layer.chip, before, state, train)])
    counters = counted(gradient, Costs(*map(sum, zip(*totals, strict=True))), limited)
    return layer.replace(state=state, residual=residual), counters


def counted(gradient: Array, costs: Costs, limited: Array) -> Counters:
    """The counters of a step, of the gradient (..., rows, outputs), sums over all devices and the share `limited`."""
    return Counters(
        pulses=costs.pulses,
        energy=costs.energy,
        read_energy=0.0,
        limited=limited,
        saturated=costs.at_bound / floor_at(costs.pulsed, 1.0),
        gradient=namespace(gradient).sqrt((gradient**2).mean((-2, -1)) + TINY**2),
    )


def _cell_by_cell(
    layer: Layer, change: Array, noise: LayerNoise, config: Adaptation
) -> tuple[tuple[Train, ...], Array, Array]:
    """Each device's own pulses for the wanted change (..., rows, outputs); the residual; share of the limited."""
    sense = None if noise.sense is None else _channels(noise.sense)
    train, residual, dose = pulses_for(layer, change / layer.scale, noise.rounding, sense, config)
    limited = (namespace(dose).abs(dose) > config.max_pulses).sum((-3, -2, -1)) / math.prod(layer.shape)
    return (train,), residual, limited


def pulses_for(
    layer: Layer, change: Array, uniform: Sequence[Array], sense: Sequence[Array] | None, config: Adaptation
) -> tuple[Train, Array, Array]:
    """The pulses of each device for a wanted change; the residual [S]; the pulses that were wanted. Element-wise.

    The sign of the want chooses between SET and RESET, before the rounding: a gradient that passes straight through
    the rounding meets the polarity that was meant.

    Args:
        layer: its cells.
        change: (..., rows, outputs) [S] of plus less minus devices.
        uniform: of the rounding.
        sense: two channels of noise, where the law is assumed.
        config: how to learn.
    """
    xp = namespace(change)
    each = layer.fan_out(change)
    carriers = _carriers(layer, each, config)
    if layer.good is not None:
        carriers = layer.good * (1.0 if carriers is None else carriers)
    want = layer.residual + each * share(carriers, each)
    up = want > 0
    step = _step(layer, up, sense, config)
    dose = want / step
    least, most = (config.max_pulses * sign if sign in _polarities(config) else 0.0 for sign in (-1.0, 1.0))
    given = clip(dose, least, most)
    if not is_zero(config.threshold):
        given = xp.where(xp.abs(dose) < config.threshold, 0.0 * given, given)
    pulses = config.rounding(given, *uniform)
    residual = want - pulses * step if config.accumulate else 0.0
    return Train(up, xp.where(up, pulses, -pulses)), residual, dose


def _polarities(config: Adaptation) -> tuple[float, ...]:
    """Signs of the pulses that are given: +1 SET, -1 RESET."""
    return {"set": (1.0,), "reset": (-1.0,)}.get(config.devices, (1.0, -1.0))


def _carriers(layer: Layer, each: Array, config: Adaptation) -> Array | None:
    """1 for the devices that shall carry the changes `each` (..., devices), else 0; None for all of them."""
    xp = namespace(each)
    if len(_polarities(config)) == 1:
        return xp.where(each * _polarities(config)[0] > 0, xp.ones_like(each), 0.0 * each)
    if config.devices == "plus":
        return xp.concatenate((xp.ones_like(each[..., : layer.plus]), xp.zeros_like(each[..., layer.plus :])), -1)
    return None


def _step(layer: Layer, up: Array, sense: Sequence[Array] | None, config: Adaptation) -> Array:
    """Assumed change by one pulse [S], (..., rows, outputs, devices)."""
    usual = choose(up, *layer.step, layer.state.x)
    if sense is None:
        return usual
    reading, _ = layer.chip.sense(layer.state, sense)
    step = layer.device.mean_step(reading, up)
    return namespace(step).where(step > LEAST_STEP * usual, step, LEAST_STEP * usual)


def _channels(noise: Array) -> tuple[Array, ...]:
    """(..., channels, rows, outputs, devices) as one array a channel; vmap cannot move the axis."""
    return tuple(noise[..., channel, :, :, :] for channel in range(noise.shape[-4]))


def _row_parallel(
    layer: Layer, rate: Array, inputs: Array, errors: Array, noise: LayerNoise, config: Adaptation
) -> tuple[tuple[Train, ...], Array, Array]:
    """A stochastic row-parallel update by coincidences, SETs then RESETs; no residual; share of cut products.

    For an example with input x and error d, `slots` times the product of both probabilities is the dose |rate x d| in
    pulses of the phase; the largest probabilities of rows and of columns are kept equal.
    """
    xp, slots = namespace(inputs), int(config.max_pulses)
    towards = layer.fan_out(-errors)
    if config.devices == "plus":
        towards = towards * _carriers(layer, towards, config)
    towards = towards.reshape(*towards.shape[:-2], -1)
    carrying = layer.shape[-1] if config.devices == "both" else layer.plus
    rows, columns = xp.abs(inputs), xp.abs(towards)
    top_row, top_column = (floor_at(xp.amax(value, (-2, -1)), TINY)[..., None, None] for value in (rows, columns))
    trains, cut = [], []
    for phase, sign in enumerate(_polarities(config)):
        step = layer.step[0 if sign > 0 else 1]
        step = step if isinstance(step, float) else step[..., 0]  # as the scale is
        strength = rate / (layer.scale * carrying * step * slots)
        chances = rows * xp.sqrt(strength * top_column / top_row), columns * xp.sqrt(strength * top_row / top_column)
        row, column = (
            config.rounding(xp.concatenate([clip(chance, 0.0, 1.0)] * slots, -2), uniform[..., phase, :, :])
            for chance, uniform in zip(chances, noise.rounding, strict=True)
        )
        signs = (xp.concatenate([xp.sign(value)] * slots, -2) for value in (inputs, towards))
        both, signed = weight_gradient(row, column), weight_gradient(*map(operator.mul, (row, column), signs))
        count = floor_at(0.5 * (both + sign * signed), 0.0)
        count = count.reshape(*count.shape[:-1], *layer.shape[1:])
        trains.append(Train(sign * (count + 1) > 0, count))
        kept = [(chance <= 1).sum((-2, -1)) / math.prod(chance.shape[-2:]) for chance in chances]
        cut.append(1.0 - kept[0] * kept[1])
    return tuple(trains), 0.0, sum(cut) / len(cut)
