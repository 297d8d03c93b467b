"""The error of an array's matrix product, and the cells that it comes from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from memenv.bounds import MANY, whole
from memenv.crossbars.crossbar import Crossbar, CrossbarState
from memenv.envs.task import Draw, NormalDraw, TaskError, UniformDraw


class ProductError(NamedTuple):
    """Errors of a product, in units in which independent errors of the cells keep their size."""

    columns: np.ndarray  # (arrays, cols) [range] root mean square over the inputs
    gradient: np.ndarray  # (arrays, rows, cols) [range] of half the mean squared error, by the cells

    @property
    def total(self) -> np.ndarray:
        """(arrays,) [range] root mean square over inputs and columns."""
        total: np.ndarray = np.sqrt((self.columns**2).mean(1))
        return total


@dataclass(frozen=True, kw_only=True)
class ProductTest:
    """Inputs that are multiplied with arrays: fresh random ones each time, or the same.

    Raises:
        TaskError: inputs that are no number of them and no matrix of voltages.
    """

    array: Crossbar
    inputs: Any  # so many, uniform in what reads apply (of both signs if the DAC has them), or (n, rows) [V]

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, tuple | list | np.ndarray):
            whole("inputs", self.inputs, 1, MANY, TaskError, "or a matrix [V]")
            return
        rows = self.array.rows
        try:
            matrix = np.asarray(self.inputs)
        except ValueError:
            raise TaskError(f"inputs is no matrix: its rows differ in length, each needs {rows} numbers") from None
        if matrix.dtype.kind not in "fiu" or matrix.ndim != 2 or matrix.shape[1] != rows or not len(matrix):
            raise TaskError(f"inputs have the shape {matrix.shape}, a whole number or a matrix (n, {rows}) is needed")
        if not np.isfinite(matrix).all() or not matrix.any():
            raise TaskError("inputs are all zero, or some are NaN or infinite; finite voltages are needed")

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        """Noise of one product: of both converters, and the inputs if they are random."""
        rows, cols = self.array.shape
        n = self.inputs if self._given is None else len(self._given)
        converters = NormalDraw((), (n, rows)), NormalDraw((), (n, cols))
        return converters if self._given is not None else (*converters, UniformDraw((), (n, rows)))

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """[range] what `columns` and `gradient` can come to for errors of the cells of one range."""
        largest = self._span[1] if self._given is None else float(np.abs(self._given).max())
        peak = largest / self._voltage
        return np.sqrt(self.array.rows) * peak, self.array.rows * peak**2

    def run(
        self, state: CrossbarState, target: np.ndarray, noise: tuple[np.ndarray, ...]
    ) -> tuple[CrossbarState, ProductError]:
        """The state after one product, its time and energy counted, and its error.

        Args:
            state: of the arrays.
            target: (arrays, rows, cols) [S].
            noise: as `draws` says.
        """
        array, n = self.array, noise[0].shape[1]
        if self._given is None:
            low, high = self._span
            inputs = low + (high - low) * noise[2]
        else:
            inputs = np.broadcast_to(self._given, noise[0].shape)
        error = (array.product(state, inputs, (noise[0], noise[1])) - inputs @ target) / (self._voltage * self._size)
        seconds = n * (state.chip.read.duration + 0.0 * target).max((1, 2))
        state = array.rest(state, seconds[:, None, None])._replace(
            energy=state.energy + array.product_energy(state, inputs),
            latency=state.latency + seconds,
            sequential=state.sequential + seconds,
        )
        columns = np.sqrt((error**2).mean(1) / array.rows)
        return state, ProductError(columns, inputs.swapaxes(1, 2) @ error / (n * self._voltage))

    @cached_property
    def _given(self) -> np.ndarray | None:
        return None if isinstance(self.inputs, int | np.integer) else np.array(self.inputs, float)

    @cached_property
    def _span(self) -> tuple[float, float]:
        """[V] of random inputs."""
        most = float(np.ravel(self.array.device.read.voltage)[0])
        return (-most if self.array.dac.signed else 0.0), most

    @cached_property
    def _voltage(self) -> float:
        """[V] root mean square of the inputs."""
        return self._span[1] / np.sqrt(3.0) if self._given is None else float(np.sqrt((self._given**2).mean()))

    @cached_property
    def _size(self) -> float:
        """[S] of the range, in the mean of the devices."""
        return float(np.mean(self.array.device.g_max - self.array.device.g_min))
