"""Normals that vary smoothly over arrays."""

import numpy as np
import pytest

from memenv.devices.device import Device, Mismatch
from memenv.devices.spatial import SmoothNormals


def drawn(rng, arrays=4, rows=48, cols=32, reach=2.0, correlation=0.8, draws=40) -> np.ndarray:
    smooth = SmoothNormals(rng, arrays, rows, cols, reach, correlation)
    return smooth.standard_normal((draws, arrays * rows * cols)).reshape(draws, arrays, rows, cols)


def correlation(values: np.ndarray, down: int, right: int) -> float:
    return float(np.mean(values * np.roll(values, (down, right), (-2, -1))))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_every_normal_has_unit_variance(rng, correlation):
    values = drawn(rng, correlation=correlation)
    assert values.std() == pytest.approx(1.0, abs=0.03)
    assert abs(values.mean()) < 0.03


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, 2), (3, 3), (8, 0)])
def test_neighbours_have_the_stated_correlation(rng, down, right):
    expected = 0.8 * np.exp(-(down**2 + right**2) / (4 * 2.0**2))
    assert correlation(drawn(rng), down, right) == pytest.approx(expected, abs=0.03)


def test_arrays_are_independent_of_each_other(rng):
    values = drawn(rng)
    assert abs(np.mean(values[:, 0] * values[:, 1])) < 0.03


def test_a_chip_of_it_is_smooth_where_its_cells_differ(rng):
    device = Device(mismatch=Mismatch(x_hi=0.1, stuck_low=0.1))
    chip = device.fabricate(SmoothNormals(rng, 1, 32, 32, 3.0, 1.0), 1024)
    good = (chip.x_hi > chip.x_lo).reshape(32, 32)
    top = np.where(good, chip.x_hi.reshape(32, 32), np.nan)
    assert np.nanstd(np.diff(top, axis=1)) < 0.4 * np.nanstd(top)
    pairs = good[:, 1:].astype(float), good[:, :-1].astype(float)
    assert abs(np.corrcoef(pairs[0].ravel(), pairs[1].ravel())[0, 1]) < 0.1  # stuck cells are scattered


@pytest.mark.parametrize(
    ("setting", "value"), [("reach", 0.0), ("reach", np.inf), ("correlation", -0.1), ("correlation", 1.5)]
)
def test_impossible_settings_are_refused(rng, setting, value):
    with pytest.raises(ValueError, match=setting):
        SmoothNormals(rng, 1, 4, 4, **({"reach": 1.0, "correlation": 0.5} | {setting: value}))
