"""Files: written whole or not at all, and read as if a stranger had made them; JSON among them."""

import json
import os
import pickle
import shutil
import stat
import struct
import sys
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

UNREADABLE = (  # what goes wrong when a file is damaged: each library has errors of its own
    *(OSError, ValueError, LookupError, EOFError, TypeError, SyntaxError, AttributeError, ArithmeticError, MemoryError),
    *(RuntimeError, AssertionError, Warning, struct.error, pickle.PickleError, zipfile.BadZipFile, zlib.error),
    tokenize.TokenError,
)
LONGEST = 2**22  # [byte] of a JSON text
LONGEST_NAME = 200  # in it: errors quote names
DEEPEST = 32  # lists and objects inside each other
TOO_DEEP = f"the JSON has more than {DEEPEST} lists and objects inside each other"


def write_whole(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Write a file so that it is there whole or not at all; `mode` is what the user's umask takes permissions from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    umask = os.umask(0)
    os.umask(umask)
    try:
        with naming(path):
            os.chmod(name, mode & ~umask)  # as open() would have made it; mkstemp keeps it private
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_set(folder: Path, files: Mapping[str, str | bytes], staged: Path) -> None:
    """Write files of a folder, the last of which commits the others: all of them, or none that were there before.

    They are made ready in the folder `staged`, which is removed.
    """
    whole = False
    try:
        staged.mkdir(exist_ok=True)
        for name, content in files.items():
            with naming(folder / name):
                (staged / name).write_bytes(content.encode() if isinstance(content, str) else content)
        whole = True
        for name in files:
            os.replace(staged / name, folder / name)
    except BaseException:
        placed = [name for name in files if not (staged / name).exists()] if whole else []
        if len(placed) < len(files):
            for name in placed:
                (folder / name).unlink()
        raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors of writing name the file: a full disk names none, and whoever meets one wants to know which."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def regular_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file, open for reading.

    Raises:
        OSError: there is none, or it may not be read.
        ValueError: a folder, a pipe or a device.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe would wait for a writer
        raise ValueError(f"{str(path)!r} is no regular file")
    with open(path, "rb") as file:
        yield file


def read_regular(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes; links are followed.

    Raises:
        OSError: it cannot be read.
        ValueError: more bytes, or no regular file.
    """
    with regular_file(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise ValueError(f"{str(path)!r} has {size:,} bytes, allowed are {most:,}")
        return file.read(most)


@contextmanager
def named(path: str | Path, what: str) -> Iterator[None]:
    """Turn whatever reading a file and using what it holds can raise into one error of one line that names the file.

    Raises:
        ValueError: instead of all those.
    """
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} is no {what}: there is no such file") from None
    except UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} is no {what}: {reason[0]:.1000}") from None  # zipfile quotes all that it has read


def read_text(path: str | Path) -> str:
    """The text of a file.

    Raises:
        OSError: no such file, or it cannot be read.
        ValueError: not a regular file, longer than `LONGEST`, or not UTF-8.
    """
    with regular_file(path) as file:
        return text_of(file.read(LONGEST + 1))


def text_of(content: bytes) -> str:
    """The text of bytes in UTF-8; errors as of `read_text`."""
    if len(content) > LONGEST:
        raise ValueError(f"the text is longer than {LONGEST:,} bytes")
    return content.decode()


def parse_json(text: str) -> Any:
    """Content of a JSON text.

    Raises:
        ValueError: not JSON, a name twice in an object or one that no line could quote, a number that is not finite, or
            nested too deeply.
    """
    try:
        tree = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_tree(tree, "")
    return tree


def load_json(path: str | Path) -> Any:
    """Content of a JSON file; errors as of `read_text` and `parse_json`."""
    return parse_json(read_text(path))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError(f"the JSON has the name {name[:20]!r}, up to {LONGEST_NAME} printable letters are allowed")
        if name in tree:
            raise ValueError(f"the JSON has {name!r} twice in one object")
        tree[name] = value
    return tree


def _check_tree(tree: Any, path: str, depth: int = 0) -> None:
    """Refuse numbers that are not finite, and what is nested deeper than messages about it could be."""
    if depth > DEEPEST:
        raise ValueError(TOO_DEEP)
    if isinstance(tree, int | float) and not abs(tree) <= sys.float_info.max:  # true of whole numbers beyond floats too
        raise ValueError(f"{path or 'the JSON'} is {str(tree)[:20]}, a finite number is needed")
    if isinstance(tree, dict):
        for name, part in tree.items():
            _check_tree(part, f"{path}.{name}" if path else name, depth + 1)
    if isinstance(tree, list):
        for part in tree:
            _check_tree(part, path, depth + 1)
