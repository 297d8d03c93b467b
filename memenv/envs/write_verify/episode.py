"""An episode of programming: the cell, its target, the last pulse and read, and what they have cost."""

from typing import NamedTuple

import numpy as np

from memenv.devices.protocol import CellModel
from memenv.devices.reads import State
from memenv.envs.pulse_actions import Float


class Episode(NamedTuple):
    """Everything about the cells' current episodes; arrays (cells,) unless said otherwise."""

    chip: CellModel
    cell: State
    target: Float  # [range]
    reading: Float  # [range] the last read
    response: Float  # [range] of the read to the last pulse, 0 before the first
    signal: Float  # [-1, 1] signed amplitude of the last pulse, 0 before the first
    log_width: Float  # [-1, 1] of the last pulse
    spent: Float  # pulses on this target
    rounds_left: Float  # targets still to come after this one
    pulses: Float  # in the episode
    energy: Float  # [J] in the episode
    latency: Float  # [s] in the episode
    step_energy: Float  # [J] in the last step
    step_latency: Float  # [s] in the last step
    step_reads: Float  # in the last step, that at the start among them
    potential: Float  # of the state, 0 after the end
    shaping: Float  # by which it rose in the last step
    true_conductance: Float  # [S] after the last step
    true_error: Float  # [S] of that to the target it was written for
    pulsed: np.ndarray  # bool, the last step was a pulse
    accepted: np.ndarray  # bool, the last step ended in an acceptance
    false: np.ndarray  # bool, that acceptance is out of tolerance in truth
    false_acceptances: Float  # in the episode
    gave_up: np.ndarray  # bool
    history: np.ndarray | None = None  # (cells, history, features) float32, newest last
    gate: Float | None = None  # [-1, 1] of the last pulse, 0 before the first; None where it is not chosen


# Fields of an episode that no later step needs.
OF_ONE_STEP = (
    "step_energy",
    "step_latency",
    "step_reads",
    "shaping",
    "true_error",
    "pulsed",
    "accepted",
    "false",
    "gave_up",
    "history",
)
