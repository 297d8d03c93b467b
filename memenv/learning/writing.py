"""Writing weights by pulses that count: read the devices of a weight, pulse them by what is missing, read them again.

The circuits are those of learning: the reference pulse, weaker or stronger, and what the nominal device makes of it
where it stands. How far a device departs from that is learned from its own reads (a secant); one that does not answer
is left alone, and its partners do its part.

Each pulse draws the noise of a write anew, so that no pulse can correct it. Where it exceeds the tolerance, a read is
believed in part, near the end one device at a time is pulsed, and a weight is left where it is once it is nearer than
the pulses that are left can be expected to take it (optimal stopping): one out of reach, when that noise helps most.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import Array, at_most, choose, clip, floor_at, is_zero, namespace, sqrt
from memenv.devices.law import dose_to_reach, pulse_worth
from memenv.devices.reads import State
from memenv.learning.layers import Layer, fresh, over_devices, share
from memenv.learning.updates import LEAST_STEP

PASSES = 16  # pulses to each device, at most
SECANT = 0.4  # share of a surprise, on the scale of logarithms, that is learned from it
MOST_SURPRISE, MOST_FACTOR = 3.0, 30.0  # of an answer to a pulse; of all, with which a device is left alone
LEAST = 1e-30  # [S] of what is missing, in a quotient
LEAST_COUNT, MOST_COUNT = 1e-4, 10.0  # [reference pulses] of one pulse, or of a train
STRONG = 100.0  # reference pulses' worth that drives a device to its bound
NEAREST = 0.02  # [range] to a bound that is aimed at
COARSE = 1.5  # [of what is missing] a device whose weakest pulse is expected to do more is left alone
SETTLED = 4  # passes after which a weight is about as near as it comes
NEWEST = 0.4  # share of the last read in what a settled weight usually misses
NEAR, LUCK, DOUBT, ALONE = 2.0, 0.55, 2.0, 3.0  # of the noise of a write, see `Demand`
PART = 0.25  # of the range, that a pulse takes a nominal device over at most where writes are noisy
NEVER = 1.0  # [S] no weight is nearer than usual by that


class Tried(NamedTuple):
    """The circuits' notes on what is being written."""

    reading: Array  # (..., rows, outputs, devices) [S] the last one
    count: Array  # likewise, what the last pulse was worth [reference pulses of this device], negative of RESET
    factor: Array  # likewise, pulses that a change takes, in those of nominal devices
    usual: Array  # (..., rows, outputs) [S] missing of late
    open: Array  # likewise 1 where the weight did not read as it should, else 0


class Demand(NamedTuple):
    """Demands of a pass, numbers."""

    near: Array  # [S] a weight so near is left as it is, ...
    luck: Array  # [S] ... and one that is nearer by so much than it usually is
    newest: Array  # share of this read in what is usual
    doubt: Array  # [S] a weight that misses so much is corrected by half of it
    alone: Array  # [S] where less is missing the devices that rise and those that fall take turns ...
    rising: Array  # ... of which it is those that rise if this is 1, not 0
    most: Array  # [reference pulses] of one pulse, or of a train


class Spent(NamedTuple):
    """Costs of writing weights, sums over the devices of each, or over all."""

    pulses: Array
    energy: Array  # [J] of the pulses
    reads: Array  # of devices
    read_energy: Array  # [J]


UNCOUNTED = Spent(0.0, 0.0, 0.0, 0.0)


def untried(x: Array) -> Tried:
    """Notes on devices of the states x (..., rows, outputs, devices), of which nothing is known."""
    nothing = 0.0 * x
    return Tried(nothing, nothing, nothing + 1.0, nothing[..., 0], nothing[..., 0] + 1.0)


def demands(layer: Layer, tolerance: Array) -> Iterator[Demand]:
    """Demands of each pass; of devices without noise of a write above the tolerance [S] nothing but that.

    A tolerance (tasks, 1, 1) is that of each task, which may have a nominal device of its own.
    """
    noise = _write_noise(layer)
    noisy = noise > tolerance
    if not np.any(noisy):
        yield from [Demand(tolerance, NEVER, 1.0, 0.0, 0.0, 1.0, MOST_COUNT)] * PASSES
        return
    most = np.minimum(PART * _whole_range(layer), MOST_COUNT)
    noise, calm = noise * noisy, 1.0 - noisy
    of_devices = noisy[..., None] if np.ndim(noisy) else noisy
    for number in range(PASSES):
        left, settled = PASSES - number, number >= SETTLED
        yield Demand(
            near=np.maximum(tolerance, NEAR * noise / left),
            luck=LUCK * noise * math.log(left) + NEVER * calm if settled else NEVER,
            newest=NEWEST * noisy + calm if settled else 1.0,
            doubt=DOUBT * noise,
            alone=ALONE * noise,
            rising=float(number % 2),
            most=most * of_devices + MOST_COUNT * (1.0 - of_devices),
        )


def pulse_and_verify(
    layer: Layer, wanted: Array, tried: Tried, demand: Demand, read: Array, noise: Any
) -> tuple[Layer, Tried, Spent]:
    """The layer after a read of all open weights and a pulse to each that is not near enough. Element-wise.

    Args:
        layer: its cells.
        wanted: (..., rows, outputs) [S] plus less minus devices.
        tried: notes on the pulses before.
        demand: of this pass.
        read: (..., rows, outputs, devices) standard normal.
        noise: three channels of a pulse, each likewise.
    """
    xp, chip, before = namespace(wanted), layer.chip, layer.state
    reading = _reading(layer, before, read)
    missing = wanted - layer.fan_in(reading)
    far, usual = xp.abs(missing), tried.usual + demand.newest * (missing - tried.usual)
    opened = xp.where(far > floor_at(xp.abs(usual) - demand.luck, demand.near), tried.open, 0.0 * tried.open)
    each = layer.fan_out(far / (far + demand.doubt + LEAST) * missing)
    up = each > 0
    factor = _learned(layer, tried, reading, up)
    one = _record(layer) is not None  # pulse of another amplitude or width; else a train of reference pulses
    least = LEAST_COUNT if one else 1.0
    able = (factor < MOST_FACTOR) & (factor * _count(layer, reading, COARSE * each, up) >= least)
    carriers = xp.where(able, opened[..., None] + 0.0 * each, 0.0 * each)
    if layer.good is not None:
        carriers = carriers * layer.good
    turn = carriers * xp.where(up, demand.rising, 1.0 - demand.rising)
    alone = (far < demand.alone) & (over_devices(turn) > 0)
    carriers = xp.where(alone[..., None], turn, carriers)
    nominal = _count(layer, reading, each * share(carriers, each), up)
    count = clip(factor * nominal, least, demand.most)
    pulses = 1.0 if one else xp.floor(count + 0.5)
    amplitude, width = _pulse(layer, up, count)
    state = chip.pulse(before, xp.where(carriers > 0, amplitude, 0.0 * amplitude), width, noise, pulses)
    first, last = (chip.g_min + cells.x * (chip.g_max - chip.g_min) for cells in (before, state))
    worth = carriers * count / factor
    return (
        layer.replace(state=state, residual=0.0),
        Tried(reading, xp.where(up, worth, -worth), factor, usual, opened),
        Spent(
            pulses=over_devices(carriers * pulses),
            energy=over_devices(carriers * chip.pulse_energy(first, last, amplitude, width * pulses)),
            reads=tried.open * each.shape[-1],
            read_energy=tried.open * over_devices(chip.read_energy(chip.conductance(before))),
        ),
    )


def driven_to_bounds(layer: Layer, normal: Callable[..., Array]) -> tuple[tuple[Array, Array], Spent]:
    """Conductances [S] of fresh cells as read after a strong RESET and then after a strong SET, and what that took.

    Where writes are noisy, after two of each, which are worth the range of a nominal device: the mean of two reads.

    Args:
        layer: its cells (tasks, rows, outputs, devices).
        normal: of a shape, standard normal noise.
    """
    shape, chip, readings, parts = tuple(layer.state.x.shape), layer.chip, [], []
    nothing = 0.0 * layer.state.x
    state = fresh(layer, [normal(shape) for _ in range(2)]).state
    pulses = 1.0 if layer.device.record is not None else STRONG
    worth = [_whole_range(layer)] * 2 if _write_noise(layer) else [STRONG]
    for up in (nothing > 0, nothing == 0):
        seen = []
        for count in worth:
            amplitude, width = _pulse(layer, up, nothing + count)
            after = chip.pulse(state, amplitude, width, [normal(shape) for _ in range(3)], pulses)
            seen.append(_reading(layer, after, normal(shape)))
            first, last = (chip.g_min + cells.x * (chip.g_max - chip.g_min) for cells in (state, after))
            energy = chip.pulse_energy(first, last, amplitude, width * pulses)
            costs = nothing + pulses, energy, nothing + 1.0, nothing + chip.read_energy(chip.conductance(after))
            parts.append(Spent(*(cost.sum((-3, -2, -1)) for cost in costs)))
            state = after
        readings.append(sum(seen) / len(seen))
    return (readings[0], readings[1]), Spent(*map(sum, zip(*parts, strict=True)))


def _write_noise(layer: Layer) -> Array:
    """Standard deviation [S] of a nominal device's conductance right after a pulse, at mid-range; or (tasks, 1, 1)."""
    record = _record(layer)
    if record is None or record.retention is None:
        return 0.0
    middle = np.atleast_1d(0.5 * (record.x_lo + record.x_hi))
    none = 0.0 * middle
    below, above = (record.conductance(State(middle, none, relaxation=none + side, drift=none)) for side in (-1.0, 1.0))
    noise = 0.5 * (above - below)
    return noise[..., 0] if noise.ndim > 1 else noise.item()


def _whole_range(layer: Layer) -> Array:
    """Reference pulses that SET a nominal device from one bound to near the other; or (tasks, 1, 1, 1)."""
    count = _count(layer, np.zeros(1), np.full(1, np.inf), np.array([True]))
    return count if count.ndim > 1 else count.item()


def _reading(layer: Layer, state: State, noise: Array) -> Array:
    """A read [S] of every cell; a trap enters by its stationary moments."""
    seen = layer.chip.read_moments(state._replace(trap=None))
    return seen.mean if is_zero(seen.variance) else seen.mean + sqrt(floor_at(seen.variance, 1e-36)) * noise


def _count(layer: Layer, g: Array, change: Array, up: Array) -> Array:
    """Reference pulses, SET where `up`, that take nominal devices from `g` [S] by so much [S], either sign."""
    xp, device, record = namespace(g), layer.device, _record(layer)
    if record is None:
        step = choose(up, *layer.step, g)
        return xp.abs(change) / (step if device is None else floor_at(device.mean_step(g, up), LEAST_STEP * step))
    size, law = record.g_max - record.g_min, record.law(up, g)
    x = clip((g - record.g_min) / size, record.x_lo, record.x_hi)
    goal = clip(x + xp.where(up, 1.0, -1.0) * xp.abs(change) / size, record.x_lo + NEAREST, record.x_hi - NEAREST)
    return dose_to_reach(law, x, goal, record.x_lo, record.x_hi, up) / law.dose


def _record(layer: Layer) -> Any:
    """The nominal device, if its law is known; of a layer without nominal device only the step is."""
    return None if layer.device is None else layer.device.record


def _pulse(layer: Layer, up: Array, count: Array) -> tuple[Array, Array]:
    """Signed amplitude [V] and width [s] of a pulse worth `count` reference pulses, of nominal devices."""
    record = _record(layer)
    amplitude, width = layer.chip.reference_pulse(up, count)
    if record is None:
        return amplitude + 0.0 * count, width + 0.0 * count
    driver = record.driver
    low, high = choose(up, driver.set_min, driver.reset_min), choose(up, driver.set_max, driver.reset_max)
    limits = low, high, driver.width_min, driver.width_max
    amplitude, width = pulse_worth(record.law(up, count), *limits, count, width + 0.0 * count)
    return namespace(count).where(up, amplitude, -amplitude), width


def _learned(layer: Layer, tried: Tried, reading: Array, up: Array) -> Array:
    """The factors after the answers to the last pulses; what a bound has taught does not hold the other way."""
    xp, rose = namespace(reading), tried.count > 0
    change = reading - tried.reading
    ahead = xp.where(rose, floor_at(change, 0.0), floor_at(-change, 0.0))
    given = tried.count != 0
    seen = _count(layer, tried.reading, ahead, rose) / xp.where(given, xp.abs(tried.count), 1.0 + 0.0 * ahead)
    surprise = xp.where(given, clip(seen, 1.0 / MOST_SURPRISE, MOST_SURPRISE), 1.0 + 0.0 * ahead)
    factor = clip(tried.factor * xp.exp(-SECANT * xp.log(surprise)), 1.0 / MOST_FACTOR, MOST_FACTOR)
    return xp.where(given & (up != rose), at_most(factor, 1.0), factor)
