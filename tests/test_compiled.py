"""Compiled chips learn as those of tensors do: alike in distribution, with the same derivatives in the mean."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from memenv.fewshot.chips import Hardware
from memenv.fewshot.episodes import Episodes
from memenv.presets import load_device
from metalearn import compiled
from metalearn.network import Network, Pixels
from metalearn.outer import InnerLoop, outer_loss

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: memenv[numba]", allow_module_level=True)

TASKS, WAYS = 40, 3


def outcome(loop, seed):
    """Loss of the outer loop and its derivatives, of a network's first weights, its rates and its ranges."""
    torch.manual_seed(0)
    means = torch.randn(TASKS, WAYS, 196)
    labels, answers = (np.tile(np.arange(WAYS), (TASKS, count)) for count in (2, 4))
    support, query = (means[:, part[0]] + 0.5 * torch.randn(TASKS, len(part[0]), 196) for part in (labels, answers))
    network = Network(Pixels(), (8,), 3)
    loss, _ = outer_loss(network, support, query, Episodes(labels, labels, answers, answers), loop, seed)
    loss.backward()
    slopes = network.hidden[0].grad.flatten(), network.log_rates.grad.flatten(), network.log_ranges.grad
    return loss.item(), torch.cat(slopes).numpy()


@pytest.mark.parametrize("rest", [0.0, 86400.0])
def test_losses_and_derivatives_are_those_of_tensors_in_the_mean(monkeypatch, rest):
    loop = InnerLoop(hardware=Hardware(device=load_device("pcm"), reads=1), rest=rest)
    assert compiled.fits(loop.hardware)
    ours = [outcome(loop, seed) for seed in range(6)]
    monkeypatch.setattr(compiled, "fits", lambda hardware: False)
    theirs = [outcome(loop, seed) for seed in range(6)]
    mine, other = (np.array([loss for loss, _ in runs]) for runs in (ours, theirs))
    assert abs(mine.mean() - other.mean()) < 4 * np.hypot(mine.std(ddof=1), other.std(ddof=1)) / np.sqrt(6)
    mine, other = (np.mean([slopes for _, slopes in runs], 0) for runs in (ours, theirs))
    np.testing.assert_allclose(np.linalg.norm(mine - other), 0.0, atol=0.25 * np.linalg.norm(other))
    assert np.corrcoef(mine, other)[0, 1] > 0.97


def test_equal_seeds_give_equal_chips():
    loop = InnerLoop(hardware=Hardware(device=load_device("pcm")))
    (first, slopes), (second, same), (other, _) = (outcome(loop, seed) for seed in (1, 1, 2))
    assert first == second != other and np.array_equal(slopes, same)


def test_other_ways_of_learning_are_left_to_tensors():
    hardware = Hardware(device=load_device("pcm"))
    for change in ({"lines": True}, {"accumulate": True}, {"assume": "law"}):
        assert not compiled.fits(replace(hardware, **change))
