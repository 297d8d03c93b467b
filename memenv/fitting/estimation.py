"""The search for a device record: free coordinates, least squares on single steps, maximum likelihood on trains."""

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares, minimize, nnls

from memenv.arrays import Array
from memenv.devices.device import Device
from memenv.devices.law import Response, equivalent_pulses, move
from memenv.fitting.likelihood import Trains, innovations, reachable

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
LIMITS = {
    "dose": (-18.0, 40.0),
    "gamma": (-4.6, 2.0),
    "margin": (-9.0, 0.7),
    "kappa": (-7.0, 7.0),
    "threshold": (-5.0, 5.0),
}
# Standard deviations of a weak normal hold, so that what the data do not determine gets an error instead of none.
HOLD = {"margin": 3.0, "kappa": 3.0, "gamma": 5.0}
FAINT = {"cycle_noise": 0.02, "additive_noise": 1e-4, "noise": 1e-4}  # noises below are as good as none
LOOSE = 2.0  # standard deviation of the hold on the coordinates while searching
NUDGE = 1e-5  # of a coordinate, for derivatives by difference


@dataclass(frozen=True)
class Coordinates:
    """Parameters of a device as free real numbers: logarithms, kappa and threshold as logits of their allowed range."""

    base: Device  # what is not free
    names: tuple[str, ...]  # e.g. "set.dose", "read.noise"

    def device(self, theta: np.ndarray) -> Device:
        """The record at `theta` (parameters, ...); its free parameters are arrays of the trailing shape."""
        changed: dict[str, dict[str, Array]] = {}
        for name, value in zip(self.names, theta, strict=True):
            part, leaf = name.split(".")
            group = changed.setdefault(part, {})
            own = getattr(self.base, part)
            if leaf == "kappa":
                group[leaf] = 0.999 / (1 + np.exp(-value)) / (1 + group.get("margin", own.margin))
            elif leaf == "threshold":
                group[leaf] = own.amplitude / (1 + np.exp(-value))
            else:
                group[leaf] = np.exp(value)
        parts = {part: dataclasses.replace(getattr(self.base, part), **group) for part, group in changed.items()}
        return self.base.replace(**parts)

    def theta(self) -> np.ndarray:
        """(parameters,) where the base itself stands."""
        out = []
        for name, value in zip(self.names, values(self.base, self.names), strict=True):
            own = getattr(self.base, name.split(".")[0])
            if name.endswith(".kappa"):
                out.append(_logit(value * (1 + own.margin) / 0.999))
            elif name.endswith(".threshold"):
                out.append(_logit(value / own.amplitude))
            else:
                out.append(math.log(max(value, 1e-9)))
        return np.array(out)

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
    """Single steps of one polarity, arrays (steps,)."""

    before: np.ndarray  # [range]
    after: np.ndarray  # [range]
    amplitude: np.ndarray  # [V] signed
    width: np.ndarray  # [s]
    x_lo: np.ndarray  # [range]
    x_hi: np.ndarray  # [range]
    rate: np.ndarray  # [1] of the device's own dose


def predict(device: Device, steps: Single) -> np.ndarray:
    """State (..., steps) [range] after the noise-free step."""
    up = steps.amplitude > 0
    law = reachable(device.law(up), steps.x_lo, steps.x_hi)
    n = equivalent_pulses(law, np.abs(steps.amplitude), steps.width)
    return np.asarray(move(law, steps.before, steps.x_lo, steps.x_hi, up, law.dose * steps.rate * n))


def fit_mean(
    base: Device, polarity: str, steps: Single, free: tuple[str, ...], shapes: tuple[Shape, ...] = SHAPES
) -> list[Response]:
    """Responses of one polarity with the least squares of its steps, one for each shape that may be the right one.

    The best comes first: that with the least Bayesian information criterion; the others are within `CLOSE` of it.
    """
    size = np.abs(steps.after - steps.before).mean()
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
            costs.append(_least_squares(Coordinates(base.replace(**{polarity: start}), names), steps))
        cost, device = min(costs, key=lambda pair: pair[0])
        criterion = len(steps.before) * math.log(max(cost, 1e-30)) + len(names) * math.log(len(steps.before))
        found.append((criterion, getattr(device, polarity)))
    found.sort(key=lambda pair: pair[0])
    return [response for criterion, response in found if criterion < found[0][0] + CLOSE]


def _least_squares(coordinates: Coordinates, steps: Single) -> tuple[float, Device]:
    """Sum of squared errors and the device that has the least."""
    scale = np.abs(steps.after - steps.before).mean() + 1e-12

    def error(theta: np.ndarray) -> np.ndarray:
        return (predict(coordinates.device(theta[..., None]), steps) - steps.after) / scale

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


class Estimate(NamedTuple):
    """A device that makes the trains most likely."""

    device: Device
    names: tuple[str, ...]  # free parameters
    errors: np.ndarray  # (parameters,) standard errors
    offsets: np.ndarray  # (2, devices) logarithm of each device's own dose, SET and RESET
    mismatch: tuple[float, float]  # rate and asymmetry [ln]
    criterion: float  # half of Bayes's information criterion: the less, the better


class _Likelihood:
    """Minus the logarithm of the likelihood of the trains, its gradient and Fisher's information."""

    def __init__(self, coordinates: Coordinates, trains: Trains, devices: int) -> None:
        self.coordinates, self.trains, self.devices = coordinates, trains, devices
        self.free = len(coordinates.names)
        self.centre = coordinates.theta()
        up, down = ((np.sign(trains.amplitude[1:]) == sign).any(axis=0) for sign in (1, -1))
        other = np.array([name.split(".")[0] for name in coordinates.names])
        # Trains, and the parameters that move them: a train of one polarity knows nothing of the other.
        self.groups = [
            (np.flatnonzero(of), np.flatnonzero(other != foreign))
            for of, foreign in ((up & ~down, "reset"), (down & ~up, "set"), (up == down, ""))
            if of.any()
        ]
        self.own = np.zeros((2, 2))  # precision of a device's two offsets
        self.seen: tuple[bytes, np.ndarray] = (b"", np.empty(0))

    def start(self) -> np.ndarray:
        """(free + 2 devices,) where the search begins; a single device has no offsets."""
        return np.concatenate([self.centre, np.zeros(2 * self.devices if self.devices > 1 else 0)])

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the weak hold on the coordinates and the spread of the offsets included."""
        value, gradient, fisher = self.data(point)
        away, offsets = (point[: self.free] - self.centre) / LOOSE, point[self.free :].reshape(2, -1)
        pull = self.own @ offsets
        hold = np.zeros_like(fisher)
        hold[: self.free, : self.free] = np.eye(self.free) / LOOSE**2
        hold[self.free :, self.free :] = np.kron(self.own, np.eye(offsets.shape[1]))
        self.seen = point.tobytes(), fisher + hold
        return (
            value + 0.5 * float(away @ away + (offsets * pull).sum()),
            gradient + np.concatenate([away / LOOSE, pull.ravel()]),
        )

    def information(self, point: np.ndarray) -> np.ndarray:
        """Expected second derivatives at `point`."""
        if self.seen[0] != point.tobytes():
            self(point)
        return self.seen[1]

    def data(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and information of the trains alone."""
        value, gradient, fisher = 0.0, np.zeros(len(point)), np.zeros((len(point), len(point)))
        for of, moving in self.groups:
            trains = self.trains.select(of)
            v, total, dv, ds = self._slopes(point, trains, moving)
            value += 0.5 * float((v**2 / total + np.log(total)).sum())
            slope = (dv * v + 0.5 * ds * (1 - v**2 / total)) / total  # (parameters, steps, trains)
            root, half = dv / np.sqrt(total), ds / (math.sqrt(2) * total)
            for own in np.unique(trains.device):
                offsets = self.free + own + self.devices * np.arange(len(dv) - len(moving))
                index, mine = np.append(moving, offsets), trains.device == own
                gradient[index] += slope[:, :, mine].sum(axis=(1, 2))
                for part in (root, half):
                    flat = part[:, :, mine].reshape(len(index), -1)
                    fisher[np.ix_(index, index)] += flat @ flat.T
        return value, gradient, fisher

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
        v, total = innovations(self.coordinates.device(theta[:, :, None]), trains, up, down)
        there = np.isfinite(v[:, :1])
        v, total = np.where(there, v, 0.0), np.where(there, total, 1.0)
        dv, ds = (np.moveaxis(a[:, 1:] - a[:, :1], 1, 0) / NUDGE for a in (v, total))
        return v[:, 0], total[:, 0], dv, ds


def fit_trains(base: Device, names: tuple[str, ...], trains: Trains, devices: int, rounds: int = 3) -> Estimate:
    """The most likely parameters `names` of the trains; with several devices also how they differ, in `rounds`."""
    coordinates = Coordinates(base, names)
    likelihood = _Likelihood(coordinates, trains, devices)
    point = likelihood.start()
    mismatch = np.array([0.5, 0.5])
    for _ in range(rounds if devices > 1 else 1):
        rate, asymmetry = np.maximum(mismatch, 1e-3) ** 2
        own = np.array([[rate + asymmetry, rate - asymmetry], [rate - asymmetry, rate + asymmetry]])
        likelihood.own = np.linalg.inv(own)
        # a gradient of 0.1 is a fraction of a standard error in any direction, the weakly held ones included
        options = {"gtol": 0.1, "maxiter": 60, "initial_trust_radius": 4.0}
        hess = likelihood.information
        point = minimize(likelihood, point, jac=True, hess=hess, method="trust-exact", options=options).x
        if devices > 1:
            free = likelihood.free
            spread = np.linalg.inv(likelihood.information(point))[free:, free:].reshape(2, devices, 2, devices)
            mismatch = _mismatch(point[free:].reshape(2, -1), np.einsum("idjd->ijd", spread))
    theta = point[: likelihood.free]
    device = as_floats(coordinates.device(theta), coordinates.names)
    return Estimate(
        device=device,
        names=coordinates.names,
        errors=_errors(likelihood, point),
        offsets=point[likelihood.free :].reshape(2, -1) if devices > 1 else np.zeros((2, 1)),
        mismatch=(float(mismatch[0]), float(mismatch[1])) if devices > 1 else (0.0, 0.0),
        criterion=likelihood(point)[0] + 0.5 * len(names) * math.log(np.isfinite(trains.reading).sum()),
    )


def _mismatch(offsets: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(2,) rate and asymmetry [ln] of the devices' offsets (2, devices), known within `covariance` (2, 2, devices)."""
    centred = offsets - offsets.mean(axis=1, keepdims=True)
    out = []
    for sign in (1, -1):
        part = (centred[0] + sign * centred[1]) / 2
        unsure = (covariance[0, 0] + covariance[1, 1] + 2 * sign * covariance[0, 1]) / 4
        out.append(math.sqrt(max(float((part**2).mean() + unsure.mean()), 0.0)))
    return np.array(out)


def _errors(likelihood: _Likelihood, point: np.ndarray) -> np.ndarray:
    """(parameters,) standard errors of the values: Fisher's information of the trains, and the weak hold of `HOLD`.

    Noises enter as variances, of which a vanishing one has an error too.
    """
    free, names = likelihood.free, likelihood.coordinates.names
    leaves = [name.split(".")[1] for name in names]
    noises = np.array([leaf.endswith("noise") for leaf in leaves])
    point = point.copy()
    point[:free] = np.maximum(point[:free], np.log([FAINT.get(leaf, 1e-9) for leaf in leaves]))
    fisher = likelihood.data(point)[2]
    fisher[free:, free:] += np.kron(likelihood.own, np.eye((len(point) - free) // 2))
    if len(point) > free:  # what the offsets leave
        cross = fisher[free:, :free]
        fisher = fisher[:free, :free] - cross.T @ np.linalg.solve(fisher[free:, free:], cross)
    forth = likelihood.coordinates.jacobian(point[:free])
    size = np.diag(forth)[noises]  # a noise is the exponential of its coordinate
    forth[noises, noises] *= 2 * size
    back = np.linalg.inv(forth)
    hold = np.diag([1 / HOLD.get(leaf, 1e3) ** 2 for leaf in leaves])
    errors = np.sqrt(np.diag(np.linalg.inv(back.T @ fisher @ back + hold)))
    errors[noises] = np.minimum(errors[noises] / (2 * size), np.sqrt(errors[noises]))
    return np.asarray(errors)
