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


class Call(NamedTuple):
    """A loop on arrays that stay: `launch` runs it, as often as wanted."""

    traced: Traced
    cells: int
    numbers: np.ndarray
    operands: list[np.ndarray]  # arrays that the loop reads, then those that it writes
    results: list[np.ndarray]  # the arrays of the result, in order

    def launch(self, key: Key, threads: int) -> None:
        """Runs the loop over all cells under a key."""
        if self.traced.cells is not None:
            _launch(self.traced.cells, self.cells, key.words(), self.numbers, self.operands, threads)

    def result(self) -> Any:
        """The record of the arrays."""
        return self.traced.build(self.results)


def run(
    function: Callable[..., Any], key: Key, cells: int, inputs: tuple[Any, ...], out: Any, threads: int, filled: bool
) -> Any:
    """`function(noise, cells, *inputs)`; arguments and errors as those of `prepare`."""
    call = prepare(function, cells, inputs, out, filled)
    call.launch(key, threads)
    return call.result()


def prepare(
    function: Callable[..., Any], cells: int, inputs: tuple[Any, ...], out: Any = None, filled: bool = False
) -> Call:
    """The loop of `function(noise, cells, *inputs)` on these arrays.

    Inputs are arrays (cells,), float32 if not bool or uint32, and numbers. The result's arrays are new or, with `out`,
    those of that record; an array that comes back as it was is not copied otherwise. Where `filled`, numbers in the
    result become arrays.

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
        arrays = [
            np.empty(cells, term.kind) if same is None else same
            for term, same in zip(traced.results, kept, strict=True)
        ]
    else:
        arrays = _places(out, cells, traced.results)
        for array, same in zip(arrays, kept, strict=True):
            if same is not None and array is not same:
                array[:] = same
    read = [_flat(leaves[place], cells) for place in traced.arrays]
    written = [array for array, same in zip(arrays, kept, strict=True) if same is None]
    numbers = traced.constants
    if traced.scalars:
        numbers = np.append(numbers, np.array([leaves[place] for place in traced.scalars], np.float32))
    return Call(traced, cells, numbers, read + written, arrays)


def arrays_of(record: Any) -> list[np.ndarray]:
    """The arrays of a record, in order.

    Raises:
        Unfit: leaves that are no arrays or numbers.
    """
    leaves: list[Any] = []
    _gather((record,), leaves)
    return [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]


def _gather(tree: Any, leaves: list[Any]) -> None:
    """Appends the leaves of records, tuples and dictionaries in order, None among them."""
    for part in tree if isinstance(tree, tuple) else (tree if isinstance(tree, dict) else tree.__dict__).values():
        if part.__class__ in PLAIN or part.__class__ is np.ndarray:
            leaves.append(part)
        elif isinstance(part, tuple | dict) or field_names(part.__class__):
            _gather(part, leaves)
        elif isinstance(part, np.number):
            leaves.append(part.item())
        else:
            raise Unfit(f"the engine takes NumPy arrays and numbers, not {type(part).__name__}")


def _form(array: np.ndarray) -> tuple[str, str]:
    """What the array is to the loop: its kind, and whether it is one number for all cells or one for each."""
    return ("array", _kind(array)) if array.ndim else ("scalar", "float32")


def _kind(array: np.ndarray) -> str:
    return array.dtype.name if array.dtype in (np.bool_, np.uint32) else "float32"


def _trace(
    function: Callable[..., Any], cells: int, inputs: tuple[Any, ...], leaves: list[Any], filled: bool
) -> Traced:
    """Runs the function on terms in place of the arrays, and compiles what comes out."""
    terms = iter(
        [
            _leaf(place, leaf) if isinstance(leaf, np.ndarray) else leaf
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


def _leaf(place: int, array: np.ndarray) -> Term:
    operation, kind = _form(array)
    return Term(kind, operation, place)


def _builder(tree: Any, results: list[Term]) -> Callable[[list[np.ndarray]], Any]:
    """A function that makes the record from its arrays; appends the terms in their places to `results`."""
    if isinstance(tree, Term):
        results.append(tree)
        return operator.itemgetter(len(results) - 1)
    before, names = len(results), field_names(tree.__class__)
    if isinstance(tree, dict):
        parts = [*tree.values()]
    else:
        parts = [getattr(tree, name) for name in names] if names else [*tree] if isinstance(tree, tuple) else []
    builders = [_builder(part, results) for part in parts]
    if len(results) == before:
        return lambda _: tree
    if isinstance(tree, dict):
        return lambda arrays: {name: build(arrays) for name, build in zip(tree, builders, strict=True)}
    if names is None:
        return lambda arrays: tuple([build(arrays) for build in builders])
    return lambda arrays: type(tree)(**{name: build(arrays) for name, build in zip(names, builders, strict=True)})


def _places(out: Any, cells: int, results: list[Term]) -> list[np.ndarray]:
    """The arrays of a record that may be overwritten."""
    arrays = arrays_of(out)
    if len(arrays) != len(results):
        raise Unfit(f"out holds {len(arrays)} arrays, the result {len(results)}")
    for array, term in zip(arrays, results, strict=True):
        if array.dtype != term.kind or _flat(array, cells) is not array:
            raise Unfit(f"out must hold {term.kind} arrays ({cells},) here, in one piece and writeable")
    return arrays


def _flat(array: np.ndarray, cells: int) -> np.ndarray:
    """The array as the loop takes it, a copy if need be."""
    if array.shape != (cells,):
        raise Unfit(f"an array of shape {array.shape} for {cells} cells")
    kind = _kind(array)
    if array.dtype == kind and array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.array(array, kind)


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
