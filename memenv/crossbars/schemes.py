"""Write schemes: what cells that are not written see while others are.

While one operation writes the enabled cells of a line at the amplitude V, the lines are biased so that

    1T1R   transistors disconnect every other cell: it sees nothing;
    V/2    cells on the same row or column see V/2, all others nothing;
    V/3    cells on the same row or column see V/3, all others -V/3, the opposite polarity.
"""

from typing import NamedTuple

from memenv.arrays import Array, namespace

ROUNDING = 64.0  # [machine epsilons of what it is taken from] a difference below this is what rounding leaves of zero


class Scheme(NamedTuple):
    """Shares of the amplitude that cells see which are not written."""

    half: float  # on the row or the column of the written ones
    rest: float  # elsewhere


SCHEMES = {"1T1R": Scheme(0.0, 0.0), "V/2": Scheme(1 / 2, 0.0), "V/3": Scheme(1 / 3, -1 / 3)}


def exposure(own: Array, lines: Array, columns: bool = False) -> tuple[Array, Array]:
    """Sums over operations elsewhere, (..., rows, cols) each: on the same row or column, and on neither.

    Args:
        own: (..., rows, cols) what the operation that writes the cell counts, 0 where there is none.
        lines: (..., lines, slots) what each operation counts.
        columns: the lines are columns.
    """
    line, across = lines.sum(-1), own.sum(-1 if columns else -2)
    row, column = (across, line) if columns else (line, across)
    return elsewhere(row[..., :, None], column[..., None, :], line.sum(-1)[..., None, None], own)


def elsewhere(row: Array, column: Array, total: Array, own: Array) -> tuple[Array, Array]:
    """Sums over the row, the column and the whole array without `own`: on the row or column, and on neither."""
    return difference(row + column, 2 * own), difference(total + own, row + column)


def difference(whole: Array, part: Array) -> Array:
    """whole - part >= 0, and 0 where it is only rounding."""
    xp = namespace(whole, part)
    left = whole - part
    return xp.where(left > ROUNDING * xp.finfo(left.dtype).eps * whole, left, 0.0 * left)
