"""Learning as the chip does it: both backends alike, exact gradients, whole pulses, and what is asked of bad input."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest
from torch.func import grad, vmap

from memenv.arrays import is_zero, tree_map
from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Device, Mismatch
from memenv.devices.law import Response
from memenv.devices.measured import TableDevice
from memenv.devices.mixture import Mixture
from memenv.devices.reads import Read
from memenv.learning.layers import product, transposed
from memenv.learning.pulse_trains import Train, after, costs
from memenv.learning.step import (
    Adaptation,
    adapt_step,
    backward,
    cross_entropy,
    draw_noise,
    fabricate_layer,
    forward,
    matrix,
    nearest,
    program,
    rest,
    squared_error,
    stochastic,
    unrounded,
    whole,
)

SIZES = (4, 6, 3)
TASKS, EXAMPLES = 3, 5
STEEP = Response(gamma=1.5, margin=0.1, dose=0.05, cycle_noise=0.3, additive_noise=0.01)
NOISY = Device(  # every effect of pulses and reads that is differentiable
    g_min=2e-6,
    g_max=6e-5,
    set=STEEP,
    reset=replace(STEEP, gamma=1.0, amplitude=1.2, width=2e-6, dose=0.04, additive_noise=0.0),
    mismatch=Mismatch(rate=0.3, asymmetry=0.1, gamma=0.1, threshold=0.02, x_lo=0.05, x_hi=0.05, stuck_anywhere=0.1),
    read=Read(noise=0.01, noise_exponent=0.5),
    retention=load_device("pcm").retention,
)
CONFIGS = {
    "cells": Adaptation(rates=(0.3,)),
    "mixed precision": Adaptation(rates=(0.3, 0.2), rounding=whole, accumulate=True, reads=4, threshold=0.5),
    "SET only": Adaptation(rates=(0.3,), devices="set", max_pulses=3),
    "RESET only": Adaptation(rates=(0.3,), devices="reset", rounding=whole, accumulate=True),
    "plus": Adaptation(rates=(0.3,), devices="plus"),
    "law": Adaptation(rates=(0.3,), assume="law"),
    "lines": Adaptation(rates=(0.3,), lines=True, max_pulses=4),
    "lines, SET only": Adaptation(rates=(0.3,), lines=True, devices="set", max_pulses=4),
    "lines, plus": Adaptation(rates=(0.3,), lines=True, devices="plus", max_pulses=4),
    "squared error": Adaptation(rates=(0.3, 0), loss=squared_error, rounding=nearest),
}


def network(device, rng, sizes=SIZES, batch=(), scale=0.3, **options):
    """Layers with random weights."""
    layers = [fabricate_layer(device, rng, *pair, batch=batch, **options) for pair in pairwise(sizes)]
    return tuple(program(one, scale * rng.standard_normal((*batch, *one.shape[:2]))) for one in layers)


def examples(rng, batch=(), sizes=SIZES, n=EXAMPLES):
    """Inputs of both signs and one-hot targets."""
    return rng.standard_normal((*batch, n, sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=(*batch, n))]


def noises(rng, layers, config, steps=3, n=EXAMPLES):
    return [draw_noise(layers, n, config, rng.standard_normal, rng.random) for _ in range(steps)]


def as_tensors(tree):
    return tree_map(lambda leaf: torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf, tree)


def learn(layers, x, targets, noise, config):
    """All steps with the same examples; the layers and what each step told."""
    told = []
    for one in noise:
        layers, loss, counters = adapt_step(layers, x, targets, one, config)
        told.append((loss, counters))
    return layers, told


def flatten(tree):
    """The arrays of a record, and how to put others in their place: what a pytree does for torch.func."""
    leaves = []
    tree_map(lambda leaf: leaves.append(leaf) if getattr(leaf, "ndim", 0) else None, tree)

    def rebuild(new):
        queue = iter(new)
        return tree_map(lambda leaf: next(queue) if getattr(leaf, "ndim", 0) else leaf, tree)

    return leaves, rebuild


def straight(rounding):
    """The rounding with the derivative of the identity."""
    return lambda dose, uniform: dose + (rounding(dose, uniform) - dose).detach()


def same(numpy_tree, torch_tree, tolerance=1e-6):
    ours, theirs = flatten(numpy_tree)[0], flatten(torch_tree)[0]
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.fixture
def tables(tmp_path) -> TableDevice:
    """Two measured devices, SET steps drawn from 0 to twice their mean, which falls towards the upper bound."""
    grids, cdf = np.array([np.linspace(1e-5, 3e-5, 11), np.linspace(2e-5, 6e-5, 11)]), np.linspace(0.0, 1.0, 21)
    up = 1e-6 * np.multiply.outer([1.0, 2.0], np.multiply.outer(2 * cdf, np.linspace(1.0, 0.1, 11)))
    down = -1e-6 * np.multiply.outer([1.0, 2.0], np.ones((21, 11)))
    file = {"device": np.array([7, 9]), "conductance": grids, "cdf": cdf, "dg_set": up, "dg_reset": down}
    np.savez(tmp_path / "two.npz", **file)
    return TableDevice.load(tmp_path / "two.npz")


# -- one text under two backends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_pulses_replayed_under_numpy_reach_the_states_of_torch(rng, name):
    config = CONFIGS[name]
    layers = network(NOISY, rng, batch=(TASKS,), devices_per_weight=2)
    x, targets = examples(rng, (TASKS,))
    noise = noises(rng, layers, config)
    learnt, told = learn(layers, x, targets, noise, config)
    other, others_told = learn(*as_tensors((layers, x, targets, tuple(noise))), config)
    same(tuple(layer.state for layer in learnt), tuple(layer.state for layer in other))
    same(tuple(told), tuple(others_told))
    assert any(np.abs(a.state.x - b.state.x).max() > 0.02 for a, b in zip(layers, learnt, strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_vmap_over_tasks_with_a_chip_each_equals_the_loop_and_the_batch(rng, name):
    config = CONFIGS[name]
    layers = network(NOISY, rng, batch=(TASKS,), devices_per_weight=2)
    everything = as_tensors((layers, *examples(rng, (TASKS,)), tuple(noises(rng, layers, config, steps=2))))
    leaves, rebuild = flatten(everything)

    def task(*own):
        learnt, told = learn(*rebuild(own), config)
        return tuple(layer.state.x for layer in learnt), told[-1][0]

    batch, batch_told = learn(*everything, config)
    at_once, losses = vmap(task, randomness="error")(*leaves)
    for number in range(TASKS):
        alone, loss = task(*(leaf[number] for leaf in leaves))
        torch.testing.assert_close(alone, tuple(x[number] for x in at_once))
        torch.testing.assert_close(loss, losses[number])
    torch.testing.assert_close(at_once, tuple(layer.state.x for layer in batch))
    torch.testing.assert_close(losses, batch_told[-1][0])


@pytest.mark.parametrize("rounding", [stochastic, straight(stochastic)], ids=["rounded", "straight-through"])
@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_reaches_the_initial_weights_through_three_steps_of_every_task(rng, name, rounding):
    config = replace(CONFIGS[name], rounding=rounding)
    layers = network(NOISY, rng, batch=(TASKS,), devices_per_weight=2)
    weights = [torch.tensor(0.3 * rng.standard_normal(one.shape[:2])) for one in layers]
    everything = as_tensors((layers, *examples(rng, (TASKS,)), tuple(noises(rng, layers, config))))
    leaves, rebuild = flatten(everything)

    def after_learning(start, *own):
        blank, x, targets, noise = rebuild(own)
        learnt, _ = learn(tuple(map(program, blank, start)), x, targets, noise, config)
        seen = [matrix(layer) for layer in learnt]
        return config.loss(forward(seen, x).outputs, targets)[0]

    slopes = vmap(grad(after_learning), in_dims=(None, *[0] * len(leaves)))(weights, *leaves)
    for slope in slopes:
        assert torch.isfinite(slope).all() and (slope.abs() < 1e3).all()
        assert (slope.abs().amax((-2, -1)) > 1e-4).all()


def test_callers_may_let_the_gradient_pass_a_train_by_another_way(rng):
    def by_one_pulse(chip, state, train, noise):
        """The same states; the derivative with respect to the count is the step of one pulse."""
        start, count = state.x.detach(), train.count.detach()
        step = after(chip, state._replace(x=start), Train(train.up, torch.ones_like(count)), noise).x - start
        given = after(chip, state, Train(train.up, count), noise)
        return given._replace(x=given.x + (train.count - count) * step)

    exact = Adaptation(rates=(0.3,), rounding=straight(stochastic))
    blank = network(load_device("taox-sandia"), rng)
    x, targets = map(torch.from_numpy, examples(rng))
    noise = as_tensors(tuple(noises(rng, blank, exact)))
    start = [torch.tensor(0.3 * rng.standard_normal(one.shape[:2]), requires_grad=True) for one in blank]
    ends, slopes = [], []
    for config in (exact, replace(exact, give=by_one_pulse)):
        learnt, _ = learn(tuple(map(program, as_tensors(blank), start)), x, targets, noise, config)
        value = cross_entropy(forward([matrix(one) for one in learnt], x).outputs, targets)[0]
        ends.append(learnt[0].state.x.detach())
        slopes.append(max(slope.abs().max().item() for slope in torch.autograd.grad(value, start)))
    torch.testing.assert_close(*ends)
    assert slopes[0] > 1e4 and 1e-3 < slopes[1] < 10  # a device that one SET takes far across its range


def test_gradient_agrees_with_differences(rng):
    device = replace(NOISY, mismatch=Mismatch(rate=0.3), read=Read(noise=0.01))
    config = Adaptation(rates=(0.5,), rounding=unrounded, max_pulses=float("inf"))
    layers = network(device, rng, sizes=(2, 3, 2))
    x, targets = map(torch.from_numpy, examples(rng, sizes=(2, 3, 2)))
    layers, noise = as_tensors((layers, tuple(noises(rng, layers, config, steps=2))))

    def after_learning(*start):
        learnt, _ = learn(tuple(map(program, layers, start)), x, targets, noise, config)
        return cross_entropy(forward([matrix(one) for one in learnt], x).outputs, targets)[0]

    start = [torch.tensor(0.2 * rng.standard_normal(one.shape[:2]), requires_grad=True) for one in layers]
    assert torch.autograd.gradcheck(after_learning, start, eps=1e-7, atol=1e-5)


def test_inputs_are_never_written(rng):
    config = CONFIGS["mixed precision"]
    layers = network(NOISY, rng)
    given = (layers, *examples(rng), tuple(noises(rng, layers, config)))
    leaves, _ = flatten(given)
    for leaf in leaves:
        leaf.flags.writeable = False
    learn(*given, config)
    rest(program(given[0][0], np.zeros(layers[0].shape[:2])) and given[0], 10.0)


# -- the ideal limit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [cross_entropy, squared_error])
@pytest.mark.parametrize("changes", [{}, {"devices": "plus"}, {"lines": True, "max_pulses": 50}], ids=str)
def test_an_ideal_device_learns_as_plain_gradient_descent_does(rng, loss, changes):
    config = replace(
        Adaptation(rates=(0.05, 0.1), loss=loss, rounding=unrounded, max_pulses=float("inf"), reads=1), **changes
    )
    layers = network(load_device("ideal"), rng, w_max=4.0, devices_per_weight=2)
    x, targets = examples(rng)
    learnt, told = learn(layers, x, targets, noises(rng, layers, config, steps=4), config)
    weights = [torch.tensor(matrix(layer).weights, requires_grad=True) for layer in layers]
    x, targets = torch.from_numpy(x), torch.from_numpy(targets)
    for step in range(4):
        hidden = torch.relu(x @ weights[0][:-1] + weights[0][-1])
        outputs = hidden @ weights[1][:-1] + weights[1][-1]
        value = (
            torch.nn.functional.cross_entropy(outputs, targets)
            if loss is cross_entropy
            else torch.nn.functional.mse_loss(outputs, targets)
        )
        assert told[step][0] == pytest.approx(value.item(), abs=1e-6)
        slopes = torch.autograd.grad(value, weights)
        for one, slope in zip(told[step][1], slopes, strict=True):
            assert one.gradient == pytest.approx(slope.square().mean().sqrt().item(), rel=1e-6)
        weights = [
            (w - rate * slope).detach().requires_grad_()
            for w, rate, slope in zip(weights, config.rates, slopes, strict=True)
        ]
    for layer, w in zip(learnt, weights, strict=True):
        np.testing.assert_allclose(matrix(layer).weights, w.detach(), atol=1e-6)
    assert max(np.abs(matrix(a).weights - matrix(b).weights).max() for a, b in zip(layers, learnt, strict=True)) > 0.01


@pytest.mark.parametrize("loss", [cross_entropy, squared_error])
def test_loss_gradients_equal_autograd(rng, loss):
    outputs = torch.tensor(30 * rng.standard_normal((TASKS, EXAMPLES, 7)), requires_grad=True)
    targets = torch.tensor(rng.dirichlet(np.ones(7), (TASKS, EXAMPLES)))
    value, error = loss(outputs, targets)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), outputs)[0], error.detach())
    same(loss(outputs.detach().numpy(), targets.numpy()), (value, error), 1e-9)


def test_backward_equals_autograd_through_deep_layers(rng):
    layers = network(replace(NOISY, read=Read()), rng, sizes=(4, 6, 5, 3))
    x, targets = examples(rng)
    seen = [matrix(layer) for layer in layers]
    passed = forward(seen, x)
    _, error = cross_entropy(passed.outputs, targets)
    errors = backward(seen, passed, error)
    weights = [torch.tensor(one.weights, requires_grad=True) for one in seen]
    tensors = [one._replace(weights=w) for one, w in zip(seen, weights, strict=True)]
    value, _ = cross_entropy(forward(tensors, torch.from_numpy(x)).outputs, torch.from_numpy(targets))
    for rows, columns, slope in zip(passed.inputs, errors, torch.autograd.grad(value, weights), strict=True):
        np.testing.assert_allclose(rows.T @ columns, slope, atol=1e-9)


# -- reads -------------------------------------------------------------------------------------------------------------


def test_the_transposed_read_is_the_adjoint_of_the_forward_read(rng):
    (layer,) = network(NOISY, rng, sizes=(7, 5), batch=(TASKS,))
    inputs, errors = rng.standard_normal((TASKS, 4, 8)), rng.standard_normal((TASKS, 4, 5))
    seen = matrix(layer)
    ahead, back = product(seen, inputs, None), transposed(seen, errors, None)
    np.testing.assert_allclose((ahead * errors).sum(-1), (inputs * back).sum(-1), rtol=1e-9)


@pytest.mark.parametrize("way", [product, transposed])
def test_the_noise_of_a_product_has_the_distribution_of_noisy_cells(rng, way):
    (layer,) = rest(network(NOISY, rng, sizes=(5, 4), devices_per_weight=2), 1e5)
    lines = 6 if way is product else 4
    driven = rng.standard_normal((1, lines))
    n = 4000
    cells, _ = layer.chip.sense(layer.state, np.moveaxis(rng.standard_normal((n, 2, *layer.shape)), 1, 0))
    weights = layer.scale * layer.fan_in(cells)
    wanted = (driven @ (weights if way is product else weights.swapaxes(-1, -2)))[:, 0]
    seen = matrix(layer)
    got = way(seen, np.repeat(driven, n, 0), rng.standard_normal((n, wanted.shape[1])))
    for mine, theirs in zip(got.T, wanted.T, strict=True):
        assert kstest(mine, theirs).pvalue > 0.001
    sigma = layer.chip.sense(layer.state, (1.0, 0.0))[0] - layer.chip.conductance(layer.state)
    np.testing.assert_allclose(seen.variance, layer.scale**2 * (sigma**2).sum(-1))
    averaged = matrix(layer, reads=9)
    np.testing.assert_allclose(9 * averaged.variance, seen.variance)


def test_a_telegraph_trap_enters_by_its_mean_and_variance(rng):
    (layer,) = network(
        Device(read=Read(noise=0.01, telegraph=0.1, telegraph_occupancy=0.3, telegraph_time=1e-9)),
        rng,
        sizes=(3, 2),
        pair=False,
    )
    noise = np.moveaxis(rng.standard_normal((40_000, 2, *layer.shape)), 1, 0)
    cells, _ = layer.chip.sense(layer.state, noise)
    weights = layer.scale * (layer.fan_in(cells) - layer.reference)
    seen = matrix(layer)
    np.testing.assert_allclose(weights.mean(0), seen.weights, atol=5 * np.sqrt(seen.variance.max() / 40_000))
    np.testing.assert_allclose(weights.var(0), seen.variance, rtol=0.05)


# -- pulses ------------------------------------------------------------------------------------------------------------


def test_stochastic_rounding_is_unbiased(rng):
    for dose in (-2.3, -0.02, 0.0, 0.4, 7.0):
        pulses = stochastic(np.full(20_000, dose), rng.random(20_000))
        part = dose - np.floor(dose)
        assert set(np.unique(pulses)) <= {np.floor(dose), np.ceil(dose)}
        assert binomtest(int((pulses > np.floor(dose)).sum()), 20_000, part).pvalue > 0.001 or is_zero(part)


def test_whole_pulses_and_what_is_owed_make_up_the_wanted_change(rng):
    config = Adaptation(rates=(0.02,), rounding=whole, accumulate=True, loss=squared_error, max_pulses=2)
    layers = network(load_device("ideal"), rng, sizes=(4, 3), w_max=4.0)
    lossy = replace(config, accumulate=False)
    x, targets = examples(rng)
    given, wanted, pulses = layers, np.zeros(layers[0].shape[:2]), 0.0
    for noise in noises(rng, layers, config, steps=12):
        passed = forward([matrix(given[0])], x)
        wanted -= 0.02 * passed.inputs[0].T @ squared_error(passed.outputs, targets)[1]
        given, _, (counters,) = adapt_step(given, x, targets, noise, config)
        pulses += counters.pulses
    changed = matrix(given[0]).weights - matrix(layers[0]).weights
    residual = given[0].scale * given[0].fan_in(given[0].residual)
    np.testing.assert_allclose(changed + residual, wanted, atol=1e-9)
    assert np.abs(changed).max() > 0.05 and 0 < pulses < 12 * 2 * layers[0].state.x.size
    still, _ = learn(layers, x, targets, noises(rng, layers, config, steps=12), lossy)
    assert np.array_equal(still[0].state.x, layers[0].state.x)  # each change alone is below one pulse


def test_pulses_and_energy_are_those_that_the_cells_got(rng):
    config = Adaptation(rates=(1.0,), max_pulses=3)
    layers = network(load_device("ideal"), rng, sizes=(4, 3), batch=(TASKS,), w_max=4.0)
    x, targets = examples(rng, (TASKS,))
    (learnt,), _, (counters,) = adapt_step(layers, x, targets, noises(rng, layers, config)[0], config)
    moved = np.abs(learnt.state.x - layers[0].state.x) / 0.01  # one pulse moves an ideal cell by 1 % of its range
    np.testing.assert_allclose(counters.pulses, np.round(moved).sum((-3, -2, -1)))
    assert np.round(moved, 9).max() == 3 and np.all(counters.limited > 0)
    chip, (before, behind) = layers[0].chip, (layers[0].chip.conductance(s.state) for s in (layers[0], learnt))
    np.testing.assert_allclose(counters.energy, (0.5 * (before + behind) * np.round(moved) * 1e-6).sum((-3, -2, -1)))
    np.testing.assert_allclose(counters.read_energy, EXAMPLES * chip.read_energy(before).sum((-3, -2, -1)))


def test_layers_of_rate_zero_stay_and_the_error_is_not_read_further_than_needed(rng):
    layers = network(NOISY, rng)
    x, targets = examples(rng)
    for rates, reads in (((0.1, 0.1), (1, 2)), ((0.1, 0), (1, 2)), ((0, 0.1), (1, 1)), ((0, 0), (1, 1))):
        config = Adaptation(rates=rates, reads=3)
        learnt, _, counters = adapt_step(layers, x, targets, noises(rng, layers, config)[0], config)
        for new, old, rate, times, count in zip(learnt, layers, rates, reads, counters, strict=True):
            assert (new is old) == (rate == 0) == (count.pulses == 0)
            once = old.chip.read_energy(old.chip.conductance(old.state)).sum()
            assert count.read_energy == pytest.approx(times * 3 * EXAMPLES * once)


def test_a_train_has_the_noise_of_so_many_single_pulses(rng):
    law = Response(gamma=0.0, dose=0.004, cycle_noise=0.5, additive_noise=0.002)
    chip, n, count = Device(set=law, reset=law), 20_000, 6
    start = chip.fresh(np.full((n, 1, 1), 0.5), np.zeros((2, n, 1, 1)))
    up, one = np.full((n, 1, 1), True), np.ones((n, 1, 1))
    single = start
    for _ in range(count):
        single = after(chip, single, Train(up, one), rng.standard_normal((3, n, 1, 1)))
    train = after(chip, start, Train(up, count * one), rng.standard_normal((3, n, 1, 1)))
    assert train.x.mean() == pytest.approx(single.x.mean(), abs=1e-4)
    assert train.x.std() == pytest.approx(single.x.std(), rel=0.03)


@pytest.mark.parametrize("changes", [{}, {"devices": "reset"}, {"devices": "plus"}], ids=str)
def test_coincidences_of_lines_have_the_mean_of_the_wanted_change(rng, changes):
    config = Adaptation(rates=(0.05,), lines=True, max_pulses=10, loss=squared_error, **changes)
    n = 400
    (layer,) = network(load_device("ideal"), rng, sizes=(4, 3), w_max=4.0)
    many = layer.replace(state=tree_map(lambda leaf: np.repeat(leaf[None], n, 0), layer.state))
    x, targets = examples(rng)
    noise = draw_noise((many,), EXAMPLES, config, rng.standard_normal, rng.random)
    (learnt,), _, (counters,) = adapt_step((many,), x, targets, noise, config)
    passed = forward([matrix(layer)], x)
    wanted = -0.05 * passed.inputs[0].T @ squared_error(passed.outputs, targets)[1]
    changed = matrix(learnt).weights - matrix(layer).weights
    np.testing.assert_array_less(np.abs(changed.mean(0) - wanted), 4.5 * changed.std(0) / np.sqrt(n) + 1e-9)
    assert np.all(counters.limited == 0)


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(
    ("devices", "plus", "minus"),
    [("both", {1, -1}, {1, -1}), ("set", {1}, {1}), ("reset", {-1}, {-1}), ("plus", {1, -1}, set())],
)
def test_which_devices_learn(rng, devices, plus, minus, lines):
    config = Adaptation(rates=(1.0,), devices=devices, lines=lines)
    layers = network(load_device("ideal"), rng, sizes=(4, 3), devices_per_weight=2, w_max=4.0)
    learnt, _ = learn(layers, *examples(rng), noises(rng, layers, config, steps=1), config)
    moved = np.sign(np.round(learnt[0].state.x - layers[0].state.x, 9))
    assert set(moved[..., :2].flat) - {0} == plus and set(moved[..., 2:].flat) - {0} == minus


def test_the_nominal_law_corrects_the_nonlinearity_of_a_nominal_cell(rng):
    law = Response(gamma=1.0, dose=0.02)
    device = Device(set=law, reset=law)
    missed = []
    for assume in ("linear", "law"):
        config = Adaptation(rates=(0.05,), rounding=unrounded, assume=assume, loss=squared_error)
        layers = network(device, rng := np.random.default_rng(5), sizes=(4, 3), w_max=1.0, scale=0.4)
        x, targets = examples(rng)
        (learnt,), _ = learn(layers, x, targets, noises(rng, layers, config, steps=1), config)
        passed = forward([matrix(layers[0])], x)
        wanted = -0.05 * passed.inputs[0].T @ squared_error(passed.outputs, targets)[1]
        missed.append(np.abs(matrix(learnt).weights - matrix(layers[0]).weights - wanted).max() / np.abs(wanted).max())
    assert missed[1] < 0.05 < 0.2 < missed[0]


# -- writing, faults, time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"pair": False}, {"devices_per_weight": 3}], ids=str)
def test_weights_within_range_are_programmed_exactly(rng, options):
    for device in (load_device("ideal"), load_device("fefet"), Mixture(devices=(NOISY, load_device("ideal")))):
        device = device if isinstance(device, Mixture) else replace(device, mismatch=Mismatch())
        weights = rng.uniform(-0.5, 0.5, (5, 3))
        layer = fabricate_layer(device, rng, 4, 3, **options)
        if not isinstance(device, Mixture):
            np.testing.assert_allclose(matrix(program(layer, weights)).weights, weights, atol=1e-9)
        error = np.full(layer.shape, 0.01)
        assert program(layer, weights, error).state.x - program(layer, weights).state.x == pytest.approx(
            0.01, abs=0.011
        )


def test_partners_make_up_for_stuck_devices(rng):
    device = replace(load_device("ideal"), mismatch=Mismatch(stuck_anywhere=0.15))
    weights = rng.uniform(-0.4, 0.4, (31, 20))
    known = fabricate_layer(device, np.random.default_rng(1), 30, 20)
    aided, plain = (np.abs(matrix(program(known, weights, compensate=on)).weights - weights) for on in (True, False))
    stuck = 1 - known.good
    assert fabricate_layer(device, rng, 30, 20, know_stuck=False).good is None and 0.1 < stuck.mean() < 0.2
    np.testing.assert_allclose(aided[stuck.sum(-1) == 0], 0, atol=1e-9)
    one_stuck = stuck.sum(-1) == 1
    assert (aided[one_stuck] < 1e-9).mean() > 0.6 > 0.4 > (plain[one_stuck] < 0.05).mean()


def test_known_stuck_devices_get_no_pulses_and_their_partners_take_their_share(rng):
    device = replace(load_device("ideal"), mismatch=Mismatch(stuck_anywhere=0.3))
    config = Adaptation(rates=(0.1,), rounding=unrounded, max_pulses=float("inf"), loss=squared_error)
    layers = (fabricate_layer(device, rng, 20, 10, w_max=4.0),)
    x, targets = examples(rng, sizes=(20, 10))
    (learnt,), _, (counters,) = adapt_step(layers, x, targets, noises(rng, layers, config)[0], config)
    passed = forward([matrix(layers[0])], x)
    wanted = -0.1 * passed.inputs[0].T @ squared_error(passed.outputs, targets)[1]
    some = layers[0].good.sum(-1) > 0
    changed = matrix(learnt).weights - matrix(layers[0]).weights
    np.testing.assert_allclose(changed[some], wanted[some], atol=1e-9)
    assert not changed[~some].any() and (~some).any() and counters.saturated == 0


def test_saturated_devices_are_reported(rng):
    config = Adaptation(rates=(5.0,), loss=squared_error)
    layers = network(load_device("ideal"), rng, w_max=0.3, scale=0.1)
    x, targets = examples(rng)
    _, told = learn(layers, x, 10 * targets, noises(rng, layers, config, steps=12), config)
    shares = [counters[1].saturated for _, counters in told]
    assert shares[0] == 0 and shares[-1] > 0.3


def test_rest_lets_the_weights_drift_and_nothing_else(rng):
    layers = network(load_device("pcm"), rng)
    tomorrow = rest(layers, 86400.0)
    for layer, old in zip(tomorrow, layers, strict=True):
        assert np.abs(matrix(layer).weights).mean() < 0.8 * np.abs(matrix(old).weights).mean()
        np.testing.assert_array_equal(layer.state.x, old.state.x)


def test_relaxation_departs_from_the_programmed_weights(rng):
    (layer,) = network(load_device("pcm"), rng, sizes=(10, 10))
    weights = np.zeros(layer.shape[:2])
    written = program(layer, weights, relaxation=rng.standard_normal(layer.shape))
    assert np.std(matrix(rest((written,), 20.0)[0]).weights) > 3 * np.std(
        matrix(rest((program(layer, weights),), 20.0)[0]).weights
    )


# -- measured devices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_measured_devices_learn_by_whole_pulses(tables, name):
    rng, config = np.random.default_rng(3), CONFIGS[name]
    layers = network(tables, rng, devices_per_weight=2)
    x, targets = examples(rng)
    learnt, told = learn(layers, x, targets, noises(rng, layers, config, steps=15), config)
    assert np.mean([loss for loss, _ in told[-3:]]) < 0.9 * told[0][0]
    pulses = np.array([[one.pulses for one in counters] for _, counters in told])
    np.testing.assert_array_equal(pulses, np.round(pulses))
    assert pulses[:, 0].sum() > 0 and learnt[0].chip.which.shape == learnt[0].shape


def test_a_train_on_a_measured_device_is_so_many_pulses(tables, rng):
    chip = tables.fabricate(rng, 3000).replace(which=np.zeros((1000, 1, 3), int), x_lo=0.0, x_hi=2 / 3)
    start = chip.fresh(np.full((1000, 1, 3), 0.2), np.zeros((2, 1000, 1, 3)))
    train = Train(np.full((1000, 1, 3), False), np.broadcast_to([0.0, 1.0, 4.0], (1000, 1, 3)))
    end = after(chip, start, train, rng.standard_normal((3, 1000, 1, 3)))
    step = 1e-6 / (tables.g_max - tables.g_min)
    np.testing.assert_allclose((start.x - end.x)[:, 0], step * train.count[:, 0], atol=1e-9)
    assert costs(chip, start, end, train).pulses.sum() == 5000


def test_measured_devices_refuse_parts_of_pulses(tables, rng):
    config = Adaptation(rounding=unrounded)
    layers = network(tables, rng)
    with pytest.raises(ValueError, match="whole pulses only"):
        learn(layers, *examples(rng), noises(rng, layers, config, steps=1), config)


@pytest.mark.parametrize("pair", [True, False])
def test_every_preset_and_a_mixture_of_them_learn(pair):
    config = Adaptation(rates=(0.2,), reads=4)
    for device in (*map(load_device, presets()), load_device(["threshold", "pcm", "alox-hfo2"])):
        rng = np.random.default_rng(3)
        layers = network(device, rng, devices_per_weight=2, pair=pair)
        x, targets = examples(rng)
        layers, told = learn(layers, x, targets, noises(rng, layers, config, steps=15), config)
        assert np.mean([loss for loss, _ in told[-3:]]) < 0.9 * told[0][0], device.name


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": "minus"}, "devices is 'minus'"),
        ({"assume": "nothing"}, "assume is 'nothing'"),
        ({"max_pulses": 0}, "max_pulses is 0"),
        ({"max_pulses": 2.5}, "max_pulses is 2.5"),
        ({"max_pulses": float("nan")}, "max_pulses is nan"),
        ({"reads": 0}, "reads is 0"),
        ({"rates": (0.1, -1.0)}, "rates is"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"lines": True, "accumulate": True}, "lines are updates of whole rows"),
        ({"lines": True, "max_pulses": float("inf")}, "finite max_pulses"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Adaptation(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 0}, "inputs is 0"),
        ({"outputs": 2.5}, "outputs is 2.5"),
        ({"devices_per_weight": 0}, "devices_per_weight is 0"),
        ({"w_max": -1.0}, "w_max is -1.0"),
        ({"w_max": float("inf")}, "w_max is inf"),
    ],
)
def test_impossible_layers_are_refused(rng, changes, message):
    with pytest.raises(ValueError, match=message):
        fabricate_layer(NOISY, rng, **{"inputs": 4, "outputs": 3, **changes})


def test_layers_of_kinds_learn_as_layers_of_their_devices_whose_pulses_are_misjudged(rng):
    fine = Device(g_min=1e-6, g_max=1e-4, set=Response(gamma=0.0, dose=0.01), reset=Response(gamma=0.0, dose=0.01))
    coarse = fine.replace(
        g_min=2e-5, g_max=3e-5, set=replace(fine.set, dose=0.04), reset=replace(fine.reset, dose=0.04)
    )
    kinds = np.array([0, 1, 1])
    of_both = fabricate_layer(Mixture(devices=(fine, coarse)), rng, 4, 3, batch=(3,), kinds=kinds)
    x, targets = rng.standard_normal((3, 5, 4)), np.eye(3)[rng.integers(3, size=(3, 5))]
    config = Adaptation(rates=(0.5,), rounding=unrounded, max_pulses=np.inf)
    (learnt,) = adapt_step((of_both,), x, targets, draw_noise((of_both,), 5, config, np.zeros, np.zeros), config).layers
    for task, device in enumerate((fine, coarse, coarse)):
        alone = fabricate_layer(device, rng, 4, 3, batch=(1,))
        noise = draw_noise((alone,), 5, config, np.zeros, np.zeros)
        (right,) = adapt_step((alone,), x[task : task + 1], targets[task : task + 1], noise, config).layers
        factor = device.set.dose / 0.02  # the mean is 0.02
        np.testing.assert_allclose(
            matrix(learnt).weights[task], factor * matrix(right).weights[0], rtol=1e-6, atol=1e-12
        )


def test_kinds_need_a_mixture_and_pairs(rng):
    mixture = Mixture(devices=(Device(), Device(g_max=2e-4)))
    for device, pair in ((Device(), True), (mixture, False)):
        with pytest.raises(ValueError, match="which device of a mixture a chip of pairs is of"):
            fabricate_layer(device, rng, 4, 3, batch=(2,), kinds=np.array([0, 1]), pair=pair)


def test_what_does_not_fit_is_refused(rng):
    layers = network(NOISY, rng)
    x, targets = examples(rng)
    step = partial(adapt_step, layers, noise=noises(rng, layers, Adaptation(), 1)[0])
    with pytest.raises(ValueError, match="layer 0 takes 4 inputs"):
        step(x[:, :3], targets, config=Adaptation())
    with pytest.raises(ValueError, match="targets have the shape"):
        step(x, targets[:, :2], config=Adaptation())
    with pytest.raises(ValueError, match="3 rates for 2 layers"):
        step(x, targets, config=Adaptation(rates=(0.1, 0.1, 0.1)))
    with pytest.raises(ValueError, match="last row holds the biases"):
        program(layers[0], np.zeros((4, 6)))
    with pytest.raises(ValueError, match="finite"):
        program(layers[0], np.full((5, 6), np.nan))
    single = network(NOISY, rng, pair=False)
    with pytest.raises(ValueError, match="needs pairs"):
        adapt_step(single, x, targets, noises(rng, single, Adaptation(), 1)[0], Adaptation(devices="set"))
