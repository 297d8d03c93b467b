"""Derivatives of compiled loops: those of torch for every operation, of shared values, and of the cells of weights."""

import importlib.util

import numpy as np
import pytest
import torch

from memenv.arrays import clip, floor_at, namespace
from memenv.compiler.adjoint import SLOPES, derivatives
from memenv.compiler.counter_rng import Key
from memenv.compiler.device_axis import Cells
from memenv.compiler.runtime import run
from memenv.compiler.trace import Routine, Symbol

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: memenv[numba]", allow_module_level=True)

CELLS = 300


def everything(x, y):
    """Every operation that has a derivative; a share of each pair."""
    xp = namespace(x)
    a = xp.exp(0.3 * x) + xp.expm1(0.2 * y) - xp.log(1.5 + x * x) / xp.log1p(1.0 + y * y)
    b = xp.where(x > y, xp.sqrt(2.0 + x), -xp.tanh(y)) * xp.abs(x - 0.125)
    c = xp.maximum(x, 0.3 + 0.0 * y) * xp.minimum(y, x + 0.5) + xp.floor(3.0 * x) * y + xp.round(2.0 * y) * x
    return a * b, c + a.detach() * x + (y - y.detach()) * a.detach()


def backwards(noise, _, moving, towards):
    return derivatives(everything(*moving), towards, moving)


def test_derivatives_are_those_of_torch():
    rng = np.random.default_rng(0)
    x, y, *towards = rng.standard_normal((4, CELLS)).astype(np.float32)
    x[0] = 0.125  # where the absolute value has no derivative
    mine = run(backwards, Key(0), (CELLS,), ((x, y), tuple(towards)), None, 1, False)
    leaves = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in (x, y)]
    total = sum((torch.tensor(slope) * part).sum() for slope, part in zip(towards, everything(*leaves), strict=True))
    for one, other in zip(mine, torch.autograd.grad(total, leaves), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


def test_at_every_bound_derivatives_are_those_of_torch():
    """`clip` and `floor_at` with numbers and arrays as bounds: at, between and beyond them, and where both are one."""
    places = np.array([-1.0, 0.0, 0.5, 1.0, 2.0], np.float32)
    x, low = (part.ravel() for part in np.meshgrid(places, np.array([0.0, 1.0], np.float32)))

    def bounds(x, low, high):
        return clip(x, low, high) * 3.0 + clip(x, 0.0, 1.0) * 5.0 + floor_at(x, 0.0) * 7.0, clip(x, 1.0, high)

    def backwards(noise, _, *moving):
        return derivatives(bounds(*moving), [1.0, 1.0], moving)

    given = (x, low, np.ones_like(x))
    mine = run(backwards, Key(0), x.shape, given, None, 1, False)
    leaves = [torch.tensor(part, requires_grad=True) for part in given]
    for one, other in zip(mine, torch.autograd.grad(sum(part.sum() for part in bounds(*leaves)), leaves), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_number_is_a_derivative_like_any_other():
    x = np.ones(3, np.float32)
    (mine,) = run(lambda noise, _, x: derivatives([x * x], [2.0], [x]), Key(0), (3,), (x,), None, 1, False)
    np.testing.assert_array_equal(mine, 4.0)


def test_every_rule_is_one_of_an_operation_in_use():
    leaves = [Symbol("float32", "array", place) for place in range(2)]
    found, waiting = set(), [*everything(*leaves)]
    while waiting:
        symbol = waiting.pop()
        found.add(getattr(symbol.operation, "name", symbol.operation))
        waiting += [part for part in symbol.operands if isinstance(part, Symbol)]
        if isinstance(symbol.operation, Routine):
            assert symbol.operation.name in SLOPES
    assert found >= SLOPES.keys()


def test_what_has_no_derivative_is_refused():
    x = Symbol("float32", "array", 0)
    with pytest.raises(TypeError, match="cannot differentiate ndtri"):
        from memenv.compiler.elementary import ndtri

        derivatives([ndtri(x)], [x], [x])


def shared(noise, _, cells, weight):
    return cells * weight, (cells[..., 0] - cells[..., 1]) * weight


def shared_backwards(noise, count, moving, towards):
    return derivatives(shared(noise, count, *moving), towards, moving)


def test_cells_of_a_weight_sum_up_in_what_they_share():
    rng = np.random.default_rng(1)
    cells, towards = rng.standard_normal((2, CELLS, 2)).astype(np.float32)
    weight, other = rng.standard_normal((2, CELLS)).astype(np.float32)
    products, difference = run(shared, Key(0), (CELLS,), (cells, weight), None, 1, False)
    np.testing.assert_array_equal(products, cells * weight[:, None])
    np.testing.assert_allclose(difference, (cells[:, 0] - cells[:, 1]) * weight, rtol=1e-6)
    of_cells, of_weight = run(shared_backwards, Key(0), (CELLS,), ((cells, weight), (towards, other)), None, 1, False)
    np.testing.assert_allclose(
        of_cells, towards * weight[:, None] + (other * weight)[:, None] * np.array([1, -1]), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        of_weight, (towards * cells).sum(1) + other * (cells[:, 0] - cells[:, 1]), rtol=1e-5, atol=1e-5
    )


def noisy(noise, _, cells, weight):
    return cells * weight, weight + noise.normal(0)


def test_threads_share_weights_and_draw_the_same_noise():
    rng = np.random.default_rng(2)
    cells, weight = rng.random((100_000, 2), np.float32), rng.random(100_000, np.float32)
    one, two = (run(noisy, Key(0), (100_000,), (cells, weight), None, threads, False) for threads in (1, 2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_cells_refuse_what_they_do_not_know():
    cells = Cells([Symbol("float32", "array", 0, number, 2) for number in range(2)])
    for wrong in (lambda: cells[0], lambda: np.sort(cells), lambda: np.add.reduce(cells)):
        with pytest.raises(TypeError, match="cannot compile"):
            wrong()
