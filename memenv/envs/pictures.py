"""Pictures of environments: the episodes so far of the first few, drawn by their task's functions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from memenv.arrays import take
from memenv.bounds import is_word, shown
from memenv.envs.task import Task, TaskError

MODES = ["rgb_array", "ansi"]
PICTURED = 16  # environments of a batch, the first


class Pictures:
    """Pictures of environments.

    Args:
        task: what is run.
        mode: one of `MODES`, or None.
        draw: what makes a picture of a task's episodes so far, by modes.
        envs: environments.

    Raises:
        TaskError: another mode.
    """

    def __init__(self, task: Task, mode: str | None, draw: dict[str | None, Any], envs: int) -> None:
        if mode is not None and not is_word(mode, MODES):
            raise TaskError(f"render_mode is {shown(mode)}, allowed are None, {', '.join(MODES)}")
        self.task, self.envs = task, envs
        self.draw: Callable[[Any, list[Any]], Any] | None = draw.get(mode)
        self.traces: list[list[Any]] = [[] for _ in range(min(envs, PICTURED) if mode else 0)]

    def begin(self, rows: np.ndarray) -> None:
        """Forgets the episodes of the environments with the indices `rows`."""
        for row, trace in enumerate(self.traces):
            if row in rows:
                trace.clear()

    def add(self, episode: Any, rows: np.ndarray | None = None) -> None:
        """The episodes after one more step, of all environments or those with the indices `rows`."""
        for row, trace in enumerate(self.traces):
            if rows is None or row in rows:
                trace.append(take(episode, slice(row, row + 1)))

    def frames(self) -> tuple[Any, ...] | None:
        """A picture of each environment, as Gymnasium's wrappers ask for, empty beyond the first; None without a mode.

        Raises:
            TaskError: before the first reset.
        """
        if self.draw is None:
            return None
        if not self.traces[0]:
            raise TaskError("render() before reset(): call reset() first")
        found = [self.draw(self.task, trace) for trace in self.traces]
        empty = "" if isinstance(found[0], str) else np.zeros_like(found[0])
        return (*found, *[empty] * (self.envs - len(found)))
