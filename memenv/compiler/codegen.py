"""From symbolic values to source text: a loop over cells in Python as numba takes it, with the functions that it calls.

Where values of crossbars are reduced over their cells, it becomes several passes: over cells until the sums are
known that others wait for, over crossbars, over cells again. What a later pass needs stands in arrays kept meanwhile.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from memenv.compiler.device_axis import Cells
from memenv.compiler.trace import OVER, SPREAD, Routine, Symbol, symbolic

HEAD = '''"""A loop over cells, written by memenv/compiler/codegen.py."""

from math import sqrt

from numpy import float32, int32, uint32, uint64

from memenv.compiler.jit import loop, routine, select

'''


NUMBA = {"bool": "boolean"}  # what numba calls otherwise
START = {"sum": "0.0", "mean": "0.0", "any": "False", "all": "True", "first": "{0}[a * size]"}
JOIN = {"sum": "+", "mean": "+", "any": "|", "all": "&"}
END = {"sum": "float32({0})", "mean": "float32({0} / size)", "any": "{0}", "all": "{0}", "first": "{0}"}


class Loop(NamedTuple):
    """A loop and what it is called with.

    First cell, with several passes the cells of a crossbar, words of the key, numbers, arrays that it reads, that it
    writes, that it keeps.
    """

    source: str  # text
    constants: tuple[float, ...]  # numbers of the device ...
    scalars: tuple[int, ...]  # ... and the leaves of the call that follow them
    arrays: tuple[int, ...]  # leaves of the call that are read
    kept: tuple[str, ...] | None  # kinds of the arrays (cells,) that are kept; None where no cell asks for its crossbar


class _Shared:
    """The state that the functions of a loop share."""

    def __init__(self) -> None:
        self.routines: dict[str, str] = {}
        self.literals: dict[str, str] = {}
        self.inputs: dict[str, dict[Any, str]] = {"array": {}, "scalar": {}, "constant": {}}
        self.kinds: list[str] = []  # of the arrays that are read
        self.kept: list[str] = []  # kinds of the arrays that are kept


class _Writer:
    """The source text of a function while it grows: its lines, each expression once, and what it needs."""

    def __init__(self, shared: _Shared, prefix: str = "") -> None:
        """`prefix` of its names: numba is slow where one is given to two values."""
        self.expressions: dict[str, str] = {}  # names of what is computed, in order
        self.names: dict[int, str] = {}  # of symbolic values
        self.shared, self.prefix = shared, prefix

    @property
    def lines(self) -> list[str]:
        """Those that compute all values so far."""
        return [f"{name} = {expression}" for expression, name in self.expressions.items()]

    def name(self, value: Symbol) -> str:
        """The name of a value, after the lines that compute it."""
        if id(value) not in self.names:
            self.names[id(value)] = self._leaf(value) or self._line(self._expression(value))
        return self.names[id(value)]

    def _line(self, expression: str) -> str:
        return self.expressions.setdefault(expression, f"{self.prefix}t{len(self.expressions)}")

    def _expression(self, value: Symbol) -> str:
        if isinstance(value.operation, Routine) and value.operation.name not in self.shared.routines:
            self.shared.routines[value.operation.name] = self._routine(value.operation)
        return str(value.operation.format(*[self.name(operand) for operand in value.operands]))

    def _leaf(self, value: Symbol) -> str:
        which = value.operands[0] if value.operands else None
        match value.operation:
            case "name":
                return str(which)
            case "literal":
                number = str(which) if which == which else '"nan"'
                return self.shared.literals.setdefault(f"{value.kind}({number})", f"literal{len(self.shared.literals)}")
            case "scalar" | "constant" as form:
                known = self.shared.inputs[form]
                return known.setdefault(which, f"{form}{len(known)}")
        return ""

    def _routine(self, called: Routine) -> str:
        inner = _Writer(self.shared)
        names = [f"x{number}" for number in range(len(called.takes))]
        results = called.function(*[Symbol(kind, "name", name) for kind, name in zip(called.takes, names, strict=True)])
        results = results if isinstance(results, tuple) else (results,)
        given = ", ".join([inner.name(result) for result in results])
        body = [*inner.lines, f"return {given}"]
        return "\n    ".join([f"@routine\ndef {called.name}({', '.join(names)}):", *body])


class _Pass(_Writer):
    """The source text of one pass: over cells if its number is odd, over crossbars if it is even."""

    def __init__(self, passes: "_Passes", number: int) -> None:
        super().__init__(passes.shared, f"p{number}")
        self.passes, self.number = passes, number
        self.index = "i" if number % 2 else "a"
        self.reductions: dict[tuple[str, str], str] = {}  # names, by operation and array
        self.stores: list[str] = []
        self.common: dict[
            str, str
        ] = {}  # names, by what they are of a crossbar, of numbers that its cells have in common

    def _leaf(self, value: Symbol) -> str:
        if value.operation == "array":
            return self._line(f"{self.input(value)}[{place(self.index, *value.operands[1:])}]")
        if value.operation == SPREAD:
            (number,) = value.operands
            if not number.rank:
                return self.name(number)
            source = self.input(number) if number.operation == "array" else self._kept(number)
            return self.common.setdefault(f"{source}[a]", f"{self.prefix}c{len(self.common)}")
        computed = isinstance(value.operands[0], Symbol)
        if computed and self.passes.number(value) not in (None, self.number):
            return self._line(f"{self._kept(value)}[{place(self.index)}]")
        return super()._leaf(value)

    def _kept(self, value: Symbol) -> str:
        """The name of the array in which an earlier pass has kept a value."""
        return self.passes[self.passes.home(value)].keep(value)

    def _expression(self, value: Symbol) -> str:
        if value.operation not in OVER:
            return super()._expression(value)
        (cells,) = value.operands
        source = self.input(cells) if cells.operation == "array" else self._kept(cells)
        name = self.reductions.setdefault((value.operation, source), f"{self.prefix}r{len(self.reductions)}")
        return END[value.operation].format(name)

    def input(self, value: Symbol) -> str:
        """The name of an array that this pass reads."""
        known, which = self.shared.inputs["array"], value.operands[0]
        if which not in known:
            self.shared.kinds.append(value.kind)
        self.passes.reads.setdefault(which, set()).add(self.number)
        return known.setdefault(which, f"array{len(known)}")

    def keep(self, value: Symbol) -> str:
        """The name of the array that holds a value for later passes."""
        name = self.name(value)
        if name not in self.passes.keeps:
            kept = self.passes.keeps[name] = f"kept{len(self.shared.kept)}"
            self.shared.kept.append(value.kind)
            self.stores.append(f"{kept}[{place(self.index)}] = {name}")
        return self.passes.keeps[name]

    def body(self, cells: str) -> Iterator[str]:
        """Its lines; `cells` is the source text of the number of cells."""
        if self.number % 2 and not self.common:
            yield f"for i in range({cells}):"
            yield from (f"    {line}" for line in self.lines + self.stores)
            return
        if self.number % 2:
            yield f"for a in range({cells} // size):"
            yield from (f"    {name} = {source}" for source, name in self.common.items())
            yield from self._each(self.lines + self.stores)
            return
        yield f"for a in range({cells} // size):"
        found = [(name, how, source) for (how, source), name in self.reductions.items()]
        yield from (f"    {name} = {START[how].format(source)}" for name, how, source in found)
        yield from self._each(
            [f"{name} = {name} {JOIN[how]} {source}[{place('i')}]" for name, how, source in found if how in JOIN]
        )
        yield from (f"    {line}" for line in self.lines + self.stores)

    @staticmethod
    def _each(lines: list[str]) -> Iterator[str]:
        """A loop over the cells of a crossbar."""
        if lines:
            yield "    for i in range(a * size, a * size + size):"
            yield from (f"        {line}" for line in lines)


class _Passes(dict[int, _Pass]):
    """The passes of a loop by their numbers, made when they are asked for."""

    def __init__(self, whole: int) -> None:
        super().__init__()
        self.whole = whole  # axes of an array with a number for each cell
        self.shared = _Shared()
        self.keeps: dict[str, str] = {}  # names of values that are kept, and where
        self.reads: dict[int | None, set[int]] = {}  # the passes in which each array is read
        self.stages: dict[int, int] = {}  # of values: how many reductions it takes at most to know them

    def __missing__(self, number: int) -> _Pass:
        self[number] = _Pass(self, number)
        return self[number]

    def stage(self, value: Symbol) -> int:
        """Number of reductions, one after the other, on which a value depends."""
        if id(value) not in self.stages:
            most = max([self.stage(operand) for operand in value.operands if isinstance(operand, Symbol)], default=0)
            self.stages[id(value)] = most + (value.operation in OVER)
        return self.stages[id(value)]

    def number(self, value: Symbol) -> int | None:
        """The pass that computes a value; None where all cells have it in common: every pass that needs it."""
        return None if not value.rank else 2 * self.stage(value) + (value.rank == self.whole)

    def home(self, value: Symbol) -> int:
        """The pass that computes a result."""
        number = self.number(value)
        return 1 if number is None else number

    def last(self, value: Symbol, replaced: int | None) -> int:
        """The pass that writes a result: when the number is no longer read that it replaces.

        Arrays are promised to lie apart. In place, one pass may therefore read and write a number only if what it
        writes depends on what it has read.
        """
        home, read = self.home(value), max(self.reads.get(replaced, ()), default=-1)
        if read < home or (read == home and replaced in self._read_for(value, home)):
            return home
        return read + (2 if read % 2 == home % 2 else 1)

    def _read_for(self, value: Symbol, home: int) -> set[Any]:
        """The leaves that a pass reads to compute a value."""
        known, waiting = {id(value)}, [value]
        found = set()
        while waiting:
            one = waiting.pop()
            if one.operation == "array":
                found.add(one.operands[0])
            for operand in one.operands:
                if isinstance(operand, Symbol) and id(operand) not in known and self.number(operand) in (None, home):
                    known.add(id(operand))
                    waiting.append(operand)
        return found


def _share(size: str, count: int) -> str:
    return size if count == 1 else f"({size} // {count})"


def place(index: str, number: int = 0, count: int = 1) -> str:
    """The place of the number of one of `count` cells of a weight, in a form that numba takes for no negative one."""
    return f"uint64({index} * {count} + {number})" if count > 1 else f"uint64({index})"


def write(results: Sequence[Any], whole: int = 1, replaced: Sequence[int | None] | None = None) -> Loop:
    """The loop that computes `results` (symbolic values or numbers, each an array in the end) from what they depend on.

    Args:
        results: of cells or, with fewer axes than `whole`, of crossbars; or the `Cells` of weights.
        whole: axes of an array with a number for each cell.
        replaced: for each result the leaf in whose place it is written, None for another array.
    """
    parts_of = [[*result] if isinstance(result, Cells) else [result] for result in results]
    values = [[part if isinstance(part, Symbol) else symbolic(part) for part in parts] for parts in parts_of]
    passes = _Passes(whole)
    shared = passes.shared
    for value in chain(*values):
        passes[passes.home(value)].name(value)
    for number, parts in enumerate(values):
        for part, value in enumerate(parts):
            one = passes[passes.last(value, replaced[number] if replaced else None)]
            one.stores.append(f"result{number}[{place(one.index, part, len(parts))}] = {one.name(value)}")
    constants, scalars, arrays = (shared.inputs[kind] for kind in ("constant", "scalar", "array"))
    several, kept = len(passes) > 1 or any(one.common for one in passes.values()), len(shared.kept)
    arguments = [f"array{number}" for number in range(len(arrays))]
    arguments += [f"result{number}" for number in range(len(results))]
    of_cells = ((number, parts) for number, parts in enumerate(values) if parts[0].rank in (0, whole))
    cells = next((_share(f"result{number}.size", len(parts)) for number, parts in of_cells), "result0.size * size")
    kinds = ["uint32", "float32", *shared.kinds, *(parts[0].kind for parts in values), *shared.kept]
    kinds = ["int64"] * (1 + several) + [f"{NUMBA.get(kind, kind)}[::1]" for kind in kinds]
    names = ["first", *["size"] * several, "words", "numbers", *arguments, *(f"kept{number}" for number in range(kept))]
    body = [
        f"def cells({', '.join(names)}):",
        *(f"{name} = numbers[{number}]" for number, name in enumerate((*constants.values(), *scalars.values()))),
        *(line for _, each in sorted(passes.items()) for line in each.body(cells)),
    ]
    source = [
        "\n".join(f"{name} = {value}" for value, name in shared.literals.items()),
        *shared.routines.values(),
        f'SIGNATURE = "void({", ".join(kinds)})"',
        "@loop(cache=False)\n" + "\n    ".join(body) + "\n",  # memenv.compiler.cache keeps it
    ]
    return Loop(
        HEAD + "\n\n\n".join(source),
        tuple(constants),
        tuple(scalars),
        tuple(arrays),
        tuple(shared.kept) if several else None,
    )
