"""A lab's file as tables of named columns: text or spreadsheet, whatever separates its cells and stands before them.

Python's csv splits the lines. Neither pandas nor polars would do more: which line is the header, what separates cells,
whether a comma is a decimal point and where a second table begins is what they have to be told.
"""

import csv
import io
import itertools
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memenv.devices.records import DeviceError
from memenv.files import UNREADABLE, regular_file
from memenv.fitting.headers import Meaning, meaning, quoted

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
GROUPED = re.compile(r"[+-]?\d{1,3}(?:([,' \u2019])\d{3}(?:\1\d{3})*)(?:\.\d+)?")  # by thousands
ERRORS = re.compile(r"#(N/A|DIV/0!|REF!|VALUE!|NUM!|NAME\?|NULL!)")  # of a spreadsheet's formulas, no comments
SWAPPED = str.maketrans(",.", ".,")
TIDY = str.maketrans({"\N{MINUS SIGN}": "-", "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " "})
MISSING = ("", "nan", "NaN", "NAN", "--", "#N/A", "N/A", "NA")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
SNIFFED = 400  # lines by which a separator is chosen
FOREIGN = {  # how files begin that are no tables of text
    b"PK\x03\x04": "a zip archive (a spreadsheet ends in .xlsx, tables of arrays in .npz)",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls): save it as .xlsx or .csv",
    b"\x89HDF": "an HDF5 file",
    b"MATLAB": "a MATLAB file",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"{": "JSON",
}


class Row(NamedTuple):
    """A line that is not empty."""

    line: int
    cells: list[str]
    apart: bool  # behind an empty line


class Column(NamedTuple):
    """A column of a table: cells in the order of the rows, "" where there is none."""

    place: int
    name: str
    meaning: Meaning
    cells: list[str]

    def __str__(self) -> str:
        return quoted(self.name) if self.name else f"column {self.place}"


class Sheet(NamedTuple):
    """A table."""

    columns: list[Column]
    width: int  # of the header, if there is one
    lines: list[int]  # of the file, of each row
    entries: list[int]  # of each row, without empty ones beyond the width
    breaks: list[int]  # rows that stand behind an empty line
    notes: list[str]  # lines before the table, and comments
    form: str  # what separates its cells


def is_number(text: str) -> bool:
    """True for a number with a decimal point."""
    return NUMBER.fullmatch(text) is not None


def read_sheets(path: Path) -> list[Sheet]:
    """The tables of a file, one below the other.

    Raises:
        DeviceError: no such file, no text and no spreadsheet, no numbers, a header that contradicts itself.
    """
    try:
        with regular_file(path) as file:
            raw = file.read()
    except (OSError, ValueError) as error:
        raise DeviceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        if path.suffix.lower() in (".xlsx", ".xlsm"):
            return _of_sheets(_spreadsheet(raw))
        lines, notes, form = _text(_decoded(raw))
        return _tables([row for row in lines if row.cells], notes, form)
    except (DeviceError, csv.Error) as error:
        raise DeviceError(f"{path}: {error}") from None


def _decoded(raw: bytes) -> str:
    if seen := next((said for head, said in FOREIGN.items() if raw.startswith(head)), ""):
        raise DeviceError(f"this is {seen}; pulse trains are read from text (.csv, .txt) and from .xlsx")
    wide = [3 * raw[first::2].count(0) > len(raw) for first in (0, 1)]  # half of the bytes of a text are zero
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = raw.decode("utf-16", "replace")
    elif any(wide) and not all(wide):
        text = raw.decode("utf-16-be" if wide[0] else "utf-16-le", "replace")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
    if "\0" in text:
        raise DeviceError("these are binary data; pulse trains are read from text (.csv, .txt) and from .xlsx")
    return text.translate(TIDY)


def _text(text: str) -> tuple[list[Row], list[str], str]:
    """Rows with points as decimals, comments, and what separates cells."""
    lines = re.split(r"\r\n|\r|\n", text)
    comments = [k for k, line in enumerate(lines) if _is_comment(line.lstrip(' "'))]
    filled = [bool(line.strip(" \t,;|\"'")) for line in lines]
    content = sorted({k for k, there in enumerate(filled) if there} - set(comments))
    if not content:
        raise DeviceError("the file is empty")
    if comments and comments[-1] == content[0] - 1:  # NumPy's savetxt writes the header as a comment
        header = lines[comments[-1]].lstrip(' "#%/!')
        if any(_plain(cell, True) for cell in re.split(r"[,;\t|]", lines[content[0]])) and _is_header(
            [name.strip() for name in re.split(r"[,;\t|]", header)]
        ):
            lines[comments[-1]] = header
            content.insert(0, comments.pop())
    notes = [lines[k].strip(' "#%/!') for k in comments]
    separator, comma, grouped = _sniffed([lines[k] for k in content[-SNIFFED:]])
    rows = []
    for k in content:
        cells = _cells(lines[k], separator)
        if comma or grouped:
            cells = [_plain(cell, comma, grouped) or cell for cell in cells]
        rows.append(Row(k + 1, cells, k > 0 and not filled[k - 1]))
    form = f"cells separated by {SEPARATORS[separator]}" if separator else "one column"
    return rows, notes, form + ", decimal commas" * comma + ", marks between thousands" * grouped


def _is_comment(line: str) -> bool:
    return line.startswith(("#", "%", "//", "!")) and not ERRORS.match(line)


def _is_header(names: list[str]) -> bool:
    """True for names of columns, of which one is of a known kind."""
    return all(names) and not any(map(is_number, names)) and any(meaning(name).kind for name in names)


def _cells(line: str, separator: str) -> list[str]:
    if not separator:
        return [line.strip()]
    if separator == " " and '"' not in line:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def _plain(cell: str, comma: bool, grouped: bool = False) -> str:
    """A number of decimal commas, or of points, with a decimal point and without marks between thousands, or ""."""
    if comma:
        cell = cell.translate(SWAPPED)
    if is_number(cell):
        return cell
    return re.sub(r"[,' \u2019]", "", cell) if grouped and GROUPED.fullmatch(cell) else ""


def _sniffed(lines: list[str]) -> tuple[str, bool, bool]:
    """The separator of cells, and whether commas are decimal and thousands marked, so that most cells are numbers.

    Marks between thousands must be the only way to read some cells: 5,057 alone has a decimal comma, unless there are
    whole numbers below a thousand in its column, too.
    """
    best, chosen = -len(lines) * 1000, (",", False, False)
    for separator in SEPARATORS:
        table = [_cells(line, separator) for line in lines]
        commas = (False,) if separator == "," else (False, True)
        for grouped, comma in itertools.product((False, True), commas):
            good = [[_plain(cell, comma, grouped) != "" for cell in cells if cell] for cells in table]
            score = sum(2 * sum(row) - len(row) if any(row) else -1 for row in good)
            if score > best:
                best, chosen = score, (separator, comma, grouped)
        if chosen == (separator, True, False) and _counts_thousands(table):
            chosen = (separator, False, True)
    alone = [re.fullmatch(r"\s*[+-]?\d+(?:,(\d+))?(?:e[+-]?\d+)?\s*", line, re.IGNORECASE) for line in lines]
    after = [found[1] or "" for found in alone if found]
    zeros = any(len(digits) > 1 and digits.startswith("0") for digits in after)
    single = zeros or (alone[0] is None and "," not in lines[0])  # 5,0566 is one number or two: the header tells
    return ("", True, False) if single and any(after) and len(after) >= len(lines) - 1 else chosen


def _counts_thousands(table: list[list[str]]) -> bool:
    """True if whole numbers of one column are 5,057 or 12,640 above a thousand and 950 below."""
    for column in itertools.zip_longest(*table, fillvalue=""):
        numbers = [cell for cell in column if _plain(cell, True)]
        marked = [cell for cell in numbers if "," in cell]
        if len(numbers) > len(marked) > 0 and all(map(GROUPED.fullmatch, marked)):
            return True
    return False


def _spreadsheet(raw: bytes) -> list[tuple[str, list[Row]]]:
    """Titles and rows of sheets that are not empty."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise DeviceError('spreadsheets need openpyxl: pip install "memenv[excel]", or save it as .csv') from None
    if not raw.startswith(b"PK\x03\x04"):
        raise DeviceError("the name says spreadsheet, the content is none: rename it, or save it as .xlsx or .csv")
    out = list[tuple[str, list[Row]]]()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that openpyxl leaves out
            for sheet in load_workbook(io.BytesIO(raw), read_only=True, data_only=True).worksheets:
                table = [[_typed(value) for value in row] for row in sheet.iter_rows(values_only=True)]
                filled = [any(cells) for cells in table]
                if any(filled):
                    places = np.flatnonzero(filled).tolist()
                    out.append((sheet.title, [Row(k + 1, table[k], k > 0 and not filled[k - 1]) for k in places]))
    except UNREADABLE as error:
        raise DeviceError(f"the spreadsheet cannot be read: {' '.join(str(error).split())[:200]}") from None
    return out


def _typed(value: object) -> str:
    """The text of a cell; a number that was typed as text, with a decimal comma, has a point."""
    text = "" if value is None else str(value).translate(TIDY).strip()
    return (_plain(text, True) or text) if isinstance(value, str) and not is_number(text) else text


def _of_sheets(sheets: list[tuple[str, list[Row]]]) -> list[Sheet]:
    """The tables of the first sheet with numbers, and of those with the same columns; what stands before are notes."""
    out, notes, others, failures = list[Sheet](), list[str](), list[str](), list[DeviceError]()
    for title, rows in sheets:
        tables = list[Sheet]()
        try:
            tables = _tables(rows, notes, f"sheet {quoted(title)}")
        except DeviceError as error:
            failures.append(error)
            notes += [" ".join(row.cells) for row in rows]
        if tables and (not out or [c.name for c in tables[0].columns] == [c.name for c in out[0].columns]):
            out += tables
        else:
            others.append(quoted(title))
    if not out:
        raise failures[0] if failures else DeviceError("the file is empty")
    unread = f", not read: {', '.join(others)}" if others else ""
    return [out[0]._replace(form=out[0].form + unread), *out[1:]]


# -- tables ------------------------------------------------------------------------------------------------------------


def _tables(rows: list[Row], notes: list[str], form: str) -> list[Sheet]:
    numeric = _numeric(rows)
    if not numeric:
        raise DeviceError(f"no table of numbers: its first line is {quoted(' '.join(rows[0].cells))}")
    start = _start(rows, numeric)
    header = _header(rows[:start], rows[start], numeric)
    notes = [*notes, *(" ".join(row.cells) for row in rows[:start])]
    out, body = list[Sheet](), list[Row]()
    for row in rows[start:]:
        if not body or any(place < len(row.cells) and is_number(row.cells[place]) for place in numeric):
            body.append(row)
        elif any(meaning(cell).kind for cell in row.cells):
            out.append(_sheet(header, body, numeric, notes, form))
            header, body = row.cells, []
        elif not row.apart:  # else a note below the table
            body.append(row)
    return [*out, _sheet(header, body, numeric, notes, form)] if body else out


def _numeric(rows: list[Row]) -> list[int]:
    """Places of the columns of numbers: those of the most common kind of row with numbers, and what is right of it."""
    kinds: Counter[tuple[bool | None, ...]] = Counter()
    for row in rows:
        one = tuple(is_number(cell) if cell not in MISSING else None for cell in row.cells)
        if any(one):
            kinds[one] += 2 * one.count(True) - one.count(False)
    if not kinds:
        return []
    kind = max(kinds, key=lambda kind: kinds[kind])
    out = []
    for place in range(max(len(row.cells) for row in rows)):
        if place < len(kind) and kind[place] is not None:
            out += [place] * bool(kind[place])
            continue
        cells = [row.cells[place] for row in rows if place < len(row.cells) and row.cells[place] not in MISSING]
        out += [place] * (2 * sum(map(is_number, cells)) >= len(cells) > 0)
    return out


def _start(rows: list[Row], numeric: list[int]) -> int:
    """The first row of the table: all numbers, or damaged in some columns and right above such a row."""

    def found(k: int) -> int:
        return len(_numbers(rows[k], numeric))

    def most(k: int) -> bool:
        return 2 * found(k) > len(numeric)

    def whole(k: int) -> bool:
        return most(k) and found(k) == sum(rows[k].cells[p] not in MISSING for p in numeric if p < len(rows[k].cells))

    start = next(filter(whole, range(len(rows))), None)
    if start is None:
        start = max(range(len(rows)), key=found)
    if not start or (start > 1 and most(start - 2)):
        return start
    units = all(map(_is_unit, rows[start - 1].cells))
    named = start > 1 and found(start - 1) and not units and _is_header(rows[start - 2].cells)
    return start - 1 if most(start - 1) or named else start


def _numbers(row: Row, numeric: list[int]) -> list[int]:
    return [place for place in numeric if place < len(row.cells) and is_number(row.cells[place])]


def _header(before: list[Row], first: Row, numeric: list[int]) -> list[str]:
    """Names of columns: the line above the table, with the units below it where it has a line of them."""
    if not before or (first.apart and len(before[-1].cells) < len(first.cells)):
        return []
    names = before[-1].cells
    if len(before) > 1 and len(before[-2].cells) == len(names) and all(_is_unit(name) for name in names):
        return [f"{name} {unit if unit.startswith(('(', '[')) else f'({unit})'}" if unit else name
                for name, unit in zip(before[-2].cells, names, strict=True)]  # fmt: skip
    return names if len(names) > max(numeric) // 2 else []


def _is_unit(text: str) -> bool:
    text = text.strip("()[]")
    return meaning(f"x ({text})").unit is not None or text in ("", "#", "-", "1", "n.a.", "a.u.")


def _sheet(header: list[str], body: list[Row], numeric: list[int], notes: list[str], form: str) -> Sheet:
    header = header[: max((place + 1 for place, name in enumerate(header) if name), default=0)]
    most = max(len(header), *(len(row.cells) for row in body))
    beyond = [len(row.cells) for row in body if any(map(is_number, row.cells[len(header) :]))] if header else []
    if len(beyond) == len(body) > 1 and {*beyond} == {len(header) + 1} and _counts([row.cells[0] for row in body]):
        header = ["", *header]  # R numbers its rows without a name
    elif 2 * len(beyond) > len(body):
        raise DeviceError(f"line {body[0].line}: {max(beyond)} entries, the header names {len(header)} columns")
    columns = []
    for place in range(most):
        cells = [row.cells[place] if place < len(row.cells) else "" for row in body]
        name = header[place] if place < len(header) else ""
        if name or any(cells):
            columns.append(Column(place + 1, name, meaning(name), cells))
    width = len(header) or most
    entries = [min(len(row.cells), width) + sum(map(bool, row.cells[width:])) for row in body]
    breaks = [k for k, row in enumerate(body) if row.apart and k]
    return Sheet(columns, width, [row.line for row in body], entries, breaks, notes, form)


def _counts(cells: list[str]) -> bool:
    """True for whole numbers that go up by one."""
    return all(cell.isdigit() for cell in cells) and bool(np.all(np.diff([*map(int, cells)]) == 1))
