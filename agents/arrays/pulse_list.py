"""Every pulse of every cell, in order, for whoever has the hardware."""

from collections.abc import Iterable, Iterator

import numpy as np

HEAD = "array_row,array_col,row,col,pulse,amplitude_V,width_s\n"
Step = tuple[np.ndarray, np.ndarray, np.ndarray]  # cells (n,), flat indices, signed amplitudes [V], widths [s]


def pulse_lines(place: tuple[int, int], cols: int, steps: Iterable[Step]) -> str:
    """The lines of an array at a `place` in the grid of arrays: cell by cell, each cell's pulses in their order."""
    cells, amplitude, width = map(
        np.concatenate, zip((np.zeros(0, int), np.zeros(0), np.zeros(0)), *steps, strict=True)
    )
    order = np.argsort(cells, kind="stable")
    return "".join(_lines(place, cols, cells[order], amplitude[order], width[order]))


def _lines(place: tuple[int, int], cols: int, *pulses: np.ndarray) -> Iterator[str]:
    last, number = -1, 0
    for cell, volts, seconds in zip(*(part.tolist() for part in pulses), strict=True):
        last, number = cell, number + 1 if cell == last else 0
        row, col = divmod(cell, cols)
        yield f"{place[0]},{place[1]},{row},{col},{number},{volts!r},{seconds!r}\n"
