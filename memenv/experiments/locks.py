"""Locks: a place on disk is one process's alone, and free again however that process ends."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

ROOM = 1 << 20  # [bytes] that have to fit where a run begins to write


@contextmanager
def locked(path: Path, place: Path | None = None) -> Iterator[None]:
    """Sole use of a file, or of the folder whose record it is; its folder is made, and left no trace of if unused.

    `place` is what the user calls it, for messages.

    Raises:
        ValueError: another process uses it, or nothing can be written there; found out at once.
    """
    folder, lock = path.parent, path.with_name(f".{path.name}.lock")
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    file = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = _lock_file(lock)
            file.write(bytes(ROOM))
            file.flush()
            file.truncate(0)
        except BlockingIOError:
            text = f"another run is writing {place or path}: wait for its end, or choose another --out"
            raise ValueError(text) from None
        except OSError as error:
            text = f"{folder}: nothing can be written there ({error.strerror}); choose another --out"
            raise ValueError(text) from None
        yield
    finally:
        _unlock(lock, file, made)


def _lock_file(path: Path) -> IO[bytes]:
    """The file, locked by this process until it is closed, at the latest when the process ends, however it ends."""
    while True:
        file = path.open("a+b")
        try:
            _lock(file)
            with suppress(FileNotFoundError):
                if sys.platform == "win32" or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()  # its last user removed it after we had opened it


def _lock(file: IO[bytes]) -> None:
    """Lock an open file for this process alone; raise BlockingIOError where another has it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system that knows no locks: better without one than not at all
            pass


def _unlock(lock: Path, file: IO[bytes] | None, made: Sequence[Path]) -> None:
    """Remove the lock, and folders that were made and are empty."""
    if file is not None:
        if sys.platform != "win32":  # while it is held: afterwards it may be another's
            lock.unlink(missing_ok=True)
        with suppress(OSError):  # what a full disk did not take is tried again
            file.close()
        if sys.platform == "win32":  # which removes no file that is open, another's neither
            with suppress(OSError):
                lock.unlink()
    for folder in made:
        with suppress(OSError):
            folder.rmdir()
