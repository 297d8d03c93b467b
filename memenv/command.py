"""A command line from a configuration: a frozen dataclass with one line a field becomes options, help and errors."""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Any


def option(default: Any = dataclasses.MISSING, *, help: str, positional: bool = False, **metadata: Any) -> Any:
    """A field of a configuration with the help that the command line shows."""
    return dataclasses.field(default=default, metadata={"help": help, "positional": positional, **metadata})


def parse(kind: type, arguments: Sequence[str], program: str) -> Any:
    """The configuration of type `kind` from command-line arguments; argparse ends the program on unusable ones.

    bool fields become flags, tuples take comma-separated values or several words, None means left out.
    """
    parser = argparse.ArgumentParser(prog=program, description=kind.__doc__, allow_abbrev=False)
    hints = typing.get_type_hints(kind)
    for f in dataclasses.fields(kind):
        hint, name = hints[f.name], f.name.replace("_", "-")
        needed = f.default is dataclasses.MISSING
        text = f.metadata["help"] + ("" if needed or f.default in (None, False, ()) else f" [{_shown(f.default)}]")
        if hint is bool:
            parser.add_argument(f"--{name}", action="store_true", help=text, dest=f.name)
            continue
        several = typing.get_origin(hint) is tuple
        item = (
            next(a for a in typing.get_args(hint) if a is not type(None) and a is not Ellipsis)
            if typing.get_args(hint)
            else hint
        )
        settings: dict[str, Any] = {"type": _word(item) if several else item, "help": text}
        if several:
            settings["nargs"] = "+" if needed or not f.metadata["positional"] else "*"
        elif f.metadata["positional"] and not needed:
            settings["nargs"] = "?"
        if not needed:
            settings["default"] = f.default
        if "choices" in f.metadata:
            settings["choices"] = f.metadata["choices"]
        if f.metadata["positional"]:
            parser.add_argument(f.name, metavar=f.name.upper(), **settings)
        else:
            names = [f"--{name}", *([f"-{f.metadata['short']}"] if "short" in f.metadata else [])]
            parser.add_argument(*names, dest=f.name, required=needed, **settings)
    values = vars(parser.parse_args(arguments))
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(part for word in value for part in word)
    return kind(**values)


def _word(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A parser of one word with comma-separated items."""

    def split(word: str) -> list[Any]:
        return [item(part) for part in word.split(",") if part]

    split.__name__ = getattr(item, "__name__", "value")
    return split


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
