"""Arrays that remember: run the physics on them and they hold its formula, ready to be compiled for one cell at a time.

A `Symbol` answers NumPy's protocols (`__array_ufunc__`, `__array_function__`), so whatever is written element-wise for
arrays runs on them as it stands, and decides as it stands: plain floats stay floats, a term that a device does not
have is left out, and what is known is computed. What is left is a graph of operations on float32 (and, for the noise,
on unsigned integers), from which `codegen.py` writes a loop.

Cells may form crossbars (arrays, rows, cols). Sums, means and the like over the last two axes are numbers of a crossbar
then, and `[..., None, None]` gives them back to its cells; operations on parts of a crossbar are not compiled.

Python's numbers become arguments of the loop, so that devices that differ in numbers only share it; NumPy's
single-precision numbers and 0, 1, -1 are written into it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

PLAIN = (0.0, 1.0, -1.0)  # numbers that tell more about a formula than about a device
OVER = ("sum", "mean", "any", "all", "first")  # operations that make one number of those of a crossbar
DETACHED = "{0}"  # the operation that hides what a number comes from, where derivatives are taken
LED = "({0})"  # that which adds a number of which only the derivative counts
SPREAD = "spread"  # the operation that gives a number of a crossbar to each of its cells
RULES: dict[str, Callable[..., Any]] = {}  # what NumPy's functions do with symbolic values


class Symbol(NDArrayOperatorsMixin):
    """A symbolic value: what a loop knows about one number of a cell (or of a crossbar), how it comes from others."""

    __slots__ = ("kind", "operands", "operation", "rank", "void")

    def __init__(self, kind: str, operation: Any, *operands: Any, rank: int | None = None) -> None:
        """A number of type `kind`: float32, int32, uint32 or bool.

        `operation` is its source text in the loop with operands as {0}, {1}, ..., a `Routine`, one of `OVER` or
        `SPREAD`; operands are symbols. Leaves have one operand: `array` and `scalar` the place of an input, `constant`
        and `literal` a number, `name` a source text. `rank` is the number of axes of the array that it stands for, 0 of
        a number that all cells have in common; by default that of the operands.
        """
        self.kind, self.operation, self.operands = kind, operation, operands
        self.void = False  # whether the number is zero, and only its derivative counts
        self.rank = _rank(operation, operands) if rank is None else rank

    @property
    def ndim(self) -> int:
        """Like an array, also where all cells have the number in common."""
        return self.rank or 1

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's elementary functions and Python's operators."""
        if ufunc.__name__ not in RULES or method != "__call__" or options:
            raise TypeError(f"the engine cannot compile numpy.{ufunc.__name__} {options or ''}")
        return RULES[ufunc.__name__](*map(plain, inputs)) if _known(inputs) else NotImplemented

    def __array_function__(self, function: Callable[..., Any], _: Any, inputs: Any, options: Any) -> Any:
        """NumPy's functions of RULES."""
        if function.__name__ not in RULES or options:
            raise TypeError(f"the engine cannot compile numpy.{function.__name__} {options or ''}")
        return RULES[function.__name__](*inputs) if _known(inputs) else NotImplemented

    def __bool__(self) -> bool:
        """Never: a value that differs from cell to cell cannot decide what is compiled."""
        raise TypeError("the engine cannot compile a branch on the value of a cell: use where")

    def astype(self, kind: type) -> "Symbol":
        """The number as another type."""
        return Symbol(kind.__name__, f"{kind.__name__}({{0}})", self)

    def view(self, kind: type) -> "Symbol":
        """The same bits as another type."""
        return Symbol(kind.__name__, f"{self.kind}({{0}}).view({kind.__name__})", self)

    def detach(self) -> "Symbol":
        """The same number without derivative."""
        return Symbol(self.kind, DETACHED, self)

    def __getitem__(self, place: Any) -> "Symbol":
        """Of a crossbar `[..., None, None]` gives its number to its cells, `[..., 0, 0]` is that of its first cell.

        Of a weight `[..., None]` gives its number to its cells.
        """
        if place == (..., None):
            return self
        if place == (..., None, None):
            return spread(self, self.ndim + 2)
        if place == (..., 0, 0):
            return self._over((-2, -1), "first", self.kind)
        raise TypeError(f"the engine cannot compile [{place}]")

    def sum(self, axis: Any) -> "Symbol":
        """Over all cells of a crossbar."""
        return self._over(axis, "sum")

    def mean(self, axis: Any) -> "Symbol":
        """Over all cells of a crossbar."""
        return self._over(axis, "mean")

    def any(self, axis: Any) -> "Symbol":
        """True of a cell of a crossbar."""
        return self._over(axis, "any", "bool")

    def all(self, axis: Any) -> "Symbol":
        """True of every cell of a crossbar."""
        return self._over(axis, "all", "bool")

    def reshape(self, shape: tuple[int, ...]) -> "Symbol":
        """Itself: symbolic values have the shape that they are meant to have."""
        if len(shape) != self.ndim:
            raise TypeError(f"the engine cannot compile arrays of shape {shape} in place of {self.ndim} axes")
        return self

    def _over(self, axis: Any, operation: str, kind: str = "float32") -> "Symbol":
        if self.rank < 2 or sorted(number % self.rank for number in axis) != [*range(1, self.rank)]:
            raise TypeError(f"the engine cannot compile {operation} over the axes {axis} of {self.rank}")
        return Symbol(kind, operation, self, rank=1)


def _known(inputs: Any) -> bool:
    """True for symbols, numbers or lists of them; `Cells` know themselves what is done to them."""
    return all(
        isinstance(value, Symbol | float | int | type | np.generic | np.ndarray | list | tuple) for value in inputs
    )


def _rank(operation: Any, operands: tuple[Any, ...]) -> int:
    """Axes of the result of an operation."""
    if operation == "array":
        return 1
    ranks = {operand.rank for operand in operands if isinstance(operand, Symbol)} - {0}
    if len(ranks) > 1:
        raise TypeError("the engine cannot compile numbers of crossbars with those of cells: use [..., None, None]")
    return max(ranks, default=0)


def spread(value: "Symbol", rank: int) -> "Symbol":
    """The value with so many axes, where it has fewer."""
    return value if value.rank == rank else Symbol(value.kind, SPREAD, value, rank=rank)


def made(kind: str, operation: Any, *operands: "Symbol") -> "Symbol":
    """The symbol of an operation; of what all cells of a crossbar have in common it is done once for the crossbar."""
    of_cells = [operand for operand in operands if operand.rank]
    if not of_cells or any(operand.operation != SPREAD for operand in of_cells):
        return Symbol(kind, operation, *operands)
    inner = (operand.operands[0] if operand.rank else operand for operand in operands)
    return spread(Symbol(kind, operation, *inner), of_cells[0].rank)


def plain(value: Any) -> Any:
    """Arrays without axes and double-precision scalars as Python numbers."""
    return value.item() if isinstance(value, np.ndarray | np.float64 | np.bool_) else value


def symbolic(value: Any, kind: str = "float32") -> Symbol:
    """A symbol of this kind; a number becomes a leaf, `literal` (written into the loop) or `constant` (an argument)."""
    if isinstance(value, Symbol):
        return value if value.kind == kind else where(value, 1.0, 0.0)  # truth as 0 or 1
    if kind != "float32" or isinstance(value, np.float32):
        return Symbol(kind, "literal", np.dtype(kind).type(value))
    if float(value) in PLAIN or value != value:
        return Symbol(kind, "literal", np.float32(value))
    return Symbol(kind, "constant", float(value))


# -- functions that the loop calls ------------------------------------------------------------------------------------


class Routine:
    """A function that a loop calls by name; its own formula is traced once."""

    def __init__(self, function: Callable[..., Any], takes: Sequence[str], gives: Sequence[str]) -> None:
        """`function` of as many numbers as `takes` has kinds, which returns a tuple if `gives` has more than one."""
        self.function, self.takes, self.gives = function, takes, gives

    @property
    def name(self) -> str:
        """As in the loop's source text."""
        return self.function.__name__

    def format(self, *operands: str) -> str:
        """The call."""
        return f"{self.name}({', '.join(operands)})"

    def __call__(self, *values: Any) -> Any:
        """The symbolic values of the call's results."""
        taken = [symbolic(value, kind) for value, kind in zip(values, self.takes, strict=True)]
        if len(self.gives) == 1:
            return made(self.gives[0], self, *taken)
        call = Symbol(self.gives[0], self, *taken)
        return tuple(Symbol(kind, f"{{0}}[{place}]", call) for place, kind in enumerate(self.gives))


def routine(takes: str, gives: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Lets an element-wise function be called by loops; arrays it takes as before. Kinds are separated by blanks."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        known = Routine(function, takes.split(), gives.split())

        @functools.wraps(function)
        def either(*values: Any) -> Any:
            return known(*values) if any(isinstance(value, Symbol) for value in values) else function(*values)

        RULES.setdefault(function.__name__, either)
        return either

    return decorate


# -- operations -------------------------------------------------------------------------------------------------------


def _operation(source: str, kind: str | None = None, truth: str = "float32") -> Callable[..., Symbol]:
    """An operation on symbolic values of one kind, whose result is of this kind unless another is given.

    Truth values are taken as the kind `truth`.
    """

    def apply(*values: Any) -> Symbol:
        kinds = {value.kind for value in values if isinstance(value, Symbol)} - {"bool"}
        whole = kinds.pop() if kinds else truth
        wide = not kind and whole in ("int32", "uint32")  # numba would widen 32 bits to 64
        wrapped = f"{whole}({source})" if wide else source
        return made(kind or whole, wrapped, *[symbolic(value, whole) for value in values])

    return apply


_add, _subtract = _operation("{0} + {1}"), _operation("{0} - {1}")
_multiply, _divide = _operation("{0} * {1}"), _operation("{0} / {1}")


def _is(value: Any, number: float) -> bool:
    return not isinstance(value, Symbol) and bool(value == number)


def _number(value: Any) -> Any:
    """The value itself, truth as 0 or 1."""
    return symbolic(value) if isinstance(value, Symbol) and value.kind == "bool" else value


def add(a: Any, b: Any) -> Any:
    """a + b."""
    if isinstance(b, Symbol) and b.void:
        return Symbol("float32", LED, symbolic(a), b)
    return _number(b) if _is(a, 0) else _number(a) if _is(b, 0) else _add(a, b)


def subtract(a: Any, b: Any) -> Any:
    """a - b; void where b is a detached."""
    if _is(b, 0):
        return _number(a)
    difference = _subtract(a, b)
    difference.void = isinstance(b, Symbol) and b.operation == DETACHED and b.operands[0] is a
    return difference


def multiply(a: Any, b: Any) -> Any:
    """a b; zero times anything is the plain zero."""
    if _is(a, 0) or _is(b, 0):
        return 0.0
    if _is(a, 1) or _is(b, 1):
        return _number(b) if _is(a, 1) else _number(a)
    product = _multiply(a, b)
    product.void = any(isinstance(factor, Symbol) and factor.void for factor in (a, b))
    return product


def divide(a: Any, b: Any) -> Any:
    """a / b; by a number it is a multiplication."""
    if _is(a, 0):
        return 0.0
    if isinstance(b, Symbol) or not 1e-37 < abs(b) < 1e37:
        return _divide(a, b)
    return multiply(a, 1.0 / b)


def power(a: Any, b: Any) -> Any:
    """a^b for a > 0, and the square of any a."""
    if _is(b, 0) or _is(b, 1) or _is(b, 2):
        return 1.0 if b == 0 else a if b == 1 else multiply(a, a)
    return np.exp(b * (np.log(a) if isinstance(a, Symbol) else float(np.log(a))))


def where(condition: Any, high: Any, low: Any) -> Any:
    """`high` where `condition`, else `low`."""
    if not isinstance(condition, Symbol):
        return high if condition else low
    values = condition, symbolic(high), symbolic(low)
    rank = max(value.rank for value in values)
    return made("float32", "select({0}, {1}, {2})", *(spread(value, rank) if value.rank else value for value in values))


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any) -> Any:
    """The choice of the first condition that holds."""
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        default = where(condition, choice, default)
    return default


def _filled(like: Symbol, number: float | bool) -> Symbol:
    return Symbol("bool" if number is False else "float32", "literal", number, rank=like.rank)


RULES |= {
    "add": add,
    "subtract": subtract,
    "multiply": multiply,
    "divide": divide,
    "power": power,
    "negative": _operation("-{0}"),
    "absolute": _operation("abs({0})"),
    "sqrt": _operation("sqrt({0})"),
    "maximum": _operation("select({1} > {0}, {1}, {0})"),  # NaN comes through, from the first operand
    "minimum": _operation("select({1} < {0}, {1}, {0})"),
    "equal": _operation("{0} == {1}", "bool"),
    "not_equal": _operation("{0} != {1}", "bool"),
    "greater": _operation("{0} > {1}", "bool"),
    "greater_equal": _operation("{0} >= {1}", "bool"),
    "less": _operation("{0} < {1}", "bool"),
    "less_equal": _operation("{0} <= {1}", "bool"),
    "bitwise_and": _operation("{0} & {1}", truth="bool"),
    "bitwise_or": _operation("{0} | {1}", truth="bool"),
    "bitwise_xor": _operation("{0} ^ {1}", truth="bool"),
    "invert": _operation("{0} == False", "bool", truth="bool"),  # of truth values; numba's `~` makes integers of them
    "left_shift": _operation("{0} << {1}"),
    "right_shift": _operation("{0} >> {1}"),
    "round": lambda value: np.rint(value),
    "clip": lambda value, low, high: np.minimum(np.maximum(value, low), high),
    "zeros_like": lambda like, kind=float: _filled(like, kind(0)),
    "ones_like": lambda like: _filled(like, 1.0),
    "where": where,
    "select": select,
}
