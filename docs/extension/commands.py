"""The page of the command line: what every command says of itself."""

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

from memenv.__main__ import COMMANDS, main


def pages(folder: Path) -> dict[str, str]:
    """The page."""
    text = "# The command line\n\nWhat `memenv COMMAND --help` prints. " + (
        "A command that cannot use a file or a number says so in one line and ends with status 2.\n"
    )
    for name in COMMANDS:
        text += f"\n## memenv {name}\n\n```text\n{_help(name)}```\n"
    return {"commands": text}


def _help(name: str) -> str:
    shown = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100"), contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([name, "--help"])
    return shown.getvalue()
