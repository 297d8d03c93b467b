"""Chooses what runs a task's episodes: NumPy at first, the compiled loop as soon as it pays."""

import importlib.util
import logging
import math
from typing import Any

import numpy as np

from memenv.bounds import is_word
from memenv.engine import Engine, EngineError, load_engine
from memenv.envs.compiled_runner import CompiledRunner, not_compiled
from memenv.envs.noise import Episodes
from memenv.envs.runners import Look, NumpyRunner, Runner
from memenv.envs.task import Task, TaskError

LOG = logging.getLogger("memenv")
STEP = 1000  # cells, in whose time NumPy goes through the operations of a step
WORTHWHILE = 5_000_000  # cells of NumPy's, in whose time, about a second, numba and a kept loop are loaded


class AutoRunner:
    """Runs a task by NumPy until that has taken as long as compiled loops take to load, then by these.

    After how many steps is a matter of their number and size, not of the clock, so that a run can be repeated exactly.
    """

    def __init__(self, task: Task, envs: int) -> None:
        self.task, self.envs = task, envs
        self.runner: Runner = NumpyRunner(task, envs)
        self.price = STEP + envs * math.prod(task.initial_draws[0].layout)
        self.left: float = WORTHWHILE

    @property
    def episode(self) -> Any:
        """The episodes; None before the first reset."""
        return self.runner.episode

    def reset(self, episodes: Episodes, options: dict[str, Any], rows: np.ndarray | None = None) -> None:
        """New episodes everywhere, or for some cells."""
        self.runner.reset(episodes, options, rows)

    def step(self, action: np.ndarray) -> None:
        """One step of all cells."""
        if self.left < 0:
            self._hand_over()
        self.left -= self.price
        self.runner.step(action)

    def look(self) -> Look:
        """The present view of the episodes."""
        return self.runner.look()

    def _hand_over(self) -> None:
        """Goes over to compiled loops, or stays."""
        assert isinstance(self.runner, NumpyRunner)
        self.left = math.inf
        try:
            compiled = CompiledRunner(self.task, self.envs, Engine("numba"))
            compiled.take_over(self.runner)
        except Exception as error:  # of a device's own text, anything: what nobody asked for must not end a run
            LOG.warning("memenv: stays on NumPy: %s", " ".join(str(error).split()))
        else:
            self.runner = compiled


def runner_of(task: Task, envs: int, engine: str | Engine, drawn: bool = False) -> Runner:
    """The runner of a task under this engine; if it is `drawn`, one that keeps all that pictures show.

    Raises:
        TaskError: an engine that does not exist, is not installed or cannot run this.
    """
    if is_word(engine, ("auto",)):
        compiles = not (drawn or not_compiled(task)) and importlib.util.find_spec("numba") is not None
        return AutoRunner(task, envs) if compiles else NumpyRunner(task, envs)
    try:
        chosen = engine if isinstance(engine, Engine) else load_engine(engine)
    except EngineError as error:
        raise TaskError(str(error)) from None
    if chosen.name == "numpy":
        return NumpyRunner(task, envs)
    if drawn:
        raise TaskError(f'engine "{chosen.name}" keeps nothing to be drawn: use engine="auto" with a render_mode')
    return CompiledRunner(task, envs, chosen)
