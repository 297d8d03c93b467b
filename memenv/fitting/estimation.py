"""The search for a device record: free coordinates, least squares on single steps, maximum likelihood on trains."""

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import linalg, stats
from scipy.optimize import least_squares, minimize, nnls

from memenv.arrays import Array
from memenv.devices.device import Device
from memenv.devices.law import GAMMAS, SPREADS, Response, equivalent_pulses, move
from memenv.fitting.likelihood import Trains, filtered, reachable

POLARITIES = ("set", "reset")
# Whether steps grow, and what a response has beside dose and gamma.
Shape = tuple[bool, tuple[str, ...]]
SHAPES: tuple[Shape, ...] = (
    (False, ("margin",)),
    (True, ("margin",)),
    (False, ("margin", "kappa")),
    (True, ("margin", "kappa")),
)
CLOSE = 12.0  # of the information criterion: shapes that only the likelihood of the trains can tell apart
CEILING = {"gamma": GAMMAS[1], "cycle_noise": SPREADS[1]}
LIMITS = {
    "dose": (-18.0, 40.0),
    "gamma": (-6.7, 2.5),
    "margin": (-9.0, 0.7),
    "kappa": (-7.0, 7.0),
    "threshold": (-5.0, 5.0),
}
# Stated ignorance: centre and standard deviation of a weak normal prior on each coordinate, None for where it begins.
PRIOR: dict[str, tuple[float | None, float]] = {
    "dose": (None, 5.0),
    "gamma": (-1.95, 2.0),  # about one
    "margin": (-2.3, 2.5),  # about a tenth of the range
    "kappa": (0.0, 2.0),
    "threshold": (0.0, 1.5),  # about half the amplitude
    "slope": (None, 1.5),
    "memory": (None, 1.5),
}
VAGUE = 3.0  # standard deviation of the prior of the others, the noises
UNDETERMINED = 0.75  # standard error of a coordinate, above which data are said not to determine the parameter ...
KNOWN_SMALL = {"gamma": 0.3, "margin": 0.03}  # ... unless the error of its value is below this
LARGEST = {"cycle_noise": 1.5, "additive_noise": 0.3, "noise": 0.3, "wander": 0.3}  # prior on a noise, as variance
FAINT = {"cycle_noise": 2e-3, "additive_noise": 2e-5, "noise": 2e-5, "wander": 1e-4}  # noises below are as good as none
NOISES = tuple(FAINT)
PLAIN = ("threshold", "x_lo", "x_hi")  # parameters whose errors are not those of a logarithm
LEVEL = 1.96  # standard errors that hold 95 %
NUDGE = 1e-5  # of a coordinate, for derivatives by difference
FEW = 8  # trains, below which one pass for both polarities costs less than one each


@dataclass(frozen=True)
class Coordinates:
    """Parameters of a device as free real numbers: logarithms, or logits of a limited range."""

    base: Device  # what is not free
    names: tuple[str, ...]  # e.g. "set.dose", "read.noise"

    def device(self, theta: np.ndarray) -> Device:
        """The record at `theta` (parameters, ...); its free parameters are arrays of the trailing shape."""
        changed: dict[str, dict[str, Array]] = {}
        for name, value in zip(self.names, theta, strict=True):
            part, leaf = name.split(".")
            group = changed.setdefault(part, {})
            limit = self._limit(part, leaf, group.get("margin"))
            group[leaf] = np.exp(value) if limit is None else limit / (1 + np.exp(-value))
        parts = {part: dataclasses.replace(getattr(self.base, part), **group) for part, group in changed.items()}
        return self.base.replace(**parts)

    def theta(self) -> np.ndarray:
        """(parameters,) where the base itself stands."""
        return np.array([self.of(*own) for own in zip(self.names, values(self.base, self.names), strict=True)])

    def faint(self) -> np.ndarray:
        """(parameters,) coordinates of noises that are as good as none; the others have no least."""
        least = ((name, FAINT.get(name.split(".")[1])) for name in self.names)
        return np.array([-np.inf if value is None else self.of(name, value) for name, value in least])

    def of(self, name: str, value: float) -> float:
        """The coordinate of a value."""
        limit = self._limit(*name.split("."))
        return math.log(max(value, 1e-9)) if limit is None else _logit(value / limit)

    def _limit(self, part: str, leaf: str, margin: Array | None = None) -> Array | None:
        """The value that a parameter stays below, None where there is none."""
        if leaf == "kappa":
            return 0.999 / (1 + (getattr(self.base, part).margin if margin is None else margin))
        return getattr(self.base, part).amplitude if leaf == "threshold" else CEILING.get(leaf)

    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """(parameters,) centre and standard deviation of what is assumed before the data."""
        centres, spreads = zip(*(PRIOR.get(name.split(".")[1], (None, VAGUE)) for name in self.names), strict=True)
        start = zip(self.theta(), centres, strict=True)
        return np.array([own if centre is None else centre for own, centre in start]), np.array(spreads)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """(parameters,) lowest and highest coordinates."""
        low, high = zip(*(LIMITS.get(name.split(".")[1], (-21.0, 3.0)) for name in self.names), strict=True)
        return np.array(low), np.array(high)

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """(parameters, parameters) derivative of the values by the coordinates."""
        moved = values(self.device(nudged(theta)), self.names)
        return np.stack([row[1:] - row[0] for row in moved]) / NUDGE


def values(device: Device, names: tuple[str, ...]) -> list[Array]:
    """The parameters of a device by their dotted names."""
    return [getattr(getattr(device, name.split(".")[0]), name.split(".")[1]) for name in names]


def _logit(share: float) -> float:
    share = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))


def nudged(theta: np.ndarray) -> np.ndarray:
    """(n, n + 1): theta, and theta with each coordinate nudged in turn."""
    return np.column_stack([theta, theta[:, None] + NUDGE * np.eye(len(theta))])


# -- mean response -----------------------------------------------------------------------------------------------------


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


def as_floats(device: Device, names: tuple[str, ...]) -> Device:
    """The record with plain floats."""
    for name, value in zip(names, values(device, names), strict=True):
        part, leaf = name.split(".")
        device = device.replace(**{part: dataclasses.replace(getattr(device, part), **{leaf: float(value)})})
    return device


def split_noise(residual: np.ndarray, mean: np.ndarray) -> tuple[float, float, float]:
    """Multiplicative [1], additive and read noise [range] of steps (steps, trains); NaN where a train has ended.

    Read noise from the covariance of successive residuals, which is minus its variance; the two kinds of cycle noise
    from how the rest grows with the mean step.
    """
    read = max(-float(np.nanmean(residual[1:] * residual[:-1])), 0.0)
    there = np.isfinite(residual)
    columns = np.column_stack([mean[there] ** 2, np.ones(there.sum())])
    relative, additive = nnls(columns, np.maximum(residual[there] ** 2 - 2 * read, -1.0))[0]
    return math.sqrt(relative), math.sqrt(additive), math.sqrt(read)


# -- whole trains ------------------------------------------------------------------------------------------------------


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


class Spread(NamedTuple):
    """Standard deviations of the devices' doses, rate and asymmetry [ln]."""

    value: np.ndarray  # (2,) restricted maximum likelihood
    intervals: np.ndarray  # (2, 2) 95 %
    square: np.ndarray  # (2,) expected squares, for the errors of what the devices share


class Likeliest(NamedTuple):
    """A device that makes the trains most likely."""

    device: Device
    names: tuple[str, ...]  # free parameters
    known: Estimate
    offsets: np.ndarray  # (2, devices) logarithm of each device's own dose, SET and RESET
    mismatch: Spread | None  # None of a single device
    criterion: float  # half of Bayes's information criterion: the less, the better


class _Likelihood:
    """Minus the logarithm of the likelihood of the trains, its gradient and Fisher's information."""

    def __init__(self, coordinates: Coordinates, trains: Trains, devices: int) -> None:
        self.coordinates, self.trains, self.devices = coordinates, trains, devices
        self.free = len(coordinates.names)
        self.centre, spread = coordinates.prior()
        self.hold = spread**-2
        up, down = ((np.sign(trains.amplitude[1:]) == sign).any(axis=0) for sign in (1, -1))
        other = np.array([name.split(".")[0] for name in coordinates.names])
        split = ((up & ~down, "reset"), (down & ~up, "set"), (up == down, ""))
        # Trains, and the parameters that move them: a train of one polarity knows nothing of the other.
        self.groups = [
            (np.flatnonzero(of), np.flatnonzero(other != foreign))
            for of, foreign in (split if len(up) > FEW else ((up | True, ""),))
            if of.any()
        ]
        self.own = np.zeros((2, 2))  # precision of a device's two offsets
        self.seen: tuple[bytes, tuple[float, np.ndarray, np.ndarray]] | None = None

    def start(self) -> np.ndarray:
        """(free + 2 devices,) where the search begins; a single device has no offsets."""
        return np.concatenate([self.coordinates.theta(), np.zeros(2 * self.devices if self.devices > 1 else 0)])

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the prior of the coordinates and the spread of the offsets included."""
        return self._held(point)[:2]

    def information(self, point: np.ndarray) -> np.ndarray:
        """Expected second derivatives at `point`."""
        return self._held(point)[2]

    def _held(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and information with prior and spread; those of the last point are remembered."""
        key = point.tobytes()
        if self.seen is None or self.seen[0] != key:
            value, gradient, fisher = self.data(point)
            away, offsets = point[: self.free] - self.centre, point[self.free :].reshape(2, -1)
            pull = self.own @ offsets
            hold = linalg.block_diag(np.diag(self.hold), np.kron(self.own, np.eye(offsets.shape[1])))
            value += 0.5 * float(self.hold @ away**2 + (offsets * pull).sum())
            self.seen = key, (value, gradient + np.concatenate([self.hold * away, pull.ravel()]), fisher + hold)
        return self.seen[1]

    def data(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and information of the trains alone."""
        return self.scores(point)[:3]

    def scores(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """The same, and the squares of the steps' own gradients, which sum up to the information if noise is normal."""
        value, gradient, fisher, squares = 0.0, np.zeros(len(point)), *np.zeros((2, len(point), len(point)))
        for of, moving in self.groups:
            trains = self.trains.select(of)
            v, width, dv, ds = self._slopes(point, trains, moving)
            value += 0.5 * float((v**2 / width + np.log(width)).sum())
            slope = (dv * v + 0.5 * ds * (1 - v**2 / width)) / width  # (parameters, steps, trains)
            root, half = dv / np.sqrt(width), ds / (math.sqrt(2) * width)
            for own in np.unique(trains.device):
                offsets = self.free + own + self.devices * np.arange(len(dv) - len(moving))
                index, mine = np.append(moving, offsets), trains.device == own
                gradient[index] += slope[:, :, mine].sum(axis=(1, 2))
                for part, total in ((root, fisher), (half, fisher), (slope, squares)):
                    flat = part[:, :, mine].reshape(len(index), -1)
                    total[np.ix_(index, index)] += flat @ flat.T
        return value, gradient, fisher, squares

    def _slopes(self, point: np.ndarray, trains: Trains, moving: np.ndarray) -> tuple[np.ndarray, ...]:
        """Innovations and variances (steps, trains), and their derivatives (parameters, steps, trains).

        The parameters are `moving`, then the SET and RESET doses of each train's own device where there are several.
        """
        theta = nudged(point[: self.free])[:, np.append(0, moving + 1)]
        offsets, shift = np.zeros((2, 1)), np.zeros((2, theta.shape[1], 1))
        if self.devices > 1:  # a train knows its own device only: all devices are nudged at once
            offsets = point[self.free :].reshape(2, -1)[:, trains.device]
            theta = np.column_stack([theta, theta[:, :1], theta[:, :1]])
            shift = np.concatenate([shift, NUDGE * np.eye(2)[:, :, None]], axis=1)
        up, down = np.exp(offsets[:, None, :] + shift)
        _, _, v, total = filtered(self.coordinates.device(theta[:, :, None]), trains, up, down)
        there = np.isfinite(v[:, :1])
        v, total = np.where(there, v, 0.0), np.where(there, total, 1.0)
        dv, ds = (np.moveaxis(a[:, 1:] - a[:, :1], 1, 0) / NUDGE for a in (v, total))
        return v[:, 0], total[:, 0], dv, ds

    def spread(self, square: np.ndarray) -> None:
        """Give the offsets the squares (2,) of rate and asymmetry."""
        rate, asymmetry = np.maximum(square, 1e-6)
        self.seen = None
        self.own = np.linalg.inv([[rate + asymmetry, rate - asymmetry], [rate - asymmetry, rate + asymmetry]])


def fit_trains(base: Device, names: tuple[str, ...], trains: Trains, devices: int, rounds: int = 3) -> Likeliest:
    """The most likely parameters `names` of the trains; with several devices also how they differ, in `rounds`."""
    coordinates = Coordinates(base, names)
    likelihood = _Likelihood(coordinates, trains, devices)
    point, mismatch, square = likelihood.start(), None, np.full(2, 0.25)
    for _ in range(rounds if devices > 1 else 1):
        likelihood.spread(square)
        # a gradient of 0.1 is a fraction of a standard error in any direction, the weakly held ones included
        options = {"gtol": 0.1, "maxiter": 60, "initial_trust_radius": 4.0}
        hess = likelihood.information
        point = minimize(likelihood, point, jac=True, hess=hess, method="trust-exact", options=options).x
        if devices > 1:
            mismatch = _mismatch(likelihood, point)
            square = mismatch.value**2
    if mismatch is not None:  # the mean of few devices is known less than a normal distribution tells
        likelihood.spread(mismatch.square * (stats.t.ppf(0.975, devices - 1) / LEVEL) ** 2)
    return Likeliest(
        device=as_floats(coordinates.device(point[: likelihood.free]), coordinates.names),
        names=coordinates.names,
        known=_known(likelihood, point),
        offsets=point[likelihood.free :].reshape(2, -1) if devices > 1 else np.zeros((2, 1)),
        mismatch=mismatch,
        criterion=likelihood(point)[0] + 0.5 * len(names) * math.log(np.isfinite(trains.reading).sum()),
    )


def _mismatch(likelihood: _Likelihood, point: np.ndarray) -> Spread:
    """The spread of the devices' offsets, what they share integrated out (restricted maximum likelihood).

    The likelihood of offsets b is taken as normal, exp(h b - b H b / 2); with b normal of covariance S S it is
    |1 + S H S|^(-1/2) exp(h S (1 + S H S)^-1 S h / 2). Intervals are those of the profile.
    """
    free, devices = likelihood.free, likelihood.devices
    _, gradient, fisher = likelihood.data(point)
    linear = fisher[:, free:] @ point[free:] - gradient
    linear[:free] -= likelihood.hold * (point[:free] - likelihood.centre)
    shared = np.linalg.solve(fisher[:free, :free] + np.diag(likelihood.hold), fisher[:free, free:])
    turn = np.kron([[1.0, 1.0], [1.0, -1.0]], np.eye(devices))  # doses from rate and asymmetry
    h = turn.T @ (linear[free:] - shared.T @ linear[:free])
    precision = turn.T @ (fisher[free:, free:] - fisher[free:, :free] @ shared) @ turn

    def evidence(sigma: np.ndarray) -> float:
        own = np.repeat(sigma, devices)
        inner = np.eye(2 * devices) + own[:, None] * precision * own
        pull = own * h
        return 0.5 * float(pull @ np.linalg.solve(inner, pull) - np.linalg.slogdet(inner)[1])

    grid = np.concatenate([[0.0], np.geomspace(2e-3, 4.0, 34)])
    values = np.array([[evidence(np.array([rate, asymmetry])) for asymmetry in grid] for rate in grid])
    start = grid[np.array(np.unravel_index(values.argmax(), values.shape))]
    best = minimize(lambda sigma: -evidence(sigma), start, bounds=[(0.0, 4.0)] * 2, method="L-BFGS-B")
    intervals, square = np.zeros((2, 2)), np.zeros(2)
    for axis in (0, 1):
        profile = values.max(axis=1 - axis)
        profile, top = profile - max(profile.max(), -best.fun), profile.argmax()
        limit = -0.5 * LEVEL**2
        if profile[0] < limit:
            intervals[axis, 0] = np.interp(limit, profile[: top + 1], grid[: top + 1])
        intervals[axis, 1] = np.interp(-limit, -profile[top:], grid[top:])
        weights = np.gradient(grid) * np.exp(profile - 0.5 * grid**2)  # above e times apart is unlikely
        square[axis] = weights @ grid**2 / weights.sum()
    return Spread(np.where(best.x < 1e-3, 0.0, best.x), intervals, square)


def _known(likelihood: _Likelihood, point: np.ndarray) -> Estimate:
    """Errors from Fisher's information of the trains and the prior.

    Noises enter as variances, of which a vanishing one has an error too.
    """
    free, names = likelihood.free, likelihood.coordinates.names
    leaves = [name.split(".")[1] for name in names]
    noises = np.array([leaf in NOISES for leaf in leaves])
    point = point.copy()
    point[:free] = np.maximum(point[:free], likelihood.coordinates.faint())
    _, _, fisher, squares = likelihood.scores(point)
    own = np.kron(likelihood.own, np.eye((len(point) - free) // 2))
    hold = linalg.block_diag(np.diag(np.where(noises, 0.0, likelihood.hold)), own)
    value = np.array(values(likelihood.coordinates.device(point[:free]), names))
    forth = likelihood.coordinates.jacobian(point[:free])
    scale = np.array([1.0 if leaf in PLAIN else 1 / own for leaf, own in zip(leaves, value, strict=True)])
    forth *= np.where(noises, 2 * value, scale)[:, None]
    back = linalg.block_diag(np.linalg.inv(forth), np.eye(len(point) - free))
    hold = back.T @ hold @ back
    hold[range(free), range(free)] += [LARGEST[leaf] ** -4 if leaf in NOISES else 0.0 for leaf in leaves]
    covariance = np.linalg.inv(back.T @ fisher @ back + hold)
    robust = covariance @ (back.T @ squares @ back + hold) @ covariance  # noise with heavy tails tells less
    covariance, back = covariance[:free, :free], back[:free, :free]
    wider = np.sqrt(np.maximum(np.diag(robust)[:free] / np.diag(covariance), 1.0))
    covariance = wider[:, None] * covariance * wider
    errors = np.sqrt(np.diag(covariance))
    coordinate = np.sqrt(np.diag(back @ covariance @ back.T))
    correlation = covariance / np.outer(errors, errors)
    low, high = -LEVEL * errors, LEVEL * errors
    plain = np.array([leaf in PLAIN for leaf in leaves])
    factors = [np.exp(np.clip(np.where(noises, 0.0, end), -40.0, 40.0)) for end in (low, high)]
    ends = [np.where(plain, value + end, value * factor) for end, factor in zip((low, high), factors, strict=True)]
    roots = [np.sqrt(np.maximum(value**2 + end, 0.0)) for end in (low, high)]
    intervals = np.column_stack([np.where(noises, *pair) for pair in zip(roots, ends, strict=True)])
    small = np.array([KNOWN_SMALL.get(leaf, 0.0) for leaf in leaves])
    largest = np.array([LARGEST.get(leaf, np.inf) for leaf in leaves])
    undetermined = ~noises & (coordinate > UNDETERMINED) & (errors * value > small)
    undetermined |= noises & (intervals[:, 1] > largest) & (intervals[:, 0] == 0)
    errors = np.where(noises, np.log(intervals[:, 1] / value) / LEVEL, errors)
    return Estimate(
        names,
        tuple(map(float, errors)),
        tuple((float(low), float(high)) for low, high in intervals),
        correlation,
        tuple(name for name, vague in zip(names, undetermined, strict=True) if vague),
    )
