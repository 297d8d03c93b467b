"""Device records as JSON, without loss, and the validation of what a user hands over."""

import dataclasses
import json
from itertools import pairwise
from typing import Any

import numpy as np

from memenv.arrays import tree_map
from memenv.bounds import once, shown
from memenv.devices.device import Device, Driver, Mismatch
from memenv.devices.gate import Gate
from memenv.devices.grid import multiples, within
from memenv.devices.law import DOSES, GAMMAS, SPREADS, STEEPEST, Response
from memenv.devices.reads import Read, Retention
from memenv.devices.uncertainty import ADDED, FACTORS, FARTHEST, Uncertainty, displaced
from memenv.files import parse_json


class DeviceError(ValueError):
    """A device that is unknown, malformed or impossible; the message names the field, the value and the range."""


SIEMENS = (1e-18, 1e3)
VOLTS = (1e-6, 1e6)
MOST_LISTED = 256  # amplitudes, and widths, of an instrument: compiled loops choose one by one
MOST_STEPS = 1e12  # up to the largest, whose number a float holds with digits to spare
PULSE_SECONDS = (1e-15, 1e3)
SECONDS = (1e-15, 1e12)
SHARE = (0.0, 1.0)
COEFFICIENT = (-1e3, 1e3)
LEAST_DRIVE = 1e-6  # [slope] of the reference pulse above threshold: below, its unit vanishes in single precision
LEAST_WINDOW = 1e-6  # [g_min] between g_min and g_max
MOST_GROWTH = 1e20  # of r^(gamma - 1) from one end of the range to the other

# Allowed ranges, both ends included: those in which the law gives finite numbers in single precision too. Of tuples
# that of each number. What is not named here is checked by its type alone.
RANGES: dict[type, dict[str, tuple[float, float]]] = {
    Device: {"g_min": SIEMENS, "g_max": SIEMENS, "x_lo": (-10.0, 10.0), "x_hi": (-10.0, 10.0)},
    Response: {
        "amplitude": VOLTS,
        "width": PULSE_SECONDS,
        "threshold": (0.0, 1e6),
        "slope": VOLTS,
        "shift": (-1e6, 1e6),
        "dose": DOSES,
        "gamma": GAMMAS,
        "margin": (0.0, 1e4),
        "kappa": (0.0, 1e3),
        "cycle_noise": SPREADS,
        "additive_noise": SPREADS,
    },
    Driver: {
        "set_min": (0.0, 1e6),
        "set_max": VOLTS,
        "reset_min": (0.0, 1e6),
        "reset_max": VOLTS,
        "width_min": PULSE_SECONDS,
        "width_max": PULSE_SECONDS,
        "amplitude_step": (0.0, 1e6),
        "width_step": (0.0, 1e3),
        "amplitudes": VOLTS,
        "widths": PULSE_SECONDS,
    },
    Mismatch: {
        "rate": SPREADS,
        "asymmetry": SPREADS,
        "gamma": SPREADS,
        "slope": SPREADS,
        "cycle_noise": SPREADS,
        "threshold": SHARE,
        "x_lo": SPREADS,
        "x_hi": SPREADS,
        "x_shift": SPREADS,
        "stuck_low": SHARE,
        "stuck_high": SHARE,
        "stuck_anywhere": SHARE,
        "collapsed": SHARE,
        "collapsed_range": SHARE,
    },
    Read: {
        "voltage": VOLTS,
        "duration": PULSE_SECONDS,
        "noise": SPREADS,
        "noise_exponent": (0.0, 5.0),
        "noise_log_time": (0.0, 1e6),
        "telegraph": SPREADS,
        "telegraph_occupancy": SHARE,
        "telegraph_time": SECONDS,
        "adc_bits": (0, 32),
    },
    Retention: {
        "early": SECONDS,
        "late": SECONDS,
        "shift_early": COEFFICIENT,
        "shift_late": COEFFICIENT,
        "sigma_early": COEFFICIENT,
        "sigma_late": COEFFICIENT,
        "drift_t0": SECONDS,
        "drift_mean": COEFFICIENT,
        "drift_spread": COEFFICIENT,
    },
    Gate: {
        "low": (0.0, 1e6),
        "high": VOLTS,
        "step": (0.0, 1e6),
        "rise": (0.0, 1e3),
        "stretch": (0.01, 1.0),
        "loss": (0.0, 1e6),
        "volts": (0.0, 1e6),
        "stops": (-10.0, 10.0),
        "mismatch": SPREADS,
        "cycle_noise": SPREADS,
        "cell": (-FARTHEST, FARTHEST),
    },
}
PARTS = {
    "set": Response,
    "reset": Response,
    "driver": Driver,
    "mismatch": Mismatch,
    "read": Read,
    "retention": Retention,
    "uncertainty": Uncertainty,
    "gate": Gate,
}
OPTIONAL = ("retention", "uncertainty", "gate")
FIELDS = tuple(  # that can be assumed
    f"{part}{name}"
    for part, kind in {"": Device, **{f"{name}.": kind for name, kind in PARTS.items()}}.items()
    for name in RANGES.get(kind, ())
)


def to_json(device: Device) -> str:
    """The record of a nominal device as JSON text; `from_json` returns an equal record."""
    tree = dataclasses.asdict(device)
    if device.gate is None:  # records of two-terminal devices stay as they were
        del tree["gate"]
    return json.dumps(tree, indent=2, allow_nan=False) + "\n"


def from_json(text: str) -> Device:
    """The device of a JSON text; fields that are left out have their defaults.

    Raises:
        DeviceError: not JSON, an unknown field, a wrong type or a value outside its range.
    """
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise DeviceError(f"not a device record: invalid JSON, {error}") from None
    if not isinstance(tree, dict):
        raise DeviceError(f"not a device record: the JSON holds a {type(tree).__name__}, an object is needed")
    return from_tree(tree)


def from_tree(tree: dict[str, Any]) -> Device:
    """The device of a JSON object that has been read; errors as in `from_json`."""
    return validate(_build(Device, tree, ""))


def _build(kind: type, tree: dict[str, Any], path: str) -> Any:
    """A record of `kind` from a JSON object."""
    known = [f.name for f in dataclasses.fields(kind)]
    for name in tree:
        if name not in known:
            raise DeviceError(f"{path}{name}: unknown field; known here: {', '.join(known)}")
    values = {}
    for name, value in tree.items():
        if kind is Device and name in PARTS and value is not None:
            if not isinstance(value, dict):
                raise DeviceError(f"{path}{name} is {shown(value)}, an object is needed")
            value = _build(PARTS[name], value, f"{path}{name}.")
        values[name] = _tuples(value)
    return kind(**values)


def _tuples(value: Any) -> Any:
    """Lists of JSON, and those in them, as records hold them."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def validate(device: Device) -> Device:
    """The same nominal device if it is possible; NumPy's numbers become Python's.

    Raises:
        DeviceError: naming field, value and what is allowed.
    """
    device = tree_map(lambda leaf: leaf.item() if isinstance(leaf, np.generic) else leaf, device)
    _check_types(device, Device(), "")
    _check_values(device)
    if device.uncertainty is not None:
        _check_uncertainty(device, device.uncertainty)
    return device


def _check_values(device: Device) -> None:
    """Every number is in its range, and what must hold between them does."""
    for part, record in {"": device, **{f"{name}.": getattr(device, name) for name in PARTS}}.items():
        for name, (low, high) in RANGES.get(type(record), {}).items():
            value = getattr(record, name)
            if not all(low <= number <= high for number in (value if isinstance(value, tuple) else (value,))):
                raise DeviceError(f"{part}{name} is {value!r}, allowed is {low:g} to {high:g}")
    _check_order(device)


def _check_types(record: Any, like: Any, path: str) -> None:
    """Every leaf is of the type of its default, and finite."""
    for f in dataclasses.fields(like):
        value, default, name = getattr(record, f.name), getattr(like, f.name), path + f.name
        if f.name in PARTS and isinstance(record, Device):
            if value is None and f.name in OPTIONAL:
                continue
            kind = PARTS[f.name]
            if not isinstance(value, kind):
                raise DeviceError(f"{name} is {shown(value)}, a {kind.__name__} record is needed")
            if kind is not Uncertainty:  # of which the lengths are free
                _check_types(value, kind(), name + ".")
        elif isinstance(default, tuple):
            if not isinstance(value, tuple) or len(value) != (len(default) or len(value)):  # of none as many as wanted
                needed = f"{len(default)} numbers are" if default else "a tuple of numbers is"
                raise DeviceError(f"{name} is {shown(value)}, {needed} needed")
            for item in value:
                _check_number(name, item)
        elif isinstance(default, str | bool):
            if not isinstance(value, type(default)):
                raise DeviceError(
                    f"{name} is {shown(value)}, a {'text' if isinstance(default, str) else 'true or false'} is needed"
                )
        else:
            _check_number(name, value)
            if isinstance(default, int) and not isinstance(value, int):
                raise DeviceError(f"{name} is {value!r}, a whole number is needed")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DeviceError(f"{name} is {shown(value)}, a number is needed")
    if not abs(value) <= 1e300:  # not true of NaN, nor of a whole number that no float holds
        raise DeviceError(f"{name} is {shown(value)}, a finite number is needed")


def _check_order(device: Device) -> None:
    """Conditions that must hold between fields."""
    driver, retention, mismatch = device.driver, device.retention, device.mismatch
    ordered = [
        ("g_min", device.g_min, "g_max", device.g_max),
        ("x_lo", device.x_lo, "x_hi", device.x_hi),
        ("driver.set_min", driver.set_min, "driver.set_max", driver.set_max),
        ("driver.reset_min", driver.reset_min, "driver.reset_max", driver.reset_max),
        ("driver.width_min", driver.width_min, "driver.width_max", driver.width_max),
    ]
    _check_grid(driver)
    if device.gate is not None:
        _check_gate(device.gate)
    if retention is not None:
        ordered.append(("retention.early", retention.early, "retention.late", retention.late))
    for low_name, low, high_name, high in ordered:
        fixed = low_name == "driver.width_min" and low == high  # a driver may offer one width
        if not low < high and not fixed:
            raise DeviceError(f"{low_name} is {low!r} and {high_name} is {high!r}: {low_name} must be the smaller")
    if device.g_max < (1 + LEAST_WINDOW) * device.g_min:
        raise DeviceError(
            f"g_min is {device.g_min!r} and g_max is {device.g_max!r}: single precision needs them {LEAST_WINDOW:g} of "
            "g_min apart"
        )
    shares = mismatch.stuck_low + mismatch.stuck_high + mismatch.stuck_anywhere + mismatch.collapsed
    if shares > 1:
        raise DeviceError(f"mismatch: stuck and collapsed shares add up to {shares:.3g}, allowed is at most 1")
    for name, response, largest in (("set", device.set, driver.set_max), ("reset", device.reset, driver.reset_max)):
        if not response.threshold < response.amplitude:
            raise DeviceError(
                f"{name}.threshold is {response.threshold!r}: it must be below {name}.amplitude, {response.amplitude!r}"
            )
        if response.amplitude - response.threshold < LEAST_DRIVE * response.slope:
            raise DeviceError(
                f"{name}.slope is {response.slope!r}: it must be at most 1 / {LEAST_DRIVE:g} of what {name}.amplitude "
                f"is above {name}.threshold, {response.amplitude - response.threshold:g} V"
            )
        if max(largest, response.amplitude) - response.threshold > STEEPEST * response.slope:
            raise DeviceError(
                f"{name}.slope is {response.slope!r}: amplitudes up to {largest!r} V would change the rate by more "
                f"than e^{STEEPEST:g}"
            )
        if response.growing and response.margin <= 0:
            raise DeviceError(
                f"{name}.margin is {response.margin!r}: where steps grow it must be > 0, "
                "or a cell at the bound never leaves it"
            )
        reach = device.x_hi - device.x_lo + response.margin
        if response.kappa * reach >= 1:
            raise DeviceError(
                f"{name}.kappa is {response.kappa!r}: the second pole would lie inside the range; allowed is below "
                f"{1 / reach:.6g}"
            )
        far = reach / (1 - response.kappa * reach)
        if max(far, 1.0) ** (response.gamma - 1) > MOST_GROWTH:
            raise DeviceError(
                f"{name}.gamma is {response.gamma!r}: with the poles {reach:g} and more apart steps would differ by "
                f"more than a factor of {MOST_GROWTH:g}"
            )


def _check_grid(driver: Driver) -> None:
    """The instrument makes at least one pulse of each polarity within the driver's ranges."""
    ranges = {"set": "amplitude", "reset": "amplitude", "width": "width"}
    for name, kind in ranges.items():
        low, high = getattr(driver, f"{name}_min"), getattr(driver, f"{name}_max")
        step, values = getattr(driver, f"{kind}_step"), getattr(driver, f"{kind}s")
        if 0 < step < high / MOST_STEPS:
            raise DeviceError(f"driver.{kind}_step is {step!r}, allowed is {high / MOST_STEPS:g} or more, or 0 for any")
        if len(values) > MOST_LISTED:
            raise DeviceError(f"driver.{kind}s are {len(values)}, allowed are {MOST_LISTED}: give driver.{kind}_step")
        if step and values:
            raise DeviceError(f"driver.{kind}s and driver.{kind}_step are both given: leave out one of them")
        if any(one >= other for one, other in pairwise(values)):
            raise DeviceError(f"driver.{kind}s is {shown(values)}, they must ascend")
        if step and not multiples(low, high, step)[0] <= multiples(low, high, step)[1]:
            raise DeviceError(f"driver.{kind}_step is {step!r}: no multiple lies within {name}_min to {name}_max")
        if values and not within(values, low, high):
            raise DeviceError(f"driver.{kind}s is {shown(values)}: none lies within {name}_min to {name}_max")


def _check_gate(gate: Gate) -> None:
    """The table of a gate has a row for each of its voltages, and there is a voltage that can be driven."""
    if not gate.low <= gate.high:
        raise DeviceError(f"gate.low is {gate.low!r} and gate.high is {gate.high!r}: gate.low must not be the larger")
    if gate.step > gate.high - gate.low > 0:
        raise DeviceError(f"gate.step is {gate.step!r}: it must not be larger than gate.high - gate.low")
    count = len(gate.volts)
    if not 2 <= count <= MOST_LISTED or any(one >= other for one, other in pairwise(gate.volts)):
        raise DeviceError(f"gate.volts is {shown(gate.volts)}: 2 to {MOST_LISTED} are needed, which ascend")
    for name in ("stops", "mismatch", "cycle_noise"):
        row = getattr(gate, name)
        if len(row) != count and (row or name == "stops"):
            raise DeviceError(f"gate.{name} is {shown(row)}: one for each of the {count} gate.volts is needed")
    if any(one > other for one, other in pairwise(gate.stops)):
        raise DeviceError(f"gate.stops is {shown(gate.stops)}: a gate that opens further must not stop a SET earlier")


def _check_uncertainty(device: Device, unknown: Uncertainty) -> None:
    """What is said to be uncertain exists, and the law stands all that it may be."""
    names, count = unknown.parameters, len(unknown.parameters)
    for path, known in (("parameters", (*ADDED, *FACTORS)), ("assumed", FIELDS)):
        given = getattr(unknown, path)
        if not isinstance(given, tuple) or not all(isinstance(name, str) for name in given):
            raise DeviceError(f"uncertainty.{path} is {shown(given)}, a list of names is needed")
        once(f"uncertainty.{path}", given, DeviceError)
        for name in given:
            if name not in known:
                raise DeviceError(f"uncertainty.{path} has {shown(name)}, known are {', '.join(known)}")
    if not isinstance(unknown.deviations, tuple) or len(unknown.deviations) != count:
        raise DeviceError(f"uncertainty.deviations is {shown(unknown.deviations)}, one for each of {count} is needed")
    for name, deviation in zip(names, unknown.deviations, strict=True):
        _check_number(f"uncertainty of {name}", deviation)
        if deviation < 0:
            raise DeviceError(f"uncertainty of {name} is {deviation!r}, a standard deviation of at least 0 is needed")
        if name.startswith("gate.") and device.gate is None:
            raise DeviceError(f"uncertainty of {name} is {deviation!r}, but {device.name} has no gate: leave it out")
        if name in FACTORS and not np.any(_field(device, name)):
            raise DeviceError(f"uncertainty of {name} is {deviation!r}, but {name} is 0, and stays so times any factor")
    _check_correlations(unknown.correlations, count)
    for number, (name, deviation) in enumerate(zip(names, unknown.deviations, strict=True)):
        for side in (-FARTHEST, FARTHEST):
            try:
                extreme = displaced(device, [side * (place == number) for place in range(count)])
                _check_values(extreme)
                if device.g_min + extreme.x_lo * (device.g_max - device.g_min) <= 0:
                    raise DeviceError(f"x_lo is {extreme.x_lo:g}, where conductances are negative")
            except (DeviceError, OverflowError) as error:
                raise DeviceError(
                    f"uncertainty of {name} is {deviation!r}, wider than the law stands: {side:+g} deviations off, "
                    f"{error}"
                ) from None


def _field(device: Device, name: str) -> Any:
    """The number that a dotted name leads to."""
    part, _, leaf = name.rpartition(".")
    return getattr(getattr(device, part) if part else device, leaf)


def _check_correlations(rows: Any, count: int) -> None:
    """No correlations, or a matrix of them."""
    if rows == ():
        return
    if not (
        isinstance(rows, tuple)
        and len(rows) == count
        and all(isinstance(row, tuple) and len(row) == count for row in rows)
    ):
        raise DeviceError(f"uncertainty.correlations is {shown(rows)}, {count} rows of {count} numbers are needed")
    for number in (number for row in rows for number in row):
        _check_number("uncertainty.correlations", number)
    matrix = np.array(rows, float)
    if not (
        np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1.0) and np.linalg.eigvalsh(matrix).min() > -1e-9
    ):
        raise DeviceError(
            f"uncertainty.correlations is {shown(rows)}, no correlation matrix: it must be symmetric with ones on the "
            "diagonal, and no weighted sum of parameters may have a negative variance"
        )
