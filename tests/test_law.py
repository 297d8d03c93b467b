"""The law of a pulse: its closed forms, its invariants and its derivatives."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from memenv.devices.law import Law, Response, dose_to_reach, equivalent_pulses, flow_dose, move

GAMMAS = (0.0, 0.5, 1.0, 1.5, 2.0)
SHAPES = tuple(itertools.product(GAMMAS, (False, True), (0.0, 0.4)))  # gamma, growing, kappa
shaped = pytest.mark.parametrize(("gamma", "growing", "kappa"), SHAPES)
shapes = st.sampled_from(SHAPES)
states = st.floats(0.0, 1.0)
doses = st.floats(0.0, 20.0)


def law_of(gamma=1.0, growing=False, kappa=0.0, margin=0.05, **other) -> Law:
    return Response(gamma=gamma, growing=growing, kappa=kappa, margin=margin, **other).law()


def moved(law: Law, x, up: bool, s, x_lo=0.0, x_hi=1.0) -> np.ndarray:
    x, s = np.broadcast_arrays(np.atleast_1d(x).astype(float), s)
    return move(law, x, x_lo, x_hi, np.full(x.shape, up), s)


@pytest.mark.parametrize("up", [True, False])
@shaped
def test_a_pulse_solves_the_flow_equation(gamma, growing, kappa, up):
    margin, x0, s = 0.05, 0.4, 0.15
    sign = 1.0 if up else -1.0

    def speed(_, x):
        ahead = (1.0 - x) if up else x
        u = margin + ((1.0 - ahead) if growing else ahead)
        return sign * u**gamma * (1 - kappa * u) ** (2 - gamma) if kappa else sign * u**gamma

    expected = solve_ivp(speed, (0.0, s), [x0], rtol=1e-11, atol=1e-12).y[0, -1]
    assert moved(law_of(gamma, growing, kappa, margin), x0, up, s)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(0.0, 0.6), (1.0, 1 - 0.8 * np.exp(-0.4)), (1.5, 1 - (0.8**-0.5 + 0.2) ** -2), (2.0, 1 - 0.8 / (1 + 0.8 * 0.4))],
)
def test_closed_forms_by_hand(gamma, expected):
    assert moved(law_of(gamma, margin=0.0), 0.2, True, 0.4)[0] == pytest.approx(expected, abs=1e-11)
    assert moved(law_of(gamma, margin=0.0), 0.8, False, 0.4)[0] == pytest.approx(1 - expected, abs=1e-11)


@given(shape=shapes, x=states, s=doses, up=st.booleans())
def test_two_half_pulses_equal_one(shape, x, s, up):
    law = law_of(*shape)
    half = moved(law, moved(law, x, up, s / 2), up, s / 2)
    np.testing.assert_allclose(half, moved(law, x, up, s), atol=1e-10)


@given(shape=shapes, x=states, s=doses, margin=st.sampled_from([0.0, 1e-6, 0.05, 1.0]))
def test_set_never_lowers_and_reset_never_raises_the_state(shape, x, s, margin):
    law = law_of(*shape, margin)
    assert moved(law, x, True, s) >= x - 1e-15
    assert moved(law, x, False, s) <= x + 1e-15


@given(shape=shapes, x=st.floats(-0.1, 0.8), s=st.floats(0.0, 1e6), up=st.booleans())
def test_no_pulse_passes_a_bound(shape, x, s, up):
    after = moved(law_of(*shape), x, up, s, x_lo=-0.1, x_hi=0.8)
    assert -0.1 <= after <= 0.8


@given(shape=shapes, x=states, s=doses, more=st.floats(0.0, 1.0), up=st.booleans())
def test_a_larger_dose_goes_at_least_as_far(shape, x, s, more, up):
    law = law_of(*shape)
    step = moved(law, x, up, s + more) - moved(law, x, up, s)
    assert step >= -1e-15 if up else step <= 1e-15


@given(shape=shapes, x=states, goal=states)
def test_dose_to_reach_inverts_the_pulse(shape, x, goal):
    law, up = law_of(*shape), np.array([goal > x])
    dose = dose_to_reach(law, np.array([x]), np.array([goal]), 0.0, 1.0, up)
    assert dose >= 0
    assert moved(law, x, goal > x, dose) == pytest.approx(goal, abs=1e-9)


@shaped
def test_dose_to_reach_is_zero_the_other_way_and_finite_beyond_reach(gamma, growing, kappa):
    law, x, up = law_of(gamma, growing, kappa, margin=0.0), np.array([0.5]), np.array([True])
    assert dose_to_reach(law, x, np.array([0.3]), 0.0, 1.0, up) == 0
    beyond = dose_to_reach(law, x, np.array([1.2]), 0.0, 1.0, up)
    assert np.isfinite(beyond) and beyond > 0


@shaped
def test_parameters_as_arrays_give_what_floats_give(gamma, growing, kappa):
    x, s = np.linspace(0, 1, 11), 0.3
    one = law_of(gamma, growing, kappa)
    each = one._replace(gamma=np.full(11, gamma), growing=np.full(11, growing), kappa=np.full(11, kappa))
    for up in (True, False):
        np.testing.assert_allclose(moved(each, x, up, s), moved(one, x, up, s), atol=1e-9)
        if growing:
            continue  # the inverse near the pole is steep; covered by test_dose_to_reach_inverts_the_pulse
        ups, goal = np.full(11, up), np.full(11, 0.45)
        np.testing.assert_allclose(
            dose_to_reach(each, x, goal, 0.0, 1.0, ups), dose_to_reach(one, x, goal, 0.0, 1.0, ups), rtol=1e-6
        )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_dose_keeps_its_digits_in_single_precision_whatever_gamma_an_array_has(gamma):
    start, end = np.linspace(0.3, 1.0, 8), np.linspace(0.2, 0.9, 8)
    single = flow_dose(start.astype(np.float32), end.astype(np.float32), np.full(8, gamma, np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, flow_dose(start, end, gamma), rtol=1e-5)


def test_the_reference_pulse_counts_as_one():
    law = Response(amplitude=1.3, width=3e-7, threshold=0.4, slope=0.11).law()
    assert equivalent_pulses(law, np.array([1.3]), np.array([3e-7])) == pytest.approx(1.0, rel=1e-14)
    assert equivalent_pulses(law, np.array([1.3]), np.array([1.5e-6])) == pytest.approx(5.0, rel=1e-14)


def test_the_rate_grows_exponentially_above_the_threshold():
    law = Response(threshold=0.4, slope=0.11).law()
    magnitude = np.array([0.5, 0.7, 0.9])
    rate = equivalent_pulses(law, magnitude, np.full(3, 1e-6))
    np.testing.assert_allclose(rate / rate[0], np.expm1((magnitude - 0.4) / 0.11) / np.expm1(0.1 / 0.11))


def test_nothing_happens_at_or_below_the_threshold_of_the_cell():
    law = Response(threshold=0.5, shift=np.array([0.0, 0.0, 0.1, 0.1])).law()
    pulses = equivalent_pulses(law, np.array([0.5, 0.2, 0.6, 0.61]), np.full(4, 1.0))
    assert (pulses[:3] == 0).all() and pulses[3] > 0


@pytest.mark.parametrize("up", [True, False])
@shaped
def test_first_and_second_derivatives_are_right(gamma, growing, kappa, up):
    torch = pytest.importorskip("torch")
    law = law_of(gamma, growing, kappa)
    ups = torch.full((4,), up)

    def after(x, s, margin, x_lo, x_hi):
        return move(law._replace(margin=margin), x, x_lo, x_hi, ups, s)

    start = torch.tensor([0.05, 0.3, 0.6, 0.95], dtype=torch.float64)
    s = torch.tensor([0.01, 0.02, 0.03, 0.04], dtype=torch.float64)
    margin = torch.full((4,), 0.05, dtype=torch.float64)
    x_lo, x_hi = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    inputs = tuple(value.requires_grad_() for value in (start, s, margin, x_lo, x_hi))
    assert torch.autograd.gradcheck(after, inputs)
    assert torch.autograd.gradgradcheck(after, inputs)


@pytest.mark.parametrize("growing", [True, False])
def test_derivatives_by_the_shape_parameters_are_right(growing):
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.05, 0.3, 0.6, 0.9], dtype=torch.float64)

    def after(gamma, kappa, dose):
        law = law_of()._replace(gamma=gamma, kappa=kappa, growing=growing)
        return move(law, x, 0.0, 1.0, torch.tensor([True, True, False, False]), dose)

    gamma = torch.tensor([0.4, 1.2, 1.6, 2.3], dtype=torch.float64, requires_grad=True)
    kappa = torch.tensor([0.1, 0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    dose = torch.full((4,), 0.05, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(after, (gamma, kappa, dose))
    assert torch.autograd.gradgradcheck(after, (gamma, kappa, dose))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("margin", [0.0, 0.05])
@shaped
def test_second_derivatives_are_finite_at_the_bounds(gamma, growing, kappa, margin, dtype):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, dtype)
    x = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=dtype, requires_grad=True)
    s = torch.tensor([0.0, 0.1, 0.1, 30.0], dtype=dtype, requires_grad=True)
    g = torch.full((4,), gamma, dtype=dtype, requires_grad=True)
    law = law_of(gamma, growing, kappa, margin)
    for exponent in (gamma, g):
        for up in (True, False):
            after = move(law._replace(gamma=exponent), x, 0.0, 1.0, torch.full((4,), up), s)
            inputs = (x, s, g) if exponent is g else (x, s)
            firsts = torch.autograd.grad(after.sum(), inputs, create_graph=True)
            assert all(first.isfinite().all() for first in firsts)
            total = sum(first.sum() for first in firsts)
            if total.requires_grad:
                seconds = torch.autograd.grad(total, inputs, allow_unused=True)
                assert all(second.isfinite().all() for second in seconds if second is not None)


@pytest.mark.parametrize("kappa", [0.0, 0.4])
@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0])
def test_every_initial_state_receives_gradient(gamma, kappa):
    torch = pytest.importorskip("torch")
    law = law_of(gamma, kappa=kappa, margin=0.0)
    x0 = torch.linspace(0, 1, 11, dtype=torch.float64, requires_grad=True)
    x = x0
    for up in (True, False, True, True, False):
        x = move(law, x, 0.0, 1.0, torch.full((11,), up), torch.full((11,), 0.2, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(x.sum(), x0)
    assert (gradient > 0).all()
