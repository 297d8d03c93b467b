"""The cells of single weights, for the engine: fabricated and programmed, updated, and relaxed, each in one loop.

A program takes the noise, the number of weights, the arrays through which derivatives pass, and the rest. It returns
the new states x (weights, devices) and what a read of them says, mean and variance (weights,), all three with known
derivatives, and the rest of the state. Noise is drawn by key and weight, each device of a weight from lanes of its own.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from memenv.arrays import Array, is_zero, namespace
from memenv.compiler.adjoint import derivatives
from memenv.compiler.counter_rng import Noise
from memenv.devices.reads import State
from memenv.learning.layers import Layer, fresh, moments, over_devices, written
from memenv.learning.pulse_trains import Costs, costs
from memenv.learning.updates import Adaptation, pulses_for
from memenv.learning.writing import Demand, Tried, pulse_and_verify
from memenv.learning.writing import Spent as Written

PULSE, FRESH, WRITE, ROUNDING = (0, 1, 2), (3, 4), (5, 6), 7  # channels of noise


class Shown(NamedTuple):
    """The part with known derivatives."""

    x: Array  # (weights, devices) [range]
    mean: Array  # (weights,) [S]
    variance: Array  # (weights,) [S^2], a number where noise is alike for all


class Spent(NamedTuple):
    """Costs of pulses, sums over the devices of a weight, arrays (weights,)."""

    costs: Costs
    limited: Array  # devices of which more pulses were wanted than are given


class Kept(NamedTuple):
    """Everything else that there is after a program."""

    state: State  # but for x
    reading: Array  # (weights,) [J] of one read of all devices
    spent: Spent | None = None


Program = Callable[[Noise, int, Any, Any], tuple[Shown, Kept]]


def program(noise: Noise, _: int, moving: tuple[Array], rest: tuple[Layer, float]) -> tuple[Shown, Kept]:
    """Fresh cells with the wanted sums of conductances (weights,) [S] written; of `rest` the layer and write errors."""
    layer, error = rest
    devices = layer.shape[-1]
    layer = _tested(layer, [_drawn(noise.normal, channel, devices) for channel in FRESH])
    errors, relaxation = (_drawn(noise.normal, channel, devices) for channel in WRITE)
    return _shown(written(layer, *moving, error * errors, relaxation))


def blank(noise: Noise, _: int, moving: tuple[Array], layer: Layer) -> tuple[Shown, Kept]:
    """Fresh cells (weights, devices), of which nothing moves."""
    (x,) = moving
    layer = layer.replace(state=layer.state._replace(x=x))
    return _shown(_tested(layer, [_drawn(noise.normal, channel, x.shape[-1]) for channel in FRESH]))


def verifying(
    noise: Noise, _: int, moving: tuple[Array, Array], rest: tuple[Layer, Tried, Demand]
) -> tuple[Shown, Kept, Tried, Written]:
    """A pass of `pulse_and_verify` over x (weights, devices) towards wanted sums of conductances (weights,) [S]."""
    (x, wanted), (layer, tried, demand) = moving, rest
    before = layer.state._replace(x=x)
    layer = _tested(layer.replace(state=before), (0.0, 0.0)).replace(state=before)
    devices = x.shape[-1]
    pulse = [_drawn(noise.normal, channel, devices) for channel in PULSE]
    read = _drawn(noise.normal, FRESH[0], devices)
    layer, tried, spent = pulse_and_verify(layer, wanted, tried, demand, read, pulse)
    return *_shown(layer), tried, spent


@functools.cache
def updating(config: Adaptation, counted: bool = False) -> Program:
    """A program that changes x (weights, devices) by wanted changes (weights,) [S] as `config` says."""

    def update(noise: Noise, _: int, moving: tuple[Array, Array], layer: Layer) -> tuple[Shown, Kept]:
        x, change = moving
        devices = x.shape[-1]
        before = layer.state._replace(x=x)
        layer = _tested(layer.replace(state=before), (0.0, 0.0)).replace(state=before)
        train, _, dose = pulses_for(layer, change, [_drawn(noise.uniform, ROUNDING, devices)], None, config)
        after = config.give(layer.chip, before, train, [_drawn(noise.normal, channel, devices) for channel in PULSE])
        shown, kept = _shown(layer.replace(state=after))
        if not counted:
            return shown, kept
        sums = Costs(*(over_devices(1.0 * part) for part in costs(layer.chip, before, after, train)))
        limited = over_devices(1.0 * (namespace(dose).abs(dose) > config.max_pulses))
        return shown, kept._replace(spent=Spent(sums, limited))

    return update


def relax(noise: Noise, _: int, moving: tuple[Array], rest: tuple[Layer, float]) -> tuple[Shown, Kept]:
    """The states x (weights, devices) after a time [s] without a pulse; of `rest` the layer and that time."""
    layer, seconds = rest
    (x,) = moving
    return _shown(layer.replace(state=layer.chip.rest(layer.state._replace(x=x), seconds)))


@functools.cache
def vector_jacobian_product(of: Program) -> Callable[..., tuple[Array, ...]]:
    """A program of the product of a cotangent with the Jacobian of what `of` shows, by what moves."""

    def product(noise: Noise, weights: int, moving: tuple[Array, ...], rest: Any, towards: Shown) -> tuple[Array, ...]:
        shown, _ = of(noise, weights, moving, rest)
        return derivatives(shown, towards, moving)

    product.__name__ = f"{of.__name__}, backwards"
    return product


def _shown(layer: Layer) -> tuple[Shown, Kept]:
    seen, state, chip = moments(layer), layer.state, layer.chip
    reading = over_devices(chip.read_energy(chip.conductance(state)))
    aged = chip.retention is not None or not is_zero(chip.read.noise_log_time)
    return Shown(state.x, *seen), Kept(state._replace(x=0.0, age=state.age if aged else 0.0, trap=None), reading)


def _tested(layer: Layer, noise: Any) -> Layer:
    """The layer as it comes fresh from a test of its cells, if one is known of (a `good` of 1 says so)."""
    tested = fresh(layer, noise)
    return tested if layer.good is not None else tested.replace(good=None)


def _drawn(draw: Callable[[int], Array], channel: int, devices: int) -> Array:
    """Noise of a channel (weights, devices), of neighbouring lanes."""
    parts = [draw(channel * devices + device) for device in range(devices)]
    return namespace(*parts).stack(parts, -1)
