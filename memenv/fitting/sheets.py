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
from memenv.fitting.marks import Marks, is_number, marks_of, plain

ERRORS = re.compile(r"#(N/A|DIV/0!|REF!|VALUE!|NUM!|NAME\?|NULL!)")  # of a spreadsheet's formulas, no comments
TIDY = str.maketrans("\N{MINUS SIGN}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}", "-   ")
RULED = " \t,;|\"'-=+:_"  # of a line that is empty, or drawn
MANY = 4000  # rows, of which no more need to be looked at
HEADED = 40  # lines in which a header is looked for
MOST_NAMES = 4  # lines of names, units and comments above a table
WIDE = 20  # numbers in a row, above which few rows are trains
FEW = 3  # rows of numbers that may stand before the table
MISSING = ("", "nan", "NaN", "NAN", "--", "#N/A", "N/A", "NA")
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
    doubtful: str = ""  # a cell whose mark may be decimal or stand between thousands


def read_sheets(path: Path, decimal: str | None = None) -> list[Sheet]:
    """The tables of a file, one below the other; `decimal`, "point" or "comma", is what the user states.

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
            return _of_sheets(_spreadsheet(raw, decimal))
        lines, notes, marks = _text(_decoded(raw), decimal)
        tables = _tables([row for row in lines if row.cells], notes, str(marks))
        return [table._replace(doubtful=marks.doubtful) for table in tables]
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


def _text(text: str, decimal: str | None) -> tuple[list[Row], list[str], Marks]:
    """Rows with points as decimals, comments, and what separates cells and digits."""
    lines = re.split(r"\r\n|\r|\n", text)
    comments = [k for k, line in enumerate(lines) if _is_comment(line.lstrip(' "'))]
    filled = [bool(line.strip(RULED)) for line in lines]
    content = sorted({k for k, there in enumerate(filled) if there} - set(comments))
    if not content:
        raise DeviceError("the file is empty")
    if comments and comments[-1] == content[0] - 1:  # NumPy's savetxt writes the header as a comment
        header = lines[comments[-1]].lstrip(' "#%/!')
        if any(plain(cell, True) for cell in re.split(r"[,;\t|]", lines[content[0]])) and _is_header(
            [name.strip() for name in re.split(r"[,;\t|]", header)]
        ):
            lines[comments[-1]] = header
            content.insert(0, comments.pop())
    notes = [lines[k].strip(' "#%/!') for k in comments]
    marks = marks_of([lines[k] for k in content], decimal)
    rows = [Row(k + 1, marks.cells(lines[k]), k > 0 and not filled[k - 1]) for k in content]
    if marks.separator == " ":  # names of two words
        usual = Counter(len(row.cells) for row in rows).most_common(1)[0][0]
        wider = [re.split(r"\s{2,}|\t", lines[row.line - 1].strip()) for row in rows[:HEADED]]
        for k, cells in enumerate(wider):
            if len(cells) == usual != len(rows[k].cells):
                rows[k] = rows[k]._replace(cells=cells)
    return rows, notes, marks


def _is_comment(line: str) -> bool:
    if not line.startswith(("#", "%", "//", "!")) or ERRORS.match(line):
        return False
    cells = re.split(r"[,;\t|]", line)
    return len(cells) == 1 or not all(map(_is_unit, map(str.strip, cells)))  # Origin's units of a number are #


def _is_header(names: list[str]) -> bool:
    """True for names of columns, of which one is of a known kind."""
    return all(names) and not any(map(is_number, names)) and any(meaning(name).kind for name in names)


def _spreadsheet(raw: bytes, decimal: str | None) -> list[tuple[str, list[Row]]]:
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
                table = [[_typed(value, decimal) for value in row] for row in sheet.iter_rows(values_only=True)]
                filled = [any(cells) for cells in table]
                if any(filled):
                    places = np.flatnonzero(filled).tolist()
                    out.append((sheet.title, [Row(k + 1, table[k], k > 0 and not filled[k - 1]) for k in places]))
    except UNREADABLE as error:
        raise DeviceError(f"the spreadsheet cannot be read: {' '.join(str(error).split())[:200]}") from None
    return out


def _typed(value: object, decimal: str | None) -> str:
    """The text of a cell; a number that was typed as text, with a decimal comma, has a point."""
    text = "" if value is None else str(value).translate(TIDY).strip()
    if not isinstance(value, str) or is_number(text):
        return text
    return plain(text, decimal != "point", decimal is not None) or text


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
        some = next(((row, cell) for row in rows for cell in row.cells if re.match(r"[=+-]?[\"']?\d", cell)), None)
        if some:
            raise DeviceError(
                f"line {some[0].line}: no number is a plain one, {quoted(some[1])} is the first: write 1.5e-6"
            )
        raise DeviceError(f"no table of numbers: its first line is {quoted(' '.join(rows[0].cells))}")
    start = _start(rows, numeric)
    if _on_its_side(rows[start - 1 if start else 0 :]):
        raise DeviceError(
            f"line {rows[start].line}: rows of {len(rows[start].cells)} reads, {len(rows) - start} of them: trains are "
            "columns here, one read below the other; transpose the table"
        )
    header = _header(rows[:start], rows[start], numeric)
    notes = [*notes, *(" ".join(row.cells) for row in rows[:start])]
    out, body = list[Sheet](), list[Row]()
    for row, following in zip(rows[start:], [*rows[start + 1 :], rows[-1]], strict=True):
        if not body or any(place < len(row.cells) and is_number(row.cells[place]) for place in numeric):
            body.append(row)
        elif any(meaning(cell).kind for cell in row.cells if cell not in MISSING):
            if row.cells == header and _goes_on(body, following):
                continue  # a page of the same table
            out.append(_sheet(header, body, numeric, notes, form))
            header, body = row.cells, []
        elif not row.apart:  # else a note below the table
            body.append(row)
    return [*out, _sheet(header, body, numeric, notes, form)] if body else out


def _on_its_side(rows: list[Row]) -> bool:
    """True of few long rows of numbers, each behind its own name or without any."""
    if 2 * len(rows) >= WIDE:
        return False
    names, numbers = {row.cells[0] for row in rows}, [sum(map(is_number, row.cells)) for row in rows]
    named = not any(map(is_number, names)) and len(names) == len(rows)
    return min(numbers) >= WIDE and (named or numbers == [len(row.cells) for row in rows])


def _goes_on(body: list[Row], following: Row) -> bool:
    """True if a row counts on from those before."""
    return _counts([body[-1].cells[0], following.cells[0]])


def _numeric(rows: list[Row]) -> list[int]:
    """Places of the columns of numbers: those of the most common kind of row with numbers, and what is right of it."""
    kinds: Counter[tuple[bool | None, ...]] = Counter()
    rows = rows[:: max(1, len(rows) // MANY)]
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

    starts = list(itertools.islice(filter(whole, range(len(rows))), FEW + 1))
    header = next((k for k in starts[1:] if _is_header([c for c in rows[k - 1].cells if c])), None)
    start = header or next(iter(starts), None)  # settings of an instrument may be numbers
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
    same = [row.cells for row in before[-MOST_NAMES:] if len(row.cells) == len(names)]
    for place in reversed(range(1, len(same))):
        if all(map(_is_unit, same[place])):  # units below the names, comments below these
            said = [
                " ".join(filter(None, (cells[k] for cells in (same[place - 1], *same[place + 1 :]))))
                for k in range(len(names))
            ]
            pairs = zip(said, same[place], strict=True)
            return [f"{name} {u if u.startswith(('(', '[')) else f'({u})'}" if u else name for name, u in pairs]
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
    columns = list[Column]()
    for place in range(most):
        cells = [row.cells[place] if place < len(row.cells) else "" for row in body]
        name = header[place] if place < len(header) else ""
        if re.search(r"\bunits?$", name, re.IGNORECASE) and columns and len(set(cells)) == 1:
            name = f"{columns.pop().name} ({re.sub(' [AD]C$', '', cells[0])})"
            place, cells = place - 1, [row.cells[place - 1] for row in body]
        if name or any(cells):
            columns.append(Column(place + 1, name, meaning(name), cells))
    width = len(header) or most
    entries = [min(len(row.cells), width) + sum(map(bool, row.cells[width:])) for row in body]
    breaks = [k for k, row in enumerate(body) if row.apart and k]
    return Sheet(columns, width, [row.line for row in body], entries, breaks, notes, form)


def _counts(cells: list[str]) -> bool:
    """True for whole numbers that go up by one."""
    return all(cell.isdigit() for cell in cells) and bool(np.all(np.diff([*map(int, cells)]) == 1))
