"""Records at the ends of their ranges, and what cells of them go through: for tests, and for fuzzing at length."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from memenv.arrays import tree_map
from memenv.compiler.counter_rng import Key
from memenv.devices.device import Device
from memenv.devices.gate import Gate
from memenv.devices.law import dose_to_reach, pulse_worth
from memenv.devices.reads import Retention
from memenv.devices.records import PARTS, RANGES, DeviceError, validate
from memenv.engine import Engine

ENDS = ("low", "middle", "high")
WHOLE = Device(retention=Retention(), gate=Gate(volts=(1.0, 2.0), stops=(0.1, 0.9), mismatch=(0.1, 0.0)))


def numbers() -> Iterator[tuple[str, str, int | None, float, float]]:
    """Part, field, place in a tuple, and the range of every number of a record."""
    for kind, ranges in RANGES.items():
        parts = [name for name, of in PARTS.items() if of is kind] or [""]
        for name, (low, high) in ranges.items():
            default = getattr(kind(), name)
            places = range(len(default)) if isinstance(default, tuple) else (None,)
            yield from ((part, name, place, low, high) for part in parts for place in places)


def own(device: Device, part: str, name: str, place: int | None) -> float:
    """A number of a record."""
    value = getattr(getattr(device, part) if part else device, name)
    return value if place is None else value[place]


def changed(device: Device, part: str, name: str, place: int | None, value: float) -> Device:
    """The record with another number."""
    record = getattr(device, part) if part else device
    new: Any = value
    if place is not None:
        new = tuple(value if number == place else old for number, old in enumerate(getattr(record, name)))
    record = dataclasses.replace(record, **{name: new})
    return device.replace(**{part: record}) if part else record


def valid(device: Device) -> bool:
    """Whether a record validates."""
    try:
        validate(device)
    except DeviceError:
        return False
    return True


def middle(low: float, high: float, share: float = 0.5) -> float:
    """Between two numbers: in logarithm where both are positive, else in asinh."""
    if low > 0:
        return math.exp(math.log(low) * (1 - share) + math.log(high) * share)
    a, b = math.asinh(low * 1e6), math.asinh(high * 1e6)
    return math.sinh(a + (b - a) * share) / 1e6


def at_an_end(device: Device, part: str, name: str, place: int | None, low: float, high: float, end: str) -> Device:
    """The valid record nearest to one with the number at an end of its range, or in the middle of it."""
    value: float = {"low": low, "middle": middle(low, high), "high": high}[end]
    before = own(device, part, name, place)
    whole = isinstance(before, int)
    new = changed(device, part, name, place, round(value) if whole else value)
    if valid(new) or whole:
        return new
    good, bad = 0.0, 1.0  # shares of the way, of which the fields' order allows a part
    for _ in range(20):
        share = 0.5 * (good + bad)
        there = middle(before, value, share) if before > 0 and value > 0 else before + share * (value - before)
        good, bad = (share, bad) if valid(changed(device, part, name, place, there)) else (good, share)
    there = middle(before, value, good) if before > 0 and value > 0 else before + good * (value - before)
    return changed(device, part, name, place, there) if good else device


@functools.lru_cache(maxsize=2)
def at_all_ends(device: Device) -> list[Device]:
    """`at_an_end` for both ends and the middle of every number of the parts that the device has."""
    own = (number for number in numbers() if not number[0] or getattr(device, number[0]))
    return [at_an_end(device, *number, end) for number in own for end in ENDS]


def dressed(device: Device, other: Device) -> Device:
    """The record with the terms of another that it has not itself: noises, mismatch, retention, gate, second pole."""

    def fill(mine: Any, theirs: Any) -> Any:
        return {
            f.name: getattr(theirs, f.name)
            for f in dataclasses.fields(mine)
            if getattr(mine, f.name) == 0 and f.name not in ("threshold", "growing")
        }

    parts = {}
    for name in ("set", "reset", "mismatch", "read"):
        mine, theirs = getattr(device, name), getattr(other, name)
        parts[name] = dataclasses.replace(mine, **fill(mine, theirs))
    for name in ("set", "reset"):
        reach = device.x_hi - device.x_lo + parts[name].margin
        parts[name] = dataclasses.replace(parts[name], kappa=min(parts[name].kappa, 0.2 / reach))
    mixed = device.replace(**parts, retention=device.retention or other.retention, gate=device.gate or WHOLE.gate)
    assert valid(mixed), mixed
    return mixed


@st.composite
def records(draw: st.DrawFn) -> Device:
    """Valid records whose numbers lie anywhere in their ranges, the ends among them; what breaks an order is left."""
    device = WHOLE
    changes = draw(st.lists(st.tuples(st.sampled_from([*numbers()]), st.floats(0.0, 1.0)), max_size=30))
    for (part, name, place, low, high), share in changes:
        before = own(device, part, name, place)
        value: float = min(max(middle(low, high, share), low), high)
        new = changed(device, part, name, place, round(value) if isinstance(before, int) else value)
        device = new if valid(new) else device
    growing = draw(st.booleans())
    new = changed(device, "set", "growing", None, growing)
    return new if valid(new) else device


def finite(*records: Any) -> bool:
    """Whether every number is."""
    good = [True]

    def look(leaf: Any) -> Any:
        if not isinstance(leaf, str):
            good[0] = good[0] and bool(np.isfinite(leaf).all())
        return leaf

    tree_map(look, tuple(records))
    return good[0]


def side_by_side(devices: list[Device], cells: int, seed: int = 0) -> Device:
    """A chip with so many cells of each device, every parameter an array; the devices have the same parts."""
    rng = np.random.default_rng(seed)

    def joined(*leaves: Any) -> Any:
        return "" if isinstance(leaves[0], str) else np.concatenate([np.broadcast_to(leaf, cells) for leaf in leaves])

    return tree_map(joined, *[device.fabricate(rng, cells) for device in devices])


def use(device: Device, cells: int, steps: int, kind: type = np.float64, seed: int = 0) -> str:
    """`use_chip` of a fabricated chip."""
    with np.errstate(all="raise", under="ignore"):
        chip = device.fabricate(np.random.default_rng(seed), cells)
    return use_chip(chip, cells, steps, kind, seed)


def use_chip(chip: Device, cells: int, steps: int, kind: type = np.float64, seed: int = 0) -> str:
    """What was not finite when random pulses, trains, reads and rests were done to a chip; empty if all was.

    Raises:
        FloatingPointError: NumPy would have warned.
    """
    rng = np.random.default_rng(seed)

    def single(leaf: Any) -> Any:
        return leaf.astype(kind) if isinstance(leaf, np.ndarray) else leaf

    def normal(rows: int) -> np.ndarray:
        return rng.standard_normal((rows, cells)).astype(kind)

    with np.errstate(all="raise", under="ignore"):
        chip = tree_map(single, chip)
        if not finite(chip):
            return "fabricate"
        start = (chip.x_lo + (chip.x_hi - chip.x_lo) * rng.random(cells)).astype(kind)
        state = tree_map(single, chip.fresh(start, normal(2)))
        for step in range(steps):
            amplitude, width = (part.astype(kind) for part in pulses(rng, chip, cells))
            count = 1.0 if step % 3 else 10.0 ** rng.uniform(0, 6)
            before = chip.conductance(state)
            state = chip.pulse(state, amplitude, width, normal(3), count)
            if not finite(state):
                return f"pulse {step} {[n for n in state._fields if not finite(getattr(state, n))]}"
            after = chip.conductance(state)
            if not finite(after, chip.pulse_energy(before, after, amplitude, width), chip.read_energy(after)):
                return f"conductance or energy {step}"
            seen, state = chip.sense(state, normal(2))
            if not finite(seen, state, chip.read_moments(state)):
                return f"read {step}"
            if step % 2:
                state = chip.rest(state, 10.0 ** rng.uniform(-9, 9))
            if not finite(chip.conductance(state), state):
                return f"rest {step}"
            up = amplitude > 0
            law = chip.law(up, state.x)
            goal = (chip.x_lo + (chip.x_hi - chip.x_lo) * rng.random(cells)).astype(kind)
            dose = dose_to_reach(law, state.x, goal, chip.x_lo, chip.x_hi, up)
            driver = chip.driver
            low, high = np.where(up, driver.set_min, driver.reset_min), np.where(up, driver.set_max, driver.reset_max)
            ask = np.clip(dose / law.dose, 1e-4, 1e4)
            worth = pulse_worth(
                law, low.astype(kind), high.astype(kind), driver.width_min, driver.width_max, ask, width
            )
            if not finite(dose, worth):
                return f"inverse {step}"
    return ""


def pulses(rng: np.random.Generator, device: Device, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Signed amplitudes (cells,) [V] over the driver's range, its ends among them, and widths (cells,) [s]."""
    driver, share = device.driver, np.clip(1.2 * rng.random((2, cells)) - 0.1, 0.0, 1.0)
    up = rng.random(cells) < 0.5
    low, high = np.where(up, driver.set_min, driver.reset_min), np.where(up, driver.set_max, driver.reset_max)
    amplitude = low + share[0] * (high - low)
    width = driver.width_min * (driver.width_max / driver.width_min) ** share[1]
    return np.where(up, amplitude, -amplitude), width


def use_engine(engine: Engine, chip: Device, cells: int, steps: int, seed: int = 0) -> str:
    """The same of an engine, which works in single precision and never warns."""
    rng = np.random.default_rng(seed)
    state = engine.fresh(chip, chip.x_lo + (chip.x_hi - chip.x_lo) * rng.random(cells), Key(seed, 1))
    out = None
    for step in range(steps):
        out = engine.pulse_and_read(chip, state, *pulses(rng, chip, cells), Key(seed, step + 2), out=out)
        seen, state = out
        if not finite(seen, state):
            return f"step {step}: {[name for name in state._fields if not finite(getattr(state, name))]}"
    return ""
