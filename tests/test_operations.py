"""Line operations: which cells get which pulse, and how long it takes."""

import numpy as np
import pytest

from memenv.crossbars.converters import CrossbarError
from memenv.crossbars.operations import cell_by_cell, check_levels, line_by_line, one_line
from memenv.devices.device import Driver

DRIVER = Driver(set_min=0.5, set_max=1.5, reset_min=0.6, reset_max=1.4, width_min=1e-7, width_max=1e-5)
SHAPE = (2, 6, 5)


@pytest.fixture
def wanted(rng):
    """Amplitudes, widths and enabled cells, some of them without a pulse."""
    amplitude = rng.choice([-1.0, 1.0], SHAPE) * rng.uniform(0.6, 1.4, SHAPE)
    width = np.exp(rng.uniform(np.log(1e-7), np.log(1e-5), SHAPE))
    return amplitude, width, rng.random(SHAPE) < 0.7


def test_cell_by_cell_every_enabled_cell_gets_its_own_pulse(wanted):
    amplitude, width, enabled = wanted
    operations = cell_by_cell(*wanted)
    np.testing.assert_array_equal(operations.amplitude, amplitude * enabled)
    np.testing.assert_array_equal(operations.width, width * enabled)
    np.testing.assert_array_equal(operations.count, enabled.sum((1, 2)))
    np.testing.assert_allclose(operations.latency, (width * enabled).sum((1, 2)))


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("levels", [(1, 1), (4, 2), (64, 32)])
def test_cells_of_a_line_that_are_written_together_share_the_pulse_of_an_operation(wanted, levels, columns):
    operations = line_by_line(*wanted, DRIVER, levels, columns=columns)
    enabled = wanted[2]
    assert ((operations.width > 0) == enabled).all()
    cells = [np.swapaxes(part, 1, 2) if columns else part for part in operations[:2]]
    for array, line, cell in np.argwhere(cells[1] > 0):
        pulse = [part[array, line, cell] for part in cells]
        offered = np.stack([part[array, line] for part in operations[2:4]], -1)
        assert (offered == pulse).all(-1).any()
    assert operations.count.max() <= 2 * levels[0] * levels[1] * cells[0].shape[1]


def test_a_pulse_is_off_by_less_than_its_intervals(wanted):
    amplitude, width, enabled = wanted
    operations = line_by_line(*wanted, DRIVER, (10, 4))
    assert (np.sign(operations.amplitude[enabled]) == np.sign(amplitude[enabled])).all()
    assert np.abs(operations.amplitude - amplitude)[enabled].max() < 0.1
    assert np.abs(np.log(operations.width[enabled] / width[enabled])).max() < np.log(100) / 4


def test_pulses_that_are_alike_stay_as_they_are_in_one_operation_a_line(rng):
    enabled = rng.random(SHAPE) < 0.5
    operations = line_by_line(np.full(SHAPE, -0.9), np.full(SHAPE, 2e-6), enabled, DRIVER, (8, 3))
    np.testing.assert_allclose(operations.amplitude, np.where(enabled, -0.9, 0.0), rtol=1e-14)
    np.testing.assert_array_equal(operations.count, enabled.any(-1).sum(-1))
    np.testing.assert_allclose(operations.latency, 2e-6 * enabled.any(-1).sum(-1))
    np.testing.assert_allclose(operations.sequential, 2e-6 * enabled.sum((1, 2)))


def test_one_level_shares_the_mean_amplitude_of_a_polarity():
    amplitude = np.array([[1.0, 1.2, -0.8, -1.0, 1.1]])
    operations = line_by_line(amplitude, np.full((1, 5), 1e-6), np.array([[True] * 4 + [False]]), DRIVER, (1, 1))
    np.testing.assert_allclose(operations.amplitude, [[1.1, 1.1, -0.9, -0.9, 0.0]])
    assert operations.count == 2
    assert operations.latency == pytest.approx(2e-6)


@pytest.mark.parametrize("columns", [False, True])
def test_one_operation_a_line_drives_its_enabled_cells(rng, columns):
    enabled = rng.random(SHAPE) < 0.5
    lines = SHAPE[2] if columns else SHAPE[1]
    amplitude, width = rng.uniform(0.6, 1.4, (2, lines)), np.full((2, lines), 1e-6)
    amplitude[:, 0] = 0.0  # this line rests
    operations = one_line(amplitude, width, enabled, columns=columns)
    expected = amplitude[:, None, :] if columns else amplitude[:, :, None]
    np.testing.assert_array_equal(operations.amplitude, expected * enabled)
    used = enabled.any(1 if columns else 2)
    used[:, 0] = False
    np.testing.assert_array_equal(operations.count, used.sum(1))


@pytest.mark.parametrize("columns", [False, True])
def test_backends_agree(wanted, columns):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(part) for part in wanted]
    lines = [part[:, 0] if columns else part[..., 0] for part in wanted[:2]]
    plans = [
        (cell_by_cell(*wanted), cell_by_cell(*tensors)),
        (
            line_by_line(*wanted, DRIVER, (3, 2), columns=columns),
            line_by_line(*tensors, DRIVER, (3, 2), columns=columns),
        ),
        (
            one_line(*lines, wanted[2], columns=columns),
            one_line(*map(torch.tensor, lines), tensors[2], columns=columns),
        ),
    ]
    for one, other in plans:
        for a, b in zip((*one[:4], one.latency), (*other[:4], other.latency), strict=True):
            assert b.dtype is torch.float64
            np.testing.assert_allclose(b.numpy(), a, rtol=1e-14)


def test_arguments_are_never_written(wanted):
    for part in wanted:
        part.flags.writeable = False
    cell_by_cell(*wanted)
    line_by_line(*wanted, DRIVER, (3, 2))
    one_line(wanted[0][..., 0], wanted[1][..., 0], wanted[2])


@pytest.mark.parametrize("levels", [(0, 1), (1,), [8, 3], (True, 2), (2.0, 2)])
def test_impossible_levels_are_refused(levels):
    with pytest.raises(CrossbarError, match="levels"):
        check_levels(levels)
