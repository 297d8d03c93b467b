"""Runs a task's episodes by the compiled engine: a loop over cells for a step, another for the start of episodes.

Both are the task's own methods, run on terms and recorded (memenv/compiler): decoding, pulse, read, reward, observation
and info of a cell are computed at once, in single precision. Noise is a function of seed, number of the call and cell.
Crossbars are cells in the shape (envs, rows, cols), with some numbers for each environment.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import tree_map
from memenv.compiler.counter_rng import TASK_LANES, Draws, Key, Noise
from memenv.compiler.runtime import Call, Unsupported, arrays_of, prepare
from memenv.compiler.trace import Symbol, spread, symbolic
from memenv.engine import Engine
from memenv.envs.runners import NumpyRunner, of_rows
from memenv.envs.task import Draw, ElementwiseTask, NormalDraw, Observation, TaskError


class Seen(NamedTuple):
    """What a shell asks of episodes; arrays (envs,) unless said otherwise."""

    shown: Any  # the parts of the observation, arrays (envs, ...)
    terms: dict[str, np.ndarray]  # of the reward
    reward: np.ndarray
    terminated: np.ndarray  # bool
    facts: dict[str, np.ndarray]  # of info, arrays (envs, ...)


@dataclass(frozen=True, eq=False)
class Programs:
    """What is compiled of a task; on terms or on arrays. Programs give the episodes and what is seen of them."""

    task: ElementwiseTask

    def start_episodes(self, noise: Noise, envs: int, numbers: Any) -> tuple[Any, Seen]:
        """New episodes on new chips, for the cells of these numbers (envs, ...) uint32."""
        noise, task = noise.among(numbers), self.task
        chip = task.fabricate(Draws(noise), envs)  # type: ignore[arg-type]
        episode, seen = self.looked_at(task.begin(chip, drawn(task.initial_draws, noise), {}))
        bare = _filled(task.with_chip(episode, None), numbers.ndim)
        return task.with_chip(bare, chip), _seen(seen, numbers.ndim)  # a chip's own numbers stay

    def step_episodes(self, noise: Noise, _: int, episode: Any, *components: Any) -> tuple[Any, Seen]:
        """One step, of actions given by their components (envs, ...)."""
        meant = self.task.actions.meant(components)
        following, seen = self.looked_at(self.task.advance(episode, meant, drawn(self.task.step_draws, noise)))

        def kept(new: Any, old: Any) -> Any:
            return _filled(new, old.ndim) if isinstance(old, Symbol) else new

        return tree_map(kept, following, episode), _seen(seen, components[0].ndim)

    def looked_at(self, episode: Any) -> tuple[Any, Seen]:
        """Episodes, without what no later step needs, and what is seen of them."""
        task = self.task
        terms = dict(task.reward(episode))
        reward = functools.reduce(operator.add, terms.values())
        seen = Seen(task.shown(episode), terms, reward, task.terminated(episode), task.facts(episode))
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
        self.key = Key(0)
        self.episode: Any = None
        self.seen: Any = None
        self.components = np.empty(0)  # (components, envs, ...) float32, of the actions
        self.stepping: Any = None  # the loop of a step, on the arrays of all these

    def seed(self, rng: np.random.Generator) -> None:
        """Draw all that follows from `rng`."""
        self.numpy.seed(rng)
        self.key = Key(int(rng.integers(2**63)))

    @property
    def seeded(self) -> bool:
        """Whether `seed` was called."""
        return self.numpy.seeded

    def reset(self, options: dict[str, Any]) -> None:
        """New episodes everywhere."""
        self.episode, self.seen = self._fresh(np.arange(self.shape[0]), options)
        self._bind()

    def _bind(self) -> None:
        """Ties the arrays of the episodes to the loop of a step."""
        self.components = np.zeros((self.task.actions.channels, *self.shape), np.float32)
        inputs = self.episode, *self.components
        self.stepping = self._prepared(self.programs.step_episodes, self.shape, inputs, (self.episode, self.seen))

    def reset_rows(self, rows: np.ndarray, options: dict[str, Any]) -> None:
        """New episodes for the environments with the indices `rows`."""
        fresh = self._fresh(rows, of_rows(options, rows))
        for place, values in zip(self.stepping.results, arrays_of(fresh), strict=True):
            place[rows] = values

    def step(self, action: np.ndarray) -> None:
        """One step of all environments."""
        self.components[:] = self.task.actions.components(action)
        self._launch(self.stepping)

    def observation(self) -> Observation:
        """Observations (envs, ...)."""
        return self.task.observations.observed(self.seen.shown)

    def reward(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Reward (envs,) of the last step and the terms that it is the sum of."""
        return self.seen.reward.copy(), _copies(self.seen.terms)

    def terminated(self) -> np.ndarray:
        """(envs,) bool."""
        return self.seen.terminated.copy()

    def info(self) -> dict[str, np.ndarray]:
        """The task's info, arrays (envs, ...)."""
        return _copies(self.seen.facts) | self.task.hints(self.seen.shown)

    def __getstate__(self) -> dict[str, Any]:
        """All but the loop, for copies and pickles."""
        return self.__dict__ | {"stepping": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Ties the loop anew: arrays that were one are no longer."""
        self.__dict__.update(state)
        if self.episode is not None:
            self._bind()

    def _fresh(self, rows: np.ndarray, options: dict[str, Any]) -> tuple[Any, Seen]:
        """New episodes for the environments with the indices `rows`, and what is seen of them."""
        if not options:
            numbers = np.arange(math.prod(self.shape), dtype=np.uint32).reshape(self.shape)[rows]
            starting = self._prepared(self.programs.start_episodes, numbers.shape, (numbers,))
            self._launch(starting)
            return starting.result()
        return tree_map(_single, self.programs.looked_at(self.numpy.fresh(len(rows), options)))

    def _launch(self, call: Call) -> None:
        """Runs a loop under the next key."""
        self.key = self.key.next()
        call.launch(self.key, self.engine.threads)

    @staticmethod
    def _prepared(
        program: Callable[..., Any], shape: tuple[int, ...], inputs: tuple[Any, ...], out: Any = None
    ) -> Call:
        try:
            return prepare(program, shape, inputs, out)
        except Unsupported as error:
            raise TaskError(str(error)) from None


def drawn(draws: Sequence[Draw], noise: Noise) -> tuple[Any, ...]:
    """What `draws` asks for: nested tuples of a draw's shape, of numbers (cells,).

    Lanes are dealt out in turn: two neighbours cost hardly more than one, and all devices use the first channels.
    """

    def numbers(draw: Draw) -> Any:
        alike = [other is draw for other in draws if isinstance(other, type(draw))]
        of_lane, first = (noise.normal, 0) if isinstance(draw, NormalDraw) else (noise.uniform, TASK_LANES)
        return _nested(draw.shape, map(of_lane, itertools.count(first + alike.index(True), len(alike))))

    return tuple(map(numbers, draws))


def _nested(shape: tuple[int, ...], numbers: Iterator[Any]) -> Any:
    """Tuples of tuples (*shape) of the numbers."""
    return tuple(_nested(shape[1:], numbers) for _ in range(shape[0])) if shape else next(numbers)


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
