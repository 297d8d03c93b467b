"""A command line from a configuration: a frozen dataclass with one line a field becomes options, help and errors."""

import argparse
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Callable, Sequence
from typing import Any

from memenv.bounds import MANY, MOST, once, real, whole


def option(default: Any = dataclasses.MISSING, *, help: str, positional: bool = False, **metadata: Any) -> Any:
    """A field of a configuration with the help that the command line shows.

    Args:
        default: the value where none is given.
        help: what it is.
        positional: given without its name.
        metadata: `bounds` (least, most) of its numbers; `distinct`, whether none of several may be given twice.
    """
    return dataclasses.field(default=default, metadata={"help": help, "positional": positional, **metadata})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The common part of configurations: their values are as their fields allow.

    Raises:
        ValueError: a number of another kind or outside the bounds, a value twice where they are distinct.
    """

    group: typing.ClassVar[str] = "options"  # of fields that others inherit, in their help

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value, kind = getattr(self, f.name), _item(hints[f.name])
            if f.metadata.get("distinct"):
                once(f.name, value)
            if kind not in (int, float) or value is None:
                continue
            check = whole if kind is int else real
            bounds = f.metadata.get("bounds") or ((0, MOST) if kind is int else (-1e300, 1e300))
            several = isinstance(value, tuple)
            numbers = tuple([check(f.name, number, *bounds) for number in (value if several else (value,))])
            object.__setattr__(self, f.name, numbers if several else numbers[0])


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> typing.NoReturn:
        """Ends the program."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


class _Help(argparse.RawDescriptionHelpFormatter):
    def _split_lines(self, text: str, width: int) -> list[str]:  # a sign or an option's name stays whole
        return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def parse(kind: type, arguments: Sequence[str], program: str) -> Any:
    """The configuration of type `kind` from command-line arguments; argparse ends the program on unusable ones.

    bool fields become flags, tuples take comma-separated values or several words, None means left out. Help shows
    fields that `kind` inherits in the group of the class that has them, and the docstring's second paragraph last.
    """
    description, _, example = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")
    told: dict[str, Any] = {"prog": program, "description": description, "epilog": example}
    parser = Parser(**told, allow_abbrev=False, formatter_class=_Help)
    hints = typing.get_type_hints(kind)
    groups: dict[str | None, Any] = {}  # by their titles
    for f in dataclasses.fields(kind):
        hint, name = hints[f.name], f.name.replace("_", "-")
        needed = f.default is dataclasses.MISSING
        text = f.metadata["help"] + ("" if needed or f.default in (None, False, ()) else f" [{_shown(f.default)}]")
        owner = next(base for base in kind.__mro__ if f.name in vars(base).get("__annotations__", {}))
        title = None if owner is kind else getattr(owner, "group", None)
        if title not in groups:
            groups[title] = parser.add_argument_group(title) if title else parser
        group = groups[title]
        if hint is bool:
            group.add_argument(f"--{name}", action="store_true", help=text, dest=f.name)
            continue
        several = typing.get_origin(hint) is tuple
        item = _item(hint)
        if "bounds" in f.metadata:
            low, high = f.metadata["bounds"]
            text += f" (at least {low:g})" if high >= MANY else f" ({low:g} to {high:g})"
        settings: dict[str, Any] = {"type": _word(_read(item)) if several else _read(item), "help": text}
        if several:
            settings["nargs"] = "+" if needed or not f.metadata["positional"] else "*"
        elif f.metadata["positional"] and not needed:
            settings["nargs"] = "?"
        if not needed:
            settings["default"] = f.default
        if "choices" in f.metadata:
            settings["choices"] = f.metadata["choices"]
        if f.metadata["positional"]:
            group.add_argument(f.name, metavar=f.name.upper(), **settings)
        else:
            names = [f"--{name}", *([f"-{f.metadata['short']}"] if "short" in f.metadata else [])]
            group.add_argument(*names, dest=f.name, required=needed, **settings)
    values = vars(parser.parse_args(arguments))
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(part for word in value for part in word)
    return kind(**values)


def _item(hint: Any) -> Any:
    """The kind of a field's value, or of each of its values; of several the first: the others are for Python alone."""
    kinds = [a for a in typing.get_args(hint) if a is not type(None) and a is not Ellipsis]
    return _item(kinds[0]) if kinds else hint


def _read(kind: Any) -> Callable[[str], Any]:
    """A parser of one value, which argparse calls by name where it cannot."""

    def read(word: str) -> Any:
        return kind(word)

    read.__name__ = {int: "whole number", float: "number"}.get(kind, getattr(kind, "__name__", "value"))
    return read


def _word(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A parser of one word with comma-separated items."""

    def split(word: str) -> list[Any]:
        return [item(part) for part in word.split(",") if part]

    split.__name__ = getattr(item, "__name__", "value")
    return split


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
