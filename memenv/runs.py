"""The folder of a long run: it is neither overwritten nor resumed as another, and its figures are kept as CSV."""

import csv
import io
import platform
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from memenv.files import load_json

RECORD = "run.json"


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of installed packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def check_folder(checkpoint: Path, config: Mapping[str, Any], resume: bool, continuable: Collection[str] = ()) -> None:
    """No checkpoint is overwritten, and what is resumed is the same run.

    Args:
        checkpoint: from which the run would be resumed; its folder holds the run's `RECORD`, whose "config" counts.
        config: options of the run, as JSON gives them back.
        resume: whether it is to be resumed.
        continuable: options that may change then.

    Raises:
        ValueError: the folder already holds a run, or, to resume, none, an unreadable one, or another one.
    """
    folder = checkpoint.parent
    path = folder / RECORD
    if not resume:
        if checkpoint.exists():
            raise ValueError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
        return
    if not checkpoint.exists():
        raise ValueError(f"{folder}: there is no checkpoint to resume; leave out --resume")
    try:
        before = dict(load_json(path)["config"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}), so the run cannot be resumed") from None
    for name in config.keys() - continuable:
        if before.get(name) != config[name]:
            raise ValueError(
                f"{name} is {config[name]}, the run in {folder} has {before.get(name)}: resume it as it was"
            )


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows with all columns; a row that lacks one leaves it empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
