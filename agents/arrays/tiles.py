"""A matrix of weights on as many arrays as it takes: each tile has its own chip and its own seed, and is one file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.arrays.noise import ArrayNoise
from agents.arrays.product_feedback import Feedback, check_product, write_product
from agents.arrays.writing import Written, for_weights, fresh_array, levelled, write_array
from agents.evaluation import EVALUATION
from agents.policy import Policy
from memenv.archives import FLOATS, TRUTH, WHOLE, Entry, load_archive, save_archive
from memenv.arrays import tree_map
from memenv.crossbars.crossbar import Crossbar
from memenv.crossbars.encoding import Encoding
from memenv.crossbars.memory_budget import check_room, memory_needed
from memenv.envs.write_verify.task import WriteVerify

CELLS_ALONE = "cells"  # each to its own target
COPIES = 3  # of what a policy knows of the cells of an array, while it learns more
KEPT = 12  # numbers kept for each cell of the whole matrix


class Tile(NamedTuple):
    """A part of the matrix on one array."""

    row: int  # of the grid of tiles
    col: int
    inputs: slice  # rows of the matrix
    outputs: slice  # columns of the matrix

    @property
    def name(self) -> str:
        """Of its file."""
        return f"tile_{self.row:04d}_{self.col:04d}.npz"


class TileResult(NamedTuple):
    """The outcome of a tile; arrays (rows, cols) of its cells unless said otherwise."""

    asked: np.ndarray  # [S] the target of the beginning
    target: np.ndarray  # [S] at the end
    conductance: np.ndarray  # [S] in truth
    pulses: np.ndarray
    reads: np.ndarray
    energy: np.ndarray  # [J]
    accepted: np.ndarray  # bool
    failed: np.ndarray  # bool
    outside: np.ndarray  # bool, the target that was asked for is beyond what the cell has shown to reach
    openings: np.ndarray  # verify passes of each cell, by the name that files have
    tolerance: np.ndarray  # [range] infinite where the cell was left as it was
    realised: np.ndarray  # (inputs, outputs) the weights that the true conductances stand for
    product: np.ndarray  # (n, outputs) noisy products with the tile's part of the inputs
    gain: np.ndarray  # (outputs,) by which products are best multiplied, for all that reads and examples tell
    latency: np.ndarray  # () [s]
    sequential: np.ndarray  # () [s]


NUMBERS, CELLS = (*FLOATS, *WHOLE), ("rows", "cols")
ENTRIES = (
    {name: Entry(CELLS, NUMBERS) for name in TileResult._fields}
    | {name: Entry(CELLS, TRUTH) for name in ("accepted", "failed", "outside")}
    | {name: Entry((), NUMBERS) for name in ("latency", "sequential")}
    | {
        "tolerance": Entry(CELLS, most=np.inf),
        "realised": Entry(("inputs", "outputs")),
        "product": Entry(("samples", "outputs")),
        "gain": Entry(("outputs",)),
    }
)


@dataclass(frozen=True, kw_only=True)
class Programmer:
    """The way a matrix is programmed.

    Raises:
        ValueError: an array that has no room for one weight, or that cannot be programmed for its product.
    """

    weights: np.ndarray  # (rows, outputs) finite
    encoding: Encoding  # of all of them
    crossbar: Crossbar  # of which each tile takes what it needs
    task: WriteVerify
    policy: Policy
    passes: int  # verify passes after the first
    voltages: np.ndarray  # (n, rows) [V] inputs on which products are judged
    examples: np.ndarray | None = None  # (n, rows) inputs for whose products it is programmed, else cell by cell
    objective: str = CELLS_ALONE  # or one of `METHODS`, with examples
    seed: int

    def __post_init__(self) -> None:
        least = self.encoding.columns(1)
        if self.crossbar.cols < least:
            raise ValueError(
                f"cols is {self.crossbar.cols}, at least {least} are needed: {self.encoding.kind} with "
                f"{self.encoding.spares} spares"
            )
        if self.examples is not None:
            for tile in self.tiles:
                check_product(self.array(tile), self.encoding, self.weights[tile.inputs, tile.outputs], self._fed(tile))

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, along the rows of their grid."""
        rows, outputs = self.weights.shape
        room = self.crossbar.cols - self.encoding.columns(1) + 1  # further columns, and one output
        room = (room + 1) // 2 if self.encoding.kind == "pairs" else room
        return tuple(
            Tile(i, j, inputs, part)
            for i, inputs in enumerate(_cut(rows, self.crossbar.rows))
            for j, part in enumerate(_cut(outputs, room))
        )

    def array(self, tile: Tile) -> Crossbar:
        """The part of an array that a tile takes."""
        rows, outputs = self.weights[tile.inputs, tile.outputs].shape
        return self.crossbar.replace(rows=rows, cols=self.encoding.columns(outputs))

    def sizes(self, tile: Tile) -> dict[str, int]:
        """Those of the arrays of a tile's result, by their names in `ENTRIES`."""
        crossbar, (inputs, outputs) = self.array(tile), self.weights[tile.inputs, tile.outputs].shape
        samples = len(self.voltages)
        return {
            "rows": crossbar.rows,
            "cols": crossbar.cols,
            "inputs": inputs,
            "outputs": outputs,
            "samples": samples,
        }

    def program(
        self, tile: Tile, on_step: Callable[[int], None] | None = None, on_pulse: Callable[..., None] | None = None
    ) -> TileResult:
        """Program a tile on a fresh chip; the same whatever was done before. `on_pulse` is for cells alone."""
        crossbar = self.array(tile)
        noise = ArrayNoise.of(EVALUATION, self.seed, tile.row, tile.col)
        written = self._written(tile, crossbar, noise, on_step, on_pulse)
        state, order = written.state, written.mapping.order
        voltages, normals = self.voltages[:, tile.inputs], noise.read.standard_normal
        converters = normals(voltages.shape), normals((len(voltages), crossbar.cols))
        return TileResult(
            asked=written.asked,
            target=written.mapping.targets,
            conductance=crossbar.conductance(state),
            pulses=state.pulses,
            reads=state.reads,
            energy=state.energy,
            accepted=written.accepted,
            failed=written.failed,
            outside=written.outside,
            openings=written.passes,
            tolerance=written.tolerance,
            realised=self.encoding.decode(crossbar.conductance(state), order),
            product=self.encoding.decode(crossbar.product(state, voltages, converters), order),
            gain=self._gain(tile, self.encoding.decode(written.reading, order)),
            latency=np.asarray(state.latency),
            sequential=np.asarray(state.sequential),
        )

    def _written(
        self,
        tile: Tile,
        crossbar: Crossbar,
        noise: ArrayNoise,
        on_step: Callable[[int], None] | None,
        on_pulse: Callable[..., None] | None,
    ) -> Written:
        """A fresh array after it was programmed."""
        state, weights = fresh_array(crossbar, noise), self.weights[tile.inputs, tile.outputs]
        given = crossbar, self.task, self.policy, state
        more: dict[str, Any] = {"passes": self.passes, "on_step": on_step}
        if self.objective == CELLS_ALONE:
            aim = levelled(for_weights(weights, self.encoding), self.task)
            return write_array(*given, aim, noise, on_pulse=on_pulse, **more)
        more |= {"feedback": Feedback(tolerance=float(np.max(self.task.tolerance_x))), "method": self.objective}
        return write_product(*given, weights, self.encoding, self._fed(tile), noise, **more)

    def _gain(self, tile: Tile, held: np.ndarray) -> np.ndarray:
        """(outputs,) the factors with which weights `held` (rows, outputs) do best, on examples if there are any."""
        wanted, seen = self.weights[tile.inputs, tile.outputs], held
        if self.examples is not None:
            wanted, seen = (self._fed(tile) @ part for part in (wanted, held))
        return best_gain(wanted, seen)

    def _fed(self, tile: Tile) -> np.ndarray:
        """The tile's part of the examples."""
        assert self.examples is not None
        return self.examples[:, tile.inputs]

    def check_memory(self) -> None:
        """Refuses a matrix that does not fit.

        Raises:
            ValueError: with the bytes that are needed and those that are free.
        """
        device, largest = self.crossbar.device, self.array(self.tiles[0])
        cells = largest.rows * largest.cols
        knowledge = self.policy.begin(device.fabricate(np.random.default_rng(0), 1), 1)
        needed = memory_needed(device, cells, largest.write_channels) + COPIES * cells * _bytes(knowledge)
        rows, outputs = self.weights.shape
        needed += 8 * KEPT * rows * self.encoding.columns(outputs)
        what = f"{rows} x {outputs} weights on arrays of {largest.rows} x {largest.cols} cells of {device.name}"
        check_room(needed, what, "take smaller arrays, or program parts of the matrix")


def best_gain(wanted: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(outputs,) the factors of the columns of `seen` (n, outputs) with which they come nearest to `wanted`."""
    power = (seen**2).sum(0)
    return np.where(power > 0, (wanted * seen).sum(0) / np.where(power > 0, power, 1.0), 1.0)


def save(path: Path, result: TileResult) -> None:
    """Write a tile's file, whole or not at all."""
    save_archive(path, {}, result._asdict())


def load(path: Path, sizes: Mapping[str, int] | None = None) -> TileResult:
    """A tile's file; `sizes` are those of the tile, as `Programmer.sizes` has them.

    Raises:
        ValueError: it is damaged, or that of another tile.
    """
    return TileResult(**load_archive(path, "result of a tile", ENTRIES, sizes)[1])


def joined(tiles: tuple[Tile, ...], parts: list[np.ndarray]) -> np.ndarray:
    """The whole of arrays (rows, columns), one for each tile."""
    rows: dict[int, list[np.ndarray]] = {}
    for tile, part in zip(tiles, parts, strict=True):
        rows.setdefault(tile.row, []).append(part)
    return np.concatenate([np.concatenate(line, axis=1) for line in rows.values()])


def _cut(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _bytes(tree: Any) -> int:
    """Of all arrays in a record."""
    sizes = []

    def count(leaf: Any) -> Any:
        sizes.append(getattr(leaf, "nbytes", 8))
        return leaf

    tree_map(count, tree)
    return sum(sizes)
