"""Trains of reference pulses, a number of them for each cell: what they do to a chip, and what they cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import Array, namespace
from memenv.devices.device import State

AT_BOUND = 0.02  # [range] a device this near to the bound ahead counts as saturated


class Train(NamedTuple):
    """Pulses of one polarity for each device, all at once."""

    up: Array  # (..., rows, outputs, devices) SET, else RESET
    count: Array  # (..., rows, outputs, devices) reference pulses, not negative


def after(chip: Any, state: State, train: Train, noise: Sequence[Array]) -> State:
    """The state after the pulses of a train; noise of three channels like the cells, as for one pulse."""
    amplitude, width = _reference_pulse(chip, train.up, state.x)
    if chip.polarity_only and not np.all(train.count == np.round(train.count)):
        raise ValueError("devices known by the polarity of a pulse take whole pulses only: choose a rounding")
    return chip.pulse(state, amplitude, width + 0.0 * state.x, noise, train.count)


def _reference_pulse(chip: Any, up: Array, like: Array) -> tuple[Array, Array]:
    """Signed amplitude [V] and width [s] of one reference pulse of each cell's polarity."""
    if chip.polarity_only:
        driver = chip.driver
        return choose(up, driver.set_max, -driver.reset_max, like), driver.width_max
    return (
        choose(up, chip.set.amplitude, -chip.reset.amplitude, like),
        choose(up, chip.set.width, chip.reset.width, like),
    )


def choose(up: Array, high: Array, low: Array, like: Array) -> Array:
    """high where `up`, else low, in the type of `like`: torch would round floats to its default type."""
    xp = namespace(like)
    if isinstance(high, float) and isinstance(low, float) and high == low:
        return high
    if xp is not np:
        high, low = (xp.as_tensor(value, dtype=like.dtype) for value in (high, low))
    return xp.where(up, high, low)


class Costs(NamedTuple):
    """What a train took, arrays like the cells, or sums of them."""

    pulses: Array  # [pulses]
    energy: Array  # [J]
    pulsed: Array  # bool, whether there was one
    at_bound: Array  # bool, whether the device was pulsed and is now at the bound ahead


def costs(chip: Any, before: State, after: State, train: Train) -> Costs:
    """Of each cell. Element-wise.

    The energy takes the conductances as written, whatever relaxation and drift made of them since.
    """
    amplitude, width = _reference_pulse(chip, train.up, after.x)
    written = chip.replace(retention=None)
    energy = chip.pulse_energy(written.conductance(before), written.conductance(after), amplitude, width * train.count)
    pulsed = train.count > 0
    ahead = namespace(after.x).where(train.up, chip.x_hi - after.x, after.x - chip.x_lo)
    return Costs(train.count, energy, pulsed, pulsed & (ahead < AT_BOUND))
