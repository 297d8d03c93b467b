"""The one interface of whoever decides: classical controllers, learned policies and oracles alike."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, Protocol

import numpy as np

from memenv.envs.task import TaskError

SB3_FORMAT = "memenv stable-baselines3 policy 3"  # of files of theirs, told from others before torch is imported


class Policy(Protocol):
    """Decides for a batch of cells at once; stable-baselines3's own `predict`, and `begin` for what precedes it."""

    def begin(self, chip: Any, cells: int) -> Any:
        """The state before the first observation: None, or tuples and records of arrays with a leading axis (cells,).

        Args:
            chip: the task's fabricated chip: a `CellModel`, or layers that learn; only an oracle may look at it.
            cells: how many.
        """

    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Actions (cells, ...) and the next state.

        Args:
            observation: (cells, features), or (features,) of a single environment, whose action has no leading axis.
            state: of the last call, or of `begin`; rows can be selected as cells finish.
            episode_start: (cells,) bool, where the observation is the first of an episode.
            deterministic: whether a stochastic policy takes its most likely action.
        """


def handed_over(state: Any) -> Any:
    """Cells (cells,) bool that a policy has handed over to another, by its state; False of policies that never do."""
    return getattr(state, "handed", False)


def one_or_many(predict: Callable[..., Any]) -> Callable[..., Any]:
    """The `predict` of batches for an observation of a single environment, too, as stable-baselines3's takes it.

    States keep their leading axis; of an observation that is a dictionary `budget`, or with goals `observation`, tells
    one from many. What is not finite raises a `TaskError`. The method takes as many of the arguments as it looks at.
    """
    taken = len(signature(predict).parameters) - 1

    @wraps(predict)
    def either(
        self: Any, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        named = observation if isinstance(observation, dict) else {"": observation}
        for name, part in named.items():
            if not np.isfinite(part).all():
                raise TaskError(f"{f'observation {name}'.strip()} has a component nan or inf, allowed is -1 to 1")
        if np.ndim(named.get("budget", named.get("observation", observation))) > 1:
            answer: tuple[np.ndarray, Any] = predict(self, *(observation, state, episode_start, deterministic)[:taken])
            return answer
        many = (
            {name: np.asarray(part)[None] for name, part in observation.items()}
            if isinstance(observation, dict)
            else np.asarray(observation)[None]
        )
        start = None if episode_start is None else np.atleast_1d(episode_start)
        action, state = predict(self, *(many, state, start, deterministic)[:taken])
        return action[0], state

    return either
