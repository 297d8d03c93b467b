"""Trains of conductance from the tables of a lab's file: rows by device and train, reads, pulses."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memenv.devices.records import DeviceError
from memenv.fitting.checks import siemens
from memenv.fitting.columns import ASSUMED_READ, USUAL, Parts, Stated, listed, understand
from memenv.fitting.headers import WAYS, Unit, quoted, words
from memenv.fitting.marks import DECIMALS, NUMBER, is_number, plain
from memenv.fitting.sheets import MISSING, Column, Sheet, read_sheets

PLAUSIBLE = (1e-15, 1.0)  # [S] least median and largest conductance
LEAST, MOST = 1e-100, 1e30  # of a number that is no slip; instruments write 9.9e37 where they overflow
FLOOR = 0.01  # of the largest read: reads of the wrong sign below it are those of an instrument's noise


class Train(NamedTuple):
    """Reads in the order of the pulses, and what is known of the pulse before each; None: not known."""

    device: str
    conductance: np.ndarray  # [S]
    sign: np.ndarray | None  # 1, -1, and 0 where there was no pulse
    volts: np.ndarray | None  # [V] signed or not
    width: np.ndarray | None  # [s]
    gate: np.ndarray | None  # [V], NaN where none is told
    polarity: int  # that the column's name says, 0: none
    column: str
    time: np.ndarray | None  # [s] of the read
    told: dict[int, tuple[float, float]]  # amplitude [V] and width [s] (nan: not told) by polarity, of a note; or none

    def at(self, rows: slice | np.ndarray) -> "Train":
        """Some of its reads."""
        names = ("sign", "volts", "width", "gate", "time")
        known = {name: part[rows] for name in names if (part := getattr(self, name)) is not None}
        return self._replace(conductance=self.conductance[rows], **known)


class Read(NamedTuple):
    """The content of a file, as it was read."""

    trains: list[Train]
    understood: str
    read_voltage: float | None  # [V] if the file tells


def read_trains(path: Path, stated: Stated) -> Read:
    """The trains of a file.

    Raises:
        DeviceError: what the file says contradicts itself or its numbers, or is not enough, or may be read in two ways.
    """
    sheets = read_sheets(path, stated.decimal)
    if cell := sheets[0].doubtful:
        return _settled(path, cell, stated)
    return _read(path, sheets, stated)


def _settled(path: Path, cell: str, stated: Stated) -> Read:
    """The trains of a file in which every mark is one that may be decimal or between thousands, as in `cell`.

    Points are decimal where that makes a device; commas where that alone does, and between thousands where that alone
    does.

    Raises:
        DeviceError: as `read_trains`; nothing tells what the mark is.
    """
    natural = "comma" if "," in cell else "point"
    found, usual, failures = dict[str, Read](), list[str](), dict[str, DeviceError]()
    for decimal in DECIMALS:
        try:
            found[decimal] = _read(path, read_sheets(path, decimal), stated)
        except DeviceError as error:
            failures[decimal] = error
            continue
        typical = np.median(np.concatenate([train.conductance for train in found[decimal].trains]))
        usual += [decimal] * bool(USUAL[0] <= typical <= USUAL[1])
    choices = [natural] if natural == "point" and natural in usual else usual or [*found]
    if not found:
        raise failures[natural]
    if len(choices) > 1 or (natural == "point" and choices != [natural]):
        values = {d: float(plain(cell, d == "comma", True)) for d in DECIMALS}
        text = ", ".join(f"{values[d]:g} (reads up to {_largest(found[d])}: --decimal {d})" for d in found)
        raise DeviceError(f"{path}: {cell} may be {text.replace('), ', ') or ')}; no number tells: state it")
    read = found[choices[0]]
    if len(found) > 1:
        text = f" {cell} is taken for {float(plain(cell, choices[0] == 'comma', True)):g} (else say --decimal)."
        read = read._replace(understood=read.understood + text)
    return read


def _largest(read: Read) -> str:
    return siemens(max(float(train.conductance.max()) for train in read.trains))[0]


def _read(path: Path, sheets: list[Sheet], stated: Stated) -> Read:
    """The trains of the tables of a file."""
    trains, said, voltages = list[Train](), list[str](), list[float]()
    for sheet in sheets:
        try:
            read = _read_sheet(sheet, stated)
        except DeviceError as error:
            between = ", " if str(error).startswith("line ") else ": "
            raise DeviceError(f"{path}{between}{error}") from None
        trains += read.trains
        said += [read.understood] * (read.understood not in said)
        voltages += [] if read.read_voltage is None else [read.read_voltage]
    if not any(len(train.conductance) > 1 for train in trains):
        raise DeviceError(f"{path}: no train with two reads or more: put its reads below each other")
    understood = f"{path.name}: {' '.join(said)}"
    return Read(trains, understood, voltages[0] if voltages else None)


def _read_sheet(sheet: Sheet, stated: Stated) -> Read:
    parts = understand(sheet, stated)
    known = parts.read_voltage or ASSUMED_READ
    per_row = parts.by.get("read voltage", [])[: parts.quantity == "current" and parts.read_voltage is None]
    trains, dropped = list[Train](), 0
    for place, column in enumerate(parts.readings):
        for device, name, rows in _groups(sheet, parts, column):
            volts = known if parts.quantity == "current" else 1.0
            value = _reads(sheet, column, rows, _voltage(sheet, per_row[0], rows) if per_row else volts)
            value = value * parts.units[place].scale
            sane = value > 0
            conductance = 1 / np.where(sane, value, 1.0) if parts.quantity == "resistance" else value
            dropped += int((~sane).sum())
            pulses = _pulses(sheet, parts, place, rows, name)
            time = _seconds(sheet, parts, rows)
            train = Train(device, conductance, *pulses, column.meaning.polarity, str(column), time, parts.pulses)
            if stated.read_first:
                train = _pulsed_later(train)
            trains += [train.at(piece) for piece in _pieces(sane)]
    _check(trains, parts.quantity, parts.units[0])
    text = f"{sheet.form}; {parts.quantity} [{parts.units[0].text}] in {listed(parts.readings)}"
    text += f" ({parts.guessed})" * bool(parts.guessed)
    assumed = "" if parts.read_voltage else " (assumed: --read-voltage)"
    text += ", read voltage " + ("of each row" if per_row else f"{known:g} V{assumed}")
    for what, kind in (("gate voltages", "gate"), ("times", "time")):
        text += f", {what} in {listed(parts.by.get(kind, []))}" * bool(parts.by.get(kind))
    if parts.pulses:
        text += f", pulses of {parts.pulses[1][0]:g} and {parts.pulses[-1][0]:g} V by a note"
    aside = parts.aside + [f"{dropped} reads at or below zero"] * bool(dropped)
    text += f"; set aside: {', '.join(aside)}" * bool(aside)
    return Read(trains, f"{text}.", parts.read_voltage)


def _check(trains: list[Train], quantity: str, unit: Unit) -> None:
    """Magnitudes that a device can have."""
    reads = np.concatenate([train.conductance for train in trains] or [np.ones(1)])
    typical, largest = float(np.median(reads)), float(np.max(reads, initial=0.0))
    if typical < PLAUSIBLE[0] or largest > PLAUSIBLE[1]:
        raise DeviceError(
            f"taken as {quantity} in {unit.text}, the median read is {typical:.3g} S and the largest {largest:.3g} S; "
            f"devices have {PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g} S: correct the header's unit, or state it (--unit uS)"
        )


# -- rows --------------------------------------------------------------------------------------------------------------


def _groups(sheet: Sheet, parts: Parts, column: Column) -> Iterator[tuple[str, str, np.ndarray]]:
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
            if sheet.entries[row] != sheet.width and (devices or trains):
                raise DeviceError(
                    f"line {sheet.lines[row]}: {sheet.entries[row]} entries, the header has {sheet.width}"
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


def _counter(parts: Parts, column: Column) -> Column | None:
    """The column of pulse numbers of these reads: the next on its left, else the first; rather one that says pulse."""
    counters = parts.by.get("counter", [])
    counters = [c for c in counters if words(c.name) & {"pulse", "pulses"}] or counters
    return max((c for c in counters if c.place < column.place), default=next(iter(counters), None))


def _column(sheet: Sheet, column: Column, rows: np.ndarray, scale: float, empty: float | None = None) -> np.ndarray:
    """The numbers of a column at some rows; `empty` is what an empty cell counts."""
    cells = [column.cells[row] for row in rows]
    if empty is not None:
        cells = [cell or str(empty) for cell in cells]
    if all(map(is_number, cells)):
        out = np.array(cells, float)
        if np.all((out == 0) | ((np.abs(out) > LEAST) & (np.abs(out) < MOST))):
            return out * scale
    name = column.name or f"column {column.place}"
    where = (f"line {sheet.lines[row]}: {name}" for row in rows)
    return scale * np.array([*map(_number, cells, where)])


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
        if value == 0 or LEAST < abs(value) < MOST:
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


def _seconds(sheet: Sheet, parts: Parts, rows: np.ndarray) -> np.ndarray | None:
    """Times [s] of some rows, where the file has them."""
    for column in parts.by["time"]:
        return _column(sheet, column, rows, column.meaning.unit.scale if column.meaning.unit else 1.0)
    return None


def _pieces(sane: np.ndarray) -> list[slice]:
    """Stretches of reads that can be used."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sane.astype(int), [0]])))
    return [slice(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _pulses(
    sheet: Sheet, parts: Parts, place: int, rows: np.ndarray, name: str
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Sign, amplitude [V], width [s] and gate [V] of the pulse before each read."""
    volts, width, gate = (_beside(sheet, parts, kind, place, rows) for kind in ("voltage", "width", "gate"))
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
    return sign, volts, width, gate


def _pulsed_later(train: Train) -> Train:
    """The train with each row's pulse before the read of the next row."""
    rows = np.maximum(np.arange(len(train.conductance)) - 1, 0)
    return train.at(rows)._replace(conductance=train.conductance, time=train.time)


def _beside(sheet: Sheet, parts: Parts, kind: str, place: int, rows: np.ndarray) -> np.ndarray | None:
    """The numbers of a kind beside a column of reads: of the only column of the kind, or of that at the same place."""
    columns = parts.by.get(kind, [])
    if not columns:
        return None
    if len(columns) not in (1, len(parts.readings)):
        raise DeviceError(f"{listed(columns)} are {kind}s of pulses beside {listed(parts.readings)}: leave one")
    column = columns[place if len(columns) > 1 else 0]
    there = np.array([column.cells[row] != "" for row in rows])
    if kind != "gate":  # which reads without a pulse need not have
        there[1:] = True
    value = np.full(len(rows), np.nan if kind == "gate" else 0.0)
    value[there] = _column(sheet, column, rows[there], column.meaning.unit.scale if column.meaning.unit else 1.0)
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
