"""Intervals by the profile of the likelihood, for parameters whose likelihood is not normal that far.

Dose, gamma and margin follow one another along a valley that bends, and a threshold close to the lowest amplitude is
known better above than below. From the estimate, the most likely point for each value of a parameter is followed until
the likelihood has fallen by as much as at the ends of the interval of its standard error, were it normal.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from memenv.fitting.coordinates import LARGEST, LEVEL, NUDGE, PLAIN, UNDETERMINED, Coordinates, leaf, nudged, values
from memenv.fitting.estimation import Estimate, Likeliest, Likelihood, covariance_of
from memenv.fitting.likelihood import Trains
from memenv.fitting.noises import Adjusted

STEP = 0.7  # of a standard error, from one point of a profile to the next
ROUNDS = 20  # points, at most
ASTRAY = 2.0  # times its length, by which the root of the fall grows where a step was too long
FAR = 3.0  # [coordinate] from the estimate: the data do not determine the parameter
SHAPED = ("dose", "gamma", "margin", "kappa", "threshold", "slope")

Local = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]  # value, gradient, second derivatives at a point
Measure = Callable[[np.ndarray], tuple[float, np.ndarray]]  # value and gradient


def with_profiles(likeliest: Likeliest, trains: Trains) -> Estimate:
    """What is known of the parameters, with profiles for those of the laws that the data determine."""
    likelihood = Likelihood(Coordinates(likeliest.device, likeliest.names), trains, likeliest.offsets)
    if likeliest.mismatch is not None:
        likelihood.unsure(likeliest.mismatch)
    known = likeliest.known
    intervals, errors, vague = list(known.intervals), list(known.errors), list(known.undetermined)
    for k, name in enumerate(known.names):
        if leaf(name) in SHAPED and name not in known.undetermined:
            intervals[k] = low, high = _interval(likelihood, k, known.errors[k])
            wide = np.ptp([likelihood.coordinates.of(name, value) for value in (low, high)]) / (2 * LEVEL)
            vague += [name] * bool(wide > UNDETERMINED)
    point, noises = likelihood.start(), [k for k, name in enumerate(known.names) if name.endswith("noise")]
    _, _, wider, _ = covariance_of(likelihood, point)
    found = Adjusted(likelihood, point).intervals([known.names[k] for k in noises], wider[noises])
    for k, (low, high) in zip(noises, found, strict=True):
        (value,) = values(likeliest.device, (known.names[k],))
        intervals[k] = low, high = min(low, value), max(high, value)
        errors[k] = math.log(high / value) / LEVEL
        vague += [known.names[k]] * bool(low == 0 and high > LARGEST[leaf(known.names[k])])
    vague += [
        name for name in known.names if name.endswith("threshold") and name.replace("threshold", "slope") in vague
    ]
    return dataclasses.replace(
        known, errors=tuple(errors), intervals=tuple(intervals), undetermined=tuple(dict.fromkeys(vague))
    )


def _interval(likelihood: Likelihood, k: int, error: float) -> tuple[float, float]:
    """That of the value of parameter `k`, of this standard error; noises stay as they are."""
    coordinates, free = likelihood.coordinates, likelihood.free
    name, plain, point = coordinates.names[k], leaf(coordinates.names[k]) in PLAIN, likelihood.start()
    rest = [j for j in range(len(point)) if j >= free or "noise" not in coordinates.names[j]]
    straight = np.append(coordinates.straight(point[:free]), point[free:])

    def bent(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The point, and its derivatives (parameters, rest)."""
        whole, turn = straight.copy(), np.eye(len(point))
        whole[rest] = at
        moved = coordinates.straight(nudged(whole[:free]), -1)
        turn[:free, :free] = (moved[:, 1:] - moved[:, :1]) / NUDGE
        return np.append(moved[:, 0], whole[free:]), turn[:, rest]

    def local(at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        whole, turn = bent(at)
        height, gradient, curved = likelihood.local(whole)
        return height, turn.T @ gradient, turn.T @ curved @ turn

    def measure(at: np.ndarray) -> tuple[float, np.ndarray]:
        whole, turn = bent(at)
        (value,) = values(coordinates.device(whole[:free]), (name,))
        slope = coordinates.jacobian(whole[:free])[k] @ turn[:free]
        return (float(value), slope) if plain else (math.log(value), slope / value)

    low, high = (end(local, straight[rest], measure, way, error) for way in (-1, 1))
    return (low, high) if plain else (math.exp(low), math.exp(high))


def end(likelihood: Local, point: np.ndarray, measure: Measure, way: int, error: float) -> float:
    """The end of the 95 % interval of a measure of the parameters.

    Args:
        likelihood: minus its logarithm, near any point; its gradient at `point` is taken off, which is the estimate.
        point: (parameters,) the estimate.
        measure: of the parameters.
        way: 1 the upper end, -1 the lower one.
        error: standard error of the measure.
    """
    least, tilt, curved = likelihood(point)
    begin, slope = measure(point)
    last = LEVEL * error / math.sqrt(float(slope @ np.linalg.solve(curved, slope)))  # root of twice the fall
    at, step, length = point, np.zeros(len(point)), STEP
    place, root = [begin], [0.0]
    for _ in range(ROUNDS):
        height, gradient, curved = likelihood(at)
        rise, gradient = height - least - float(tilt @ (at - point)), gradient - tilt
        value, slope = measure(at)
        now = math.sqrt(2 * max(rise, 0.0))
        if not (now < root[-1] + ASTRAY * length and way * (value - place[-1]) >= 0):
            at, step, length = at - step / 2, step / 2, length / 2
            continue
        place.append(value)
        root.append(now)
        if now >= last or abs(value - begin) > FAR:
            break
        back, along = np.linalg.solve(curved, np.column_stack([gradient, slope])).T
        size = float(slope @ along)
        back -= along * float(slope @ back) / size  # towards the most likely point of the same measure
        length = min(2 * length, STEP)
        step = way * length * along / math.sqrt(size) - back
        at = at + step
    found = float(np.interp(last, np.maximum.accumulate(root[-2:]), place[-2:]))
    return way * max(way * found, way * (begin + way * LEVEL * error))
