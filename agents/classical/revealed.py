"""A bound beside the oracle, by information relaxation: what could be had if a single pulse told everything."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from agents.classical.bayes import Bayesian
from agents.classical.particles import Belief, Oracle
from agents.policy import one_or_many
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.task import WriteVerify


@dataclass(frozen=True, kw_only=True)
class Revealed:
    """Chooses a cell's first pulse by the record alone, as the Bayesian controller does, and all others as the oracle.

    Whoever meets a cell for the first time learns less from a pulse than the cell itself: as far as those two choose
    well, no controller that knows the record needs fewer pulses (Brown, Smith & Sun, Oper. Res. 58, 785 (2010),
    10.1287/opre.1090.0796).
    """

    needs_law: ClassVar[bool] = True

    task: WriteVerify

    @cached_property
    def _before(self) -> Bayesian:
        return Bayesian(task=self.task, wrong=0.0)

    @cached_property
    def _after(self) -> Oracle:
        return Oracle(task=self.task)

    def begin(self, chip: CellModel | None, cells: int) -> Belief:
        """The oracle's knowledge, which counts from a cell's first pulse on."""
        return self._after.begin(chip, cells)

    @one_or_many
    def predict(self, observation: np.ndarray, state: Belief | None = None) -> tuple[np.ndarray, Belief]:
        """Actions of the task and the oracle's knowledge after them; see `agents.policy.Policy`."""
        action, state = self._after.predict(observation, state)
        first = np.flatnonzero(self.task.view(observation).amplitude == 0)
        if len(first):
            action[first] = self._before.predict(observation[first])[0]
        return action, state
