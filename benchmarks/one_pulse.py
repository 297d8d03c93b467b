"""After one pulse: the share of cells within 50, 10 and 5 % of the target conductance.

    python benchmarks/one_pulse.py --policies nominal my-memoryless-policy.npz

`nominal` is the noise-free inverse of the nominal device with gain 1: exact on a nominal cell without cycle noise, and
blind to the spread of the cells. `best factor` multiplies its dose by what brings most cells near, found for each
column and each field of a grid over read and target on other chips: about the most that a policy can do which has not
met the cell. {device} in --policies stands for the device's name.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.classical.inverse import NominalInverse
from agents.comparison import Row
from agents.evaluation import EVALUATION, TUNING, noise_of
from agents.library import load_policy
from agents.policy import Policy
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, markdown, mean_interval, shown
from memenv.files import write_whole

WITHIN = (0.5, 0.1, 0.05)  # relative error of the conductance
FACTORS = np.geomspace(0.25, 2.5, 24)  # on the nominal dose
FIELDS = 8  # of the grid, in read and in target
MORE = 4  # times as many cells to find the factors
KEYS = [f"within_{limit:g}" for limit in WITHIN]
DEVICES = ("threshold", "alox-hfo2", "hfo2-array-om", "hfo2-array-baseline", "enode-sandia", "taox-sandia", "pcm")


@dataclass(frozen=True, kw_only=True)
class OnePulseConfig:
    """Program fresh cells by one pulse each, from a random start to a random target."""

    device: tuple[str, ...] = option(DEVICES, help="names or .json records")
    policies: tuple[str, ...] = option(("nominal", "oracle"), help="names or paths; {device} in them")
    tolerance: float = option(0.02, help="of the task of a policy, fraction of the range")
    cells: int = option(10_000, help="fresh cells for each policy")
    seed: int = option(0, help="of chips, starts, targets and noise")
    out: Path = option(Path("one-pulse"), help="folder of one_pulse.csv and .md")


class Shots(NamedTuple):
    """One pulse on each cell, arrays (cells,)."""

    field: np.ndarray  # number of the cell's read and target on the grid
    error: np.ndarray  # of the true conductance, as a fraction of the target


def shoot(policy: Policy, task: WriteVerify, cells: int, seed: int, purpose: int = EVALUATION) -> Shots:
    """Program fresh cells by one pulse each."""
    noise = noise_of(task, range(cells), seed, purpose)
    chip, noise = task.fabricate(noise.chip, cells), noise.next()
    episode = task.initial(chip, noise.drawn(task.initial_draws), {})
    action, _ = policy.predict(task.observe(episode), policy.begin(chip, cells), np.ones(cells, bool))
    after = task.transition(episode, action, noise.next().drawn(task.step_draws))
    low, high = task.target_range
    target = (episode.target - low) / (high - low)
    row, column = (np.clip(FIELDS * part, 0, FIELDS - 1).astype(int) for part in (episode.reading, target))
    return Shots(FIELDS * row + column, after.true_error / task.siemens(chip, episode.target))


def best_factors(task: WriteVerify, config: OnePulseConfig) -> list[np.ndarray]:
    """For each limit (cells,) bool: within it, under the nominal dose times the best factor for read and target."""

    def errors(cells: int, purpose: int) -> tuple[np.ndarray, np.ndarray]:
        policies = [NominalInverse(task=task, gain=float(factor)) for factor in FACTORS]
        shots = [shoot(policy, task, cells, config.seed, purpose) for policy in policies]
        return shots[0].field, np.abs([shot.error for shot in shots])

    found_field, found = errors(MORE * config.cells, TUNING)
    field, error = errors(config.cells, EVALUATION)
    near = []
    for limit in WITHIN:
        hits = np.array([np.bincount(found_field, row <= limit, FIELDS**2) for row in found])
        near.append(error[np.argmax(hits, axis=0)[field], np.arange(config.cells)] <= limit)
    return near


def main() -> None:
    """Run, print and write."""
    config = parse(OnePulseConfig, sys.argv[1:], "one_pulse.py")
    rows: list[Row] = []
    for device in config.device:
        task = WriteVerify(device=device, tolerance=config.tolerance, max_pulses=1)
        policies = {name: load_policy(name.format(device=task.device.name), task) for name in config.policies}
        errors = {name: shoot(policy, task, config.cells, config.seed).error for name, policy in policies.items()}
        near = {name: [np.abs(error) <= limit for limit in WITHIN] for name, error in errors.items()}
        near["best factor"] = best_factors(task, config)
        for name, columns in near.items():
            row = Row(device=task.device.name, policy=name, cells=config.cells)
            for key, column in zip(KEYS, columns, strict=True):
                figure = mean_interval(100.0 * column, config.seed)
                row |= {f"{key}{end}": value for end, value in zip(("", "_low", "_high"), figure, strict=True)}
            rows.append(row)
    lines = [
        [row["device"], row["policy"], *(shown((row[k], row[f"{k}_low"], row[f"{k}_high"]), "{:.1f}") for k in KEYS)]
        for row in rows
    ]
    head = ["device", "policy", *(f"within {100 * limit:g} % [% of cells]" for limit in WITHIN)]
    command = "python benchmarks/one_pulse.py " + shlex.join(sys.argv[1:])
    text = f"`{command}`\n\n{markdown(head, lines)}"
    write_whole(config.out / "one_pulse.csv", csv_text(rows))
    write_whole(config.out / "one_pulse.md", text)
    print(text)


if __name__ == "__main__":
    main()
