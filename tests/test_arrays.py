"""The seam between NumPy and torch, and records of arrays."""

from typing import NamedTuple

import numpy as np
import pytest

from memenv import arrays
from memenv.device import Device, Response, State


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
    assert value == getattr(np, name)(0.3)


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


def test_clip_and_floor_pass_the_gradient_at_equality():
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    bound = torch.ones(2, dtype=torch.float64)
    for value in (arrays.floor_at(x, 0.0), arrays.clip(x, 0.0, 1.0), arrays.clip(x, 0.0 * bound, bound)):
        (gradient,) = torch.autograd.grad(value.sum(), x)
        assert gradient.tolist() == [1.0, 1.0]


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
