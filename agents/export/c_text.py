"""From symbolic values to C: statements for one cell, in numbers of the type `real`, with the functions of tgmath.h."""

import re
from typing import Any

import numpy as np

from memenv.compiler.trace import Routine, Symbol, symbolic

FUNCTIONS = (("select(", "pick("), ("abs(", "fabs("), (" == False", " == 0"))  # by C's names
KINDS = {"float32": "real", "bool": "int"}


def variable(text: str) -> Symbol:
    """A number that C knows by this text."""
    return Symbol("float32", "name", text)


class OneCell(Symbol):
    """A variable that passes for an array with one cell, where memories of unknown cells are made."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


class Statements:
    """The statements that compute symbolic values, each of them once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[int, tuple[str, Symbol]] = {}  # by identity, which the symbol kept here keeps unique
        self._made: dict[str, str] = {}  # by their text: equal symbols are one

    def set(self, place: str, value: Any) -> None:
        """Let a place in C, such as `memory[0]`, have a value at the end of these statements."""
        self.lines.append(f"{place} = {self.name(value)};")

    def name(self, value: Any) -> str:
        """The text of a value, after the statements that it needs; an array with one number counts as that number."""
        number = value if isinstance(value, Symbol) else symbolic(np.asarray(value, float).item())
        if id(number) not in self._names:
            self._names[id(number)] = self._text(number), number
        return self._names[id(number)][0]

    def _text(self, value: Symbol) -> str:
        if value.operation == "name":
            return str(value.operands[0])
        if value.operation in ("literal", "constant"):
            return number(value.operands[0])
        operands = [self.name(operand) for operand in value.operands]
        if isinstance(value.operation, Routine):
            text = f"{value.operation.name}({', '.join(operands)})"
        else:
            text = value.operation.format(*operands)
            for python, c in FUNCTIONS:
                text = text.replace(python, c)
        if text not in self._made:
            self._made[text] = f"t{len(self._made)}"
            self.lines.append(f"const {KINDS[value.kind]} {self._made[text]} = {text};")
        return self._made[text]


def commented(text: str) -> str:
    """A text that neither ends nor begins a comment in C, nor joins lines."""
    return re.sub(r"\*(?=/)|/(?=\*)|\\(?=\n)", r"\g<0> ", text)


def number(value: Any) -> str:
    """A number in C."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if not np.isfinite(value):
        return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"
    return f"R({float(value)!r})"


def array(kind: str, name: str, values: np.ndarray) -> str:
    """A constant array in C; of numbers the shortest texts."""
    single = values.astype(np.float32) if kind == "float" else values
    texts = [str(value) for value in single.ravel()]
    lines = [", ".join(texts[place : place + 12]) for place in range(0, len(texts), 12)]
    return f"static const {kind} {name}[{values.size}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"
