"""The learned policy of `memenv/FewShot-v0`: a small network in NumPy, its training by PPO, and its file."""

import io
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np

from memenv.archives import UNREADABLE
from memenv.command import write_whole
from memenv.envs.few_shot import FewShot

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FewShotAgent:
    """Tanh layers from the observation to the action; no memory beyond what the environment shows."""

    weights: tuple[np.ndarray, ...]  # float32 (rows, outputs); last rows are biases
    card: str = "{}"  # JSON: command, seed, task

    def begin(self, chip: Any, cells: int) -> None:
        """Nothing is carried from step to step."""

    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Actions (tasks, layers + 3); see `agents.policies.Policy`."""
        signal = observation
        for number, weight in enumerate(self.weights):
            signal = (np.tanh(signal) if number else signal) @ weight[:-1] + weight[-1]
        return np.clip(signal, -1.0, 1.0), None

    def fits(self, task: FewShot) -> Self:
        """The agent, if its shape is that of a task.

        Raises:
            ValueError: it observes or decides something else.
        """
        own = len(self.weights[0]) - 1, self.weights[-1].shape[1]
        wanted = task.observation_space.shape[0], task.action_space.shape[0]
        if own != wanted:
            raise ValueError(f"the agent is made for {own} observations and actions, the task has {wanted}")
        return self

    def save(self, path: Path) -> None:
        """Write as .npz, whole or not at all."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"weight{number}": weight for number, weight in enumerate(self.weights)}
        np.savez_compressed(buffer, format=FORMAT, **arrays, card=np.array(self.card))
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """An agent that `save` wrote.

        Raises:
            ValueError: no such file, or not such a file.
        """
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
                if int(file["format"]) != FORMAT:
                    raise ValueError(f"it has the format {file['format']}, this program reads {FORMAT}")
                layers = sum(name.startswith("weight") for name in file.files)
                card = str(file["card"])
                json.loads(card)
                if not layers:
                    raise ValueError("it has no weights")
                return cls(weights=tuple(file[f"weight{number}"] for number in range(layers)), card=card)
        except UNREADABLE as error:
            raise ValueError(f"{path} is no few-shot agent: {error}") from None


def shipped_agent(task: FewShot) -> FewShotAgent:
    """The agent that comes with the package, trained in the environment as it is by default."""
    return FewShotAgent.load(Path(str(resources.files("agents") / "shipped" / "few-shot" / "default.npz"))).fits(task)
