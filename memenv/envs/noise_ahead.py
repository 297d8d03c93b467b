"""The noise of a batch under NumPy, which takes as long for a few numbers as for some hundred."""

import functools
from typing import Any

import numpy as np

from memenv.arrays import put, take
from memenv.compiler.counter_rng import Draws
from memenv.envs.noise import FIRST, START, CellNoise, Episodes, Sheet, Want, cells_of, columns_of
from memenv.envs.task import Task

AHEAD = 512  # pairs of numbers that are hashed in hardly more time than one
MOST_STEPS = 8  # that are hashed at once

Wants = frozenset[Want]


class NoiseAhead:
    """Hashes at once what a task's episodes have been seen to ask for; of few environments the next steps and episodes.

    What comes out is the same.
    """

    def __init__(self, task: Task, envs: int) -> None:
        self.task, self.cells, self.envs = task, cells_of(task), np.arange(envs)
        self.noise: Any = None  # of the next step
        self.sheet: Any = None  # of the last one
        self.block: Any = None  # (2, envs, steps, width) numbers of the steps that were hashed last, None if none were,
        self.turn: Any = None  # (envs,) the next of them ...
        self.left = 0  # ... and how many there are for every environment
        self._know(frozenset(), frozenset())

    def _know(self, starting: Wants, stepping: Wants) -> None:
        """Take up what starts and steps ask for; nothing hashed before holds."""
        self.starting, self.stepping = starting, stepping
        width = len(self.envs) * len(columns_of(stepping).cell)
        self.steps = min(AHEAD // width, MOST_STEPS) if width else 1  # that are hashed at once, unless less than 2
        self.whole = starting | later(stepping, FIRST, self.steps) if self.steps > 1 else starting
        self.stock: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}  # of episodes to come
        self.block = None

    def start(self, episodes: Episodes) -> Sheet:
        """The noise that starts episodes."""
        columns = columns_of(self.whole)
        many = AHEAD // (len(episodes.seed) * max(len(columns.cell), self.cells))
        if many < 2:
            return Sheet(episodes.noise(self.cells), self.whole)
        if len(self.stock) > AHEAD:  # of seeds that are no longer in use
            self.stock.clear()
        names = episodes.names()
        missing = [row for row, name in enumerate(names) if name not in self.stock]
        if missing:
            coming = episodes.number[missing, None] + np.arange(many, dtype=np.uint32)
            ahead = Episodes(np.repeat(episodes.seed[missing], many), coming.ravel())
            noise = ahead.noise(self.cells)
            parts = zip(*noise, noise.hashed(columns).swapaxes(0, 1), strict=True)
            self.stock.update(zip(ahead.names(), parts, strict=True))
        *keys, values = (np.array(part) for part in zip(*(self.stock[name] for name in names), strict=True))
        for name in names:
            self.stock.pop(name, None)
        return Sheet(CellNoise(*keys), self.whole, values.swapaxes(0, 1))

    def fresh(self, started: Sheet, seeds: np.ndarray | None, options: dict[str, Any]) -> Any:
        """New episodes, on the chips of the first episodes of other `seeds` (envs,) if these are given."""
        sheet = started
        if seeds is not None:
            sheet = Sheet(Episodes(seeds, np.zeros(len(seeds), np.uint32)).noise(self.cells))
        chip = self.task.fabricate(Draws(sheet), len(started.noise.step))
        return self.task.initial(chip, started.drawn(self.task.initial_draws, START), options)

    def begin(self, started: Sheet, rows: np.ndarray | None = None) -> None:
        """Go on with episodes that have been started, of all environments or of those with the indices `rows`."""
        noise = started.noise.at(FIRST)
        self.noise = noise if rows is None else put(self.noise, rows, noise)
        if started.more:
            self._know(self.starting | frozenset(started.more), self.stepping)
        elif self.steps > 1 and (rows is None or self.block is not None):
            block = started.values[:, :, places(self.whole, self.stepping, FIRST, self.steps)]
            if rows is None:
                self.block, self.turn = block, np.zeros(len(self.envs), int)
            else:
                self.block[:, rows], self.turn[rows] = block, 0
            self.left = self.steps - int(self.turn.max())

    def step(self) -> tuple[Any, ...]:
        """The noise of a step of all environments; the same until `go_on`."""
        if self.sheet is not None and self.sheet.more:
            self._know(self.starting, self.stepping | frozenset(self.sheet.more))
        values = self._values() if self.steps > 1 else None
        self.sheet = sheet = Sheet(self.noise, self.stepping, values)
        return sheet.drawn(self.task.step_draws)

    def go_on(self) -> None:
        """The step has been made: what comes is the next one's."""
        self.noise = self.noise.next()
        if self.block is not None:
            self.turn += 1
            self.left -= 1

    def _values(self) -> np.ndarray:
        """(2, envs, width) of this step, from those of several."""
        if self.block is None:
            self.block = np.empty((2, len(self.envs), self.steps, len(columns_of(self.stepping).cell)))
            self.turn, self.left = np.full(len(self.envs), self.steps), 0
        if not self.left:
            over, wants = np.flatnonzero(self.turn == self.steps), later(self.stepping, 0, self.steps)
            hashed = take(self.noise, over).hashed(columns_of(wants))
            self.block[:, over] = hashed[:, :, places(wants, self.stepping, 0, self.steps)]
            self.turn[over] = 0
            self.left = self.steps - int(self.turn.max())
        values: np.ndarray = self.block[:, self.envs, self.turn]
        return values


@functools.lru_cache(maxsize=256)
def later(wants: Wants, first: int, steps: int) -> Wants:
    """The same at so many steps, from one on."""
    return frozenset(want._replace(step=first + number) for want in wants for number in range(steps))


@functools.lru_cache(maxsize=256)
def places(whole: Wants, wants: Wants, first: int, steps: int) -> np.ndarray:
    """(steps, width) columns of `later` wants among those of the whole."""
    begin = columns_of(whole).begin
    of_step = [[want._replace(step=first + number) for want in sorted(wants)] for number in range(steps)]
    return np.array([np.concatenate([begin[want] + np.arange(want.cells) for want in one]) for one in of_step])
