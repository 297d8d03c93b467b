"""The Bayesian controller: particles drawn from the record, weighed by reads, resampled where few are left."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from agents.classical.cost_to_go import normals
from agents.classical.particles import Belief, Bounds, ParticleController, known_cells, resample, systematic
from memenv.arrays import put, take, tree_map
from memenv.devices.device import Device
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.observation import View

SLOPES, SHIFTS, DOSES = 0.7, 1.5, 0.5  # deviations of wrong records: slopes [ln], thresholds [slopes], doses [ln]
TRUST = 0.4  # weight of a particle that allows for one


@dataclass(frozen=True, kw_only=True)
class Bayesian(ParticleController):
    """Particles drawn from the record's mismatch and uncertainty; reads and pulses make the posterior of a cell."""

    particles: int = 768
    bank: int = 8  # prior cells drawn for each particle
    wrong: float = 0.3  # share of the particles that allow for a wrong record
    jitter: float = 0.2  # [1] spread of resampled particles, as a part of that of the posterior
    seed: int = 0  # of the prior's draws

    def begin(self, chip: CellModel | None, cells: int) -> Belief:
        """No read yet: any particles."""
        del chip
        shape = (cells, self.particles)
        return Belief(take(self._prior, np.zeros(shape, int)), np.zeros(shape), np.zeros(shape), np.zeros(shape))

    @cached_property
    def _prior(self) -> Device | Bounds:
        """The bank of cells, the last of them of devices for which the record is wrong."""
        cells = self.bank * self.particles
        rng = np.random.default_rng((self.seed, cells))
        known = known_cells(self.task.fabricate(rng, cells), cells)
        if isinstance(known, Bounds) or not self.wrong:
            return known
        return _broadened(known, np.arange(cells) >= (1 - self.wrong) * cells, rng)

    @cached_property
    def _positive(self) -> Any:
        """The parameters that are positive, a record of bool."""
        return tree_map(lambda leaf: getattr(leaf, "ndim", 0) and bool(np.all(leaf > 0)), self._prior)

    def _first(self, belief: Belief, view: View) -> Belief:
        """The particles in whose range the first read lies, which is where a cell of theirs would be found."""
        bank, noise, read = self._prior, self._read_noise(view.read), view.read[:, None]
        size = np.maximum(bank.x_hi - bank.x_lo, 1e-3 * noise)
        likely = (ndtr((read - bank.x_lo) / noise) - ndtr((read - bank.x_lo - size) / noise)) / size + 1e-9
        index = systematic(likely / likely.sum(axis=1, keepdims=True), self.particles)
        cell = take(bank, index % len(bank.x_lo))
        variance = np.minimum(np.square(noise), np.square(cell.x_hi - cell.x_lo) / 12)
        doubted = index % len(bank.x_lo) >= (1 - self.wrong) * len(bank.x_lo)
        return Belief(cell, np.log(TRUST) * doubted, np.clip(read, cell.x_lo, cell.x_hi), variance)

    def _refreshed(self, belief: Belief, view: View) -> Belief:
        """Resamples the cells with less than half their particles left, and spreads the copies.

        theta + jitter (theta_a - theta_b), with a and b from the posterior too, keeps its correlations; sound particles
        alone take part, so that stuck ones stay stuck.
        """
        weight = np.exp(belief.log_weight)
        weight /= weight.sum(axis=1, keepdims=True)
        rows = np.flatnonzero(1 / np.square(weight).sum(axis=1) < 0.5 * self.particles)
        if not len(rows):
            return belief
        few = resample(take(belief, rows), weight[rows], self.particles)
        nominal, cell = self.task.device, few.particles
        sound = cell.x_hi - cell.x_lo > 0.5 * (nominal.x_hi - nominal.x_lo)
        spent = np.round((1 - view.budget[rows]) * self.task.max_pulses).astype(int)[:, None]
        place, row = np.arange(self.particles), np.arange(len(rows))[:, None]
        a, b = (np.argsort(normals(self.particles, salt))[(place + 97 * spent) % self.particles] for salt in (5, 6))
        size = self.jitter * (sound & sound[row, a] & sound[row, b])

        def spread(leaf: Any, positive: bool) -> Any:
            if not getattr(leaf, "ndim", 0):
                return leaf
            value = np.log(leaf) if positive else leaf
            value = value + size * (value[row, a] - value[row, b])
            return np.exp(value) if positive else value

        cell = tree_map(spread, cell, self._positive)
        cell = cell.replace(set=_lawful(cell.set), reset=_lawful(cell.reset))
        mean = np.clip(few.mean, cell.x_lo, cell.x_hi)
        return put(belief, rows, few._replace(particles=cell, log_weight=0.0 * mean, mean=mean))


def _lawful(one: Any) -> Any:
    """A response whose threshold lies below its reference amplitude, from which spreading could take it."""
    return replace(one, threshold=np.minimum(one.threshold, 0.9 * one.amplitude))


def _broadened(bank: Device, wrong: np.ndarray, rng: np.random.Generator) -> Device:
    """The bank, where `wrong` (cells,) with other slopes, thresholds and doses than the record has."""
    common = rng.standard_normal((3, len(wrong)))

    def changed(one: Any) -> Any:
        slope, shift, dose = wrong * (0.9 * common + 0.4 * rng.standard_normal(common.shape))
        return replace(
            one,
            slope=one.slope * np.exp(SLOPES * slope),
            shift=one.shift + SHIFTS * one.slope * shift,
            dose=one.dose * np.exp(DOSES * dose),
        )

    return bank.replace(set=changed(bank.set), reset=changed(bank.reset))
