"""Many inputs of an array with wires: what the compiled sweeps find is what the other solvers find, or they say so."""

import numpy as np
import pytest

from memenv.circuits import batched as module
from memenv.circuits import solver as wires
from memenv.circuits.network import assembled
from memenv.circuits.nodal import exact
from memenv.circuits.solver import Wires, fast

pytest.importorskip("numba")

UNEVEN = Wires(row_segment=2.0, col_segment=0.7, row_terminal=50.0, col_terminal=3.0)


@pytest.fixture(autouse=True)
def solved(monkeypatch):
    """Every call of the compiled solver is noted: what is tested here must have come from it."""
    calls, solve = [], wires.many_inputs

    def noted(*arguments):
        calls.append(solve(*arguments))
        return calls[-1]

    monkeypatch.setattr(wires, "many_inputs", noted)
    return calls


def siemens(rng, *shape, low=1e3, high=1e5):
    """Conductances [S] of cells of `low` to `high` ohm, spread over the decades."""
    return 1 / np.exp(rng.uniform(np.log(low), np.log(high), shape))


@pytest.mark.parametrize(
    "around",
    [
        Wires(),
        UNEVEN,
        Wires(row_segment=0.0, col_segment=0.0),
        Wires(row_segment=0.0, col_segment=10.0),
        Wires(row_segment=10.0, col_segment=0.0, row_terminal=np.linspace(1, 300, 20)),
    ],
)
@pytest.mark.parametrize("inputs", [8, 41])
def test_many_inputs_agree_with_exact(rng, around, inputs, solved):
    g, rows, cols = siemens(rng, 20, 33), rng.uniform(0, 1, (inputs, 20)), rng.uniform(0, 0.3, (inputs, 33))
    found, reference = fast(g, around, rows, cols), exact(g, around, rows, cols)
    assert solved and found.converged.all()
    np.testing.assert_allclose(found.drop, reference.drop, atol=1e-6)
    for part in ("row_current", "col_current"):
        expected = getattr(reference, part)
        np.testing.assert_allclose(getattr(found, part), expected, atol=1e-6 * np.abs(expected).max())


def test_random_arrays_keep_what_the_residual_promises(rng, solved):
    for _ in range(30):
        rows, cols = np.exp(rng.uniform(np.log(4), np.log(64), 2)).astype(int)
        low, high = np.sort(10 ** rng.uniform(3, 7, 2))
        g, volts = siemens(rng, rows, cols, low=low, high=high), rng.uniform(0, 1, (9, rows))
        around = Wires(row_segment=10 ** rng.uniform(-1, 1), col_segment=10 ** rng.uniform(-1, 1))
        found, reference = fast(g, around, volts), exact(g, around, volts)
        power = np.sum(g * volts[:, :, None] ** 2, (1, 2))
        error = np.sqrt(np.sum(g * (found.drop - reference.drop) ** 2, (1, 2)) / power)
        assert found.converged.all()
        assert (error <= found.residual + 1e-8).all() and (found.residual <= 1e-7).all()
    assert len(solved) == 30


def test_the_residual_is_that_of_the_network(rng):
    g, volts = siemens(rng, 30, 25), rng.uniform(0, 1, (10, 30))
    found = fast(g, UNEVEN, volts)
    residual = assembled(g, UNEVEN, volts, 0.0).residual(found.drop)[:, 0, 0]
    np.testing.assert_allclose(found.residual, residual, rtol=1e-3, atol=1e-8)


def test_what_sweeps_do_not_solve_is_solved_by_conjugate_gradients(rng, monkeypatch):
    monkeypatch.setattr(module, "SWEEPS", 2)
    around = Wires(row_segment=30.0, col_segment=30.0)
    g, volts = siemens(rng, 24, 24), rng.uniform(0, 1, (8, 24))
    volts[3] = 0.0
    found = fast(g, around, volts)
    assert found.converged.all() and found.iterations[3] == 2 and (np.delete(found.iterations, 3) > 4).all()
    np.testing.assert_allclose(found.drop, exact(g, around, volts).drop, atol=1e-6)


@pytest.mark.parametrize(("g", "segment"), [(1e-2, 1e6), (1e300, 1.0), (1e150, 1e150), (0.0, 1e300), (5e-324, 1.0)])
def test_absurd_numbers_give_finite_results_and_an_honest_flag(g, segment, solved):
    solution = fast(np.full((40, 30), g), Wires(row_segment=segment, col_segment=segment), np.ones((8, 40)))
    assert solved and np.isfinite(solution.drop).all()
    np.testing.assert_array_equal(solution.converged, solution.residual <= 1e-7)


def test_axes_of_inputs_stay_and_types_are_those_of_the_conductances(rng, solved):
    g = siemens(rng, 1, 1, 12, 9).astype(np.float32)
    volts = rng.uniform(0, 1, (2, 5, 12))
    volts.flags.writeable = g.flags.writeable = False
    found = fast(g, UNEVEN, volts)
    assert solved and found.drop.shape == (2, 5, 12, 9) and found.residual.shape == (2, 5)
    assert found.drop.dtype == found.row_current.dtype == np.float32
    np.testing.assert_allclose(found.col_current[1, 3], fast(g[0, 0], UNEVEN, volts[1, 3]).col_current, rtol=1e-5)


def test_inputs_do_not_depend_on_their_neighbours(rng):
    g, volts = siemens(rng, 16, 16), rng.uniform(0, 1, (40, 16))
    many, few = fast(g, UNEVEN, volts), fast(g, UNEVEN, volts[:9])
    np.testing.assert_allclose(many.drop[:9], few.drop, atol=2e-7)


@pytest.mark.parametrize(
    "lead, inputs, solves",
    [
        ((3, 1), (3, 8), 3),
        ((3, 1, 1), (3, 4, 3), 3),
        ((2, 3, 1, 1), (2, 3, 4, 3), 6),
        ((3, 1), (2, 3, 8), 6),
    ],
)
def test_arrays_with_many_inputs_each_are_solved_one_by_one(rng, lead, inputs, solves, solved):
    g, volts = siemens(rng, *lead, 6, 5), rng.uniform(0, 1, (*inputs, 6))
    around = Wires(row_segment=2.0, row_terminal=rng.uniform(0, 50, (*lead, 6)))
    found = fast(g, around, volts)
    assert len(solved) == solves
    reference = exact(g, around, volts)
    for mine, theirs in zip(found[:3], reference[:3], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())
    assert found.residual.shape == found.iterations.shape == found.converged.shape == inputs
    assert found.converged.all()


def test_few_inputs_and_fine_tolerances_are_left_to_the_other_solver(rng, solved):
    g, volts = siemens(rng, 6, 5), rng.uniform(0, 1, (8, 6))
    fast(g, UNEVEN, volts[:7])
    fast(np.stack([g] * 8), UNEVEN, volts[:1])
    fast(g, UNEVEN, volts, tolerance=1e-9)
    fast(g, UNEVEN, volts, start=np.ones((6, 5)))
    assert not solved


def test_the_loop_and_its_caller_agree_about_groups():
    from memenv.circuits import batched_kernel as sweeps

    assert module.GROUP == sweeps.GROUP
