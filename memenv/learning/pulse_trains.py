"""Trains of reference pulses, a number of them for each cell: what they do to a chip, and what they cost."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, namespace
from memenv.devices.protocol import LearningModel
from memenv.devices.reads import State

AT_BOUND = 0.02  # [range] a device this near to the bound ahead counts as saturated


class Train(NamedTuple):
    """Pulses of one polarity for each device, all at once."""

    up: Array  # (..., rows, outputs, devices) SET, else RESET
    count: Array  # (..., rows, outputs, devices) reference pulses, not negative


def after(chip: LearningModel, state: State, train: Train, noise: Sequence[Array]) -> State:
    """The state after the pulses of a train; noise of three channels like the cells, as for one pulse."""
    amplitude, width = chip.reference_pulse(train.up, state.x)
    if chip.polarity_only and not np.all(train.count == np.round(train.count)):
        raise ValueError("devices known by the polarity of a pulse take whole pulses only: choose a rounding")
    return chip.pulse(state, amplitude, width + 0.0 * state.x, noise, train.count)


class Costs(NamedTuple):
    """Costs of a train, arrays like the cells, or sums of them."""

    pulses: Array  # [pulses]
    energy: Array  # [J]
    pulsed: Array  # bool, whether there was one
    at_bound: Array  # bool, whether the device was pulsed and is now at the bound ahead


def costs(chip: LearningModel, before: State, after: State, train: Train) -> Costs:
    """Of each cell. Element-wise.

    The energy takes the conductances as written, whatever relaxation and drift made of them since.
    """
    amplitude, width = chip.reference_pulse(train.up, after.x)
    first, last = (chip.g_min + state.x * (chip.g_max - chip.g_min) for state in (before, after))
    energy = chip.pulse_energy(first, last, amplitude, width * train.count)
    pulsed = train.count > 0
    ahead = namespace(after.x).where(train.up, chip.x_hi - after.x, after.x - chip.x_lo)
    return Costs(train.count, energy, pulsed, pulsed & (ahead < AT_BOUND))
