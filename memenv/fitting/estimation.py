"""The most likely parameters of pulse trains, and what the trains tell of them: errors, intervals, what stays open."""

import math
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from scipy import linalg, stats
from scipy.optimize import minimize

from memenv.devices.device import Device
from memenv.fitting.coordinates import (
    BOUNDS,
    KNOWN_BOUND,
    KNOWN_SMALL,
    LARGEST,
    LEVEL,
    NOISES,
    NUDGE,
    PLACES,
    PLAIN,
    UNDETERMINED,
    Coordinates,
    as_floats,
    leaf,
    values,
)
from memenv.fitting.likelihood import Trains, filtered
from memenv.fitting.noises import NEAR, Adjusted
from memenv.fitting.spread import Spread, kinds, spread_of_offsets

CHANNELS = ("set", "reset", *BOUNDS)  # in which devices differ: doses [ln] and bounds [range]
DOSES, ENDS = 0.5, 0.05  # standard deviations of channels, from which the search for how devices differ begins
OF_POLARITY = ("set.", "gate.stops", "gate.cycle_noise"), ("reset.", "gate.loss")  # names of parameters
REMEMBERED = 3  # points of a likelihood
LEAST = 1e-6  # variance of a kind of difference, for the precision to be finite


@dataclass(frozen=True)
class Estimate:
    """What data tell of parameters; the coordinate of a threshold or bound is its value, of others the logarithm."""

    names: tuple[str, ...]  # of the parameters with errors, as in the record: "set.dose"
    errors: tuple[float, ...]  # standard errors of the coordinates
    intervals: tuple[tuple[float, float], ...]  # 95 %, of the values
    correlation: np.ndarray  # (parameters, parameters) of the coordinates
    undetermined: tuple[str, ...]  # parameters of which data tell next to nothing, those without an error too

    def interval(self, name: str) -> tuple[float, float]:
        """That of one parameter."""
        return self.intervals[self.names.index(name)]

    def select(self, names: tuple[str, ...]) -> "Estimate":
        """That of some parameters."""
        index = [self.names.index(name) for name in names]
        errors, intervals = tuple(self.errors[k] for k in index), tuple(self.intervals[k] for k in index)
        left = tuple(name for name in self.undetermined if name in names or name not in self.names)
        return Estimate(names, errors, intervals, self.correlation[np.ix_(index, index)], left)

    def joined(self, other: "Estimate") -> "Estimate":
        """That of further parameters, too, which nothing ties to these."""
        return Estimate(
            self.names + other.names,
            self.errors + other.errors,
            self.intervals + other.intervals,
            linalg.block_diag(self.correlation, other.correlation),
            self.undetermined + other.undetermined,
        )


class Likeliest(NamedTuple):
    """A device that makes the trains most likely."""

    device: Device
    names: tuple[str, ...]  # free parameters
    known: Estimate
    offsets: np.ndarray  # (4, devices) what each device adds: logarithm of its SET and RESET dose, [range] its bounds
    mismatch: Spread | None  # None of a single device
    criterion: float  # half of Bayes's information criterion: the less, the better


class Likelihood:
    """Minus the logarithm of the likelihood of the trains, its gradient and Fisher's information.

    A point is the coordinates of the free parameters, then the offsets (channels, devices) of devices from what they
    share; a single device has none.
    """

    def __init__(self, coordinates: Coordinates, trains: Trains, offsets: np.ndarray) -> None:
        self.coordinates, self.trains, self.offsets = coordinates, trains, offsets
        self.free, self.devices, names = len(coordinates.names), offsets.shape[1], coordinates.names
        ends = [k for k, name in enumerate(CHANNELS) if name in names]
        self.channels = np.array([0, 1, *ends] if self.devices > 1 else [], int)
        self.centre, spread = coordinates.prior()
        self.hold = spread**-2
        self.polarity = np.where((np.sign(trains.amplitude[1:]) > 0).any(axis=0), 0, 1)  # of each train
        mixed = (self.polarity == 0) & (np.sign(trains.amplitude[1:]) < 0).any(axis=0)
        # Parameters that are nudged together: a train of one polarity knows nothing of the other's.
        up, down = ([k for k, name in enumerate(names) if name.startswith(own)] for own in OF_POLARITY)
        shared = [k for k in range(self.free) if k not in (*up, *down)]
        if self.devices > 1:
            up, down = [*up, self.free], [*down, self.free + 1]
        pairs = list(zip_longest(up, down, fillvalue=-1))
        if mixed.any():
            self.polarity[:], pairs = 0, [(k, k) for pair in pairs for k in pair if k >= 0]
        self.nudges = np.array([*pairs, *((k, k) for k in shared)])
        # Rows of derivatives: the nudge they come from, and the parameter that it is of trains of each polarity.
        rows = list(enumerate(self.nudges.tolist()))
        for place, channel in enumerate(self.channels[2:], 2):  # a device's bound acts like the bound of all
            nudge = next(n for n, pair in rows if pair[0] == names.index(CHANNELS[channel]))
            rows.append((nudge, [self.free + place] * 2))
        self.rows, self.index = np.array([n for n, _ in rows]), np.array([pair for _, pair in rows]).T
        self.own = np.zeros((len(self.channels),) * 2)  # precision of a device's offsets
        self.seen: dict[bytes, tuple[float, np.ndarray, np.ndarray]] = {}

    def start(self) -> np.ndarray:
        """(free + channels devices,) where the search begins."""
        return np.append(self.coordinates.theta(), self.offsets[self.channels])

    def all_offsets(self, point: np.ndarray) -> np.ndarray:
        """(4, devices), those that are not free as they were given."""
        out = self.offsets.copy()
        out[self.channels] = point[self.free :].reshape(len(self.channels), self.devices)
        return out

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the prior of the coordinates and the spread of the offsets included."""
        return self.local(point)[:2]

    def information(self, point: np.ndarray) -> np.ndarray:
        """Expected second derivatives at `point`."""
        return self.local(point)[2]

    def local(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and information with prior and spread; those of the last points are remembered."""
        key = point.tobytes()
        if key not in self.seen:
            value, gradient, fisher, _ = self.scores(point)
            away, offsets = point[: self.free] - self.centre, point[self.free :].reshape(-1, self.devices)
            pull = self.own @ offsets
            hold = linalg.block_diag(np.diag(self.hold), np.kron(self.own, np.eye(offsets.shape[1])))
            value += 0.5 * float(self.hold @ away**2 + (offsets * pull).sum())
            self.seen = dict([*self.seen.items()][1 - REMEMBERED :])
            self.seen[key] = value, gradient + np.concatenate([self.hold * away, pull.ravel()]), fisher + hold
        return self.seen[key]

    def scores(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Value, gradient and information of the trains alone, and the squares of the steps' own gradients.

        These sum up to the information if noise is normal.
        """
        v, width, dv, ds = self._slopes(point)
        value = 0.5 * float((v**2 / width + np.log(width)).sum())
        gradient, (fisher, squares) = np.zeros(len(point)), np.zeros((2, len(point), len(point)))
        slope = (dv * v + 0.5 * ds * (1 - v**2 / width)) / width  # (nudges, steps, trains)
        root, half = dv / np.sqrt(width), ds / (math.sqrt(2) * width)
        for own, polarity in {*zip(self.trains.device.tolist(), self.polarity.tolist(), strict=True)}:
            index = self.index[polarity]
            rows, index = self.rows[index >= 0], index[index >= 0]
            index = np.where(index < self.free, index, self.free + (index - self.free) * self.devices + own)
            mine = (self.trains.device == own) & (self.polarity == polarity)
            parts = [part[rows][:, :, mine].reshape(len(rows), -1) for part in (root, half, slope)]
            gradient[index] += parts[2].sum(axis=1)
            place = np.ix_(index, index)
            fisher[place] += parts[0] @ parts[0].T + parts[1] @ parts[1].T
            squares[place] += parts[2] @ parts[2].T
        return value, gradient, fisher, squares

    def _slopes(self, point: np.ndarray) -> tuple[np.ndarray, ...]:
        """Innovations and variances (steps, trains), and their derivatives (nudges, steps, trains)."""
        count = len(self.nudges)
        theta = np.repeat(point[: self.free, None], count + 1, axis=1)
        own = np.repeat(self.all_offsets(point)[:, None, self.trains.device], count + 1, axis=1)
        for column, pair in enumerate(self.nudges.tolist(), 1):
            for k in {*pair} - {-1}:
                if k < self.free:
                    theta[k, column] += NUDGE
                else:
                    own[k - self.free, column] += NUDGE
        _, _, v, total = filtered(self.coordinates.device(theta[:, :, None]), self.trains, own)
        there = np.isfinite(v[:, :1])
        v, total = np.where(there, v, 0.0), np.where(there, total, 1.0)
        dv, ds = (np.moveaxis(a[:, 1:] - a[:, :1], 1, 0) / NUDGE for a in (v, total))
        return v[:, 0], total[:, 0], dv, ds

    def spread(self, square: np.ndarray) -> None:
        """Give the offsets the squares of the kinds of difference between devices."""
        turn = kinds(len(self.channels))
        self.own = np.linalg.inv(turn * np.maximum(square[: turn.shape[1]], LEAST) @ turn.T)
        self.seen = {}

    def unsure(self, mismatch: Spread) -> None:
        """Give the offsets what is not known of them: the mean of few devices less than a normal distribution tells."""
        self.spread(mismatch.square * (stats.t.ppf(0.975, self.devices - 1) / LEVEL) ** 2)


def fit_trains(
    base: Device, names: tuple[str, ...], trains: Trains, offsets: np.ndarray, bare: bool = False
) -> Likeliest:
    """The most likely parameters `names` of the trains; with several devices also how they differ.

    Args:
        base: where the search begins.
        names: of the free parameters.
        trains: of all devices.
        offsets: (4, devices) where the search for what each device adds begins.
        bare: neither how much devices differ nor bias of noises is of interest.
    """
    coordinates = Coordinates(base, names)
    likelihood = Likelihood(coordinates, trains, offsets)
    devices, mismatch, point = offsets.shape[1], None, likelihood.start()
    if devices > 1:
        likelihood.spread(np.where(np.arange(5) < 2, DOSES, ENDS) ** 2)
    for rounds_left in reversed(range(1 if bare or devices == 1 else 3)):
        point = _least(likelihood, point)
        if devices > 1 and not bare:
            mismatch = _mismatch(likelihood, point, profiles=rounds_left == 0)
            likelihood.spread(mismatch.value**2)
    if not bare:
        adjusted = Adjusted(likelihood, point)
        point = adjusted.point(adjusted.best())
    criterion = likelihood(point)[0] + 0.5 * len(names) * math.log(np.isfinite(trains.reading).sum())
    if mismatch is not None:
        likelihood.unsure(mismatch)
    return Likeliest(
        device=as_floats(coordinates.device(point[: likelihood.free]), coordinates.names),
        names=coordinates.names,
        known=_known(likelihood, point),
        offsets=likelihood.all_offsets(point),
        mismatch=mismatch,
        criterion=criterion,
    )


def _least(likelihood: Likelihood, point: np.ndarray) -> np.ndarray:
    """The point of the least value, found from `point` to a fraction of a standard error in any direction."""

    def near(at: np.ndarray) -> None:
        if _gain(likelihood, at) < NEAR:
            raise StopIteration

    if _gain(likelihood, point) < NEAR:
        return point
    hess, options = likelihood.information, {"gtol": 1e-6, "maxiter": 60, "initial_trust_radius": 1.0}
    search = {"jac": True, "hess": hess, "method": "trust-exact", "options": options, "callback": near}
    found: np.ndarray = minimize(likelihood, point, **search).x
    return found


def _gain(likelihood: Likelihood, point: np.ndarray) -> float:
    """By how much the value is expected to fall yet."""
    gradient = likelihood(point)[1]
    return 0.5 * float(gradient @ np.linalg.solve(likelihood.information(point), gradient))


def _mismatch(likelihood: Likelihood, point: np.ndarray, profiles: bool) -> Spread:
    """The spread of the devices' offsets, what they share integrated out; their likelihood is taken as normal."""
    free = likelihood.free
    _, gradient, fisher, _ = likelihood.scores(point)
    linear = fisher[:, free:] @ point[free:] - gradient
    linear[:free] -= likelihood.hold * (point[:free] - likelihood.centre)
    shared = np.linalg.solve(fisher[:free, :free] + np.diag(likelihood.hold), fisher[:free, free:])
    return spread_of_offsets(
        linear[free:] - shared.T @ linear[:free],
        fisher[free:, free:] - fisher[free:, :free] @ shared,
        likelihood.devices,
        profiles,
    )


def covariance_of(likelihood: Likelihood, point: np.ndarray) -> tuple[np.ndarray, ...]:
    """Values of the free parameters, their covariance from Fisher's information, how much wider errors are, and a turn.

    In units of their errors: values of thresholds and bounds, variances of noises, logarithms of the others. Errors are
    `wider` by the steps' own gradients, as noise with heavy tails tells less; the turn is the derivative of the
    coordinates by these units.
    """
    free, names = likelihood.free, likelihood.coordinates.names
    leaves = [leaf(name) for name in names]
    noises = np.array([own in NOISES for own in leaves])
    _, _, fisher, squares = likelihood.scores(point)
    own = np.kron(likelihood.own, np.eye(likelihood.devices))
    hold = linalg.block_diag(np.diag(np.where(noises, 0.0, likelihood.hold)), own)
    value = np.array(values(likelihood.coordinates.device(point[:free]), names))
    forth = likelihood.coordinates.jacobian(point[:free])
    scale = np.array([1.0 if field in PLAIN else 1 / own for field, own in zip(leaves, value, strict=True)])
    forth *= np.where(noises, 2 * value, scale)[:, None]
    back = linalg.block_diag(np.linalg.inv(forth), np.eye(len(point) - free))
    hold = back.T @ hold @ back
    hold[range(free), range(free)] += [LARGEST[own] ** -4 if own in NOISES else 0.0 for own in leaves]
    covariance = np.linalg.inv(back.T @ fisher @ back + hold)
    robust = covariance @ (back.T @ squares @ back + hold) @ covariance
    wider = np.sqrt(np.maximum(np.diag(robust) / np.diag(covariance), 1.0))
    return value, covariance[:free, :free], wider[:free], back[:free, :free]


def _known(likelihood: Likelihood, point: np.ndarray) -> Estimate:
    """Errors from Fisher's information of the trains and the prior.

    Noises enter as variances, of which a vanishing one has an error too; `profiles.py` has better intervals of them.
    """
    free, names = likelihood.free, likelihood.coordinates.names
    leaves = [leaf(name) for name in names]
    noises = np.array([own in NOISES for own in leaves])
    point = point.copy()
    point[:free] = np.maximum(point[:free], likelihood.coordinates.faint())
    value, covariance, wider, back = covariance_of(likelihood, point)
    covariance = wider[:, None] * covariance * wider
    errors = np.sqrt(np.diag(covariance))
    coordinate = np.sqrt(np.diag(back @ covariance @ back.T))
    correlation = covariance / np.outer(errors, errors)
    low, high = -LEVEL * errors, LEVEL * errors
    plain = np.array([own in PLAIN for own in leaves])
    factors = [np.exp(np.clip(np.where(noises, 0.0, end), -40.0, 40.0)) for end in (low, high)]
    ends = [np.where(plain, value + end, value * factor) for end, factor in zip((low, high), factors, strict=True)]
    roots = [np.sqrt(np.maximum(value**2 + end, 0.0)) for end in (low, high)]
    intervals = np.column_stack([np.where(noises, *pair) for pair in zip(roots, ends, strict=True)])
    small = np.array([KNOWN_SMALL.get(own, 0.0) for own in leaves])
    vague = np.array([KNOWN_BOUND if own in PLACES else UNDETERMINED for own in leaves])
    undetermined = ~noises & (coordinate > vague) & (errors * value > small)
    errors[noises] = np.log(intervals[noises, 1] / value[noises]) / LEVEL
    return Estimate(
        names,
        tuple(map(float, errors)),
        tuple((float(low), float(high)) for low, high in intervals),
        correlation,
        tuple(name for name, unsure in zip(names, undetermined, strict=True) if unsure),
    )
