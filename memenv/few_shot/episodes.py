"""Episodes of few-shot learning: a support to learn from and queries to be judged by."""

from typing import NamedTuple

import numpy as np


class Episodes(NamedTuple):
    """A batch of tasks; the leading axis of every array is the task, the second the example.

    Classification: x float32 (tasks, examples, 28, 28) in [0, 1] with 1 = ink, y int64 (tasks, examples) in 0..ways-1,
    in turn (0, 1, ..., ways-1, 0, 1, ...), so that learning one example after the other is never one-sided.
    Regression: x and y float32 (tasks, examples, 1).
    """

    support_x: np.ndarray
    support_y: np.ndarray
    query_x: np.ndarray
    query_y: np.ndarray


def draw_without_repeats(rng: np.random.Generator, rows: int, count: int, of: int) -> np.ndarray:
    """`count` different numbers out of 0..of-1 in random order, for each of `rows` rows; int64 (rows, count)."""
    chosen = rng.random((rows, of)).argpartition(count - 1, axis=1)[:, :count]
    return rng.permuted(chosen, axis=1)


def draw(
    inputs: np.ndarray, rng: np.random.Generator, tasks: int, *, ways: int = 5, shots: int = 1, queries: int = 15
) -> Episodes:
    """`tasks` episodes of different classes and instances, of what a front made of the characters' images.

    Args:
        inputs: (classes, instances, features).
        rng: source of the choice of classes and instances.
        tasks: episodes in the batch.
        ways: classes in an episode.
        shots: support examples of a class.
        queries: query examples of a class.

    Raises:
        ValueError: more ways than classes, or more shots and queries than instances of a class.
    """
    classes, instances, features = inputs.shape
    if ways > classes or shots + queries > instances:
        raise ValueError(
            f"{ways} ways and {shots} shots + {queries} queries are more than the {classes} classes "
            f"of {instances} instances of the data"
        )
    kind = draw_without_repeats(rng, tasks, ways, classes)[:, None]
    instance = draw_without_repeats(rng, tasks * ways, shots + queries, instances)
    instance = instance.reshape(tasks, ways, shots + queries).swapaxes(1, 2)
    support, query = np.split(inputs[kind, instance], [shots], axis=1)
    support, query = (part.reshape(tasks, -1, features) for part in (support, query))
    label = np.arange(ways)
    return Episodes(support, np.tile(label, (tasks, shots)), query, np.tile(label, (tasks, queries)))
