"""The cells of a weight as one: arrays (weights, devices) of symbols, an operation on them being one on each."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from memenv.compiler.trace import RULES, Symbol, plain

PER_CELL = ("where", "clip", "zeros_like", "ones_like", "round")  # NumPy's functions that look at each cell alone


class Cells(NDArrayOperatorsMixin):
    """A short last axis, which loops do not know: a symbolic value (or a number) for each of its places."""

    __slots__ = ("parts",)

    def __init__(self, parts: Any) -> None:
        """`parts` in order."""
        self.parts = tuple(parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the cells of one weight: one row, one output, and the devices."""
        return 1, 1, len(self.parts)

    @property
    def ndim(self) -> int:
        """Like an array's."""
        return len(self.shape)

    def __getitem__(self, place: Any) -> Any:
        """`cells[..., device]` and `cells[..., from:to]`."""
        if not (isinstance(place, tuple) and len(place) == 2 and place[0] is ... and place[1] is not None):
            raise TypeError(f"the engine cannot compile [{place}] of the cells of a weight")
        part = self.parts[place[1]]
        return Cells(part) if isinstance(place[1], slice) else part

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's elementary functions and Python's operators."""
        if method != "__call__" or options:
            raise TypeError(f"the engine cannot compile numpy.{ufunc.__name__} {options or ''}")
        return each(ufunc, *inputs)

    def __array_function__(self, function: Callable[..., Any], _: Any, inputs: Any, options: Any) -> Any:
        """The functions of PER_CELL, and `concatenate` along the devices."""
        if function.__name__ == "concatenate":
            return Cells([part for cells in inputs[0] for part in cells])
        if function.__name__ not in PER_CELL or options:
            raise TypeError(f"the engine cannot compile numpy.{function.__name__} {options or ''}")
        return each(lambda *values: plain(function(*values)), *inputs)

    def detach(self) -> "Cells":
        """The same numbers without derivative."""
        return each(lambda part: part.detach() if isinstance(part, Symbol) else part, self)


def each(function: Callable[..., Any], *values: Any) -> Cells:
    """The function of every cell; what is not of cells is alike for all."""
    (count,) = {len(value.parts) for value in values if isinstance(value, Cells)}
    return Cells([function(*[v.parts[place] if isinstance(v, Cells) else v for v in values]) for place in range(count)])


RULES["stack"] = lambda columns, _: Cells(columns)  # along a new last axis
