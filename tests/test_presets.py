"""The presets against their sources, and the one function that takes a name, a file, a record or a list."""

import json
import math
from typing import NamedTuple

import numpy as np
import pytest

import memenv
from agents.classical.write_verify import ISPP
from agents.evaluation import evaluate
from memenv import Device, DeviceError, Mismatch, Mixture, WriteVerify, load_device, to_json
from memenv.devices.law import equivalent_pulses, move
from memenv.devices.neurosim import ASSUMED_AMPLITUDE, neurosim_a, neurosim_label
from memenv.devices.records import validate


class Row(NamedTuple):
    """A row of the published table of devices."""

    name: str
    states: int
    set_label: float
    reset_label: float
    on_off: float
    noise: float  # of the range, per pulse
    r_on: float | None = None  # [Ohm]
    set_pulse: tuple[float, float] | None = None  # magnitude [V], width [s]
    reset_pulse: tuple[float, float] | None = None


ROWS = [
    Row("ag-asi", 97, 2.40, -4.88, 12.5, 0.035, 26e6, (3.2, 300e-6), (2.8, 300e-6)),
    Row("taox-tio2", 102, 0.66, -0.69, 2.0, 0.01, 5e6, (3.0, 40e-3), (3.0, 10e-3)),
    Row("pcmo", 50, 3.68, -6.76, 6.84, 0.01, 23e6, (2.0, 1e-3), (2.0, 1e-3)),
    Row("alox-hfo2", 40, 1.94, -0.61, 4.43, 0.05, 16.9e3, (0.9, 100e-6), (1.0, 100e-6)),
    Row("fefet", 32, 1.75, 1.46, 45.0, 0.005, 559e3, (3.65, 75e-9), (2.95, 75e-9)),
    Row("epiram", 64, 0.5, -0.5, 50.2, 0.02),
    Row("taox-hfox", 128, 0.04, -0.63, 10.0, 0.037),
]


def trace(device: Device, up: bool, pulses: np.ndarray) -> np.ndarray:
    """Noise-free states after so many reference pulses from bound to bound."""
    law = (device.set if up else device.reset).law()
    start = np.full(len(pulses), 0.0 if up else 1.0)
    return move(law, start, 0.0, 1.0, np.full(len(pulses), up), law.dose * pulses)


@pytest.mark.parametrize(
    "label, a", [(2.40, 0.499), (-4.88, -0.2003), (1.75, 0.7021), (1.94, 0.6292), (3.68, 0.3006), (6.76, 0.1003)]
)
def test_a_label_maps_to_neurosims_a(label, a):
    assert neurosim_a(label) == pytest.approx(a, rel=5e-4)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("up", [True, False], ids=["SET", "RESET"])
def test_a_labelled_device_has_the_published_nonlinearity(row, up):
    share = np.linspace(0, 1, 20001)
    x = trace(load_device(row.name), up, share * row.states)
    y = x if up else 1 - x  # of the way
    bulge = (y - share)[np.argmax(np.abs(y - share))]
    assert neurosim_label(bulge) == pytest.approx(row.set_label if up else -row.reset_label, rel=1e-4)
    assert y[-1] == pytest.approx(1) and y[-2] < 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_labelled_device_follows_the_exponential_curve(row):
    a = neurosim_a(row.set_label) * row.states
    pulses = np.arange(row.states + 1)
    expected = -np.expm1(-pulses / a) / -math.expm1(-row.states / a)
    np.testing.assert_allclose(trace(load_device(row.name), True, pulses), expected, atol=1e-9)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_labelled_device_has_the_published_range_pulses_and_noise(row):
    device = load_device(row.name)
    assert device.g_max / device.g_min == pytest.approx(row.on_off)
    assert device.set.additive_noise == device.reset.additive_noise == row.noise
    if row.r_on is not None:
        assert 1 / device.g_max == pytest.approx(row.r_on)
        assert (device.set.amplitude, device.set.width) == row.set_pulse
        assert (device.reset.amplitude, device.reset.width) == row.reset_pulse
    else:
        assert "Second-hand" in device.source


@pytest.mark.parametrize("name, dw_min", [("hfo2-array-om", 0.0949), ("hfo2-array-baseline", 0.4622)])
def test_a_pulse_of_an_array_fit_takes_the_weight_its_share_of_the_way(name, dw_min):
    device = load_device(name)
    for w in (-1.0, -0.3, 0.6):
        x = np.array([(w + 1) / 2])
        for up, expected in ((True, w + dw_min * (1 - w)), (False, w - dw_min * (1 + w))):
            law = device.law(np.array([up]))
            assert 2 * move(law, x, 0.0, 1.0, np.array([up]), np.array([law.dose]))[0] - 1 == pytest.approx(expected)


@pytest.mark.parametrize("name, corrupt", [("hfo2-array-om", 0.1348), ("hfo2-array-baseline", 0.0977)])
def test_the_published_share_of_cells_of_an_array_is_stuck(name, corrupt):
    chip = load_device(name).fabricate(np.random.default_rng(0), 20_000)
    assert np.mean(chip.x_lo == chip.x_hi) == pytest.approx(corrupt, abs=0.01)


@pytest.mark.parametrize(
    "name, share", [("hfo2-array-om", 1.4113 * 0.0949 / 2), ("hfo2-array-baseline", 0.5841 * 0.4622 / 2)]
)
def test_the_arrays_show_the_noise_of_a_write_and_go_on_from_what_was_written(name, share):
    device, cells = load_device(name), 20_000
    noise = np.random.default_rng(0).standard_normal((2, 3, cells))
    chip = device.replace(mismatch=Mismatch(), uncertainty=None)
    one = chip.pulse(chip.fresh(np.full(cells, 0.5), noise[0, :2]), np.full(cells, 1.0), np.full(cells, 1e-6), noise[0])
    shown = (chip.conductance(one) - chip.g_min) / (chip.g_max - chip.g_min)
    assert (shown - one.x).std() == pytest.approx(share, rel=0.02)
    again = chip.pulse(one, np.full(cells, 1.0), np.full(cells, 1e-6), noise[1])
    shown_again = (chip.conductance(again) - chip.g_min) / (chip.g_max - chip.g_min)
    assert np.corrcoef(shown - one.x, shown_again - again.x)[0, 1] == pytest.approx(0.0, abs=0.03)


def test_pcm_drifts_spreads_and_flickers_as_published():
    device, g = load_device("pcm"), np.array([0.1, 0.5, 0.9])
    x = (25e-6 * g - device.g_min) / (device.g_max - device.g_min)

    def conductance(age: float, relaxation: float = 0.0, drift: float = 0.0) -> np.ndarray:
        state = device.fresh(x, np.zeros((2, 3)))
        return device.conductance(state._replace(age=x * 0 + age, relaxation=x * 0 + relaxation, drift=x * 0 + drift))

    np.testing.assert_allclose(conductance(20.0), 25e-6 * g, rtol=1e-9)
    mean = np.clip(-0.0155 * np.log(g) + 0.0244, 0.049, 0.1)
    spread = np.clip(-0.0125 * np.log(g) - 0.0059, 0.008, 0.045)
    np.testing.assert_allclose(conductance(2000.0), 25e-6 * g * 100**-mean, rtol=1e-9)
    np.testing.assert_allclose(conductance(2000.0, drift=2.0), 25e-6 * g * 100 ** -(mean + 2 * spread), rtol=1e-9)
    error = (-1.1731 * g**2 + 1.9650 * g + 0.26348) * 1e-6
    np.testing.assert_allclose(conductance(20.0, relaxation=1.0) - conductance(20.0), error, rtol=1e-9)
    state = device.fresh(x, np.zeros((2, 3)))._replace(age=x * 0 + 1.0)
    seen, _ = device.sense(state, np.ones((2, 3)))
    growth = math.sqrt(math.log((1.0 + device.read.duration + 2.5e-7) / 5e-7))
    np.testing.assert_allclose(seen - device.conductance(state), 25e-6 * g * 0.0088 * g**-0.65 * growth, rtol=1e-6)


@pytest.mark.parametrize("name", memenv.presets())
def test_a_preset_is_possible_bears_its_name_and_states_its_source(name):
    device = load_device(name)
    assert validate(device) is device
    assert device.name == name and len(device.source) > 20


@pytest.mark.parametrize("name", [row.name for row in ROWS] + ["hfo2-array-om", "hfo2-array-baseline", "pcm"])
def test_an_amplitude_law_that_is_an_assumption_is_stated_as_one(name):
    device = load_device(name)
    assert ASSUMED_AMPLITUDE in device.source
    for response in (device.set, device.reset):
        assert response.threshold == response.amplitude / 2 and response.slope == response.amplitude / 10


@pytest.mark.parametrize("up", [True, False], ids=["SET", "RESET"])
@pytest.mark.parametrize("name", memenv.presets())
def test_the_driver_of_a_preset_offers_its_reference_pulse_and_can_cross_the_range(name, up):
    device = load_device(name)
    response, driver = (device.set, device.driver) if up else (device.reset, device.driver)
    low, high = (driver.set_min, driver.set_max) if up else (driver.reset_min, driver.reset_max)
    assert low <= response.amplitude <= high and driver.width_min <= response.width <= driver.width_max
    strongest = equivalent_pulses(response.law(), np.array([high]), np.array([driver.width_max]))
    assert abs(trace(device, up, 50 * strongest)[0] - (0.0 if up else 1.0)) > 0.9


# -- load_device -------------------------------------------------------------------------------------------------------


def test_a_device_is_loaded_by_name_path_record_or_object(tmp_path):
    device = load_device("pcm")
    path = tmp_path / "mine.json"
    path.write_text(to_json(device), encoding="utf-8")
    for spec in ("pcm", path, str(path), device, json.loads(to_json(device)), [path]):
        assert load_device(spec) == device


def test_a_list_is_a_mixture_of_what_it_names(tmp_path):
    mixture = load_device(["ideal", load_device("pcm")])
    assert isinstance(mixture, Mixture)
    assert mixture.devices == (load_device("ideal"), load_device("pcm")) and mixture.name == "ideal+pcm"
    assert load_device(mixture) is mixture


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(DeviceError, match=r"unknown device 'perovskite'; presets: ideal, ag-asi, .*; or give a path"):
        load_device("perovskite")


def test_a_file_that_is_missing_or_malformed_is_named(tmp_path):
    with pytest.raises(DeviceError, match=r"cannot read the device file .*gone\.json"):
        load_device(tmp_path / "gone.json")
    broken = tmp_path / "broken.json"
    broken.write_text('{"g_min": -1}')
    with pytest.raises(DeviceError, match=r"broken.json: g_min is -1, allowed is 1e-18 to 1000"):
        load_device(broken)
    broken.write_bytes(b"\xff\xfe{}")
    with pytest.raises(DeviceError, match=r"cannot read the device file .*broken.json"):
        load_device(broken)


@pytest.mark.parametrize("spec", [7, None, [], {"dose": 1}, [["ideal", "pcm"], "ideal"], Device(g_min=-1.0)])
def test_what_is_no_device_is_refused(spec):
    with pytest.raises(DeviceError):
        load_device(spec)


@pytest.mark.parametrize("label", [0.0, 12.0])
def test_a_label_without_a_curve_is_refused(label):
    with pytest.raises(DeviceError, match=f"nonlinearity label is {label}, allowed is"):
        neurosim_a(label)


def test_neurram_is_programmed_in_as_many_pulses_and_relaxes_as_published():
    device = load_device("hfo2-neurram")
    task = WriteVerify(device=device.replace(uncertainty=None), tolerance=1 / 39, confirm_reads=1, max_pulses=60)
    ramp = ISPP(task=task, set_start=0.0, reset_start=0.0, step=0.1 / 2.1)  # from 1.2 V by 0.1 V, within 1 uS
    found = evaluate(ramp, task, 1000, 0)
    assert found.pulses.mean() == pytest.approx(8.5, abs=0.3) and found.accepted.mean() > 0.98
    level, cells = 0.5, 20_000
    state = device.fresh(np.full(cells, level), np.zeros((2, cells)))
    state = state._replace(relaxation=np.random.default_rng(0).standard_normal(cells))
    for seconds, published in ((1.0, 2.01), (86400.0, 3.92)):  # [uS] of the polynomials at 20.5 uS
        spread = device.conductance(device.rest(state, seconds)).std() * 1e6
        assert spread == pytest.approx(published, rel=0.1)
