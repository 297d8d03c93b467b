"""The seam between NumPy and torch, and records of arrays."""

from typing import NamedTuple

import numpy as np
import pytest

from memenv import arrays
from memenv.devices.device import Device, Response
from memenv.devices.reads import State


class Pair(NamedTuple):
    """A record with a hole in it."""

    a: object
    b: object


def test_a_tensor_among_the_arguments_picks_torch():
    torch = pytest.importorskip("torch")
    assert arrays.namespace(1.0, np.ones(2), torch.ones(2)) is torch
    assert arrays.namespace(1.0, np.ones(2)) is np
    assert arrays.namespace() is np


@pytest.mark.parametrize("name", ["expm1", "log1p", "sqrt"])
def test_floats_stay_python_floats_and_keep_every_digit(name):
    value = getattr(arrays, name)(0.3)
    assert type(value) is float
    assert value == pytest.approx(getattr(np, name)(0.3), rel=1e-15)  # libraries may round the last bit differently


@pytest.mark.parametrize("low", [-0.5, np.array([-0.5, 0.0, 0.5])])
@pytest.mark.parametrize("high", [0.7, np.array([0.7, 0.8, 0.9])])
def test_clip_takes_floats_and_arrays_as_bounds_under_both_backends(low, high):
    torch = pytest.importorskip("torch")
    value = np.array([-2.0, 0.6, 2.0])

    def tensor(a):
        return torch.tensor(a) if isinstance(a, np.ndarray) else a

    expected = np.clip(value, low, high)
    np.testing.assert_array_equal(arrays.clip(value, low, high), expected)
    np.testing.assert_array_equal(arrays.clip(tensor(value), tensor(low), tensor(high)), expected)


def bounded(kind, make, low=0.0, high=1.0):
    """clip(x, low, high), floor_at(x, low) if the kind has one letter; n: a number, t: what `make` makes of it."""
    bounds = [make(bound) if letter == "t" else bound for letter, bound in zip(kind, (low, high), strict=False)]
    return lambda x: (arrays.floor_at if len(kind) == 1 else arrays.clip)(x, *bounds)


KINDS = pytest.mark.parametrize("kind", ["n", "t", "nn", "tt", "nt", "tn"])


@KINDS
@pytest.mark.parametrize("low", [0.0, -0.3, 1.0])  # the last: both bounds are one
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_derivative_is_one_at_bounds_and_between_them_and_zero_beyond_to_every_order(kind, low, dtype):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, dtype)
    function = bounded(kind, lambda bound: torch.full((5,), bound, dtype=dtype), low)
    x = torch.tensor([low - 1.0, low, 0.5 * (low + 1.0), 1.0, 2.0], dtype=dtype, requires_grad=True)
    expected = [0.0, 1.0, 1.0, 1.0, float(len(kind) == 1)]
    (first,) = torch.autograd.grad(function(x).sum(), x)
    assert first.tolist() == expected
    (slope,) = torch.autograd.grad((function(x) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    np.testing.assert_allclose(second.detach(), 6 * function(x).detach() * torch.tensor(expected), rtol=1e-6)


@KINDS
def test_the_derivative_at_bounds_is_the_same_under_vmap(kind):
    torch = pytest.importorskip("torch")
    function = bounded(kind, lambda bound: torch.full((5,), bound, dtype=torch.float64))
    x = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.0]] * 3, dtype=torch.float64)
    derivative = torch.func.grad(lambda part: function(part).sum())
    second = torch.func.grad(lambda part: (function(part) ** 2).sum())
    curvature = torch.func.vmap(torch.func.grad(lambda part: second(part).sum()))(x)
    expected = [0.0, 1.0, 1.0, 1.0, float(len(kind) == 1)]
    assert torch.func.vmap(derivative)(x).tolist() == [expected] * 3
    assert curvature.tolist() == [[2.0 * one for one in expected]] * 3


@KINDS
def test_derivatives_beside_the_bounds_are_those_of_differences(kind):
    torch = pytest.importorskip("torch")
    function = bounded(kind, lambda bound: torch.full((5,), bound, dtype=torch.float64))
    x = torch.tensor([-1.0, 1e-3, 0.5, 1.0 - 1e-3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(lambda x: function(x) ** 3, x)


def test_a_bound_has_the_derivative_only_where_it_is_the_result():
    torch = pytest.importorskip("torch")
    x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 0.0, 1.0, 2.0])
    low = torch.tensor([0.0] * 5 + [1.0] * 3, requires_grad=True)
    high = torch.ones(8, requires_grad=True)
    of_low, of_high = torch.autograd.grad(arrays.clip(x, low, high).sum(), (low, high))
    assert of_low.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert of_high.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]


def test_what_lies_beyond_a_bound_takes_no_infinite_slope_back():
    torch = pytest.importorskip("torch")
    x = torch.tensor([-1.0, -torch.inf, 0.25], requires_grad=True)
    (slope,) = torch.autograd.grad(torch.sqrt(arrays.floor_at(x, 0.0)).sum(), x)
    assert slope.tolist() == [0.0, 0.0, 1.0]


@KINDS
@pytest.mark.parametrize("low", [0.0, -0.3, 1e-30, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tensors_are_bounded_as_arrays_are_to_the_last_bit(kind, low, dtype, rng):
    torch = pytest.importorskip("torch")
    tiny = np.finfo(dtype).smallest_subnormal
    near = [np.nextafter(bound, far, dtype=dtype) for bound in (low, 1.0) for far in (-np.inf, np.inf)]
    x = np.array([np.nan, np.inf, -np.inf, 0.0, tiny, -tiny, low, 1.0, *near, *rng.normal(size=100)], dtype)
    result = bounded(kind, lambda bound: torch.full(x.shape, bound, dtype=getattr(torch, dtype)), low)(
        torch.from_numpy(x)
    )
    expected = bounded(kind, lambda bound: np.full(x.shape, bound, dtype), low)(x)
    assert result.numpy().dtype == expected.dtype == dtype
    np.testing.assert_array_equal(result, expected)


def test_bounds_that_are_no_numbers_come_through():
    torch = pytest.importorskip("torch")
    bound = torch.tensor([torch.nan, 0.0])
    assert arrays.floor_at(torch.zeros(2), bound).isnan().tolist() == [True, False]
    assert arrays.clip(torch.zeros(2), -1.0, bound).isnan().tolist() == [True, False]


def test_whole_numbers_have_a_floor_too():
    torch = pytest.importorskip("torch")
    assert arrays.floor_at(torch.tensor([0, 3]), 0.5).tolist() == [0.5, 3.0]


def test_relu_has_the_derivative_zero_at_zero_as_closed_forms_have_it():
    torch = pytest.importorskip("torch")
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(arrays.relu(x).sum(), x)
    assert slope.tolist() == [0.0, 0.0, 1.0]
    np.testing.assert_array_equal(arrays.relu(x).detach(), arrays.relu(x.detach().numpy()))


def test_only_plain_zeros_can_be_left_out():
    assert arrays.is_zero(0) and arrays.is_zero(0.0)
    assert not arrays.is_zero(1e-300) and not arrays.is_zero(np.zeros(3))


def test_take_picks_rows_and_keeps_what_holds_for_all():
    chip = Device(x_lo=np.arange(4.0), set=Response(dose=np.arange(4.0) + 10.0))
    part = arrays.take(chip, np.array([2, 0]))
    assert part.x_lo.tolist() == [2.0, 0.0]
    assert part.set.dose.tolist() == [12.0, 10.0]
    assert (part.name, part.x_hi, part.reset) == (chip.name, chip.x_hi, chip.reset)


def test_put_replaces_rows_in_a_copy():
    state = State(x=np.zeros(3), age=np.ones(3))
    index = np.array([True, False, True])
    changed = arrays.put(state, index, State(x=np.array([5.0, 6.0]), age=np.array([7.0, 8.0])))
    assert changed.x.tolist() == [5.0, 0.0, 6.0]
    assert changed.age.tolist() == [7.0, 1.0, 8.0]
    assert changed.trap is None
    assert state.x.tolist() == [0.0, 0.0, 0.0]


def test_put_undoes_take():
    chip = Device(x_lo=np.arange(4.0), set=Response(dose=np.arange(4.0)))
    index = np.array([3, 1])
    again = arrays.put(chip, index, arrays.take(chip, index))
    np.testing.assert_array_equal(again.x_lo, chip.x_lo)
    np.testing.assert_array_equal(again.set.dose, chip.set.dose)


def test_tree_map_keeps_the_shape_of_records():
    tree = Pair(a=(1, 2), b=None)
    assert arrays.tree_map(lambda left, right: left + right, tree, Pair(a=(10, 20), b=None)) == Pair(a=(11, 22), b=None)
