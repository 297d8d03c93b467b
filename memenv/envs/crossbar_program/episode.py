"""The episode of an array."""

from typing import NamedTuple

import numpy as np

from memenv.crossbars.crossbar import CrossbarState
from memenv.envs.crossbar_program.actions import Maps
from memenv.envs.crossbar_program.product import ProductError

Float = np.ndarray  # (arrays,) float64


class Seen(NamedTuple):
    """The last reads and products, and the truth; (arrays, rows, cols) unless said otherwise."""

    reading: Maps  # [range] last read of each cell
    within: Maps  # bool, it lies within the tolerance
    true: Maps  # [S] conductance
    false: Maps  # bool, within by its read and not in truth
    product: ProductError | None = None  # only with objective="product"


class ArrayEpisode(NamedTuple):
    """Everything about the arrays' current episodes."""

    state: CrossbarState
    target: Maps  # [range]
    seen: Seen
    signal: Maps  # of each cell's last pulse, as in an action, 0 before the first
    log_width: Maps  # of it
    steps: Float  # (arrays,)
    terms: dict[str, Maps]  # of the last step's reward, by name; their means over the cells
