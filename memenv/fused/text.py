"""From terms to text: a loop over cells in Python as numba takes it, with the functions that it calls."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from memenv.fused.trace import Routine, Term, term_of

HEAD = '''"""A loop over cells, written by memenv/fused/text.py."""

from math import sqrt

from numpy import float32, int32, uint32

from memenv.fused.jit import loop, routine, select

'''


NUMBA = {"bool": "boolean"}  # what numba calls otherwise


class Loop(NamedTuple):
    """A loop and what it is called with: first cell, words of the key, numbers, arrays that it reads and writes."""

    text: str
    constants: tuple[float, ...]  # numbers of the device ...
    scalars: tuple[int, ...]  # ... and the leaves of the call that follow them
    arrays: tuple[int, ...]  # leaves of the call that are read


class _Writer:
    """The text of a function while it grows: its lines, and what it needs."""

    def __init__(self, routines: dict[str, str], literals: dict[Any, str]) -> None:
        self.lines: list[str] = []
        self.names: dict[int, str] = {}  # of terms
        self.routines = routines
        self.literals = literals
        self.inputs: dict[str, dict[Any, str]] = {"array": {}, "scalar": {}, "constant": {}}
        self.kinds: list[str] = []  # of the arrays

    def name(self, term: Term) -> str:
        """The name of a term, after the lines that compute it."""
        if id(term) not in self.names:
            self.names[id(term)] = self._leaf(term) or self._line(self._expression(term))
        return self.names[id(term)]

    def _line(self, expression: str) -> str:
        self.lines.append(f"t{len(self.lines)} = {expression}")
        return f"t{len(self.lines) - 1}"

    def _expression(self, term: Term) -> str:
        if isinstance(term.operation, Routine) and term.operation.name not in self.routines:
            self.routines[term.operation.name] = self._routine(term.operation)
        return str(term.operation.format(*[self.name(operand) for operand in term.operands]))

    def _leaf(self, term: Term) -> str:
        which = term.operands[0] if term.operands else None
        match term.operation:
            case "name":
                return str(which)
            case "literal":
                return self.literals.setdefault(f"{term.kind}({which!s})", f"literal{len(self.literals)}")
            case "array" | "scalar" | "constant" as form:
                known = self.inputs[form]
                if form == "array" and which not in known:
                    self.kinds.append(term.kind)
                name = known.setdefault(which, f"{form}{len(known)}")
                return self._line(f"{name}[i]") if form == "array" else name
        return ""

    def _routine(self, called: Routine) -> str:
        inner = _Writer(self.routines, self.literals)
        names = [f"x{place}" for place in range(len(called.takes))]
        results = called.function(*[Term(kind, "name", name) for kind, name in zip(called.takes, names, strict=True)])
        results = results if isinstance(results, tuple) else (results,)
        given = ", ".join([inner.name(result) for result in results])
        body = [*inner.lines, f"return {given}"]
        return "\n    ".join([f"@routine\ndef {called.name}({', '.join(names)}):", *body])


def write(results: Sequence[Any]) -> Loop:
    """The loop that computes `results` (terms or numbers, each an array in the end) from what they depend on."""
    terms = [result if isinstance(result, Term) else term_of(result) for result in results]
    routines: dict[str, str] = {}
    literals: dict[Any, str] = {}
    writer = _Writer(routines, literals)
    stores = [f"result{number}[i] = {writer.name(term)}" for number, term in enumerate(terms)]
    constants, scalars, arrays = (writer.inputs[kind] for kind in ("constant", "scalar", "array"))
    arguments = [f"array{place}" for place in range(len(arrays))] + [f"result{place}" for place in range(len(results))]
    kinds = ["uint32", "float32", *writer.kinds, *(term.kind for term in terms)]
    kinds = ["int64", *(f"{NUMBA.get(kind, kind)}[::1]" for kind in kinds)]
    body = [
        f"def cells({', '.join(['first', 'words', 'numbers', *arguments])}):",
        *(f"{name} = numbers[{place}]" for place, name in enumerate((*constants.values(), *scalars.values()))),
        "for i in range(result0.size):",
        *(f"    {line}" for line in writer.lines + stores),
    ]
    text = [
        "\n".join(f"{name} = {value}" for value, name in literals.items()),
        *routines.values(),
        f'@loop("void({", ".join(kinds)})")\n' + "\n    ".join(body) + "\n",
    ]
    return Loop(HEAD + "\n\n\n".join(text), tuple(constants), tuple(scalars), tuple(arrays))
