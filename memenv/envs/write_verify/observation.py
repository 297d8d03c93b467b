"""The observation of a cell: numbers of its last steps, as Gymnasium's agents take them, and back in plain units."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from memenv.devices.device import Driver
from memenv.devices.gate import Gate
from memenv.envs.pulse_actions import Float, signals_of, volts
from memenv.envs.scales import FARTHEST, READS, UNIT, scaled, symlog, symlog_inverse, unscaled
from memenv.envs.task import Observation, TaskError

ERROR, RESPONSE, SIGNAL = 2, 3, 4  # their places in a step


class View(NamedTuple):
    """An observation in physical terms; arrays (cells,) float64."""

    read: Float  # [range]
    target: Float  # [range]
    error: Float  # [tolerances] (read - target) / tolerance
    response: Float  # [tolerances] change of the read by the last pulse, 0 before the first
    amplitude: Float  # [V] signed, of the last pulse, 0 before the first
    width: Float  # [s] of the last pulse, 0 before the first
    budget: Float  # [1] share of the pulses for this target that is left
    gate: Float | None = None  # [V] of the last pulse, 0 before the first; None where it is not chosen


@dataclass(frozen=True, kw_only=True)
class CellObservation:
    """Steps one after the other, the newest last, each with the same numbers; see the environment's docstring."""

    tolerance: float  # [range] the least of all cells
    max_pulses: int  # budget for one target
    rounds: int  # targets in an episode
    history: int  # steps
    goal: bool = False  # read and target stand apart, as goals
    gate: Gate | None = None  # whose last voltage is the last number

    @property
    def features(self) -> int:
        """Numbers of one step: read, target, error, response, signal, log-width, budget (and rounds left, and gate)."""
        return 7 + (self.rounds > 1) + (self.gate is not None)

    @property
    def farthest(self) -> float:
        """The largest observed error [tolerances]."""
        return FARTHEST / self.tolerance

    @cached_property
    def space(self) -> spaces.Space[Any]:
        """Box (history * features,) float32 in [-1, 1], or a Dict of such with goals."""
        if not self.goal:
            return spaces.Box(-1.0, 1.0, (self.history * self.features,), np.float32)
        sizes = {"observation": self.features - RESPONSE, "achieved_goal": 1, "desired_goal": 1}
        return spaces.Dict({name: spaces.Box(-1.0, 1.0, (size,), np.float32) for name, size in sizes.items()})

    def distance(self, difference: Any, tolerance: Any) -> Any:
        """A difference of reads (cells,) [range] as observed, in [-1, 1]; element-wise."""
        return symlog(difference / tolerance, self.farthest)

    def parts(
        self,
        reading: Any,
        target: Any,
        tolerance: Any,
        response: Any,
        signal: Any,
        log_width: Any,
        spent: Any,
        rounds_left: Any,
        gate: Any = None,
    ) -> tuple[Any, ...]:
        """The numbers of a step, of an `Episode`'s fields and its tolerance [range], each (cells,); element-wise."""
        error, change = (self.distance(part, tolerance) for part in (reading - target, response))
        budget = scaled(self.max_pulses - spent, (0.0, self.max_pulses))
        parts: tuple[Any, ...] = scaled(reading, READS), scaled(target, UNIT), error, change, signal, log_width, budget
        if self.rounds > 1:
            parts = *parts, scaled(rounds_left, (0.0, self.rounds - 1))
        return parts if gate is None else (*parts, gate)

    def observed(self, parts: Sequence[np.ndarray]) -> Observation:
        """Observations of one step, from its parts (cells,)."""
        return self.arranged(np.asarray(parts).T)

    def arranged(self, flat: np.ndarray) -> Observation:
        """Observations as `space` has them, of flat ones (cells, history * features).

        Goals are conductances on the scale of reads; what depends on the target stands in no other part.
        """
        if not self.goal:
            return flat
        read, target = flat[:, :1], scaled(unscaled(flat[:, 1:2], UNIT), READS)
        return {"observation": flat[:, RESPONSE:], "achieved_goal": read, "desired_goal": target}

    def reached(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """(...) bool: goals (..., 1) that lie within the tolerance of each other."""
        difference = unscaled(achieved, READS) - unscaled(desired, READS)
        within: np.ndarray = np.abs(difference)[..., 0] <= self.tolerance
        return within

    def show(
        self,
        reading: Float,
        target: Float,
        tolerance: Any,
        response: Float,
        pulse: tuple[Float, Float],
        spent: Float,
        driver: Driver,
    ) -> np.ndarray:
        """Observations (cells, features) of cells that others than a task drive, of one step in the last round.

        As `parts`, but of the last `pulse` the signed amplitude (cells,) [V], 0 before the first, and the width [s].
        """
        amplitude, width = pulse
        pulsed = amplitude != 0
        signal, log_width = (part * pulsed for part in signals_of(amplitude, width, driver))
        return _columns(self.parts(reading, target, tolerance, response, signal, log_width, spent, 0.0 * reading))

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

    def check(self, observation: Observation) -> None:
        """Refuse observations (cells, ...) that are not of the space.

        Raises:
            TaskError: another shape, or a dictionary where none is needed, or the other way round.
        """
        space = self.space
        needed: dict[str, Any] = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
        seen = observation if isinstance(observation, dict) else {"": observation}
        if seen.keys() != needed.keys():
            raise TaskError(f"observation has the parts {sorted(seen)}, {sorted(needed)} are needed")
        for name, own in needed.items():
            if np.shape(seen[name])[1:] != own.shape:
                told, size = f"observation {name}".strip(), own.shape[0]
                raise TaskError(f"{told} has shape {np.shape(seen[name])}, ({size},) or (cells, {size}) is needed")

    def view(self, observation: Observation, driver: Driver) -> View:
        """Observations (cells, history * features), or dictionaries with goals, in physical terms: the newest step.

        Raises:
            TaskError: observations that are not of the space.
        """
        self.check(observation)
        if isinstance(observation, dict):
            parts = (observation[name] for name in ("achieved_goal", "desired_goal", "observation"))
            read, target, rest = (part.T.astype(np.float64) for part in parts)
            read, target = (unscaled(goal[0], READS) for goal in (read, target))
            error = (read - target) / self.tolerance
        else:
            newest = self.newest(observation).T.astype(np.float64)
            read, target = unscaled(newest[0], READS), unscaled(newest[1], UNIT)
            error, rest = symlog_inverse(newest[ERROR], self.farthest), newest[RESPONSE:]
        response, signal, log_width, budget = rest[:4]
        return View(
            read=read,
            target=target,
            error=error,
            response=symlog_inverse(response, self.farthest),
            **last_pulse(signal, log_width, driver, self.gate, rest[-1]),
            budget=unscaled(budget, UNIT),
        )


def last_pulse(
    signal: Float, log_width: Float, driver: Driver, gate: Gate | None, gate_signal: Float | None
) -> dict[str, Float]:
    """Amplitude [V], width [s] and gate [V], if there is one, of a `View`, 0 where there was no pulse; element-wise."""
    parts = dict(zip(("amplitude", "width"), volts(signal, log_width, driver), strict=True))
    if gate is not None:
        parts["gate"] = gate.volts_of(gate_signal)
    return {name: np.where(signal != 0, part, 0.0) for name, part in parts.items()}


def _columns(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(cells, parts) float32."""
    columns = np.empty((len(parts[0]), len(parts)), np.float32)
    for place, part in enumerate(parts):
        columns[:, place] = part
    return columns
