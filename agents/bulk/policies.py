"""Policies as the compiled engine takes them: what they decide about a cell is traced from their own text.

A controller is compiled whole. A predictor is compiled before and after its network, which is
`agents.predictor.gru_columns`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from agents.classical.write_verify import Controller
from agents.predictor.gru_columns import ColumnNetwork
from agents.predictor.handover import Watch
from agents.predictor.policy import FEATURES, OUTPUTS, PulsePredictor, features
from memenv.arrays import Array, tree_map
from memenv.envs.write_verify.observation import View

Decision = tuple[Array, Array, Array]  # signed amplitude [V], width [s], giving up


class CompiledPolicy(Protocol):
    """A policy in parts; `inputs` and `decide` take symbolic values (memenv/compiler) as they take arrays (cells,)."""

    @property
    def crowded(self) -> float:
        """Share of open cells at and below which moving these costs less than the steps of the others."""

    @property
    def hidden(self) -> int:
        """Numbers a cell of the network's memory."""

    @property
    def channels(self) -> tuple[int, int]:
        """Numbers a cell that the network takes, and gives."""

    def initial_memory(self, view: View) -> Any:
        """Memory of cells that it sees first: arrays (cells,)."""

    def inputs(self, view: View, memory: Any) -> tuple[Array, ...]:
        """Inputs of the network."""

    def forward(self, inputs: np.ndarray, hidden: np.ndarray, outputs: np.ndarray, first: bool) -> None:
        """The network: from `inputs` fills `outputs`, both (channels, cells), and renews `hidden` (hidden, cells).

        The `first` time what `hidden` contains does not matter.
        """

    def decide(self, view: View, memory: Any, outputs: tuple[Array, ...]) -> tuple[Decision, Any]:
        """The decision, and what is remembered."""


@dataclass(frozen=True, eq=False)
class CompiledController:
    """A controller that remembers numbers."""

    crowded = 0.5
    hidden = 0
    channels = (0, 0)

    policy: Controller

    def initial_memory(self, view: View) -> Any:
        """The controller's memory of unknown cells."""
        return tree_map(lambda leaf: leaf.astype(np.float32), self.policy.unknown(view))

    def inputs(self, view: View, memory: Any) -> tuple[()]:
        """Nothing: there is no network."""
        return ()

    def forward(self, inputs: np.ndarray, hidden: np.ndarray, outputs: np.ndarray, first: bool) -> None:
        """Nothing, either."""

    def decide(self, view: View, memory: Any, outputs: tuple[()]) -> tuple[Decision, Any]:
        """The controller's decision."""
        return self.policy.act(view, memory)


@dataclass(frozen=True, eq=False)
class CompiledPredictor:
    """A pulse predictor; it remembers the last read, and what its watch knows."""

    crowded = 0.75
    channels = (FEATURES, OUTPUTS)

    policy: PulsePredictor

    @property
    def hidden(self) -> int:
        """Units of the network."""
        return len(self.policy.weights.b_in)

    @cached_property
    def network(self) -> ColumnNetwork:
        """For many cells."""
        return ColumnNetwork.of(self.policy.weights)

    def initial_memory(self, view: View) -> tuple[np.ndarray, Watch | None]:
        """The read, and the watch over unknown cells."""
        memory = view.read, self.policy.unknown(view)
        return tree_map(lambda leaf: leaf.astype(np.float32), memory)

    def inputs(self, view: View, memory: tuple[Array, Watch | None]) -> tuple[Array, ...]:
        """The features of the sight."""
        return tuple(features(self.policy.device, self.policy.sight(view, memory[0])))

    def forward(self, inputs: np.ndarray, hidden: np.ndarray, outputs: np.ndarray, first: bool) -> None:
        """The layers."""
        self.network.forward(inputs, hidden if self.policy.memory else None, outputs, first)

    def decide(
        self, view: View, memory: tuple[Array, Watch | None], outputs: tuple[Array, ...]
    ) -> tuple[Decision, tuple[Array, Watch | None]]:
        """The pulse of the network's outputs, or of who took over."""
        decision, watch = self.policy.decide(view, *memory, Columns(outputs))
        return decision, (view.read, watch)


class Columns(tuple[Any, ...]):
    """Arrays (cells,) or symbolic values as the columns of a matrix."""

    def __getitem__(self, place: Any) -> Any:
        """`columns[:, number]` and `columns[:, from:]`."""
        part = super().__getitem__(place[1])
        return Columns(part) if isinstance(place[1], slice) else part

    def astype(self, _: type) -> "Columns":
        """Itself: compiled is single precision."""
        return self


def compiled_policy(policy: Any) -> CompiledPolicy:
    """The parts of a policy.

    Raises:
        ValueError: neither a controller nor a pulse predictor.
    """
    if isinstance(policy, PulsePredictor):
        return CompiledPredictor(policy)
    if isinstance(policy, Controller):
        return CompiledController(policy)
    raise ValueError(f"{type(policy).__name__} cannot be compiled, controllers and pulse predictors can")
