"""How numba compiles the loops that text.py writes; only they import this module."""

import functools
from typing import Any

from numba import njit
from numba.core import cgutils
from numba.core.compiler import Compiler
from numba.extending import intrinsic


class Apart(Compiler):
    """Promises that no array is reached under two names, so that cells can be taken many at a time.

    In place it holds too: a cell's numbers are read before its results, which depend on them, are written.
    """

    def __init__(self, *arguments: Any) -> None:
        """As numba's own compiler."""
        super().__init__(*arguments)
        self.state.flags.noalias = True


@intrinsic
def select(context: Any, condition: Any, high: Any, low: Any) -> Any:
    """`high if condition else low` without a branch: both are known."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(cgutils.as_bool_bit(builder, arguments[0]), arguments[1], arguments[2])

    return high(condition, high, low), generate


# Fused multiply-add is the one liberty taken with arithmetic: the last cells of an array, which do not fill a vector,
# must come out as they would elsewhere in it.
_arithmetic = {"fastmath": {"contract"}, "error_model": "numpy"}
_compiled_inline = functools.partial(njit, forceinline=True, no_cpython_wrapper=True, **_arithmetic)
loop = functools.partial(njit, nogil=True, cache=True, pipeline_class=Apart, no_cfunc_wrapper=True, **_arithmetic)
_routines: dict[tuple[Any, ...], Any] = {}


def routine(function: Any) -> Any:
    """The function that loops call: one for all texts that say the same, so that a process compiles it once."""
    code, known = function.__code__, function.__globals__
    named = [(type(known.get(name)), repr(known.get(name))) for name in code.co_names]
    function.__module__ = __name__  # which a loop that was kept finds, whichever other loop it shared the function with
    return _routines.setdefault((code.co_code, code.co_consts, *named), _compiled_inline(function))
