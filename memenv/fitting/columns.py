"""Meaning of the columns of a lab's table: quantity and unit of the reads, settings, counters, what notes tell."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from memenv.devices.records import DeviceError
from memenv.fitting.headers import PREFIXES, READINGS, SI, Unit, of_line, parse_unit, words
from memenv.fitting.marks import is_number
from memenv.fitting.sheets import MISSING, Column, Sheet

ASSUMED_READ = 0.1  # [V]
FOLLOWS = 0.9  # of the steps of a voltage, which a current read at it follows
USUAL = (1e-9, 1e-2)  # [S] of devices
RELATIVE = re.compile(r"%|a\. ?u\.|\b(?:arb|norm|normali[sz]ed|relative|G_?0)\b", re.IGNORECASE)  # of no unit
NO_READ = re.compile(
    r"(?<![^\W\d_])(?:log|log10|lg|ln|delta|change)(?![^\W_])|[\u0394\u2206\u03b4]|(?<!\w)[dD][GRI](?![^\W_])", re.I
)
BESIDE = ("train", "device", "polarity", "voltage", "width")  # whoever names these names the reads too
SIDES = {"before": {"before", "initial", "pre"}, "after": {"after", "final", "post"}}
READ_VOLTAGE = re.compile(
    r"(?:v[_ ]?read|read\w*[_ ]*(?:volt\w*|bias|at)|(?:measured|sensed)[_ ]at)\b(.{0,12}?)"
    r"([+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?)\s*(m?)v?",
    re.IGNORECASE,
)
PULSE = re.compile(r"(?<![\d.,])(?:([+-]?\d+(?:[.,]\d+)?) ?(m?)V\b|(\d+(?:[.,]\d+)?) ?([pnuµm]?)s\b)")


class Stated(NamedTuple):
    """Options by which a user says what a file does not."""

    quantity: str | None
    unit: Unit | None
    read_voltage: float | None
    read_first: bool  # a row's read stands before its pulse
    decimal: str | None = None  # "point" or "comma"


class Parts(NamedTuple):
    """A table by what its columns hold."""

    readings: list[Column]
    quantity: str  # of the reads
    units: list[Unit]  # of each of them
    by: dict[str, list[Column]]  # kinds of `headers`
    read_voltage: float | None  # [V] as stated, or as the table tells
    pulses: dict[int, tuple[float, float]]  # amplitude [V] and width [s] (nan: not told) by polarity, or none
    guessed: str  # how quantity and unit were found, if nothing names them
    aside: list[str]  # columns that are not used


def understand(sheet: Sheet, stated: Stated) -> Parts:
    """Sort the columns of a table.

    Raises:
        DeviceError: no reads, reads of several quantities or in no known unit, reads that the other columns contradict.
    """
    by, aside = _by_kind(sheet)
    readings = _readings(sheet, stated, by, aside)
    if len(readings) > 1 and any(by.get(kind) for kind in ("train", "device", "polarity")):
        raise DeviceError(
            f"{listed(readings)} are reads beside a column of trains, devices or polarities: "
            "leave one of them, or choose a quantity (--quantity)"
        )
    volts = by.get("voltage", [])
    single = len(volts) == 1 and len(set(volts[0].cells)) == 1 and not (by.get("width") or by.get("polarity"))
    if single and "current" in (stated.quantity, *(column.meaning.kind for column in readings)):
        by["read voltage"] = [*by.get("read voltage", []), *by.pop("voltage")]  # one voltage beside currents
    if len(volts) == 1 and by.get("voltage"):
        for column in readings:
            if column.meaning.kind in ("current", ""):
                _check_sweep(volts[0], column)
    told = stated.read_voltage or _told_voltage(sheet, by.get("read voltage", []))
    quantity, units, guessed = _units(readings, stated, told is not None)
    pulses = {} if by.get("voltage") else _told_pulses(sheet.notes)
    return Parts(readings, quantity, units, by, told, pulses, guessed, aside)


def listed(columns: Sequence[Any], most: int = 3) -> str:
    """The first of many, as a sentence has them."""
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return ", ".join(map(str, columns[:most])) + more


def _by_kind(sheet: Sheet) -> tuple[dict[str, list[Column]], list[str]]:
    """Columns by name, and by their numbers where the name says nothing; those that are set aside."""
    by: dict[str, list[Column]] = {}
    for column in sheet.columns:
        kind = column.meaning.kind
        cells = [cell for cell in column.cells if cell not in MISSING]
        if kind in ("train", "device") and len(cells) > 2 and len(set(cells)) == len(cells):
            kind = "counter" if all(map(is_number, cells)) else "other"
        if kind == "device" and of_line(words(column.name)) and _fractions(cells):
            kind = "gate"
        if kind == "gate" and not all(map(is_number, cells)):
            kind = "other"
        by.setdefault(kind or _by_numbers(cells, column.name), []).append(column)
    clocks = [column for column in by.get("time", []) if _is_clock(column)]
    aside = [str(column) for kind in ("time", "other") for column in by.get(kind, []) if column not in clocks[:1]]
    by["time"] = clocks[:1]
    if not by.get("train"):
        aside += [f"{c} (counts {c.cells[0]} to {c.cells[-1]})" for c in by.get("counter", [])]
    return by, aside


def _fractions(cells: list[str]) -> bool:
    """True of numbers that are no addresses."""
    return all(map(is_number, cells)) and any(float(cell) % 1 for cell in cells)


def _check_sweep(volts: Column, column: Column) -> None:
    """Refuse currents that follow a voltage up and down: they were read at it."""
    pairs = zip(volts.cells, column.cells, strict=True)
    both = np.abs(np.array([pair for pair in pairs if all(map(is_number, pair))], float).reshape(-1, 2))
    moved = np.sign(np.diff(both, axis=0))
    up, down = (moved[:, 0] == way for way in (1, -1))
    follow = (moved[:, 0] == moved[:, 1])[up | down]
    if min(up.sum(), down.sum()) > 4 and follow.mean() > FOLLOWS:
        raise DeviceError(
            f"{column} follows {volts} up and down: a current-voltage sweep; give reads at one voltage, after pulses"
        )


def _is_clock(column: Column) -> bool:
    """True of a column that tells the time of each row: its name has a unit."""
    named = column.meaning.kind == "time" and column.meaning.unit is not None
    return named and all(map(is_number, column.cells)) and len(set(column.cells)) > 1


def _readings(sheet: Sheet, stated: Stated, by: dict[str, list[Column]], aside: list[str]) -> list[Column]:
    """The columns of reads; those that are not to be used go to `aside`."""
    named = [column for kind in (*READINGS, "reading") for column in by.get(kind, [])]
    if changed := [c for c in named if NO_READ.search(c.name)]:
        raise DeviceError(f"{listed(changed)} names a logarithm or a change: give the reads themselves")
    wanted = stated.quantity or (stated.unit.quantity if stated.unit else None)
    others = by.get("", []) if wanted or not any(by.get(kind) for kind in BESIDE) else []
    readings = sorted(named or others)
    named_quantities = sorted({c.meaning.kind for c in readings if c.meaning.kind in READINGS})
    if wanted:
        aside += [f"{c} ({c.meaning.kind})" for c in readings if c.meaning.kind in {*READINGS} - {wanted}]
        readings = [c for c in readings if c.meaning.kind not in {*READINGS} - {wanted}]
    elif len(named_quantities) > 1:
        raise DeviceError(
            f"{listed(readings)} are {' and '.join(named_quantities)}: choose one of them (--quantity), or one a file"
        )
    sides = {order: [c for c in readings if words(c.name) & SIDES[order]] for order in SIDES}
    if all(sides.values()):  # reads on both sides of a row's pulse
        left = sides["after" if stated.read_first else "before"]
        aside += [str(c) for c in left]
        readings = [c for c in readings if c not in left]
    if not readings:
        names = ", ".join(map(str, sheet.columns[:12]))
        raise DeviceError(
            f"no column of {wanted or 'conductance, resistance or current'} among {names}: "
            "name one, as in 'conductance_S', 'R (kOhm)' or 'I [uA]'"
        )
    aside += [f"{c} (unknown)" for c in by.get("", []) if c not in readings]
    copies = list(_copies(readings))
    aside += [f"{c} (a copy)" for c in copies]
    return [c for c in readings if c not in copies]


def _copies(readings: list[Column]) -> Iterator[Column]:
    """Those with the reads of another of the same name, be it in another unit: of the first or of the one before."""
    seen: dict[tuple[str, str], tuple[Column, ...]] = {}
    for column in readings:
        name = re.sub(r"[\W_]*[(\[{]?\w*[)\]}]?$", "", column.name) if column.meaning.unit else column.name
        others = seen.get(own := (name, column.meaning.kind), ())
        if name and any(_same(column, other) for other in others):
            yield column
        seen[own] = others[0] if others else column, column


def _same(one: Column, other: Column) -> bool:
    """True of the same reads."""
    scales = [c.meaning.unit.scale if c.meaning.unit else 1.0 for c in (one, other)]
    pairs = zip(one.cells, other.cells, strict=True)
    return all(
        math.isclose(float(a) * scales[0], float(b) * scales[1], rel_tol=1e-3)
        if is_number(a) and is_number(b)
        else a == b
        for a, b in pairs
    )


def _by_numbers(cells: list[str], name: str) -> str:
    """The kind of a column whose name does not tell it."""
    if 2 * sum(map(is_number, cells)) < len(cells):
        return "other"
    values = np.array([float(cell) for cell in cells if is_number(cell)])
    if len(values) < 3:
        return ""
    steps = np.diff(values)
    if not steps.any():  # a setting
        return "other"
    whole = bool(np.all(values == np.round(values)))
    up = bool(np.all((steps == 1) | (values[1:] == values[0])) and (steps == 1).any())
    if whole and (up or np.all(steps == -1)):
        return "counter"
    even = steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-6)
    if even and (whole or (not name and values[0] == 0)):
        return "time"
    sizes = np.unique(np.abs(values[values != 0]))
    both = (values > 0).any() and (values < 0).any() and len(values) >= 10
    return "voltage" if both and len(sizes) <= 3 and sizes.min() >= 0.01 and sizes.max() <= 20 else ""


def _told_voltage(sheet: Sheet, columns: list[Column]) -> float | None:
    """[V] the read voltage that a note or a column of one value tells."""
    for column in columns:
        text, *others = set(column.cells)
        if others or not is_number(text) or float(text) == 0:
            return None
        return abs(float(text)) * (column.meaning.unit.scale if column.meaning.unit else 1.0)
    for note in sheet.notes:
        if found := READ_VOLTAGE.search(note):
            value = abs(float(found[2].replace(",", "."))) * (1e-3 if found[3] or "mv" in found[1].lower() else 1.0)
            if 0 < value < math.inf:
                return value
    return None


def _told_pulses(notes: list[str]) -> dict[int, tuple[float, float]]:
    """Amplitude and width of a positive and a negative pulse, where a note on pulses has one of each."""
    for note in notes:
        if not words(note) & {"pulse", "pulses", "write", "programming", "amplitude", "amplitudes"}:
            continue
        volts, widths = list[float](), list[float]()
        for number, milli, time, prefix in PULSE.findall(note):
            if number:
                volts.append(float(number.replace(",", ".")) * (1e-3 if milli else 1.0))
            else:
                widths.append(float(time.replace(",", ".")) * PREFIXES["u" if prefix == "µ" else prefix])
        if len(volts) == 2 and volts[0] * volts[1] < 0 and len(widths) <= 2 and all(widths):
            seconds = [*widths, *widths] if len(widths) == 1 else widths or [np.nan, np.nan]
            return {int(np.sign(v)): (abs(v), s) for v, s in zip(volts, seconds, strict=True)}
    return {}


def _units(readings: list[Column], stated: Stated, voltage_known: bool) -> tuple[str, list[Unit], str]:
    """Quantity of the reads, the unit of each column, and how it was guessed if nothing names it."""
    kind = next((c.meaning.kind for c in readings if c.meaning.kind in READINGS), None)
    if stated.unit:
        return stated.unit.quantity, [stated.unit] * len(readings), "as stated"
    kind = stated.quantity or kind
    numbers = [abs(float(cell)) for c in readings for cell in c.cells if is_number(cell)]
    typical = float(np.median([number for number in numbers if number > 0] or [0.0]))
    named = {c.meaning.unit for c in readings if c.meaning.unit}
    if named:
        other = next(iter(named))
        if len(named) > 1 and not all(c.meaning.unit for c in readings):
            raise DeviceError(f"{listed(readings)} have units that differ, and one has none: name it, or say --unit")
        _check_prefix(readings, other, typical)
        return other.quantity, [c.meaning.unit or other for c in readings], ""
    if relative := [c for c in readings if RELATIVE.search(c.name)]:
        raise DeviceError(
            f"{listed(relative)} is no unit of siemens, ohms or amperes: convert the reads, or say --unit"
        )
    weight = any(c.meaning.weight for c in readings) and not voltage_known
    small, usual, large = 0 < typical <= 0.1, 1 <= typical <= 2000, typical >= 100
    if kind is None:
        kind = "conductance" if weight or (usual and not voltage_known) else "current"
        kind = "resistance" if typical > 2000 else kind
    prefix = "" if (large if kind == "resistance" else small) else "u" if usual and kind != "resistance" else None
    if prefix is None:
        raise DeviceError(
            f"the reads of {listed(readings)} are about {typical:g} and no unit is named; name it in the header, "
            "as in 'G (uS)', or say --unit uS (kOhm, nA, ...)"
        )
    unit = parse_unit(f"{prefix}{SI[kind]}")
    assert unit is not None
    return kind, [unit] * len(readings), "no unit is named; else say --unit"


def _check_prefix(readings: list[Column], unit: Unit, typical: float) -> None:
    """Numbers that suit the unit with its prefix, and not the unit without."""
    plain = {"conductance": typical, "resistance": 1 / max(typical, 1e-30), "current": typical / ASSUMED_READ}
    if unit.scale != 1 and not 1e-3 <= typical <= 1e5 and USUAL[0] <= plain[unit.quantity] <= USUAL[1]:
        raise DeviceError(
            f"the reads of {listed(readings)} are about {typical:.3g} {unit.text}: if {SI[unit.quantity]} is meant, "
            f"say --unit {SI[unit.quantity]}, else --unit {unit.text}"
        )
