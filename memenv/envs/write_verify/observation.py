"""The observation of a cell: numbers of its last steps, as Gymnasium's agents take them, and back in plain units."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from memenv.devices.device import Driver
from memenv.envs.pulse_actions import Float, signals_of, volts

FARTHEST = 3.0  # [range] observed errors are clipped there


class View(NamedTuple):
    """What an observation says, in physical terms; arrays (cells,) float64."""

    read: Float  # [range]
    target: Float  # [range]
    error: Float  # [tolerances] (read - target) / tolerance
    amplitude: Float  # [V] signed, of the last pulse, 0 before the first
    width: Float  # [s] of the last pulse, 0 before the first
    budget: Float  # [1] share of the pulses for this target that is left


@dataclass(frozen=True, kw_only=True)
class CellObservation:
    """Steps one after the other, the newest last, each with the same numbers; see the environment's docstring."""

    tolerance: float  # [range] the least of all cells
    max_pulses: int  # budget for one target
    rounds: int  # targets in an episode
    history: int  # steps

    @property
    def features(self) -> int:
        """Numbers of one step: read, target, error, signal, log-width, budget (and rounds left)."""
        return 7 if self.rounds > 1 else 6

    @cached_property
    def space(self) -> spaces.Box:
        """Box (history * features,) float32."""
        error = FARTHEST / self.tolerance
        low = [-1.0, 0.0, -error, -1.0, -1.0, 0.0, 0.0][: self.features] * self.history
        high = [2.0, 1.0, error, 1.0, 1.0, 1.0, 1.0][: self.features] * self.history
        return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    def parts(
        self, reading: Any, target: Any, tolerance: Any, signal: Any, log_width: Any, spent: Any, rounds_left: Any
    ) -> tuple[Any, ...]:
        """What an `Episode` holds, and its tolerance [range], as the numbers of a step, each (cells,); element-wise."""
        error = np.clip(reading - target, -FARTHEST, FARTHEST) / tolerance
        parts = np.clip(reading, -1.0, 2.0), target, error, signal, log_width, 1.0 - spent / self.max_pulses
        return (*parts, np.maximum(rounds_left, 0.0) / (self.rounds - 1)) if self.rounds > 1 else parts

    def observed(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Observations (cells, features) of one step."""
        return np.asarray(parts).T

    def show(
        self, reading: Float, target: Float, tolerance: Any, pulse: tuple[Float, Float], spent: Float, driver: Driver
    ) -> np.ndarray:
        """Observations (cells, features) of cells that others than a task drive, of one step in the last round.

        As `parts`, but of the last `pulse` the signed amplitude (cells,) [V], 0 before the first, and the width [s].
        """
        amplitude, width = pulse
        pulsed = amplitude != 0
        signal, log_width = (part * pulsed for part in signals_of(amplitude, width, driver))
        return _columns(self.parts(reading, target, tolerance, signal, log_width, spent, 0.0 * reading))

    def remember(self, history: np.ndarray | None, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Steps (cells, history, features) float32 with the newest at their end; at the start (None) it is repeated."""
        now = _columns(parts)[:, None]
        if self.history == 1:
            return now
        if history is None:
            return np.repeat(now, self.history, axis=1)
        return np.concatenate([history[:, 1:], now], axis=1)

    def newest(self, observation: np.ndarray) -> np.ndarray:
        """The newest step (cells, features) of observations (cells, history * features)."""
        return observation[:, -self.features :]

    def view(self, observation: np.ndarray, driver: Driver) -> View:
        """Observations (cells, history * features) in physical terms, the newest step of each."""
        newest = self.newest(observation).astype(np.float64)
        amplitude, width = volts(newest[:, 3], newest[:, 4], driver)
        rests = newest[:, 3] == 0
        return View(
            read=newest[:, 0],
            target=newest[:, 1],
            error=newest[:, 2],
            amplitude=np.where(rests, 0.0, amplitude),
            width=np.where(rests, 0.0, width),
            budget=newest[:, 5],
        )


def _columns(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(cells, parts) float32."""
    columns = np.empty((len(parts[0]), len(parts)), np.float32)
    for place, part in enumerate(parts):
        columns[:, place] = part
    return columns
