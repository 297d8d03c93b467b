"""Runs a function of arrays as a compiled loop: traced once for inputs of one form, then called with their arrays."""

import functools
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import field_names, tree_map
from memenv.fused.disk import compiled
from memenv.fused.text import write
from memenv.fused.trace import Term, term_of
from memenv.noise import Key, Noise

BLOCK = 16_384  # fewest cells that a thread takes at a time, some 0.06 ms
SHARES = 8  # of the cells that a thread takes one after the other, for none to wait long for another
PLAIN = {float, int, bool, str, type(None)}  # leaves of which the value decides about the loop
MOST_TRACES = 1024


class Unfit(ValueError):
    """Inputs that a loop cannot take."""


class Traced(NamedTuple):
    """A function for inputs of one form."""

    cells: Callable[..., None] | None  # the loop, None if there is nothing to compute
    constants: np.ndarray
    scalars: tuple[int, ...]  # leaves of the inputs that follow the constants
    arrays: tuple[int, ...]  # leaves of the inputs that are read
    results: list[Term]  # what the arrays of the result are
    build: Callable[[list[np.ndarray]], Any]  # the result of its arrays


_TRACED: dict[tuple[Any, ...], Traced] = {}


def run(
    function: Callable[..., Any], key: Key, cells: int, inputs: tuple[Any, ...], out: Any, threads: int, filled: bool
) -> Any:
    """`function(noise, cells, *inputs)` for inputs of float arrays (cells,) and numbers.

    The result's arrays are new or, with `out`, those of that record; an array that comes back as it was is not copied
    otherwise. Where `filled`, numbers in the result become arrays.

    Raises:
        Unfit: leaves that are no arrays or numbers, arrays of another size, numbers beyond single precision.
    """
    leaves: list[Any] = []
    _gather(inputs, leaves)
    form = (function, *[_form(leaf) if leaf.__class__ is np.ndarray else leaf for leaf in leaves])
    traced = _TRACED.get(form)
    if traced is None:
        if len(_TRACED) >= MOST_TRACES:
            _TRACED.clear()
        traced = _TRACED[form] = _trace(function, cells, inputs, leaves, filled)
    kept = [_flat(leaves[term.operands[0]], cells) if term.operation == "array" else None for term in traced.results]
    if out is None:
        arrays = [np.empty(cells, np.float32) if same is None else same for same in kept]
    else:
        arrays = _places(out, cells, len(kept))
        for array, same in zip(arrays, kept, strict=True):
            if same is not None and array is not same:
                array[:] = same
    if traced.cells is not None:
        read = [_flat(leaves[place], cells) for place in traced.arrays]
        written = [array for array, same in zip(arrays, kept, strict=True) if same is None]
        numbers = traced.constants
        if traced.scalars:
            numbers = np.append(numbers, np.array([leaves[place] for place in traced.scalars], np.float32))
        _launch(traced.cells, cells, key.words(), numbers, read + written, threads)
    return traced.build(arrays)


def _gather(tree: Any, leaves: list[Any]) -> None:
    """Appends the leaves of records and tuples in order, None among them."""
    for part in tree if isinstance(tree, tuple) else tree.__dict__.values():
        if part.__class__ in PLAIN or part.__class__ is np.ndarray:
            leaves.append(part)
        elif isinstance(part, tuple) or field_names(part.__class__):
            _gather(part, leaves)
        elif isinstance(part, np.number):
            leaves.append(part.item())
        else:
            raise Unfit(f"the engine takes NumPy arrays and numbers, not {type(part).__name__}")


def _form(array: np.ndarray) -> str:
    """What the array is to the loop: one number for all cells, or one for each."""
    return "array" if array.ndim else "scalar"


def _trace(
    function: Callable[..., Any], cells: int, inputs: tuple[Any, ...], leaves: list[Any], filled: bool
) -> Traced:
    """Runs the function on terms in place of the arrays, and compiles what comes out."""
    terms = iter(
        [
            Term("float32", _form(leaf), place) if isinstance(leaf, np.ndarray) else leaf
            for place, leaf in enumerate(leaves)
            if leaf is not None
        ]
    )
    words = [Term("uint32", "name", f"words[{number}]") for number in range(4)]
    noise = Noise(words, Term("uint32", "name", "uint32(first + i)"))
    result = function(noise, cells, *tree_map(lambda _: next(terms), inputs))
    results: list[Term] = []
    build = _builder(tree_map(term_of, result) if filled else result, results)
    computed = [term for term in results if term.operation != "array"]
    loop = write(computed)
    with np.errstate(over="ignore", under="ignore"):
        constants = np.array(loop.constants, np.float32)
    if not (np.isfinite(constants) & (constants != 0)).all():
        raise Unfit('numbers of this device are beyond single precision: choose engine "numpy"')
    code = compiled(loop.text, function.__name__.strip("_").replace("_", " ")) if computed else None
    return Traced(code, constants, loop.scalars, loop.arrays, results, build)


def _builder(tree: Any, results: list[Term]) -> Callable[[list[np.ndarray]], Any]:
    """A function that makes the record from its arrays; appends the terms in their places to `results`."""
    if isinstance(tree, Term):
        results.append(tree)
        return operator.itemgetter(len(results) - 1)
    before, names = len(results), field_names(tree.__class__)
    parts = [getattr(tree, name) for name in names] if names else tree if isinstance(tree, tuple) else ()
    builders = [_builder(part, results) for part in parts]
    if len(results) == before:
        return lambda _: tree
    if names is None:
        return lambda arrays: tuple([build(arrays) for build in builders])
    return lambda arrays: type(tree)(**{name: build(arrays) for name, build in zip(names, builders, strict=True)})


def _places(out: Any, cells: int, number: int) -> list[np.ndarray]:
    """The arrays of a record that may be overwritten."""
    leaves: list[Any] = []
    _gather((out,), leaves)
    arrays = [leaf for leaf in leaves if leaf is not None]
    if len(arrays) != number:
        raise Unfit(f"out holds {len(arrays)} arrays, the result {number}")
    if any(not isinstance(array, np.ndarray) or _flat(array, cells) is not array for array in arrays):
        raise Unfit(f"out must hold float32 arrays ({cells},), in one piece and writeable")
    return arrays


def _flat(array: np.ndarray, cells: int) -> np.ndarray:
    """The array as the loop takes it, a copy if need be."""
    if array.shape != (cells,):
        raise Unfit(f"an array of shape {array.shape} for {cells} cells")
    if array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.array(array, np.float32)


def _launch(
    loop: Callable[..., None],
    cells: int,
    words: np.ndarray,
    numbers: np.ndarray,
    arrays: list[np.ndarray],
    threads: int,
) -> None:
    """Runs the loop over all cells; the threads take blocks of them in turn."""
    if threads == 1 or cells < 2 * BLOCK:
        loop(0, words, numbers, *arrays)
        return
    block = max(cells // (SHARES * threads * BLOCK), 1) * BLOCK
    begins = iter(range(0, cells, block))

    def work() -> None:
        for begin in begins:
            loop(begin, words, numbers, *[array[begin : begin + block] for array in arrays])

    helpers = [_pool(threads).submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="memenv")
