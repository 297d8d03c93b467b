"""Docstrings: those of environments, which are manuals, as Markdown; those of the rest as reStructuredText."""

import dataclasses
import inspect
import re
from typing import Any

from memenv.envs import TaskEnv, TaskVectorEnv

COLUMN = re.compile(r"\S+(?: \S+)*")
FIELD = re.compile(r"^    (\w+): ([^#\n]+?)  # (.+)$", re.MULTILINE)
NAMES = re.compile(r"(^|; )((?:\w+, )*\w+): ")


def sections(text: str) -> dict[str, str]:
    """The sections of a docstring by their titles, the opening under "", without indentation."""
    found: dict[str, list[str]] = {"": []}
    for line in inspect.cleandoc(text).splitlines():
        if title := re.fullmatch(r"([A-Z][a-z ]+):", line):
            found[title[1]] = []
        else:
            found[list(found)[-1]].append(line)
    return {title: inspect.cleandoc("\n" + "\n".join(lines)) for title, lines in found.items()}


def markdown(text: str) -> str:
    """A section as Markdown: paragraphs, and tables whose heads have columns two spaces apart."""
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    return (
        "\n\n".join(
            _table(block) if re.search(r"\S  +\S", block.splitlines()[0]) else escaped(inspect.cleandoc("\n" + block))
            for block in blocks
        )
        + "\n"
    )


def listed(text: str) -> str:
    """A section of names and what they mean as a list."""
    items = re.sub(r"\n +", " ", text).splitlines()
    return "".join("- " + NAMES.sub(r"\1`\2`: ", escaped(item)) + "\n" for item in items)


def escaped(text: str) -> str:
    """Text whose signs are no Markdown."""
    return text.replace("<", "\\<")


def _table(block: str) -> str:
    """A table in columns of spaces; a line that fills the last column only goes on with the row before."""
    head, *lines = inspect.cleandoc("\n" + block).splitlines()
    starts = [match.start() for match in COLUMN.finditer(re.sub(r"(\S) (?=\S)", r"\1_", head))]
    rows: list[list[str]] = []
    for line in [head, *lines]:
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        if rows and not any(cells[:-1]):
            rows[-1][-1] += " " + cells[-1]
        else:
            rows.append(cells)
    rows.insert(1, ["---"] * len(starts))
    return "\n".join("| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


# -- for autodoc -------------------------------------------------------------------------------------------------------


def prepare(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of a docstring, with the fields of a record from the comments beside them."""
    if what == "data":  # the docstring is that of its class
        lines.clear()
        return
    if inspect.isclass(thing) and issubclass(thing, TaskEnv | TaskVectorEnv) and "Action space:" in lines:
        lines[:] = [lines[0], "", "The manual is the page of the environment."]
        return
    if what == "property":  # Napoleon would take what stands before a colon for its type
        lines[:] = [line.replace(": ", " – ") for line in lines]
    text, before, literal = [], "", False
    for line in lines:
        indent, last = (len(each) - len(each.lstrip()) for each in (line, before))
        if line and text and text[-1] == "" and indent > last and not literal:
            text[-1:] = ["", " " * last + "::", ""]
            literal, margin = True, last
        elif line and literal and indent <= margin:
            literal = False
        text.append(line if literal else _quoted(line))
        before = line or before
    lines[:] = [*text, *_fields(thing)]


def skip(app: Any, what: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what has no words of its own."""
    return True if (getattr(thing, "__doc__", "") or "").startswith("Alias for field number") else None


def _quoted(line: str) -> str:
    """A line whose stars, bars and trailing underscores outside of backticks are no marks."""
    parts = re.split(r"(`[^`]*`)", line)
    parts[::2] = [re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _fields(thing: Any) -> list[str]:
    """The fields of a record and the comments beside them, a list."""
    if not inspect.isclass(thing) or not (dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")):
        return []
    found = FIELD.findall(inspect.getsource(thing))
    return ["", *(f"- ``{name}``: {_quoted(comment)}" for name, _, comment in found), ""] if found else []
