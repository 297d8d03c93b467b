"""A lab's pulse trains, read from CSV and checked before anything is fitted to them.

Two forms. Long: a header with train, pulse, conductance_S and, where known, device, amplitude_V, width_s; a row is one
read [S] after one more pulse, whose amplitude is positive for SET. Matrix: a column is a train, a row the current [A]
read after one more pulse, columns may end early. The first read of a train stands before its first pulse.
"""

import csv
import io
import itertools
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memenv.devices.records import DeviceError
from memenv.files import regular_file

REQUIRED = ("train", "pulse", "conductance_S")
OPTIONAL = ("device", "amplitude_V", "width_s")
FEWEST = 20  # pulses of one polarity, below which nothing can be fitted


class Unlikely(NamedTuple):
    """A median above which a quantity is more likely in the wrong unit."""

    above: float
    unit: str
    remedy: str


UNLIKELY = {
    "conductance": Unlikely(1.0, "S", "microsiemens given as siemens? multiply by 1e-6"),
    "amplitude": Unlikely(100.0, "V", "millivolts given as volts? multiply by 1e-3"),
    "width": Unlikely(100.0, "s", "microseconds given as seconds? multiply by 1e-6"),
}


@dataclass(frozen=True, kw_only=True)
class PulseData:
    """Pulse trains side by side, arrays (reads, trains); a train that ends early is followed by NaN."""

    conductance: np.ndarray  # [S] read
    amplitude: np.ndarray  # [V] of the pulse before the read, + SET, - RESET, 0 in the first row
    width: np.ndarray  # [s] of the pulse before the read
    device: np.ndarray  # (trains,) index into `devices`
    devices: tuple[str, ...]
    files: tuple[str, ...] = ()
    amplitude_known: bool = True  # else 1 V was assumed
    width_known: bool = True  # else 1 us was assumed
    read_voltage: float = 0.1  # [V]

    def of(self, sign: int) -> np.ndarray:
        """(reads, trains) whether a pulse of this sign stands before the read."""
        return np.isfinite(self.conductance) & (np.sign(self.amplitude) == sign)

    def polarity(self) -> np.ndarray:
        """(trains,) the sign of most pulses of each train."""
        return np.where(np.nansum(np.sign(self.amplitude), axis=0) >= 0, 1, -1)

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of every other train of each device and polarity, and of the rest."""
        order = np.lexsort((np.arange(len(self.device)), self.polarity(), self.device))
        return np.sort(order[0::2]), np.sort(order[1::2])


class _Train(NamedTuple):
    """One train as it was read: rows (reads,)."""

    device: str
    conductance: list[float]
    amplitude: list[float] | None
    width: list[float] | None


def read_csv(*paths: str | Path, read_voltage: float = 0.1) -> PulseData:
    """The pulse trains of one or several CSV files of one form, e.g. one of SET and one of RESET trains.

    Args:
        paths: of the files.
        read_voltage: [V] by which the currents of a matrix are divided.

    Raises:
        DeviceError: missing file or column, entry that is no positive number, gap inside a train, too few pulses.
    """
    if not read_voltage > 0:
        raise DeviceError(f"read voltage is {read_voltage!r} V, a number > 0 is needed")
    trains = [train for path in paths for train in _read_file(Path(path), read_voltage)]
    known = [all(getattr(train, name) is not None for train in trains) for name in ("amplitude", "width")]
    reads = max(len(train.conductance) for train in trains)
    conductance, amplitude, width = (np.full((reads, len(trains)), np.nan) for _ in range(3))
    for column, train in enumerate(trains):
        n = len(train.conductance)
        trend = math.copysign(1.0, train.conductance[-1] - train.conductance[0])
        conductance[:n, column] = train.conductance
        amplitude[:n, column] = train.amplitude if known[0] else trend
        width[:n, column] = train.width if known[1] else 1e-6
    amplitude[0] = 0.0
    devices = tuple(dict.fromkeys(train.device for train in trains))
    data = PulseData(
        conductance=conductance,
        amplitude=amplitude,
        width=width,
        device=np.array([devices.index(train.device) for train in trains]),
        devices=devices,
        files=tuple(Path(path).name for path in paths),
        amplitude_known=known[0],
        width_known=known[1],
        read_voltage=read_voltage,
    )
    _check_amounts(data)
    return data


def _check_amounts(data: PulseData) -> None:
    """Enough pulses of both polarities; a warning for values that look like another unit."""
    for sign, name in ((1, "SET"), (-1, "RESET")):
        pulses = int(np.sum((np.sign(data.amplitude) == sign) & np.isfinite(data.conductance)))
        if pulses < FEWEST:
            raise DeviceError(
                f"{', '.join(data.files)}: {pulses} {name} pulses, at least {FEWEST} are needed: "
                "pass the file of the other polarity as well, or longer trains"
            )
    for name, limit in UNLIKELY.items():
        median = float(np.nanmedian(np.abs(getattr(data, name)[1:])))
        if median > limit.above:
            warnings.warn(f"the median {name} is {median:g} {limit.unit}: {limit.remedy}", UserWarning, stacklevel=3)


def _read_file(path: Path, read_voltage: float) -> list[_Train]:
    try:
        with regular_file(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(map(str.strip, row))]
    except (OSError, ValueError, csv.Error) as error:
        raise DeviceError(f"cannot read {path}: {error}") from None
    if not rows:
        raise DeviceError(f"{path}: the file is empty")
    header = [cell.strip() for cell in rows[0][1]]
    named = {name.lower().split("_")[0] for name in header}
    if named & {"train", "pulse", "conductance"}:
        return _read_long(path, header, rows[1:])
    return _read_matrix(path, rows[1:] if not _is_number(header[0]) else rows, read_voltage)


def _read_long(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> list[_Train]:
    """Trains from one row a read."""
    if missing := [name for name in REQUIRED if name not in header]:
        raise DeviceError(f"{path}: missing column {', '.join(missing)}; the header is {', '.join(header)}")
    place = {name: header.index(name) for name in (*REQUIRED, *OPTIONAL) if name in header}
    trains: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for number, row in rows:
        if len(row) != len(header):
            raise DeviceError(f"{path}, line {number}: {len(row)} entries, the header has {len(header)}")
        key = (row[place["device"]].strip() if "device" in place else "1", row[place["train"]].strip())
        read = trains.setdefault(key, [])

        where = f"{path}, line {number}"
        numbers = [
            math.nan if name not in place else _number(row[place[name]] or "0" * (not read), f"{where}: {name}")
            for name in ("amplitude_V", "width_s")
        ]
        pulse, conductance = (_number(row[place[name]], f"{where}: {name}") for name in ("pulse", "conductance_S"))
        read.append((pulse, _positive(conductance, where), *numbers))
    out = []
    for (device, train), reads in trains.items():
        reads.sort(key=lambda read: read[0])
        pulses, conductances, amplitudes, widths = map(list, zip(*reads, strict=True))
        for before, after in itertools.pairwise(pulses):
            if after != before + 1:
                raise DeviceError(
                    f"{path}: pulse {after:g} follows pulse {before:g} in train {train} of device {device}; "
                    "one row a pulse is needed, split the train at a gap"
                )
        for v, t in zip(amplitudes[1:], widths[1:], strict=True):
            if v != 0 and t <= 0:
                raise DeviceError(f"{path}: width_s is {t:g} in train {train} of device {device}, it must be > 0")
        known = ("amplitude_V" in place, "width_s" in place)
        out.append(_Train(device, conductances, amplitudes if known[0] else None, widths if known[1] else None))
    return _long_enough(path, out)


def _read_matrix(path: Path, rows: list[tuple[int, list[str]]], read_voltage: float) -> list[_Train]:
    """Trains from one column a train."""
    columns = max((len(row) for _, row in rows), default=0)
    trains = [_Train("1", [], None, None) for _ in range(columns)]
    ended: dict[int, int] = {}
    for number, row in rows:
        for column in range(columns):
            text = row[column].strip() if column < len(row) else ""
            if text in ("", "nan", "NaN"):
                ended.setdefault(column, number)
            elif column in ended:
                raise DeviceError(f"{path}: column {column + 1} has a gap at line {ended[column]}; split it there")
            else:
                where = f"{path}, line {number}, column {column + 1}"
                trains[column].conductance.append(_positive(_number(text, where), where) / read_voltage)
    return _long_enough(path, [train for train in trains if train.conductance])


def _long_enough(path: Path, trains: list[_Train]) -> list[_Train]:
    """The trains that have a step; there must be one."""
    trains = [train for train in trains if len(train.conductance) > 1]
    if not trains:
        raise DeviceError(f"{path}: no train with two reads or more")
    return trains


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DeviceError(f"{where} is {text.strip()!r}, a number is needed") from None
    if not math.isfinite(value):
        raise DeviceError(f"{where} is {text.strip()}, a finite number is needed; split the train at a missing read")
    return value


def _positive(value: float, where: str) -> float:
    if value <= 0:
        raise DeviceError(f"{where}: the read is {value:g}, a number > 0 is needed")
    return value
