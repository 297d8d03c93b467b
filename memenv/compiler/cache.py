"""From source text to machine code: numba compiles a loop once a machine, the disk keeps it.

Loops lie in the folder `loops` of $MEMENV_CACHE, else of memenv's folder in $XDG_CACHE_HOME or ~/.cache; their source
text can be read there, and they can be deleted. Machine code that is loaded is trusted: folder and files must be the
user's own and closed to others, and a file is used only if it is whole and begins with the source text, processor and
versions that are asked for. Where loops cannot be kept, each process compiles its own in memory, and a notice says why.
"""

import functools
import hashlib
import logging
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from memenv.files import read_regular, write_whole

LOG = logging.getLogger("memenv")  # without a handler of the user's, warnings appear on stderr
MOST_BYTES = 1 << 26  # of a file; the longest loops take under 1 MB
_JIT = Path(__file__).with_name("jit.py").read_text(encoding="utf-8")  # loops compiled by another one are others


@functools.cache
def compiled(source: str, purpose: str) -> Callable[..., None]:
    """The function `cells` of a loop's source text, compiled for its SIGNATURE, from the disk if it is there.

    Compiling takes seconds: a message says so, once a process; what it is for, `purpose`, is information.
    """
    module = ModuleType(f"memenv_loop_{hashlib.sha256((_JIT + source).encode()).hexdigest()[:20]}")
    sys.modules[module.__name__] = module  # where numba looks when it loads a compiled loop
    exec(compile(source, f"<{module.__name__}>", "exec"), module.__dict__)
    cells = module.__dict__["cells"]
    cells._cache = _Kept(source, purpose)
    cells.compile(module.__dict__["SIGNATURE"])
    cells.disable_compile()
    return cells


class _Kept:
    """The cache in which numba looks for a loop, and puts it when it is compiled (as in `numba.core.caching`).

    Its own cache unpickles what lies in its place, whoever put it there, and takes machine code for undamaged.
    """

    def __init__(self, source: str, purpose: str) -> None:
        self.source, self.purpose = source, purpose

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The loop as it was compiled before, or None."""
        from numba.core.compiler import CompileResult

        target.refresh()
        head, folder = _head(self.source, target.codegen()), _folder()
        if folder:
            path = _file(folder, head)
            try:
                return CompileResult._rebuild(target, *pickle.loads(_content(path, head)))
            except FileNotFoundError:
                pass
            except Exception as error:  # of a pickle, anything
                LOG.warning("memenv: %s is made anew: %s", path, " ".join(str(error).split()))
        _takes_seconds(folder)
        LOG.info("memenv: compiling a loop to %s", self.purpose)
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled, if there is a place for it."""
        from numba.core.serialize import dumps

        folder = _folder()
        if folder:
            head = _head(self.source, result.codegen)
            content = head + dumps(result._reduce())
            try:
                write_whole(_file(folder, head), _digest(content) + content, mode=0o600)
            except OSError as error:
                _not_kept(f"{folder}: {error.strerror},")


def _head(source: str, codegen: Any) -> bytes:
    """The beginning of a file: all that its machine code depends on."""
    import llvmlite
    import numba

    made_by = sys.version, numba.__version__, llvmlite.__version__, *codegen.magic_tuple()
    return "\n".join([*(f"# {' '.join(part.split())}" for part in made_by), _JIT, source, "# machine code\n"]).encode()


def _file(folder: Path, head: bytes) -> Path:
    return folder / f"{hashlib.sha256(head).hexdigest()[:20]}.loop"


def _digest(content: bytes) -> bytes:
    """The first line of a file with this content."""
    return f"# {hashlib.sha256(content).hexdigest()}\n".encode()


def _content(path: Path, head: bytes) -> bytes:
    """The machine code in a file.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        ValueError: the file is damaged, another's, or of another source text.
    """
    if not _private(path):
        raise ValueError("it is not yours, or others may use it")
    digest, line, content = read_regular(path, MOST_BYTES).partition(b"\n")
    if digest + line != _digest(content) or not content.startswith(head):
        raise ValueError("it is damaged")
    return content[len(head) :]


def _private(path: Path) -> bool:
    """True if the user owns it, nobody else may use it, and it is no link."""
    status = path.lstat()
    return os.name == "nt" or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)  # of a link, these are set


def _folder() -> Path | None:
    """The folder of loops; None, and a notice, if it cannot be written or others may use it."""
    try:
        given = os.environ.get("MEMENV_CACHE")
        base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memenv"
    except RuntimeError:
        return _not_kept("there is no home,")
    folder = base / "loops"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _private(folder) else _not_kept(f"{folder} is not yours, or others may use it: remove it, or")
    except OSError as error:
        return _not_kept(f"{folder}: {error.strerror},")


@functools.cache
def _takes_seconds(folder: Path | None) -> None:
    """A notice, once, however many loops are compiled."""
    kept = f", once: they are kept in {folder}" if folder else ""
    LOG.warning("memenv: compiling loops takes seconds each%s", kept)


@functools.cache
def _not_kept(reason: str) -> None:
    """A notice, once."""
    LOG.warning("memenv: compiled loops are not kept: %s set MEMENV_CACHE to a folder of yours", reason)
