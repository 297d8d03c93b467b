"""Runs a function of arrays as a compiled loop: traced once for inputs of one form, then called with their arrays."""

import functools
import math
import operator
import os
from collections.abc import Callable
from ctypes import addressof, c_char
from itertools import compress
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from memenv.arrays import field_names, tree_map
from memenv.compiler.cache import compiled
from memenv.compiler.codegen import write
from memenv.compiler.counter_rng import Key, Noise
from memenv.compiler.device_axis import Cells
from memenv.compiler.trace import SPREAD, Symbol, spread, symbolic

BLOCK = 16_384  # fewest cells that a thread takes at a time, some 0.06 ms
SHARES = 8  # of the cells that a thread takes one after the other, for none to wait long for another
PLAIN = {float, int, bool, str, type(None)}  # leaves of which the value decides about the loop
KINDS = {np.dtype(kind): kind for kind in ("bool", "uint32", "float32")}  # of arrays that loops read as they are
MOST_TRACES = 1024


class Unsupported(ValueError):
    """Inputs that a loop cannot take."""


class Traced(NamedTuple):
    """A function for inputs of one form."""

    cells: Callable[..., None] | None  # the loop, None if there is nothing to compute
    kept: tuple[str, ...]  # kinds of the arrays that a loop of several passes keeps
    constants: np.ndarray
    scalars: tuple[int, ...]  # leaves of the inputs that follow the constants
    arrays: tuple[int, ...]  # leaves of the inputs that are read
    results: list[Symbol | Cells]  # what the arrays of the result are
    returned: list[int | None]  # the leaf that comes back as it was in their place, None if they are computed
    written: list[int]  # those whose arrays are written, and not read as well
    build: Callable[[list[np.ndarray]], Any]  # the result of its arrays


_TRACED: dict[tuple[Any, ...], Traced] = {}


class Call(NamedTuple):
    """A loop on arrays that stay: `launch` runs it, as often as wanted."""

    traced: Traced
    shape: tuple[int, ...]  # of an array with a number for each cell
    numbers: np.ndarray
    operands: list[np.ndarray]  # flat arrays that the loop reads, then those that it writes
    results: list[np.ndarray]  # the arrays of the result, in order

    def launch(self, key: Key, threads: int) -> None:
        """Runs the loop over all cells under a key."""
        self.bound(key, threads)()

    def bound(self, key: Key, threads: int) -> Callable[..., None]:
        """`launch` with these arguments, with all that can be done beforehand done.

        Called with a number it runs over the first so many cells, or crossbars.
        """
        if self.traced.cells is None:
            return lambda _=0: None
        return _bound(self.traced, self.shape, key.words(), self.numbers, self.operands, threads)

    def result(self) -> Any:
        """The record of the arrays."""
        return self.traced.build(self.results)


def run(
    function: Callable[..., Any],
    key: Key,
    shape: tuple[int, ...],
    inputs: tuple[Any, ...],
    out: Any,
    threads: int,
    filled: bool,
) -> Any:
    """`function(noise, cells, *inputs)`; arguments and errors as those of `prepare`."""
    call = prepare(function, shape, inputs, out, filled)
    call.launch(key, threads)
    return call.result()


def prepare(
    function: Callable[..., Any],
    cells: int | tuple[int, ...],
    inputs: tuple[Any, ...],
    out: Any = None,
    filled: bool = False,
) -> Call:
    """The loop of `function(noise, cells, *inputs)` on these arrays.

    `cells` is their number, or the shape (arrays, rows, cols) in which they lie: the function gets its first axis.
    Inputs are arrays of this shape or (arrays,), float32 if not bool or uint32, and numbers. Where cells are weights,
    arrays with a further axis, that of the devices, are `Cells`; of crossbars, arrays (arrays, 1, 1) or with a further
    such axis have a number for all cells of each. The result's arrays are new or, with `out`, those of that record,
    which may be among the inputs; an array that comes back as it was is not copied otherwise. Where `filled`, numbers
    in the result become arrays.

    Raises:
        Unsupported: leaves that are no arrays or numbers, arrays of another size, numbers beyond single precision.
    """
    shape = cells if isinstance(cells, tuple) else (cells,)
    leaves: list[Any] = []
    _gather(inputs, leaves)
    replaced = None if out is None else _replaced(leaves, out)
    form = (
        function,
        len(shape),
        replaced,
        filled,
        *[_form(leaf, shape) if leaf.__class__ is np.ndarray else leaf for leaf in leaves],
    )
    traced = _TRACED.get(form)
    if traced is None:
        if len(_TRACED) >= MOST_TRACES:
            _TRACED.clear()
        traced = _TRACED[form] = _trace(function, shape, inputs, leaves, filled, replaced)
    kept = [None if place is None else _fit(leaves[place], shape) for place in traced.returned]
    if out is None:
        arrays = [
            np.empty(_room(shape, result), _kind_of(result)) if same is None else same
            for result, same in zip(traced.results, kept, strict=True)
        ]
    else:
        arrays = _places(out, shape, traced.results)
    operands = [_fit(leaves[place], shape) for place in traced.arrays]
    operands += [arrays[number] for number in traced.written]
    numbers = traced.constants
    if traced.scalars:
        numbers = np.append(numbers, np.array([leaves[place] for place in traced.scalars], np.float32))
    return Call(traced, shape, numbers, [array.reshape(-1) for array in operands], arrays)


def arrays_of(record: Any) -> list[np.ndarray]:
    """The arrays of a record, in order.

    Raises:
        Unsupported: leaves that are no arrays or numbers.
    """
    leaves: list[Any] = []
    _gather((record,), leaves)
    return [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]


def _gather(tree: Any, leaves: list[Any]) -> None:
    """Appends the leaves of records, tuples and dictionaries in order, None among them."""
    if not isinstance(tree, tuple | dict):  # what a record has cached beside its fields is none
        tree = tuple(map(tree.__dict__.__getitem__, field_names(tree.__class__) or ()))
    for part in tree if isinstance(tree, tuple) else tree.values():
        if part.__class__ in PLAIN or part.__class__ is np.ndarray:
            leaves.append(part)
        elif isinstance(part, tuple | dict) or field_names(part.__class__):
            _gather(part, leaves)
        elif isinstance(part, np.number):
            leaves.append(part.item())
        else:
            raise Unsupported(f"the engine takes NumPy arrays and numbers, not {type(part).__name__}")


def _form(array: np.ndarray, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The form of an array to the loop: one number for all cells or one for each (or each crossbar), its kind and axes.

    One axis more than the cells have counts the devices of a weight.
    """
    if _of_crossbars(array, shape):
        return SPREAD, _kind(array), len(shape)
    if array.ndim > len(shape):
        return "array", _kind(array), len(shape), array.shape[-1]
    return ("array", _kind(array), array.ndim) if array.ndim else ("scalar", "float32", 0)


def _of_crossbars(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    """True for an array with a number for all cells of each crossbar, in axes of the cells' own."""
    return array.ndim >= len(shape) > 1 and array.shape != shape and array.size == shape[0]


def _replaced(leaves: list[Any], out: Any) -> tuple[int | None, ...]:
    """For each array of a record the leaf that it is."""
    places = {id(leaf): place for place, leaf in enumerate(leaves)}
    return tuple([places.get(id(array)) for array in arrays_of(out)])


def _kind(array: np.ndarray) -> str:
    return KINDS.get(array.dtype, "float32")


def _trace(
    function: Callable[..., Any],
    shape: tuple[int, ...],
    inputs: tuple[Any, ...],
    leaves: list[Any],
    filled: bool,
    replaced: tuple[int | None, ...] | None,
) -> Traced:
    """Runs the function on symbolic values in place of the arrays, and compiles what comes out."""
    values = iter(
        [
            _leaf(place, leaf, shape) if isinstance(leaf, np.ndarray) else leaf
            for place, leaf in enumerate(leaves)
            if leaf is not None
        ]
    )
    words = [Symbol("uint32", "name", f"words[{number}]") for number in range(4)]
    noise = Noise(words, Symbol("uint32", "name", "uint32(first + i)", rank=len(shape)))
    result = function(noise, shape[0], *tree_map(lambda _: next(values), inputs))
    results: list[Symbol | Cells] = []
    build = _builder(tree_map(_filled, result) if filled else result, results)
    places = replaced if replaced and len(replaced) == len(results) else [None] * len(results)
    sources = [_source(result) for result in results]
    stays = [replaced is None or place == leaf for leaf, place in zip(sources, places, strict=True)]  # at every launch
    returned = [leaf if same else None for leaf, same in zip(sources, stays, strict=True)]
    computed = [leaf is None for leaf in returned]
    loop = write([*compress(results, computed)], len(shape), [*compress(places, computed)])
    with np.errstate(over="ignore", under="ignore"):
        constants = np.array(loop.constants, np.float32)
    if not (np.isfinite(constants) & (constants != 0)).all():
        raise Unsupported('numbers of this device are beyond single precision: choose engine "numpy"')
    code = compiled(loop.source, function.__name__.strip("_").replace("_", " ")) if any(computed) else None
    written = [n for n, place in enumerate(places) if computed[n] and place not in loop.arrays]
    return Traced(code, loop.kept, constants, loop.scalars, loop.arrays, results, returned, written, build)


def _leaf(place: int, array: np.ndarray, shape: tuple[int, ...]) -> Symbol | Cells:
    operation, kind, axes, *devices = _form(array, shape)
    if operation == SPREAD:
        return spread(Symbol(kind, "array", place, rank=1), axes)
    if not devices:
        return Symbol(kind, operation, place, rank=axes)
    (count,) = devices
    return Cells([Symbol(kind, operation, place, number, count, rank=axes) for number in range(count)])


def _filled(result: Any) -> Symbol:
    """A number that all cells have in common as a symbol, too."""
    return result if isinstance(result, Symbol) else symbolic(result)


def _source(result: Symbol | Cells) -> int | None:
    """The leaf that a result is, None if it is computed."""
    parts = [*result] if isinstance(result, Cells) else [result]
    leaves = [part.operands if isinstance(part, Symbol) and part.operation == "array" else () for part in parts]
    place = leaves[0][0] if leaves[0] else None
    whole = [(place, number, len(parts)) for number in range(len(parts))] if isinstance(result, Cells) else [(place,)]
    return place if leaves == whole else None


def _kind_of(result: Symbol | Cells) -> str:
    """The type of a result's array."""
    return result.kind if isinstance(result, Symbol) else getattr(result[..., 0], "kind", "float32")


def _room(shape: tuple[int, ...], result: Symbol | Cells) -> tuple[int, ...]:
    """The axes of a result's array."""
    return shape[: result.rank or None] if isinstance(result, Symbol) else (*shape, result.shape[-1])


def _builder(tree: Any, results: list[Symbol | Cells]) -> Callable[[list[np.ndarray]], Any]:
    """A function that makes the record from its arrays; appends the symbolic values in their places to `results`."""
    if isinstance(tree, Symbol | Cells):
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


def _places(out: Any, shape: tuple[int, ...], results: list[Symbol | Cells]) -> list[np.ndarray]:
    """The arrays of a record that may be overwritten."""
    arrays = arrays_of(out)
    if len(arrays) != len(results):
        raise Unsupported(f"out holds {len(arrays)} arrays, the result {len(results)}")
    for array, result in zip(arrays, results, strict=True):
        needed, kind = _room(shape, result), _kind_of(result)
        if KINDS.get(array.dtype) != kind or array.shape != needed or _fit(array, shape) is not array:
            raise Unsupported(f"out must hold {kind} arrays {_text(needed)} here, in one piece and writeable")
    return arrays


def _fit(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array as the loop takes it, a copy if need be."""
    if shape not in (array.shape, array.shape[:-1]) and array.shape != shape[:1] and not _of_crossbars(array, shape):
        raise Unsupported(f"an array of shape {array.shape} for {_text(shape)} cells")
    if array.flags.carray and array.dtype in KINDS:
        return array
    return np.array(array, _kind(array), order="C")


def _text(shape: tuple[int, ...]) -> str:
    """A number of cells, or the axes in which they lie."""
    return str(shape if len(shape) > 1 else shape[0])


def _bound(
    traced: Traced,
    shape: tuple[int, ...],
    words: np.ndarray,
    numbers: np.ndarray,
    arrays: list[np.ndarray],
    threads: int,
) -> Callable[..., None]:
    """A function that runs the loop over all cells, or the first ones; see `Call.bound`."""
    whole, cells, size, loop = shape[0], math.prod(shape), math.prod(shape[1:]), traced.cells
    assert loop is not None
    block = whole  # crossbars, or cells
    if traced.kept:
        block = max(BLOCK // size, 1)
    elif threads > 1 and cells >= 2 * BLOCK:
        block = max(max(cells // (SHARES * threads * BLOCK), 1) * BLOCK // size, 1)

    def room() -> list[np.ndarray]:
        return [np.empty(min(block, whole) * size, kind) for kind in traced.kept]

    if whole <= block:
        arrays = arrays + room()
        addresses = _addresses(arrays)

        def at_once(count: int = whole) -> None:
            loop(0, count * size, size, words, numbers, addresses)

        return _keeping(arrays, at_once)
    addresses = _addresses(arrays)
    widths = np.array([array.nbytes // whole for array in arrays], np.uint64)  # of each crossbar

    def in_parts(count: int = whole) -> None:
        def on_part(begin: int, kept: list[np.ndarray]) -> None:
            places = np.append(addresses + np.uint64(begin) * widths, _addresses(kept))
            loop(begin * size, min(block, count - begin) * size, size, words, numbers, places)

        _shared(on_part, room, range(0, count, block), threads)

    return _keeping(arrays, in_parts)


def _keeping(arrays: list[np.ndarray], call: Any) -> Callable[..., None]:
    """The call, with which the arrays stay of which it knows the addresses."""
    call.arrays = arrays
    return call


def _addresses(arrays: list[np.ndarray]) -> np.ndarray:
    """Where arrays of our own lie, by way of their buffers: NumPy's `ctypes` takes five times as long."""
    return np.array([addressof(c_char.from_buffer(array.data)) for array in arrays], np.uint64)


def _shared(
    on_part: Callable[[int, list[np.ndarray]], None],
    room: Callable[[], list[np.ndarray]],
    begins: range,
    threads: int,
) -> None:
    """Runs the parts that begin there; the threads take them, of whole crossbars, in turn."""
    todo = iter(begins)
    done: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        kept: list[np.ndarray] | None = None
        for begin in todo:
            try:
                kept = kept or room()
                on_part(begin, kept)
            except BaseException as error:
                done.put(error)
            else:
                done.put(None)

    for _ in range(min(threads, len(begins)) - 1):
        _helped(threads - 1).put(work)
    work()
    errors = [done.get() for _ in begins]  # a helper that comes late finds nothing to do, and is not waited for
    for error in filter(None, errors):
        raise error


@functools.cache
def _helped(helpers: int) -> SimpleQueue[Callable[[], None]]:
    """A queue of work for as many threads, which wait for it."""
    queue: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def help_out() -> None:
        while True:
            queue.get()()

    for number in range(helpers):
        Thread(target=help_out, name=f"memenv-{number}", daemon=True).start()
    return queue


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helped.cache_clear)  # threads stay behind
