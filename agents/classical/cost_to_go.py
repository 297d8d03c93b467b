"""The pulses still to come: what a cell costs after a pulse, by the distance left and by what is left unknown.

For a known device, a pulse aimed at a fraction a of the distance e (in tolerances) leaves

    e' = e - a e exp(sigma z - sigma^2 / 2) + sqrt(additive a e) z'

and is then read with noise; inside the tolerance the cell is done, else it costs another pulse. Value iteration gives
the least expected number of pulses. In the table sigma is uncertain for the next pulse alone, whose read tells it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy.special import ndtri

DISTANCES, SIGMAS = 120, 24  # columns and rows of the table, both logarithmic
NEAREST = 0.02  # [tolerances] the least distance tabulated
SIGMA_RANGE = (0.005, 4.0)  # [ln]
SWEEPS = 40  # of value iteration; a pulse in three or more hits, so that the rest is negligible


@cache
def normals(count: int, salt: int = 0) -> np.ndarray:
    """`count` equally likely standard normal quantiles, ascending or in an order of the `salt`'s own; read-only."""
    values = ndtri((np.arange(count) + 0.5) / count)
    values = np.random.default_rng(salt).permutation(values) if salt else values
    values.setflags(write=False)
    return values


@dataclass(frozen=True, kw_only=True)
class CostToGo:
    """Expected further pulses of a cell that was just pulsed and not yet read."""

    cycle_noise: float  # [ln] standard deviation of a dose of the known device
    additive: float  # [tolerances] variance added per distance travelled
    read_noise: float  # [tolerances]
    farthest: float  # [tolerances] the largest distance tabulated

    def __call__(self, distance: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Expected further pulses at distances [tolerances], the next dose uncertain by `sigma` [ln]; of one shape."""
        low, high = SIGMA_RANGE
        column = np.minimum(self._place(distance) + 0.5, DISTANCES - 1).astype(int)
        row = (SIGMAS - 1) / np.log(high / low) * np.log(np.clip(sigma, low, high) / low) + 0.5
        found: np.ndarray = self.table.ravel().take(row.astype(int) * DISTANCES + column)
        return found

    @cached_property
    def table(self) -> np.ndarray:
        """(SIGMAS, DISTANCES) expected further pulses."""
        value, known = np.ones(DISTANCES), self._outlook(self.cycle_noise)
        for _ in range(SWEEPS):
            value = known(self._missed(value))
        later = self._missed(value)
        return np.array([self._missed(self._outlook(sigma)(later)) for sigma in np.geomspace(*SIGMA_RANGE, SIGMAS)])

    @cached_property
    def _grid(self) -> np.ndarray:
        return np.geomspace(NEAREST, self.farthest, DISTANCES)

    def _place(self, distance: np.ndarray) -> np.ndarray:
        """Column (real, >= 0) of distances [tolerances]."""
        scale = (DISTANCES - 1) / np.log(self.farthest / NEAREST)
        first: np.ndarray = scale * np.log(np.maximum(distance, NEAREST) / NEAREST)
        return first

    def _missed(self, value: np.ndarray) -> np.ndarray:
        """`value` (DISTANCES,) where the read is outside, nothing where it is inside."""
        missed: np.ndarray = value * np.mean(np.abs(self._grid[:, None] + self.read_noise * normals(31)) > 1.0, axis=1)
        return missed

    def _outlook(self, sigma: float) -> Callable[[np.ndarray], np.ndarray]:
        """The cost before one more pulse, as well aimed as can be, of a cost (DISTANCES,) after it."""
        aims = np.concatenate([[0.0], np.geomspace(0.03, 1.0, 22), [1.15, 1.3]])
        distance = self._grid[:, None, None]
        travel = distance * aims[:, None]
        travelled = travel * np.exp(sigma * normals(48, 1) - sigma**2 / 2)
        left = distance - travelled + np.sqrt(self.additive * travel) * normals(48, 2)
        place = np.minimum(self._place(np.abs(left)), DISTANCES - 1.001)
        low = place.astype(int)
        part = place - low
        return lambda cost: 1.0 + ((1 - part) * cost[low] + part * cost[low + 1]).mean(axis=2).min(axis=1)
