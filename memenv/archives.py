"""Files of strangers: what goes wrong when they are damaged, and reading no more of them than is good."""

import stat
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

UNREADABLE = (  # NumPy, zip and zlib each have errors of their own
    *(OSError, ValueError, LookupError, EOFError, TypeError, SyntaxError, RuntimeError),  # NotImplementedError is one
    *(ArithmeticError, MemoryError),  # of shapes that an array claims
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)


def read_regular(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes; links are followed.

    Raises:
        OSError: it cannot be read.
        ValueError: more bytes, or no regular file: a folder, or a pipe or device, whose content might never end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{str(path)!r} is no regular file")
    if status.st_size > most:
        raise ValueError(f"{str(path)!r} has {status.st_size:,} bytes, allowed are {most:,}")
    with path.open("rb") as file:
        return file.read(most)
