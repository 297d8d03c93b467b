"""Relaxation after the write: reads without a pulse, of which the file tells the time."""

import dataclasses
from typing import NamedTuple

import numpy as np

from memenv.devices.reads import Retention
from memenv.fitting.coordinates import LEVEL
from memenv.fitting.pulse_data import PulseData

FEWEST_RESTS = 8  # written states that are read again
EARLY = 1e-6  # [s] after a pulse, where relaxation is taken to begin: no file tells when the first read was


class Rests(NamedTuple):
    """States that were read right after their pulse and again later; arrays (reads,)."""

    state: np.ndarray  # which of them
    age: np.ndarray  # [s] since the row of the pulse
    change: np.ndarray  # [S] since the first read


def parted(data: PulseData) -> tuple[PulseData, Rests]:
    """The data with the first read after every pulse alone, and the later ones of which the time is known."""
    state, age, change = list[int](), list[float](), list[float]()
    keep = np.isfinite(data.conductance)
    if data.time is not None:
        for train, amplitude in enumerate(data.amplitude.T):
            last = 0
            for k in range(1, int(keep[:, train].sum())):
                if amplitude[k] != 0:
                    last = k
                elif data.time[k, train] > data.time[last, train]:
                    keep[k, train] = False
                    if not last:  # of what came before nothing is known
                        continue
                    state.append(train * len(amplitude) + last)
                    age.append(float(data.time[k, train] - data.time[last, train]))
                    change.append(float(data.conductance[k, train] - data.conductance[last, train]))
    rests = Rests(np.array(state, int), np.array(age), np.array(change))
    if not state:
        return data, rests
    order = np.argsort(~keep, axis=0, kind="stable")  # what is left moves up
    conductance, amplitude, width, *gate = (
        np.take_along_axis(np.where(keep, part, np.nan), order, axis=0)
        for part in (data.conductance, data.amplitude, data.width, *data.gates())
    )
    kept = dataclasses.replace(data, conductance=conductance, amplitude=amplitude, width=width)
    return dataclasses.replace(kept, gate=gate[0] if gate else None), rests


def retention_of(rests: Rests, read_noise: float, g_max: float) -> tuple[Retention | None, str]:
    """The relaxation of the states, linear in the logarithm of time, and a sentence; none where noise explains it.

    Args:
        rests: of the states.
        read_noise: [S] of one read.
        g_max: [S] of the record, in which retention is measured.
    """
    states, which = np.unique(rests.state, return_inverse=True)
    if len(states) < FEWEST_RESTS:
        return None, (
            f"Of relaxation nothing is known: {len(states)} states are read again later, {FEWEST_RESTS} are needed."
        )
    late = float(rests.age.max())
    part = np.log(np.maximum(rests.age, EARLY) / EARLY) / np.log(max(late, 2 * EARLY) / EARLY)
    square, plain = np.bincount(which, part**2), np.bincount(which, part)
    slope = np.bincount(which, part * rests.change / g_max) / square  # of each state, by `late`
    noise = (read_noise / g_max) ** 2 * float(np.mean((plain / square) ** 2 + 1 / square))
    shift, seen = float(slope.mean()), float(slope.var(ddof=1))
    spread, unsure = seen - noise, seen * (2 / (len(states) - 1)) ** 0.5
    error = (seen / len(states)) ** 0.5
    shift, spread = shift * (abs(shift) > LEVEL * error), max(spread, 0.0) ** 0.5 * (spread > LEVEL * unsure)
    when = f"{len(states)} states read again {rests.age.min():.3g} to {late:.3g} s after their pulse"
    if not (shift or spread):
        return None, f"{when} show no relaxation (less than {LEVEL * (error + seen**0.5):.2%} of g_max)."
    return (
        Retention(early=EARLY, late=late, shift_late=shift, sigma_late=(spread, 0.0, 0.0, 0.0, 0.0)),
        f"{when}: by then they shift by {shift:+.2%} of g_max (standard error {error:.2%}) and spread by {spread:.2%}. "
        f"The record has it from {EARLY:g} s on, with the logarithm of time, alike at all conductances: assumptions.",
    )
