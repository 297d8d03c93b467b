"""Programming by Bayes' rule: a particle posterior over the device's parameters, and the next pulse by expected cost.

A particle is a cell: one row of a fabricated chip, so that the prior is the device record itself, stuck and collapsed
cells included. Each carries a Gaussian over its own state, which pulses move and reads sharpen. The first read selects
the particles of a cell from a large bank; every later read weighs them, by a kernel so wide that some of them fit: one
alone would be believed without doubt. Where few are left they are resampled and spread out again. The next pulse is the
candidate with the least expected number of further pulses: exact outcomes of the law for samples of the posterior and
of the noise, each valued by the distance and by the uncertainty that it leaves (`CostToGo`). The oracle is the same
controller with one particle, the cell itself.

Everything is deterministic: normal quantiles in a fixed shuffled order stand for noise, so that a batch of n cells
equals n batches of one.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from agents.classical.cost_to_go import CostToGo, normals
from agents.classical.write_verify import Bool, Float, check_device, choose, driven, parameter, pulse_for, width_at
from agents.policy import one_or_many
from memenv.arrays import Array, take, tree_map
from memenv.devices.device import Device
from memenv.devices.law import Law, dose_to_reach, equivalent_pulses, move
from memenv.devices.protocol import CellModel, parametric
from memenv.envs.write_verify.observation import View
from memenv.envs.write_verify.task import WriteVerify

Cloud = np.ndarray  # (cells, particles or samples) float64
CHUNK = 32  # cells decided at once: their arrays stay in the cache
SAMPLES = 256  # outcomes that stand for posterior and noise when candidates are compared
OUTLIERS = 1e-2  # share of reads that the model explains badly: their tail tells bad particles from worse
NEAREST = 24  # one in so many particles fits any read: where reads are finer than the cloud, they count as less sure


class Bounds(NamedTuple):
    """All that counts of cells whose pulses have no law but a polarity; arrays (cells, particles) [range]."""

    x_lo: Cloud
    x_hi: Cloud


class Belief(NamedTuple):
    """Knowledge of each cell; arrays (cells, particles)."""

    particles: Any  # a `Device`, or `Bounds`
    log_weight: Cloud
    mean: Cloud  # [range] of each particle's state
    variance: Cloud  # [range^2] of it


@dataclass(frozen=True, kw_only=True)
class ParticleController(ABC):
    """The common part of the Bayesian and the oracle: all but the origin of the particles."""

    tuning_effort: ClassVar[float] = 0.03  # a decision takes many times as long as a ramp's
    needs_law: ClassVar[bool] = True  # of the nominal device, and of the cell

    task: WriteVerify
    doubt: float = parameter(0.05, 0.001, 0.5, log=True)  # give up below this chance to reach the target
    width_level: float = parameter(0.25, 0.0, 1.0)  # [of the driver's log range] of widths, where they suffice

    def __post_init__(self) -> None:
        check_device(self.task.device, type(self).__name__, self.needs_law)

    @abstractmethod
    def begin(self, chip: CellModel | None, cells: int) -> Belief:
        """The belief before the first read."""

    @abstractmethod
    def _first(self, belief: Belief, view: View) -> Belief:
        """The belief after the first read."""

    @one_or_many
    def predict(self, observation: np.ndarray, state: Belief | None = None) -> tuple[np.ndarray, Belief]:
        """Actions of the task and the belief after them; see `agents.policy.Policy`."""
        view = self.task.view(observation)
        cells = len(view.read)
        state = self.begin(None, cells) if state is None else state
        pulse, parts = [], []
        for start in range(0, cells, CHUNK):
            rows = slice(start, start + CHUNK)
            amplitude, width, hopeless, belief = self._decide(take(view, rows), take(state, rows))
            pulse.append((amplitude, width, hopeless))
            parts.append(belief)
        amplitude, width, hopeless = (np.concatenate(part) for part in zip(*pulse, strict=True))
        belief = tree_map(lambda *leaf: np.concatenate(leaf) if getattr(leaf[0], "ndim", 0) else leaf[0], *parts)
        return self.task.encode(amplitude, width, hopeless), belief

    def _decide(self, view: View, belief: Belief) -> tuple[Float, Float, Bool, Belief]:
        """Signed amplitudes [V], widths [s], giving up and the belief, of a few cells."""
        fresh = view.amplitude == 0
        if fresh.any():
            belief = choose(fresh, self._first(belief, view), self._update(belief, view))
        else:
            belief = self._update(belief, view)
        return *self._plan(belief, view), belief

    @property
    def _record(self) -> Device:
        """The nominal device, for its law."""
        return parametric(self.task.device, type(self).__name__)

    # -- from reads to beliefs ---------------------------------------------------------------------------------------

    def _read_noise(self, x: Float) -> Float:
        """Root mean square error (cells, 1) [range] of reads at `x` (cells,) [range], as the nominal device reads."""
        device, bits = self.task.device, self.task.device.read.adc_bits
        place = np.clip(x, device.x_lo, device.x_hi)[:, None] + np.zeros(64)
        state = device.fresh(place, np.stack([normals(64, 8), normals(64, 9)]))
        if state.relaxation is not None:
            state = state._replace(relaxation=normals(64, 10))
        seen, _ = device.sense(state, np.stack([normals(64, 11), normals(64, 12)]))
        error = (seen - device.g_min) / (device.g_max - device.g_min) - place
        rounding = 1 / (2.0**bits - 1) if bits else 0.0
        noise: Float = np.sqrt(np.mean(np.square(error), axis=1, keepdims=True) + rounding**2 / 12 + 1e-8)
        return noise

    def _update(self, belief: Belief, view: View) -> Belief:
        """Bayes' rule for the last pulse and its read; nothing is learnt of measured tables."""
        if self.task.device.polarity_only:
            return belief
        cell, up = belief.particles, (view.amplitude > 0)[:, None]
        law = cell.law(up)
        count = equivalent_pulses(law, np.abs(view.amplitude)[:, None], view.width[:, None])

        def after(x: Cloud, z: float) -> Array:
            dose = law.dose * count * np.exp(law.cycle_noise * z - 0.5 * np.square(law.cycle_noise))
            return move(law, x, cell.x_lo, cell.x_hi, up, dose)

        weak, strong = after(belief.mean, -1.0), after(belief.mean, 1.0)
        by_state = after(belief.mean + np.sqrt(belief.variance), 1.0) - strong
        added = np.minimum(np.square(law.additive_noise) * count, np.square(cell.x_hi - cell.x_lo) / 12)
        mean = 0.5 * (weak + strong)
        variance = 0.25 * np.square(strong - weak) + np.square(by_state) + added
        total = variance + np.square(self._read_noise(view.read))
        surprise = view.read[:, None] - mean
        distance = np.square(surprise) / total
        nearest = distance.shape[1] // NEAREST
        distance = distance / np.maximum(np.partition(distance, nearest, axis=1)[:, [nearest]], 1.0)
        likelihood = (np.exp(-0.5 * distance) + OUTLIERS / (1 + distance)) / np.sqrt(total)
        gain = variance / total
        log_weight = belief.log_weight + np.log(likelihood)
        belief = Belief(
            particles=cell,
            log_weight=log_weight - log_weight.max(axis=1, keepdims=True),
            mean=np.clip(mean + gain * surprise, cell.x_lo, cell.x_hi),
            variance=variance * (1 - gain),
        )
        return self._refreshed(belief, view)

    def _refreshed(self, belief: Belief, view: View) -> Belief:
        """The belief with enough particles that count."""
        return belief

    # -- from beliefs to pulses --------------------------------------------------------------------------------------

    @cached_property
    def _value(self) -> CostToGo:
        """The cost to go of the nominal device, its two polarities averaged, its steps taken in mid-range."""
        device, tolerance = self._record, self.task.tolerance_x
        middle = 0.5 * (device.x_lo + device.x_hi)
        noise, additive = [], []
        for up in (True, False):
            law = device.law(up)
            step = abs(float(move(law, middle, device.x_lo, device.x_hi, up, law.dose)) - middle)
            noise.append(float(law.cycle_noise))
            additive.append(float(law.additive_noise) ** 2 / (step * tolerance))
        return CostToGo(
            cycle_noise=float(np.mean(noise)),
            additive=float(np.mean(additive)),
            read_noise=float(self._read_noise(np.array([middle]))[0, 0]) / tolerance,
            farthest=1.5 / tolerance,
        )

    def _plan(self, belief: Belief, view: View) -> tuple[Float, Float, Bool]:
        """Signed amplitudes [V], widths [s] and giving up of the least expected cost."""
        device, tolerance = self.task.device, self.task.tolerance_x
        if device.polarity_only:
            return self._plan_polarity(belief, view)
        weight = np.exp(belief.log_weight)
        weight /= weight.sum(axis=1, keepdims=True)
        cell, mean, variance = resample((belief.particles, belief.mean, belief.variance), weight, SAMPLES)
        x = np.clip(mean + np.sqrt(variance) * normals(SAMPLES, 1), cell.x_lo, cell.x_hi)
        rises = mean.mean(axis=1) < view.target
        up, target = rises[:, None], view.target[:, None]
        law = cell.law(up)

        # reachable at all, with what is left of the budget?
        strongest = law.dose * equivalent_pulses(law, driven(device.driver, up, 1.0), device.driver.width_max)
        edge = target + np.where(up, -tolerance, tolerance)
        left = np.round(view.budget * self.task.max_pulses)[:, None]
        reachable = dose_to_reach(law, x, edge, cell.x_lo, cell.x_hi, up) <= strongest * left
        reachable = reachable & np.where(up, edge <= cell.x_hi, edge >= cell.x_lo)

        needed = dose_to_reach(law, x, target, cell.x_lo, cell.x_hi, up) / law.dose
        amplitude, width = self._candidates(law, needed, up)
        law, cell, x, up, target = (tree_map(_spread, part) for part in (law, cell, x, up, target))
        count = equivalent_pulses(law, amplitude[..., None], width[..., None])
        dose = law.dose * count * np.exp(law.cycle_noise * normals(SAMPLES, 2) - 0.5 * np.square(law.cycle_noise))
        after = move(law, x, cell.x_lo, cell.x_hi, up, dose)
        noisy = np.square(law.additive_noise) * count
        if np.any(law.additive_noise):
            after = np.clip(after + np.sqrt(noisy) * normals(SAMPLES, 3), cell.x_lo, cell.x_hi)
        missing = np.where(up, target - after, after - target) / tolerance

        same, other = (self._log_dose_variance(cell, way) for way in (up, ~up))
        blur = (2 * np.square(self._read_noise(view.read))[..., None] + noisy) / np.square(after - x + 1e-9)
        again = np.square(law.cycle_noise) + 1 / (1 / same + 1 / (np.square(law.cycle_noise) + blur))
        back = np.square(cell.law(~up).cycle_noise) + other
        cost = self._value(np.abs(missing), np.sqrt(np.where(missing > 0, again, back))).mean(axis=2)
        best = np.argmin(cost, axis=1)
        row = np.arange(len(best))
        chosen = amplitude[row, best]
        return np.where(rises, chosen, -chosen), width[row, best], reachable.mean(axis=1) < self.doubt

    def _plan_polarity(self, belief: Belief, view: View) -> tuple[Float, Float, Bool]:
        """As `_plan` where polarity is all: towards the target, if that is in the range of enough particles."""
        driver, up, tolerance = self.task.device.driver, view.read < view.target, self.task.tolerance_x
        above = view.target[:, None] - tolerance <= belief.particles.x_hi
        below = view.target[:, None] + tolerance >= belief.particles.x_lo
        amplitude = driven(driver, up, 1.0)
        hopeless = np.where(up[:, None], above, below).mean(axis=1) < self.doubt
        return np.where(up, amplitude, -amplitude), np.full(len(up), driver.width_max), hopeless

    def _candidates(self, law: Law, needed: Cloud, up: Cloud) -> tuple[Cloud, Cloud]:
        """Magnitudes [V] and widths [s] (cells, candidates) to compare where samples need `needed` reference pulses.

        Quantiles of the pulses that the samples ask for, spread a little, and parts of the median one, down to nothing.
        """
        driver = self.task.device.driver
        usual = width_at(driver, self.width_level)
        asked, how_long = pulse_for(law, driver, up, needed * np.exp(0.4 * normals(SAMPLES, 4)), usual)
        order = np.argsort(asked / self._record.set.slope + np.log(how_long), axis=1)  # weakest pulse first
        row, middle = np.arange(len(order))[:, None], order[:, SAMPLES // 2, None]
        rank = order[:, np.linspace(0.02 * SAMPLES, 0.98 * SAMPLES, 17).astype(int)]
        median = tree_map(lambda leaf: np.broadcast_to(leaf, needed.shape)[row, middle], law)
        fractions = np.median(needed, axis=1, keepdims=True) * np.array([0.5, 0.2, 0.05, 0.0])
        weak = pulse_for(median, driver, up, fractions, usual)
        amplitude, width = np.hstack([asked[row, rank], weak[0]]), np.hstack([how_long[row, rank], weak[1]])
        action = self.task.encode(np.where(up, amplitude, -amplitude).ravel(), width.ravel())
        signed, possible, *_ = self.task.decode(action)
        return np.abs(signed).reshape(amplitude.shape), possible.reshape(amplitude.shape)

    def _log_dose_variance(self, cell: Device, up: Cloud) -> Cloud:
        """Variance [ln^2] over the samples of the dose of the strongest pulse, (cells, 1, 1)."""
        driver, law = self.task.device.driver, cell.law(up)
        dose = law.dose * equivalent_pulses(law, driven(driver, up, 1.0), driver.width_max)
        variance: Cloud = np.var(np.log(np.maximum(dose, 1e-9)) + 0.0 * cell.x_lo, axis=2, keepdims=True)
        least: Cloud = np.maximum(variance, 1e-6)
        return least


@dataclass(frozen=True, kw_only=True)
class Oracle(ParticleController):
    """Knows the cell, not its noise: the bound for every controller that has to find out."""

    def begin(self, chip: CellModel | None, cells: int) -> Belief:
        """One particle a cell, the cell itself."""
        if chip is None:
            raise ValueError("the oracle needs the chip: start it with begin(chip, cells) and hand its state on")
        zero = np.zeros((cells, 1))
        known = tree_map(lambda leaf: leaf[:, None] if getattr(leaf, "ndim", 0) else leaf, known_cells(chip, cells))
        return Belief(known, zero, zero, zero)

    def _first(self, belief: Belief, view: View) -> Belief:
        """The state as read."""
        cell = belief.particles
        variance = np.minimum(np.square(self._read_noise(view.read)), np.square(cell.x_hi - cell.x_lo) / 12)
        return belief._replace(mean=np.clip(view.read[:, None], cell.x_lo, cell.x_hi), variance=variance)


def known_cells(chip: CellModel, cells: int) -> Device | Bounds:
    """All that can be known of a chip, with bounds (cells,), also where all cells share them."""
    bounds = Bounds(chip.x_lo + np.zeros(cells), chip.x_hi + np.zeros(cells))
    return bounds if chip.record is None else chip.record.replace(**bounds._asdict())


def systematic(weight: Cloud, count: int) -> np.ndarray:
    """Systematic resampling: indices (cells, count) into the flattened `weight`, whose rows sum to one."""
    edge = np.floor(count * np.cumsum(weight, axis=1) + 0.5).astype(int)
    edge[:, -1] = count
    copies = np.diff(np.minimum(edge, count), axis=1, prepend=0)
    return np.repeat(np.arange(weight.size), copies.ravel()).reshape(len(weight), count)


def resample(tree: Any, weight: Cloud, count: int) -> Any:
    """A record of arrays (cells, particles) with `count` particles a cell, drawn by weight."""
    index = systematic(weight, count)
    return tree_map(lambda leaf: leaf.ravel()[index] if getattr(leaf, "ndim", 0) else leaf, tree)


def _spread(leaf: Any) -> Any:
    """(cells, samples) as (cells, 1, samples)."""
    return leaf[:, None] if getattr(leaf, "ndim", 0) else leaf
