"""Archives: an .npz of plain arrays with a card, which is JSON, read as if a stranger had made it.

Before an array is unpacked, its name, type and shape are those that were asked for, and nothing else is in the file;
before it is used, its numbers are finite. Nothing that is read here can run anything, or takes much more room than what
was asked for.
"""

import io
import json
import math
import os
import re
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from memenv.files import LONGEST, named, parse_json, regular_file, text_of, write_whole

FLOATS = ("f2", "f4", "f8")
WHOLE = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
TRUTH = ("b1",)
CARDS = ("card", "head")  # names of the card: as it is written, and as older pulse predictors have it
LARGEST = 2**30  # [byte] that arrays of sizes that are not known beforehand may take
DIRECTORY = 2**19  # [byte] of an archive's list of its members
END = struct.Struct("<4s4H2LH")  # last record of a zip file without comment ...
LOCATOR = 20  # ... and bytes of the one before it that announces more than 4 GiB
NUMBER = "(0|[1-9][0-9]*)"


class Entry(NamedTuple):
    """An array that a file holds.

    A size is a whole number, a name ("rows": the same, at least 1, wherever it stands; "2 rows" is twice that, "" any),
    so that arrays fit each other. In the name of an entry `*` stands for 0, 1, ... and on: any number of such arrays.
    """

    shape: tuple[int | str, ...]
    types: tuple[str, ...] = FLOATS
    most: float = sys.float_info.max  # largest magnitude; NaN is none
    optional: bool = False


class Header(NamedTuple):
    """The header of an array, read before it is unpacked."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool = False

    @property
    def nbytes(self) -> int:
        """Of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


Entries = Mapping[str, Entry]
ALONE = "it"  # name of the array of an .npy file, for messages
BYTES = Entry(("",), ("u1",))  # of a card ...
CARD = {"U": Entry((), ())}  # ... or its text


def check_card(card: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """Refuse a card whose names or types are others; a whole number is a float too, true and false are no numbers.

    Raises:
        ValueError: naming what is missing, unknown or of another type.
    """
    if missing := [name for name in kinds if name not in card]:
        raise ValueError(f"its card lacks {', '.join(missing)}")
    if unknown := [name for name in card if name not in kinds]:
        raise ValueError(f"its card has {_listed(map(repr, unknown))}, known are {_listed(kinds)}")
    for name, kind in kinds.items():
        value, allowed = card[name], kind if isinstance(kind, tuple) else (kind,)
        if type(value) not in (*allowed, *((int,) if float in allowed else ())):
            wanted = " or ".join(one.__name__ for one in allowed)
            raise ValueError(f"{name} is {value!r:.80} in its card; a value of type {wanted} is needed")


def _listed(names: Iterable[str]) -> str:
    """Names for a message of one line."""
    some = list(islice(names, 13))
    return ", ".join(some[:12]) + (", ..." if len(some) > 12 else "")


def check_arrays(arrays: Mapping[str, np.ndarray], entries: Entries) -> None:
    """Refuse arrays that are not those of `entries`: none is missing, further, or holds what is no number.

    Raises:
        ValueError: naming the array, what it is and what is needed.
    """
    _check_headers({name: Header(array.dtype, array.shape) for name, array in arrays.items()}, entries, {}, math.inf)
    _check_numbers(arrays, entries)


def save_archive(path: Path, card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and a card, JSON's objects and values, as .npz; whole or not at all."""
    parts: dict[str, Any] = {**arrays, CARDS[0]: np.array(json.dumps(card, allow_nan=False))}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **parts)
    write_whole(path, buffer.getvalue())


def load_card(path: str | Path, what: str) -> dict[str, Any]:
    """The card of an archive, {} where there is none; arguments and errors as of `load_archive`."""
    with _opened(path, what) as archive:
        return archive.card


def load_archive(
    path: str | Path,
    what: str,
    entries: Entries | Callable[[dict[str, Any], Mapping[str, Header]], Entries],
    sizes: Mapping[str, int] | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The card and the arrays of an .npz file.

    Args:
        path: of the file.
        what: is expected, for messages.
        entries: all arrays that it may hold; or what gives them from the card and the headers, or refuses those.
        sizes: those that are known beforehand, by their names in `entries`.

    Raises:
        ValueError: naming the file: no such file, not a regular one, damaged, or anything in it is not as expected.
    """
    with _opened(path, what) as archive:
        wanted = entries(archive.card, archive.headers) if callable(entries) else entries
        _check_headers(archive.headers, wanted, sizes or {})
        arrays = {name: _read(archive.zip, name) for name in archive.headers}
        _check_numbers(arrays, wanted)
        return archive.card, arrays


def load_array(path: str | Path, what: str, entry: Entry, check: Callable[[Header], None] | None = None) -> np.ndarray:
    """The array of an .npy file, mapped and not copied; `check` sees its header first.

    Raises:
        ValueError: naming the file: no such file, not a regular one, damaged, or not as expected.
    """
    with named(path, what), regular_file(path) as file:
        header, entries = _header(file), {ALONE: entry}
        _check_headers({ALONE: header}, entries, {}, math.inf)
        if check:
            check(header)
        _check_length(header, os.fstat(file.fileno()).st_size - file.tell())
        order: Any = "F" if header.fortran else "C"
        array = np.memmap(file, header.dtype, "r", file.tell(), header.shape, order)
        _check_numbers({ALONE: array}, entries)
        return array


class _Archive(NamedTuple):
    """An open .npz file of which the card and all headers have been read."""

    zip: zipfile.ZipFile
    card: dict[str, Any]
    headers: dict[str, Header]


@contextmanager
def _opened(path: str | Path, what: str) -> Iterator[_Archive]:
    with named(path, what), regular_file(path) as file:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            headers: dict[str, Header] = {}
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name in headers:
                    raise ValueError(f"it has {name!r} twice")
                if name == info.filename or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"it has {info.filename!r}, which is no array as NumPy writes it")
                with archive.open(info) as member:
                    headers[name] = _header(member)
            cards = {name: headers.pop(name) for name in CARDS if name in headers}
            if len(cards) > 1:
                raise ValueError(f"it has two cards, {' and '.join(cards)}")
            kinds = {name: CARD.get(header.dtype.kind, BYTES) for name, header in cards.items()}
            _check_headers(cards, kinds, {}, 4 * LONGEST)
            (text,) = [_read(archive, name) for name in cards] or [np.array("{}")]
            card = parse_json(text_of(text.tobytes()) if text.dtype == np.uint8 else str(text))
            if not isinstance(card, dict):
                raise ValueError(f"its card is a {type(card).__name__}, an object is needed")
            yield _Archive(archive, card, headers)


def _check_directory(file: BinaryIO) -> None:
    """Refuse a file whose end is not that of a small zip file, before zipfile reads a long list of members."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - END.size - LOCATOR, 0))
    tail = file.read()
    if len(tail) < END.size or not tail[-END.size :].startswith(b"PK\5\6"):
        raise ValueError("it is not an .npz archive, or a truncated one")
    directory = END.unpack(tail[-END.size :])[5]
    if directory > DIRECTORY or tail[: -END.size].startswith(b"PK\6\7"):
        raise ValueError(f"it has a list of members that is longer than {DIRECTORY:,} bytes, or is larger than 4 GiB")


def _header(file: Any) -> Header:
    """The header of an .npy file that is open; what comes next are its numbers."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it is not an array in the version 1.0 of NumPy's format")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of headers that Python 2 wrote
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return Header(dtype, shape, fortran)


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an archive, native and in C order; no more is unpacked than its header says."""
    with archive.open(f"{name}.npy") as member:
        header = _header(member)
        content = bytearray(header.nbytes)
        stream: Any = member  # at whose end zipfile compares checksums
        _check_length(header, stream.readinto(content) + len(stream.read(1)))
    array = np.frombuffer(content, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
    return array.astype(header.dtype.newbyteorder("="), order="C", copy=False)


def _check_length(header: Header, length: int) -> None:
    if length != header.nbytes:
        raise ValueError(f"{length:,} bytes instead of {header.nbytes:,} follow a header; the file may be truncated")


def _entry_of(name: str, entries: Entries) -> str | None:
    """The name in `entries` of an array."""
    if name in entries:
        return name
    patterns = (pattern for pattern in entries if "*" in pattern)
    return next((p for p in patterns if re.fullmatch(re.escape(p).replace(r"\*", NUMBER), name)), None)


def _check_headers(
    headers: Mapping[str, Header], entries: Entries, sizes: Mapping[str, int], most: float = LARGEST
) -> None:
    """Refuse arrays that are others, of other types or sizes, or too large for what is known of their sizes."""
    of = {name: _entry_of(name, entries) for name in headers}
    if missing := [name for name, entry in entries.items() if not (name in headers or entry.optional or "*" in name)]:
        raise ValueError(f"it lacks {_listed(missing)}")
    if unknown := [repr(name) for name, entry in of.items() if entry is None]:
        raise ValueError(f"it has {_listed(unknown)}, known are {_listed(entries)}")
    for pattern in entries:
        count = sum(entry == pattern for entry in of.values())
        if gap := [one for k in range(count) if (one := pattern.replace("*", str(k))) not in headers]:
            raise ValueError(f"it lacks {gap[0]}")
    wanted = {name: entries[entry] for entry in entries for name in headers if of[name] == entry}
    known = dict(sizes)
    for name, entry in wanted.items():
        if len(entry.shape) == len(headers[name].shape):
            for size, found in zip(entry.shape, headers[name].shape, strict=True):
                if isinstance(size, str) and size.isidentifier():
                    known.setdefault(size, found)
    room = 0
    for name, entry in wanted.items():
        header = headers[name]
        if header.dtype.hasobject:
            raise ValueError(f"{name} holds pickled objects, which are not loaded")
        if entry.types and header.dtype.str[1:] not in entry.types:
            raise ValueError(f"{name} is of type {header.dtype}, {' or '.join(entry.types)} is needed")
        if not _fits(header.shape, entry.shape, known):
            shape = ", ".join(str(_size(size, known)) for size in entry.shape)
            none = "" if all(header.shape) else ", none of them 0"
            raise ValueError(f"{name} has the shape {header.shape}, ({shape}) is needed{none}")
        expected = entry.types and all(isinstance(_size(size, sizes), int) for size in entry.shape)
        room += 0 if expected else header.nbytes
    if room > most:
        raise ValueError(f"its arrays take {room:,} bytes, allowed are {most:,}")


def _fits(found: tuple[int, ...], shape: tuple[int | str, ...], known: Mapping[str, int]) -> bool:
    """True if a shape is the one of an entry; only a size that is a number there may be 0."""
    return len(found) == len(shape) and all(
        _size(size, known) in (number, "any") and (number >= 1 or number == size)
        for number, size in zip(found, shape, strict=True)
    )


def _size(size: int | str, known: Mapping[str, int]) -> int | str:
    """A size of an entry as a number, if it is known."""
    if isinstance(size, int):
        return size
    times, _, name = size.rpartition(" ")
    return int(times or 1) * known[name] if name in known else size or "any"


def _check_numbers(arrays: Mapping[str, np.ndarray], entries: Entries) -> None:
    for name, array in arrays.items():
        entry = entries[_entry_of(name, entries) or name]
        if array.dtype.kind == "f":
            bad = int((~(np.abs(array) <= np.float64(entry.most))).sum())
            if bad:
                raise ValueError(f"{bad} of {array.size} numbers in {name} are NaN or beyond {entry.most:.3g}")
