"""Policies as the compiled engine takes them: what they decide about a cell is traced from their own text.

A controller is compiled whole. A predictor is compiled before and after its network, which is
`agents.predictor.gru_columns`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from agents.classical.write_verify import Controller
from agents.predictor.gru_columns import ColumnNetwork
from agents.predictor.handover import Watch
from agents.predictor.policy import FEATURES, PulsePredictor, features
from memenv.arrays import Array, tree_map
from memenv.envs.write_verify.observation import View

Decision = tuple[Array, ...]  # signed amplitude [V], width [s], giving up, and the gate [V] where it is chosen


class CompiledPolicy(Protocol):
    """A policy in parts; `inputs` and `decide` take symbolic values (memenv/compiler) as they take arrays (cells,)."""

    @property
    def crowded(self) -> float:
        """Share of open cells at and below which moving these costs less than the steps of the others."""

    @property
    def varied(self) -> tuple[str, ...]:
        """Parameters in which variants differ that program the same cells."""

    @property
    def hidden(self) -> int:
        """Numbers a cell of the network's memory."""

    @property
    def channels(self) -> tuple[int, int]:
        """Numbers a cell that the network takes, and gives."""

    def initial_memory(self, view: View, parameters: Sequence[np.ndarray]) -> Any:
        """Memory of cells that it sees first: arrays (cells,). So are the `parameters` that are varied."""

    def inputs(self, view: View, memory: Any) -> tuple[Array, ...]:
        """Inputs of the network."""

    def forward(self, inputs: np.ndarray, hidden: np.ndarray, outputs: np.ndarray, first: bool) -> None:
        """The network: from `inputs` fills `outputs`, both (channels, cells), and renews `hidden` (hidden, cells).

        The `first` time what `hidden` contains does not matter.
        """

    def decide(self, view: View, memory: Any, outputs: tuple[Array, ...]) -> tuple[Decision, Any]:
        """The decision, and what is remembered."""


class Remembered(NamedTuple):
    """Memory of a controller, arrays (cells,)."""

    parameters: tuple[Array, ...]  # that are varied
    own: Any


@dataclass(frozen=True, eq=False)
class CompiledController:
    """A controller that remembers numbers; some of its parameters may vary from cell to cell."""

    crowded = 0.5
    hidden = 0
    channels = (0, 0)

    policy: Controller
    varied: tuple[str, ...] = ()

    def initial_memory(self, view: View, parameters: Sequence[np.ndarray]) -> Remembered:
        """The parameters, and the controller's memory of unknown cells."""
        memory = Remembered(tuple(parameters), self._with(parameters).unknown(view))
        single: Remembered = tree_map(lambda leaf: leaf.astype(np.float32), memory)
        return single

    def _with(self, parameters: Sequence[Array]) -> Controller:
        """The controller with these parameters."""
        return replace(self.policy, **dict(zip(self.varied, parameters, strict=True)))

    def inputs(self, view: View, memory: Any) -> tuple[()]:
        """Nothing: there is no network."""
        return ()

    def forward(self, inputs: np.ndarray, hidden: np.ndarray, outputs: np.ndarray, first: bool) -> None:
        """Nothing, either."""

    def decide(self, view: View, memory: Remembered, outputs: tuple[()]) -> tuple[Decision, Remembered]:
        """The controller's decision."""
        decision, own = self._with(memory.parameters).act(view, memory.own)
        return decision, memory._replace(own=own)


@dataclass(frozen=True, eq=False)
class CompiledPredictor:
    """A pulse predictor; it remembers the last read, and what its watch knows."""

    crowded = 0.75
    varied = ()

    policy: PulsePredictor

    @property
    def channels(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""
        return FEATURES, len(self.policy.weights.b_out)

    @property
    def hidden(self) -> int:
        """Units of the network."""
        return len(self.policy.weights.b_in)

    @cached_property
    def network(self) -> ColumnNetwork:
        """For many cells."""
        return ColumnNetwork.of(self.policy.weights)

    def initial_memory(self, view: View, parameters: Sequence[np.ndarray]) -> tuple[np.ndarray, Watch | None]:
        """The read, and the watch over unknown cells."""
        watch: Watch | None = tree_map(lambda leaf: leaf.astype(np.float32), self.policy.unknown(view))
        return view.read.astype(np.float32), watch

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


def compiled_policy(policy: Any, varied: Collection[str] = ()) -> CompiledPolicy:
    """The parts of a policy, of a controller with parameters that may vary from cell to cell.

    Raises:
        ValueError: neither a controller nor a pulse predictor.
    """
    if isinstance(policy, PulsePredictor):
        return CompiledPredictor(policy)
    if isinstance(policy, Controller):
        return CompiledController(policy, tuple(varied))
    raise ValueError(
        f"{type(policy).__name__} cannot be compiled; pulse predictors can, and controllers but bayes and the bounds"
    )
