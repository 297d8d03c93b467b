"""Actions on arrays: a pulse for every cell, or one line with one pulse and the cells of it that are enabled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from memenv.crossbars.crossbar import Crossbar
from memenv.crossbars.operations import Operations, cell_by_cell, one_line
from memenv.devices.device import Driver
from memenv.devices.protocol import CellModel
from memenv.envs.pulse_actions import FAINT, PulseActions, signals_of, volts
from memenv.envs.task import TaskError, clipped

Maps = np.ndarray  # (arrays, rows, cols)
REST = 0.02  # signals of a lesser magnitude are no pulse


def encoded(amplitude: Maps, width: Maps, driver: Driver) -> tuple[Maps, Maps]:
    """Signal and log-width, as in actions for cells, of pulses [V, s]; 0 V is none; element-wise."""
    signal, log_width = as_in_action(*signals_of(amplitude, width, driver))
    return np.where(amplitude == 0, 0.0, signal), log_width


def as_in_action(signal: Maps, log_width: Maps) -> tuple[Maps, Maps]:
    """Signals of magnitude 0 to 1 as in actions for cells, where those below REST are no pulse, and log-widths."""
    magnitude = REST + (1.0 - REST) * np.abs(signal)
    return np.where(signal > 0, magnitude, -magnitude), log_width


@dataclass(frozen=True, kw_only=True)
class CellActions:
    """A pulse of its own for every cell: maps of a signal and, unless all widths are one, of a log-width."""

    shape: tuple[int, int]  # (rows, cols)
    width: float | None  # [s] of all pulses, None = the second component
    polarity_only: bool

    @cached_property
    def space(self) -> spaces.Box:
        """Box (rows, cols, 1 or 2) float32 in [-1, 1]."""
        one = self.width is not None or self.polarity_only
        return spaces.Box(-1.0, 1.0, (*self.shape, 1 if one else 2), np.float32)

    @property
    def channels(self) -> int:
        """Numbers that an action has for each cell."""
        return int(self.space.shape[-1])

    def operations(self, action: np.ndarray, array: Crossbar, chip: CellModel, available: Maps) -> Operations:
        """The operations that actions (arrays, rows, cols, 1 or 2) ask of the `available` cells of a chip.

        Raises:
            TaskError: no numbers, or NaN among them.
        """
        components = np.moveaxis(self.components(action).astype(np.float64), -1, 0)
        return self.planned(self.decoded([*components]), array, chip, available)

    def components(self, action: np.ndarray) -> np.ndarray:
        """Actions (arrays, rows, cols, 1 or 2), clipped; refuses NaN."""
        return clipped(action)

    def decoded(self, components: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Signal, log-width and whether there is a pulse, each (arrays, rows, cols), of components; element-wise."""
        signal, log_width = components[0], components[-1]
        strength = (np.abs(signal) - REST) / (1.0 - REST)
        magnitude = np.maximum(strength, FAINT)
        return np.where(signal > 0, magnitude, -magnitude), log_width, strength >= 0

    def planned(
        self, decoded_action: tuple[Any, Any, Any], array: Crossbar, chip: CellModel, available: Any
    ) -> Operations:
        """The operations on the `available` cells of a chip; element-wise where the array is written cell by cell."""
        signal, log_width, wanted = decoded_action
        amplitude, width = volts(signal, log_width, chip.driver)
        if self.width is not None:
            width = self.width + np.zeros_like(amplitude)
        return array.plan(amplitude, width, available & wanted)

    def encode(self, amplitude: Maps, width: Maps, driver: Driver) -> np.ndarray:
        """The actions (arrays, rows, cols, 1 or 2) nearest to pulses (arrays, rows, cols) [V, s]; 0 V is none."""
        pulse = encoded(np.asarray(amplitude, float), np.asarray(width, float), driver)
        return np.stack(pulse, -1).astype(np.float32)[..., : self.channels]


@dataclass(frozen=True, kw_only=True)
class LineActions:
    """One operation: a line, a pulse from a menu, and which of the line's cells are enabled."""

    lines: int
    across: int  # cells of a line
    width: float | None  # [s] of all pulses, None = as the menu says
    pulses: PulseActions  # the menu

    @cached_property
    def space(self) -> spaces.MultiDiscrete:
        """MultiDiscrete: line, place in the menu, and 0 or 1 for each of the line's cells."""
        return spaces.MultiDiscrete([self.lines, len(self.pulses.menu[0]), *[2] * self.across])

    def operations(self, action: np.ndarray, array: Crossbar, chip: CellModel, available: Maps) -> Operations:
        """The operations that actions (arrays, 2 + cells of a line) ask of the `available` cells of a chip.

        Raises:
            TaskError: a component that is not a whole number in its range.
        """
        action, most = np.asarray(action), self.space.nvec - 1
        if action.dtype.kind not in "iu":
            raise TaskError(f"action is of type {action.dtype}, whole numbers are needed")
        wrong = (action < 0) | (action > most)
        if wrong.any():
            place = np.argwhere(wrong)[0]
            raise TaskError(f"action[{place[-1]}] is {action[tuple(place)]}, allowed is 0 to {most[place[-1]]}")
        signal, log_width, _ = self.pulses.signals(action[:, 1])
        amplitude, width = volts(signal, log_width, array.device.driver)
        if self.width is not None:
            width = np.full_like(amplitude, self.width)
        chosen, columns = action[:, :1] == np.arange(self.lines), array.writing == "columns"
        enabled = chosen[:, :, None] & (action[:, 2:] == 1)[:, None, :]
        enabled = (enabled.swapaxes(1, 2) if columns else enabled) & available
        if array.writing == "cells":
            whole = np.ones(enabled.shape)
            return cell_by_cell(amplitude[:, None, None] * whole, width[:, None, None] * whole, enabled)
        return one_line(amplitude[:, None] * chosen, width[:, None] * chosen, enabled, columns=columns)

    def encode(
        self, line: np.ndarray, amplitude: np.ndarray, width: np.ndarray, enabled: np.ndarray, driver: Driver
    ) -> np.ndarray:
        """The actions nearest to one pulse (arrays,) [V, s] on `enabled` cells (arrays, cells) bool of a line."""
        menu = self.pulses.encode(amplitude, width, None, driver)
        return np.concatenate([np.stack([line, menu], -1), enabled], axis=-1).astype(np.int64)

    def masks(self, open_lines: np.ndarray) -> np.ndarray:
        """(arrays, sum of nvec) bool, the choices that help, of cells (arrays, lines, cells of a line) bool still open.

        Lines without an open cell are masked, and enabling a place at which no line has one; nothing if none is open.
        """
        arrays, menu = len(open_lines), self.space.nvec[1]
        open_lines = open_lines | ~open_lines.any((1, 2), keepdims=True)
        place = open_lines.any(1)
        cells = np.stack([np.ones_like(place), place], -1).reshape(arrays, -1)
        return np.concatenate([open_lines.any(2), np.ones((arrays, menu), bool), cells], axis=1)
