"""The command line: a table of subcommands, whose modules are loaded only when they are called."""

import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

COMMANDS = {
    "compare": ("agents.compare", "compare controllers and policies on a device: table, picture, files"),
    "train": ("agents.train", "train a policy for a device"),
    "import-policy": ("agents.import_policy", "make arrays of a stable-baselines3 .zip that you trust"),
    "program": ("agents.program", "program a matrix of weights into crossbars"),
    "tune": ("agents.tune", "tune classical controllers for a device"),
    "pretrain": ("metalearn.train", "pretrain a network to learn from a few examples, on a device too"),
    "fewshot": ("metalearn.fewshot", "learn from a few examples on a device: table, picture, files"),
    "devices": ("memenv.devices", "list, show or plot devices"),
    "fit": ("memenv.fit_command", "fit a device record to pulse measurements"),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does: what is finished is kept."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` at a SIGTERM; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 when it succeeded, 2 when the input could not be used, 130 or 143 when it was interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help") or words[0] not in COMMANDS:
        known = bool(words) and words[0] in ("-h", "--help")
        if words and not known:
            print(f"memenv: unknown command {words[0]!r}", file=sys.stderr)
        lines = [f"  {name:<13} {text}" for name, (_, text) in COMMANDS.items()]
        print(
            "usage: memenv COMMAND [options]; memenv COMMAND --help\n\n" + "\n".join(lines),
            file=sys.stdout if known else sys.stderr,
        )
        return 0 if known else 2
    warnings.showwarning = lambda message, *_, **__: print(f"memenv: warning: {message}", file=sys.stderr)
    try:
        with _terminable():
            importlib.import_module(COMMANDS[words[0]][0]).run(words[1:])
    except KeyboardInterrupt as error:
        print(f"memenv {words[0]}: interrupted; what was finished is kept", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        print(
            f"memenv {words[0]}: {package} is missing; install it with the extras: pip install 'memenv[all]'",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError) as error:
        print(f"memenv {words[0]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
