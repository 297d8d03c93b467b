"""Measured tables as a device: draws, bounds, records of cells, and files that are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import kstest

from memenv.arrays import put, take
from memenv.devices.catalogue import load_device
from memenv.devices.measured import TableDevice
from memenv.devices.records import DeviceError

GRIDS = np.array([np.linspace(1e-5, 3e-5, 11), np.linspace(2e-5, 6e-5, 11)])
CDF = np.linspace(0.0, 1.0, 21)


def arrays() -> dict[str, np.ndarray]:
    """Two devices: the second's steps are twice as large; SET steps spread from 0 to twice their mean."""
    up = 2e-6 * np.multiply.outer([1.0, 2.0], np.multiply.outer(2 * CDF, np.linspace(1.0, 0.0, 11)))
    down = -1e-6 * np.multiply.outer([1.0, 2.0], np.ones((21, 11)))
    return {"device": np.array([7, 9]), "conductance": GRIDS, "cdf": CDF, "dg_set": up, "dg_reset": down}


@pytest.fixture
def device(tmp_path: Path) -> TableDevice:
    np.savez(tmp_path / "two.npz", **arrays())
    return TableDevice.load(tmp_path / "two.npz")


def noise(quantile: np.ndarray) -> np.ndarray:
    """Noise of a pulse whose first channel stands at the given quantiles."""
    return np.stack([ndtri(quantile), np.zeros_like(quantile), np.zeros_like(quantile)])


def test_the_range_is_the_mean_over_the_devices(device: TableDevice) -> None:
    assert (device.g_min, device.g_max) == pytest.approx((1.5e-5, 4.5e-5))
    assert device.polarity_only and device.name == "two" and "2 measured devices" in device.source


def test_a_pulse_interpolates_the_table_in_probability_and_conductance(
    device: TableDevice, rng: np.random.Generator
) -> None:
    chip = device.fabricate(rng, 40)
    g = GRIDS[chip.which, 0] + 0.33 * (GRIDS[chip.which, -1] - GRIDS[chip.which, 0])
    quantile = rng.uniform(0.01, 0.99, 40)
    state = chip.fresh((g - device.g_min) / (device.g_max - device.g_min), np.zeros((2, 40)))
    after = chip.pulse(state, np.ones(40), np.ones(40), noise(quantile))
    wanted = 2e-6 * (1 + chip.which) * 2 * quantile * (1 - 0.33)
    np.testing.assert_allclose(chip.conductance(after) - g, wanted, rtol=1e-9)


def test_steps_have_the_distribution_of_the_table(device: TableDevice, rng: np.random.Generator) -> None:
    chip = device.fabricate(rng, 20_000)
    state = chip.fresh(chip.x_lo, np.zeros((2, 20_000)))
    after = chip.pulse(state, np.ones(20_000), np.ones(20_000), rng.standard_normal((3, 20_000)))
    step = (chip.conductance(after) - chip.conductance(state)) / (4e-6 * (1 + chip.which))
    assert kstest(step, "uniform").pvalue > 0.01


def test_the_sign_alone_chooses(device: TableDevice, rng: np.random.Generator) -> None:
    chip = device.fabricate(rng, 30)
    state = chip.fresh(0.5 * (chip.x_lo + chip.x_hi), np.zeros((2, 30)))
    draw = rng.standard_normal((3, 30))
    once = chip.pulse(state, np.full(30, 0.1), np.full(30, 1e-9), draw)
    other = chip.pulse(state, np.full(30, 3.0), np.full(30, 1.0), draw)
    np.testing.assert_array_equal(once.x, other.x)
    assert np.all(once.x >= state.x) and np.all(chip.pulse(state, -np.ones(30), np.ones(30), draw).x < state.x)
    np.testing.assert_array_equal(chip.pulse(state, np.zeros(30), np.ones(30), draw).x, state.x)


def test_no_pulse_leaves_the_bounds_of_the_cell(device: TableDevice, rng: np.random.Generator) -> None:
    chip = device.fabricate(rng, 200)
    state = chip.fresh(chip.x_lo + (chip.x_hi - chip.x_lo) * rng.random(200), np.zeros((2, 200)))
    for _ in range(100):
        sign = rng.choice([-1.0, 1.0], 200)
        state = chip.pulse(state, sign, np.ones(200), rng.standard_normal((3, 200)))
        assert np.all(state.x >= chip.x_lo) and np.all(state.x <= chip.x_hi)


def test_a_train_is_as_wide_as_so_many_pulses(device: TableDevice, rng: np.random.Generator) -> None:
    chip = device.fabricate(rng, 20_000)
    state = chip.fresh(chip.x_lo, np.zeros((2, 20_000)))
    train = chip.pulse(state, np.ones(20_000), np.ones(20_000), rng.standard_normal((3, 20_000)), count=4)
    single = state
    for _ in range(4):
        single = chip.pulse(single, np.ones(20_000), np.ones(20_000), rng.standard_normal((3, 20_000)))
    own = chip.which == 0
    moved, wanted = (end.x[own] - chip.x_lo[own] for end in (train, single))
    assert moved.mean() == pytest.approx(wanted.mean(), rel=0.015)
    assert moved.std() == pytest.approx(wanted.std(), rel=0.03)


def test_a_resting_cell_ages_and_stays(device: TableDevice, rng: np.random.Generator) -> None:
    chip = device.fabricate(rng, 5)
    state = chip.fresh(chip.x_lo, np.zeros((2, 5)))
    rested = chip.rest(state, 3.0)
    np.testing.assert_allclose(rested.age - state.age, 3.0)
    np.testing.assert_array_equal(chip.conductance(rested), chip.conductance(state))


def test_cells_can_be_taken_and_put_back_without_copying_the_tables(
    device: TableDevice, rng: np.random.Generator
) -> None:
    chip = device.fabricate(rng, 10)
    few = take(chip, np.array([1, 4]))
    assert few.tables is chip.tables and few.which.tolist() == chip.which[[1, 4]].tolist()
    back = put(chip, np.array([1, 4]), few)
    assert back.tables is chip.tables
    np.testing.assert_array_equal(back.which, chip.which)


def test_inputs_are_never_written(device: TableDevice, rng: np.random.Generator) -> None:
    chip = device.fabricate(rng, 5)
    x, draw, volts = chip.x_lo.copy(), rng.standard_normal((3, 5)), np.ones(5)
    for array in (x, draw, volts, chip.which, chip.tables.dg):
        array.flags.writeable = False
    state = chip.pulse(chip.fresh(x, draw[:2]), volts, volts, draw, count=3)
    reading, _ = chip.sense(state, draw[:2])
    np.testing.assert_array_equal(reading, chip.conductance(state))


def test_mean_and_spread_of_the_steps_are_those_of_the_table(device: TableDevice) -> None:
    steps = device.steps()
    size = device.g_max - device.g_min
    np.testing.assert_allclose(steps.mean[0, 0], 2e-6 * np.linspace(1, 0, 11) / size, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(steps.spread[0, 1, 0], 8e-6 / 12**0.5 / size, rtol=0.01)
    np.testing.assert_allclose(steps.mean[1, :, 0], 0.0)  # clipped at the lower bound
    np.testing.assert_allclose(steps.spread[1], 0.0, atol=1e-15)


def changed(**new: np.ndarray) -> Callable[[], dict[str, np.ndarray]]:
    """The arrays with some of them replaced."""
    return lambda: arrays() | new


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {k: v for k, v in arrays().items() if k != "cdf"}, "it lacks cdf"),
        (changed(dg_set=np.zeros((2, 21, 10))), r"dg_set has the shape (2, 21, 10), (2, 21, 11) is needed"),
        (changed(conductance=GRIDS[0]), "conductance has the shape (11,)"),
        (changed(device=np.arange(3)), "device has the shape (3,), (2) is needed"),
        (changed(dg_reset=np.full((2, 21, 11), np.nan)), "462 of 462 numbers in dg_reset are NaN"),
        (changed(conductance=GRIDS[:, ::-1]), "conductance of device 7 must be positive and increasing"),
        (changed(conductance=np.where(np.arange(11) == 1, np.nextafter(GRIDS[:, :1], 1), GRIDS)), "too close to each"),
        (changed(conductance=1e12 * GRIDS), "conductance of device 7 must be positive and increasing"),
        (changed(dg_set=1j * np.ones((2, 21, 11))), "dg_set is of type complex128"),
        (changed(more=np.ones(2)), "it has 'more', known are conductance"),
        (changed(cdf=CDF[::-1]), "cdf must increase inside 0..1"),
        (changed(cdf=np.array(["a"] * 21)), "cdf is of type <U1"),
    ],
)
def test_impossible_tables_are_refused(make: Callable[[], dict[str, np.ndarray]], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **make())
    with pytest.raises(DeviceError) as error:
        TableDevice.load(tmp_path / "bad.npz")
    assert message in str(error.value) and "bad.npz" in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_files_are_refused(share: float, tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", **arrays())
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DeviceError, match=r"cut\.npz is no table of measured devices: it is not an \.npz"):
        TableDevice.load(tmp_path / "cut.npz")


def test_a_missing_file_is_refused_by_name() -> None:
    with pytest.raises(DeviceError, match=r"nowhere\.npz is no table of measured devices: there is no such file"):
        TableDevice.load("nowhere.npz")


@pytest.mark.parametrize(("name", "devices"), [("enode", 5), ("taox", 20)])
def test_measured_tables_run_like_any_device(
    name: str, devices: int, published: Path, rng: np.random.Generator
) -> None:
    chip = load_device(published / "sandia" / f"{name}_dg_tables.npz").fabricate(rng, 500)
    assert len(np.unique(chip.which)) == devices
    state = chip.fresh(0.5 * (chip.x_lo + chip.x_hi), rng.standard_normal((2, 500)))
    up, down = (
        chip.pulse(state, np.full(500, sign), np.full(500, 1e-6), rng.standard_normal((3, 500)), count=5).x
        for sign in (1.0, -1.0)
    )
    assert up.mean() > state.x.mean() > down.mean()
