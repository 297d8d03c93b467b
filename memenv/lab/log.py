"""The record of a bench: every pulse and read as a row of a CSV that `memenv fit` reads, and read again to resume."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

HEADER = "cell,step,amplitude_V,width_s,conductance_S,target_S"
GATED = f"{HEADER},gate_V"  # of a device whose gate is chosen
LOST = "# not read: "  # before the row of a pulse that may have been given; to `memenv fit` a comment


class Row(NamedTuple):
    """A read of a cell and the pulse before it."""

    cell: int
    step: int  # counts the rows of the cell
    amplitude: float  # [V] signed, 0 for a read without a pulse
    width: float  # [s]
    conductance: float  # [S]; NaN: the pulse may have been given, nobody read
    target: float  # [S]
    gate: float | None = None  # [V], 0 for a read without a pulse; None: no gate is chosen

    def text(self) -> str:
        """As a line without its end; numbers come back as they were."""
        lost = np.isnan(self.conductance)
        read = "" if lost else repr(float(self.conductance))
        pulse = f"{float(self.amplitude)!r},{float(self.width)!r}"
        gate = "" if self.gate is None else f",{float(self.gate)!r}"
        return f"{LOST * bool(lost)}{self.cell},{self.step},{pulse},{read},{float(self.target)!r}{gate}"


class Log:
    """A file of whole rows: each of them is on its way to the disk before the next pulse."""

    def __init__(self, path: Path, header: str = HEADER) -> None:
        """Goes on with a file, or begins it."""
        new = not path.exists()
        self._file = path.open("a", encoding="utf-8", newline="\n")
        if new:
            self._write([header])

    def add(self, rows: Iterable[Row]) -> None:
        """Write rows down."""
        self._write(row.text() for row in rows)

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()

    def _write(self, lines: Iterable[str]) -> None:
        self._file.write("".join(f"{line}\n" for line in lines))
        self._file.flush()


def read_log(path: Path, header: str = HEADER) -> dict[int, list[Row]]:
    """The rows of each cell in their order; the beginning of a line that was not finished is cut off.

    Raises:
        ValueError: no record of a bench, or a damaged one.
    """
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", "replace").splitlines()
    if lines[:1] != [header]:
        raise ValueError(f"{path} does not begin with {header}: it is no record of such a bench; choose another name")
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    found: dict[int, list[Row]] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            cell, step, *numbers = line.removeprefix(LOST).split(",")
            amplitude, width, read, target, *gate = (float(part or "nan") for part in numbers)
            row, rows = (
                Row(int(cell), int(step), amplitude, width, read, target, *gate),
                found.setdefault(int(cell), []),
            )
            del rows[row.step :]  # a pulse that was not read then has been read since
            if row.step != len(rows):
                raise ValueError(f"step {row.step} of cell {cell} follows {len(rows)} rows")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; correct it, or begin with another file") from None
        rows.append(row)
    return found
