"""The learned policy of `memenv/FewShot-v0`: a small network in NumPy, its training by PPO, and its file."""

import json
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np

from agents.policy import one_or_many
from memenv.archives import WHOLE, Entry, load_archive, save_archive
from memenv.envs.few_shot.observation import LearningObservation
from memenv.envs.few_shot.task import FewShot
from memenv.files import named, parse_json

FORMAT = 3  # 1: of observations as they were before all lay in -1 to 1; 2: of actions without class means
MEANS = -2  # the component of an action that decides on class means
WHAT = "few-shot agent"
ENTRIES = {"format": Entry((), WHOLE), "weight*": Entry(("", ""), most=1e6)}


@dataclass(frozen=True, kw_only=True)
class FewShotAgent:
    """Tanh layers from the observation to the action; no memory beyond what the environment shows."""

    weights: tuple[np.ndarray, ...]  # float32 (rows, outputs); last rows are biases
    card: str = "{}"  # JSON: command, seed, task
    format: int = FORMAT  # of the observations that the weights take, and of the actions

    def __post_init__(self) -> None:
        """Raises ValueError: no layers, or some that do not fit each other."""
        shapes = [weight.shape for weight in self.weights]
        if not shapes or any(rows != before + 1 for (_, before), (rows, _) in pairwise(shapes)):
            raise ValueError(f"weights of the shapes {shapes} are no layers, each with the outputs before it and a one")

    def begin(self, chip: Any, cells: int) -> None:
        """Nothing is carried from step to step."""

    @one_or_many
    def predict(self, observation: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        """Actions (tasks, layers + 4); see `agents.policy.Policy`."""
        signal = _as_at_first(observation) if self.format == 1 else observation
        for number, weight in enumerate(self.weights):
            signal = (np.tanh(signal) if number else signal) @ weight[:-1] + weight[-1]
        if self.format < FORMAT:
            signal = np.insert(signal, signal.shape[1] + MEANS + 1, -1.0, 1)
        return np.clip(signal, -1.0, 1.0), None

    def fits(self, task: FewShot) -> Self:
        """The agent, if its shape is that of a task.

        Raises:
            ValueError: it observes or decides something else.
        """
        own = len(self.weights[0]) - 1, self.weights[-1].shape[1] + (self.format < FORMAT)
        wanted = task.observation_space.shape[0], task.action_space.shape[0]
        if own != wanted:
            raise ValueError(f"the agent is made for {own} observations and actions, the task has {wanted}")
        return self

    def save(self, path: Path) -> None:
        """Write as .npz, whole or not at all."""
        weights = {f"weight{number}": weight for number, weight in enumerate(self.weights)}
        save_archive(path, parse_json(self.card), weights | {"format": np.array(self.format)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """An agent that `save` wrote.

        Raises:
            ValueError: no such file, or not such a file.
        """
        card, arrays = load_archive(path, WHAT, ENTRIES)
        with named(path, WHAT):
            if not 1 <= (version := int(arrays.pop("format"))) <= FORMAT:
                raise ValueError(f"it has the format {version}, this program reads 1 to {FORMAT}")
            weights = tuple(arrays[f"weight{number}"] for number in range(len(arrays)))
            return cls(weights=weights, card=json.dumps(card), format=version)


def _as_at_first(observation: np.ndarray) -> np.ndarray:
    """Observations (tasks, 7 + 4 layers) as format 1 has them: plain numbers, but for pulses and gradients."""
    layers = (observation.shape[1] - 7) // 4
    view = LearningObservation(layers=layers).view(observation)
    pulses = {name: np.log1p(getattr(view, name)) for name in ("pulses", "last_pulses")}
    gradient = observation[:, 7 + layers : 7 + 2 * layers]
    return np.column_stack(view._replace(gradient=gradient, **pulses)).astype(np.float32)


def shipped_agent(task: FewShot) -> FewShotAgent:
    """The agent that comes with the package, trained in the environment as it is by default."""
    return FewShotAgent.load(Path(str(resources.files("agents") / "shipped" / "few-shot" / "default.npz"))).fits(task)
