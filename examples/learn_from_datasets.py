"""Offline learning in a page: a network imitates the episodes of a dataset, and meets their author on fresh cells.

    python examples/learn_from_datasets.py --teacher secant --episodes 1000

The teacher remembers what a cell did; the network sees the last pulse alone. Needs the extras `datasets` and `rl`.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from agents import evaluate, load_policy
from agents.datasets import DatasetsConfig, record
from memenv import WriteVerify
from memenv.experiments.options import Options, option, parse

QUICK = "MEMENV_QUICK" in os.environ


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Imitate a controller from a dataset of its episodes."""

    teacher: str = option("secant", help="a controller or a policy")
    episodes: int = option(200 if QUICK else 1000, bounds=(1, 10**6), help="of the dataset")
    passes: int = option(20 if QUICK else 100, bounds=(1, 10**6), help="over the dataset")
    cells: int = option(1000, bounds=(1, 10**6), help="fresh cells on which both are judged")


@dataclass(frozen=True)
class Imitation:
    """The network as a policy."""

    network: nn.Module

    def begin(self, chip: Any, cells: int) -> None:
        """Nothing to remember."""

    def predict(self, observation: np.ndarray, *_: Any) -> tuple[np.ndarray, None]:
        """The teacher's action, as far as the last pulse tells it."""
        with torch.no_grad():
            return self.network(torch.as_tensor(observation)).clamp(-1, 1).numpy(), None


config = parse(Config, sys.argv[1:], "learn_from_datasets.py")
own = DatasetsConfig(policies=(config.teacher,), episodes=config.episodes, trials=1, out=Path(tempfile.mkdtemp()))
(dataset,) = record(own)
print(f"{dataset.id}: {dataset.total_episodes} episodes, {dataset.total_steps} steps", flush=True)
episodes = list(dataset.iterate_episodes())
seen = torch.as_tensor(np.concatenate([episode.observations[:-1] for episode in episodes]))
done = torch.as_tensor(np.concatenate([episode.actions for episode in episodes]))

torch.manual_seed(0)
network = nn.Sequential(
    nn.Linear(seen.shape[1], 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, done.shape[1])
)
optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
for number in range(config.passes):
    for rows in torch.randperm(len(seen)).split(256):
        loss = nn.functional.l1_loss(network(seen[rows]), done[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    if (number + 1) % (config.passes // 5) == 0:
        print(f"pass {number + 1}: error of an action {loss.item():.3f}", flush=True)

task = WriteVerify(device="threshold")
for name, policy in ((config.teacher, load_policy(config.teacher, task)), ("its imitation", Imitation(network))):
    judged = evaluate(policy, task, config.cells, seed=1)
    print(f"{name}: {judged.pulses.mean():.2f} pulses, {judged.accepted.mean():.1%} of fresh cells programmed")
