"""Parts of the fit: bounds, coordinates, the spread of devices, relaxation, and what a record says of ignorance."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from memenv.devices.device import Device
from memenv.devices.law import Response, move
from memenv.devices.neurosim import one_pulse_response
from memenv.devices.reads import Read
from memenv.devices.records import DeviceError, validate
from memenv.fitting.coordinates import Coordinates, values, with_values
from memenv.fitting.estimation import Estimate, Likeliest
from memenv.fitting.histories import traces
from memenv.fitting.ignorance import with_uncertainty
from memenv.fitting.likelihood import Trains, WanderingRead, filtered
from memenv.fitting.profiles import end
from memenv.fitting.pulse_data import read_csv
from memenv.fitting.relaxation import Rests, parted, retention_of
from memenv.fitting.search import _in_own_range, filtered_by
from memenv.fitting.spread import spread_of_offsets
from memenv.fitting.tables import _Measured, _moments, _with_mismatch
from memenv.fitting.trains import fit

LAW = Response(threshold=0.5, slope=0.1, dose=0.05, gamma=1.4, margin=0.1, cycle_noise=0.1, additive_noise=0.003)
DEVICE = Device(g_min=1e-5, g_max=1e-4, set=LAW, reset=LAW, read=WanderingRead(noise=0.004))
NONE = Estimate((), (), (), np.zeros((0, 0)), ())


def trains(devices: int = 3, reads: int = 12) -> Trains:
    """Reads about a line, of one SET and one RESET train of each device."""
    sign = np.repeat([1.0, -1.0], devices)
    reading = 0.5 + 0.03 * sign * np.arange(-6, reads - 6)[:, None]
    reading = reading + 0.01 * np.random.default_rng(0).standard_normal(reading.shape)
    amplitude = np.vstack([0 * sign, np.tile(sign, (reads - 1, 1))])
    ends = np.zeros(len(sign)), np.ones(len(sign))
    own = np.tile(np.arange(devices), 2)
    return Trains(reading, amplitude, np.full(amplitude.shape, 1e-6), own, *ends, np.zeros(amplitude.shape, bool))


def test_a_bound_of_a_device_is_a_bound_of_its_trains() -> None:
    some, own = trains(), np.zeros((4, 6))
    own[2:, ::3] = [[0.31], [-0.29]]
    low, high = some.bounds(DEVICE, own)
    apart, placed = filtered(DEVICE, some, own), filtered(DEVICE, some._replace(x_lo=low, x_hi=high), 0 * own)
    np.testing.assert_array_equal(apart.error, placed.error)
    assert (apart.error[:, 0] != filtered(DEVICE, some, 0 * own).error[:, 0]).any()


def test_a_record_in_units_of_its_own_range_predicts_the_same_reads() -> None:
    some, offsets = trains(), np.random.default_rng(1).normal(0, 0.05, (4, 3))
    law = dataclasses.replace(LAW, kappa=0.4)
    found = Likeliest(DEVICE.replace(x_lo=0.1, x_hi=0.85, set=law), (), NONE, offsets, None, 0.0)
    before = filtered_by(found, some)
    scaled, inside = _in_own_range(found, some)
    after = filtered_by(scaled, inside)
    assert (scaled.device.x_lo, scaled.device.x_hi) == (0.0, 1.0)
    assert scaled.device.g_max == pytest.approx(1e-5 + 0.85 * 9e-5)
    np.testing.assert_allclose(after.error * 0.75, before.error, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(after.variance * 0.75**2, before.variance, rtol=1e-9)


def test_a_second_pole_beyond_every_range_of_the_trains_makes_a_legal_record() -> None:
    some = trains()
    law = dataclasses.replace(LAW, kappa=0.89)
    found = Likeliest(DEVICE.replace(x_lo=-0.1, x_hi=1.05, set=law), (), NONE, np.zeros((4, 3)), None, 0.0)
    before = filtered_by(found, some)
    scaled, inside = _in_own_range(found, some)
    validate(scaled.device.replace(read=Read(noise=0.01)))
    assert scaled.device.set.kappa * (1 + scaled.device.set.margin) == pytest.approx(0.999)
    np.testing.assert_allclose(filtered_by(scaled, inside).error * 1.15, before.error, rtol=1e-9, atol=1e-12)


def test_coordinates_lead_back_to_the_device() -> None:
    names = ("set.dose", "set.gamma", "set.margin", "set.threshold", "set.slope", "read.noise", "x_hi")
    base = DEVICE.replace(x_hi=1.07)
    coordinates = Coordinates(base, names)
    found = values(coordinates.device(coordinates.theta()), names)
    np.testing.assert_allclose(np.array(found, float), np.array(values(base, names), float), rtol=1e-9)


def test_a_noise_that_is_as_good_as_none_is_that_small_in_coordinates_too() -> None:
    coordinates = Coordinates(DEVICE, ("set.cycle_noise", "reset.additive_noise", "read.noise"))
    assert values(coordinates.device(coordinates.faint()), coordinates.names) == pytest.approx([2e-3, 2e-5, 2e-5])


def test_two_amplitudes_that_tell_their_ratio_tell_one_coordinate() -> None:
    """The rate at two amplitudes stays in the same ratio to first order when the threshold alone is moved."""
    coordinates = Coordinates(DEVICE, ("set.threshold", "set.slope"))

    def ratio(theta: np.ndarray) -> float:
        law = coordinates.device(theta).set
        return float(np.expm1((0.99 - law.threshold) / law.slope) / np.expm1((1.0 - law.threshold) / law.slope))

    here = coordinates.theta()
    moved = ratio(here + np.array([0.5, 0.0])) / ratio(here) - 1
    assert abs(moved) < 0.05 * abs(ratio(here + np.array([0.0, 0.5])) / ratio(here) - 1)


def test_the_end_of_a_profile_is_that_of_the_error_where_the_likelihood_is_normal() -> None:
    curved = np.array([[4.0, 1.9], [1.9, 1.0]])
    error = np.linalg.inv(curved)[0, 0] ** 0.5

    def local(at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        return 0.5 * float(at @ curved @ at), curved @ at, curved

    ends = [end(local, np.zeros(2), lambda at: (at[0], np.eye(2)[0]), way, error) for way in (-1, 1)]
    assert ends == pytest.approx([-1.96 * error, 1.96 * error], rel=1e-3)


def test_the_end_of_a_profile_follows_a_valley_that_bends() -> None:
    """y follows x^2, so that the profile of x is normal however narrow the valley, and that of y is not."""

    def local(at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        x, away = at[0], (at[1] - at[0] ** 2) / 0.1
        slope = np.array([-2 * x, 1.0]) / 0.1
        return 0.5 * (x * x + away**2), np.array([x, 0.0]) + slope * away, np.diag([1.0, 0.0]) + np.outer(slope, slope)

    for way in (-1, 1):
        found = end(local, np.zeros(2), lambda at: (at[0], np.eye(2)[0]), way, 1.0)
        assert found == pytest.approx(1.96 * way, rel=0.03)


def test_straight_coordinates_lead_back() -> None:
    coordinates = Coordinates(DEVICE, ("set.dose", "set.gamma", "set.margin", "reset.dose", "read.noise"))
    theta = np.random.default_rng(0).normal(-1.0, 1.0, (5, 7))
    straight = coordinates.straight(theta)
    np.testing.assert_array_equal(straight[2:], theta[2:])
    assert np.all(straight[:2] != theta[:2])
    np.testing.assert_allclose(coordinates.straight(straight, -1), theta, rtol=1e-12)


def test_the_spread_of_devices_is_unbiased_and_its_intervals_hold_zero_where_there_is_none() -> None:
    rng, devices = np.random.default_rng(0), 8
    error = np.kron([0.05, 0.05, 0.01, 0.01], np.ones(devices))
    values_, held = [], []
    for _ in range(24):
        rate, asymmetry, shift = (sigma * rng.standard_normal(devices) for sigma in (0.2, 0.0, 0.04))
        offsets = np.concatenate([rate + asymmetry, rate - asymmetry, shift, shift]) + error * rng.standard_normal(32)
        found = spread_of_offsets(offsets / error**2, np.diag(error**-2.0), devices)
        truth = np.array([0.2, 0.0, 0.0, 0.0, 0.04])
        values_.append(found.value**2)
        held.append((found.intervals[:, 0] <= truth) & (truth <= found.intervals[:, 1]))
    mean = np.sqrt(np.mean(values_, axis=0))
    assert mean[[0, 4]] == pytest.approx([0.2, 0.04], rel=0.15)
    assert (np.mean(held, axis=0) >= 0.8).all()


def test_two_devices_that_are_alike_may_differ_as_far_as_chance_lets_them() -> None:
    offsets = np.array([0.01, -0.01, 0.01, -0.01])  # of both doses: the rate alone
    precision = 1e8 * np.kron(np.eye(2), np.eye(2) - 0.5)  # the mean of both is known by them alone
    found = spread_of_offsets(precision @ offsets, precision, devices=2)
    assert found.value[0] == pytest.approx(0.01 * 2**0.5, rel=0.01)
    assert found.intervals[0, 1] == pytest.approx(found.value[0] / 0.0313, rel=0.1)  # of chi^2 of one degree


# -- whole trains ------------------------------------------------------------------------------------------------------


def test_trains_that_the_law_does_not_follow_are_counted() -> None:
    still = DEVICE.replace(set=dataclasses.replace(LAW, cycle_noise=0.05), read=WanderingRead(noise=0.002))
    x, reads = np.full(20, 0.05), [np.full(20, 0.05)]
    bounds, up = (np.zeros(20), np.ones(20)), np.full(20, True)
    dose = LAW.dose * np.where(np.arange(20) < 2, 0.4, 1.0)  # two devices of another kind
    for _ in range(30):
        x = move(LAW.law(), x, *bounds, up, dose)
        reads.append(x)
    amplitude = np.vstack([np.zeros(20), np.ones((30, 20))])
    some = Trains(np.array(reads), amplitude, 1e-6 * amplitude, np.arange(20), *bounds, amplitude > 1)
    some = some._replace(width=np.full(amplitude.shape, 1e-6))
    (trace,) = traces(still, some, np.ones((2, 20)))
    assert (trace.far, trace.away) == (2, 2)
    assert "does not follow" in str(trace) and "does not follow" not in str(trace._replace(away=0, distance=0.01))
    assert "does not follow 2 of them, more than 5% of the range off" in str(trace._replace(distance=0.01))
    assert "2 are more than 5% off: noise, says the record" in str(trace._replace(distance=0.01, away=0))
    assert "follow 2 of them, more than 5% of the range off. 3 more are" in str(trace._replace(distance=0.01, far=5))


# -- relaxation --------------------------------------------------------------------------------------------------------


def rested(shift: float, spread: float) -> Rests:
    """60 states, each read 1, 10 and 1,000 s after its pulse; [S], g_max is 1e-4, read noise 2e-7."""
    rng, ages = np.random.default_rng(0), np.array([1.0, 10.0, 1000.0])
    part = np.log(ages / 1e-6) / np.log(1e9)
    change = 1e-4 * (shift + spread * rng.standard_normal((60, 1))) * part
    change = change + 2e-7 * (rng.standard_normal((60, 3)) - rng.standard_normal((60, 1)))
    return Rests(np.repeat(np.arange(60), 3), np.tile(ages, 60), change.ravel())


def test_relaxation_comes_back_with_its_shift_and_spread() -> None:
    kept, said = retention_of(rested(-0.05, 0.02), 2e-7, 1e-4)
    assert kept is not None and (kept.early, kept.late) == (1e-6, 1000.0)
    assert kept.shift_late == pytest.approx(-0.05, abs=3 * 0.02 / 60**0.5)
    assert kept.sigma_late[0] == pytest.approx(0.02, rel=0.25)
    assert "60 states read again 1 to 1e+03 s after their pulse" in said


def test_read_noise_is_no_relaxation() -> None:
    kept, said = retention_of(rested(0.0, 0.0), 2e-7, 1e-4)
    assert kept is None and "show no relaxation" in said


def test_reads_that_come_later_are_told_from_those_of_the_pulses(tmp_path: Path) -> None:
    lines, g = ["train,time (ms),V,G (uS)"], 10.0
    for k in range(60):
        way = 1 if k < 30 else -1
        g += 0.5 * way
        lines += [
            f"{way},{1000 * k},{way},{g}",
            f"{way},{1000 * k + 10},0,{g - 0.1}",
            f"{way},{1000 * k + 500},0,{g - 0.2}",
        ]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    data, rests = parted(read_csv(tmp_path / "log.csv"))
    assert np.isfinite(data.conductance).sum() == 60 and len(np.unique(rests.state)) == 58
    np.testing.assert_allclose(np.unique(rests.age.round(6)), [0.01, 0.5])
    np.testing.assert_allclose(rests.change * 1e6, np.where(rests.age < 0.1, -0.1, -0.2), atol=1e-9)


# -- what a record says it does not know -------------------------------------------------------------------------------

RECORD = DEVICE.replace(
    set=one_pulse_response(1.0, 1e-6, dose=0.05, margin=0.1), reset=LAW, read=Read(noise=0.004, voltage=0.2)
)
MUTE = ("set.threshold", "set.slope", "mismatch.rate", "x_hi")


def known(errors: dict[str, float], correlation: float = 0.0) -> Estimate:
    """An estimate with these standard errors, of which the first two go together."""
    matrix = np.eye(len(errors))
    matrix[0, 1] = matrix[1, 0] = correlation
    return Estimate(tuple(errors), tuple(errors.values()), ((0.0, 1.0),) * len(errors), matrix, MUTE)


def test_errors_and_correlations_of_a_fit_stand_in_its_record_and_priors_where_no_data_tell() -> None:
    errors = {"set.dose": 0.1, "set.gamma": 0.2, "reset.threshold": 0.03, "read.noise": 0.05}
    device, said = with_uncertainty(RECORD, known(errors, 0.7), ("set.width",))
    unknown = validate(device).uncertainty
    assert unknown is not None and said == []
    deviations = dict(zip(unknown.parameters, unknown.deviations, strict=True))
    assert deviations == errors | {"set.slope": 0.5, "set.threshold": 0.1}
    assert unknown.correlations[0][1] == pytest.approx(0.7, abs=1e-3)
    assert unknown.assumed == ("set.threshold", "set.slope", "mismatch.rate", "g_max", "set.width")


def test_an_error_wider_than_the_law_stands_is_narrowed_with_a_word() -> None:
    device, said = with_uncertainty(RECORD, known({"set.gamma": 3.0, "set.dose": 0.1}))
    unknown = validate(device).uncertainty
    assert unknown is not None and 0.1 < unknown.deviations[0] < 3.0
    (sentence,) = said
    assert sentence.startswith("set.gamma may be off by 3, the law stands")


def test_a_parameter_that_is_nothing_is_not_uncertain_by_a_factor() -> None:
    still = with_values(RECORD, {"read.noise": 0.0})
    device, said = with_uncertainty(still, known({"set.dose": 0.1, "read.noise": 0.5}))
    assert device.uncertainty is not None and "read.noise" not in device.uncertainty.parameters and said == []


def test_trains_that_are_no_device_are_said_to_be_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for reads, message in (
        (rng.uniform(1e-6, 1e-4, 160), r"trains follow no law of a device \(.*noise is .*\): look for reads"),
        (5e-5 * np.exp(0.001 * rng.standard_normal(160)), "as trains end: .*take trains whose pulses move the device"),
    ):
        lines = [f"{k // 40},{k % 40},{1 - 2 * (k // 40 % 2)},1e-6,{g}" for k, g in enumerate(reads)]
        (tmp_path / "a.csv").write_text("\n".join(["train,pulse,amplitude_V,width_s,conductance_S", *lines]) + "\n")
        with pytest.raises(DeviceError, match=message):
            fit(read_csv(tmp_path / "a.csv"))


def test_tables_tell_how_much_devices_differ_in_noise() -> None:
    factor, x = np.array([0.7, 1.0, 1.6]), np.tile(np.linspace(0, 1, 9), (3, 1))
    still = _Measured(x, np.zeros((2, 3, 9)), np.zeros((2, 3, 9)))
    moments = [_moments(DEVICE, still, polarity, np.zeros((3, 1))) for polarity in ("set", "reset")]
    mean, spread = (np.array(own) for own in zip(*moments, strict=True))
    measured = _Measured(x, mean, factor[:, None] * spread)
    found = _with_mismatch(DEVICE, measured, (), np.zeros((2, 3)))
    assert found.device.mismatch.cycle_noise == pytest.approx(np.std(np.log(factor), ddof=1), rel=1e-6)
    assert "mismatch.cycle_noise" in found.names
