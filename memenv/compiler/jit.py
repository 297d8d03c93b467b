"""How numba compiles the loops that text.py writes; only they import this module."""

import functools
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.compiler import Compiler, compile_internal
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype


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


def on_pointers(*kinds: Any) -> Any:
    """Turns a function of five numbers and arrays, and of as many pointers as `kinds`, into one of their addresses.

    Python hands over one array of addresses quicker than a hundred arrays, and no code is compiled that takes these.
    """

    def decorate(function: Any) -> Any:
        @intrinsic
        def over(_: Any, first: Any, count: Any, size: Any, words: Any, numbers: Any, addresses: Any) -> Any:
            given = first, count, size, words, numbers
            inner = types.void(*given, *(types.CPointer(from_dtype(np.dtype(kind))) for kind in kinds))

            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                table = context.make_array(addresses)(context, builder, arguments[-1]).data
                places = (builder.load(builder.gep(table, [cgutils.intp_t(n)])) for n in range(len(kinds)))
                pointers = map(builder.inttoptr, places, map(context.get_value_type, inner.args[len(given) :]))
                flags = ConfigStack().top().copy()
                flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
                library, typing = context.active_code_library, context.typing_context
                whole = compile_internal(typing, context, library, function, inner.args, types.void, flags, {})
                context.call_internal(builder, whole.fndesc, inner, [*arguments[:-1], *pointers])
                return context.get_dummy_value()

            return types.void(*given, addresses), generate

        return over

    return decorate


# Fused multiply-add is the one liberty taken with arithmetic, but for `plus`: the last cells of an array, which do not
# fill a vector, must come out as they would elsewhere in it.
_arithmetic = {"fastmath": {"contract"}, "error_model": "numpy"}
_inline = functools.partial(njit, forceinline=True, no_cpython_wrapper=True, **_arithmetic)
loop = functools.partial(njit, nogil=True, cache=True, pipeline_class=Apart, no_cfunc_wrapper=True, **_arithmetic)
_routines: dict[tuple[Any, ...], Any] = {}


@functools.partial(njit, forceinline=True, no_cpython_wrapper=True, fastmath={"reassoc"})
def plus(total: Any, number: Any) -> Any:
    """The sum, for sums in any order, so that many cells are added at a time."""
    return total + number


def routine(function: Any) -> Any:
    """The function that loops call: one for all texts that say the same, so that a process compiles it once."""
    code, known = function.__code__, function.__globals__
    named = [(type(known.get(name)), repr(known.get(name))) for name in code.co_names]
    function.__module__ = __name__  # which a loop that was kept finds, whichever other loop it shared the function with
    return _routines.setdefault((code.co_code, code.co_consts, *named), _inline(function))
