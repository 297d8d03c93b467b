"""Invented characters: their seed, their rendering, and how much they are like Omniglot's."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memenv.few_shot.characters import Characters
from memenv.few_shot.strokes import POINTS, SPLINE, STROKES, glyphs, render
from metalearn.omniglot import BACKGROUND, load_part
from metalearn.tasks import classification


@pytest.fixture(scope="module")
def invented() -> Characters:
    return glyphs(0, 400)


def line(x: tuple[float, float], y: tuple[float, float], pen: float = 0.7) -> np.ndarray:
    """The image (28, 28) of one straight stroke between two points [pixels from the middle]; 1 = ink."""
    points = np.zeros((1, STROKES, POINTS, 2), np.float32)
    points[0, 0] = np.stack([np.linspace(*x, POINTS), np.linspace(*y, POINTS)], axis=-1)
    drawn = np.arange(STROKES)[None] == 0
    return render(points, drawn, np.full(1, pen, np.float32))[0] / 255


def nearest_neighbour(data: Characters, tasks: int = 200) -> float:
    """Accuracy [%] of the nearest support image by Euclidean distance of pixels, 5-way 1-shot."""
    episodes = classification(data, np.random.default_rng(1), tasks)
    support, query = (x.reshape(tasks, -1, 28 * 28) for x in (episodes.support_x, episodes.query_x))
    distance = np.square(support).sum(-1)[:, None] - 2 * query @ support.swapaxes(1, 2)
    return 100 * float(np.mean(distance.argmin(-1) == episodes.query_y))  # support_y is 0, 1, ..., 4


def test_a_set_has_the_stated_shape_and_unique_names() -> None:
    data = glyphs(1, 60, instances=3)
    assert data.images.shape == (60, 3, 28, 28) and data.images.dtype == np.uint8
    assert len({*data.names}) == 60 and len({*data.alphabets}) == 3


def test_the_seed_determines_everything() -> None:
    np.testing.assert_array_equal(glyphs(3, 30).images, glyphs(3, 30).images)
    assert not np.array_equal(glyphs(3, 30).images, glyphs(4, 30).images)


def test_fewer_classes_are_the_first_of_more() -> None:
    few, more = glyphs(3, 7), glyphs(3, 60)
    np.testing.assert_array_equal(few.images, more.images[:7])
    assert few.names == more.names[:7] and few.alphabets == more.alphabets[:7]


@pytest.mark.parametrize("arguments", [(0, 0), (0, 5, 0)])
def test_an_empty_set_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        glyphs(*arguments)


def test_all_characters_leave_ink_and_no_two_drawings_are_alike(invented: Characters) -> None:
    assert invented.images.max(axis=(2, 3)).min() > 200
    flat = invented.images.reshape(-1, 28 * 28)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_a_spline_goes_from_its_first_point_to_its_last() -> None:
    np.testing.assert_allclose(SPLINE.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(SPLINE[[0, -1]], np.eye(POINTS)[[0, -1]], atol=1e-6)


def test_a_line_is_even_along_and_vanishes_across() -> None:
    image = line((-9, 9), (0.5, 0.5))
    along = image[14, 7:21]
    assert along.min() == along.max() == 1  # no dots
    assert 0 < image[13, 14] < 1 and image[13, 14] == pytest.approx(image[15, 14])  # soft edges
    assert image[:11].max() == image[17:].max() == 0 and image[14, :2].max() == image[14, 26:].max() == 0


def test_x_runs_to_the_right_and_y_down() -> None:
    image = line((5, 10), (8, 8))
    rows, columns = np.nonzero(image)
    assert (rows > 18).all() and (columns > 15).all()


def test_a_stroke_moved_by_a_pixel_is_the_image_moved_by_a_pixel() -> None:
    np.testing.assert_allclose(line((-6, 4), (-3, 5))[:-1, :-1], line((-5, 5), (-2, 6))[1:, 1:], atol=1.01 / 255)


def test_a_stroke_that_is_not_drawn_leaves_no_ink() -> None:
    points = np.random.default_rng(0).normal(0, 5, (1, STROKES, POINTS, 2)).astype(np.float32)
    assert not render(points, np.zeros((1, STROKES), bool), np.ones(1, np.float32)).any()


def test_a_broader_pen_leaves_more_ink() -> None:
    assert line((-9, 9), (0, 3), pen=0.8).sum() > 1.1 * line((-9, 9), (0, 3), pen=0.6).sum()


def test_ink_place_and_spread_are_near_those_of_omniglot(invented: Characters) -> None:
    images = invented.images / 255
    ink = images.sum(axis=(2, 3))
    y = (images.sum(axis=3) * np.arange(28)).sum(axis=2) / ink
    x = (images.sum(axis=2) * np.arange(28)).sum(axis=2) / ink
    high = np.sqrt((images.sum(axis=3) * np.square(np.arange(28) - y[..., None])).sum(axis=2) / ink)
    wide = np.sqrt((images.sum(axis=2) * np.square(np.arange(28) - x[..., None])).sum(axis=2) / ink)
    # On the right what Omniglot's 1,623 characters have, shrunk by metalearn.omniglot.
    assert ink.mean() / 28**2 == pytest.approx(0.081, abs=0.01)
    assert (y.mean(), x.mean()) == pytest.approx((12.7, 13.1), abs=0.6)  # [pixels] centre of mass
    assert (y.std(axis=1).mean(), x.std(axis=1).mean()) == pytest.approx((1.36, 1.37), abs=0.1)  # within a class
    assert (high.mean(), wide.mean()) == pytest.approx((4.5, 4.1), abs=0.4)  # [pixels] standard deviation of the ink


def test_nearest_neighbours_are_far_above_chance_and_far_from_a_solution(invented: Characters) -> None:
    assert 40 < nearest_neighbour(invented) < 60


def test_nearest_neighbours_do_about_as_well_as_on_omniglot(invented: Characters, published: Path) -> None:
    drawn = load_part(published / "omniglot", BACKGROUND)
    assert abs(nearest_neighbour(invented) - nearest_neighbour(drawn)) < 10


def test_glyphs_need_neither_torch_nor_pillow() -> None:
    code = "import sys, memenv.few_shot.strokes, metalearn.omniglot; print(*(sys.modules.keys() & {'torch', 'PIL'}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
