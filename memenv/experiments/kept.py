"""The one way to go on: pieces of work whose yields are kept as each is finished, in a journal or in files.

Whoever is interrupted, a command or a benchmark, does what is missing. A journal has a line for each piece.
"""

import base64
import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from memenv.experiments import renamed
from memenv.files import UNREADABLE, naming

Key = tuple[Any, ...]  # strings and numbers
Once = Callable[[Key, Callable[[], Any]], Any]  # the yield of a piece of work, done now or as it was kept by its key


def at_once(_: Key, work: Callable[[], Any]) -> Any:
    """The yield of a piece of work, kept by nobody."""
    return work()


class Kept(dict[Any, Any]):
    """Yields of finished pieces of work by their keys.

    Args:
        found: those that are kept already.
        write: keeps a piece, and returns its yield as it will be found; None: they last as long as this process.
    """

    def __init__(self, found: Mapping[Any, Any] | None = None, write: Callable[[Any, Any], Any] | None = None) -> None:
        super().__init__(found or {})
        self._write = write or (lambda _, value: value)

    def __setitem__(self, key: Key, value: Any) -> None:
        super().__setitem__(key, self._write(key, value))

    def once(self, key: Key, work: Callable[[], Any]) -> Any:
        """The yield of a piece of work, done now or before an interruption."""
        if key not in self:
            self[key] = work()
        return self[key]

    def of(self, *place: Any) -> Once:
        """`once` of the parts of a piece: their keys begin with this one."""
        return lambda key, work: self.once((*place, *key), work)


def in_files(
    files: Mapping[Any, Path], load: Callable[[Path, Any], Any], save: Callable[[Path, Any, Any], None]
) -> Kept:
    """Pieces that are kept in a file each; one that `load` refuses (ValueError) is named, and to be made anew."""
    found = {}
    for key, path in files.items():
        if path.exists():
            try:
                found[key] = load(path, key)
            except ValueError as error:
                print(f"{error}: made anew", file=sys.stderr)

    def write(key: Key, value: Any) -> Any:
        save(files[key], key, value)
        return load(files[key], key)

    return Kept(found, write)


def in_journal(path: Path) -> Kept:
    """Pieces that are kept in a journal; the beginning of a line that was not finished is cut off.

    They yield numbers, strings and arrays in dictionaries, lists and tuples; these are found as lists.

    Raises:
        ValueError: it is damaged.
    """
    finished: dict[Key, Any] = {}
    if path.exists():
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            os.truncate(path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                key, value = _read_line(line)
            except UNREADABLE as error:
                said = f"{path}: line {number} cannot be read ({error}); begin anew with --overwrite"
                raise ValueError(said) from None
            finished[tuple(renamed.with_current_names(key))] = value
    return Kept(finished, partial(_append, path))


def _append(path: Path, key: Key, value: Any) -> Any:
    """Add a line to a journal; one without its end, as a full disk or a kill leaves it, does not count."""
    line = _line(key, value)
    with naming(path), path.open("ab") as file:
        file.write(line + b"\n")
    return _read_line(line)[1]


def _plain(value: Any) -> Any:
    """For JSON: an array as the bytes of its .npy file."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} cannot be kept in a journal")
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return {"npy": base64.b64encode(buffer.getvalue()).decode()}


def _line(key: Key, value: Any) -> bytes:
    """A line of a journal: a checksum, then key and value as JSON."""
    text = json.dumps([key, value], default=_plain).encode()
    return b"%08x %s" % (zlib.crc32(text), text)


def _read_line(line: bytes) -> Any:
    """Key and value of a line; raise ValueError where it is damaged."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("its checksum is of another text")

    def array(found: dict[str, Any]) -> Any:
        if found.keys() != {"npy"}:
            return found
        return np.load(io.BytesIO(base64.b64decode(found["npy"])), allow_pickle=False)

    return json.loads(text, object_hook=array)
