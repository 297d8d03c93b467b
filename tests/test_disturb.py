"""Half-select: the voltages that schemes put on cells, and the disturb, against pulses applied one after another."""

from dataclasses import replace

import numpy as np
import pytest

from memenv.arrays import tree_map
from memenv.crossbars.crossbar import shaped
from memenv.crossbars.disturb import disturbed
from memenv.crossbars.operations import Operations, cell_by_cell, line_by_line, one_line
from memenv.crossbars.schemes import SCHEMES, Scheme, exposure
from memenv.devices.device import Device, Mismatch, Response
from memenv.devices.reads import State

SHAPE = (2, 5, 4)
PLANS = ("cells", "rows", "columns")
schemes = pytest.mark.parametrize("name", ["V/2", "V/3"])
plans = pytest.mark.parametrize("plan", PLANS)

UP = Response(amplitude=1.2, width=1e-6, threshold=0.25, slope=0.15, dose=0.3, gamma=1.0, margin=0.05)
DEVICE = Device(set=UP, reset=replace(UP, dose=0.2), mismatch=Mismatch(rate=0.4, threshold=0.2, x_hi=0.05))


def chip_of(rng, device=DEVICE, shape=SHAPE):
    chip = shaped(device.fabricate(rng, int(np.prod(shape))), shape)
    x = chip.x_lo + (chip.x_hi - chip.x_lo) * rng.uniform(0.2, 0.8, shape)
    return chip, chip.fresh(x, rng.standard_normal((2, *shape)))


def planned(rng, plan: str, amplitudes=(0.9, 1.1, 1.3), shape=SHAPE, width=2e-7, signs=(-1.0, 1.0)) -> Operations:
    amplitude = rng.choice(signs, shape) * rng.choice(amplitudes, shape)
    enabled = rng.random(shape) < 0.7
    if plan == "cells":
        return cell_by_cell(amplitude, np.full(shape, width), enabled)
    return line_by_line(amplitude, np.full(shape, width), enabled, DEVICE.driver, (40, 1), columns=plan == "columns")


def seen_voltages(scheme: Scheme, amplitude: float | np.ndarray, enabled: np.ndarray) -> np.ndarray:
    """(..., rows, cols) [V] at every cell while an operation at `amplitude` [V] writes `enabled` cells of a line."""
    row, column = enabled.any(-1)[..., :, None], enabled.any(-2)[..., None, :]
    share = np.where(enabled, 1.0, np.where(row | column, scheme.half, scheme.rest))
    return np.where(row.any(-2)[..., None, :], share, 0.0 * share) * amplitude


def one_after_another(scheme: Scheme, chip: Device, cell: State, operations: Operations, own: bool) -> State:
    """Every operation in turn, each cell at the voltage that it sees; its own pulses left out unless `own`."""
    shape = cell.x.shape
    for line in range(operations.line_width.shape[-2]):
        for slot in range(operations.line_width.shape[-1]):
            volts, seconds = (part[..., line, slot][..., None, None] for part in operations[2:4])
            on_line = np.zeros(shape, bool)
            on_line[(..., line) if operations.columns else (..., line, slice(None))] = True
            if operations.alone:
                on_line &= np.arange(shape[-1]) == slot
            enabled = on_line & (operations.amplitude == volts) & (operations.width == seconds) & (seconds > 0)
            seen = seen_voltages(scheme, volts, enabled)
            seen = seen if own else np.where(enabled, 0.0, seen)
            cell = chip.pulse(cell, seen, seconds + np.zeros(shape), np.zeros((3, *shape)))
    return cell


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1T1R", [[0.0, 0.0, 0.0], [1.2, 1.2, 0.0], [0.0, 0.0, 0.0]]),
        ("V/2", [[0.6, 0.6, 0.0], [1.2, 1.2, 0.6], [0.6, 0.6, 0.0]]),
        ("V/3", [[0.4, 0.4, -0.4], [1.2, 1.2, 0.4], [0.4, 0.4, -0.4]]),
    ],
)
def test_each_scheme_puts_its_voltages_on_the_cells(name, expected):
    enabled = np.zeros((3, 3), bool)
    enabled[1, :2] = True
    np.testing.assert_allclose(seen_voltages(SCHEMES[name], 1.2, enabled), expected)
    assert not seen_voltages(SCHEMES[name], 1.2, np.zeros((3, 3), bool)).any()


@plans
def test_exposure_counts_what_a_loop_over_operations_counts(rng, plan):
    operations = planned(rng, plan)
    beside, elsewhere = exposure(operations.width, operations.line_width, operations.columns)
    share = np.zeros((2, *SHAPE))
    for line in range(operations.line_width.shape[-2]):
        for slot in range(operations.line_width.shape[-1]):
            volts, seconds = (part[..., line, slot][..., None, None] for part in operations[2:4])
            on_line = np.zeros(SHAPE, bool)
            on_line[(..., line) if operations.columns else (..., line, slice(None))] = True
            if operations.alone:
                on_line &= np.arange(SHAPE[-1]) == slot
            enabled = on_line & (operations.amplitude == volts) & (operations.width == seconds) & (seconds > 0)
            mark = seen_voltages(Scheme(0.5, -0.25), 1.0, enabled)
            share += np.stack([seconds * (mark == 0.5), seconds * (mark == -0.25)])
    np.testing.assert_allclose([beside, elsewhere], share, rtol=1e-12, atol=1e-20)


@schemes
@pytest.mark.parametrize("pulses", [1, 300])
def test_a_cell_on_the_line_of_another_moves_as_the_closed_form_says(name, pulses):
    """One cell is written n times: u on its line shrinks by exp(-n s), s the dose of one half-select pulse."""
    share = SCHEMES[name].half
    device = DEVICE.replace(mismatch=Mismatch())
    chip = shaped(device.fabricate(np.random.default_rng(0), 12), (3, 4))
    start = chip.fresh(np.full((3, 4), 0.3), np.zeros((2, 3, 4)))
    target = np.zeros((3, 4), bool)
    target[1, 2] = True
    operations = cell_by_cell(np.full((3, 4), 1.3), np.full((3, 4), 1e-6), target)
    cell = start
    for _ in range(pulses):
        cell = disturbed(SCHEMES[name], chip, cell, operations, np.zeros((6, 3, 4)))

    def dose(response, volts):
        worth = np.expm1((volts - response.threshold) / response.slope)
        return response.dose * worth / np.expm1((response.amplitude - response.threshold) / response.slope)

    raised = 1.05 - 0.75 * np.exp(-pulses * dose(device.set, share * 1.3))
    lowered = -0.05 + 0.35 * np.exp(-pulses * dose(device.reset, share * 1.3))
    expected = np.full((3, 4), 0.3 if name == "V/2" else lowered)
    expected[1], expected[:, 2], expected[1, 2] = raised, raised, 0.3
    np.testing.assert_allclose(cell.x, expected, rtol=0, atol=1e-12)


@schemes
@plans
def test_one_operation_disturbs_exactly(rng, name, plan):
    chip, cell = chip_of(rng)
    if plan == "cells":
        enabled = np.zeros(SHAPE, bool)
        enabled[0, 3, 1], enabled[1, 0, 0] = True, True
        operations = cell_by_cell(np.full(SHAPE, -1.3), np.full(SHAPE, 1e-6), enabled)
    else:
        lines = SHAPE[2] if plan == "columns" else SHAPE[1]
        amplitude = np.where(np.arange(lines) == 1, 1.3, 0.0) + np.zeros((2, 1))
        operations = one_line(amplitude, np.full((2, lines), 1e-6), rng.random(SHAPE) < 0.5, columns=plan == "columns")
    expected = one_after_another(SCHEMES[name], chip, cell, operations, own=False)
    seen = disturbed(SCHEMES[name], chip, cell, operations, np.zeros((6, *SHAPE)))
    np.testing.assert_allclose(seen.x, expected.x, rtol=0, atol=1e-13)
    assert (np.abs(seen.x - cell.x) > 1e-4).any()


@schemes
@plans
def test_a_step_of_one_polarity_disturbs_exactly_in_any_order(rng, name, plan):
    # Under V/3 unselected cells see the opposite polarity: these must not be moved by it.
    chip, cell = chip_of(rng, DEVICE.replace(reset=replace(DEVICE.reset, threshold=0.9)))
    operations = planned(rng, plan, amplitudes=(1.3,), signs=(1.0,))
    expected = one_after_another(SCHEMES[name], chip, cell, operations, own=False)
    seen = disturbed(SCHEMES[name], chip, cell, operations, np.zeros((6, *SHAPE)))
    np.testing.assert_allclose(seen.x, expected.x, rtol=0, atol=1e-12)


@schemes
@plans
def test_what_a_step_of_both_polarities_neglects_is_of_second_order(rng, name, plan):
    chip, cell = chip_of(rng)
    error, effect = [], []
    for width in (4e-7, 2e-7):
        operations = planned(np.random.default_rng(5), plan, width=width)
        expected = one_after_another(SCHEMES[name], chip, cell, operations, own=False)
        seen = disturbed(SCHEMES[name], chip, cell, operations, np.zeros((6, *SHAPE)))
        error.append(np.abs(seen.x - expected.x).max())
        effect.append(np.abs(expected.x - cell.x).max())
    assert error[0] < 0.05 * effect[0]
    assert error[1] < 0.35 * error[0] and effect[1] > 0.45 * effect[0]


@schemes
def test_many_different_amplitudes_are_worth_what_they_are_one_by_one(rng, name):
    """More amplitudes than levels: off only for pulses close to a cell's onset."""
    shape = (16, 16)
    chip, cell = chip_of(rng, DEVICE, shape)
    operations = planned(rng, "cells", amplitudes=rng.uniform(0.5, 1.5, 1000), shape=shape, width=1e-8)
    expected = one_after_another(SCHEMES[name], chip, cell, operations, own=False)
    seen = disturbed(SCHEMES[name], chip, cell, operations, np.zeros((6, *shape)))
    change = np.abs(expected.x - cell.x).max()
    assert np.abs(seen.x - expected.x).max() < 0.005 * change


@pytest.mark.parametrize(("amplitudes", "tolerance"), [((1.3,), 1e-3), ((0.9, 1.1, 1.3), 0.1)])
def test_mismatched_slopes_are_exact_for_the_strongest_pulses_and_near_for_others(rng, amplitudes, tolerance):
    chip, cell = chip_of(rng, DEVICE.replace(mismatch=Mismatch(slope=0.1, threshold=0.1)))
    operations = planned(rng, "cells", amplitudes=amplitudes, width=1e-9)  # too short for order to matter
    expected = one_after_another(SCHEMES["V/2"], chip, cell, operations, own=False)
    seen = disturbed(SCHEMES["V/2"], chip, cell, operations, np.zeros((6, *SHAPE)))
    assert np.abs(seen.x - expected.x).max() < tolerance * np.abs(expected.x - cell.x).max()


def test_amplitudes_below_twice_the_threshold_do_nothing_and_leave_the_age(rng):
    chip, cell = chip_of(rng, DEVICE.replace(mismatch=Mismatch(rate=0.3)))
    operations = planned(rng, "cells", amplitudes=(0.4999,))
    assert disturbed(SCHEMES["V/2"], chip, cell, operations, np.ones((6, *SHAPE))) is cell


def test_a_cell_that_shares_no_line_with_a_written_one_is_untouched_under_half_v(rng):
    chip, cell = chip_of(rng)
    enabled = np.zeros(SHAPE, bool)
    enabled[:, 1, [0, 2]] = True
    operations = cell_by_cell(np.full(SHAPE, 1.3), np.full(SHAPE, 1e-6), enabled)
    seen = disturbed(SCHEMES["V/2"], chip, cell, operations, np.ones((6, *SHAPE)))
    alone = np.ones(SHAPE, bool)
    alone[:, 1], alone[:, :, [0, 2]] = False, False
    np.testing.assert_array_equal(seen.x[alone], cell.x[alone])
    np.testing.assert_array_equal(seen.age[alone], cell.age[alone])
    assert (seen.age[~alone] == 0).all()


@pytest.mark.parametrize("widths", [(1e-7,), (1e-7, 5e-7)])
def test_a_train_has_the_noise_of_the_sum_of_its_pulses(rng, widths):
    """Mean and spread of the dose that 15 neighbours on one row give, against a draw for each pulse."""
    noisy = replace(UP, cycle_noise=0.5, gamma=0.0, dose=1e-3)
    chip, many = DEVICE.replace(set=noisy, reset=noisy, mismatch=Mismatch()), 10_000
    shape = (many, 1, 16)
    enabled = np.ones(shape, bool)
    enabled[..., 0] = False
    width = np.asarray(widths)[np.arange(16) % len(widths)] + np.zeros(shape)
    operations = cell_by_cell(np.full(shape, 1.3), width, enabled)
    cell = chip.fresh(np.full(shape, 0.2), np.zeros((2, *shape)))
    after = disturbed(SCHEMES["V/2"], chip, cell, operations, rng.standard_normal((6, *shape)))
    step = after.x[:, 0, 0] - 0.2
    once = chip.pulse(cell, np.full(shape, 0.65), width, rng.standard_normal((3, *shape))).x - 0.2
    summed = once[:, 0, 1:].sum(-1)
    assert step.mean() == pytest.approx(summed.mean(), rel=0.01)
    assert step.std() == pytest.approx(summed.std(), rel=0.05)


@schemes
@plans
def test_backends_agree_and_arguments_are_never_written(rng, everything, name, plan):
    torch = pytest.importorskip("torch")
    device = everything.replace(
        set=replace(everything.set, threshold=0.3), reset=replace(everything.reset, threshold=0.3)
    )
    chip, cell = chip_of(rng, device)
    arguments = chip, cell, planned(rng, plan), rng.standard_normal((6, *SHAPE))

    def locked(leaf):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
        return leaf

    expected = disturbed(SCHEMES[name], *tree_map(locked, arguments))
    seen = disturbed(SCHEMES[name], *tree_map(lambda a: torch.tensor(a) if isinstance(a, np.ndarray) else a, arguments))
    for one, other in zip(expected, seen, strict=True):
        assert other.dtype is torch.float64
        np.testing.assert_allclose(other.numpy(), one, rtol=1e-9, atol=1e-12)
    assert np.abs(expected.x - cell.x).max() > 1e-3


@plans
def test_a_batch_is_a_loop_over_arrays(rng, plan):
    chip, cell = chip_of(rng, DEVICE.replace(set=replace(UP, cycle_noise=0.3)))
    operations = planned(rng, plan)
    noise = rng.standard_normal((6, *SHAPE))
    batch = disturbed(SCHEMES["V/3"], chip, cell, operations, noise)
    for k in range(SHAPE[0]):
        one, state, part = tree_map(
            lambda leaf, k=k: leaf[k] if getattr(leaf, "ndim", 0) else leaf, (chip, cell, operations)
        )
        alone = disturbed(SCHEMES["V/3"], one, state, part, noise[:, k])
        np.testing.assert_allclose(alone.x, batch.x[k], rtol=1e-14)


def test_gradients_reach_the_amplitudes_of_neighbours(rng):
    torch = pytest.importorskip("torch")
    chip, cell = chip_of(rng)
    operations = planned(rng, "cells", amplitudes=rng.uniform(1.0, 1.4, 9))
    tensors = tree_map(lambda a: torch.tensor(a) if isinstance(a, np.ndarray) else a, (chip, cell))
    amplitude = torch.tensor(operations.amplitude, requires_grad=True)
    width, noise = torch.tensor(operations.width), torch.zeros((6, *SHAPE), dtype=torch.float64)
    plan = cell_by_cell(amplitude, width, torch.tensor(operations.width > 0))
    (gradient,) = torch.autograd.grad(disturbed(SCHEMES["V/2"], *tensors, plan, noise).x.sum(), amplitude)
    assert gradient.isfinite().all()
    assert (gradient[operations.width > 0] != 0).all() and (gradient[operations.width == 0] == 0).all()


def test_single_precision_stays_single_precision_under_torch(rng):
    torch = pytest.importorskip("torch")
    chip, cell, operations = tree_map(
        lambda leaf: torch.tensor(leaf).float() if isinstance(leaf, np.ndarray) else leaf,
        (*chip_of(rng, DEVICE.replace(set=replace(UP, cycle_noise=0.3))), planned(rng, "rows")),
    )
    after = disturbed(SCHEMES["V/3"], chip, cell, operations, torch.zeros((6, *SHAPE)))
    assert after.x.dtype is torch.float32 and bool((after.x != cell.x).any())
