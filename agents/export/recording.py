"""Decisions of a policy, step by step: the test vector of an export."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from agents.evaluation import evaluate
from agents.policy import Policy
from memenv.devices.device import Driver
from memenv.envs.pulse_actions import signals_of
from memenv.envs.write_verify.task import WriteVerify


class Steps(NamedTuple):
    """Decisions, arrays (steps,); all of a cell stand one after the other."""

    cell: np.ndarray  # number
    read: np.ndarray  # [S]
    target: np.ndarray  # [S]
    amplitude: np.ndarray  # [V] signed
    width: np.ndarray  # [s]
    give_up: np.ndarray  # bool


@dataclass(frozen=True)
class Recorder:
    """A policy that writes its decisions down."""

    policy: Policy
    task: WriteVerify
    rows: list[np.ndarray] = field(default_factory=list)  # (n, 6) of each step

    def begin(self, chip: Any, cells: int) -> Any:
        """Numbers of the cells, and the policy's own state."""
        return np.arange(cells), self.policy.begin(chip, cells)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """The policy's decision."""
        cells, own = state
        action, own = self.policy.predict(observation, own, episode_start, deterministic)
        view = self.task.view(observation)
        g = (self.task.siemens(self.task.device, part) for part in (view.read, view.target))
        self.rows.append(np.column_stack([cells, *g, *self.task.decode(action)]))
        return action, (cells, own)


def recorded_steps(policy: Policy, task: WriteVerify, cells: int, seed: int) -> Steps:
    """The decisions of a policy in an episode on each of `cells` cells."""
    recorder = Recorder(policy, task)
    evaluate(recorder, task, cells, seed)
    rows = np.concatenate(recorder.rows)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    cell, read, target, amplitude, width, give_up = rows.T
    return Steps(cell.astype(int), read, target, amplitude, width, give_up > 0)


def difference(steps: Steps, others: Steps, driver: Driver) -> np.ndarray:
    """(steps,) largest difference of the decisions, amplitudes and log-widths in -1..1; infinite where one gives up."""
    one, other = (np.array(signals_of(each.amplitude, each.width, driver)) for each in (steps, others))
    pulses = np.where(steps.give_up & others.give_up, 0.0, np.abs(one - other).max(0))
    return np.where(steps.give_up == others.give_up, pulses, np.inf)
