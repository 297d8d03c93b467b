"""Trains of conductance from the tables of a lab's file: quantity, unit, devices, trains and pulses of its columns."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from memenv.devices.records import DeviceError
from memenv.fitting.headers import PREFIXES, READINGS, SI, WAYS, Unit, parse_unit, quoted, words
from memenv.fitting.sheets import MISSING, NUMBER, Column, Sheet, is_number, read_sheets

ASSUMED_READ = 0.1  # [V]
PLAUSIBLE = (1e-15, 1.0)  # [S] a median conductance
BESIDE = ("train", "device", "polarity", "voltage", "width")  # whoever names these names the reads too
FLOOR = 0.01  # of the largest read: reads of the wrong sign below it are those of an instrument's noise
READ_VOLTAGE = re.compile(
    r"(?:v[_ ]?read|read\w*[_ ]*(?:volt\w*|bias|at)|(?:measured|sensed)[_ ]at)\b(.{0,12}?)"
    r"([+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?)\s*(m?)v?",
    re.IGNORECASE,
)
PULSE = re.compile(r"([+-]?\d+(?:[.,]\d+)?) ?(m?)V\b|(\d+(?:[.,]\d+)?) ?([pnuµm]?)s\b")


class Stated(NamedTuple):
    """Options by which a user says what a file does not."""

    quantity: str | None
    unit: Unit | None
    read_voltage: float | None
    read_first: bool  # a row's read stands before its pulse


class Train(NamedTuple):
    """Reads in the order of the pulses, and what is known of the pulse before each; None: not known."""

    device: str
    conductance: np.ndarray  # [S]
    sign: np.ndarray | None  # 1, -1, and 0 where there was no pulse
    volts: np.ndarray | None  # [V] signed or not
    width: np.ndarray | None  # [s]
    polarity: int  # that the column's name says, 0: none
    column: str
    told: dict[int, tuple[float, float]]  # amplitude [V] and width [s] (nan: not told) by polarity, of a note; or none

    def at(self, rows: slice | np.ndarray) -> "Train":
        """Some of its reads."""
        sign, volts, width = (part if part is None else part[rows] for part in (self.sign, self.volts, self.width))
        return self._replace(conductance=self.conductance[rows], sign=sign, volts=volts, width=width)


class Read(NamedTuple):
    """What was read of a file."""

    trains: list[Train]
    understood: str
    read_voltage: float | None  # [V] if the file tells


class _Parts(NamedTuple):
    """The columns of a table by what they hold."""

    readings: list[Column]
    by: dict[str, list[Column]]  # kinds of `headers`
    aside: list[str]  # sentences on columns that are not used


def read_trains(path: Path, stated: Stated) -> Read:
    """The trains of a file.

    Raises:
        DeviceError: what the file says contradicts itself or its numbers, or is not enough.
    """
    trains, said, voltages = list[Train](), list[str](), list[float]()
    for sheet in read_sheets(path):
        try:
            read = _read_sheet(sheet, stated)
        except DeviceError as error:
            between = ", " if str(error).startswith("line ") else ": "
            raise DeviceError(f"{path}{between}{error}") from None
        trains += read.trains
        said += [read.understood] * (read.understood not in said)
        voltages += [] if read.read_voltage is None else [read.read_voltage]
    if not any(len(train.conductance) > 1 for train in trains):
        raise DeviceError(f"{path}: no train with two reads or more")
    understood = f"{path.name}: {' '.join(said)}"
    return Read(trains, understood, voltages[0] if voltages else None)


def _read_sheet(sheet: Sheet, stated: Stated) -> Read:
    parts = _parts(sheet, stated)
    told = _told_voltage(sheet, parts)
    known = stated.read_voltage if stated.read_voltage is not None else told
    quantity, units, guessed = _units(sheet, parts.readings, stated, known is not None)
    long = any(parts.by.get(kind) for kind in ("train", "device", "polarity"))
    if long and len(parts.readings) > 1:
        raise DeviceError(
            f"{_listed(parts.readings)} are reads beside a column of trains, devices or polarities: "
            "leave one of them, or choose a quantity (--quantity)"
        )
    per_row = parts.by.get("read voltage", []) if known is None else []
    pulses = _told_pulses(sheet.notes)
    trains, dropped = list[Train](), 0
    for place, column in enumerate(parts.readings):
        for device, name, rows in _groups(sheet, parts, column):
            volts = 1.0 if quantity != "current" else known or ASSUMED_READ
            value = _reads(sheet, column, rows, _voltage(sheet, per_row[0], rows) if per_row else volts)
            value = value * units[place].scale
            sane = value > 0
            conductance = 1 / np.where(sane, value, 1.0) if quantity == "resistance" else value
            dropped += int((~sane).sum())
            train = Train(
                device,
                conductance,
                *_pulses(sheet, parts, place, rows, name),
                polarity=column.meaning.polarity,
                column=str(column),
                told=pulses,
            )
            if stated.read_first:
                train = _pulsed_later(train)
            trains += [train.at(piece) for piece in _pieces(sane)]
    _check(trains, quantity, units[0])
    aside = parts.aside + [f"{dropped} reads at or below zero"] * bool(dropped)
    text = f"{sheet.form}; {quantity} [{units[0].text}] in {_listed(parts.readings)}"
    text += f" ({guessed})" * bool(guessed)
    if quantity == "current":
        assumed = "" if known else " (assumed: --read-voltage)"
        text += ", read voltage " + ("of each row" if per_row else f"{known or ASSUMED_READ:g} V{assumed}")
    if pulses and not parts.by.get("voltage"):
        text += f", pulses of {pulses[1][0]:g} and {pulses[-1][0]:g} V by a note"
    text += f"; set aside: {', '.join(aside)}" * bool(aside)
    return Read(trains, text + ".", told)


def _listed(columns: Sequence[Any], most: int = 3) -> str:
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return ", ".join(map(str, columns[:most])) + more


# -- meanings ----------------------------------------------------------------------------------------------------------


def _parts(sheet: Sheet, stated: Stated) -> _Parts:
    """The columns by name, and by their numbers where the name says nothing."""
    by: dict[str, list[Column]] = {}
    aside = []
    for column in sheet.columns:
        kind = column.meaning.kind
        cells = [cell for cell in column.cells if cell not in MISSING]
        if kind in ("train", "device") and len(cells) > 2 and len(set(cells)) == len(cells):
            kind = "counter" if all(map(is_number, cells)) else "other"
        by.setdefault(kind or _by_numbers(cells, column.name), []).append(column)
    named = [column for kind in (*READINGS, "reading") for column in by.get(kind, [])]
    wanted = stated.quantity or (stated.unit.quantity if stated.unit else None)
    others = by.get("", []) if wanted or not any(by.get(kind) for kind in BESIDE) else []
    readings = sorted(named or others)
    named_quantities = sorted({c.meaning.kind for c in readings if c.meaning.kind in READINGS})
    if wanted:
        aside += [f"{c} ({c.meaning.kind})" for c in readings if c.meaning.kind in {*READINGS} - {wanted}]
        readings = [c for c in readings if c.meaning.kind not in {*READINGS} - {wanted}]
    elif len(named_quantities) > 1:
        raise DeviceError(
            f"{_listed(readings)} are {' and '.join(named_quantities)}: choose one of them (--quantity), or one a file"
        )
    if not readings:
        names = ", ".join(map(str, sheet.columns[:12]))
        raise DeviceError(
            f"no column of {wanted or 'conductance, resistance or current'} among {names}: "
            "name one, as in 'conductance_S', 'R (kOhm)' or 'I [uA]'"
        )
    aside += [f"{c} (unknown)" for c in by.get("", []) if c not in readings]
    aside += [f"{c} (counts {c.cells[0]} to {c.cells[-1]})" for c in by.get("counter", [])]
    aside += [str(c) for kind in ("time", "other") for c in by.get(kind, [])]
    if stated.quantity == "current" or "current" in named_quantities:
        volts = by.get("voltage", [])
        if len(volts) == 1 and len(set(volts[0].cells)) == 1 and not by.get("width") and not by.get("polarity"):
            by["read voltage"] = [*by.get("read voltage", []), *by.pop("voltage")]  # one voltage beside currents
    return _Parts(readings, by, aside)


def _by_numbers(cells: list[str], name: str) -> str:
    """The kind of a column whose name does not tell it."""
    if 2 * sum(map(is_number, cells)) < len(cells):
        return "other"
    values = np.array([float(cell) for cell in cells if is_number(cell)])
    if len(values) < 3:
        return ""
    steps = np.diff(values)
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


def _told_voltage(sheet: Sheet, parts: _Parts) -> float | None:
    """[V] the read voltage that a note or a column of one value tells."""
    for column in parts.by.get("read voltage", []):
        text, *others = set(column.cells)
        if others or not is_number(text) or float(text) == 0:
            return None
        return abs(float(text)) * (column.meaning.unit.scale if column.meaning.unit else 1.0)
    for note in sheet.notes:
        if found := READ_VOLTAGE.search(note):
            value = abs(float(found[2].replace(",", "."))) * (1e-3 if found[3] or "mv" in found[1].lower() else 1.0)
            if value > 0:
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


def _units(sheet: Sheet, readings: list[Column], stated: Stated, voltage_known: bool) -> tuple[str, list[Unit], str]:
    """Quantity of the reads, the unit of each column, and how it was guessed if nothing names it."""
    kind = next((c.meaning.kind for c in readings if c.meaning.kind in READINGS), None)
    if stated.unit:
        return stated.unit.quantity, [stated.unit] * len(readings), "as stated"
    kind = stated.quantity or kind
    named = {c.meaning.unit for c in readings if c.meaning.unit}
    if named:
        other = next(iter(named))
        if len(named) > 1 and not all(c.meaning.unit for c in readings):
            raise DeviceError(f"{_listed(readings)} have units that differ, and one has none: name it, or say --unit")
        return other.quantity, [c.meaning.unit or other for c in readings], ""
    numbers = [abs(float(cell)) for c in readings for cell in c.cells if is_number(cell)]
    typical = float(np.median([number for number in numbers if number > 0] or [0.0]))
    weight = any(c.meaning.weight for c in readings) and not voltage_known
    small, usual, large = 0 < typical <= 0.1, 1 <= typical <= 2000, typical >= 100
    if kind is None:
        kind = "conductance" if weight or (usual and not voltage_known) else "current"
        kind = "resistance" if typical > 2000 else kind
    prefix = "" if (large if kind == "resistance" else small) else "u" if usual and kind != "resistance" else None
    if prefix is None:
        raise DeviceError(
            f"the reads of {_listed(readings)} are about {typical:g} and no unit is named; name it in the header, "
            "as in 'G (uS)', or say --unit uS (kOhm, nA, ...)"
        )
    unit = parse_unit(f"{prefix}{SI[kind]}")
    assert unit is not None
    return kind, [unit] * len(readings), "no unit is named; else say --unit"


def _check(trains: list[Train], quantity: str, unit: Unit) -> None:
    """Magnitudes that a device can have."""
    typical = float(np.median(np.concatenate([train.conductance for train in trains] or [np.ones(1)])))
    if not PLAUSIBLE[0] <= typical <= PLAUSIBLE[1]:
        raise DeviceError(
            f"taken as {quantity} in {unit.text}, the median read is {typical:.3g} S, and devices have "
            f"{PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g} S: correct the header's unit, or state it (--unit uS, kOhm, ...)"
        )


# -- rows --------------------------------------------------------------------------------------------------------------


def _groups(sheet: Sheet, parts: _Parts, column: Column) -> Iterator[tuple[str, str, np.ndarray]]:
    """Device, a name for messages, and the rows of each train of a column of reads, in the order of the pulses."""
    devices, trains = parts.by.get("device", []), parts.by.get("train", [])
    counter = _counter(parts, column)
    groups: dict[tuple[str, str], list[int]] = {}
    if not (devices or trains or parts.by.get("polarity")):
        filled = np.array([cell not in MISSING for cell in column.cells])
        if (rows := np.flatnonzero(filled)).size and not filled[: rows[-1] + 1].all():
            line = sheet.lines[int(np.argmin(filled))]
            raise DeviceError(f"column {column.place} has a gap at line {line}; split it there")
        groups["", ""] = rows.tolist()
    else:
        for row in range(len(sheet.lines)):
            if sheet.entries[row] != len(sheet.columns) and (devices or trains):
                raise DeviceError(
                    f"line {sheet.lines[row]}: {sheet.entries[row]} entries, the header has {len(sheet.columns)}"
                )
            key = tuple("/".join(c.cells[row] for c in some) for some in (devices, trains))
            groups.setdefault((key[0], key[1]), []).append(row)
    number = None if counter is None else _column(sheet, counter, np.arange(len(sheet.lines)), 1.0, 0.0)
    if number is not None and len(groups) > 1 and np.all(np.diff(number) == 1):
        number = None  # counts rows, not pulses
    for (device, train), members in groups.items():
        device = device or (column.name if column.meaning.device else "1")
        name = f"train {train or column} of device {device}"
        order = np.array(members, int)
        if number is not None and (trains or np.all(np.diff(number[order]) == -1)):
            order = order[np.argsort(number[order], kind="stable")]
        cuts = [] if trains else [k for k in range(1, len(order)) if order[k] in sheet.breaks]
        if number is not None:
            for k, (before, after) in enumerate(itertools.pairwise(number[order]), 1):
                if after <= before and not trains:
                    cuts.append(k)
                elif after != before + 1 and k not in cuts:
                    raise DeviceError(
                        f"pulse {after:g} follows pulse {before:g} in {name}; "
                        "one row a pulse is needed, split the train at a gap"
                    )
        for part in np.split(order, sorted(set(cuts))):
            if len(part):
                yield device, name, part


def _counter(parts: _Parts, column: Column) -> Column | None:
    """The column of pulse numbers of these reads: the next on its left, else the first; rather one that says pulse."""
    counters = parts.by.get("counter", [])
    counters = [c for c in counters if words(c.name) & {"pulse", "pulses"}] or counters
    return max((c for c in counters if c.place < column.place), default=next(iter(counters), None))


def _column(sheet: Sheet, column: Column, rows: np.ndarray, scale: float, empty: float | None = None) -> np.ndarray:
    """The numbers of a column at some rows; `empty` is what an empty cell counts."""
    out = np.empty(len(rows))
    for k, row in enumerate(rows):
        text = column.cells[row]
        if text == "" and empty is not None:
            out[k] = empty
            continue
        out[k] = _number(text, f"line {sheet.lines[row]}: {column.name or f'column {column.place}'}")
    return out * scale


def _voltage(sheet: Sheet, column: Column, rows: np.ndarray) -> np.ndarray:
    """[V] the read voltage of each row."""
    volts = _column(sheet, column, rows, column.meaning.unit.scale if column.meaning.unit else 1.0)
    if not volts.all():
        raise DeviceError(
            f"line {sheet.lines[rows[int(np.argmin(np.abs(volts)))]]}: {column} is 0 V, a read needs a voltage"
        )
    return volts


def _number(text: str, where: str) -> float:
    if NUMBER.fullmatch(text):
        value = float(text)
        if np.isfinite(value):
            return value
    elif text.lower().lstrip("+-") not in ("nan", "inf", "infinity"):
        raise DeviceError(f"{where} is {quoted(text)}, a number is needed")
    raise DeviceError(f"{where} is {text}, a finite number is needed; split the train at a missing read")


def _reads(sheet: Sheet, column: Column, rows: np.ndarray, volts: float | np.ndarray) -> np.ndarray:
    """Reads over voltages, without the sign that all of them have; at or below zero only where noise puts them."""
    value = _column(sheet, column, rows, 1.0)
    over = value / volts
    if column.meaning.kind in ("current", "reading", "") and np.median(over) < 0:
        over = -over
    wrong = (over <= 0) & (-over >= FLOOR * np.max(over, initial=0.0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DeviceError(f"line {sheet.lines[rows[at]]}: the read is {value[at]:g}, a number > 0 is needed")
    return over


def _pieces(sane: np.ndarray) -> list[slice]:
    """Stretches of reads that can be used."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sane.astype(int), [0]])))
    return [slice(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _pulses(
    sheet: Sheet, parts: _Parts, place: int, rows: np.ndarray, name: str
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Sign, amplitude [V] and width [s] of the pulse before each read."""
    volts, width = (_beside(sheet, parts, kind, place, rows) for kind in ("voltage", "width"))
    sign = None
    if way := parts.by.get("polarity", []):
        sign = np.array([_way(way[0].cells[row], f"line {sheet.lines[row]}: {way[0].name}") for row in rows], float)
    pulsed = np.ones(len(rows), bool)
    for part in (sign, volts, width):
        pulsed &= True if part is None else part != 0  # zero width or amplitude: a read without a pulse
    if width is not None:
        if (width < 0).any():
            own = parts.by["width"][0].name
            raise DeviceError(f"{own} is {width.min():g} in {name}, it must be > 0, or 0 for a read without a pulse")
        width = np.where(pulsed, width, np.max(width, initial=0.0) or 1e-6)
    volts = volts if volts is None else np.where(pulsed, volts, 0.0)
    if not pulsed[1:].all() or sign is not None:
        sign = np.where(pulsed, sign if sign is not None else np.nan, 0.0)
    return sign, volts, width


def _pulsed_later(train: Train) -> Train:
    """The train with each row's pulse before the read of the next row."""
    rows = np.maximum(np.arange(len(train.conductance)) - 1, 0)
    return train.at(rows)._replace(conductance=train.conductance)


def _beside(sheet: Sheet, parts: _Parts, kind: str, place: int, rows: np.ndarray) -> np.ndarray | None:
    """The numbers of a kind beside a column of reads: of the only column of the kind, or of that at the same place."""
    columns = parts.by.get(kind, [])
    if not columns:
        return None
    if len(columns) not in (1, len(parts.readings)):
        raise DeviceError(f"{_listed(columns)} are {kind}s of pulses beside {_listed(parts.readings)}: leave one")
    column = columns[place if len(columns) > 1 else 0]
    first = rows[:1] if column.cells[rows[0]] == "" else rows[:0]
    value = _column(sheet, column, rows[len(first) :], column.meaning.unit.scale if column.meaning.unit else 1.0)
    value = np.concatenate([np.zeros(len(first)), value])
    if kind == "width" and column.meaning.unit is None and np.median(value) > 1:
        raise DeviceError(f"{column} is about {np.median(value):g} and names no unit: name it, as in 'width (ns)'")
    return value


def _way(text: str, where: str) -> int:
    """The sign of a polarity that a cell names; 0: no pulse."""
    own = words(text)
    signs = {1: {"p", "positive", "1", "w"}, -1: {"d", "negative", "n", "e"}, 0: {"read", "r", "0", "none", ""}}
    if text.strip() in ("+", "-") or re.fullmatch(r"[+-]\d+(\.0*)?", text):
        return -1 if text.strip().startswith("-") else 1
    for sign, way in WAYS.items():
        if own & (set(way.split()) | signs[sign]):
            return sign
    if not text or (own and own <= signs[0]):
        return 0
    raise DeviceError(f"{where} is {quoted(text)}, a polarity is needed (SET, RESET, +, -)")
