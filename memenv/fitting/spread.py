"""Mismatch: restricted maximum likelihood of the spread of what each device adds to what all share."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, stats
from scipy.optimize import minimize

from memenv.fitting.coordinates import LEVEL

DOSE, BOUND = 0.1, 0.03  # [ln], [range] scales
GRID = np.concatenate([[0.0], np.geomspace(0.02, 40.0, 24)])  # of scales, where profiles are taken
UNLIKELY = -6.0  # logarithm, below which a profile is followed no further


class Spread(NamedTuple):
    """Standard deviations of the kinds of difference between devices: those of `kinds`."""

    value: np.ndarray  # (kinds,) restricted maximum likelihood
    intervals: np.ndarray  # (kinds, 2) 95 %
    square: np.ndarray  # (kinds,) expected squares, for the errors of what the devices share

    def scaled(self, factor: float) -> "Spread":
        """With bounds in other units."""
        own = np.where(np.arange(len(self.value)) < 2, 1.0, factor)
        return Spread(self.value * own, self.intervals * own[:, None], self.square * own**2)


def kinds(channels: int) -> np.ndarray:
    """(channels, kinds) of SET and RESET dose from rate and asymmetry, of bounds from their own and a common shift."""
    turn = linalg.block_diag([[1.0, 1.0], [1.0, -1.0]], np.eye(channels - 2))
    return np.column_stack([turn, [0, 0, 1, 1]]) if channels == 4 else turn


def spread_of_offsets(h: np.ndarray, precision: np.ndarray, devices: int, profiles: bool = True) -> Spread:
    """The spread of offsets b (channels devices,) of likelihood exp(h b - b H b / 2), SET and RESET doses first.

    With b normal of covariance S it is |1 + H S|^(-1/2) exp(h S (1 + H S)^-1 h / 2). Intervals are those of the
    profile, zero included; without `profiles` there are none.
    """
    turn = kinds(len(h) // devices)
    scale = np.where(np.arange(turn.shape[1]) < 2, DOSE, BOUND)
    whole = np.kron(turn * scale, np.eye(devices))
    h, precision, one = whole.T @ h, whole.T @ precision @ whole, np.eye(whole.shape[1])

    def evidence(square: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the logarithm, and its gradient by the squares (kinds,) [scales^2]."""
        inner = one + precision * np.repeat(square, devices)
        away, rest = np.linalg.solve(inner, h), np.linalg.solve(inner, precision)
        value = 0.5 * float(np.linalg.slogdet(inner)[1] - (h * np.repeat(square, devices)) @ away)
        return value, 0.5 * (np.diag(rest) - away**2).reshape(-1, devices).sum(axis=1)

    def best(start: np.ndarray, fixed: int | None = None) -> tuple[float, np.ndarray]:
        """The least of `evidence` from `start`, one square held fixed if wanted."""
        bounds = [(0.0, GRID[-1] ** 2) if k != fixed else (start[k],) * 2 for k in range(len(scale))]
        found = minimize(evidence, start, jac=True, bounds=bounds, method="L-BFGS-B")
        return float(found.fun), found.x

    least, top = best(np.ones(len(scale)))
    value = scale * np.sqrt(top)
    value[value < 1e-2 * scale] = 0.0
    intervals, square = np.zeros((len(scale), 2)), np.zeros(len(scale))
    lowest, highest = -0.5 * LEVEL**2, _upper_limit(devices - 1)
    for kind in range(len(scale) if profiles else 0):
        profile, peak = np.full(len(GRID), -np.inf), int(np.abs(GRID - np.sqrt(top[kind])).argmin())
        for way in (range(peak, len(GRID)), range(peak - 1, -1, -1)):
            for k in way:
                start = top.copy()
                start[kind] = GRID[k] ** 2
                profile[k] = least - best(start, kind)[0]
                if profile[k] < UNLIKELY:
                    break
        peak = int(profile.argmax())
        if profile[0] < lowest:
            intervals[kind, 0] = np.interp(lowest, np.maximum(profile, UNLIKELY)[: peak + 1], GRID[: peak + 1])
        intervals[kind, 1] = np.interp(-highest, -np.maximum(profile, UNLIKELY)[peak:], GRID[peak:])
        sigma = scale[kind] * GRID
        weights = np.gradient(GRID) * np.exp(profile - 0.5 * sigma**2)  # of doses above e times apart is unlikely
        square[kind] = weights @ sigma**2 / weights.sum()
    return Spread(value, scale[:, None] * intervals, square)


def _upper_limit(freedom: int) -> float:
    """The profile [ln] at the exact upper end, 97.5 %, for a variance of so many degrees of freedom.

    Few devices may be alike by chance: of two, a profile that has fallen by 1.9 ends five times too early.
    """
    ratio = freedom / stats.chi2.ppf(0.025, freedom)
    return -0.5 * freedom * float(np.log(ratio) + 1 / ratio - 1)
