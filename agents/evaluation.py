"""Judge a policy on fresh chips: the same cells, starts, targets and noise for everyone, and what came of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from agents.policy import Policy, handed_over
from memenv.arrays import take
from memenv.devices.protocol import CellModel
from memenv.envs.noise import CellNoise, Episodes, cells_of
from memenv.envs.task import Task
from memenv.envs.write_verify.episode import Episode as WriteVerifyEpisode
from memenv.envs.write_verify.task import WriteVerify

EVALUATION, TUNING, TRAINING = 0, 1, 2  # what a seed is for: the three never share a chip


class Outcomes(NamedTuple):
    """One episode on each cell; arrays (cells,) unless said otherwise."""

    pulses: np.ndarray
    reads: np.ndarray  # the first, before any pulse, among them
    accepted: np.ndarray  # bool: every target of the episode
    acceptances: np.ndarray  # targets accepted
    false_acceptances: np.ndarray  # of those, out of tolerance in truth
    error: np.ndarray  # [range] true error at the end
    energy: np.ndarray  # [J]
    latency: np.ndarray  # [s]
    returns: np.ndarray  # sum of the task's rewards
    round_pulses: np.ndarray  # (cells, rounds) pulses for each target, NaN where it was not accepted
    error_by_pulse: np.ndarray  # (max_pulses + 1,) [range] median |true error| after so many pulses, one round only
    handed_over: np.ndarray  # bool: the policy handed the cell over to another
    examples: tuple[
        tuple[np.ndarray, np.ndarray, float], ...
    ]  # reads [S], signed amplitudes [V], target [S] of some cells
    target: np.ndarray | None = None  # [range] the last one; None of those that journals of before hold


def seeded(seed: int, purpose: int) -> np.random.Generator:
    """The random generator of a seed for evaluation, tuning or training."""
    return np.random.default_rng((purpose, seed))


def mixed(*numbers: int) -> int:
    """One seed of 64 bits of several whole numbers >= 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def noise_of(task: Task, cells: range, seed: int, purpose: int) -> CellNoise:
    """The noise of the cells (or environments) of these numbers, which none of the others changes; of their chips."""
    return Episodes.of(mixed(purpose, seed), cells).noise(cells_of(task))


def evaluate(
    policy: Policy,
    task: WriteVerify,
    cells: int,
    seed: int,
    *,
    purpose: int = EVALUATION,
    chip: CellModel | None = None,
    options: dict[str, Any] | None = None,
    rest: float = 0.0,
    examples: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> Outcomes:
    """Run one episode of `task` on each of `cells` cells, all at once.

    Args:
        policy: answers `predict`.
        task: what is to be done.
        cells: how many, >= 1.
        seed: of chips, starts, targets and noise; equal for every policy.
        purpose: EVALUATION, TUNING or TRAINING chips.
        chip: cells to be used instead of freshly fabricated ones.
        options: start, target [S] instead of random ones, as `reset` of the environment takes them.
        rest: [s] without a pulse after the end, before the last target's error and acceptance are judged; later
            than what `error_by_pulse` shows.
        examples: traces to be kept of so many first cells.
        on_step: called with the number of unfinished cells after each step.
    """
    task.check_memory(cells)
    noise = noise_of(task, range(cells), seed, purpose)
    chip = task.fabricate(noise.chip, cells) if chip is None else chip
    noise = noise.next()
    episode = task.initial(chip, noise.drawn(task.initial_draws), options or {})
    state = policy.begin(chip, cells)
    size = chip.g_max - chip.g_min + np.zeros(cells)
    pulses, energy, latency, error, returns, target = (np.zeros(cells) for _ in range(6))
    reads = episode.step_reads.copy()
    accepted, handed = np.zeros(cells, bool), np.zeros(cells, bool)
    false_acceptances = np.zeros(cells)
    round_pulses = np.full((cells, task.rounds), np.nan)
    error_by_pulse = np.zeros(task.max_pulses + 1)
    latest = np.abs(episode.true_error / size)
    error_by_pulse[0] = np.median(latest)
    traces: list[tuple[list[float], list[float], float]] = [
        ([float(task.siemens(chip, episode.reading)[i])], [], float(task.siemens(chip, episode.target)[i]))
        for i in range(examples)
    ]
    rows = np.arange(cells)
    start = np.ones(cells, bool)
    for step in range(1, task.max_steps + 2):
        observation: Any = task.observe(episode)
        action, state = policy.predict(observation, state, start, True)
        handed[rows] = handed_over(state)
        noise = noise.next()
        spent, left = episode.spent, episode.rounds_left
        episode = task.transition(episode, action, noise.drawn(task.step_draws))
        returns[rows] += sum(task.reward(episode).values())
        reads[rows] += episode.step_reads
        start = np.zeros(len(rows), bool)
        here = np.flatnonzero(episode.accepted)
        round_pulses[rows[here], task.rounds - 1 - left[here].astype(int)] = spent[here] + 1
        if task.rounds == 1 and step <= task.max_pulses:
            latest[rows] = np.abs(episode.true_error / size[rows])
            error_by_pulse[step] = np.median(latest)
        for place, row in enumerate(rows[: np.searchsorted(rows, examples)]):
            amplitude, _, gave_up, *_ = task.decode(
                action[place : place + 1], take(episode.chip, slice(place, place + 1)).driver
            )
            if not gave_up[0]:
                traces[row][0].append(float(task.siemens(episode.chip, episode.reading)[place]))
                traces[row][1].append(float(amplitude[0]))
        done = task.terminated(episode)
        if done.any():
            ended, ends = rows[done], _rested(task, episode, rest) if rest else episode
            returns[ended] -= task.weight_false_acceptance * (ends.false_acceptances - episode.false_acceptances)[done]
            for whole, part in (
                (pulses, ends.pulses),
                (energy, ends.energy),
                (latency, ends.latency),
                (false_acceptances, ends.false_acceptances),
                (error, ends.true_error),
                (target, ends.target),
                (accepted, ends.rounds_left < 0),
            ):
                whole[ended] = part[done]
            keep = np.flatnonzero(~done)
            rows, start = rows[keep], start[keep]
            episode, state, noise = take(episode, keep), take(state, keep), take(noise, keep)
        if on_step:
            on_step(len(rows))
        if not len(rows):
            break
    if task.rounds == 1:
        error_by_pulse[step + 1 :] = error_by_pulse[min(step, task.max_pulses)]
    return Outcomes(
        pulses=pulses,
        reads=reads,
        accepted=accepted,
        acceptances=np.isfinite(round_pulses).sum(axis=1),
        false_acceptances=false_acceptances,
        error=error / size,
        energy=energy,
        latency=latency,
        returns=returns,
        round_pulses=round_pulses,
        error_by_pulse=error_by_pulse,
        handed_over=handed,
        target=target,
        examples=tuple((np.array(reads), np.array(amplitudes), target) for reads, amplitudes, target in traces),
    )


def _rested(task: WriteVerify, episode: WriteVerifyEpisode, seconds: float) -> WriteVerifyEpisode:
    """Episodes after so many seconds: an acceptance of the last target is false if the cell has left its band then."""
    chip = episode.chip
    true = chip.conductance(chip.rest(episode.cell, seconds))
    left = episode.accepted & ~task.within(chip, task.fraction(chip, true), episode.target)
    return episode._replace(
        true_error=true - task.siemens(chip, episode.target),
        false_acceptances=episode.false_acceptances - episode.false + left,
    )
