"""Agents of `memenv/FewShot-v0`, which decide how a chip learns: constant, decaying, scheduled rates, loss feedback.

All see what the environment shows and answer as `agents.policy.Policy` says; none has a memory beyond the
observation. Gains are factors of the initialisation's rates, alike for all layers unless said otherwise.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from agents.classical.write_verify import parameter
from agents.evaluation import EVALUATION, noise_of
from agents.policy import Policy, one_or_many
from memenv.arrays import put, take
from memenv.envs.few_shot.actions import MOST_THRESHOLD, SPAN
from memenv.envs.few_shot.observation import LearningView
from memenv.envs.few_shot.task import FewShot
from memenv.envs.noise import CellNoise

GAINS = (1.0 / SPAN, SPAN)


@dataclass(frozen=True, kw_only=True)
class Controller:
    """The common part of hand-written ones: no memory, a threshold of doses, gains until the decision to stop."""

    task: FewShot
    threshold: float = parameter(0.0, 0.0, MOST_THRESHOLD)  # [pulses] doses below it are not given
    written: float = parameter(0.0, 0.0, 1.0)  # rounded: whether the first step writes class means ...
    size: float = parameter(1.2, *GAINS, log=True)  # ... times this ...
    tolerance: float = parameter(0.4, 0.0, MOST_THRESHOLD)  # [size] ... and leaves weights that are off by less
    tuning_effort: ClassVar[float] = 0.5

    def begin(self, chip: Any, cells: int) -> None:
        """Nothing is carried from step to step."""

    @one_or_many
    def predict(self, observation: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        """Actions (tasks, layers + 4); see `agents.policy.Policy`."""
        view = self.task.view(observation)
        step = np.rint(self.task.max_steps * (1.0 - view.budget)).astype(int)
        (gain, stop), means = self.choose(view, step), step < np.rint(self.written)
        gains = np.where(means[:, None], self.size, gain.reshape(len(gain), -1))
        gains = np.broadcast_to(gains, (len(gain), len(self.task.base_rates)))
        threshold = np.where(means, self.tolerance, self.threshold_at(step))
        return self.task.encode(gains, threshold, stop=stop & ~means, means=means), None

    def threshold_at(self, step: np.ndarray) -> Any:
        """Threshold (tasks,) [pulses], or one for all, after `step` (tasks,) steps."""
        return self.threshold

    def choose(self, view: LearningView, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gains (tasks,) or (tasks, layers), and (tasks,) whether to stop, after `step` (tasks,) steps."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ConstantRate(Controller):
    """The same gain in each of some steps."""

    gain: float = parameter(1.0, *GAINS, log=True)
    steps: float = parameter(5.0, 0.5, 10.49)  # rounded

    def choose(self, view: LearningView, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Controller`."""
        return np.full(len(step), self.gain), step >= np.rint(self.steps)


@dataclass(frozen=True, kw_only=True)
class DecayingRate(Controller):
    """A gain that is multiplied by `decay` from step to step."""

    gain: float = parameter(2.0, *GAINS, log=True)
    decay: float = parameter(0.7, 0.1, 2.0, log=True)
    steps: float = parameter(5.0, 0.5, 10.49)  # rounded

    def choose(self, view: LearningView, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Controller`."""
        return self.gain * self.decay**step, step >= np.rint(self.steps)


@dataclass(frozen=True, kw_only=True)
class Schedule(Controller):
    """A gain for each step and layer, step by step, and a threshold for each step; after the last one it stops."""

    gains: tuple[float, ...] = parameter((1.0,), *GAINS, log=True)  # (steps * layers,)
    thresholds: tuple[float, ...] = parameter((0.0,), 0.0, MOST_THRESHOLD)  # (steps,) [pulses] on top of `threshold`
    steps: float = parameter(5.0, 0.5, 10.49)  # rounded
    tuning_effort: ClassVar[float] = 1.0

    def choose(self, view: LearningView, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Controller`."""
        gains = np.reshape(self.gains, (-1, len(self.task.base_rates)))
        last = min(len(gains), round(self.steps))
        return gains[np.minimum(step, len(gains) - 1)], step >= last

    def threshold_at(self, step: np.ndarray) -> Any:
        """See `Controller`."""
        return self.threshold + np.take(self.thresholds, np.minimum(step, len(self.thresholds) - 1))


@dataclass(frozen=True, kw_only=True)
class UntilLoss(Controller):
    """A constant gain until the loss of the support is small."""

    gain: float = parameter(1.0, *GAINS, log=True)
    loss: float = parameter(0.3, 0.02, 1.0, log=True)  # [ln ways]

    def choose(self, view: LearningView, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Controller`."""
        return np.full(len(step), self.gain), view.loss < self.loss


def own_schedule(task: FewShot) -> Schedule:
    """The rates that meta-learning gave the initialisation, for as many steps as it learnt with."""
    rates = task.start.rates[: task.max_steps]
    gains = np.divide(rates, task.base_rates, out=np.zeros_like(rates), where=task.base_rates > 0)
    return Schedule(task=task, gains=tuple(gains.ravel().tolist()), steps=float(len(rates)))


class Learnt(NamedTuple):
    """Outcomes of episodes, arrays (episodes,)."""

    reward: np.ndarray
    accuracy: np.ndarray  # share of the queries that is right at the end
    pulses: np.ndarray  # for each device in the mean
    energy: np.ndarray  # [J]
    steps: np.ndarray


def learn(
    policy: Policy, task: FewShot, episodes: int, seed: int, purpose: int = EVALUATION, batch: int = 256
) -> Learnt:
    """Run episodes, the same tasks, chips and noise for every policy of a seed.

    Args:
        policy: answers `predict`.
        task: what is to be done.
        episodes: how many, >= 1.
        seed: of tasks, chips and noise.
        purpose: EVALUATION, TUNING or TRAINING chips.
        batch: episodes side by side.
    """
    parts = []
    for first in range(0, episodes, batch):
        numbers = range(first, min(first + batch, episodes))
        parts.append(_batch(policy, task, len(numbers), noise_of(task, numbers, seed, purpose)))
    return Learnt(*map(np.concatenate, zip(*parts, strict=True)))


def _batch(policy: Policy, task: FewShot, count: int, noise: CellNoise) -> Learnt:
    chip, noise = task.fabricate(noise.chip, count), noise.next()
    episode = task.initial(chip, noise.drawn(task.initial_draws), {})
    state, start = policy.begin(chip, count), np.ones(count, bool)
    reward, steps, ended = np.zeros(count), np.zeros(count), episode
    rows = np.arange(count)
    while len(rows):
        action, state = policy.predict(task.observe(episode), state, start, True)
        noise = noise.next()
        episode = task.transition(episode, action, noise.drawn(task.step_draws))
        reward[rows] += sum(task.reward(episode).values())
        steps[rows] += ~episode.stopped
        ended = put(ended, rows, episode)
        going = np.flatnonzero(~task.terminated(episode))
        rows, start = rows[going], np.zeros(len(going), bool)
        episode, state, noise = take(episode, going), take(state, going), take(noise, going)
    info = task.info(ended)
    return Learnt(reward, info["accuracy"], info["pulses"], info["energy"], steps)
