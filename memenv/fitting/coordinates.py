"""Parameters of a device as free real numbers, with what is assumed of them before any data."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Device
from memenv.devices.law import GAMMAS, SPREADS

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
    "x_lo": (None, 0.1),
    "x_hi": (None, 0.1),
    "stops": (None, 0.1),
    "loss": (None, 1.0),
}
VAGUE = 3.0  # standard deviation of the prior of the others, the noises
BOUNDS = ("x_lo", "x_hi")
UNDETERMINED = 0.75  # standard error of a coordinate, above which data are said not to determine the parameter ...
KNOWN_SMALL = {"gamma": 0.3, "margin": 0.03}  # ... unless the error of its value is below this
KNOWN_BOUND = 0.05  # [range] standard error of a bound, above which data do not determine it
LARGEST = {"cycle_noise": 1.5, "additive_noise": 0.3, "noise": 0.3, "wander": 0.3}  # prior on a noise, as variance
FAINT = {"cycle_noise": 2e-3, "additive_noise": 2e-5, "noise": 2e-5, "wander": 1e-4}  # noises below are as good as none
NOISES = tuple(FAINT)
PLACES = (*BOUNDS, "stops")  # parameters that are places in the range
STRAIGHT = (*PLACES, "loss")  # parameters that are their own coordinates
PLAIN = ("threshold", *STRAIGHT)  # parameters whose errors are not those of a logarithm
LEVEL = 1.96  # standard errors that hold 95 %
LINEAR = 0.9999  # of what the rate needs above threshold to grow by e, which it needs at most
NUDGE = 1e-5  # of a coordinate, for derivatives by difference


@dataclass(frozen=True)
class Coordinates:
    """Parameters of a device as free real numbers: logarithms, or logits of a limited range.

    That of a slope is of the growth of the rate at the reference pulse, and needs the threshold to be free.
    """

    base: Device  # what is not free
    names: tuple[str, ...]  # e.g. "set.dose", "read.noise"

    def device(self, theta: np.ndarray) -> Device:
        """The record at `theta` (parameters, ...); its free parameters are arrays of the trailing shape."""
        changed: dict[str, Array] = {}
        for name, value in zip(self.names, theta, strict=True):
            part, _, field = name.partition(".")
            limit = self._limit(name, changed.get(f"{part}.margin"))
            straight = np.exp(value) if limit is None else limit / (1 + np.exp(-value))
            changed[name] = value if leaf(name) in STRAIGHT else straight
            if field == "slope":
                above = getattr(self.base, part).amplitude - changed[f"{part}.threshold"]
                changed[name] = _slope(changed[name], above)
        return _replaced(self.base, changed)

    def theta(self) -> np.ndarray:
        """(parameters,) where the base itself stands."""
        return np.array([self.of(*own) for own in zip(self.names, values(self.base, self.names), strict=True)])

    def faint(self) -> np.ndarray:
        """(parameters,) coordinates of noises that are as good as none; the others have no least."""
        least = ((name, FAINT.get(leaf(name))) for name in self.names)
        return np.array([-np.inf if value is None else self.of(name, value) for name, value in least])

    def of(self, name: str, value: float) -> float:
        """The coordinate of a value."""
        if leaf(name) in STRAIGHT:
            return value
        if leaf(name) == "slope":
            law = getattr(self.base, name.partition(".")[0])
            above = law.amplitude - law.threshold
            share = min(-math.expm1(-above / value) * value / above / LINEAR, 1 - 1e-9)
            return math.log(above * share) - math.log(1 - share**4) / 4
        limit = self._limit(name)
        return math.log(max(value, 1e-9)) if limit is None else _logit(value / limit)

    def _limit(self, name: str, margin: Array | None = None) -> Array | None:
        """The value that a parameter stays below, None where there is none."""
        record = getattr(self.base, name.partition(".")[0])
        if leaf(name) == "kappa":
            return 0.999 / (1 + (record.margin if margin is None else margin))
        return record.amplitude if leaf(name) == "threshold" else CEILING.get(leaf(name))

    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """(parameters,) centre and standard deviation of what is assumed before the data."""
        centres, spreads = zip(*(PRIOR.get(leaf(name), (None, VAGUE)) for name in self.names), strict=True)
        start = zip(self.theta(), centres, strict=True)
        return np.array([own if centre is None else centre for own, centre in start]), np.array(spreads)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """(parameters,) lowest and highest coordinates."""
        low, high = zip(*(LIMITS.get(leaf(name), (-21.0, 3.0)) for name in self.names), strict=True)
        return np.array(low), np.array(high)

    def straight(self, theta: np.ndarray, way: int = 1) -> np.ndarray:
        """(parameters, ...) coordinates in which the likelihood bends less; `way` -1 leads back.

        The logarithm of the rate in the middle of the range in place of that of the dose, and about that of its growth
        there in place of gamma.
        """
        out = theta.copy()
        for dose, gamma, margin in self._shapes():
            middle = np.log(0.5 + np.exp(theta[margin]))
            out[gamma] = theta[gamma] - way * middle
            power = CEILING["gamma"] / (1 + np.exp(-(theta if way > 0 else out)[gamma]))
            out[dose] = theta[dose] + way * power * middle
        return out

    def _shapes(self) -> list[list[int]]:
        """Indices of dose, gamma and margin of each polarity."""
        own = [[f"{polarity}.{field}" for field in ("dose", "gamma", "margin")] for polarity in ("set", "reset")]
        return [[self.names.index(name) for name in names] for names in own if {*names} <= {*self.names}]

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """(parameters, parameters) derivative of the values by the coordinates."""
        moved = values(self.device(nudged(theta)), self.names)
        return np.stack([row[1:] - row[0] for row in moved]) / NUDGE


def leaf(name: str) -> str:
    """The field at the end of a dotted name, behind which the place in a tuple may stand: `gate.stops.0`."""
    return next(part for part in reversed(name.split(".")) if not part.isdigit())


def values(device: Device, names: tuple[str, ...]) -> list[Array]:
    """The parameters of a device by their dotted names."""
    return [_value(device, name) for name in names]


def _value(record: Any, name: str) -> Array:
    for part in name.split("."):
        record = record[int(part)] if part.isdigit() else getattr(record, part)
    return record


def with_values(device: Device, changed: Mapping[str, float]) -> Device:
    """The record with other plain floats, by their dotted names."""
    found: Device = _replaced(device, {name: float(value) for name, value in changed.items()})
    return found


def _replaced(record: Any, changed: Mapping[str, Array]) -> Any:
    """The record or tuple with other values, by their dotted names."""
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Array]] = {}
    for name, value in changed.items():
        part, _, rest = name.partition(".")
        if rest:
            parts.setdefault(part, {})[rest] = value
        else:
            own[part] = value
    own |= {part: _replaced(getattr(record, part), inner) for part, inner in parts.items()}
    if isinstance(record, tuple):
        return tuple(own.get(str(place), value) for place, value in enumerate(record))
    return dataclasses.replace(record, **own)


def _slope(growth: Array, above: Array) -> Array:
    """The slope [V] of a rate that grows at the reference pulse, `above` [V] the threshold, by e in `growth` [V].

    That is what two amplitudes tell; slope and threshold follow one another. A rate that is linear above threshold
    grows by e in `above`; larger growths come near that.
    """
    share = LINEAR * (growth / above) / (1 + (growth / above) ** 4) ** 0.25
    z = np.minimum(1 / share, 2 * (1 - share) / share)
    for _ in range(8):  # Newton's method from the right of the root of 1 - exp(-z) = share z, which it never passes
        z = z - (1 - np.exp(-z) - share * z) / (np.exp(-z) - share)
    return above / z


def _logit(share: float) -> float:
    share = min(max(share, 1e-4), 1 - 1e-3)
    return math.log(share / (1 - share))


def nudged(theta: np.ndarray) -> np.ndarray:
    """(n, n + 1): theta, and theta with each coordinate nudged in turn."""
    return np.column_stack([theta, theta[:, None] + NUDGE * np.eye(len(theta))])


def as_floats(device: Device, names: tuple[str, ...]) -> Device:
    """The record with plain floats."""
    return with_values(device, dict(zip(names, values(device, names), strict=True)))
