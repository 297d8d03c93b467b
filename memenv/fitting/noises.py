"""Noises by the likelihood in which everything else is integrated out, over their variances.

Dose, bounds and mismatch that are fitted to the same reads take noise away, the more the more devices there are, and
cycle noise and additive noise stand in for one another. The adjusted profile likelihood (Cox and Reid,
10.1111/j.2517-6161.1987.tb01422.x) gives it back; estimates are where it is largest, intervals end where it has fallen
by 1.9, as those of other parameters do. Over variances it is smooth down to no noise at all, over logarithms flat.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from memenv.fitting.coordinates import CEILING, FAINT, LARGEST, LEVEL, NOISES, Coordinates, leaf, values

NEAR = 0.005  # of the logarithm of the likelihood: a tenth of a standard error
STEP = 0.04  # of the logarithm of a variance, for a derivative
NONE = 0.1  # of a faint noise: as little as is tried
ROUNDS = 40  # steps towards the largest likelihood, at most
HALVES = 10  # of a step that leads up; with fewer the end depends on the last digits of a sum
LONGEST = 2.0  # step of a coordinate, most of which are logarithms
UNTOLD = 1e-6  # of a prior's information: a noise of which the data tell less stays where it is
FASTER = 9.0  # times a variance, by which it grows in a step
KNOWN = 0.1  # of a variance: an interval that ends nearer is that of its error
SURE = 0.15  # of the root of twice the fall, beyond which an end is tried again
TRIALS, FARTHER = 6, 3.0  # of an end, and by how much the next is at most farther away


class Scored(Protocol):
    """Minus the logarithm of a likelihood with a normal prior; a point is `free` coordinates, then all else."""

    coordinates: Coordinates
    free: int
    centre: np.ndarray  # (free,) of the prior ...
    hold: np.ndarray  # ... and its precision

    def local(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and information."""

    def information(self, point: np.ndarray) -> np.ndarray:
        """Expected second derivatives."""


class Adjusted:
    """Minus the logarithm of the adjusted profile likelihood; a place is a point with variances in place of noises.

    To the likelihood it adds the volume, minus the logarithm of that of what is integrated out, at `origin` but for
    the noises. What a variance adds to it is proportional to it at first and to its logarithm in the end: near some
    variances it is taken from its slope at these.
    """

    def __init__(self, likelihood: Scored, point: np.ndarray) -> None:
        self.likelihood, self.names = likelihood, likelihood.coordinates.names
        self.noises = np.array([k for k, name in enumerate(self.names) if leaf(name) in NOISES])
        self.least = np.array([(NONE * FAINT[leaf(self.names[k])]) ** 2 for k in self.noises])
        self.most = np.array([CEILING.get(leaf(self.names[k]), np.inf) ** 2 for k in self.noises])
        self.held = np.array([LARGEST[leaf(self.names[k])] ** -4 for k in self.noises])  # prior precision of intervals
        self.prior = np.zeros(len(self.noises))  # precision of the variances before any data
        self.origin = self.place(point)
        self.near = self.origin[self.noises]
        self.slope = np.zeros(len(self.noises))  # of the volume near these variances, by their logarithms

    def place(self, point: np.ndarray) -> np.ndarray:
        """The place of a point."""
        out = point.copy()
        own = values(self.likelihood.coordinates.device(point[: self.likelihood.free]), self.names)
        out[self.noises] = np.maximum(np.array(own)[self.noises] ** 2, self.least)
        return out

    def point(self, place: np.ndarray) -> np.ndarray:
        """The point of a place."""
        out, of = place.copy(), self.likelihood.coordinates.of
        out[self.noises] = [of(self.names[k], math.sqrt(place[k])) for k in self.noises]
        return out

    def volume(self, variances: np.ndarray) -> float:
        """That with these variances."""
        place = self.origin.copy()
        place[self.noises] = variances
        rest = np.setdiff1d(np.arange(len(place)), self.noises)
        return 0.5 * float(np.linalg.slogdet(self.likelihood.information(self.point(place))[np.ix_(rest, rest)])[1])

    def measure(self, place: np.ndarray) -> None:
        """Find the slope of the volume at a place."""
        self.near = place[self.noises]
        here, aside = self.volume(self.near), self.near * np.exp(STEP * np.eye(len(self.near)))
        self.slope = np.array([self.volume(own) - here for own in aside]) / STEP

    def local(self, place: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and information; the prior of the search, on the logarithms of noises, is taken off."""
        likelihood, point, noises = self.likelihood, self.point(place), self.noises
        value, gradient, curved = likelihood.local(point)
        gradient, curved, variances = gradient.copy(), curved.copy(), place[noises]
        away, hold = point[noises] - likelihood.centre[noises], likelihood.hold[noises]
        forth = 2 * np.sqrt(variances) * np.diag(likelihood.coordinates.jacobian(point[: likelihood.free]))[noises]
        gradient[noises] -= hold * away
        curved[noises, noises] -= hold
        gradient[noises] /= forth
        curved[noises] /= forth[:, None]
        curved[:, noises] /= forth
        both = variances + self.near
        gradient[noises] += 2 * self.slope / both + self.prior * variances
        curved[noises, noises] += self.prior
        value += 2 * float(self.slope @ np.log(both))
        return value + 0.5 * float(self.prior @ variances**2 - hold @ away**2), gradient, curved

    def settled(self, place: np.ndarray, fixed: int | None = None) -> np.ndarray:
        """The most likely place, found from another one; the variance `fixed` stays."""
        value, gradient, curved = self.local(place)
        for _ in range(ROUNDS):
            step, free = np.zeros(len(place)), np.ones(len(place), bool)
            free[self.noises] = (place[self.noises] > self.least) | (gradient[self.noises] < 0)
            free[self.noises] &= self._information(curved) > UNTOLD * self.held
            free[fixed] &= fixed is None
            step[free] = -np.linalg.solve(curved[np.ix_(free, free)], gradient[free])
            if -0.5 * float(gradient @ step) < NEAR:
                break
            step /= max(1.0, np.abs(np.delete(step, self.noises)).max() / LONGEST)
            most = np.minimum(np.maximum(FASTER * place[self.noises], self.visible(curved)), self.most)
            for _ in range(HALVES):
                there = place + step
                there[self.noises] = np.clip(there[self.noises], self.least, most)
                found = self.local(there)
                if found[0] < value:
                    break
                step /= 2
            else:
                break
            place, (value, gradient, curved) = there, found
        return place

    def visible(self, curved: np.ndarray) -> np.ndarray:
        """Variances that the data would show, were there no other noise to take their place."""
        told, least = self._information(curved), UNTOLD * self.held
        return np.where(told > least, 1 / np.sqrt(np.maximum(told, least)), self.least)

    def _information(self, curved: np.ndarray) -> np.ndarray:
        """That of each variance, were all else known."""
        return np.diag(curved)[self.noises]

    def height(self, place: np.ndarray) -> float:
        """The value with the volume itself."""
        both = place[self.noises] + self.near
        return self.local(place)[0] - 2 * float(self.slope @ np.log(both)) + self.volume(place[self.noises])

    def best(self) -> np.ndarray:
        """The most likely place, found from the origin, where noises may be too faint to be seen."""
        place = self.origin.copy()
        place[self.noises] = np.maximum(place[self.noises], self.visible(self.local(place)[2]))
        least = self.height(place)
        for _ in range(ROUNDS):
            self.measure(place)
            there = self.settled(place)
            for _ in range(HALVES):  # the volume is not what it was taken for that far
                if (value := self.height(there)) < least:
                    break
                there = (place + there) / 2
            if least - value < NEAR:
                break
            place, least = there, value
        return place

    def intervals(self, names: Sequence[str], wider: np.ndarray) -> list[tuple[float, float]]:
        """Those of noises by their names, `wider` than by the likelihood, from an origin that is the best place."""
        self.prior = self.held
        self.measure(self.origin)
        place = self.settled(self.origin)
        curved = self.local(place)[2]
        errors = np.sqrt(np.maximum(np.diag(np.linalg.inv(curved)), 1 / np.diag(curved)))
        ends = [(self.names.index(name), LEVEL * own) for name, own in zip(names, wider, strict=True)]
        return [(self._end(place, k, -level, errors[k]), self._end(place, k, level, errors[k])) for k, level in ends]

    def _end(self, place: np.ndarray, k: int, level: float, error: float) -> float:
        """Where the root of twice the fall is `level`, negative for the lower end; 0 where it never is."""
        floor, begin = self.least[self.noises == k][0], float(np.cbrt(place[k]))
        at, end = place, float(np.cbrt(max(place[k] + level * error, floor)))
        if abs(level) * error < KNOWN * place[k]:
            return end**1.5
        inner, outer = (begin, 0.0), (math.inf, math.inf)  # cube roots of variances, and the fall there
        least = self.height(place)
        for _ in range(TRIALS):
            at = self.settled(self._moved(at, k, max(end**3, floor)), k)
            fall = math.sqrt(2 * max(self.height(at) - least, 0.0))
            if fall < -level and at[k] <= floor:
                return 0.0
            inner, outer = ((end, fall), outer) if fall < abs(level) else (inner, (end, fall))
            if math.isinf(outer[0]):
                end = max(begin + (end - begin) * min(abs(level) / max(fall, SURE), FARTHER), 0.0)
            else:
                end = inner[0] + (abs(level) - inner[1]) / (outer[1] - inner[1]) * (outer[0] - inner[0])
            if abs(fall - abs(level)) < SURE:
                break
        return end**1.5

    def _moved(self, place: np.ndarray, k: int, variance: float) -> np.ndarray:
        """About the most likely place where noise `k` has another variance."""
        curved, rest = self.local(place)[2], np.arange(len(place)) != k
        out = place.copy()
        out[rest] -= np.linalg.solve(curved[np.ix_(rest, rest)], curved[rest, k]) * (variance - place[k])
        out[self.noises] = np.maximum(out[self.noises], self.least)
        out[k] = variance
        return out
