"""Runs a task's episodes by the compiled engine: a loop over cells for a step, another for the start of episodes.

Both are the task's own methods, run on terms and recorded (memenv/compiler): decoding, pulse, read, reward, observation
and info of a cell are computed at once, in single precision, with the noise that NumPy draws (noise.py). Crossbars are
cells in the shape (envs, rows, cols), with some numbers for each environment.
"""

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import tree_map
from memenv.compiler.counter_rng import Draws, Key, Noise, threefry
from memenv.compiler.runtime import Call, Unsupported, arrays_of, prepare
from memenv.compiler.trace import Symbol, spread, symbolic
from memenv.engine import Engine
from memenv.envs.noise import FABRICATION, FIRST, START, CellNoise, Episodes, drawn
from memenv.envs.runners import NumpyRunner, of_rows
from memenv.envs.task import ElementwiseTask, Observation, TaskError


class Seen(NamedTuple):
    """What a shell asks of episodes; arrays (envs,) unless said otherwise."""

    observation_parts: Any  # the parts of the observation, arrays (envs, ...)
    terms: dict[str, np.ndarray]  # of the reward
    reward: np.ndarray
    terminated: np.ndarray  # bool
    info_parts: dict[str, np.ndarray]  # of info, arrays (envs, ...)


@dataclass(frozen=True, eq=False)
class Programs:
    """What is compiled of a task; on terms or on arrays. Programs give the episodes and what is seen of them."""

    task: ElementwiseTask

    def start_episodes(self, _: Any, envs: int, cells: Any, *words: Any) -> tuple[CellNoise, Any, Seen]:
        """Episodes on new chips.

        `cells` (envs, ...) uint32 are the numbers of an environment's cells, `words` (envs,) those of `Episodes`.
        """
        axes = cells.ndim
        low, high, number = (spread(word, axes) for word in words)
        key = threefry(low, high, number, cells)
        chips, starts = (Noise.under(key, np.uint32(step)) for step in (FABRICATION, START))
        episode, seen = self.started(chips, starts, envs, axes)
        return CellNoise(key[0], key[1], Symbol("uint32", "literal", np.uint32(FIRST), rank=1)), episode, seen

    def started(self, chips: Noise, starts: Noise, envs: int, axes: int) -> tuple[Any, Seen]:
        """New episodes on new chips, with the noise of either, in arrays of so many axes."""
        task = self.task
        chip = task.fabricate(Draws(chips), envs)
        episode, seen = self.looked_at(task.begin(chip, drawn(task.initial_draws, starts), {}))
        bare = _filled(task.with_chip(episode, None), axes)
        return task.with_chip(bare, chip), _seen(seen, axes)  # a chip's own numbers stay

    def step_episodes(
        self, _: Any, __: int, noise: CellNoise, episode: Any, *components: Any
    ) -> tuple[CellNoise, Any, Seen]:
        """One step, of actions given by their components (envs, ...)."""
        axes = components[0].ndim
        now = Noise.under((noise.key, noise.other_key), spread(noise.step, axes))
        decoded_action = self.task.actions.decoded(components)
        following, seen = self.looked_at(self.task.advance(episode, decoded_action, drawn(self.task.step_draws, now)))

        def kept(new: Any, old: Any) -> Any:
            return _filled(new, old.ndim) if isinstance(old, Symbol) else new

        return noise.next(), tree_map(kept, following, episode), _seen(seen, axes)

    def looked_at(self, episode: Any) -> tuple[Any, Seen]:
        """Episodes, without what no later step needs, and what is seen of them."""
        task = self.task
        terms = dict(task.reward(episode))
        reward = functools.reduce(operator.add, terms.values())
        seen = Seen(task.observation_parts(episode), terms, reward, task.terminated(episode), task.info_parts(episode))
        return episode._replace(**dict.fromkeys(task.of_one_step)), seen


class CompiledRunner:
    """Runs a task that is written element-wise; start, target and chip_seed at a reset are left to NumPy.

    Raises:
        TaskError: a task, or a setting of it, that cannot be compiled.
    """

    def __init__(self, task: Any, envs: int, engine: Engine) -> None:
        reason = not_compiled(task)
        if reason:
            raise TaskError(f'engine "{engine.name}" does not run {reason}: use engine="numpy"')
        self.task, self.engine = task, engine
        self.shape = (envs, *task.initial_draws[0].layout)
        self.programs = Programs(task)
        self.numpy = NumpyRunner(task, envs)
        self.noise: Any = None
        self.episode: Any = None
        self.seen: Any = None
        self.components = np.empty(0)  # (components, envs, ...) float32, of the actions
        self.stepping: Any = None  # the loop of a step, on the arrays of all these

    def reset(self, episodes: Episodes, options: dict[str, Any]) -> None:
        """New episodes everywhere."""
        self.noise, self.episode, self.seen = self._fresh(episodes, options)
        self._bind()

    def _bind(self) -> None:
        """Ties the arrays of the episodes to the loop of a step."""
        self.components = np.zeros((self.task.actions.channels, *self.shape), np.float32)
        inputs = self.noise, self.episode, *self.components
        out = self.noise, self.episode, self.seen
        self.stepping = self._prepared(self.programs.step_episodes, self.shape, inputs, out)

    def reset_rows(self, rows: np.ndarray, episodes: Episodes, options: dict[str, Any]) -> None:
        """New episodes for the environments with the indices `rows`."""
        fresh = self._fresh(episodes, of_rows(options, rows))
        for place, values in zip(self.stepping.results, arrays_of(fresh), strict=True):
            place[rows] = values

    def step(self, action: np.ndarray) -> None:
        """One step of all environments."""
        self.components[:] = self.task.actions.components(action)
        self._launch(self.stepping)

    def observation(self) -> Observation:
        """Observations (envs, ...)."""
        return self.task.observations.observed(self.seen.observation_parts)

    def reward(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Reward (envs,) of the last step and the terms that it is the sum of."""
        return self.seen.reward.copy(), _copies(self.seen.terms)

    def terminated(self) -> np.ndarray:
        """(envs,) bool."""
        return self.seen.terminated.copy()

    def info(self) -> dict[str, np.ndarray]:
        """The task's info, arrays (envs, ...)."""
        return _copies(self.seen.info_parts) | self.task.info_of_observation(self.seen.observation_parts)

    def __getstate__(self) -> dict[str, Any]:
        """All but the loop, for copies and pickles."""
        return self.__dict__ | {"stepping": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Ties the loop anew: arrays that were one are no longer."""
        self.__dict__.update(state)
        if self.episode is not None:
            self._bind()

    def _fresh(self, episodes: Episodes, options: dict[str, Any]) -> tuple[CellNoise, Any, Seen]:
        """The noise of new episodes after their start, the episodes, and what is seen of them."""
        count, layout = len(episodes.seed), self.shape[1:]
        if not options:
            cells = np.empty((count, *layout), np.uint32)
            cells[:] = np.arange(math.prod(layout)).reshape(layout)
            starting = self._prepared(self.programs.start_episodes, cells.shape, (cells, *episodes.words()))
            self._launch(starting)
            return starting.result()
        started, episode = self.numpy.fresh(episodes, options)
        key, other_key, step = started.noise.at(FIRST)
        noise = CellNoise(key.reshape(count, *layout), other_key.reshape(count, *layout), step)
        return noise, *tree_map(_single, self.programs.looked_at(episode))

    def _launch(self, call: Call) -> None:
        """Runs a loop, whose noise is among its inputs."""
        call.launch(Key(0), self.engine.threads)

    @staticmethod
    def _prepared(
        program: Callable[..., Any], shape: tuple[int, ...], inputs: tuple[Any, ...], out: Any = None
    ) -> Call:
        try:
            return prepare(program, shape, inputs, out)
        except Unsupported as error:
            raise TaskError(str(error)) from None


def not_compiled(task: Any) -> str:
    """What stands against compiling a task, for a message; else empty."""
    return task.not_compiled if isinstance(task, ElementwiseTask) else type(task).__name__


def _seen(seen: Seen, axes: int) -> Seen:
    """Numbers among what is seen as terms."""
    whole, each = _filled(seen, axes), _filled((seen.terms, seen.reward), 1)
    return whole._replace(terms=each[0], reward=each[1])


def _filled(record: Any, axes: int) -> Any:
    """The record with its numbers as terms of so many axes."""

    def term(leaf: Any) -> Symbol:
        if isinstance(leaf, Symbol) and leaf.rank:
            return leaf
        return spread(leaf if isinstance(leaf, Symbol) else symbolic(leaf), axes)

    return tree_map(term, record)


def _single(leaf: Any) -> Any:
    """A copy of arrays, of numbers in single precision."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    return leaf.astype(np.float32 if leaf.dtype == np.float64 else leaf.dtype, order="C")


def _copies(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}
