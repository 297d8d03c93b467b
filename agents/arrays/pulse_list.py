"""Every pulse of every cell, in order, for whoever has the hardware."""

from collections.abc import Iterable, Iterator

import numpy as np

HEAD = "array_row,array_col,row,col,pulse,amplitude_V,width_s"
Step = tuple[np.ndarray, np.ndarray, np.ndarray]  # cells (n,), flat indices, signed amplitudes [V], widths [s]


def header(gate: float | None) -> str:
    """The first line, with a column of the gate where there is one."""
    return f"{HEAD}\n" if gate is None else f"{HEAD},gate_V\n"


def pulse_lines(place: tuple[int, int], cols: int, steps: Iterable[Step], gate: float | None = None) -> str:
    """The lines of an array at a `place` in the grid of arrays: cell by cell, each cell's pulses in their order.

    `gate` [V] is where that of all cells is held.
    """
    cells, amplitude, width = map(
        np.concatenate, zip((np.zeros(0, int), np.zeros(0), np.zeros(0)), *steps, strict=True)
    )
    order = np.argsort(cells, kind="stable")
    held = "" if gate is None else f",{float(gate)!r}"
    return "".join(_lines(place, cols, held, cells[order], amplitude[order], width[order]))


def _lines(place: tuple[int, int], cols: int, held: str, *pulses: np.ndarray) -> Iterator[str]:
    last, number = -1, 0
    for cell, volts, seconds in zip(*(part.tolist() for part in pulses), strict=True):
        last, number = cell, number + 1 if cell == last else 0
        row, col = divmod(cell, cols)
        yield f"{place[0]},{place[1]},{row},{col},{number},{volts!r},{seconds!r}{held}\n"
