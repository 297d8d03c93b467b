"""Hidden units on the columns whose devices suit them: their order is free, and a test of the chip tells columns apart.

The test drives every device to both bounds and reads it there. What the devices of a weight can give together is its
window; units go where least of their weights lies outside, squared (an assignment problem).
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment

from memenv.arrays import Array, constant, tree_map
from memenv.learning.layers import Layer
from memenv.learning.writing import UNCOUNTED, Spent, driven_to_bounds


def placed(layer: Layer, weights: Array, normal: Callable[..., Array]) -> tuple[Layer, Spent]:
    """The layer with its columns in the order of the units that they suit, and what the test took of each task's chip.

    A layer whose devices or units are all alike comes back as it was. Cells are taken to be as they were before the
    test. NumPy or torch.

    Args:
        layer: fresh cells (tasks, rows, outputs, devices) of pairs.
        weights: (..., rows, outputs) that are going to be written.
        normal: of a shape, standard normal noise.
    """
    wanted = np.asarray(constant(weights / layer.scale), np.float32)
    if not (np.ndim(layer.chip.x_lo) or np.ndim(layer.chip.x_hi)) or np.all(wanted == wanted[..., :1]):
        return layer, UNCOUNTED
    bounds, spent = driven_to_bounds(layer, normal)
    low, high = (np.asarray(constant(part), np.float32) for part in bounds)
    plus = np.arange(layer.shape[-1]) < layer.plus
    least, most = layer.fan_in(np.where(plus, low, high)), layer.fan_in(np.where(plus, high, low))
    order = np.stack([*map(_assigned, np.broadcast_to(wanted, least.shape), least, most)])
    tasks = np.arange(len(order))[:, None]

    def moved(leaf: Array) -> Array:
        whole = np.ndim(leaf) == 4 and tuple(leaf.shape[1:]) == layer.shape
        return leaf[tasks, :, order].swapaxes(1, 2) if whole else leaf

    return tree_map(moved, layer), spent


def _assigned(wanted: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """(outputs,) the column of each unit, of weights and windows (rows, outputs)."""
    outside = [((np.clip(unit[:, None], least, most) - unit[:, None]) ** 2).sum(0) for unit in wanted.T]
    columns: np.ndarray = linear_sum_assignment(outside)[1]
    return columns
