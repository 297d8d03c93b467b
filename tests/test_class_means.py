"""Heads of class means, written weights that count their pulses, and devices a weight by layer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from memenv.arrays import tree_map
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device, Mismatch, Response
from memenv.devices.reads import Read
from memenv.few_shot.chips import Draws, Hardware, fresh_chip, write
from memenv.few_shot.compiled_chips import Chips
from memenv.few_shot.episodes import draw
from memenv.few_shot.heads import class_means
from memenv.few_shot.initialisations import Initialisation, untrained
from memenv.few_shot.placement import placed
from memenv.few_shot.strokes import glyphs
from memenv.learning.backprop import cross_entropy
from memenv.learning.step import matrix
from metalearn.evaluation import BATCH, evaluate
from metalearn.few_shot import with_head
from metalearn.learners import adapt, begin, learner_of

ZERO = Initialisation(rates=np.array([[0.3], [0.2]]), ranges=np.array([0.3]))
STEP = Response(dose=0.05, gamma=1.0)
QUIET = Device(set=STEP, reset=STEP)


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    """Classes as noisy copies of random vectors: (classes, instances, features)."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((30, 1, 196)) + 2.5 * rng.standard_normal((30, 20, 196))
    return (drawn / np.sqrt((drawn**2).mean(-1, keepdims=True))).astype(np.float32)


def aligned(name):
    """A preset whose cells have their windows in one place: where they lie apart, some weights are out of reach."""
    device = load_device(name)
    return device.replace(mismatch=replace(device.mismatch, x_shift=0.0))


def hardware(device="alox-hfo2", **changes):
    return Hardware(device=load_device(device) if isinstance(device, str) else device, **changes)


# -- class means -------------------------------------------------------------------------------------------------------


def test_class_means_name_the_class_whose_mean_has_the_smallest_angle(inputs):
    drawn = draw(inputs, np.random.default_rng([0, 0, 0]), BATCH, shots=3, queries=4)
    means = drawn.support_x.reshape(BATCH, 3, 5, -1).mean(1)
    cosine = np.einsum("tqf,tcf->tqc", drawn.query_x, means / np.linalg.norm(means, axis=-1, keepdims=True))
    right = (cosine.argmax(-1) == drawn.query_y).mean(-1)
    for mode in ("digital", "written"):
        got = evaluate(with_head(ZERO, mode), None, inputs, episodes=BATCH, shots=3, queries=4).later[0]
        np.testing.assert_allclose(got, right)
    assert 0.5 < right.mean() < 0.999


def test_class_means_have_the_size_that_is_asked_for_and_no_common_part(rng):
    features = np.concatenate((rng.standard_normal((2, 6, 40)) + 1.0, np.ones((2, 6, 1))), -1)
    head = class_means(features, np.tile(np.eye(3), (2, 1))[None] + np.zeros((2, 1, 1)), 0.2)
    assert head.shape == (2, 41, 3) and not head[:, -1].any()
    np.testing.assert_allclose(head.sum(-1), 0.0, atol=1e-12)
    assert 0.05 < head[:, :-1].std() < 0.2


def test_a_class_without_an_example_has_no_mean():
    images = glyphs(0, 3, 2).images[:, 0]
    with pytest.raises(ValueError, match="class 1 has no example: class means take one at least of each class"):
        adapt(with_head(ZERO, "written"), images[[0, 2]], np.array([0, 2]))
    adapt(ZERO, images[[0, 2]], np.array([0, 2]))


def test_written_class_means_learn_on_and_their_pulses_count(inputs):
    chip = hardware(tolerance=0.02)
    digital, written, learning, zeros = (
        evaluate(with_head(replace(ZERO, ranges=np.array([0.02])), mode), chip, inputs, episodes=40)
        for mode in ("digital", "written", "learning", "zeros")
    )
    assert not digital.pulses.any() and digital.by_step.shape == written.by_step.shape == (1, 40)
    assert learning.by_step.shape == (3, 40) and (learning.pulses > written.pulses).all() and (written.pulses > 0).all()
    np.testing.assert_array_equal(learning.by_step[0], written.by_step[0])
    assert learning.by_step[0].mean() > zeros.by_step[0].mean() + 0.2
    assert abs(written.by_step[0].mean() - digital.by_step[0].mean()) < 0.05


def test_an_initialisation_with_class_means_is_kept_and_one_of_before_still_loads(tmp_path):
    proto = replace(ZERO, head="written", gain=0.25)
    for init in (proto, ZERO):
        init.save(tmp_path / "one.npz")
        again = Initialisation.load(tmp_path / "one.npz")
        assert (again.head, again.gain) == (init.head, init.gain)
        with np.load(tmp_path / "one.npz") as file:
            assert file["counts"][0] == (2 if init is proto else 1) and ("gain" in file) == (init is proto)


@pytest.mark.parametrize("shots", [1, 3])
def test_what_written_columns_are_off_in_the_mean_of_the_support_is_subtracted(inputs, shots):
    chip = hardware(QUIET.replace(mismatch=Mismatch(stuck_anywhere=0.3)))
    drawn = draw(inputs, np.random.default_rng(0), 2, shots=shots)
    x, targets = drawn.support_x.astype(float), np.eye(5)[drawn.support_y]
    init = with_head(ZERO, "learning")
    learner = learner_of(chip, init, 2, np.random.default_rng(1), np.random.default_rng(2))
    begun = begin(learner, init, x, targets)
    features = np.concatenate((x, np.ones_like(x[..., :1])), -1)
    ideal = features @ class_means(features, targets, init.means_gain)
    off, corrected = learner.outputs(begun.layers, x), begun.outputs(learner, begun.layers, x)
    assert np.abs((off - ideal).mean(1)).min() > 1e-4
    np.testing.assert_allclose(corrected.mean(1), ideal.mean(1), atol=1e-12)
    first = next(begun.steps(learner, x, targets))
    np.testing.assert_allclose(first.loss, cross_entropy(corrected, targets)[0])


# -- written by pulses -------------------------------------------------------------------------------------------------


def written(device, tolerance, seed=0, k=1, **changes):
    """Wanted and read weights in units of their range, and the costs, of 3 chips of 20 x 8 weights."""
    rng = np.random.default_rng(seed)
    chip = hardware(device, tolerance=tolerance, devices_per_weight=k, **changes)
    wanted = rng.uniform(-0.6, 0.6, (21, 8))
    (layer,), spent = write(
        chip, fresh_chip(chip, rng, (20, 8), 3), [wanted], [1.0], Draws(rng.standard_normal, rng.random)
    )
    return wanted, matrix(layer).weights, spent


@pytest.mark.parametrize("device", [QUIET, "alox-hfo2", "pcm", aligned("enode-sandia"), "threshold"])
def test_weights_are_written_to_within_the_tolerance(device):
    wanted, got, spent = written(device, 0.03)
    assert np.quantile(np.abs(got - wanted), 0.9) < 0.06
    assert (spent.pulses > 0).all() and (spent.energy > 0).all() and (spent.read_energy > 0).all()
    assert (spent.pulses == np.round(spent.pulses)).all() and (spent.reads >= 2 * wanted.size).all()


def test_a_tighter_tolerance_takes_more_pulses_and_leaves_smaller_errors():
    device = QUIET.replace(mismatch=Mismatch(rate=0.5), read=Read(noise=0.002))
    (wanted, coarse, few), (_, fine, many) = written(device, 0.1), written(device, 0.01)
    assert (few.pulses < many.pulses).all()
    assert np.abs(fine - wanted).mean() < 0.5 * np.abs(coarse - wanted).mean()


def test_noise_that_every_pulse_draws_anew_is_made_use_of():
    noisy = load_device("hfo2-array-baseline")
    for k in (1, 2):
        one, other = (written(device, 0.02, k=k) for device in (noisy, noisy.replace(retention=None)))
        errors = [np.square(got - wanted).mean() for wanted, got, _ in (one, other)]
        assert errors[0] < 0.8 * errors[1]
        assert one[2].pulses.mean() < 1.3 * other[2].pulses.mean()


def test_a_device_that_does_not_answer_is_left_alone_and_its_partner_does_its_part():
    stuck = QUIET.replace(mismatch=Mismatch(stuck_anywhere=0.2))
    for known in (True, False):
        wanted, got, spent = written(stuck, 0.02, know_stuck=known, k=2)
        assert (np.abs(got - wanted) < 0.03).mean() > 0.9
        assert (spent.pulses / wanted.size < 24).all()


def test_a_weight_passes_its_derivative_on_through_pulses_where_it_arrives(rng):
    chip = hardware(QUIET, tolerance=0.01)
    fresh = fresh_chip(chip, np.random.default_rng(0), (20, 8), 1)
    fresh = tree_map(lambda leaf: torch.tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, fresh)
    wanted = torch.tensor(rng.uniform(-1.5, 1.5, (1, 21, 8)), requires_grad=True)
    draws = Draws(lambda shape: torch.zeros(shape, dtype=torch.float64), None)
    (layer,), _ = write(chip, fresh, [wanted], [1.0], draws)
    (slope,) = torch.autograd.grad(matrix(layer).weights.sum(), wanted)
    torch.testing.assert_close(slope, (wanted.abs() < 1.0).double())


@pytest.mark.parametrize("place_units", [False, True])
def test_compiled_chips_are_written_as_those_of_numpy(place_units):
    pytest.importorskip("numba")
    rng, known = np.random.default_rng(0), load_device("hfo2-array-baseline").replace(uncertainty=None)
    chip = hardware(known, tolerance=0.02, place_units=place_units)
    wanted = rng.uniform(-0.6, 0.6, (20, 41, 16))
    draws = Draws(rng.standard_normal, rng.random)
    (ours,), mine = write(chip, fresh_chip(chip, rng, (40, 16), 20), [wanted], [1.0], draws)
    (theirs,), other = Chips(chip, 3).written([wanted.astype(np.float32)], [1.0])
    errors = [np.abs(got - wanted) for got in (matrix(ours).weights, theirs.seen(1).weights)]
    assert np.mean(errors[0]) == pytest.approx(np.mean(errors[1]), rel=0.08)
    assert np.median(errors[0]) == pytest.approx(np.median(errors[1]), rel=0.08)
    for cost, one in zip(mine, other, strict=True):
        assert np.mean(cost) == pytest.approx(np.mean(one), rel=0.05)


def test_putting_the_initialisation_on_the_chip_counts_for_every_head(inputs):
    for mode in ("zeros", "written"):
        counted, ideal = (
            evaluate(with_head(ZERO, mode), hardware(tolerance=t), inputs, episodes=10) for t in (0.02, 0.0)
        )
        assert (counted.initial_reads > 0).all() and not ideal.initial_reads.any() and not ideal.initial_pulses.any()


# -- units on columns --------------------------------------------------------------------------------------------------


def test_units_on_columns_that_suit_them_are_written_with_smaller_errors():
    stuck = QUIET.replace(mismatch=Mismatch(stuck_anywhere=0.2, x_hi=0.2), read=Read(noise=0.01))
    for device in (stuck, "hfo2-array-om"):
        (wanted, got, spent), (_, placed, with_test) = (written(device, 0.02, place_units=p) for p in (False, True))
        assert np.square(placed - wanted).mean() < 0.7 * np.square(got - wanted).mean()
        assert (with_test.pulses > spent.pulses).all() and (with_test.energy > spent.energy).all()


def test_columns_stay_whole_in_another_order_and_their_test_is_paid_only_where_there_is_a_choice(rng):
    device = QUIET.replace(mismatch=Mismatch(rate=0.5, stuck_anywhere=0.3))
    (layer,) = fresh_chip(hardware(device), rng, (9, 6), 3)
    found, spent = placed(layer, rng.uniform(-0.6, 0.6, (10, 6)), rng.standard_normal)
    for task in range(3):
        for parts in ("x_lo", "x_hi"):
            columns = [np.moveaxis(getattr(one.chip, parts)[task], 1, 0).tolist() for one in (layer, found)]
            assert columns[0] != columns[1] and sorted(columns[0]) == sorted(columns[1])
        sums = [(one.state.x[task] + 10 * one.good[task]).sum((0, 2)) for one in (layer, found)]
        np.testing.assert_allclose(*map(np.sort, sums))
    assert spent.pulses.tolist() == spent.reads.tolist() == [2 * 10 * 6 * 2] * 3
    (noisy,) = fresh_chip(hardware("hfo2-array-om"), rng, (9, 6), 3)
    assert placed(noisy, rng.uniform(-0.6, 0.6, (10, 6)), rng.standard_normal)[1].reads.tolist() == [4 * 10 * 6 * 2] * 3
    (alike,) = fresh_chip(hardware(QUIET), rng, (9, 6), 3)
    for one, weights in ((alike, rng.uniform(-0.6, 0.6, (10, 6))), (layer, np.zeros((10, 6)))):
        same, nothing = placed(one, weights, rng.standard_normal)
        assert same is one and not any(nothing)


# -- devices a weight --------------------------------------------------------------------------------------------------


def test_layers_have_the_devices_that_were_given_for_each():
    layers = fresh_chip(hardware(devices_per_weight=(1, 3)), np.random.default_rng(0), (4, 5, 2), 1)
    assert [layer.shape for layer in layers] == [(5, 5, 2), (6, 2, 6)]


@pytest.mark.parametrize(("given", "message"), [((1, 2), "one number, or one for each of the 3 layers"), (0, "is 0")])
def test_devices_that_the_chip_cannot_seat_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        fresh_chip(hardware(devices_per_weight=given), np.random.default_rng(0), (4, 5, 3, 2), 1)


def test_devices_that_are_given_for_a_head_are_not_missed_where_it_stays_in_digital():
    two, images = untrained("mlp", (8,), 1), glyphs(0, 4, 2).images[:, 0]
    labels, given = np.arange(4), hardware(devices_per_weight=(1, 2))
    digital, alone = (
        adapt(with_head(two, "digital"), images, labels, chip)(images)
        for chip in (given, hardware(devices_per_weight=1))
    )
    np.testing.assert_array_equal(digital, alone)
    adapt(with_head(two, "written"), images, labels, given)
    with pytest.raises(ValueError, match="one for each of the 1 layers"):
        adapt(with_head(two, "digital"), images, labels, hardware(devices_per_weight=(1, 2, 3)))


def test_more_devices_in_a_head_make_up_for_stuck_ones(inputs):
    one, four = (
        evaluate(with_head(ZERO, "written"), hardware("hfo2-array-om", devices_per_weight=k), inputs, episodes=60)
        for k in (1, 4)
    )
    assert four.later[0].mean() > one.later[0].mean() + 0.02
