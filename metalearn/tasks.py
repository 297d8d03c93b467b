"""Few-shot tasks to learn from: N-way K-shot classification of images, rotations included."""

import numpy as np

from memenv.few_shot.characters import SIDE, Characters
from memenv.few_shot.episodes import Episodes, draw_without_repeats


def classification(
    data: Characters,
    rng: np.random.Generator,
    tasks: int,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    rotations: bool = False,
) -> Episodes:
    """`tasks` episodes of `ways` classes, with `shots` support and `queries` query examples of each class.

    Classes of an episode differ, and so do the instances of a class.

    Args:
        data: characters to draw from.
        rng: source of the choice of classes and instances.
        tasks: episodes in the batch.
        ways: classes in an episode.
        shots: support examples of a class.
        queries: query examples of a class.
        rotations: whether a character turned by 90, 180 and 270 degrees is three further classes.

    Raises:
        ValueError: more ways than classes, more shots and queries than instances of a class, or a number below one
            (`queries` may be zero).
    """
    classes, instances = data.images.shape[:2]
    turns = 4 if rotations else 1
    if min(tasks, ways, shots) < 1 or queries < 0:
        raise ValueError(f"tasks, ways and shots must be >= 1, queries >= 0: {tasks}, {ways}, {shots}, {queries}")
    if ways > classes * turns:
        raise ValueError(f"{ways} ways are more than the {classes * turns} classes of the data")
    if shots + queries > instances:
        raise ValueError(
            f"{shots} shots + {queries} queries of a class are more than the {instances} instances of the data"
        )
    kind = draw_without_repeats(rng, tasks, ways, classes * turns)[:, None]  # (tasks, 1, ways)
    instance = draw_without_repeats(rng, tasks * ways, shots + queries, instances)
    instance = instance.reshape(tasks, ways, shots + queries).swapaxes(1, 2)  # (tasks, examples of a class, ways)
    x = data.images[kind % classes, instance]
    for turn in range(1, turns):
        which = np.broadcast_to(kind // classes == turn, instance.shape)
        x[which] = np.rot90(x[which], turn, axes=(1, 2))
    if x.dtype == np.uint8:
        x = x * np.float32(1 / 255)
    label = np.broadcast_to(np.arange(ways), instance.shape)
    support_x, query_x = (part.reshape(tasks, -1, SIDE, SIDE) for part in np.split(x, [shots], axis=1))
    support_y, query_y = (part.reshape(tasks, -1) for part in np.split(label, [shots], axis=1))
    return Episodes(support_x, support_y, query_x, query_y)
