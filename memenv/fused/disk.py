"""From text to machine code: numba compiles a loop once a machine, the disk keeps it.

The file of a loop is named by the hash of its text. Loops lie in $MEMENV_CACHE, else in memenv's folder of
$XDG_CACHE_HOME or ~/.cache; they can be read there, and deleted.
"""

import functools
import hashlib
import importlib.util
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LOG = logging.getLogger("memenv")  # without a handler of the user's, warnings appear on stderr
_JIT = Path(__file__).with_name("jit.py").read_text(encoding="utf-8")  # loops compiled by another text are others


@functools.cache
def compiled(text: str, purpose: str) -> Callable[..., None]:
    """The function of a loop's text, from the disk if it was compiled before.

    Compiling takes seconds: a message says so, and that it is for `purpose`.
    """
    name = f"memenv_loop_{hashlib.sha256((_JIT + text).encode()).hexdigest()[:20]}"
    folder = _folder()
    path = folder / f"{name}.py"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
            file.write(text)
        os.replace(file.name, path)
    new = not any((folder / "__pycache__").glob(f"{name}.*.nbi"))
    if new:
        LOG.warning("memenv: compiling a loop to %s, once on this machine ...", purpose)
    start = time.perf_counter()
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where numba looks when it loads a compiled loop
    spec.loader.exec_module(module)
    if new:
        LOG.warning("memenv: ... took %.1f s, is kept in %s", time.perf_counter() - start, folder)
    return module.cells


@functools.cache
def _folder() -> Path:
    """Where loops are kept; a temporary folder if that cannot be written."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memenv"
    folder = Path(os.environ.get("MEMENV_CACHE") or home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="memenv-"))
