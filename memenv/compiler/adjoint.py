"""Derivatives of symbolic values: what is written for arrays and runs as a loop is differentiated as a loop, too.

Backwards from results to what they come from, each operation multiplies by its own derivative (reverse accumulation).
Whole numbers, conditions and what is detached have none; where two numbers tie, the first counts, as in the loop.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from memenv.compiler.device_axis import Cells
from memenv.compiler.trace import DETACHED, LED, Symbol, symbolic, where

Slopes = Callable[..., tuple[Any, ...]]  # (derivative of the result, result, *operands) -> those of the operands

SLOPES: dict[str, Slopes] = {  # by an operation's source text, or a routine's name
    "{0} + {1}": lambda d, r, a, b: (d, d),
    "{0} - {1}": lambda d, r, a, b: (d, -d),
    "{0} * {1}": lambda d, r, a, b: (d * b, d * a),
    "{0} / {1}": lambda d, r, a, b: (d / b, -d * r / b),
    "-{0}": lambda d, r, a: (-d,),
    "abs({0})": lambda d, r, a: (where(a > 0, d, where(a < 0, -d, 0.0)),),
    "sqrt({0})": lambda d, r, a: (0.5 * d / r,),
    "select({0}, {1}, {2})": lambda d, r, c, a, b: (0.0, where(c, d, 0.0), where(c, 0.0, d)),
    "select({1} > {0}, {1}, {0})": lambda d, r, a, b: (where(b > a, 0.0, d), where(b > a, d, 0.0)),
    "select({1} < {0}, {1}, {0})": lambda d, r, a, b: (where(b < a, 0.0, d), where(b < a, d, 0.0)),
    "exp": lambda d, r, a: (d * r,),
    "expm1": lambda d, r, a: (d * (r + 1.0),),
    "log": lambda d, r, a: (d / a,),
    "log1p": lambda d, r, a: (d / (a + 1.0),),
    "tanh": lambda d, r, a: (d * (1.0 - r * r),),
    "rint": lambda d, r, a: (0.0,),
    "floor": lambda d, r, a: (0.0,),
    DETACHED: lambda d, r, a: (0.0,),
    LED: lambda d, r, a, b: (d, d),
}


def derivatives(results: Sequence[Any], towards: Sequence[Any], sources: Sequence[Any]) -> tuple[Any, ...]:
    """The derivatives with respect to `sources` of a number of which those with respect to `results` are `towards`.

    All are symbols or `Cells` of them; numbers among the results, which come from nothing, and derivatives zero.

    Raises:
        TypeError: an operation on the way that has no derivative here.
    """
    wanted = [*map(id, chain(*map(_parts, sources)))]
    order = _order([*chain(*map(_parts, results))], set(wanted))
    sums: dict[int, Any] = {}
    for result, slope in zip(chain(*map(_parts, results)), chain(*map(_parts, towards)), strict=True):
        if isinstance(result, Symbol) and (isinstance(slope, Symbol) or slope):
            sums[id(result)] = sums.get(id(result), 0.0) + symbolic(slope)
    for value in reversed(order):
        slope = sums.get(id(value), 0.0)
        if id(value) in wanted or not isinstance(slope, Symbol):
            continue
        name = getattr(value.operation, "name", value.operation)
        if name not in SLOPES:
            raise TypeError(f"the engine cannot differentiate {name}")
        for operand, part in zip(value.operands, SLOPES[name](slope, value, *value.operands), strict=True):
            if isinstance(part, Symbol):
                sums[id(operand)] = sums.get(id(operand), 0.0) + part
    return tuple(
        Cells([sums.get(id(part), 0.0) for part in source]) if isinstance(source, Cells) else sums.get(id(source), 0.0)
        for source in sources
    )


def _parts(value: Any) -> list[Any]:
    return [*value] if isinstance(value, Cells) else [value]


def _order(results: Sequence[Any], sources: set[int]) -> list[Symbol]:
    """All values on a way from sources to results, each after what it comes from."""
    order: list[Symbol] = []
    known: dict[int, bool] = {}  # whether a value comes from a source

    def visit(value: Any) -> bool:
        if not isinstance(value, Symbol):
            return False
        if id(value) not in known:
            known[id(value)] = id(value) in sources
            if not known[id(value)]:
                known[id(value)] = any([visit(operand) for operand in value.operands])
            if known[id(value)]:
                order.append(value)
        return known[id(value)]

    for result in results:
        visit(result)
    return order
