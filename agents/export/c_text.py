"""From symbolic values to C: statements for one cell, in numbers of the type `real`, with the functions of math.h."""

import re
from typing import Any

import numpy as np

from agents.export.decision import single
from memenv.compiler.trace import Routine, Symbol

WORDS = (("select(", "pick("), ("abs(", "of_fabs("), ("sqrt(", "of_sqrt("), (" == False", " == 0"))  # by C's names
KINDS = {"float32": "real", "bool": "int"}


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
        """The text of a value, after the statements that it needs."""
        one = single(value)
        if id(one) not in self._names:
            self._names[id(one)] = self._text(one), one
        return self._names[id(one)][0]

    def _text(self, value: Symbol) -> str:
        if value.operation == "name":
            return str(value.operands[0])
        if value.operation in ("literal", "constant"):
            return number(value.operands[0])
        operands = [self.name(operand) for operand in value.operands]
        if isinstance(value.operation, Routine):
            text = f"of_{value.operation.name}({', '.join(operands)})"
        else:
            text = value.operation.format(*operands)
            for python, c in WORDS:
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
