"""Programs of the cells of weights: compiled, by NumPy and by torch they say the same, and so do their derivatives."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from memenv.arrays import tree_map
from memenv.compiler.counter_rng import Key, Noise
from memenv.compiler.runtime import run
from memenv.devices.catalogue import load_device
from memenv.devices.reads import State
from memenv.engine import Engine
from memenv.learning import kernels
from memenv.learning.kernels import Shown
from memenv.learning.layers import blank_layer
from memenv.learning.step import Adaptation
from metalearn.adaptation import by_marginal_pulse, straight_through

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: memenv[numba]", allow_module_level=True)

WEIGHTS, KEY, CHIP = 400, Key(3, 7), Key(5)
CONFIG = Adaptation(rates=(0.0,), rounding=straight_through, give=by_marginal_pulse)
DEVICES = {"everything": 1, "pcm": 1, "alox-hfo2": 2}  # plus devices of a weight


class Tensors(Noise):
    """Noise as tensors in double precision."""

    def normal(self, lane):
        return torch.tensor(super().normal(lane), dtype=torch.float64)

    def uniform(self, lane):
        return torch.tensor(super().uniform(lane), dtype=torch.float64)


def in_torch(program, moving, rest):
    """What a program shows on tensors, and the moving tensors."""
    leaves = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in moving]
    rest = tree_map(
        lambda leaf: torch.tensor(leaf, dtype=torch.float64) if isinstance(leaf, np.ndarray) else leaf, rest
    )
    noise = Tensors(KEY.words()[:, None], np.arange(WEIGHTS, dtype=np.uint32))
    return program(noise, WEIGHTS, tuple(leaves), rest)[0], leaves


def compiled(program, *inputs):
    return run(program, KEY, (WEIGHTS,), inputs, None, 1, False)


@pytest.fixture(params=DEVICES)
def case(request, everything):
    """Layer of a fresh chip, its written states, and changes that are wanted of it."""
    device = everything if request.param == "everything" else load_device(request.param)
    plus, rng = DEVICES[request.param], np.random.default_rng(1)
    shape = WEIGHTS, 2 * plus
    chip = Engine("numpy").fabricate(device, CHIP, WEIGHTS * 2 * plus)
    chip = tree_map(lambda leaf: leaf.reshape(shape) if isinstance(leaf, np.ndarray) else leaf, chip)
    layer = blank_layer(device, chip, np.zeros(shape, np.float32), plus).replace(scale=1.0)
    layer = layer.replace(good=1.0 if np.ndim(chip.x_lo) else None)
    wanted, change = (0.5 * (device.g_max - device.g_min) * rng.standard_normal((2, WEIGHTS))).astype(np.float32)
    return layer, wanted, change


def programs(layer, wanted, change):
    """Every program with what moves and the rest, one after the other on the same cells."""
    yield kernels.program, (wanted,), (layer, 0.01)
    shown, kept = compiled(kernels.program, (wanted,), (layer, 0.01))
    layer = layer.replace(state=kept.state)
    yield kernels.updating(CONFIG), (shown.x, change), layer
    yield kernels.relax, (shown.x,), (layer, 3600.0)


def test_compiled_programs_say_what_torch_says_and_so_do_their_derivatives(case):
    device, rng = case[0].device, np.random.default_rng(2)
    units = 1.0, device.g_max - device.g_min, (device.g_max - device.g_min) ** 2
    for program, moving, rest in programs(*case):
        shown, _ = compiled(program, moving, rest)
        theirs, leaves = in_torch(program, moving, rest)
        towards, total = [], 0.0
        for mine, other, unit in zip(shown, theirs, units, strict=True):
            other = torch.as_tensor(other)
            np.testing.assert_allclose(mine / unit, other.detach() / unit, atol=2e-5)
            towards.append((rng.standard_normal(np.shape(mine)) / unit).astype(np.float32) if np.ndim(mine) else 0.0)
            total = total + (torch.tensor(towards[-1]) * other).sum()
        slopes = compiled(kernels.vector_jacobian_product(program), moving, rest, Shown(*towards))
        for mine, other in zip(slopes, torch.autograd.grad(total, leaves), strict=True):
            near = np.isclose(mine, other, rtol=1e-3, atol=2e-4 * other.abs().max().item())
            assert near.mean() > 0.995  # single precision may round a dose, or stop at a bound, the other way


def test_costs_are_counted_as_by_numpy(case):
    layer, wanted, change = case
    shown, kept = compiled(kernels.program, (wanted,), (layer, 0.01))
    layer, program = (
        layer.replace(state=kept.state),
        kernels.updating(Adaptation(rates=(0.0,), max_pulses=3), counted=True),
    )
    _, mine = compiled(program, (shown.x, change), layer)
    noise = Noise(KEY.words()[:, None], np.arange(WEIGHTS, dtype=np.uint32))
    _, theirs = program(noise, WEIGHTS, (shown.x, change), layer)
    assert theirs.spent.costs.pulses.any() and theirs.spent.limited.any()
    for one, other in zip(
        (*mine.spent.costs, mine.spent.limited), (*theirs.spent.costs, theirs.spent.limited), strict=True
    ):
        assert np.isclose(one, other, rtol=1e-4).mean() > 0.99  # single precision may round a dose the other way


def test_an_initialisation_reads_as_it_was_written_where_cells_can_hold_it():
    device = load_device("alox-hfo2")
    size = device.g_max - device.g_min
    layer = blank_layer(device, device, np.zeros((WEIGHTS, 2), np.float32), 1).replace(scale=1.0)
    wanted = np.linspace(-0.9 * size, 0.9 * size, WEIGHTS, dtype=np.float32)
    shown, kept = compiled(kernels.program, (wanted,), (layer, 0.0))
    np.testing.assert_allclose(shown.mean, wanted, atol=1e-5 * size)
    assert shown.x.shape == (WEIGHTS, 2) and kept.state == State(x=0.0, age=0.0)  # without drift nothing else is kept


def test_stuck_cells_are_known_where_a_test_has_found_them():
    device = load_device("alox-hfo2")
    device = device.replace(mismatch=replace(device.mismatch, stuck_low=0.3))
    chip = Engine("numpy").fabricate(device, CHIP, 2 * WEIGHTS)
    chip = tree_map(lambda leaf: leaf.reshape(WEIGHTS, 2) if isinstance(leaf, np.ndarray) else leaf, chip)
    layer = blank_layer(device, chip, np.zeros((WEIGHTS, 2), np.float32), 1).replace(scale=1.0)
    wanted = np.full(WEIGHTS, 0.2 * (device.g_max - device.g_min), np.float32)
    right = [
        np.isclose(
            compiled(kernels.program, (wanted,), (layer.replace(good=good), 0.0))[0].mean, wanted, atol=1e-3 * wanted
        ).mean()
        for good in (None, 1.0)
    ]
    assert right[0] < 0.6 and right[1] > right[0] + 0.15
