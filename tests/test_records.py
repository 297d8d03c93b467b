"""Device records as JSON: nothing is lost, and what is impossible is refused by field, value and range."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest
from extremes import WHOLE, at_all_ends, changed, dressed, numbers, records, side_by_side, use, use_chip
from hypothesis import given, settings
from hypothesis import strategies as st

import memenv
from memenv import Device, DeviceError, Mismatch, Read, Response, from_json, to_json
from memenv.devices.records import PARTS, RANGES, validate
from memenv.devices.uncertainty import Uncertainty


def record(**fields) -> str:
    """The JSON of a default device with some top-level fields changed."""
    return json.dumps(json.loads(to_json(Device())) | fields)


@pytest.mark.parametrize("name", memenv.presets())
def test_the_json_of_every_preset_round_trips_without_loss(name):
    device = memenv.load_device(name)
    assert from_json(to_json(device)) == device
    assert to_json(from_json(to_json(device))) == to_json(device)


def test_a_record_that_uses_every_field_round_trips(everything):
    assert from_json(to_json(everything)) == everything


@settings(max_examples=50)
@given(st.floats(min_value=1e-12, max_value=1e-3), st.floats(min_value=0.0, max_value=8.0), st.text(max_size=20))
def test_every_digit_and_letter_survives(g_min, gamma, name):
    device = Device(name=name, g_min=g_min, g_max=g_min * 3.7, set=Response(gamma=gamma))
    assert from_json(to_json(device)) == device


def test_fields_that_are_left_out_have_their_defaults():
    assert from_json("{}") == Device()
    assert from_json('{"set": {"dose": 0.3}, "retention": null}') == Device(set=Response(dose=0.3))


def test_whole_numbers_stand_for_themselves():
    assert from_json('{"x_lo": 0, "x_hi": 1, "set": {"gamma": 2}}') == Device(set=Response(gamma=2.0))


def test_every_numeric_field_has_a_range_or_is_named_by_its_type():
    kinds = {Device, *PARTS.values()} - {Uncertainty}  # whose numbers have those that the law stands
    assert RANGES.keys() == kinds
    for kind in kinds:
        numeric = {
            f.name
            for f in dataclasses.fields(kind)
            if isinstance(f.default, int | float | tuple) and not isinstance(f.default, bool)
        }
        assert RANGES[kind].keys() == numeric


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a device record: invalid JSON"),
        ('{"g_min": 1e-6', "not a device record: invalid JSON"),
        ("[1, 2]", "not a device record: the JSON holds a list, an object is needed"),
        ('{"g_min": 1e-6, "g_min": 1e-6}', "'g_min' twice in one object"),
        ("[" * 100_000, "not a device record: invalid JSON, the JSON has more than 32 lists and objects"),
        ('{"g_min": ' + "1" * 5000 + "}", "not a device record: invalid JSON, Exceeds the limit"),
        ('{"gmin": 1e-6}', "gmin: unknown field; known here: name, source, g_min"),
        ('{"set": {"doze": 1}}', "set.doze: unknown field; known here: amplitude"),
        ('{"set": 3}', "set is 3, an object is needed"),
        ('{"set": null}', "set is None, a Response record is needed"),
        ('{"read": {"noise": NaN}}', "read.noise is nan, a finite number is needed"),
        ('{"g_max": Infinity}', "g_max is inf, a finite number is needed"),
        ('{"g_max": 1' + "0" * 400 + "}", "g_max is 10+, a finite number is needed"),
        ('{"g_max": "100 uS"}', "g_max is '100 uS', a number is needed"),
        ('{"g_max": true}', "g_max is True, a number is needed"),
        ('{"g_max": null}', "g_max is None, a number is needed"),
        ('{"g_max": [1e-4]}', r"g_max is \(0.0001,\), a number is needed"),
        ('{"name": 5}', "name is 5, a text is needed"),
        ('{"set": {"growing": 1}}', "set.growing is 1, a true or false is needed"),
        ('{"read": {"adc_bits": 4.5}}', "read.adc_bits is 4.5, a whole number is needed"),
        ('{"read": {"adc_bits": 40}}', "read.adc_bits is 40, allowed is 0 to 32"),
        ('{"retention": {"sigma_late": [1, 2]}}', r"retention.sigma_late is \(1, 2\), 5 numbers are needed"),
        ('{"retention": {"drift_mean": [0, 0, 0, NaN]}}', "retention.drift_mean is nan, a finite number is needed"),
        ('{"g_min": 1e-4, "g_max": 1e-4}', "g_min is 0.0001 and g_max is 0.0001: g_min must be the smaller"),
        (
            '{"g_min": 0.99999999e-4}',
            "g_min is 9.9999999e-05 and g_max is 0.0001: single precision needs them",
        ),
        ('{"g_min": 2e-4}', "g_min is 0.0002 and g_max is 0.0001: g_min must be the smaller"),
        ('{"g_min": 0}', "g_min is 0, allowed is 1e-18 to 1000"),
        ('{"x_lo": 1.5}', "x_lo is 1.5 and x_hi is 1.0: x_lo must be the smaller"),
        ('{"set": {"width": -1e-6}}', "set.width is -1e-06, allowed is 1e-15 to 1000"),
        ('{"driver": {"width_min": -1e-6}}', "driver.width_min is -1e-06, allowed is 1e-15 to 1000"),
        (
            '{"driver": {"width_min": 1}}',
            "driver.width_min is 1 and driver.width_max is 1e-05: driver.width_min must be",
        ),
        (
            '{"driver": {"set_max": 0.4}}',
            "driver.set_min is 0.5 and driver.set_max is 0.4: driver.set_min must be the smaller",
        ),
        ('{"reset": {"threshold": 1.0}}', "reset.threshold is 1.0: it must be below reset.amplitude, 1.0"),
        (
            '{"set": {"slope": 0.001}}',
            r"set.slope is 0.001: amplitudes up to 1.5 V would change the rate by more than e\^80",
        ),
        (
            '{"set": {"slope": 6e5}}',
            "set.slope is 600000.0: it must be at most 1 / 1e-06 of what set",
        ),
        (
            '{"set": {"gamma": 8, "margin": 1e4}}',
            "set.gamma is 8: with the poles 10001 and more apart",
        ),
        (
            '{"retention": {"sigma_late": [0, 0, 0, 0, 1e9]}}',
            r"retention.sigma_late is \(.*\), allowed is -1000 to 1000",
        ),
        ('{"set": {"kappa": 1.0}}', "set.kappa is 1.0: the second pole would lie inside the range; allowed is below 1"),
        ('{"set": {"growing": true}}', "set.margin is 0.0: where steps grow it must be > 0"),
        ('{"set": {"cycle_noise": -0.1}}', "set.cycle_noise is -0.1, allowed is 0 to 5"),
        ('{"mismatch": {"stuck_low": 1.5}}', "mismatch.stuck_low is 1.5, allowed is 0 to 1"),
        ('{"mismatch": {"stuck_low": 0.7, "collapsed": 0.6}}', "mismatch: stuck and collapsed shares add up to 1.3"),
        ('{"retention": {"early": 1, "late": 0.5}}', "retention.early is 1 and retention.late is 0.5"),
    ],
)
def test_an_impossible_record_is_refused_by_field_value_and_what_is_allowed(text, message):
    with pytest.raises(DeviceError, match=message):
        from_json(text)


@pytest.mark.parametrize("kind", RANGES)
def test_values_just_outside_every_range_are_refused(kind):
    for part, name, place, low, high in numbers():
        if (PARTS[part] if part else Device) is kind:
            for value in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf)):
                with pytest.raises(DeviceError, match=name):
                    validate(changed(WHOLE, part, name, place, value))


FUZZ = int(os.environ.get("MEMENV_FUZZ", "1")) >= 1000  # at length: hours
CELLS, STEPS = (20_000, 50) if FUZZ else (20, 6)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", memenv.presets())
def test_both_ends_and_the_middle_of_every_range_give_finite_numbers(name, kind, everything):
    device = dressed(memenv.load_device(name), everything)
    devices = at_all_ends(device)
    if FUZZ:
        assert [use(one, CELLS, STEPS, kind) for one in devices] == [""] * len(devices)
    else:
        assert use_chip(side_by_side(devices, CELLS), CELLS * len(devices), STEPS, kind) == ""


@pytest.mark.parametrize("name", memenv.presets() if FUZZ else ["ideal", "threshold"])
def test_so_do_the_ends_where_a_device_has_no_other_terms(name):
    devices = at_all_ends(memenv.load_device(name))
    assert [use(one, CELLS, STEPS) for one in devices] == [""] * len(devices)


@settings(max_examples=10_000 if FUZZ else 100)
@given(records(), st.sampled_from([np.float64, np.float32]))
def test_no_record_drawn_at_random_gives_anything_but_finite_numbers(device, kind):
    assert use(device, CELLS, STEPS, kind) == ""


def test_numbers_of_numpy_are_numbers():
    device = validate(Device(g_max=np.float64(1e-3), x_hi=np.float32(0.5), read=Read(adc_bits=np.int64(8))))
    assert device == Device(g_max=1e-3, x_hi=0.5, read=Read(adc_bits=8)) and from_json(to_json(device)) == device


def test_a_driver_may_offer_a_single_width():
    validate(from_json('{"driver": {"width_min": 1e-6, "width_max": 1e-6}}'))


def test_a_fabricated_chip_is_not_a_record():
    chip = Device(mismatch=Mismatch(x_lo=0.1)).fabricate(np.random.default_rng(0), 3)
    with pytest.raises(DeviceError, match=r"x_lo is array.*, a number is needed"):
        validate(chip)
