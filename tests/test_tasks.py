"""Episodes: what is in them, what must not be, how classes are drawn, and requests that the data cannot meet."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from memenv.few_shot.characters import Characters
from memenv.few_shot.episodes import Episodes, draw_without_repeats
from metalearn.tasks import classification


def numbered(classes: int = 12, instances: int = 20) -> Characters:
    """Images that say what they are: their corner holds class and instance, beside each other."""
    images = np.zeros((classes, instances, 28, 28), np.uint8)
    images[:, :, 0, 0], images[:, :, 0, 1] = 10 + np.arange(classes)[:, None], 100 + np.arange(instances)
    images.flags.writeable = False
    names = tuple(f"c{k}" for k in range(classes))
    return Characters(images=images, names=names, alphabets=("a",) * classes)


def what(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, instance and number of quarter turns (tasks, examples) of images of `numbered`."""
    upright = np.stack([np.rot90(x, -turn, axes=(2, 3)) for turn in range(4)])[..., 0, :2] * 255  # as after each turn
    marks, turn = np.rint(upright).astype(int), (upright[..., 0] > 0) & (upright[..., 1] >= 100 - 0.5)
    turn = turn.argmax(axis=0)
    class_, instance = np.take_along_axis(marks, turn[None, ..., None], axis=0)[0].transpose(2, 0, 1)
    return class_ - 10, instance - 100, turn


def test_an_episode_has_the_stated_shapes_and_scale(rng: np.random.Generator) -> None:
    episodes = classification(numbered(), rng, 3, ways=4, shots=2)
    assert episodes.support_x.shape == (3, 8, 28, 28) and episodes.support_y.shape == (3, 8)
    assert episodes.query_x.shape == (3, 60, 28, 28) and episodes.query_y.shape == (3, 60)
    assert episodes.support_x.dtype == np.float32 and episodes.support_y.dtype == np.int64
    assert episodes.query_x.max() == pytest.approx(119 / 255)


@pytest.mark.parametrize("rotations", [False, True])
def test_a_label_means_one_class_in_support_and_query(rng: np.random.Generator, rotations: bool) -> None:
    episodes = classification(numbered(), rng, 50, ways=6, shots=3, queries=5, rotations=rotations)
    classes, _, turns = what(np.concatenate([episodes.support_x, episodes.query_x], axis=1))
    kinds = 4 * classes + turns
    labels = np.concatenate([episodes.support_y, episodes.query_y], axis=1)
    for task in range(50):
        assert len({*zip(labels[task], kinds[task], strict=True)}) == len({*kinds[task]}) == 6


def test_no_drawing_is_in_an_episode_twice(rng: np.random.Generator) -> None:
    episodes = classification(numbered(), rng, 50, ways=6, shots=5, queries=15)  # all 20 instances
    classes, instances, _ = what(np.concatenate([episodes.support_x, episodes.query_x], axis=1))
    assert all(len({*drawings}) == 120 for drawings in 100 * classes + instances)


def test_examples_come_class_after_class_in_turn(rng: np.random.Generator) -> None:
    episodes = classification(numbered(), rng, 2, ways=3, shots=2, queries=1)
    assert episodes.support_y.tolist() == [[0, 1, 2, 0, 1, 2]] * 2 and episodes.query_y.tolist() == [[0, 1, 2]] * 2


def test_every_class_turn_and_instance_is_equally_likely_at_each_place(rng: np.random.Generator) -> None:
    episodes = classification(numbered(), rng, 4000, ways=3, shots=1, queries=0, rotations=True)
    classes, instances, turns = what(episodes.support_x)
    for place in range(3):
        for values, number in ((classes, 12), (instances, 20), (turns, 4)):
            assert chisquare(np.bincount(values[:, place], minlength=number)).pvalue > 1e-3


def test_without_rotations_every_image_is_upright(rng: np.random.Generator) -> None:
    assert not what(classification(numbered(), rng, 20).query_x)[2].any()


def test_bytes_and_floats_give_the_same_episodes() -> None:
    data = numbered()
    floats = Characters(images=data.images / np.float32(255), names=data.names, alphabets=data.alphabets)
    for a, b in zip(
        *(classification(d, np.random.default_rng(4), 5, rotations=True) for d in (data, floats)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_same_seed_gives_the_same_episodes_and_another_seed_others() -> None:
    def drawn(seed: int) -> Episodes:
        return classification(numbered(), np.random.default_rng(seed), 5)

    assert all(np.array_equal(a, b) for a, b in zip(drawn(1), drawn(1), strict=True))
    assert not np.array_equal(drawn(1).support_x, drawn(2).support_x)


def test_drawing_all_numbers_gives_permutations_without_preference(rng: np.random.Generator) -> None:
    drawn = draw_without_repeats(rng, 6000, 3, 3)
    assert (np.sort(drawn, axis=1) == np.arange(3)).all()
    assert chisquare(np.unique(drawn, axis=0, return_counts=True)[1]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ways": 13}, "13 ways are more than the 12 classes"),
        ({"ways": 49, "rotations": True}, "49 ways are more than the 48 classes"),
        ({"shots": 6}, "6 shots \\+ 15 queries of a class are more than the 20 instances"),
        ({"ways": 0}, "must be >= 1"),
        ({"shots": 0}, "must be >= 1"),
        ({"tasks": 0}, "must be >= 1"),
        ({"queries": -1}, "queries >= 0"),
    ],
)
def test_what_the_data_cannot_give_is_refused(
    rng: np.random.Generator, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        classification(numbered(), rng, **{"tasks": 2, **arguments})


def test_as_many_ways_as_classes_are_possible(rng: np.random.Generator) -> None:
    classes, _, turns = what(classification(numbered(), rng, 2, ways=48, queries=0, rotations=True).support_x)
    assert all(len({*kinds}) == 48 for kinds in 4 * classes + turns)


def test_selected_classes_keep_their_names_and_images() -> None:
    some = numbered().select(np.array([7, 2]))
    assert some.names == ("c7", "c2") and len(some) == 2 and some.images[:, 0, 0, 0].tolist() == [17, 12]


@pytest.mark.parametrize(
    ("images", "names", "message"),
    [
        (np.zeros((2, 20, 28, 27), np.uint8), 2, "images must be"),
        (np.zeros((2, 20, 28, 28), np.float64), 2, "float64"),
        (np.zeros((2, 20, 28, 28), np.uint8), 3, "2 classes with 3 names"),
    ],
)
def test_malformed_characters_are_refused(images: np.ndarray, names: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Characters(images=images, names=("x",) * names, alphabets=("",) * names)
