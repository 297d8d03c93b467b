"""Runs a task's episodes by the compiled engine: a loop over cells for a step, another for the start of episodes.

Both are the task's own methods, run on symbolic values (memenv/compiler): decoding, pulse, read, reward, observation
and info of a cell are computed at once, in single precision, with the noise that NumPy draws (noise.py). Crossbars are
cells in the shape (envs, rows, cols), with some numbers for each environment.
"""

import functools
import itertools
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
from memenv.devices.mixture import compact, whole
from memenv.engine import Engine
from memenv.envs.episodes_ahead import AHEAD, MOST_EPISODES, Blocks, EpisodesAhead, Pages
from memenv.envs.noise import FABRICATION, FIRST, START, CellNoise, Episodes, drawn
from memenv.envs.runners import Look, NumpyRunner, named
from memenv.envs.task import ElementwiseTask, TaskError


class Seen(NamedTuple):
    """All that a shell asks of episodes; arrays (envs,) unless said otherwise."""

    observation_parts: Any  # the parts of the observation, arrays (envs, ...)
    terms: dict[str, np.ndarray]  # of the reward
    reward: np.ndarray
    terminated: np.ndarray  # bool
    info_parts: dict[str, np.ndarray]  # of info, arrays (envs, ...)


@dataclass(frozen=True, eq=False)
class Programs:
    """The programs of a task, on symbolic values or on arrays. Programs give the episodes and what is seen of them."""

    task: ElementwiseTask

    def start_episodes(self, _: Any, envs: int, cells: Any, *words: Any) -> tuple[CellNoise, Any, Seen]:
        """Episodes on new chips.

        `cells` (envs, ...) uint32 are the numbers of an environment's cells, `words` (envs,) those of `Episodes`.
        """
        axes = cells.ndim
        low, high, number = (spread(word, axes) for word in words)
        key = threefry(low, high, number, cells)
        first = Noise.under(threefry(low, high, number, cells & np.uint32(0)), np.uint32(FABRICATION))
        chips, starts = Noise.under(key, np.uint32(FABRICATION), first), Noise.under(key, np.uint32(START))
        episode, seen = self.started(chips, starts, envs, axes)
        episode = self.kept(episode)
        return CellNoise(key[0], key[1], Symbol("uint32", "literal", np.uint32(FIRST), rank=1)), episode, seen

    def started(self, chips: Noise, starts: Noise, envs: int, axes: int) -> tuple[Any, Seen]:
        """New episodes on new chips, with the noise of either, in arrays of so many axes."""
        task = self.task
        chip = task.fabricate(Draws(chips), envs)
        episode, seen = self.looked_at(task.begin(chip, drawn(task.initial_draws, starts), {}))
        bare = _filled(task.with_chip(episode, None), axes)
        return task.with_chip(bare, chip), _seen(seen, axes)  # a chip's own numbers stay

    def step_episodes(
        self, _: Any, __: int, noise: CellNoise, episode: Any, components: Any
    ) -> tuple[CellNoise, Any, Seen]:
        """One step, of actions given by their components (envs, ..., channels), or of their only one (envs, ...)."""
        channels, chip = self.task.actions.channels, self.task.chip_of(episode)
        parts = [components[..., number] for number in range(channels)] if channels > 1 else [components]
        axes, episode = parts[0].ndim, self.task.with_chip(episode, whole(self.task.devices, chip))
        now = Noise.under((noise.key, noise.other_key), spread(noise.step, axes))
        decoded_action = self.task.actions.decoded(parts)
        following, seen = self.looked_at(self.task.advance(episode, decoded_action, drawn(self.task.step_draws, now)))

        def filled(new: Any, old: Any) -> Any:
            return _filled(new, old.ndim) if isinstance(old, Symbol) else new

        following = self.task.with_chip(tree_map(filled, following, episode), chip)
        return noise.next(), following, _seen(seen, axes)

    def kept(self, episode: Any) -> Any:
        """Episodes whose chips of mixtures are `Compact`, for loops to read less."""
        return self.task.with_chip(episode, compact(self.task.devices, self.task.chip_of(episode)))

    def looked_at(self, episode: Any) -> tuple[Any, Seen]:
        """Episodes, without what no later step needs, and what is seen of them."""
        task = self.task
        terms = dict(task.reward(episode))
        reward = functools.reduce(operator.add, terms.values())
        seen = Seen(task.observation_parts(episode), terms, reward, task.terminated(episode), task.info_parts(episode))
        return episode._replace(**dict.fromkeys(task.of_one_step)), seen


def programs_of(task: ElementwiseTask) -> Programs:
    """The programs of a task; equal tasks share them, and with them what is traced."""
    try:
        return _shared_programs(task)
    except TypeError:  # tasks that have no hash, for arrays among their fields
        return Programs(task)


_shared_programs: Any = functools.lru_cache(maxsize=64)(Programs)


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
        self.programs = programs_of(task)
        self.numpy = NumpyRunner(task, envs)
        self.record: Any = None  # of the noise, the episodes and what is seen of them
        self.bound: Any = None  # what is tied to its arrays

    @property
    def episode(self) -> Any:
        """The episodes as loops keep them; None before the first reset."""
        return self.record and self.record[1]

    def reset(self, episodes: Episodes, options: dict[str, Any], rows: np.ndarray | None = None) -> None:
        """New episodes everywhere, or for the environments with the indices `rows`."""
        rows = np.arange(self.shape[0]) if rows is None else rows
        given = self.numpy.fresh(episodes, options, rows) if options else None  # may refuse the options
        if self.record is None:
            self._bind()
        if given:
            self._put(rows, arrays_of(self._looked_at(given[0].noise.at(FIRST), given[1])))
        else:
            ahead = self.bound.ahead
            self.bound.pages.put(rows, ahead.take(rows, episodes) if ahead.count > 1 else self._started(episodes))

    def take_over(self, other: NumpyRunner) -> None:
        """Goes on with the episodes of another."""
        self._bind()
        self._put(slice(None), arrays_of(self._looked_at(other.noise.noise, other.episode)))

    def step(self, action: np.ndarray) -> None:
        """One step of all environments."""
        self.bound.components[...] = self.task.actions.components(action)
        self.bound.launch()

    def look(self) -> Look:
        """The present view of the episodes."""
        observation_parts, terms, reward, terminated, info = self.bound.seen()
        info |= self.task.info_of_observation(observation_parts)
        info |= terms
        return Look(self.task.observations.observed(observation_parts), reward, terminated, info)

    def __getstate__(self) -> dict[str, Any]:
        """All but what is tied to the arrays, for copies and pickles."""
        return self.__dict__ | {"bound": None, "programs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Ties the loop anew: arrays that were one are no longer."""
        self.__dict__.update(state, programs=programs_of(state["task"]))
        if self.record is not None:
            self._bind(self.record)

    def _bind(self, record: Any = None) -> None:
        """Ties a copy of the episodes, or room for some, to the loops."""
        envs, *layout = self.shape
        count = min(AHEAD // math.prod(self.shape), MOST_EPISODES)
        shape = (envs * max(count, 1), *layout)
        words, cells = np.zeros((3, shape[0]), np.uint32), np.empty(shape, np.uint32)
        cells[:] = np.arange(math.prod(layout)).reshape(layout)
        form = self._prepared(self.programs.start_episodes, shape, (cells, *words)).result()
        room = Pages(arrays_of(form))
        start = self._prepared(self.programs.start_episodes, shape, (cells, *words), room.record(form))
        pages = Pages([array[:envs] for array in arrays_of(form)] if record is None else arrays_of(record))
        self.record = noise, episode, seen = pages.record(form)
        components = np.zeros((*self.shape, self.task.actions.channels), np.float32)
        parts = components if components.shape[-1] > 1 else components[..., 0]
        step = self._prepared(self.programs.step_episodes, self.shape, (noise, episode, parts), self.record)
        self.bound = Bound(
            words,
            start.bound(Key(0), self.engine.threads),
            room.blocks,
            components,
            step.bound(Key(0), self.engine.threads),  # the noise is among the inputs
            pages,
            SeenCopies(pages, seen),
            EpisodesAhead(envs, count, self._started),
        )

    def _put(self, rows: Any, arrays: list[np.ndarray]) -> None:
        """The arrays of other episodes in place of those in `rows`."""
        for place, values in zip(self.bound.pages.arrays, arrays, strict=True):
            place[rows] = values

    def _looked_at(self, noise: CellNoise, episode: Any) -> tuple[CellNoise, Any, Seen]:
        """NumPy's episodes, and what is seen of them."""
        key, other_key = (part.reshape(-1, *self.shape[1:]) for part in noise[:2])
        episode, seen = self.programs.looked_at(episode)
        return CellNoise(key, other_key, noise.step), self.programs.kept(episode), seen

    def _started(self, episodes: Episodes) -> tuple[np.ndarray, ...]:
        """The arrays of new episodes in blocks (n, parts, ...); they hold until the next ones start."""
        count = len(episodes.seed)
        self.bound.words[:, :count] = episodes.words()
        self.bound.start(count)
        return tuple(block[:, :count].swapaxes(0, 1) for block in self.bound.room)

    @staticmethod
    def _prepared(
        program: Callable[..., Any], shape: tuple[int, ...], inputs: tuple[Any, ...], out: Any = None
    ) -> Call:
        try:
            return prepare(program, shape, inputs, out)
        except Unsupported as error:
            raise TaskError(str(error)) from None


class Bound(NamedTuple):
    """All that is tied to the arrays of episodes."""

    words: np.ndarray  # (3, episodes) uint32, of episodes that start
    start: Callable[[int], None]  # runs the loop of their start, of the first so many
    room: Blocks  # where it writes
    components: np.ndarray  # (envs, ..., channels) float32, of the actions
    launch: Callable[[], None]  # runs the loop of a step
    pages: Pages
    seen: "SeenCopies"
    ahead: EpisodesAhead


class SeenCopies:
    """Copies what is seen of episodes, by few operations."""

    def __init__(self, pages: Pages, seen: Seen) -> None:
        self.parts, order, before = [], [], len(pages.arrays) - len(arrays_of(seen))
        for some, block in zip(pages.members, pages.blocks, strict=True):
            mine = [leaf for leaf in some if leaf >= before]
            if mine:
                self.parts.append(block[-len(mine) :].view(pages.arrays[mine[0]].dtype))
                order += mine
        self.in_order = operator.itemgetter(*np.argsort(order).tolist())
        self.maps = [*seen.observation_parts] if isinstance(seen.observation_parts, dict) else []
        self.terms, self.info = [*named(seen.terms)], [*seen.info_parts]
        self.first = len(seen.observation_parts)  # of the terms
        self.last = self.first + len(self.terms)

    def __call__(self) -> Seen:
        """The present view, parts of a cell's observation in one array, terms by their names in info."""
        parts = [part.copy() for part in self.parts]
        leaves = self.in_order([*itertools.chain(*parts)])
        return Seen(
            dict(zip(self.maps, leaves, strict=False)) if self.maps else parts[0][: self.first],
            dict(zip(self.terms, leaves[self.first : self.last], strict=True)),
            leaves[self.last],
            leaves[self.last + 1],
            dict(zip(self.info, leaves[self.last + 2 :], strict=True)),
        )


def not_compiled(task: Any) -> str:
    """The obstacle to compiling a task, for a message; else empty."""
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
