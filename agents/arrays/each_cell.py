"""A policy for single cells as one for arrays: every open cell of `memenv/CrossbarProgram-v0` gets its pulse.

The baseline of that environment, with the interface of all policies; `agents.arrays.writing` does the same outside of
it, and opens cells again.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from agents.library import load_policy
from agents.policy import Policy, one_or_many
from memenv.arrays import put, take
from memenv.envs.crossbar_program.actions import CellActions
from memenv.envs.crossbar_program.task import CrossbarProgram
from memenv.envs.write_verify.task import WriteVerify


class Known(NamedTuple):
    """Knowledge of the cells of all arrays, in C order."""

    memory: Any  # of the policy for single cells, arrays with a leading axis (cells,)
    reading: np.ndarray  # (cells,) [range] the last read
    pulse: np.ndarray  # (2, cells) [V, s] signed amplitude and width of the last pulse, 0 before the first
    given_up: np.ndarray  # (cells,) bool


@dataclass(frozen=True, kw_only=True)
class EachCell:
    """Asks a policy for single cells about every cell that is open and not given up.

    Raises:
        ValueError: a task in which an action is not a pulse for every cell.
    """

    task: CrossbarProgram
    policy: Policy
    cell: WriteVerify  # the task of one cell, for which the policy is

    def __post_init__(self) -> None:
        if self.task.action != "cells" or self.task.width is not None:
            raise ValueError(
                f"action is {self.task.action!r}, width is {self.task.width}: a pulse for every cell, of any width, is "
                "needed"
            )

    @classmethod
    def of(cls, name: str, task: CrossbarProgram) -> Self:
        """That of a controller, a shipped policy or the path of one; errors as of `load_policy`."""
        device, most = task.array.device, task.max_pulses
        cell = WriteVerify(device=device, tolerance=task.tolerance, max_pulses=most, give_up=True)
        cell.check_gate("programming an array cell by cell")
        return cls(task=task, policy=load_policy(name, cell), cell=cell)

    @one_or_many
    def predict(
        self,
        observation: dict[str, np.ndarray],
        state: Known | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Known]:
        """Actions (arrays, rows, cols, 1 or 2) and what is known then.

        Args:
            observation: of the environments, arrays (arrays, ...).
            state: of the last call.
            episode_start: (arrays,) bool, where the observation is the first of an episode.
            deterministic: whether a stochastic policy takes its most likely action.
        """
        actions, driver, view = self.task.actions, self.task.array.device.driver, self.task.view(observation)
        assert isinstance(actions, CellActions)
        reading, target, opened = (part.ravel() for part in (view.reading, view.target, view.open))
        spent = np.rint(view.pulses.ravel() * self.task.max_pulses)
        begun = np.ones(len(view.budget), bool) if state is None or episode_start is None else np.asarray(episode_start)
        start = np.repeat(begun, len(reading) // len(begun))
        memory, last, pulse, given_up = state or (
            None,
            reading,
            np.zeros((2, len(reading))),
            np.zeros(len(reading), bool),
        )
        pulse, given_up = pulse * ~start, given_up & ~start
        rows = np.flatnonzero(start | (opened & ~given_up))
        given = np.zeros_like(pulse)
        if len(rows):  # some policies take no empty batch
            change = (reading - last)[rows] * (pulse[0, rows] != 0)
            of_them = reading[rows], target[rows], self.task.tolerance, change, pulse[:, rows], spent[rows]
            shown, known = self.cell.observations.show(*of_them, driver), None if memory is None else take(memory, rows)
            action, known = self.policy.predict(shown, known, start[rows], deterministic)
            memory = known if memory is None else put(memory, rows, known)
            *asked, gave_up = self.cell.decode(action, driver)
            given_up = put(given_up, rows, gave_up)
            given[:, rows] = np.where(gave_up, 0.0, asked) * opened[rows]
        amplitude, width = given.reshape(2, *view.reading.shape)
        return actions.encode(amplitude, width, driver), Known(
            memory, reading, np.where(given[0], given, pulse), given_up
        )
