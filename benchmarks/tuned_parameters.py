"""The parameters that are shipped: the best of six searches for each controller, preset and tolerance.

    python benchmarks/tuned_parameters.py

writes agents/shipped/tuned/DEVICE.json. What is there for the same record and task is kept, so that the command goes on
where it stopped and makes anew what a changed record needs; --retune makes everything anew. All results are judged on
the same tuning cells, which neither the searches nor evaluations see.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.bulk.writer import mass_writer
from agents.evaluation import TUNING, evaluate, mixed
from agents.library import known_policies, load_policy
from agents.tuned import FORMAT, Card, cards, folder, identity
from agents.tuning import compiled, costs, priced, tunable, tune
from memenv import WriteVerify
from memenv.devices.catalogue import presets
from memenv.experiments.options import option, parse
from memenv.experiments.runs import command_line, versions
from memenv.files import write_whole

JUDGES = 10**6  # seed of the tuning cells on which results are judged
CELLS = 20_000  # of them, scaled by the policy's `tuning_effort` where there are no loops


@dataclass(frozen=True, kw_only=True)
class TunedParametersConfig:
    """Tune controllers for presets and ship their parameters."""

    device: tuple[str, ...] = option((), help="presets [all of one device]")
    tolerance: tuple[float, ...] = option((0.02, 0.01), help="half-widths of the target band, fractions of the range")
    controllers: tuple[str, ...] = option((), help="controllers and shipped policies [all]")
    seeds: int = option(6, help="searches, of which the best is shipped")
    retune: bool = option(False, help="also what is shipped already")


def main(arguments: Sequence[str]) -> None:
    """Tune, judge, write."""
    config = parse(TunedParametersConfig, arguments, "tuned_parameters.py")
    command = command_line("python benchmarks/tuned_parameters.py", arguments)
    for device in config.device or presets():
        for tolerance in config.tolerance:
            task = priced(WriteVerify(device=device, tolerance=tolerance, give_up=True), None)
            for name in config.controllers or known_policies(task):
                policy = load_policy(name, task)
                there = {card.identity for card in cards(device)}
                if tunable(policy) and (config.retune or identity(policy) not in there):
                    ship(made(name, policy, config.seeds), device, command)


def made(name: str, policy: Any, seeds: int) -> Card:
    """The best parameters of several searches."""
    found = [tune(policy, seed=seed) for seed in tqdm(range(seeds), desc=f"{name} on {policy.task.device.name}")]
    judged = [judge(one.policy) for one in found]
    best = found[int(np.argmin([cost for cost, _ in judged]))]
    prices, pulses = ([float(f"{number:.5g}") for number in part] for part in zip(*judged, strict=True))
    rounded = {key: float(f"{value:.5g}") for key, value in best.parameters.items()}
    return Card(name, policy.task.tolerance, identity(policy), rounded, best.trials, prices, pulses)


def judge(policy: Any) -> tuple[float, float]:
    """Mean cost and mean pulses."""
    if compiled(policy):
        outcomes: Any = mass_writer(policy)(CELLS, mixed(TUNING, JUDGES), workers=1)
    else:
        outcomes = evaluate(policy, policy.task, round(CELLS * policy.tuning_effort), JUDGES, purpose=TUNING)
    return float(costs(policy.task, outcomes).mean()), float(outcomes.pulses.mean())


def ship(card: Card, device: str, command: str) -> None:
    """Write the card into the device's file, in place of an earlier one."""
    others = [one for one in cards(device) if (one.controller, one.tolerance) != (card.controller, card.tolerance)]
    mine = sorted([*others, card], key=lambda one: (-one.tolerance, one.controller))
    tree = {
        "format": FORMAT,
        "device": device,
        "command": command,
        "versions": versions("memenv", "numpy", "scipy", "cmaes"),
        "cards": [one._asdict() for one in mine],
    }
    write_whole(Path(str(folder())) / f"{device}.json", json.dumps(tree, indent=1) + "\n")
    cards.cache_clear()
    tqdm.write(f"{device} {card.controller} {card.tolerance:g}: pulses {np.round(card.pulses, 3).tolist()}")


if __name__ == "__main__":
    main(sys.argv[1:])
