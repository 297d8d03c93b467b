"""IR drop at single cells, against the whole network of every operation."""

import numpy as np
import pytest

from memenv.circuits.nodal import exact
from memenv.circuits.solver import Wires
from memenv.crossbars.ir_drop import apparent, remaining
from memenv.crossbars.operations import cell_by_cell, line_by_line
from memenv.crossbars.schemes import SCHEMES
from memenv.devices.device import Driver

SHAPE = (6, 5)
WIRES = Wires(row_segment=4.0, col_segment=7.0, row_terminal=20.0, col_terminal=30.0)
schemes = pytest.mark.parametrize("name", list(SCHEMES))
plans = pytest.mark.parametrize("plan", ["cells", "rows", "columns"])


@pytest.fixture
def conductance(rng):
    return np.exp(rng.uniform(np.log(2e-6), np.log(2e-4), SHAPE))


def planned(rng, plan):
    amplitude = rng.choice([-1.0, 1.0], SHAPE) * rng.choice([1.0, 1.4], SHAPE)
    enabled, width = rng.random(SHAPE) < 0.6, np.full(SHAPE, 1e-6)
    if plan == "cells":
        return cell_by_cell(amplitude, width, enabled)
    return line_by_line(amplitude, width, enabled, Driver(), (8, 1), columns=plan == "columns")


def share_of_network(name, conductance, operations, place, plan) -> float:
    """What reaches one cell of its operation's amplitude, all lines biased as the scheme says."""
    i, k = place
    members = np.zeros(SHAPE, bool)
    line = {"cells": place, "rows": np.s_[i], "columns": np.s_[:, k]}[plan]
    members[line] = (operations.amplitude[line] == operations.amplitude[place]) & (operations.width[line] > 0)
    driven, grounded = (members.any(1), members.any(0)) if plan != "columns" else (members.any(0), members.any(1))
    on, off = {"1T1R": (0.0, 0.0), "V/2": (0.5, 0.5), "V/3": (1 / 3, 2 / 3)}[name]
    volts = np.where(driven, 1.0, on), np.where(grounded, 0.0, off)
    g = np.where(members, conductance, 0.0) if name == "1T1R" else conductance
    if plan == "columns":
        return -exact(g, WIRES, volts[1], volts[0]).drop[place]
    return exact(g, WIRES, *volts).drop[place]


@schemes
@plans
def test_the_amplitude_at_a_written_cell_is_that_of_the_whole_network(rng, conductance, name, plan):
    operations = planned(rng, plan)
    share = remaining(SCHEMES[name], conductance, WIRES, operations)
    written = np.argwhere(operations.width > 0)
    network = np.array([share_of_network(name, conductance, operations, tuple(cell), plan) for cell in written])
    drop = (1 - network).max()
    assert drop > 0.005
    error = np.abs(share[operations.width > 0] - network).max()
    assert error < (1e-12 if name == "1T1R" else 0.02 * drop)
    assert (share[operations.width == 0] == 1).all()


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_a_read_behind_transistors_shows_the_conductance_of_the_path(conductance, alone, columns):
    seen = apparent(SCHEMES["1T1R"], conductance, WIRES, alone=alone, columns=columns)
    for i, k in np.ndindex(SHAPE):
        connected = np.zeros(SHAPE, bool)
        connected[(i, k) if alone else (slice(None), k) if columns else i] = True
        g = np.where(connected, conductance, 0.0)
        if columns:
            current = -exact(g, WIRES, 0.0, np.eye(SHAPE[1])[k]).row_current[i]
        else:
            current = exact(g, WIRES, np.eye(SHAPE[0])[i], 0.0).col_current[k]
        assert seen[i, k] == pytest.approx(current, rel=1e-10)


def test_a_read_without_transistors_shows_the_effective_matrix(conductance):
    seen = apparent(SCHEMES["V/2"], conductance, WIRES, alone=True, columns=False)
    expected = np.array([exact(conductance, WIRES, row, 0.0).col_current for row in np.eye(SHAPE[0])])
    np.testing.assert_allclose(seen, expected, rtol=1e-10)


@schemes
@plans
def test_ideal_wires_take_nothing(rng, conductance, name, plan):
    ideal = Wires(row_segment=0.0, col_segment=0.0)
    np.testing.assert_allclose(remaining(SCHEMES[name], conductance, ideal, planned(rng, plan)), 1.0, rtol=1e-14)
    seen = apparent(SCHEMES[name], conductance, ideal, alone=plan == "cells", columns=plan == "columns")
    np.testing.assert_allclose(seen, conductance, rtol=1e-12)


@schemes
@plans
def test_backends_agree(rng, conductance, name, plan):
    torch = pytest.importorskip("torch")
    operations = planned(rng, plan)
    tensors = operations._replace(**{f: torch.tensor(getattr(operations, f)) for f in operations._fields[:4]})
    seen = remaining(SCHEMES[name], torch.tensor(conductance), WIRES, tensors)
    np.testing.assert_allclose(seen.numpy(), remaining(SCHEMES[name], conductance, WIRES, operations), rtol=1e-12)
    how = {"alone": plan == "cells", "columns": plan == "columns"}
    seen = apparent(SCHEMES[name], torch.tensor(conductance), WIRES, **how)
    np.testing.assert_allclose(seen.numpy(), apparent(SCHEMES[name], conductance, WIRES, **how), rtol=1e-12)
