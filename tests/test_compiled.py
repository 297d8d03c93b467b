"""Compiled chips learn as those of tensors do: alike in distribution, with the same derivatives in the mean."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from memenv.devices.catalogue import load_device
from memenv.engine import EngineError
from memenv.few_shot.chips import Hardware
from memenv.few_shot.compiled_chips import Chips, fits
from memenv.few_shot.episodes import Episodes
from memenv.few_shot.initialisations import untrained
from metalearn.evaluation import evaluate
from metalearn.models import Network, Pixels
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


@pytest.mark.parametrize(("rest", "tolerance"), [(0.0, 0.0), (86400.0, 0.05)])
def test_losses_and_derivatives_are_those_of_tensors_in_the_mean(rest, tolerance):
    loop = InnerLoop(hardware=Hardware(device=load_device("pcm"), reads=1, tolerance=tolerance), rest=rest)
    ours, theirs = ([outcome(replace(loop, engine=name), seed) for seed in range(6)] for name in ("numba", "numpy"))
    mine, other = (np.array([loss for loss, _ in runs]) for runs in (ours, theirs))
    assert abs(mine.mean() - other.mean()) < 4 * np.hypot(mine.std(ddof=1), other.std(ddof=1)) / np.sqrt(6)
    mine, other = (np.mean([slopes for _, slopes in runs], 0) for runs in (ours, theirs))
    steps_and_layers = 3 * 2 + 2
    for part, most in ((slice(-steps_and_layers), 0.25), (slice(-steps_and_layers, None), 0.06)):
        assert np.linalg.norm((mine - other)[part]) < most * np.linalg.norm(other[part])
    assert np.corrcoef(mine, other)[0, 1] > 0.97


def test_equal_seeds_give_equal_chips():
    loop = InnerLoop(hardware=Hardware(device=load_device("pcm")), engine="numba")
    (first, slopes), (second, same), (other, _) = (outcome(loop, seed) for seed in (1, 1, 2))
    assert first == second != other and np.array_equal(slopes, same)


def test_few_cells_and_other_ways_of_learning_are_not_compiled():
    hardware = Hardware(device=load_device("pcm"))
    assert fits(hardware, 10, 5000) and not fits(hardware, 10, 4999) and not fits(hardware, 10, 5000, "numpy")
    assert fits(hardware, 1, 1, "numba")
    for change in ({"lines": True}, {"accumulate": True}, {"assume": "law"}):
        other = replace(hardware, **change)
        assert not fits(other, 10, 5000)
        with pytest.raises(EngineError, match=f"{next(iter(change))}=.*: choose"):
            fits(other, 10, 5000, "numba")
        with pytest.raises(EngineError, match="not compiled"):
            Chips(other, 0)


@pytest.mark.parametrize("name", ["pcm", "hfo2-array-om"])
def test_compiled_replays_reach_the_accuracy_pulses_and_energy_of_the_simulator(name):
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((20, 1, 196)) + 2 * rng.standard_normal((20, 20, 196))
    inputs = (drawn / np.sqrt((drawn**2).mean(-1, keepdims=True))).astype(np.float32)
    hardware, how = Hardware(device=load_device(name), reads=1), {"episodes": 200, "delays": (0.0, 86400.0)}
    start = untrained("mlp", (16,), 2)
    found = [evaluate(start, hardware, inputs, engine=engine, **how) for engine in ("numba", "numpy")]
    for what in ("by_step", "later", "pulses", "energy", "read_energy"):
        mine, other = (getattr(outcomes, what).reshape(-1, 200) for outcomes in found)
        away = np.abs(mine.mean(1) - other.mean(1))
        assert (away < 4 * np.hypot(mine.std(1), other.std(1)) / np.sqrt(200) + 1e-5 * other.mean(1)).all(), what
    assert (found[0].pulses > 0).all() and found[0].later.mean() > 0.3
