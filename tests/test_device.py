"""The device: fabrication, pulses and their noise, reads, retention and energy, each against what the record states."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, kstest, norm

from memenv.arrays import tree_map
from memenv.devices.device import Device, Mismatch, Response
from memenv.devices.reads import Read, Retention, State

CELLS = 20_000
LINEAR = Response(gamma=0.0, dose=0.01)  # far from the bounds a step is the dose itself


def device_of(response: Response = LINEAR, **other) -> Device:
    return Device(set=response, reset=response, **other)


def pulsed(device: Device, x, amplitude, noise=0.0, width=1e-6, count=1) -> State:
    """The state after one pulse of resting cells at `x`; without noise unless given."""
    x = np.atleast_1d(np.asarray(x, float))
    state = device.fresh(x, np.zeros((2, x.size)))
    amplitude, width = (np.broadcast_to(value, x.shape) for value in (float(amplitude), width))
    return device.pulse(state, amplitude, width, np.broadcast_to(noise, (3, x.size)), count)


def fits(values: np.ndarray, law: str = "norm", args: tuple = ()) -> bool:
    """Kolmogorov-Smirnov at 1 %, at the seed of the test."""
    return kstest(values, law, args=args).pvalue > 0.01


# -- one physics under two backends ----------------------------------------------------------------------------------


def history(chip: Device, x, amplitudes, widths, noise, reads, counts) -> list:
    """Pulses, rests and reads of one chip: everything that can be observed on the way."""
    state = chip.fresh(x, reads[0])
    seen = []
    for k, count in enumerate(counts):
        before = chip.conductance(state)
        state = chip.pulse(state, amplitudes[k], widths[k], noise[k], count)
        energy = chip.pulse_energy(before, chip.conductance(state), amplitudes[k], widths[k])
        reading, state = chip.sense(state, reads[k])
        state = chip.rest(state, 10.0 ** (k - 3))
        seen += [state.x, state.age, state.trap, energy, reading, chip.conductance(state), chip.read_energy(reading)]
    return seen


@pytest.fixture
def protocol(rng, everything):
    """A fabricated chip of a device with every effect, and pulses and noise for it."""
    cells, steps = 200, 8
    chip = everything.fabricate(rng, cells)
    x = chip.x_lo + (chip.x_hi - chip.x_lo) * rng.random(cells)
    amplitudes = rng.uniform(-1.5, 1.5, (steps, cells))
    widths = 10.0 ** rng.uniform(-7, -5, (steps, cells))
    return chip, x, amplitudes, widths, rng.standard_normal((steps, 3, cells)), rng.standard_normal((steps, 2, cells))


COUNTS = (1, 1, 3, 1, 10, 1, 1, 2)


def test_backends_agree(protocol):
    torch = pytest.importorskip("torch")
    tensors = tree_map(lambda leaf: torch.tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, protocol)
    for one, other in zip(history(*protocol, COUNTS), history(*tensors, COUNTS), strict=True):
        assert other.dtype is torch.float64
        np.testing.assert_allclose(other.numpy(), one, rtol=1e-12, atol=1e-18)


def test_single_precision_stays_single_precision_under_torch(protocol):
    torch = pytest.importorskip("torch")
    tensors = tree_map(lambda leaf: torch.tensor(leaf).float() if isinstance(leaf, np.ndarray) else leaf, protocol)
    assert {value.dtype for value in history(*tensors, COUNTS)} == {torch.float32}


def test_inputs_are_never_written(protocol):
    def locked(leaf):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
        return leaf

    history(*tree_map(locked, protocol), COUNTS)


def test_a_chip_answers_for_each_cell_alone(protocol):
    alone = tree_map(lambda leaf: leaf[..., 7:8] if isinstance(leaf, np.ndarray) else leaf, protocol)
    for one, other in zip(history(*protocol, COUNTS), history(*alone, COUNTS), strict=True):
        np.testing.assert_allclose(other, one[7:8], rtol=1e-13)


def test_every_state_receives_gradient_through_pulses_and_a_read(everything):
    torch = pytest.importorskip("torch")
    soft = replace(everything.set, margin=0.0)
    device = everything.replace(set=soft, reset=soft, read=replace(everything.read, adc_bits=0))
    x = torch.linspace(0.0, 1.0, 11, dtype=torch.float64, requires_grad=True)
    state = device.fresh(x, torch.zeros(2, 11, dtype=torch.float64))
    noise = torch.zeros(3, 11, dtype=torch.float64)
    for sign in (-1.0, 1.0, -1.0):
        state = device.pulse(state, torch.full_like(x, 0.8 * sign), torch.full_like(x, 1e-6), noise)
    reading, _ = device.sense(state, torch.ones(2, 11, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(reading.sum(), x)
    assert gradient.isfinite().all() and (gradient > 0).all()


def test_amplitude_and_width_receive_finite_gradients_above_and_below_threshold(everything):
    torch = pytest.importorskip("torch")
    amplitude = torch.tensor([1.0, 0.5, 0.2, 0.0, -0.2, -0.6, -1.0], dtype=torch.float64, requires_grad=True)
    width = torch.full_like(amplitude, 1e-6).detach().requires_grad_()
    x = torch.full_like(width, 0.5).detach()
    state = everything.fresh(x, torch.zeros(2, 7, dtype=torch.float64))
    after = everything.pulse(state, amplitude, width, torch.ones(3, 7, dtype=torch.float64))
    for gradient in torch.autograd.grad(after.x.sum(), (amplitude, width)):
        assert gradient.isfinite().all()
        assert (gradient[[0, -1]] != 0).all() and (gradient[2:5] == 0).all()


# -- pulses ----------------------------------------------------------------------------------------------------------


@given(
    x=st.floats(0.0, 1.0),
    amplitude=st.floats(0.0, 3.0),
    width=st.floats(1e-9, 1e-3),
    z=st.floats(-5.0, 5.0),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]),
    growing=st.booleans(),
)
def test_set_never_lowers_and_reset_never_raises_conductance(x, amplitude, width, z, gamma, growing):
    device = device_of(Response(gamma=gamma, growing=growing, margin=0.02, cycle_noise=0.5))
    before = device.conductance(device.fresh(np.array([x]), np.zeros((2, 1))))
    after = [device.conductance(pulsed(device, x, sign * amplitude, z, width)) for sign in (1, -1)]
    assert after[0] >= before * (1 - 1e-15) and after[1] <= before * (1 + 1e-15)
    assert device.g_min <= after[1] and after[0] <= device.g_max * (1 + 1e-15)


@given(x=st.floats(0.1, 0.6), amplitude=st.floats(-2.0, 2.0), z=st.floats(-6.0, 6.0))
def test_no_noise_passes_a_bound(x, amplitude, z):
    device = device_of(replace(LINEAR, additive_noise=1.0, cycle_noise=1.0), x_lo=0.1, x_hi=0.6)
    assert 0.1 <= pulsed(device, x, amplitude, z).x <= 0.6


@pytest.mark.parametrize("amplitude", [1.1, -1.1])
def test_a_train_is_one_pulse_of_its_whole_width(amplitude):
    device = device_of(Response(gamma=1.4, margin=0.1, kappa=0.2))
    x = np.linspace(0, 1, 9)
    train = pulsed(device, x, amplitude, count=7)
    np.testing.assert_allclose(train.x, pulsed(device, x, amplitude, width=7e-6).x, atol=1e-12)
    state = device.fresh(x, np.zeros((2, 9)))
    for _ in range(7):
        state = device.pulse(state, np.full(9, amplitude), np.full(9, 1e-6), np.zeros((3, 9)))
    np.testing.assert_allclose(train.x, state.x, atol=1e-12)


def test_each_polarity_has_its_own_response():
    device = Device(set=replace(LINEAR, dose=0.03), reset=replace(LINEAR, dose=0.07, amplitude=1.2, threshold=0.8))
    assert pulsed(device, 0.5, 1.0).x == pytest.approx(0.53, abs=1e-12)
    assert pulsed(device, 0.5, -1.2).x == pytest.approx(0.43, abs=1e-12)
    assert pulsed(device, 0.5, -0.8).x == 0.5


@pytest.mark.parametrize("amplitude", [0.5, 0.3, 0.0, -0.3, -0.5])
def test_at_or_below_threshold_nothing_changes_but_the_time(amplitude, everything):
    up, down = (replace(response, threshold=0.5) for response in (everything.set, everything.reset))
    device = everything.replace(set=up, reset=down)
    state = device.fresh(np.array([0.4]), np.ones((2, 1)))._replace(relaxation=np.array([0.7]))
    after = device.pulse(state, np.array([amplitude]), np.array([1e-3]), np.ones((3, 1)), 5)
    assert (after.x, after.relaxation, after.drift) == (state.x, state.relaxation, state.drift)
    assert after.age == pytest.approx(state.age + 5e-3)


def test_a_pulse_restarts_the_clock_and_redraws_the_relaxation(everything):
    state = everything.rest(everything.fresh(np.array([0.4]), np.ones((2, 1))), 100.0)
    after = everything.pulse(state, np.array([1.0]), np.array([1e-6]), np.full((3, 1), 0.3))
    assert after.age == 0 and after.relaxation == 0.3 and after.drift == state.drift


# -- cycle noise -----------------------------------------------------------------------------------------------------


def test_cycle_noise_is_log_normal_with_mean_one(rng):
    device = device_of(replace(LINEAR, cycle_noise=0.4))
    step = pulsed(device, np.full(CELLS, 0.2), 1.0, rng.standard_normal((3, CELLS))).x - 0.2
    assert fits(np.log(step / 0.01), args=(-0.08, 0.4))
    assert np.mean(step) == pytest.approx(0.01, abs=3 * np.std(step) / CELLS**0.5)


def test_additive_noise_is_normal_and_grows_with_the_root_of_the_pulses(rng):
    device = device_of(replace(LINEAR, additive_noise=0.005))
    for count, width in ((1, 1e-6), (9, 1e-6), (1, 9e-6)):
        step = pulsed(device, np.full(CELLS, 0.5), -1.0, rng.standard_normal((3, CELLS)), width, count).x - 0.5
        n = count * width / 1e-6
        assert fits(step, args=(-0.01 * n, 0.005 * n**0.5))


def test_noise_meets_the_bound_together_with_the_step(rng):
    device = device_of(Response(gamma=0.0, dose=0.01, margin=1.0, additive_noise=0.01))
    lost = 1.0 - pulsed(device, np.ones(CELLS), 1.0, rng.standard_normal((3, CELLS))).x
    assert np.mean(lost > 0) == pytest.approx(norm.cdf(-1.0), abs=0.01)
    assert np.mean(lost) == pytest.approx(0.01 * (norm.pdf(1.0) - norm.cdf(-1.0)), rel=0.05)


def test_noise_of_a_train_is_that_of_the_sum_of_its_draws(rng):
    device = device_of(replace(LINEAR, cycle_noise=0.8, additive_noise=0.003))
    count, x = 12, np.full(CELLS, 0.3)
    train = pulsed(device, x, 1.0, rng.standard_normal((3, CELLS)), count=count).x
    state = device.fresh(x, np.zeros((2, CELLS)))
    for _ in range(count):
        state = device.pulse(state, np.full(CELLS, 1.0), np.full(CELLS, 1e-6), rng.standard_normal((3, CELLS)))
    error = np.std(train) * (2 / CELLS) ** 0.5
    assert np.mean(train) == pytest.approx(np.mean(state.x), abs=3 * error)
    assert np.std(train) == pytest.approx(np.std(state.x), rel=0.03)
    exact = 0.01**2 * np.expm1(0.8**2) * count + 0.003**2 * count
    assert np.var(train) == pytest.approx(exact, rel=0.05)


# -- fabrication -----------------------------------------------------------------------------------------------------


def test_one_seed_makes_one_chip_and_parameters_without_mismatch_stay_floats(everything):
    def fabricated(device: Device) -> list:
        leaves: list = []
        tree_map(leaves.append, device.fabricate(np.random.default_rng(5), 7))
        return leaves

    for one, again in zip(fabricated(everything), fabricated(everything), strict=True):
        np.testing.assert_array_equal(one, again)
    assert not any(isinstance(leaf, np.ndarray) for leaf in fabricated(everything.replace(mismatch=Mismatch())))


def test_mismatch_of_doses_is_log_normal_together_and_against_each_other(rng):
    chip = device_of(mismatch=Mismatch(rate=0.3, asymmetry=0.2)).fabricate(rng, CELLS)
    up, down = np.log(chip.set.dose / 0.01), np.log(chip.reset.dose / 0.01)
    assert fits((up + down) / 2, args=(0, 0.3))
    assert fits((up - down) / 2, args=(0, 0.2))


def test_additive_noise_goes_with_the_rate_of_its_cell(rng):
    chip = device_of(replace(LINEAR, additive_noise=0.004), mismatch=Mismatch(rate=0.3)).fabricate(rng, 50)
    np.testing.assert_allclose(chip.set.additive_noise / 0.004, chip.set.dose / 0.01)


@pytest.mark.parametrize("name", ["gamma", "slope"])
def test_mismatch_of_shapes_is_log_normal_for_each_polarity_on_its_own(rng, name):
    nominal = Response(gamma=1.5)
    chip = device_of(nominal, mismatch=Mismatch(**{name: 0.15})).fabricate(rng, CELLS)
    up, down = (np.log(getattr(response, name) / getattr(nominal, name)) for response in (chip.set, chip.reset))
    assert fits(up, args=(0, 0.15)) and fits(down, args=(0, 0.15))
    assert abs(np.corrcoef(up, down)[0, 1]) < 3 / CELLS**0.5


def test_mismatch_of_cycle_noise_is_log_normal_and_common_to_both_polarities(rng):
    chip = device_of(replace(LINEAR, cycle_noise=0.3), mismatch=Mismatch(cycle_noise=0.25)).fabricate(rng, CELLS)
    assert fits(np.log(chip.set.cycle_noise / 0.3), args=(0, 0.25))
    np.testing.assert_array_equal(chip.set.cycle_noise, chip.reset.cycle_noise)


def test_mismatch_of_thresholds_is_normal_and_moves_the_whole_rate(rng):
    chip = device_of(mismatch=Mismatch(threshold=0.1)).fabricate(rng, CELLS)
    assert fits(chip.set.shift, args=(0, 0.05)) and fits(chip.reset.shift, args=(0, 0.05))
    moved = pulsed(chip, np.full(CELLS, 0.5), 0.5 + chip.set.shift[:1].item()).x != 0.5
    np.testing.assert_array_equal(moved, chip.set.shift < chip.set.shift[0])


def test_mismatch_of_bounds_is_normal(rng):
    chip = device_of(g_min=5e-5, mismatch=Mismatch(x_lo=0.02, x_hi=0.03)).fabricate(rng, CELLS)
    assert fits(chip.x_lo, args=(0, 0.02)) and fits(chip.x_hi, args=(1, 0.03))


@pytest.mark.parametrize("spread", [0.1, 0.5, 3.0])
def test_bounds_are_in_order_and_at_positive_conductance(rng, spread):
    chip = device_of(mismatch=Mismatch(x_lo=spread, x_hi=spread, collapsed=0.2, stuck_low=0.1)).fabricate(rng, CELLS)
    assert (chip.x_lo <= chip.x_hi).all()
    assert (chip.conductance(State(x=chip.x_lo, age=chip.x_lo * 0)) > 0).all()


def test_shares_of_bad_cells_are_as_stated(rng):
    shares = Mismatch(stuck_low=0.03, stuck_high=0.05, stuck_anywhere=0.07, collapsed=0.11, collapsed_range=0.25)
    chip = device_of(mismatch=shares, x_lo=0.1, x_hi=0.9).fabricate(rng, CELLS)
    size = chip.x_hi - chip.x_lo
    stuck, collapsed = size == 0, np.isclose(size, 0.2)
    low, high = stuck & (chip.x_lo == 0.1), stuck & np.isclose(chip.x_hi, 0.9)
    anywhere = stuck & ~low & ~high
    for found, share in ((low, 0.03), (high, 0.05), (anywhere, 0.07), (collapsed, 0.11)):
        assert binomtest(int(found.sum()), CELLS, share).pvalue > 0.01
    assert np.isclose(size[~stuck & ~collapsed], 0.8).all()
    assert fits(chip.x_lo[anywhere], "uniform", (0.1, 0.8))
    assert fits(chip.x_lo[collapsed], "uniform", (0.1, 0.6))


def test_a_stuck_cell_stays_where_it_is():
    chip = device_of(mismatch=Mismatch(stuck_anywhere=1.0)).fabricate(np.random.default_rng(3), 10)
    for amplitude in (2.0, -2.0):
        np.testing.assert_array_equal(pulsed(chip, chip.x_lo, amplitude).x, chip.x_lo)


def test_a_second_pole_stays_outside_the_range_of_every_cell(rng):
    nominal = Response(kappa=0.9, margin=0.05)
    chip = device_of(nominal, mismatch=Mismatch(x_hi=0.5)).fabricate(rng, 1000)
    assert (chip.set.kappa * (chip.x_hi - chip.x_lo + 0.05) < 1).all()
    assert (chip.set.kappa == 0.9).any()


# -- reads -----------------------------------------------------------------------------------------------------------


def reads(device: Device, rng: np.random.Generator, x=0.5, cells=CELLS, age=0.0) -> np.ndarray:
    state = device.rest(device.fresh(np.full(cells, x), rng.standard_normal((2, cells))), age)
    return device.sense(state, rng.standard_normal((2, cells)))[0]


def test_a_noiseless_read_is_the_conductance():
    device = Device(g_min=1e-6, g_max=5e-6)
    reading, _ = device.sense(device.fresh(np.array([0.25]), np.zeros((2, 1))), np.ones((2, 1)))
    assert reading == pytest.approx(2e-6, rel=1e-12)


def test_read_noise_is_normal_with_the_stated_spread(rng):
    device = Device(read=Read(noise=0.02))
    g = device.g_min + 0.5 * (device.g_max - device.g_min)
    assert fits(reads(device, rng), args=(g, 0.02 * (device.g_max - device.g_min)))


def test_read_noise_grows_with_the_stated_power_of_conductance(rng):
    device = Device(g_min=1e-6, g_max=1e-4, read=Read(noise=0.02, noise_exponent=0.5))
    spread = [np.std(reads(device, rng, x)) for x in (0.0, 1.0)]
    assert spread[1] == pytest.approx(0.02 * 9.9e-5, rel=0.02)
    assert spread[1] / spread[0] == pytest.approx(10.0, rel=0.03)


def test_read_noise_grows_with_the_root_of_the_logarithm_of_time(rng):
    device = Device(read=Read(noise=0.01, noise_log_time=2.5e-7, duration=1e-6))
    for age in (0.0, 1.0):
        growth = np.sqrt(np.log((age + 2e-6 + 2.5e-7) / 5e-7))  # a fresh cell has rested for one read
        assert np.std(reads(device, rng, age=age)) == pytest.approx(0.01 * 9.9e-5 * growth, rel=0.02)


def test_a_read_shorter_than_the_time_of_its_noise_is_finite(rng):
    device = Device(read=Read(noise=0.01, noise_log_time=1e-3, duration=1e-6))
    assert np.isfinite(reads(device, rng)).all()


def test_telegraph_trap_has_two_levels_with_the_stated_occupancy(rng):
    device = Device(read=Read(telegraph=0.1, telegraph_occupancy=0.3))
    levels, counts = np.unique(reads(device, rng), return_counts=True)
    g, size = 5.05e-5, 9.9e-5
    np.testing.assert_allclose(levels, [g - 0.1 * size, g])
    assert binomtest(int(counts[0]), CELLS, 0.3).pvalue > 0.01


@pytest.mark.parametrize("rest", [0.0, 7e-4])
def test_telegraph_trap_forgets_over_its_correlation_time(rng, rest):
    device = Device(read=Read(telegraph=0.1, telegraph_occupancy=0.3, telegraph_time=1e-3, duration=2e-4))
    state = device.fresh(np.full(CELLS, 0.5), rng.standard_normal((2, CELLS)))
    first, state = device.sense(state, rng.standard_normal((2, CELLS)))
    second, state = device.sense(device.rest(state, rest), rng.standard_normal((2, CELLS)))
    expected = np.exp(-(2e-4 + rest) / 1e-3)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(expected, abs=4 / CELLS**0.5)
    assert np.mean(second < first.max() * 0.999) == pytest.approx(0.3, abs=4 * 0.46 / CELLS**0.5)


def test_telegraph_trap_goes_on_during_pulses(rng):
    device = device_of(read=Read(telegraph=0.1, telegraph_time=1e-6, duration=1e-9))
    state = device.fresh(np.full(CELLS, 0.5), rng.standard_normal((2, CELLS)))
    first, state = device.sense(state, rng.standard_normal((2, CELLS)))
    state = device.pulse(state, np.zeros(CELLS), np.full(CELLS, 1e-6), np.zeros((3, CELLS)), 2)
    second, _ = device.sense(state, rng.standard_normal((2, CELLS)))
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(np.exp(-2.001), abs=4 / CELLS**0.5)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_adc_rounds_to_its_steps_and_saturates(rng, bits):
    device = Device(g_min=1e-6, g_max=9e-6, read=Read(noise=0.3, adc_bits=bits))
    exact = reads(device.replace(read=Read(noise=0.3)), np.random.default_rng(1))
    rounded = reads(device, np.random.default_rng(1))
    lsb = 8e-6 / (2**bits - 1)
    codes = (rounded - 1e-6) / lsb
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-6)
    assert codes.min() == pytest.approx(0.0, abs=1e-6) and codes.max() == pytest.approx(2**bits - 1)
    inside = (exact > 1e-6) & (exact < 9e-6)
    assert (np.abs(rounded - exact)[inside] <= lsb / 2 * (1 + 1e-9)).all()


def test_converters_may_differ_from_cell_to_cell():
    device = Device(read=Read(adc_bits=np.array([0.0, 1.0, 8.0])))
    reading, _ = device.sense(device.fresh(np.full(3, 0.4), np.zeros((2, 3))), np.zeros((2, 3)))
    size = device.g_max - device.g_min
    np.testing.assert_allclose((reading - device.g_min) / size, [0.4, 0.0, 0.4])


def test_a_read_takes_its_time():
    device = Device(read=Read(duration=3e-6))
    state = device.fresh(np.array([0.5]), np.zeros((2, 1)))
    assert device.sense(state, np.zeros((2, 1)))[1].age == pytest.approx(6e-6)


# -- retention -------------------------------------------------------------------------------------------------------

DRIFTING = Retention(
    drift_t0=20.0,
    drift_mean=(0.0244, -0.0155, 0.049, 0.1),
    drift_spread=(-0.0059, -0.0125, 0.008, 0.045),
)
RELAXING = Retention(
    early=1.0,
    late=86400.0,
    shift_early=-0.01,
    shift_late=-0.05,
    sigma_early=(0.01, 0.0, 0.04, 0.0, 0.0),
    sigma_late=(0.02, 0.06, 0.0, 0.0, 0.0),
)


@pytest.mark.parametrize(
    ("level", "mean", "spread"),
    [(1.0, 0.049, 0.008), (0.1, 0.060090, 0.022882), (0.02, 0.085036, 0.043000), (0.001, 0.1, 0.045)],
)
def test_drift_follows_the_power_law_with_the_stated_exponent(level, mean, spread):
    device = Device(g_min=1e-9, g_max=25e-6, retention=DRIFTING)
    x = (level * 25e-6 - 1e-9) / (25e-6 - 1e-9)
    for z in (0.0, 1.0, -4.0):
        state = device.fresh(np.array([x]), np.full((2, 1), z))
        nu = abs(mean + spread * z)
        for age in (1e3, 1e6):
            expected = level * 25e-6 * (age / 20.0) ** -nu
            assert device.conductance(device.rest(state, age)) == pytest.approx(expected, rel=1e-4)


def test_nothing_drifts_before_the_reference_time():
    device = Device(retention=DRIFTING)
    state = device.fresh(np.array([0.5]), np.ones((2, 1)))
    np.testing.assert_allclose(device.conductance(device.rest(state, 19.0)), 5.05e-5, rtol=1e-12)


@pytest.mark.parametrize(
    ("age", "shift", "sigma"),
    [(1e-3, -0.01, 0.02), (1.0, -0.01, 0.02), (86400**0.5, -0.03, 0.035), (86400.0, -0.05, 0.05), (1e9, -0.05, 0.05)],
)
def test_relaxation_has_the_stated_shift_and_spread(rng, age, shift, sigma):
    device = device_of(g_min=1e-6, g_max=1e-4, retention=RELAXING)
    x = np.full(CELLS, (0.5e-4 - 1e-6) / 9.9e-5)
    amplitude, width = np.full(CELLS, 1.0), np.full(CELLS, 1e-12)
    state = device.pulse(device.fresh(x, np.zeros((2, CELLS))), amplitude, width, rng.standard_normal((3, CELLS)))
    assert fits(device.conductance(device.rest(state, age)) / 1e-4 - 0.5, args=(shift, sigma))


def test_one_pulse_relaxes_along_one_path(rng):
    device = Device(retention=RELAXING)
    state = device.fresh(np.array([0.5]), np.zeros((2, 1)))
    state = device.pulse(state, np.array([1.0]), np.array([1e-12]), np.full((3, 1), 2.0))
    early, late = (device.conductance(device.rest(state, age)) / 1e-4 for age in (1.0, 86400.0))
    assert early == pytest.approx(0.505 - 0.01 + 2 * (0.01 + 0.04 * 0.505**2), rel=1e-6)
    assert late == pytest.approx(0.505 - 0.05 + 2 * (0.02 + 0.06 * 0.505), rel=1e-6)


def test_conductance_never_relaxes_below_zero():
    device = Device(retention=RELAXING)
    state = device.fresh(np.array([0.0]), np.zeros((2, 1)))._replace(relaxation=np.array([-50.0]))
    assert device.conductance(device.rest(state, 1e5)) == 0


# -- cost ------------------------------------------------------------------------------------------------------------


def test_energy_is_voltage_squared_times_conductance_times_time():
    device = Device(read=Read(voltage=0.2, duration=5e-6))
    energy = device.pulse_energy(np.array([1e-5]), np.array([3e-5]), np.array([-1.5]), np.array([1e-6]))
    assert energy == pytest.approx(1.5**2 * 2e-5 * 1e-6)
    assert device.read_energy(np.array([1e-5])) == pytest.approx(0.2**2 * 1e-5 * 5e-6)
