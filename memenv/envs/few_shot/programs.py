"""Programs on the weights of many tasks, by NumPy or compiled, and their noise.

Each task has a key of its own, from which all its noise comes by counter:

    two words = threefry(key, (step + 2^18 pair, place))

with the place of a weight on the chip, of a cell at fabrication, or of a number among those of a product.
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from memenv.arrays import take, tree_map
from memenv.compiler.counter_rng import NO_CELL, Key, Noise
from memenv.compiler.runtime import prepare
from memenv.envs.noise import CellNoise
from memenv.learning.kernels import Program

STEP_BITS = 18  # of the first counter
BLOCK = 8192  # weights that NumPy takes at a time, for its intermediate results to stay in cache
MOST_STEPS = 2**STEP_BITS - 4  # of an episode, which its chip and its start precede
PRODUCTS = 2**13  # the first pair of lanes of products; those of cells lie below: 4 for each device of a weight


def in_blocks(
    program: Callable[..., Any], noise: CellNoise, first: int, shape: tuple[int, ...], moving: Any, rest: Any
) -> Any:
    """The program by NumPy on arrays (tasks, *shape), of which those of a task begin at the place `first`."""
    tasks, size = len(noise.step), math.prod(shape)
    words, place = tuple(part.reshape(-1, 1, 1) for part in noise), places_of(first, 1, shape)
    block = max(BLOCK // size, 1)
    parts = []
    for begin in range(0, tasks, block):
        some, *inputs = take((words, moving, rest), slice(begin, begin + block))
        parts.append(program(under(some, place), size, *inputs))
    return tree_map(lambda *leaves: np.concatenate(leaves) if np.ndim(leaves[0]) else leaves[0], *parts)


def launched(
    program: Callable[..., Any], noise: CellNoise, first: int, shape: tuple[int, ...], moving: Any, rest: Any
) -> Any:
    """`in_blocks`, compiled."""
    tasks = len(noise.step)
    words = [part.reshape(-1, 1, 1) for part in noise]
    call = prepare(_of_tasks(program), (tasks, *shape), (*words, places_of(first, tasks, shape), moving, rest))
    call.launch(Key(0), 1)
    return call.result()


def uniforms(noise: CellNoise, number: int, size: int) -> np.ndarray:
    """Numbers (tasks, size), uniform in 0 <= u < 1, by NumPy; lanes as of `Chips.normals`."""
    words = (part.reshape(-1, 1) for part in noise)
    drawn: np.ndarray = under(words, np.arange(size, dtype=np.uint32)).uniform(2 * (PRODUCTS + number))
    return drawn


def under(words: Iterable[Any], place: Any) -> Noise:
    """The noise of both words of keys, a step and places."""
    key, other_key, step = words

    def at(where: Any) -> Callable[[int], tuple[Any, Any]]:
        return lambda pair: (step + np.uint32(pair << STEP_BITS), where)

    return Noise.at((key, other_key), at(place), chip=Noise.at((key, other_key), at(place | NO_CELL)))


def places_of(first: int, tasks: int, shape: tuple[int, ...]) -> np.ndarray:
    """(tasks, *shape) uint32, the same for each task, not to be changed."""
    return _many_places(first, 1 << (tasks - 1).bit_length(), shape)[:tasks]


@functools.lru_cache(maxsize=64)
def _many_places(first: int, tasks: int, shape: tuple[int, ...]) -> np.ndarray:
    one = np.arange(first, first + math.prod(shape), dtype=np.uint32).reshape(1, *shape)
    return np.ascontiguousarray(np.broadcast_to(one, (tasks, *shape)))


@functools.cache
def _of_tasks(program: Program) -> Callable[..., Any]:
    """The program for the engine, with the words of the noise among its inputs."""

    def run(_: Any, tasks: int, key: Any, other_key: Any, step: Any, place: Any, moving: Any, rest: Any) -> Any:
        return program(under((key, other_key, step), place), tasks, moving, rest)

    run.__name__ = program.__name__
    return run


def normal_pair(noise: Noise, _: int, __: Any, ___: Any) -> tuple[np.ndarray, np.ndarray]:
    """A program: two standard normals at each place."""
    return noise.normal(0), noise.normal(1)
