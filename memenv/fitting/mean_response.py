"""The mean response of one polarity: shape and parameters by least squares on single steps, or on stretches of them."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares, nnls

from memenv.devices.device import Device
from memenv.devices.law import Response, equivalent_pulses, move
from memenv.fitting.coordinates import NUDGE, Coordinates, as_floats, nudged
from memenv.fitting.likelihood import reachable

# Whether steps grow, and what a response has beside dose and gamma.
Shape = tuple[bool, tuple[str, ...]]
SHAPES: tuple[Shape, ...] = (
    (False, ("margin",)),
    (True, ("margin",)),
    (False, ("margin", "kappa")),
    (True, ("margin", "kappa")),
)
CLOSE = 12.0  # of the information criterion: shapes that only the likelihood of the trains can tell apart


class Single(NamedTuple):
    """Steps of one polarity, each of one pulse or of a stretch of pulses in a row; arrays (steps,) or (pulses,)."""

    before: np.ndarray  # (steps,) [range]
    after: np.ndarray  # (steps,) [range]
    x_lo: np.ndarray  # (steps,) [range]
    x_hi: np.ndarray  # (steps,) [range]
    rate: np.ndarray  # (steps,) [1] of the device's own dose
    amplitude: np.ndarray  # (pulses,) [V] signed; of other polarities, too
    width: np.ndarray  # (pulses,) [s]
    first: np.ndarray  # (steps,) index of the first pulse of the step
    last: np.ndarray  # (steps,) that of the last

    def select(self, steps: np.ndarray) -> "Single":
        """Some of the steps, by a mask."""
        own = ("before", "after", "x_lo", "x_hi", "rate", "first", "last")
        return self._replace(**{name: getattr(self, name)[steps] for name in own})


def predict(device: Device, steps: Single, up: bool) -> np.ndarray:
    """State (..., steps) [range] after the noise-free step of a polarity; pulses in a row are one flow."""
    law = reachable(device.law(np.array(up)), steps.x_lo, steps.x_hi)
    amplitude, width = (np.nan_to_num(np.abs(pulses)) for pulses in (steps.amplitude, steps.width))
    n = np.cumsum(equivalent_pulses(law, amplitude, width), axis=-1)
    n = np.concatenate([0 * n[..., :1], n], axis=-1)
    s = law.dose * steps.rate * (n[..., steps.last + 1] - n[..., steps.first])
    return np.asarray(move(law, steps.before, steps.x_lo, steps.x_hi, np.array(up), s))


def fit_mean(
    base: Device,
    polarity: str,
    steps: Single,
    free: tuple[str, ...],
    shapes: tuple[Shape, ...] = SHAPES,
    close: float = CLOSE,
) -> list[Response]:
    """Responses of one polarity with the least squares of its steps, one for each shape that may be the right one.

    The best comes first: that with the least Bayesian information criterion; the others are within `close` of it.
    """
    pulses = float(np.mean(steps.last - steps.first + 1))
    size = np.abs(steps.after - steps.before).mean() / pulses
    count = len(steps.before) / pulses  # that do not overlap
    u = np.clip(steps.before - steps.x_lo, 0, 1) if polarity == "reset" else np.clip(steps.x_hi - steps.before, 0, 1)
    found: list[tuple[float, Response]] = []
    for growing, shape in shapes:
        names = tuple(f"{polarity}.{name}" for name in ("dose", "gamma", *shape, *free))
        costs = []
        for gamma in (0.3, 1.0):
            start = dataclasses.replace(
                getattr(base, polarity),
                dose=size / np.mean(((1 - u if growing else u) + 0.1) ** gamma),
                gamma=gamma,
                growing=growing,
                margin=0.1 if "margin" in shape else 0.0,
                kappa=0.3 if "kappa" in shape else 0.0,
            )
            costs.append(_least_squares(Coordinates(base.replace(**{polarity: start}), names), steps, polarity))
        cost, device = min(costs, key=lambda pair: pair[0])
        criterion = count * math.log(max(cost, 1e-30)) + len(names) * math.log(count)
        found.append((criterion, getattr(device, polarity)))
    found.sort(key=lambda pair: pair[0])
    return [response for criterion, response in found if criterion < found[0][0] + close]


def _least_squares(coordinates: Coordinates, steps: Single, polarity: str) -> tuple[float, Device]:
    """Sum of squared errors and the device that has the least."""
    scale = np.abs(steps.after - steps.before).mean() + 1e-12

    def error(theta: np.ndarray) -> np.ndarray:
        return (predict(coordinates.device(theta[..., None]), steps, polarity == "set") - steps.after) / scale

    def slope(theta: np.ndarray) -> np.ndarray:
        moved = error(nudged(theta))
        return (moved[1:] - moved[0]).T / NUDGE

    low, high = coordinates.limits()
    found = least_squares(error, np.clip(coordinates.theta(), low + 1e-3, high - 1e-3), slope, (low, high), max_nfev=60)
    return 2 * found.cost, as_floats(coordinates.device(found.x), coordinates.names)


def split_noise(residual: np.ndarray, mean: np.ndarray) -> tuple[float, float, float]:
    """Multiplicative [1], additive and read noise [range] of steps (steps, trains); NaN where a train has ended.

    Read noise from the covariance of successive residuals, which is minus its variance; the two kinds of cycle noise
    from how the rest grows with the mean step.
    """
    pairs = residual[1:] * residual[:-1]
    read = max(-float(np.nanmean(pairs)), 0.0) if np.isfinite(pairs).any() else 0.0
    there = np.isfinite(residual)
    columns = np.column_stack([mean[there] ** 2, np.ones(there.sum())])
    relative, additive = nnls(columns, np.maximum(residual[there] ** 2 - 2 * read, -1.0))[0]
    return math.sqrt(relative), math.sqrt(additive), math.sqrt(read)
