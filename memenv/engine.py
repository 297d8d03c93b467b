"""Engines: what runs the physics on many cells at once, NumPy or a compiled loop that does all of it cell by cell.

Both run the text of law.py and device.py, and both draw their noise by key, cell and channel (counter_rng.py): they
give the same numbers to the rounding of single precision, for any number of threads. NumPy goes through memory once an
operation; the compiled loop reads each number of a cell once and writes each result once.

    engine = load_engine()  # compiled if numba is there: pip install "memenv[numba]"
    chip = engine.fabricate(load_device("threshold"), Key(1), cells=1_048_576)
    state = engine.fresh(chip, x, Key(2))
    reading, state = engine.pulse_and_read(chip, state, amplitude, width, Key(3))

Parametric devices and mixtures of them are compiled; measured tables are looked up by NumPy under both engines. Whole
crossbars are written and read as well: those that are no loop over cells (`Crossbar.not_compiled`) by NumPy, too.
"""

import importlib.util
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from memenv.arrays import Array, take, tree_map
from memenv.bounds import is_word, shown
from memenv.compiler.counter_rng import FRESH_LANES, PULSE_LANES, READ_LANES, WRITE_LANES, Draws, Key, Lanes, Noise
from memenv.compiler.runtime import Unsupported, run
from memenv.crossbars.crossbar import Crossbar, CrossbarState
from memenv.crossbars.operations import Operations
from memenv.devices.protocol import CellModel
from memenv.devices.reads import State

NAMES = ("auto", "numpy", "numba")
WORTHWHILE = 4096  # cells, above which the seconds of compilation are soon regained
BLOCK = 8192  # cells that NumPy takes at a time, for its intermediate results to stay in cache
MOST_CELLS = 2**32
MOST_THREADS = max(256, os.cpu_count() or 1)  # more are slower, and thousands end the process where stacks run out


class EngineError(ValueError):
    """An engine that does not exist or is not installed, or arrays that it cannot take."""


@dataclass(frozen=True)
class Engine:
    """Runs pulses and reads; `load_engine` makes one.

    Results are float32 arrays (cells,). Nothing that is passed is written, except `out`: the result of an earlier call
    that may be overwritten, which spares large arrays their allocation; its state may be the one that is passed.
    """

    name: str  # numpy or numba
    threads: int = 1  # of the compiled loop

    def __post_init__(self) -> None:
        """Refuses threads that no processor has, with an `EngineError`."""
        check_threads(self.threads)

    def fabricate(
        self, device: CellModel, key: Key, cells: int, chips: tuple[np.ndarray, np.ndarray] | None = None
    ) -> CellModel:
        """A chip of `cells` cells of a nominal device.

        Where they are of several chips, `chips` is the key of each cell's, two words (cells,) uint32.
        """
        if not (device.not_compiled or device.devices):
            return self._run(_fabricate, key, cells, (device, chips), filled=False)
        chip = device.fabricate(np.random.default_rng(tuple(key)), cells)  # mixtures and tables draw from lists
        return chip if chip.not_compiled else tree_map(_single, chip)

    def fresh(self, chip: CellModel, x: Array, key: Key) -> State:
        """The state of cells at `x` (cells,) [range] that rest."""
        own = np.array(x, np.float32)  # not the caller's, which must not change with a state in place
        return self._run(_fresh, key, len(own), (chip, own))

    def pulse(
        self,
        chip: CellModel,
        state: State,
        amplitude: Array,
        width: Array,
        key: Key,
        count: float = 1,
        out: State | None = None,
    ) -> State:
        """The state after a train of `count` equal pulses.

        `amplitude` [V], positive SETs, negative RESETs, and `width` [s] are arrays (cells,) or numbers.
        """
        inputs = chip, state, *_pulses(len(state.x), amplitude=amplitude, width=width), count
        return self._run(_pulse, key, len(state.x), inputs, out)

    def read(
        self, chip: CellModel, state: State, key: Key, out: tuple[np.ndarray, State] | None = None
    ) -> tuple[np.ndarray, State]:
        """One read (cells,) [S] and the state after it."""
        return self._run(_read, key, len(state.x), (chip, state), out)

    def pulse_and_read(
        self,
        chip: CellModel,
        state: State,
        amplitude: Array,
        width: Array,
        key: Key,
        count: float = 1,
        out: tuple[np.ndarray, State] | None = None,
    ) -> tuple[np.ndarray, State]:
        """`pulse`, then `read`, both with `key`; the compiled loop goes over the cells once."""
        inputs = chip, state, *_pulses(len(state.x), amplitude=amplitude, width=width), count
        return self._run(_pulse_and_read, key, len(state.x), inputs, out)

    def write(
        self,
        crossbar: Crossbar,
        state: CrossbarState,
        operations: Operations,
        key: Key,
        out: CrossbarState | None = None,
    ) -> CrossbarState:
        """`Crossbar.write`: arrays (arrays, rows, cols) after one step of writing."""
        return self._run(_write, key, state.pulses.shape, (crossbar, state, operations), out, filled=False)

    def sense(
        self,
        crossbar: Crossbar,
        state: CrossbarState,
        key: Key,
        enabled: np.ndarray | None = None,
        out: tuple[np.ndarray, CrossbarState] | None = None,
    ) -> tuple[np.ndarray, CrossbarState]:
        """`Crossbar.sense`: a read of each cell (arrays, rows, cols) [S], NaN where not `enabled`, and the state."""
        return self._run(_sense, key, state.pulses.shape, (crossbar, state, enabled), out, filled=False)

    def _run(
        self,
        program: Callable[..., Any],
        key: Key,
        cells: int | tuple[int, ...],
        inputs: tuple[Any, ...],
        out: Any = None,
        filled: bool = True,
    ) -> Any:
        shape = cells if isinstance(cells, tuple) else (cells,)
        if not 0 < math.prod(shape) < MOST_CELLS:
            raise EngineError(f"{math.prod(shape)} cells, allowed is 1 <= cells < 2^32")
        if self.name == "numpy" or inputs[0].not_compiled:
            return _run_numpy(program, key, shape, inputs, out, filled)
        try:
            return run(program, key, shape, inputs, out, self.threads, filled)
        except Unsupported as error:
            raise EngineError(str(error)) from None


def check_threads(number: Any, name: str = "threads") -> None:
    """Refuses a number of threads, the argument of that name, before they are made.

    Raises:
        EngineError: no whole number from 1 to MOST_THREADS.
    """
    if not isinstance(number, int | np.integer) or not 1 <= number <= MOST_THREADS:
        raise EngineError(f"{name} is {number}, allowed is a whole number from 1 to {MOST_THREADS}")


def load_engine(name: str = "auto", *, cells: int | None = None, threads: int = 1) -> Engine:
    """The engine of a name; `auto` is numba where it is installed and `cells` (None: many) are worth compiling for.

    Raises:
        EngineError: an unknown name, numba asked for and not installed, or a number of threads that is not allowed.
    """
    if not is_word(name, NAMES):
        raise EngineError(f"engine is {shown(name)}, allowed are {', '.join(NAMES)}")
    installed = importlib.util.find_spec("numba") is not None
    if name == "numba" and not installed:
        raise EngineError('engine "numba" needs numba: pip install "memenv[numba]", or choose engine "numpy"')
    if name == "auto":
        name = "numba" if installed and (cells is None or cells >= WORTHWHILE) else "numpy"
    return Engine(name, threads)


# -- programs: what is run, on arrays or on symbolic values -----------------------------------------------------------


def _fabricate(noise: Noise, cells: int, device: CellModel, chips: Any) -> CellModel:
    if chips is not None:
        noise = Noise.at(noise.key, noise.place, Noise.under(chips, np.uint32(0)))
    return device.fabricate(Draws(noise), cells)


def _fresh(noise: Noise, _: int, chip: CellModel, x: Array) -> State:
    return chip.fresh(x, Lanes(noise.normal, FRESH_LANES))


def _pulse(noise: Noise, _: int, chip: CellModel, state: State, amplitude: Array, width: Array, count: float) -> State:
    return chip.pulse(state, amplitude, width, Lanes(noise.normal, PULSE_LANES), count)


def _read(noise: Noise, _: int, chip: CellModel, state: State) -> tuple[Array, State]:
    return chip.sense(state, Lanes(noise.normal, READ_LANES))


def _pulse_and_read(noise: Noise, cells: int, chip: CellModel, state: State, *pulse: Any) -> tuple[Array, State]:
    return _read(noise, cells, chip, _pulse(noise, cells, chip, state, *pulse))


def _write(noise: Noise, _: int, crossbar: Crossbar, state: CrossbarState, operations: Operations) -> CrossbarState:
    return crossbar.write(state, operations, Lanes(noise.normal, WRITE_LANES))


def _sense(
    noise: Noise, _: int, crossbar: Crossbar, state: CrossbarState, enabled: Array | None
) -> tuple[Array, CrossbarState]:
    return crossbar.sense(state, Lanes(noise.normal, READ_LANES), enabled)


# -- NumPy ------------------------------------------------------------------------------------------------------------


def _run_numpy(
    program: Callable[..., Any], key: Key, shape: tuple[int, ...], inputs: tuple[Any, ...], out: Any, filled: bool
) -> Any:
    """The program on blocks of the arrays, of whole crossbars."""
    count, size = shape[0], math.prod(shape[1:])
    block = max(BLOCK // size, 1)
    for begin in range(0, count, block):
        rows = slice(begin, min(begin + block, count))
        numbers = np.arange(rows.start * size, rows.stop * size, dtype=np.uint32).reshape(-1, *shape[1:])
        noise = Noise(key.words()[:, None], numbers)
        part = program(noise, rows.stop - rows.start, *take(inputs, rows))
        if out is None:
            out = tree_map(lambda leaf: _room(leaf, count, filled), part)
        _copy(part, out, rows)
    return out


def _room(leaf: Any, count: int, filled: bool) -> Any:
    """An array for so many of what a part of the result is; numbers stay unless they are filled."""
    return np.empty((count, *np.shape(leaf)[1:]), np.float32) if filled or np.ndim(leaf) else leaf


def _copy(part: Any, out: Any, rows: slice) -> None:
    """Writes the arrays of one record into rows of another's."""

    def write(place: Any, leaf: Any) -> Any:
        if isinstance(place, np.ndarray):
            place[rows] = leaf
        return place

    tree_map(write, out, part)


def _pulses(cells: int, **values: Array) -> list[np.ndarray]:
    """Amplitudes and widths, by name; one number for all cells is an array without axes."""
    pulses = [np.asarray(value, np.float32) for value in values.values()]
    for name, pulse in zip(values, pulses, strict=True):
        if pulse.shape not in ((), (cells,)):
            raise EngineError(f"{name} has the shape {pulse.shape}, for {cells} cells a number or ({cells},) is needed")
    return pulses


def _single(leaf: Any) -> Any:
    """Arrays of numbers in single precision."""
    return leaf.astype(np.float32) if isinstance(leaf, np.ndarray) else leaf
