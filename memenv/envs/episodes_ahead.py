"""Episodes to come, which are computed many at a time, and those of the compiled loop in few blocks of memory."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from memenv.arrays import take, tree_map
from memenv.envs.noise import Episodes

WORDS = {1: np.dtype(bool), 4: np.dtype(np.uint32)}  # what blocks hold, by bytes
LINE = 64  # bytes of a cache's line: neighbours a power of two apart would push each other out
AHEAD = 8192  # cells of all environments' episodes to come
MOST_EPISODES = 64  # to come, of one environment

Blocks = Sequence[np.ndarray]  # arrays of one shape and size of numbers, one after the other in each


class Pages:
    """Copies of a record's arrays (envs, ...) in blocks (parts, envs, ...): few operations copy environments."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        kinds = [(array.dtype.itemsize, array.shape[1:]) for array in arrays]
        self.members = [[n for n, kind in enumerate(kinds) if kind == one] for one in dict.fromkeys(kinds)]
        self.blocks: Blocks = [_block([arrays[n] for n in some]) for some in self.members]
        rows = dict(zip(chain(*self.members), chain(*self.blocks), strict=True))
        self.arrays = [rows[n].view(array.dtype) for n, array in enumerate(arrays)]

    def record(self, like: Any) -> Any:
        """The record of the arrays, of the form of another."""
        rows = iter(self.arrays)
        return tree_map(lambda leaf: next(rows) if isinstance(leaf, np.ndarray) else leaf, like)

    def put(self, rows: np.ndarray, blocks: Blocks) -> None:
        """Writes blocks (n, parts, ...) in place of the n environments with the indices `rows`."""
        for block, new in zip(self.blocks, blocks, strict=True):
            block.swapaxes(0, 1)[rows] = new


def _block(arrays: list[np.ndarray]) -> np.ndarray:
    """Copies of arrays of one shape, (parts, envs, ...): as far apart that processors find room for all in a cache."""
    first = arrays[0]
    room = np.empty((len(arrays), first.size + LINE // first.itemsize), WORDS[first.itemsize])
    block = room[:, : first.size].reshape(len(arrays), *first.shape)
    for row, array in zip(block, arrays, strict=True):
        row[:] = array.view(row.dtype)
    return block


class EpisodesAhead:
    """The next episodes of each environment, computed when one has used up its own: then what all have used.

    Args:
        envs: environments.
        count: episodes of each that are kept, in turn.
        start: computes a record of arrays (n, ...) of n episodes.
    """

    def __init__(self, envs: int, count: int, start: Callable[[Episodes], Any]) -> None:
        self.count, self.start = count, start
        self.seed = np.zeros(envs * count, np.uint64)  # of the episode in each place ...
        self.number = np.full(envs * count, -1)  # ... and its number, -1 of none
        self.used = np.zeros(envs * count, bool)
        self.record: Any = None  # of arrays (places, ...)

    def take(self, rows: np.ndarray, episodes: Episodes) -> Any:
        """The record of the start of episodes of the n environments with the indices `rows`, arrays (n, ...)."""
        place = rows * self.count + episodes.number % self.count
        known = (self.seed[place] == episodes.seed) & (self.number[place] == episodes.number) & ~self.used[place]
        if not known.all():
            self._fill(rows, episodes)
        self.used[place] = True
        return take(self.record, place)

    def _fill(self, rows: np.ndarray, episodes: Episodes) -> None:
        """Computes these and those that follow, and of other environments what follows those that were used."""
        seed, number, used = (part.reshape(-1, self.count) for part in (self.seed, self.number, self.used))
        number[used] += self.count
        first = episodes.number.astype(np.int64)[:, None]
        coming = first + (np.arange(self.count) - first) % self.count
        used[rows] |= (number[rows] != coming) | (seed[rows] != episodes.seed[:, None])
        number[rows], seed[rows] = coming, episodes.seed[:, None]
        missing = np.flatnonzero(self.used)
        fresh = self.start(Episodes(self.seed[missing], self.number[missing].astype(np.uint32)))

        def room(new: Any) -> Any:
            return np.empty((len(self.used), *new.shape[1:]), new.dtype) if isinstance(new, np.ndarray) else new

        def write(place: Any, new: Any) -> Any:
            if isinstance(new, np.ndarray):
                place[missing] = new
            return place

        self.record = tree_map(write, tree_map(room, fresh) if self.record is None else self.record, fresh)
        self.used[:] = False
