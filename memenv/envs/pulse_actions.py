"""Pulses as actions: the continuous and the discrete action space of a cell, and their meaning in volts and seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from memenv.devices.device import Driver
from memenv.devices.gate import Gate
from memenv.devices.grid import on_grid
from memenv.envs.task import TaskError, clipped

Float = np.ndarray  # (cells,) float64
GIVE_UP_ABOVE = 0.9  # the last action component gives the cell up beyond this
FAINT = 1e-6  # least magnitude of a signal: its sign is the polarity, and exactly 0 means no pulse


@dataclass(frozen=True, kw_only=True)
class PulseActions:
    """A pulse for each cell, its polarity, amplitude and width chosen freely or from a menu.

    Inside, a pulse is a signal (signed amplitude) and a log-width, both in [-1, 1].
    """

    discrete: bool
    levels: tuple[int, int]  # amplitudes and widths of the menu, per polarity
    give_up: bool  # giving up is an action: the last of the menu, or the last component
    polarity_only: bool  # there is one pulse for each polarity
    gate: Gate | None = None  # whose voltage is a component, after the width

    @cached_property
    def space(self) -> spaces.Space[Any]:
        """Box (channels,) float32 in [-1, 1], or Discrete (menu length)."""
        if self.discrete:
            return spaces.Discrete(len(self.menu[0]) + self.give_up)
        return spaces.Box(-1.0, 1.0, (self.channels,), np.float32)

    @property
    def channels(self) -> int:
        """Numbers of an action: polarity, amplitude, width and gate as far as they can be chosen, and giving up."""
        return (1 if self.polarity_only else 3) + (self.gate is not None) + self.give_up

    @cached_property
    def menu(self) -> tuple[Float, Float]:
        """Signal and log-width of the pulses of the discrete menu."""
        if self.polarity_only:
            return np.array([1.0, -1.0]), np.ones(2)
        amplitudes, widths = self.levels
        strength = np.linspace(0.0, 1.0, amplitudes + 1)[1:]
        log_width = np.linspace(-1.0, 1.0, widths + 2)[1:-1]
        s, w = (part.ravel() for part in np.meshgrid(np.concatenate([strength, -strength]), log_width, indexing="ij"))
        return s, w

    @cached_property
    def _rows(self) -> np.ndarray:
        """(menu length, channels) the menu as continuous actions, giving up at its end."""
        signal, log_width = self.menu
        if not self.give_up:
            return self._components(signal, log_width, None).T.copy()
        given_up = np.arange(len(signal) + 1) == len(signal)
        signal, log_width = (np.append(part, part[-1]) for part in self.menu)
        return self._components(signal, log_width, given_up).T.copy()

    def signals(self, action: np.ndarray) -> tuple[Any, ...]:
        """`decoded` of actions (cells, ...), of which invalid ones are refused."""
        return self.decoded([*self.components(action).T.astype(np.float64)])

    def components(self, action: np.ndarray) -> np.ndarray:
        """(cells, channels) the components of actions (cells, ...), clipped, or of those of the menu.

        Raises:
            TaskError: no numbers, NaN among them, or a place that is not in the menu.
        """
        if not self.discrete:
            return clipped(action)
        action, options = np.asarray(action), len(self._rows)
        if action.dtype.kind not in "iu":
            raise TaskError(f"action is of type {action.dtype}, whole numbers 0 to {options - 1} are needed")
        known = action.astype(np.uint64) < options  # negative ones become large
        if not known.all():
            raise TaskError(f"action is {action[~known][0]}, allowed is 0 to {options - 1}")
        return self._rows.take(action, axis=0)

    def decoded(self, components: Sequence[Any]) -> tuple[Any, ...]:
        """Signal, log-width, giving up and the gate's signal, if it has one, of components (cells,); element-wise."""
        polarity, *pulse = components[: self.channels - self.give_up]
        amplitude, log_width, *gate = pulse or (np.ones_like(polarity), np.ones_like(polarity))
        magnitude = np.maximum(0.5 * (amplitude + 1.0), FAINT)
        gave_up = components[-1] > GIVE_UP_ABOVE if self.give_up else np.zeros_like(polarity, bool)
        return np.where(polarity > 0, magnitude, -magnitude), log_width, gave_up, *gate

    def masks(self, error: Float, signal: Float) -> np.ndarray:
        """(cells, menu) bool, by read error and last signal: no pulse away from the target, no giving up before one."""
        masks: np.ndarray = self._masks.take((error < 0) + 2 * (signal != 0), axis=0)
        return masks

    @cached_property
    def _masks(self) -> np.ndarray:
        """(4, menu) bool: before a pulse and after one, reads at or above the target and below it."""
        below, pulsed = np.array([[False, True, False, True], [False, False, True, True]])
        mask = (self.menu[0] > 0) == below[:, None]
        return np.column_stack([mask, pulsed]) if self.give_up else mask

    def encode(
        self, amplitude: Float, width: Float, give_up: np.ndarray | None, driver: Driver, gate: Any = None
    ) -> np.ndarray:
        """The actions nearest to signed amplitudes, gates (cells,) [V] and widths (cells,) [s], within the driver's."""
        pulse = signals_of(np.asarray(amplitude, float), np.asarray(width, float), driver)
        return self.of_signals(*pulse, give_up, *self.gate_signal(pulse[0], gate))

    def gate_signal(self, like: Any, volts: Any = None) -> tuple[Any, ...]:
        """The gate's signal (cells,) at `volts` (cells,) [V], None being fully open; nothing where it has none."""
        if self.gate is None:
            return ()
        return (0.0 * like + self.gate.signal_of(self.gate.high if volts is None else volts),)

    def of_signals(self, signal: Float, log_width: Float, give_up: np.ndarray | None, *gate: Float) -> np.ndarray:
        """The actions nearest to signals, log-widths and gates (cells,); the inverse of `signals`."""
        if self.discrete:
            menu_signal, menu_width = self.menu
            other = (signal > 0)[:, None] != (menu_signal > 0)
            distance = np.abs(signal[:, None] - menu_signal) + 10.0 * other
            index = np.argmin(distance + np.abs(log_width[:, None] - menu_width), axis=1)
            return index if give_up is None or not self.give_up else np.where(give_up, len(menu_signal), index)
        return self._components(signal, log_width, give_up, *gate).T.astype(np.float32)

    def _components(self, signal: Float, log_width: Float, give_up: np.ndarray | None, *gate: Float) -> np.ndarray:
        """(channels, cells) the components of continuous actions, by default at full gate; the inverse of `decoded`."""
        rows = [np.where(signal > 0, 1.0, -1.0)]
        if not self.polarity_only:
            rows += [2.0 * np.abs(signal) - 1.0, log_width, *(gate or self.gate_signal(signal))]
        if self.give_up:
            rows.append(-1.0 + 2.0 * (np.zeros(len(signal)) if give_up is None else give_up))
        return np.stack(rows)


def volts(signal: Float, log_width: Float, driver: Driver) -> tuple[Float, Float]:
    """Signed amplitude [V] and width [s] of a signal and a log-width in [-1, 1], as the instrument makes them."""
    up = signal > 0
    low, high = amplitude_range(up, driver)
    magnitude = low + np.abs(signal) * (high - low)
    width = driver.width_min * np.exp((0.5 * np.log(driver.width_max / driver.width_min)) * (log_width + 1.0))
    magnitude, width = on_grid(driver, up, magnitude, width)
    return np.where(up, magnitude, -magnitude), width


def signals_of(amplitude: Float, width: Float, driver: Driver) -> tuple[Float, Float]:
    """The inverse of `volts`: signal and log-width of amplitudes and widths, clipped to the driver's; element-wise."""
    up = amplitude > 0
    low, high = amplitude_range(up, driver)
    strength = np.clip((np.abs(amplitude) - low) / np.maximum(high - low, 1e-12), FAINT, 1.0)
    span = np.maximum(np.log(driver.width_max / driver.width_min), 1e-12)  # a driver may offer one pulse only
    log_width = 2 * np.log(np.clip(width, driver.width_min, driver.width_max) / driver.width_min) / span - 1
    return np.where(up, strength, -strength), log_width


def amplitude_range(up: np.ndarray, driver: Driver) -> tuple[Any, Any]:
    """Least and largest magnitude (cells,) [V] for each cell's polarity."""
    return np.where(up, driver.set_min, driver.reset_min), np.where(up, driver.set_max, driver.reset_max)
