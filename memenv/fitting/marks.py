"""Cells and numbers of a lab's text: what separates them, whether commas are decimal, what stands between thousands."""

import csv
import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:([,' \u2019])\d{3}(?:\1\d{3})*)(?:\.\d+)?")  # by thousands
DOUBTFUL = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")  # of which the mark may be either
SPACED = re.compile(r"[+-]?[1-9]\d{0,2}(?: \d{3})+([.,]\d+)?")  # a line that is one number
SWAPPED = str.maketrans(",.", ".,")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
DECIMALS = ("point", "comma")
SNIFFED = 400  # lines by which a separator is chosen
MANY = 0.8  # of the lines have a separator as often as all others


class Marks(NamedTuple):
    """How a text separates cells and writes numbers."""

    separator: str  # "" where there is one column
    comma: bool  # commas are decimal
    grouped: bool  # thousands are marked
    doubtful: str = ""  # a cell whose mark is decimal or between thousands: no cell tells

    def __str__(self) -> str:
        form = f"cells separated by {SEPARATORS[self.separator]}" if self.separator else "one column"
        return form + ", decimal commas" * self.comma + ", marks between thousands" * self.grouped

    def cells(self, line: str) -> list[str]:
        """Those of a line, with points as decimals."""
        cells = split(line, self.separator)
        if self.comma or self.grouped:
            return [plain(cell, self.comma, self.grouped) or cell for cell in cells]
        return cells


def is_number(text: str) -> bool:
    """True for a number with a decimal point."""
    return NUMBER.fullmatch(text) is not None


def split(line: str, separator: str) -> list[str]:
    """The cells of a line."""
    if not separator:
        return [line.strip()]
    if separator == " " and '"' not in line:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def plain(cell: str, comma: bool, grouped: bool = False) -> str:
    """A number of decimal commas, or of points, with a decimal point and without marks between thousands, or ""."""
    if comma:
        cell = cell.translate(SWAPPED)
    if is_number(cell):
        return cell
    return re.sub(r"[,' \u2019]", "", cell) if grouped and GROUPED.fullmatch(cell) else ""


def marks_of(lines: Sequence[str], decimal: str | None = None) -> Marks:
    """The marks by which most cells are numbers; `decimal`, "point" or "comma", is what the user states.

    Marks between thousands must be the only way to read some cells, or stand beside whole numbers below a thousand
    that have none. Where every number with a mark has three digits behind it, that is doubtful.
    """
    sample = lines[-SNIFFED:]
    found = _one_column(sample, decimal) or _sniffed(sample, decimal)
    if found.comma and not found.grouped:  # where points have three digits behind them further up, they are no decimals
        cells = (cell for line in lines if "." in line for cell in split(line, found.separator))
        found = found._replace(grouped=any(plain(cell, True, True) and not plain(cell, True) for cell in cells))
    if decimal or found.grouped or (found.separator == "," and not found.comma):
        return found
    return found._replace(doubtful=_doubtful(sample, found) and _doubtful(lines, found))


def _sniffed(lines: Sequence[str], decimal: str | None) -> Marks:
    best, chosen, whole = -len(lines) * 1000, Marks(",", False, False), 0
    quoted = any('"' in line for line in lines)
    for separator in SEPARATORS:
        if separator == " " and (whole > MANY * len(lines) or any(_steady(lines, other) for other in "\t;|")):
            continue  # spaces stand between thousands, or in texts
        table = [split(line, separator) for line in lines]
        commas = (False,) if separator == "," and not quoted else (False, True)
        commas = (decimal == "comma",) if decimal else commas
        for grouped, comma in itertools.product((False, True), commas):
            good = [[plain(cell, comma, grouped) != "" for cell in cells if cell] for cells in table]
            whole = max(whole, sum(len(row) > 1 and all(row) for row in good))
            score = sum(2 * sum(row) - len(row) if any(row) else -1 for row in good)
            if score > best:
                best, chosen = score, Marks(separator, comma, grouped)
        if chosen[:1] == (separator,) and not chosen.grouped and not decimal and _counts_thousands(table, chosen.comma):
            chosen = Marks(separator, not chosen.comma, True)
    return chosen


def _steady(lines: Sequence[str], separator: str) -> bool:
    """True of a separator that nearly all lines have equally often."""
    counts = [line.count(separator) for line in lines]
    often = max(counts, key=counts.count)
    return often > 0 and counts.count(often) > MANY * len(lines)


def _counts_thousands(table: list[list[str]], comma: bool) -> bool:
    """True if whole numbers of one column are 5,057 or 12,640 above a thousand and 950 below; points likewise."""
    for column in itertools.zip_longest(*table, fillvalue=""):
        numbers = [cell for cell in column if plain(cell, comma)]
        marked = [cell for cell in numbers if not cell.lstrip("+-").isdigit()]
        if len(numbers) > len(marked) > 2 and all(map(DOUBTFUL.fullmatch, marked)):
            return True
    return False


def _one_column(lines: Sequence[str], decimal: str | None) -> Marks | None:
    """The marks of numbers below each other, of which a comma or a space could as well separate two."""
    if sum(map(bool, map(SPACED.fullmatch, lines))) >= len(lines) - 1 and any(" 0" in line for line in lines):
        return Marks("", any("," in line for line in lines[1:]), True)
    alone = [re.fullmatch(r"\s*[+-]?\d+(?:,(\d+))?(?:e[+-]?\d+)?\s*", line, re.IGNORECASE) for line in lines]
    after = [found[1] or "" for found in alone if found]
    zeros = any(len(digits) > 1 and digits.startswith("0") for digits in after)
    single = zeros or (alone[0] is None and "," not in lines[0])  # 5,0566 is one number or two: the header tells
    if single and any(after) and len(after) >= len(lines) - 1:
        return Marks("", decimal != "point", decimal == "point")
    return None


def _doubtful(lines: Sequence[str], marks: Marks) -> str:
    """The first number with a mark, if all of them have three digits behind it."""
    first, mark = "", "," if marks.comma else "."
    for line in lines:
        for cell in split(line, marks.separator):
            if mark in cell and plain(cell, marks.comma):
                if not DOUBTFUL.fullmatch(cell):
                    return ""
                first = first or cell
    return first
