"""Noise as a function: every number is a hash of key, cell and channel, so that order and threads do not matter.

The generator is Threefry-2x32 with 13 rounds, the fewest that pass BigCrush (Salmon et al., SC 2011,
10.1145/2063384.2063405); normals are Box and Muller's, two of each pair of words. Generic over NumPy arrays and the
symbolic values of the compiler, which therefore draw the same numbers. `memenv/envs/noise.py` says what key and
counter are to an environment.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from memenv.compiler.elementary import cos_sin_turn
from memenv.compiler.trace import routine

Words = tuple[Any, Any]  # two uint32 arrays (cells,), or symbolic values

ROUNDS = 13
NO_CELL = np.uint32(2**32 - 1)  # the number after that of the last cell
PARITY, *GROUPS = (np.array(number, np.uint32) for number in (0x1BD11BDA, *range(1, 4)))  # faster than NumPy's scalars
TURNS = [(np.array(turn, np.uint32), np.array(32 - turn, np.uint32)) for turn in (13, 15, 26, 6, 17, 29, 16, 24)]

# The lanes of the channels; two neighbours (even, odd) cost hardly more than one.
PULSE_LANES = (0, 2, 3)  # cycle noise, additive noise, relaxation
READ_LANES = (1, 4)  # thermal noise, telegraph trap
FRESH_LANES = (6, 7)  # drift, trap
WRITE_LANES = (*PULSE_LANES, *range(8, 14))  # a pulse, and both half-select trains
CHIP_LANES = 16  # the first normal of fabrication
LOT_LANES = 64  # the first uniform number of fabrication
CHOICE_LANE = 72  # uniform, the device of a mixture
COMMON_LANES = 80  # the first normal that the cells of a chip have in common
PART_LANES = 128  # of fabrication, for each part of a chip


class Key(NamedTuple):
    """The identity of noise: equal keys give equal noise."""

    seed: int  # 0 <= seed < 2^64
    step: int = 0  # 0 <= step < 2^64, say the number of the pulse

    def next(self) -> "Key":
        """The key of the next step."""
        return Key(self.seed, self.step + 1)

    def words(self) -> np.ndarray:
        """(4,) uint32.

        Raises:
            ValueError: a seed or step outside its range.
        """
        if not all(0 <= number < 2**64 for number in self):
            raise ValueError(f"{self}: seed and step are whole numbers from 0 to 2^64 - 1")
        return np.array([*self], np.uint64).view(np.uint32)


@routine("uint32 uint32 uint32 uint32", "uint32 uint32")
def threefry(key: Any, other_key: Any, counter: Any, other_counter: Any) -> Words:
    """Two words from a counter of two words under a key of two words."""
    schedule = (key, other_key, key ^ other_key ^ PARITY)
    x, y = counter + key, other_counter + other_key
    for number in range(ROUNDS):
        left, right = TURNS[number % len(TURNS)]
        x = x + y
        y = ((y << left) | (y >> right)) ^ x
        if number % 4 == 3:
            group = number // 4 + 1
            x = x + schedule[group % 3]
            y = y + (schedule[(group + 1) % 3] + GROUPS[group - 1])
    return x, y


class Noise:
    """The noise of cells under a key: standard normals and uniform numbers, computed when they are asked for."""

    def __init__(self, words: Any, cells: Any) -> None:
        """`words` (4,) of the key, `cells` (cells,) uint32 their numbers; arrays or symbolic values."""
        self.key: Words = threefry(*words)
        self.place = lambda pair: (cells, np.uint32(pair))
        self.chip = Noise.at(self.key, lambda pair: (cells | NO_CELL, np.uint32(pair)))  # of all cells together
        self.drawn: dict[int, Words] = {}  # words of a pair of lanes
        self.pairs: dict[int, Words] = {}  # normals of it

    @classmethod
    def under(cls, key: Words, counter: Any, chip: "Noise | None" = None) -> "Noise":
        """Of cells with a key each, two words (cells,), at a `counter` uint32, say the number of a step."""
        return cls.at(key, lambda pair: (counter, np.uint32(pair)), chip)

    @classmethod
    def at(cls, key: Words, place: Callable[[int], Words], chip: "Noise | None" = None) -> "Noise":
        """Of a key, or one for each cell, and of the counters that `place` gives to each pair of lanes.

        `chip` is the noise of each cell's chip, by default its own: a chip of one cell.
        """
        noise = cls.__new__(cls)
        noise.key, noise.place, noise.drawn, noise.pairs = key, place, {}, {}
        noise.chip = chip or noise
        return noise

    def words(self, pair: int) -> Words:
        """Two random words for each cell."""
        if pair not in self.drawn:
            self.drawn[pair] = threefry(*self.key, *self.place(pair))
        return self.drawn[pair]

    def normal(self, lane: int) -> Any:
        """Standard normals (cells,) float32."""
        pair = lane // 2
        if pair not in self.pairs:
            self.pairs[pair] = two_normals(*self.words(pair))
        return self.pairs[pair][lane % 2]

    def uniform(self, lane: int) -> Any:
        """Numbers (cells,) float32, uniform in 0 <= u < 1."""
        return uniform(self.words(lane // 2)[lane % 2])

    def normals(self, lanes: range, _: tuple[int, ...]) -> "Lanes":
        """Standard normals of several lanes."""
        return Lanes(self.normal, lanes)

    def chip_normals(self, lanes: range, _: tuple[int, ...]) -> "Lanes":
        """Standard normals that the cells of a chip have in common."""
        return Lanes(self.chip.normal, lanes)

    def uniforms(self, lanes: range, _: tuple[int, ...]) -> "Lanes":
        """Uniform numbers of several lanes."""
        return Lanes(self.uniform, lanes)


@routine("uint32 uint32", "float32 float32")
def two_normals(first: Any, second: Any) -> tuple[Any, Any]:
    """Two independent standard normals (cells,) from two words, beyond 5.9 never."""
    radius = np.sqrt(np.log(uniform(first) + np.float32(2**-25)) * np.float32(-2.0))
    cosine, sine = cos_sin_turn(second)
    return radius * cosine, radius * sine


def uniform(word: Any) -> Any:
    """Numbers (cells,) float32, uniform in 0 <= u < 1, from a word."""
    return (word >> np.uint32(8)).view(np.int32).astype(np.float32) * np.float32(2**-24)


class Lanes:
    """Channels of noise as the physics asks for them: `lanes[k]` is an array (cells,), a slice is fewer channels."""

    def __init__(self, draw: Callable[[int], Any], lanes: Sequence[int]) -> None:
        """`draw` a lane's numbers."""
        self.draw, self.lanes = draw, lanes

    def __getitem__(self, channel: Any) -> Any:
        """The numbers of a channel, or some of the channels."""
        if isinstance(channel, slice):
            return Lanes(self.draw, self.lanes[channel])
        return self.draw(self.lanes[channel])


class Draws:
    """A random generator for fabrication, drawn by key; who asks again gets the same numbers."""

    def __init__(self, noise: Any, part: int = 0) -> None:
        """`noise` of the cells, here or in `memenv/envs/noise.py`; `part` of a chip, 0 the whole."""
        self.noise, self.part = noise, part

    def standard_normal(self, shape: tuple[int, ...]) -> Any:
        """`shape` (channels, cells), or cells in several axes."""
        return self.noise.normals(self._lanes(CHIP_LANES, shape[0]), shape[1:])

    def chip_normal(self, shape: tuple[int, ...]) -> Any:
        """Standard normals that the cells of a chip, and all its parts, have in common; `shape` as above."""
        return self.noise.chip_normals(range(COMMON_LANES, COMMON_LANES + shape[0]), shape[1:])

    def random(self, shape: tuple[int, ...]) -> Any:
        """`shape` as of `standard_normal`."""
        return self.noise.uniforms(self._lanes(LOT_LANES, shape[0]), shape[1:])

    def integers(self, high: int, size: int) -> Any:
        """Whole numbers `size` = (cells,), 0 <= n < high."""
        share = self.noise.uniforms(self._lanes(CHOICE_LANE, 1), (size,))[0]
        return (share.astype(np.float32) * np.float32(high)).astype(np.int32)

    def spawn(self, count: int) -> list["Draws"]:
        """As many (at most 255) that have no number in common with each other, with this one or with its others."""
        return [Draws(self.noise, 256 * self.part + 1 + number) for number in range(count)]

    def _lanes(self, first: int, channels: int) -> range:
        first += PART_LANES * self.part
        return range(first, first + channels)


def parts(rng: Any, count: int) -> list[Any]:
    """Generators for the parts of a chip: a NumPy generator one after another, `Draws` each for itself."""
    return [rng] * count if isinstance(rng, np.random.Generator) else rng.spawn(count)
