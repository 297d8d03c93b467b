"""The one home of long runs: a folder (or file) is one run's alone, never overwritten unasked, resumed as it was.

A run's record (`run.json`) says what it depends on. What is finished is kept in the journal beside it, or in
checkpoints of the run's own; files that belong together appear together or not at all.
"""

import glob
import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any, ClassVar

import numpy as np

from memenv.experiments import renamed
from memenv.experiments.kept import Kept, Key, in_journal
from memenv.experiments.locks import locked
from memenv.experiments.options import Options, option
from memenv.files import UNREADABLE, load_json, write_set

RECORD = "run.json"
UNNAMED = ("out", "resume", "overwrite", "jobs", "cluster")  # options that no result depends on


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Options):
    """The common options of commands that write files."""

    group: ClassVar[str] = "an earlier result"

    overwrite: bool = option(False, help="replace an earlier result that stands in the way")


@dataclass(frozen=True, kw_only=True)
class RunOptions(OutputOptions):
    """The same of commands that keep what is finished."""

    resume: bool = option(False, help="go on where an interrupted run with the same options stopped")


def command_line(program: str, arguments: Sequence[str]) -> str:
    """The command as a record keeps it: as it would be given to begin the run."""
    return shlex.join([*program.split(), *(word for word in arguments if word not in ("--resume", "--overwrite"))])


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of installed packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


# -- whose a place is --------------------------------------------------------------------------------------------------


def _place(path: Path) -> Path:
    """The user's name for the place of a record, or of a file."""
    return path.parent if path.name == RECORD else path


@contextmanager
def new_file(path: Path, overwrite: bool) -> Iterator[None]:
    """Sole use of a file that is to be written.

    Raises:
        ValueError: it is there already, or no file can be written there.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    with locked(path, _place(path)):
        if path.exists() and not overwrite:
            raise ValueError(f"{path} is there already: choose another name, or replace it with --overwrite")
        yield


def check_picture(path: Path = Path("picture.png")) -> None:
    """Refuse, before the work, a picture that could not be drawn after it.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: it writes no such format.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if picture_format(path) not in known:
        raise ValueError(f"{path}: pictures are written as {', '.join(sorted(known))}, not as {path.suffix}")


def picture_format(path: Path) -> str:
    """Format of a picture by the ending of its name; PNG without one."""
    return path.suffix[1:].lower() or "png"


# -- a run -------------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run in its place."""

    path: Path  # of the record
    record: dict[str, Any]  # what the result depends on, then what came of it
    resumed: bool  # something was finished before
    again: bool  # all was, and is only to be shown
    kept: Kept  # pieces of work that are finished

    def once(self, key: Key, work: Callable[[], Any]) -> Any:
        """The yield of a piece of work, done now or before an interruption."""
        return self.kept.once(key, work)

    def write(self, files: Mapping[str, str | bytes], **facts: Any) -> None:
        """Write files beside the record, and in it what came of the run; all of them or none."""
        self.record |= facts
        if files:
            self.record["files"] = sorted({*self.record.get("files", ()), *files})
        whole = {**files, self.path.name: json.dumps(self.record, indent=2) + "\n"}  # which commits the others
        write_set(self.path.parent, whole, _staging(self.path))


@contextmanager
def begun(
    path: Path,
    config: Any,
    *,
    command: str = "",
    packages: Collection[str] = (),
    files: Collection[str] = (),
    checkpoint: str = "",
    continuable: Collection[str] = (),
) -> Iterator[Run]:
    """A run that begins, goes on, or is only shown again since it is complete; its place is locked meanwhile.

    Args:
        path: of the record.
        config: a dataclass of options, `RunOptions` among them; what the run depends on, with the files that they name.
        command: as `command_line` gives it; how to go on is said in its words.
        packages: whose versions are recorded.
        files: patterns of what the run writes beside its record and journal.
        checkpoint: the one of them from which it resumes, if it does from more than the journal.
        continuable: options that a resumed run may change.

    Raises:
        ValueError: the place holds an earlier run, or, to resume, none, an unreadable one, or another one.
    """
    if config.resume and config.overwrite:
        raise ValueError("--resume goes on with a run, --overwrite begins it anew: give one of them")
    record = {"command": command, **described(config), "versions": versions(*packages)}
    with locked(path, _place(path)):
        _tidy(path, files)
        if config.overwrite:
            _remove(path, (*files, *_written(path)))
        new = not path.exists()
        run = _opened(path, record, config.resume, files, checkpoint, continuable)
        if run.again:
            print(f"{_place(path)} holds this very run: shown again; --overwrite computes it anew", file=sys.stderr)
        else:
            run.write({})
        try:
            yield run
        except BaseException as error:
            if not (run.kept or _any(path.parent, checkpoint)):
                if new:
                    _remove(path, files)
            elif isinstance(error, KeyboardInterrupt | OSError) and command.startswith("memenv "):
                print(f"{_place(path)} keeps what is finished; continue with: {command} --resume", file=sys.stderr)
            raise


def journal_file(path: Path) -> Path:
    """The journal of finished pieces of the run with this record."""
    return path.with_name(f"{path.name}.journal")


def described(config: Any) -> dict[str, Any]:
    """Everything that a result depends on: options, and the SHA-256 of files that they name."""
    named = {name: value for name, value in vars(config).items() if name not in UNNAMED}
    digests = {
        name: [file_digest(one) for one in value] if isinstance(value, tuple) else file_digest(value)
        for name, value in named.items()
    }
    content = {name: found for name, found in digests.items() if (any(found) if isinstance(found, list) else found)}
    return {"config": json.loads(json.dumps(named, default=_told)), "sha256": content}


def _told(value: Any) -> Any:
    """For JSON: the fields of an object, and of an array the SHA-256, so that devices of one name are told apart."""
    if isinstance(value, np.ndarray):
        return [*value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if is_dataclass(value):  # without what it has cached
        return {"kind": type(value).__qualname__} | {f.name: getattr(value, f.name) for f in fields(value)}
    if hasattr(value, "__dict__"):
        return {"kind": type(value).__qualname__} | vars(value)
    return str(value)


def file_digest(value: Any) -> str | None:
    """SHA-256 of the file that a value names; None where it names none."""
    if not isinstance(value, str | Path) or not os.path.isfile(value):
        return None
    with open(value, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(
    path: Path,
    record: dict[str, Any],
    resume: bool,
    files: Collection[str],
    checkpoint: str,
    continuable: Collection[str],
) -> Run:
    """The run as it is found; errors as of `begun`."""
    place, advice = _place(path), "choose another --out, or replace it with --overwrite"
    if not path.exists():
        if resume:
            raise ValueError(f"{place}: there is no run to resume; leave out --resume")
        if found := _found(path, files):
            raise ValueError(f"{found[0]} is there already: {advice}")
        return Run(path, record, resumed=False, again=False, kept=in_journal(journal_file(path)))
    try:
        before = load_json(path)
        other, essential = (_difference(before, record, free) for free in ((), continuable))
        known, complete = before.get("versions") == record["versions"], bool(before.get("complete"))
    except UNREADABLE as error:
        raise ValueError(f"{path} is there already, and no record of a run ({error}): {advice}") from None
    if resume and essential:
        raise ValueError(f"{essential}: resume it as it was")
    if not resume and (other or (complete and not known)):
        raise ValueError(f"{place} already holds a run ({other or 'of other versions'}): {advice}")
    resumed = journal_file(path).exists() or _any(path.parent, checkpoint)
    if not resume and not complete and resumed:
        raise ValueError(f"{place} already holds this run, interrupted: go on with --resume, {advice}")
    again = complete and not resume
    return Run(path, before | record if again else record, resumed, again, in_journal(journal_file(path)))


def _difference(before: dict[str, Any], now: dict[str, Any], continuable: Collection[str]) -> str:
    """The first option or file in which two records differ, in words; nothing where they do not."""
    had, old = renamed.by_current_names(before["config"]), renamed.by_current_names(before.get("sha256", {}))
    for name in now["config"]:
        if name not in continuable and had.get(name) != now["config"][name]:
            return f"{name} is {now['config'][name]}, the run that is there has {had.get(name)}"
    for name in sorted(old.keys() | now["sha256"].keys()):
        if old.get(name) != now["sha256"].get(name):
            return f"{now['config'][name]}: not the {name} of the run that is there, its content has changed"
    return ""


def _any(folder: Path, pattern: str) -> bool:
    return bool(pattern) and any(folder.glob(pattern))


def _staging(path: Path) -> Path:
    """The folder in which a set of files is made ready."""
    return path.with_name(f".{path.name}.staged")


def _tidy(path: Path, files: Collection[str]) -> None:
    """Remove what a run that was killed had not written to its end; nobody else is at work here."""
    shutil.rmtree(_staging(path), ignore_errors=True)
    for name in map(PurePath, files):
        for half in path.parent.glob(str(name.with_name(f".{name.name}.{'?' * 8}"))):  # of `write_whole`
            half.unlink()


def _remove(path: Path, files: Collection[str]) -> None:
    """Remove what a run has written, the record last."""
    for one in (*_found(path, files), path):
        one.unlink(missing_ok=True)


def _written(path: Path) -> list[str]:
    """Patterns of the files beside it that an earlier run's record names: its options may have asked for others."""
    try:
        return [glob.escape(name) for name in load_json(path).get("files", []) if PurePath(name).name == name]
    except UNREADABLE:
        return []


def _found(path: Path, files: Collection[str]) -> list[Path]:
    """Files that a run has written beside its record."""
    journal = journal_file(path)
    found = [one for pattern in files for one in sorted(path.parent.glob(pattern))]
    return [*found, journal] if journal.exists() else found


@dataclass
class Curve:
    """The course of a training: the rows of eval.csv, with steps and the seconds that the run has taken in all."""

    rows: list[dict[str, float]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @property
    def done(self) -> int:
        """Steps at the last row."""
        return int(self.rows[-1]["steps"]) if self.rows else 0

    def add(self, steps: float, figures: Mapping[str, float]) -> dict[str, float]:
        """A further row, which is not written yet."""
        self.rows.append({"steps": steps, "seconds": time.perf_counter() - self.began, **figures})
        return self.rows[-1]

    def resume(self, rows: list[dict[str, float]]) -> None:
        """Take up the rows of an interrupted run."""
        self.rows = rows
        self.began -= rows[-1]["seconds"] if rows else 0.0
