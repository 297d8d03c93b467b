"""Simulated sensors: their seed, and how much measurements of one odour are alike."""

import numpy as np
import pytest

from metalearn.sensors import BEGIN, odours
from metalearn.tasks import classification


def test_fewer_odours_are_the_first_ones_and_another_seed_has_others() -> None:
    data = odours(0, 6, instances=3)
    assert data.images.shape == (6, 3, 28, 28) and data.images.dtype == np.uint8
    np.testing.assert_array_equal(odours(0, 2, instances=3).images, data.images[:2])
    assert (odours(1, 6, instances=3).images != data.images).mean() > 0.5


def test_sensors_answer_after_the_odour_has_come_and_recover_when_it_is_gone() -> None:
    course = odours(0, 50).images.mean((0, 1, 2))  # (28,) over the time of a measurement
    assert course[: int(28 * BEGIN) - 1].max() < 0.1 * course.max()
    assert 5 < course.argmax() < 20 and course[-1] < 0.9 * course.max()


def test_odours_are_told_apart_by_the_direction_of_the_answer_more_than_by_its_strength() -> None:
    episodes = classification(odours(1, 60), np.random.default_rng(1), 100)
    support, query = (x.reshape(100, -1, 28 * 28) for x in (episodes.support_x, episodes.query_x))
    lengths = np.linalg.norm(support, axis=-1)[:, None]
    product = query @ support.swapaxes(1, 2)
    nearest, straightest = (lengths**2 - 2 * product).argmin(-1), (product / lengths).argmax(-1)
    right = [float(np.mean(answer == episodes.query_y)) for answer in (nearest, straightest)]
    assert 0.6 < right[0] < 0.8 < right[1] < 0.95


def test_a_set_has_one_odour_and_one_measurement_at_least() -> None:
    with pytest.raises(ValueError, match="classes and instances must be >= 1, got 0 and 20"):
        odours(0, 0)
