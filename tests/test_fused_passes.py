"""Loops of several passes: numbers of whole crossbars and back, results in place of what is still read, threads."""

import importlib.util

import numpy as np
import pytest

from memenv.compiler import runtime as run
from memenv.compiler.counter_rng import Key
from memenv.compiler.runtime import Traced, prepare
from memenv.compiler.trace import Symbol

numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]")


def launched(function, cells, inputs, out=None, threads=1):
    """What the loop of a function gives."""
    call = prepare(function, cells, inputs, out)
    call.launch(Key(0), threads)
    return call.result()


def departures(noise, _, x, offset):
    """Cells in units of their crossbar's mean, and what is true of each crossbar; also on arrays."""
    mean = x.mean((1, 2)) + offset
    away = x / mean[..., None, None]
    far = np.abs(away - 1.0) > 0.5
    spread = np.sqrt(((away - 1.0) ** 2).sum((-2, -1)))
    return away, mean, far.any((1, 2)), (~far).all((1, 2)), spread, x[..., 0, 0], far


@numba
@pytest.mark.parametrize("shape", [(50, 3, 5), (40_000, 1, 1), (3, 130, 130)], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_numbers_of_crossbars_are_those_of_numpy(shape, threads, rng):
    x, offset = rng.uniform(0.5, 1.4, shape).astype(np.float32), rng.random(shape[0]).astype(np.float32)
    results = launched(departures, shape, (x, offset), threads=threads)
    for mine, its in zip(results, departures(None, 0, x.astype(float), offset.astype(float)), strict=True):
        assert mine.shape == its.shape
        if its.dtype == bool:
            assert (mine == its).mean() > 0.999
        else:
            np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-5)


@numba
def test_results_may_take_the_places_of_numbers_that_others_are_made_of():
    def exchanged(noise, _, pair, third):
        return (pair[1], pair[0] + third), pair[0] * 2.0

    for cells in (7, 50_000):
        a, b, c = (np.arange(cells, dtype=np.float32) + shift for shift in (0, 1, 2))
        expected = b.copy(), a + c, 2 * a
        results = launched(exchanged, cells, ((a, b), c), ((a, b), c), threads=2)
        assert results[0][0] is a and results[1] is c
        for mine, its in zip((a, b, c), expected, strict=True):
            np.testing.assert_array_equal(mine, its)


@numba
def test_sums_over_numbers_that_are_replaced_are_taken_before():
    def aged(noise, _, x):
        return x * 0.5 + x.sum((1, 2))[..., None, None], x.sum((1, 2))

    x = np.ones((20, 3, 3), np.float32)
    total = np.empty(20, np.float32)
    launched(aged, x.shape, (x,), (x, total))
    assert (total == 9).all() and (x == 9.5).all()


def test_what_does_not_fit_together_is_not_compiled():
    cells, crossbars = (Symbol("float32", "array", place, rank=rank) for place, rank in ((0, 3), (1, 1)))
    assert (cells * crossbars[..., None, None]).ndim == 3
    with pytest.raises(TypeError, match="numbers of crossbars with those of cells"):
        _ = cells * crossbars
    with pytest.raises(TypeError, match=r"sum over the axes \(1,\) of 3"):
        cells.sum((1,))
    with pytest.raises(TypeError, match=r"cannot compile \[0\]"):
        _ = cells[0]


def test_an_error_in_any_thread_reaches_the_caller():
    def failing(first, *_):
        if first:
            raise FloatingPointError("of a later block")

    traced = Traced(failing, (), np.empty(0), (), (), [], [], [], tuple)
    x = np.zeros(4 * run.BLOCK, np.float32)
    for threads in (2, 3):
        with pytest.raises(FloatingPointError, match="later block"):
            run._bound(traced, x.shape, np.zeros(4, np.uint32), np.empty(0), [x], threads)()
