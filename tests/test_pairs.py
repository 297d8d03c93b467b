"""Weights on pairs and against a reference column: there and back, products, and cells that cannot do their part."""

from dataclasses import replace

import numpy as np
import pytest

from memenv.crossbars.converters import CrossbarError
from memenv.crossbars.crossbar import Crossbar
from memenv.crossbars.encoding import Encoding, reach
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device, Mismatch

DEVICE = load_device("ideal")
kinds = pytest.mark.parametrize("kind", ["pairs", "reference"])
spared = pytest.mark.parametrize("spares", [0, 2])


@pytest.fixture
def weights(rng):
    return rng.standard_normal((3, 10, 6))


def faulty(rng, encoding: Encoding, rows=10, outputs=6, arrays=3, **mismatch):
    """Reach of the cells of arrays in which some are stuck."""
    device = Device(g_min=DEVICE.g_min, g_max=DEVICE.g_max, mismatch=Mismatch(**mismatch))
    crossbar = Crossbar(device=device, rows=rows, cols=encoding.columns(outputs))
    return reach(crossbar.fabricate(rng, (arrays,)), np.zeros((arrays, *crossbar.shape)))


@kinds
@spared
def test_weights_come_back_from_their_conductances(weights, kind, spares):
    encoding = Encoding.of(weights, DEVICE, kind=kind, spares=spares)
    mapping = encoding.mapped(weights)
    assert mapping.targets.shape == (3, 10, encoding.columns(6))
    np.testing.assert_allclose(encoding.decode(mapping.targets, mapping.order), weights, rtol=0, atol=1e-14)
    np.testing.assert_allclose(encoding.decode(mapping.targets), weights, rtol=0, atol=1e-14)
    assert np.abs(mapping.missing).max() <= 1e-12


def test_the_largest_weight_takes_the_span_and_the_idle_partner_rests_at_its_lower_end(weights):
    encoding = Encoding.of(weights, DEVICE, span=(0.2, 0.8))
    targets = encoding.mapped(weights).targets
    size = DEVICE.g_max - DEVICE.g_min
    assert targets.max() == pytest.approx(DEVICE.g_min + 0.8 * size)
    np.testing.assert_allclose(np.minimum(targets[..., 0::2], targets[..., 1::2]), DEVICE.g_min + 0.2 * size)


def test_a_reference_column_stands_in_the_middle(weights):
    encoding = Encoding.of(weights, DEVICE, kind="reference")
    targets = encoding.mapped(weights).targets
    np.testing.assert_allclose(targets[..., -1], 0.5 * (encoding.low + encoding.high))
    assert encoding.low <= targets.min() and targets.max() <= encoding.high * (1 + 1e-12)


@kinds
def test_a_programmed_array_multiplies_by_the_weights(rng, weights, kind):
    encoding = Encoding.of(weights, DEVICE, kind=kind)
    crossbar = Crossbar(device="ideal", rows=10, cols=encoding.columns(6))
    x = (encoding.mapped(weights).targets - DEVICE.g_min) / (DEVICE.g_max - DEVICE.g_min)
    state = crossbar.fresh(crossbar.fabricate(rng, (3,)), x, np.zeros((2, *x.shape)))
    inputs, volts = rng.standard_normal((3, 5, 10)), 0.1
    noise = np.zeros((3, 5, 10)), np.zeros((3, 5, crossbar.cols))
    forward = encoding.decode(crossbar.product(state, volts * inputs, noise)) / volts
    np.testing.assert_allclose(forward, inputs @ weights, atol=1e-12)


def test_the_partner_takes_the_difference_that_a_stuck_cell_leaves():
    encoding = Encoding(low=1e-5, high=9e-5, scale=1e4)
    weights = np.array([[0.3, 0.3, -0.5, 0.3]])
    low, high = np.full((1, 8), 1e-6), np.full((1, 8), 1e-4)
    low[0, 0] = high[0, 0] = 7e-5  # plus stuck too high: minus rises
    low[0, 3] = high[0, 3] = 4e-5  # minus stuck: plus rises
    low[0, 4] = high[0, 4] = 1e-5  # plus stuck where it should be: nothing happens
    low[0, 6:], high[0, 6:] = 5e-5, 5e-5  # both stuck
    mapping = encoding.mapped(weights, (low, high))
    np.testing.assert_allclose(mapping.targets, [[7e-5, 4e-5, 7e-5, 4e-5, 1e-5, 6e-5, 5e-5, 5e-5]])
    np.testing.assert_allclose(mapping.missing, [[0, 0, 0, 0.3]], atol=1e-12)


def test_mapping_around_stuck_cells_reduces_the_error(rng, weights):
    encoding = Encoding.of(weights, DEVICE)
    limits = faulty(rng, encoding, stuck_anywhere=0.1, collapsed=0.1)
    mapping = encoding.mapped(weights, limits)
    blind = weights - encoding.decode(np.clip(encoding.mapped(weights).targets, *limits))
    assert (np.abs(mapping.missing) <= np.abs(blind) + 1e-12).all()
    assert (mapping.missing**2).sum() < 0.35 * (blind**2).sum()
    assert (np.abs(mapping.missing) > 1e-9).sum() < 0.4 * (np.abs(blind) > 1e-9).sum()
    assert ((mapping.targets >= limits[0]) & (mapping.targets <= limits[1])).all()


@kinds
def test_targets_and_what_is_missing_add_up_to_the_weights(rng, weights, kind):
    encoding = Encoding.of(weights, DEVICE, kind=kind, spares=2)
    limits = faulty(rng, encoding, x_lo=0.2, x_hi=0.2, stuck_anywhere=0.2)
    mapping = encoding.mapped(weights, limits)
    seen = encoding.decode(mapping.targets, mapping.order)
    np.testing.assert_allclose(seen + mapping.missing, weights, atol=1e-13)


def test_the_row_follows_a_stuck_reference_cell():
    encoding = Encoding(kind="reference", low=1e-5, high=9e-5, scale=1e4)
    weights = np.array([[0.2, -0.1], [0.2, -0.1]])
    low, high = np.full((2, 3), 1e-6), np.full((2, 3), 1e-4)
    low[1, 2] = high[1, 2] = 6e-5
    mapping = encoding.mapped(weights, (low, high))
    np.testing.assert_allclose(mapping.targets, [[7e-5, 4e-5, 5e-5], [8e-5, 5e-5, 6e-5]])
    np.testing.assert_allclose(mapping.missing, 0, atol=1e-12)


@kinds
def test_a_spare_takes_the_output_that_it_helps_most(rng, weights, kind):
    encoding = Encoding.of(weights, DEVICE, kind=kind, spares=1)
    perfect = encoding.mapped(weights)
    low, high = (np.full(perfect.targets.shape, g) for g in (1e-6, 1e-4))
    broken = [6, 7] if kind == "pairs" else [3]
    low[..., broken] = high[..., broken] = 9e-5
    mapping = encoding.mapped(weights, (low, high))
    np.testing.assert_array_equal(mapping.order, [[0, 1, 2, 6, 4, 5]] * 3)
    np.testing.assert_allclose(mapping.missing, 0, atol=1e-12)
    np.testing.assert_array_equal(perfect.order, [np.arange(6)] * 3)


@kinds
def test_weights_beyond_the_largest_are_clipped_and_reported(kind):
    weights = np.array([[0.5, -1.0, 2.0]])
    mapping = Encoding.of(weights, DEVICE, kind=kind, largest=1.0).mapped(weights)
    np.testing.assert_allclose(mapping.missing, [[0.0, 0.0, 1.0]], atol=1e-12)


def test_reach_is_what_full_set_and_reset_leave(rng):
    crossbar = Crossbar(device=replace(load_device("threshold"), mismatch=Mismatch(x_hi=0.1)), rows=4, cols=4)
    chip = crossbar.fabricate(rng)
    low, high = reach(chip, np.zeros((4, 4)))
    state = crossbar.fresh(chip, np.full((4, 4), 0.5), np.zeros((2, 4, 4)))
    everywhere = np.full((4, 4), True)
    for sign, end in ((1, high), (-1, low)):
        step = crossbar.plan(np.full((4, 4), sign * 1.8), np.full((4, 4), 1e-3), everywhere)
        np.testing.assert_allclose(crossbar.conductance(crossbar.write(state, step, np.zeros((3, 4, 4)))), end)


@kinds
def test_backends_agree_and_arguments_are_never_written(rng, weights, kind):
    torch = pytest.importorskip("torch")
    encoding = Encoding.of(weights, DEVICE, kind=kind, spares=2)
    limits = faulty(rng, encoding, stuck_anywhere=0.3)
    for part in (weights, *limits):
        part.flags.writeable = False
    expected = encoding.mapped(weights, limits)
    seen = encoding.mapped(torch.tensor(weights), tuple(map(torch.tensor, limits)))
    for one, other in zip(expected, seen, strict=True):
        np.testing.assert_allclose(other.numpy(), one, rtol=1e-12, atol=1e-15)
    values = rng.standard_normal((3, 4, encoding.columns(6)))
    back = encoding.decode(torch.tensor(values), seen.order)
    np.testing.assert_allclose(back.numpy(), encoding.decode(values, expected.order), rtol=1e-12)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.array([[1.0, np.nan], [np.inf, 0.0]]), "2 of 4 weights are NaN or infinite"),
        (np.ones(3), r"weights have the shape \(3,\), \(\.\.\., rows, outputs\) is needed"),
        (np.ones((0, 3)), r"weights have the shape \(0, 3\)"),
    ],
)
def test_weights_that_are_no_matrix_of_numbers_are_refused(weights, message):
    with pytest.raises(CrossbarError, match=message):
        Encoding.of(weights, DEVICE)
    with pytest.raises(CrossbarError, match=message):
        Encoding(low=1e-6, high=1e-4, scale=1.0).mapped(weights)


def test_an_array_of_another_shape_is_refused(weights):
    encoding = Encoding.of(weights, DEVICE, spares=1)
    with pytest.raises(CrossbarError, match=r"\(10, 12\); weights \(10, 6\) as pairs with 1 spares take \(10, 14\)"):
        encoding.mapped(weights, (np.zeros((10, 12)), np.ones((10, 12))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "triples"}, "kind is 'triples', allowed is pairs, reference"),
        ({"low": 0.0}, "low is 0.0"),
        ({"high": 1e-7}, "high is 1e-07"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"spares": -1}, "spares is -1"),
    ],
)
def test_impossible_settings_say_what_is_allowed(settings, message):
    with pytest.raises(CrossbarError, match=message):
        Encoding(**({"low": 1e-6, "high": 1e-4, "scale": 1.0} | settings))


def test_an_impossible_span_is_refused(weights):
    with pytest.raises(CrossbarError, match="span is"):
        Encoding.of(weights, DEVICE, span=(0.9, 0.1))


def test_weights_that_are_all_zero_have_an_encoding():
    encoding = Encoding.of(np.zeros((2, 2)), DEVICE)
    np.testing.assert_array_equal(encoding.decode(encoding.mapped(np.zeros((2, 2))).targets), 0.0)
