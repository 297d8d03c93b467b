"""From symbolic values to source text: a loop over cells in Python as numba takes it, with the functions that it calls.

Where values of crossbars are reduced over their cells, it becomes several passes: over cells until the sums are
known that others wait for, over crossbars, over cells again. What a later pass needs stands in arrays kept meanwhile.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from memenv.compiler.device_axis import Cells
from memenv.compiler.trace import OVER, SPREAD, Routine, Symbol, symbolic

HEAD = '''"""A loop over cells, written by memenv/compiler/codegen.py."""

from math import sqrt

from numpy import float32, int32, uint8, uint32

from memenv.compiler.jit import loop, on_pointers, plus, routine, select

'''


LOOP = """\
SIGNATURE = "void(int64, int64, int64, uint32[::1], float32[::1], uint64[::1])"


@loop(cache=False)
def cells(first, count, size, words, numbers, addresses):
    over(first, count, size, words, numbers, addresses)
"""  # memenv.compiler.cache keeps it
BYTES = {"bool": "uint8"}  # what arrays hold instead
START = {"sum": "0.0", "mean": "0.0", "any": "False", "all": "True", "first": "{0}"}
JOIN = {"sum": "plus({0}, {1})", "mean": "plus({0}, {1})", "any": "{0} | ({1})", "all": "{0} & ({1})"}
END = {"sum": "float32({0})", "mean": "float32({0} / size)", "any": "{0}", "all": "{0}", "first": "{0}"}


class Loop(NamedTuple):
    """A loop and what it is called with.

    First cell, number of cells, cells of a crossbar, words of the key, numbers, and addresses of the arrays that it
    reads, that it writes, that it keeps.
    """

    source: str  # text
    constants: tuple[float, ...]  # numbers of the device ...
    scalars: tuple[int, ...]  # ... and the leaves of the call that follow them
    arrays: tuple[int, ...]  # leaves of the call that are read
    kept: tuple[str, ...]  # kinds of the arrays (cells,) that are kept


class _Shared:
    """The state that the functions of a loop share."""

    def __init__(self) -> None:
        self.routines: dict[str, str] = {}
        self.literals: dict[str, str] = {}
        self.inputs: dict[str, dict[Any, str]] = {"array": {}, "scalar": {}, "constant": {}}
        self.kinds: dict[str, str] = {}  # of the arrays that are read
        self.kept: dict[str, str] = {}  # kinds of the arrays that are kept


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
            return self._line(self._number(self.input(value), place(self.index, *value.operands[1:])))
        if value.operation == SPREAD:
            (number,) = value.operands
            if not number.rank:
                return self.name(number)
            source = self.input(number) if number.operation == "array" else self._kept(number)
            return self.common.setdefault(self._number(source, "a"), f"{self.prefix}c{len(self.common)}")
        computed = isinstance(value.operands[0], Symbol)
        if computed and self.passes.number(value) not in (None, self.number):
            return self._line(self._number(self._kept(value), self.index))
        return super()._leaf(value)

    def _number(self, array: str, place: str) -> str:
        """The source text of a number in an array that is read or kept."""
        number = f"{array}[{place}]"
        return f"{number} != 0" if (self.shared.kinds | self.shared.kept)[array] == "bool" else number

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
        self.passes.reads.setdefault(which, set()).add(self.number)
        name = known.setdefault(which, f"array{len(known)}")
        self.shared.kinds[name] = value.kind
        return name

    def keep(self, value: Symbol) -> str:
        """The name of the array that holds a value for later passes."""
        name = self.name(value)
        if name not in self.passes.keeps:
            kept = self.passes.keeps[name] = f"kept{len(self.shared.kept)}"
            self.shared.kept[kept] = value.kind
            self.stores.append(f"{kept}[{self.index}] = {name}")
        return self.passes.keeps[name]

    def body(self) -> Iterator[str]:
        """Its lines."""
        if self.number % 2 and not self.common:
            yield "for i in range(count):"
            yield from (f"    {line}" for line in self.lines + self.stores)
            return
        yield "for a in range(count // size):"
        if self.number % 2:
            yield from (f"    {name} = {source}" for source, name in self.common.items())
            yield from self._each(self.lines + self.stores)
            return
        found = [(name, how, partial(self._number, source)) for (how, source), name in self.reductions.items()]
        yield from (f"    {name} = {START[how].format(number('a * size'))}" for name, how, number in found)
        yield from self._each(
            [f"{name} = {JOIN[how].format(name, number('i'))}" for name, how, number in found if how in JOIN]
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
        """The pass that writes a result: when the number has been read that it replaces; each pass writes last."""
        home, read = self.home(value), max(self.reads.get(replaced, ()), default=-1)
        return home if read <= home else read + (read % 2 != home % 2)


def place(index: str, number: int = 0, count: int = 1) -> str:
    """The place of the number of one of `count` cells of a weight."""
    return f"{index} * {count} + {number}" if count > 1 else index


def write(results: Sequence[Any], whole: int = 1, replaced: Sequence[int | None] | None = None) -> Loop:
    """The loop that computes `results` (symbolic values or numbers, each an array in the end) from what they depend on.

    A result in place of an array that is read goes by the name of that array, as no array may have two.

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
    constants, scalars, arrays = (shared.inputs[kind] for kind in ("constant", "scalar", "array"))
    written = {}
    for number, (parts, leaf) in enumerate(zip(values, replaced or [None] * len(values), strict=True)):
        name = arrays.get(leaf, f"result{number}")
        for part, value in enumerate(parts):
            one = passes[passes.last(value, leaf)]
            one.stores.append(f"{name}[{place(one.index, part, len(parts))}] = {one.name(value)}")
        written[name] = parts[0].kind
    pointed = {name: BYTES.get(kind, kind) for name, kind in (shared.kinds | written | shared.kept).items()}
    body = [
        f"def over(first, count, size, words, numbers, {', '.join(pointed)}):",
        *(f"{name} = numbers[{number}]" for number, name in enumerate((*constants.values(), *scalars.values()))),
        *(line for _, each in sorted(passes.items()) for line in each.body()),
    ]
    source = [
        "\n".join(f"{name} = {value}" for value, name in shared.literals.items()),
        *shared.routines.values(),
        f"@on_pointers({', '.join(pointed.values())})\n" + "\n    ".join(body),
        LOOP,
    ]
    return Loop(
        HEAD + "\n\n\n".join(source),
        tuple(constants),
        tuple(scalars),
        tuple(arrays),
        tuple(shared.kept.values()),
    )
