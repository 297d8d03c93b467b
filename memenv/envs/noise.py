"""The noise of environments: every number is a hash of (seed, environment, episode, step, channel), for every engine.

    key of a cell = threefry(seed, (episode, cell))
    two words     = threefry(key, (step, pair of lanes))

Environment i of a batch seeded s has the seed s + i, cells are numbered within an environment, and a lane is a channel
of a draw. Step 0 makes the chip, step 1 starts the episode, the others follow. Threefry permutes its counters: no two
cells and episodes of a seed share a key, no two steps and lanes of a key a number. So it does not matter how many
environments there are, what befalls the others, or which of them are asked.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from memenv.compiler.counter_rng import Draws, Lanes, Noise, threefry, two_normals, uniform
from memenv.envs.task import Draw, NormalDraw, OwnDraw, Task, UniformDraw

ONE = np.array(1, np.uint32)
FABRICATION, START, FIRST = 0, 1, 2  # steps: the chip, the start of an episode, its first action
BLOCK = 8192  # numbers that are computed at a time, for intermediate results to stay in cache


class Episodes(NamedTuple):
    """Which episodes of which seeds, arrays (envs,)."""

    seed: np.ndarray  # uint64
    number: np.ndarray  # uint32

    @classmethod
    def of(cls, seed: int, numbers: range) -> "Episodes":
        """Those of one seed, which count as environments of their own."""
        return cls(np.full(len(numbers), seed, np.uint64), np.array(numbers, np.uint32))

    def names(self) -> list[tuple[int, int]]:
        """Seed and number of each."""
        return [*zip(self.seed.tolist(), self.number.tolist(), strict=True)]

    def words(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the seeds the low and the high word, and the numbers, (envs,) uint32."""
        low, high = self.seed & np.uint64(2**32 - 1), self.seed >> np.uint64(32)
        return low.astype(np.uint32), high.astype(np.uint32), self.number

    def noise(self, cells: int) -> "CellNoise":
        """That of the fabrication of their first so many cells."""
        key = np.empty((2, len(self.seed), cells), np.uint32)
        low, high, number = (words[:, None] for words in self.words())
        cell = np.arange(cells, dtype=np.uint32)
        for rows, columns in _blocks(len(self.seed), cells):
            key[:, rows, columns] = threefry(low[rows], high[rows], number[rows], cell[columns])
        return CellNoise(key[0], key[1], np.full(len(self.seed), FABRICATION, np.uint32))


class CellNoise(NamedTuple):
    """The noise of environments at a step each; arrays, or symbolic values of the compiled loop."""

    key: Any  # (envs, cells) uint32, of the loop (envs, ...), and ...
    other_key: Any  # ... the second word
    step: Any  # (envs,) uint32

    @property
    def chip(self) -> Draws:
        """The source of the environments' cells."""
        return Draws(Sheet(self))

    def next(self) -> "CellNoise":
        """The noise of the next step."""
        return CellNoise(self.key, self.other_key, self.step + ONE)

    def at(self, step: int) -> "CellNoise":
        """The noise of a step."""
        return CellNoise(self.key, self.other_key, np.full(len(self.step), step, np.uint32))

    def drawn(self, draws: tuple[Draw, ...]) -> tuple[Any, ...]:
        """The numbers of `draws`: channels as arrays (envs, *layout) float64 when they are asked for, see `Sheet`."""
        return Sheet(self).drawn(draws)

    def hashed(self, columns: "Columns") -> np.ndarray:
        """(2, envs, columns) numbers, of both lanes of each pair; in memory the longer axis comes last, for speed."""
        envs, width = len(self.step), len(columns.cell)
        order: Any = "C" if envs > width else "F"  # of arrays (columns, envs)
        values = np.empty((2, width, envs)) if order == "C" else np.empty((2, envs, width)).swapaxes(1, 2)
        for rows, some in _blocks(envs, width):
            cell, pair = columns.cell[some], columns.pair[some, None]
            key, other_key = (np.asarray(part[rows].T[cell], order=order) for part in self[:2])
            words = threefry(key, other_key, np.add(columns.step[some, None], self.step[rows], order=order), pair)
            count = min(max(columns.normals - some.start, 0), len(cell))  # of the normals, which come first
            place = values[:, some, rows]
            if count:
                place[0, :count], place[1, :count] = two_normals(*(word[:count] for word in words))
            if count < len(cell):
                place[0, count:], place[1, count:] = (uniform(word[count:]) for word in words)
        return values.swapaxes(1, 2)


class Want(NamedTuple):
    """Numbers of a pair of lanes, of the first so many cells of each environment; in the order of `Columns`."""

    uniform: bool
    cells: int
    pair: int
    step: int = 0  # from that of the noise on


class Columns(NamedTuple):
    """Numbers that are hashed for an environment, and their places."""

    cell: np.ndarray  # (columns,)
    pair: np.ndarray  # (columns,) uint32
    step: np.ndarray  # (columns,) uint32
    normals: int  # columns of them, before those of uniform numbers
    begin: dict[tuple[Any, ...], int]  # by `Want`


@functools.lru_cache(maxsize=256)
def columns_of(wants: frozenset[Want]) -> Columns:
    """The columns of what is wanted."""
    parts = sorted(wants)
    sizes = [want.cells for want in parts]
    ends = [0, *itertools.accumulate(sizes)]
    return Columns(
        cell=np.concatenate([np.arange(0), *map(np.arange, sizes)]),
        pair=np.repeat(np.array([want.pair for want in parts], np.uint32), sizes),
        step=np.repeat(np.array([want.step for want in parts], np.uint32), sizes),
        normals=sum(want.cells for want in parts if not want.uniform),
        begin=dict(zip(parts, ends, strict=False)),
    )


class Sheet:
    """Numbers of environments: those that are known to be wanted, hashed at once, and whatever else is asked for."""

    def __init__(
        self, noise: CellNoise, wants: frozenset[Want] = frozenset(), values: np.ndarray | None = None
    ) -> None:
        """`values` of `noise.hashed`, computed if None."""
        self.noise, self.begin = noise, columns_of(wants).begin
        self.values = noise.hashed(columns_of(wants)) if values is None else values
        self.more: dict[Want, np.ndarray] = {}  # what else was asked for

    def pair(self, want: Want) -> np.ndarray:
        """(2, envs, cells)."""
        begin = self.begin.get(want)
        if begin is not None:
            return self.values[:, :, begin : begin + want.cells]
        if want not in self.more:
            self.more[want] = self.noise.hashed(columns_of(frozenset((want,))))
        return self.more[want]

    def drawn(self, draws: tuple[Draw, ...], step: int = 0) -> tuple[Any, ...]:
        """The numbers that `draws` asks for, so many steps on; channels are computed when they are asked for."""
        envs, found = len(self.noise.step), list[Any]()
        for draw, own, is_uniform in _lots(draws):
            if isinstance(draw, OwnDraw):
                key, other_key, now = self.noise
                found.append(CellNoise(key, other_key, now + np.uint32(step)))
            elif draw.shape:
                found.append(_nested(draw.shape, self._lanes(is_uniform, own, (envs, *draw.layout), step)))
            else:
                size = math.prod(draw.layout)
                halves = self.pair(Want(is_uniform, (size + 1) // 2, own[0] // 2, step)).swapaxes(0, 1)
                found.append(halves.reshape(envs, -1)[:, :size].reshape(envs, *draw.layout))
        return tuple(found)

    def normals(self, own: range, shape: tuple[int, ...]) -> Lanes:
        """Standard normals of lanes, arrays `shape` of the cells of all environments."""
        return self._lanes(False, own, shape)

    def chip_normals(self, own: range, shape: tuple[int, ...]) -> Lanes:
        """Standard normals that an environment's cells have in common, arrays `shape`: those of its first cell."""
        first = self._lanes(False, own, (len(self.noise.step), 1))
        cells = math.prod(shape) // len(self.noise.step)
        return Lanes(lambda lane: np.repeat(first.draw(lane), cells, axis=1).reshape(shape), own)

    def uniforms(self, own: range, shape: tuple[int, ...]) -> Lanes:
        """Uniform numbers, as `normals`."""
        return self._lanes(True, own, shape)

    def _lanes(self, is_uniform: bool, own: range, shape: tuple[int, ...], step: int = 0) -> Lanes:
        cells, begins, values = math.prod(shape) // len(self.noise.step), self.begin, self.values

        def draw(lane: int) -> Any:
            begin = begins.get((is_uniform, cells, lane // 2, step))  # as a `Want`, but in less time
            if begin is None:
                return self.pair(Want(is_uniform, cells, lane // 2, step))[lane % 2].reshape(shape)
            return values[lane % 2, :, begin : begin + cells].reshape(shape)

        return Lanes(draw, own)


def cells_of(task: Task) -> int:
    """The cells of an environment, as far as they are numbered."""
    return max(math.prod(draw.layout) for draw in (*task.initial_draws, *task.step_draws))


def drawn(draws: Sequence[Draw], noise: Noise) -> tuple[Any, ...]:
    """The numbers that `draws` asks for, of numbers (cells,) of a lane each."""
    return tuple(
        _nested(draw.shape, Lanes(noise.normal if isinstance(draw, NormalDraw) else noise.uniform, own))
        for draw, own in zip(draws, lanes(tuple(draws)), strict=True)
    )


@functools.lru_cache(maxsize=256)
def lanes(draws: tuple[Draw, ...]) -> tuple[range, ...]:
    """The lanes of each draw's channels, of normals first.

    Draws of one kind take turns: two neighbours cost hardly more than one, and all devices use the first channels. A
    draw without channels has both lanes of a pair for half as many cells.
    """
    dealt: dict[int, range] = {}
    first = 0
    for kind in (NormalDraw, UniformDraw):
        alike = [number for number, draw in enumerate(draws) if isinstance(draw, kind) and draw.shape]
        for turn, number in enumerate(alike):
            count = math.prod(draws[number].shape)
            dealt[number] = range(first + turn, first + turn + len(alike) * count, len(alike))
        first = _even(max((own.stop for own in dealt.values()), default=0))
    for number, draw in enumerate(draws):
        if not draw.shape:
            dealt[number] = range(first, first + 2)
            first += 2
    return tuple(dealt[number] for number in range(len(draws)))


def _even(number: int) -> int:
    return number + number % 2


@functools.lru_cache(maxsize=256)
def _lots(draws: tuple[Draw, ...]) -> list[tuple[Draw, range, bool]]:
    """Draws, their lanes, and whether they are uniform."""
    return [(draw, own, isinstance(draw, UniformDraw)) for draw, own in zip(draws, lanes(draws), strict=True)]


def _nested(shape: tuple[int, ...], channels: Lanes) -> Any:
    """Tuples of tuples (*shape[:-1]) of channels."""
    if len(shape) < 2:
        return channels
    size = math.prod(shape[1:])
    return tuple(_nested(shape[1:], channels[size * n : size * (n + 1)]) for n in range(shape[0]))


def _blocks(envs: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of at most `BLOCK` numbers."""
    height = max(BLOCK // max(columns, 1), 1)
    for row in range(0, envs, height):
        for column in range(0, columns, BLOCK):
            yield slice(row, row + height), slice(column, min(column + BLOCK, columns))


class Seeds:
    """The seeds of environments, and which episode of theirs comes next."""

    def __init__(self, envs: int) -> None:
        self.seed, self.number = np.zeros(envs, np.uint64), np.zeros(envs, np.uint32)
        self.sown = False  # before the first reset

    def sow(self, seed: int | Sequence[int | None] | None, rows: np.ndarray, entropy: Callable[[], int]) -> None:
        """New seeds for the environments with the indices `rows`, as Gymnasium means the argument of `reset`.

        Args:
            seed: >= 0, of the first of all environments, from which the others count on; or for each of them one, or
                None where it keeps its own.
            rows: (n,) int.
            entropy: gives the seed where there is none yet.
        """
        if seed is None and self.sown:
            return
        envs = len(self.seed)
        if seed is None:
            seed = [None] * envs
        seeds = in_turn(seed, envs).tolist() if isinstance(seed, int) else seed
        if not self.sown and None in seeds:
            self.seed = in_turn(entropy(), envs)
        self.sown = True
        given = [row for row in rows if seeds[row] is not None]
        self.seed[given] = np.array([seeds[row] for row in given], np.uint64)
        self.number[given] = 0

    def next(self, rows: np.ndarray) -> Episodes:
        """The next episodes of the environments with the indices `rows`."""
        episodes = Episodes(self.seed[rows], self.number[rows])
        self.number[rows] += np.uint32(1)
        return episodes


def in_turn(seed: int, envs: int) -> np.ndarray:
    """Seeds (envs,) uint64: the first, and those that count on from it; of larger ones the last 64 bits count."""
    return np.uint64(seed % 2**64) + np.arange(envs, dtype=np.uint64)
