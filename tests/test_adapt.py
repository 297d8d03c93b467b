"""The inner loop: equal to a loop written by hand, alike in both backends, and differentiable to where it starts."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.func import vmap

import metalearn
from memenv.arrays import tree_map
from memenv.devices.catalogue import load_device
from memenv.few_shot.chips import Draws, Hardware, chip_outputs, fresh_chip, total, write
from memenv.few_shot.episodes import Episodes
from memenv.few_shot.initialisations import load_initialisation
from memenv.learning.pulse_trains import Train, after
from memenv.learning.step import stochastic
from metalearn.adaptation import by_marginal_pulse, ideal, ideal_outputs, on_chip, straight_through
from metalearn.models import Network, Pixels
from metalearn.outer import METHODS, InnerLoop, outer_loss

TASKS, WAYS, SIZES = 3, 4, (6, 7, 5, 4)
RATES = [[0.3, 0.2, 0.5], [0.2, 0.1, 0.4]]
RANGES = [1.5, 1.5, 0.5]


def last(steps):
    """The yield of the last step."""
    *_, end = steps
    return end


def weights_of(rng):
    return [0.5 * rng.standard_normal((rows + 1, outputs)) for rows, outputs in pairwise(SIZES)]


def examples(rng):
    """Two examples of each class of every task, one-hot."""
    return rng.standard_normal((TASKS, 8, SIZES[0])), np.eye(WAYS)[np.tile(np.arange(WAYS), (TASKS, 2))]


def expanded(weights):
    return [w.expand(TASKS, *w.shape) if isinstance(w, torch.Tensor) else np.stack([w] * TASKS) for w in weights]


class Recorded:
    """Draws that two backends see alike, in the order in which they are asked for."""

    def __init__(self, seed, convert):
        rng = np.random.default_rng(seed)
        self.draws = Draws(
            *(lambda shape, draw=draw: convert(draw(shape)) for draw in (rng.standard_normal, rng.random))
        )


def tensors(tree):
    return tree_map(lambda leaf: torch.tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, tree)


def by_hand(weights, x, targets, create_graph):
    """Two steps of one task with autograd."""
    for rates in RATES:
        signal = x
        for number, w in enumerate(weights):
            signal = signal if number == 0 else torch.relu(signal)
            signal = signal @ w[:-1] + w[-1]
        loss = torch.nn.functional.cross_entropy(signal, targets)
        slopes = torch.autograd.grad(loss, weights, create_graph=create_graph)
        weights = [w - rate * slope for w, rate, slope in zip(weights, rates, slopes, strict=True)]
    return weights


@pytest.mark.parametrize("first_order", [False, True])
def test_the_ideal_loop_and_its_derivative_equal_a_hand_unrolled_one(rng, first_order):
    start = [torch.tensor(w, requires_grad=True) for w in weights_of(rng)]
    x, targets = map(torch.from_numpy, examples(rng))
    end = last(ideal(expanded(start), x, targets, RATES, first_order)).layers
    hand = [by_hand(start, x[task], targets[task], not first_order) for task in range(TASKS)]
    hand = [torch.stack(parts) for parts in zip(*hand, strict=True)]
    for mine, theirs in zip(end, hand, strict=True):
        torch.testing.assert_close(mine, theirs)
    mine, theirs = (torch.autograd.grad(sum(w.square().sum() for w in weights), start) for weights in (end, hand))
    torch.testing.assert_close(mine, theirs)


def test_numpy_learns_ideally_as_torch_does(rng):
    weights, (x, targets) = weights_of(rng), examples(rng)
    ours = last(ideal(expanded(weights), x, targets, RATES))
    theirs = last(ideal(expanded(list(map(torch.tensor, weights))), *map(torch.tensor, (x, targets)), RATES))
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)
    np.testing.assert_allclose(ideal_outputs(ours.layers, x), ideal_outputs(theirs.layers, torch.tensor(x)), atol=1e-12)


def test_a_plain_zero_keeps_a_layer(rng):
    weights, (x, targets) = expanded(weights_of(rng)), examples(rng)
    end = last(ideal(weights, x, targets, [[0.0, 0.0, 0.5]])).layers
    assert end[0] is weights[0] and end[1] is weights[1] and np.abs(end[2] - weights[2]).max() > 0.01


# -- on a chip ---------------------------------------------------------------------------------------------------------

HARDWARE = {
    "alox-hfo2": {},
    "hfo2-array-om": {"devices_per_weight": 2},
    "pcm": {"pulsed": "set"},
    "taox-sandia": {"accumulate": True},
    "threshold": {"assume": "law"},
    "fefet": {"lines": True, "max_pulses": 4},
    "enode-sandia": {"tolerance": 0.02},
}


@pytest.mark.parametrize("name", HARDWARE)
def test_pulses_replayed_by_numpy_reach_the_states_of_the_differentiable_loop(rng, name):
    hardware = Hardware(device=load_device(name), **HARDWARE[name])
    weights, (x, targets) = weights_of(rng), examples(rng)
    chip = fresh_chip(hardware, rng, SIZES, TASKS)
    draws = Recorded(1, lambda value: value).draws
    ours = last(on_chip(hardware, write(hardware, chip, weights, RANGES, draws)[0], x, targets, RATES, draws))
    told = chip_outputs(hardware, ours.layers, x, draws)
    draws = Recorded(1, torch.tensor).draws
    start = [torch.tensor(w, requires_grad=True) for w in weights]
    layers, _ = write(hardware, tensors(chip), start, RANGES, draws)
    theirs = last(on_chip(hardware, layers, *map(torch.tensor, (x, targets)), RATES, draws))
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        np.testing.assert_allclose(mine.state.x, other.state.x.detach(), atol=1e-6)
    np.testing.assert_allclose(told, chip_outputs(hardware, theirs.layers, torch.tensor(x), draws).detach(), atol=1e-6)
    assert (total(ours.counters, "pulses") > 0).all()
    slopes = torch.autograd.grad(chip_outputs(hardware, theirs.layers, torch.tensor(x), draws).square().sum(), start)
    for slope in slopes:
        assert torch.isfinite(slope).all() and slope.abs().max() > 1e-4


def test_vmap_over_chips_equals_the_batch(rng):
    hardware = Hardware(device=load_device("alox-hfo2"), reads=1)
    weights, (x, targets) = weights_of(rng), examples(rng)
    layers = tensors(
        write(hardware, fresh_chip(hardware, rng, SIZES, TASKS), weights, RANGES, Recorded(1, lambda v: v).draws)[0]
    )
    x, targets = torch.tensor(x), torch.tensor(targets)
    fixed = Draws(
        lambda shape: torch.full(shape, 0.3, dtype=torch.float64),
        lambda shape: torch.full(shape, 0.6, dtype=torch.float64),
    )
    batch = last(on_chip(hardware, layers, x, targets, RATES, fixed)).layers
    leaves: list[torch.Tensor] = []
    tree_map(lambda leaf: leaves.append(leaf) if getattr(leaf, "ndim", 0) else None, layers)

    def task(x, targets, *own):
        queue = iter(own)
        mine = tree_map(lambda leaf: next(queue) if getattr(leaf, "ndim", 0) else leaf, layers)
        return [one.state.x for one in last(on_chip(hardware, mine, x, targets, RATES, fixed)).layers]

    for mine, other in zip(vmap(task)(x, targets, *leaves), batch, strict=True):
        torch.testing.assert_close(mine, other.state.x)


def test_written_weights_are_read_back_within_the_error_of_the_write(rng):
    hardware = Hardware(device=load_device("ideal"), write_error=0.01)
    weights = weights_of(rng)
    layers, _ = write(
        hardware, fresh_chip(hardware, rng, SIZES, TASKS), weights, [4.0] * 3, Draws(rng.standard_normal, rng.random)
    )
    x = examples(rng)[0]
    away = chip_outputs(hardware, layers[:1], x, Draws(rng.standard_normal, rng.random)) - ideal_outputs(weights[:1], x)
    expected = 4.0 * 0.01 * np.sqrt(2) * np.sqrt((x**2).sum(-1) + 1).mean()
    assert 0.5 * expected < away.std() < 2 * expected


def test_rounding_counts_as_the_identity(rng):
    dose = torch.tensor([0.2, 1.7, -2.3], requires_grad=True)
    pulses = straight_through(dose, torch.tensor([0.5, 0.5, 0.5]))
    assert pulses.tolist() == [0.0, 2.0, -2.0]
    assert torch.autograd.grad(pulses.sum(), dose)[0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["taox-sandia", "hfo2-array-om"])
def test_the_derivative_of_a_train_is_the_finite_difference_of_the_expected_change(name, rng):
    device, draws = load_device(name), 4000
    cells = 6 * draws
    chip = device.fabricate(rng, cells)
    x = np.clip(0.2, chip.x_lo, chip.x_hi) + np.zeros(cells)
    chip, state = tensors(chip), tensors(device.fresh(x, rng.standard_normal((2, cells))))
    noise = tuple(torch.tensor(rng.standard_normal((3, cells))))
    count = torch.tensor(np.repeat([0.0, 1.0, 2.0, 3.0, 5.0, 9.0], draws), requires_grad=True)
    up = torch.ones(cells, dtype=torch.bool)

    def expected(dose: float) -> float:
        pulses = stochastic(torch.full((cells,), dose), torch.tensor(rng.random(cells)))
        drawn = tuple(torch.tensor(rng.standard_normal((3, cells))))
        return after(chip, state, Train(up, pulses), drawn).x.mean().item()

    end = by_marginal_pulse(chip, state, Train(up, count), noise).x
    torch.testing.assert_close(end.detach(), after(chip, state, Train(up, count.detach()), noise).x)
    slopes = torch.autograd.grad(end.sum(), count)[0].reshape(6, draws).mean(-1).tolist()
    size = expected(9.0) - expected(0.0)
    for n, slope in zip([0.0, 1.0, 2.0, 3.0, 5.0, 9.0], slopes, strict=True):
        low = max(n - 1.0, 0.0)
        assert abs(slope - (expected(n + 1.0) - expected(low)) / (n + 1.0 - low)) < 0.02 * size
    if name == "taox-sandia":  # which a pulse or two take across the range
        assert slopes[0] > 0.4 * size and slopes[3] < 0.1 * size


def test_over_rounding_the_derivative_sums_to_the_whole_change(rng):
    device, cells = load_device("taox-sandia"), 60_000
    chip = tensors(device.fabricate(rng, cells))
    state = tensors(device.fresh(0.2 + np.zeros(cells), rng.standard_normal((2, cells))))
    noise = tuple(torch.tensor(rng.standard_normal((3, cells))))
    dose = torch.tensor(rng.uniform(0.0, 6.0, cells), requires_grad=True)
    count = straight_through(dose, torch.tensor(rng.random(cells)))
    end = by_marginal_pulse(chip, state, Train(dose > 0, count), noise).x
    slope = torch.autograd.grad(end.sum(), dose)[0].mean().item()
    full = after(chip, state, Train(dose > 0, torch.full((cells,), 6.0)), noise).x
    assert slope == pytest.approx((full - state.x).mean().item() / 6.0, rel=0.02)


# -- the outer loss ----------------------------------------------------------------------------------------------------


def task_of(seed=0, ways=3):
    torch.manual_seed(seed)
    labels, answers = (np.tile(np.arange(ways), (TASKS, count)) for count in (2, 4))
    return (
        torch.randn(TASKS, 2 * ways, 196),
        torch.randn(TASKS, 4 * ways, 196),
        Episodes(labels, labels, answers, answers),
    )


@pytest.mark.parametrize("device", ["", "alox-hfo2"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_what_it_learns_and_nothing_else(method, device):
    support, query, episodes = task_of()
    network = Network(Pixels(), (8, 7), 3, means=method == "proto")
    loop = InnerLoop(method=method, hardware=Hardware(device=load_device(device)) if device else None)
    loss, accuracy = outer_loss(network, support, query, episodes._replace(), loop, seed=1)
    loss.backward()
    assert torch.isfinite(loss) and 0 <= accuracy <= 1
    assert all(w.grad is not None and w.grad.abs().max() > 1e-6 for w in network.hidden)
    if method == "reptile":
        assert network.log_rates.grad is None
        return
    learnt = network.log_rates.grad.abs() > 1e-9
    assert learnt[:, -1].all() and learnt[1:, 0].all() == (method != "anil")
    assert (network.log_ranges.grad is not None) == bool(device)


def test_reptile_pulls_the_start_to_where_learning_went():
    support, query, episodes = task_of()
    network = Network(Pixels(), (8,), 3)
    loss, _ = outer_loss(network, support, query, episodes, InnerLoop(method="reptile"), seed=0)
    loss.backward()
    shown = torch.cat((support, query), 1)
    labels = torch.tensor(np.concatenate((episodes.support_y, episodes.query_y), 1))
    start = [network.hidden[0].detach().expand(TASKS, 197, 8), torch.zeros(TASKS, 9, 3)]
    rates = network.log_rates.exp().tolist()
    end = last(ideal(start, shown, torch.nn.functional.one_hot(labels, 3).float(), rates)).layers[0]
    torch.testing.assert_close(network.hidden[0].grad, (start[0] - end).mean(0))


def test_first_order_derivatives_differ_from_those_through_all(rng):
    slopes = []
    for method in ("maml", "fomaml"):
        support, query, episodes = task_of()
        torch.manual_seed(0)
        network = Network(Pixels(), (8,), 3)
        loss, _ = outer_loss(network, support, query, episodes, InnerLoop(method=method), seed=0)
        loss.backward()
        slopes.append((loss.item(), network.hidden[0].grad))
    assert slopes[0][0] == slopes[1][0] and (slopes[0][1] - slopes[1][1]).abs().max() > 1e-5


def test_equal_seeds_give_equal_chips_and_others_do_not():
    support, query, episodes = task_of()
    network = Network(Pixels(), (8,), 2)
    loop = InnerLoop(hardware=Hardware(device=load_device("hfo2-array-om")))
    losses = [outer_loss(network, support, query, episodes, loop, seed)[0].item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_drift_between_learning_and_use_enters_the_loss():
    support, query, episodes = task_of()
    network = Network(Pixels(), (8,), 2)
    loop = InnerLoop(hardware=Hardware(device=load_device("pcm")))
    early, late = (
        outer_loss(network, support, query, episodes, one, 1)[0].item() for one in (loop, replace(loop, rest=86400.0))
    )
    assert early != late


@pytest.mark.parametrize("device", [None, "alox-hfo2"])
def test_adapt_names_the_classes_of_images_that_it_has_not_seen(device):
    from memenv.few_shot.strokes import TEST_GLYPHS, glyphs

    characters = glyphs(TEST_GLYPHS[0], 5).images
    hardware = device and Hardware(device=load_device(device))
    classify = metalearn.adapt(load_initialisation("glyphs-conv-maml"), characters[:, 0], np.arange(5), hardware)
    others = characters[:, 1:5].reshape(20, *characters.shape[2:])
    assert (classify(others) == np.repeat(np.arange(5), 4)).mean() > 0.8


def test_adapt_refuses_labels_that_do_not_fit_the_images():
    with pytest.raises(ValueError, match="labels are int64"):
        metalearn.adapt(load_initialisation("glyphs-mlp-maml"), np.zeros((3, 28, 28)), np.arange(2))
