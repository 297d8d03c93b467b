"""IR drop: the network of a crossbar by the exact and the fast solver, and the matrix of its reads."""

import dataclasses

import numpy as np
import pytest

from memenv.circuits import solver as module
from memenv.circuits.ladders import COLS, ROWS, inward, outward
from memenv.circuits.nodal import exact
from memenv.circuits.solver import Wires, effective, fast

SOLVERS = {"exact": exact, "fast": fast}
UNEVEN = Wires(row_segment=2.0, col_segment=0.7, row_terminal=50.0, col_terminal=3.0)


def siemens(rng, *shape, low=1e3, high=1e5):
    """Conductances [S] of cells of `low` to `high` ohm, spread over the decades."""
    return 1 / np.exp(rng.uniform(np.log(low), np.log(high), shape))


def frozen(value):
    """A read-only copy."""
    value = np.array(value)
    value.flags.writeable = False
    return value


@pytest.mark.parametrize("axis", [ROWS, COLS])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 100])
def test_running_sums_are_cumulative_sums_of_blocks_of_any_length(rng, axis, length):
    field = rng.normal(size=(2, length, length + 3))
    ahead, back = (np.cumsum(field, axis), np.flip(np.cumsum(np.flip(field, axis), axis), axis))
    np.testing.assert_allclose(outward(field, axis), ahead if axis == ROWS else back, atol=1e-12)
    np.testing.assert_allclose(inward(field, axis), back if axis == ROWS else ahead, atol=1e-12)


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
def test_ideal_wires_give_the_matrix_product(rng, solve):
    g, volts = siemens(rng, 9, 40), rng.normal(size=(3, 9))
    none = Wires(row_segment=0.0, col_segment=0.0)
    solution = solve(g, none, volts, 0.25)
    np.testing.assert_allclose(solution.col_current, (volts - 0.25) @ g, rtol=1e-12)
    np.testing.assert_allclose(solution.drop, np.broadcast_to(volts[:, :, None] - 0.25, (3, 9, 40)), rtol=1e-12)
    np.testing.assert_allclose(effective(g, none), g, rtol=1e-12)


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
def test_one_cell_is_a_series_of_resistances(solve):
    around = Wires(row_segment=1.0, col_segment=2.0, row_terminal=30.0, col_terminal=67.0)
    solution = solve([[1 / 900.0]], around, [1.5], [0.5])
    assert solution.col_current == pytest.approx(1e-3)
    assert solution.row_current == pytest.approx(1e-3)
    assert solution.drop == pytest.approx(0.9)


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
def test_two_cells_on_a_column_as_computed_by_hand(solve):
    # Cells and column segments of 1 kohm, rows ideal and at 1 V. Nodes w0 (far) and w1: w0 - w1 = 1 - w0 and
    # w1 = (1 - w1) + (w0 - w1), so w0 = 0.8 V and w1 = 0.6 V.
    solution = solve(np.full((2, 1), 1e-3), Wires(row_segment=0.0, col_segment=1e3), 1.0)
    np.testing.assert_allclose(solution.drop, [[0.2], [0.4]], rtol=1e-9)
    np.testing.assert_allclose(solution.row_current, [0.2e-3, 0.4e-3], rtol=1e-9)
    np.testing.assert_allclose(solution.col_current, [0.6e-3], rtol=1e-9)


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
def test_two_cells_on_a_row_mirror_two_cells_on_a_column(solve):
    # The terminal of a row is at column 0, that of a column below the last row.
    solution = solve(np.full((1, 2), 1e-3), Wires(row_segment=1e3, col_segment=0.0), 1.0)
    np.testing.assert_allclose(solution.drop, [[0.4, 0.2]], rtol=1e-9)


@pytest.mark.parametrize(
    "around",
    [
        Wires(),
        UNEVEN,
        Wires(row_segment=0.0, col_segment=10.0),
        Wires(row_segment=10.0, col_segment=0.0, row_terminal=200.0),
        Wires(row_segment=100.0, col_segment=100.0),
    ],
)
@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (40, 33), (20, 70)])
def test_fast_agrees_with_exact(rng, around, shape):
    g = siemens(rng, *shape)
    rows, cols = rng.uniform(0, 1, shape[0]), rng.uniform(0, 0.3, shape[1])
    found, reference = fast(g, around, rows, cols), exact(g, around, rows, cols)
    assert found.converged
    np.testing.assert_allclose(found.drop, reference.drop, atol=1e-6)
    for part in ("row_current", "col_current"):
        expected = getattr(reference, part)
        np.testing.assert_allclose(getattr(found, part), expected, atol=1e-6 * np.abs(expected).max())


def test_random_arrays_converge_to_what_the_residual_promises(rng):
    for _ in range(60):
        rows, cols = np.exp(rng.uniform(np.log(4), np.log(64), 2)).astype(int)
        low, high = np.sort(10 ** rng.uniform(3, 7, 2))
        g, volts = siemens(rng, rows, cols, low=low, high=high), rng.uniform(0, 1, rows)
        around = Wires(row_segment=10 ** rng.uniform(-1, 1), col_segment=10 ** rng.uniform(-1, 1))
        found, reference = fast(g, around, volts), exact(g, around, volts)
        error = np.sqrt(np.sum(g * (found.drop - reference.drop) ** 2) / np.sum(g * volts[:, None] ** 2))
        assert found.converged
        assert error <= found.residual + 1e-12 <= 1.01e-7
        assert np.abs(found.col_current - reference.col_current).max() <= 1e-6 * reference.col_current.max()


def test_lines_of_unlike_resistance_and_floating_lines_agree_with_exact(rng):
    g = siemens(rng, 12, 15)
    drivers, senses = np.full(12, 1e9), np.full(15, 1e9)
    drivers[3], senses[5] = 10.0, 0.0
    around = Wires(row_segment=rng.uniform(0, 3, 12), row_terminal=drivers, col_terminal=senses)
    volts = np.eye(12)[3]
    found, reference = fast(g, around, volts), exact(g, around, volts)
    np.testing.assert_allclose(found.drop, reference.drop, atol=1e-6)
    assert found.row_current[3] > 2 * g[3, 5]  # sneak paths through the floating lines
    np.testing.assert_allclose(found.row_current[3], found.col_current[5], rtol=1e-4)  # the rest leaks


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
def test_the_voltages_obey_ohm_and_kirchhoff_along_every_line(rng, solve):
    g = siemens(rng, 5, 6)
    rows, cols = rng.normal(size=5), rng.normal(size=6)
    solution = solve(g, UNEVEN, rows, cols)
    current = g * solution.drop
    np.testing.assert_allclose(solution.row_current.sum(), solution.col_current.sum(), rtol=1e-9)
    for i in range(5):
        for j in range(6):
            up, down = rows[i] - 50.0 * current[i].sum(), cols[j] + 3.0 * current[:, j].sum()
            up -= 2.0 * sum(current[i, k:].sum() for k in range(j + 1))
            down += 0.7 * sum(current[: k + 1, j].sum() for k in range(i, 5))
            assert solution.drop[i, j] == pytest.approx(up - down, abs=1e-6)


def test_a_transposed_read_has_the_transposed_matrix(rng):
    g = siemens(rng, 8, 11)
    forward = fast(g, UNEVEN, np.eye(8)).col_current
    backward = -fast(g, UNEVEN, 0.0, np.eye(11)).row_current
    np.testing.assert_allclose(forward, backward.T, rtol=1e-6)


@pytest.mark.parametrize("around", [Wires(), UNEVEN, Wires(row_segment=0.0), Wires(col_segment=0.0)])
def test_all_reads_are_products_with_the_effective_matrix(rng, around):
    g, volts = siemens(rng, 2, 1, 13, 40), rng.normal(size=(3, 13))
    matrix = effective(g, around)
    assert matrix.shape == g.shape
    np.testing.assert_allclose((volts @ matrix)[:, 0], exact(g, around, volts).col_current, rtol=1e-9, atol=1e-15)


def test_a_solution_of_a_similar_network_saves_steps_and_leaves_the_answer(rng):
    g, around = siemens(rng, 48, 48), Wires(row_segment=5.0, col_segment=5.0)
    volts = rng.uniform(0, 1, 48)
    before = fast(g, around, volts)
    changed = g.copy()
    changed[20, 30] *= 1.1
    cold, warm = fast(changed, around, volts), fast(changed, around, volts, start=before.drop)
    assert warm.converged and warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.drop, cold.drop, atol=1e-6)
    assert fast(g, around, volts, start=exact(g, around, volts).drop).iterations == 0


def test_what_did_not_converge_says_so(rng):
    g, around = siemens(rng, 2, 30, 30), Wires(row_segment=10.0, col_segment=10.0)
    g[1] *= 1e-6
    short = fast(g, around, 1.0, max_iterations=1)
    assert short.converged.tolist() == [False, True]
    assert short.residual[0] > 1e-7 >= short.residual[1]
    assert short.iterations.tolist() == [1, 1]
    assert np.isfinite(short.drop).all()


@pytest.mark.parametrize(
    ("g", "segment"), [(1e-2, 1e6), (1e300, 1.0), (1e150, 1e150), (1e-300, 1e300), (0.0, 1e300), (5e-324, 1.0)]
)
def test_absurd_numbers_give_finite_results_and_an_honest_flag(g, segment):
    solution = fast(np.full((128, 64), g), Wires(row_segment=segment, col_segment=segment), 1.0)
    assert np.isfinite(solution.drop).all()
    assert solution.converged == (solution.residual <= 1e-7)
    assert not np.isnan(solution.residual)


def test_a_batch_equals_a_loop(rng, monkeypatch):
    g, volts = siemens(rng, 3, 1, 20, 24), rng.uniform(0, 1, (5, 20))
    whole = fast(g, UNEVEN, volts, start=np.ones((5, 20, 24)))
    assert whole.drop.shape == (3, 5, 20, 24) and whole.converged.shape == (3, 5)
    monkeypatch.setattr(module, "CHUNK", 1000)
    pieces = fast(g, UNEVEN, volts, start=np.ones((5, 20, 24)))
    inputs_first = fast(g[:, 0], UNEVEN, volts[:, None])
    for a in range(3):
        for b in range(5):
            one = fast(g[a, 0], UNEVEN, volts[b])
            for solution in (whole, pieces):
                np.testing.assert_allclose(solution.drop[a, b], one.drop, atol=1e-7)
            np.testing.assert_allclose(inputs_first.col_current[b, a], one.col_current, rtol=1e-6)
    reference = exact(g, UNEVEN, volts)
    np.testing.assert_allclose(whole.drop, reference.drop, atol=1e-6)


def test_wires_that_differ_between_arrays_are_a_batch(rng):
    g = siemens(rng, 6, 5)
    terminal = np.array([[0.0], [100.0]]) * np.ones(6)
    both = fast(g, Wires(row_terminal=terminal), 1.0)
    assert both.drop.shape == (2, 6, 5)
    for k in range(2):
        np.testing.assert_allclose(both.drop[k], exact(g, Wires(row_terminal=terminal[k]), 1.0).drop, atol=1e-7)
    np.testing.assert_allclose(both.drop, exact(g, Wires(row_terminal=terminal), 1.0).drop, atol=1e-7)


def test_no_voltage_is_no_current(rng):
    for level in (0.0, 0.5):
        solution = fast(siemens(rng, 5, 5), Wires(), level, level)
        assert solution.converged and solution.iterations == 0
        assert np.all(solution.col_current == 0)


def test_arguments_are_never_written(rng):
    g, rows, cols = frozen(siemens(rng, 2, 6, 5)), frozen(rng.normal(size=6)), frozen(rng.normal(size=5))
    around = Wires(row_segment=frozen(np.ones(6)), col_terminal=frozen(np.ones(5)))
    fast(g, around, rows, cols, start=frozen(np.ones((6, 5))))
    exact(g, around, rows, cols)
    effective(g, around)


def test_results_have_the_type_of_the_conductances(rng):
    torch = pytest.importorskip("torch")
    g, volts = siemens(rng, 6, 5), rng.uniform(0, 1, 6)
    double = fast(g, UNEVEN, volts)
    single = fast(g.astype(np.float32), UNEVEN, volts)
    assert (double.drop.dtype, single.drop.dtype, single.col_current.dtype) == (np.float64, np.float32, np.float32)
    tensor = fast(torch.tensor(g), UNEVEN, torch.tensor(volts))
    assert tensor.drop.dtype == torch.float64 and not tensor.drop.requires_grad
    for one, other in zip(tensor, double, strict=True):
        np.testing.assert_allclose(one.numpy(), other, atol=1e-12)
    assert fast(torch.tensor(g, dtype=torch.float32), UNEVEN, 1.0).col_current.dtype == torch.float32
    np.testing.assert_allclose(effective(torch.tensor(g), UNEVEN).numpy(), effective(g, UNEVEN), rtol=1e-10)


def test_first_and_second_derivatives_are_right(rng):
    torch = pytest.importorskip("torch")

    def tensor(value):
        return torch.tensor(value, requires_grad=True, dtype=torch.float64)

    ohm = tensor(rng.uniform(100, 1000, (2, 3, 4)))
    rows, cols = tensor(rng.normal(size=(2, 1, 3))), tensor(rng.normal(size=4))
    segment, terminal = tensor(2.0), tensor(rng.uniform(1, 50, 3))

    def currents(ohm, rows, cols, segment, terminal):
        around = Wires(row_segment=segment, col_segment=segment, row_terminal=terminal)
        solution = fast(1 / ohm, around, rows, cols, tolerance=1e-13)
        return solution.drop, 100 * solution.col_current, 100 * solution.row_current

    def read(ohm, segment):
        return 100 * effective(1 / ohm, Wires(row_segment=segment, col_segment=3.0))

    assert torch.autograd.gradcheck(currents, (ohm, rows, cols, segment, terminal))
    few = (ohm[:1, :2, :2].detach().requires_grad_(), rows[0, 0, :2].detach().requires_grad_())
    rest = (cols[:2].detach(), segment, terminal[:2].detach())
    assert torch.autograd.gradgradcheck(lambda ohm, rows: currents(ohm, rows, *rest)[1], few)
    assert torch.autograd.gradcheck(read, (ohm[0].detach().requires_grad_(), segment))


def test_conductances_of_zero_and_ideal_wires_have_finite_derivatives():
    torch = pytest.importorskip("torch")
    g = torch.tensor([[0.0, 1e-3], [1e-3, 0.0]], dtype=torch.float64, requires_grad=True)
    for around in (Wires(), Wires(row_segment=0.0), Wires(row_segment=0.0, col_segment=0.0)):
        for current in (fast(g, around, 1.0).col_current, effective(g, around)):
            (gradient,) = torch.autograd.grad(current.sum(), g)
            assert torch.isfinite(gradient).all() and (gradient > 0.9).all()


GOOD = {"conductance": np.full((3, 2), 1e-4), "row_voltage": np.ones(3), "col_voltage": 0.0}


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"conductance": np.full((3, 2), -1e-4)}, "6 negative, infinite or NaN"),
        ({"conductance": np.array([[1e-4, np.nan]] * 3)}, "3 negative, infinite or NaN"),
        ({"conductance": np.full((3, 2), np.inf)}, "6 negative, infinite or NaN"),
        ({"conductance": np.ones(3)}, r"shape \(3,\); it must be \(\.\.\., rows, cols\)"),
        ({"conductance": np.ones((0, 2))}, r"shape \(0, 2\)"),
        ({"row_voltage": np.ones(2)}, r"row_voltage has shape \(2,\); it must be a number or \(\.\.\., 3\)"),
        ({"row_voltage": [1.0, np.nan, 0.0]}, "row_voltage must be finite volts"),
        ({"col_voltage": np.ones(3)}, r"col_voltage has shape \(3,\)"),
        ({"row_segment": -1.0}, r"wires.row_segment must be finite and >= 0 ohm"),
        ({"col_terminal": np.inf}, "wires.col_terminal must be finite .*floating"),
        ({"col_segment": np.ones(5)}, r"wires.col_segment has shape \(5,\); it must be a number or \(\.\.\., 2\)"),
        ({"conductance": np.ones((4, 3, 2)), "row_voltage": np.ones((5, 3))}, r"do not broadcast: \[\(4,\), \(5,\)"),
    ],
)
def test_impossible_circuits_are_refused_with_what_was_given_and_what_is_allowed(solve, bad, message):
    parts = {**GOOD, **{name: value for name, value in bad.items() if name in GOOD}}
    around = dataclasses.replace(Wires(), **{name: value for name, value in bad.items() if name not in GOOD})
    with pytest.raises(ValueError, match=message):
        solve(parts["conductance"], around, parts["row_voltage"], parts["col_voltage"])


@pytest.mark.parametrize("start", [np.ones((2, 3)), np.full((3, 2), np.nan)])
def test_a_start_of_another_array_is_refused(start):
    with pytest.raises(ValueError, match="must be finite drops of an array"):
        fast(GOOD["conductance"], Wires(), 1.0, start=start)
