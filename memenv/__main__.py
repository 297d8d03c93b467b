"""The command line: a table of subcommands, whose modules are loaded only when they are called."""

import importlib.util
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memenv import __version__

TRACEBACK = "MEMENV_TRACEBACK"  # set, errors are shown with where they came from
COMMANDS = {
    "compare": ("agents.comparison", "compare controllers and policies on a device: table, picture, files"),
    "stress": ("agents.stress", "compare them on cells for which the device's record is wrong"),
    "sweep": ("agents.sweeping", "compare them at many tolerances and over searches, on several cores or machines"),
    "score": ("agents.scoring", "judge a policy on standard tasks: a card that others can check"),
    "datasets": ("agents.datasets", "record what policies do as datasets of Minari, to learn from offline"),
    "train": ("agents.training", "train a policy for a device"),
    "import-policy": ("agents.sb3.importing", "make arrays of a stable-baselines3 .zip that you trust"),
    "probe": ("agents.probing", "probe a chip whose record is uncertain, then program it"),
    "program": ("agents.arrays.programming", "program a matrix of weights into crossbars"),
    "export": ("agents.export.command", "a policy as C99 or ONNX, for a controller without Python"),
    "tune": ("agents.tuning", "tune classical controllers for a device"),
    "pretrain": ("metalearn.pretraining", "pretrain a network to learn from a few examples, on a device too"),
    "fewshot": ("metalearn.few_shot", "learn from a few examples on a device: table, picture, files"),
    "sines": ("metalearn.sines", "learn sine waves from a few points, on numbers and on devices"),
    "devices": ("memenv.devices.command", "list, show or plot devices"),
    "fit": ("memenv.fitting.command", "fit a device record to pulse measurements"),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


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
    """Run a subcommand; 0 when it succeeded, 2 when the input could not be used, 130 or 143 when it was interrupted.

    Whatever a file or a number raises ends in one line; with the environment variable MEMENV_TRACEBACK it is shown.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"memenv {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help") or words[0] not in COMMANDS:
        known = bool(words) and words[0] in ("-h", "--help")
        if words and not known:
            print(f"memenv: unknown command {words[0]!r}", file=sys.stderr)
        lines = [f"  {name:<13} {text}" for name, (_, text) in COMMANDS.items()]
        print(
            "usage: memenv COMMAND [options]; memenv COMMAND --help; memenv --version\n\n" + "\n".join(lines),
            file=sys.stdout if known else sys.stderr,
        )
        return 0 if known else 2
    warnings.showwarning = lambda message, *_, **__: print(f"memenv: warning: {message}", file=sys.stderr)
    try:
        with _terminable():
            importlib.import_module(COMMANDS[words[0]][0]).run(words[1:])
    except KeyboardInterrupt as error:
        print(f"memenv {words[0]}: interrupted", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ImportError as error:
        print(f"memenv {words[0]}: {_shadowed() or _missing(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        print(f"memenv {words[0]}: {_said(error)}", file=sys.stderr)
        return 2
    return 0


def _shadowed() -> str:
    """A hint if a package of another project stands before `agents` or `metalearn`, else empty."""
    for name in ("agents", "metalearn"):
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if places and Path(places[0]).resolve().parent != Path(__file__).resolve().parents[1]:
            return (
                f"{places[0]} is another package than memenv's {name}, and is found before it: uninstall it, or run "
                "memenv where it does not lie on Python's path"
            )
    return ""


def _missing(error: ImportError) -> str:
    package = (error.name or str(error)).partition(".")[0]
    extra = "onnx" if package.startswith("onnx") else "all"  # of which onnx is no part
    return f"{package} is missing; install it with the extras: pip install 'memenv[{extra}]'"


def _said(error: Exception) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        return f"{error.strerror}, while reading or writing"
    if isinstance(error, ValueError | OSError) and text:
        return text
    if isinstance(error, RecursionError):
        return "a file is nested too deeply to be read"
    if isinstance(error, MemoryError):
        return f"out of memory{text and f' ({text})'}: ask for fewer cells, smaller arrays or smaller files"
    return (
        f"{type(error).__name__}: {text or 'without words'}; no option or file should end so: please report it, with "
        f"what {TRACEBACK}=1 shows"
    )


if __name__ == "__main__":
    sys.exit(main())
