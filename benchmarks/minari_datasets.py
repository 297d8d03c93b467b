"""Datasets of what the controllers do, in Minari's format: for offline reinforcement learning and imitation.

    python benchmarks/minari_datasets.py --device threshold --episodes 1000 --out datasets

One dataset a controller, `memenv/<device>/<controller>-v0`: observations, actions, rewards and infos, each episode on
a fresh cell of the seeds for training, which no evaluation sees. Where MINARI_DATASETS_PATH names the folder,
`minari.load_dataset(name).recover_environment()` makes the environment again; the seed of an episode's cell is in its
metadata. Needs the extra `clients`.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np

import memenv
from agents.evaluation import TRAINING, mixed
from agents.library import BOUNDS, controllers, load_policy
from agents.tuning import tune
from memenv.experiments.options import Options, option, parse

ID = "memenv/WriteVerify-v0"
CONTROLLERS = tuple(name for name in controllers() if name not in BOUNDS)


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(Options):
    """Record what controllers do as Minari's datasets."""

    device: str = option("threshold", help="preset")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    controllers: tuple[str, ...] = option(CONTROLLERS, help="controllers, shipped policies or paths of policies")
    episodes: int = option(1000, bounds=(1, 10**9), help="of each controller")
    trials: int = option(60, bounds=(1, 10**6), help="parameter sets that a controller's tuning tries")
    seed: int = option(0, help="of the cells and of the tuning")
    out: Path = option(Path("datasets"), help="folder of the datasets")


def record(config: DatasetConfig, name: str) -> Any:
    """The dataset of one controller."""
    env = minari.DataCollector(
        gym.make(ID, device=config.device, tolerance=config.tolerance), record_infos=True, data_format="hdf5"
    )
    policy = tune(load_policy(name, env.unwrapped.task), config.trials, config.seed).policy
    for episode in range(config.episodes):
        observation, _ = env.reset(seed=mixed(TRAINING, config.seed, episode) >> 1)  # of 64 bits, Gymnasium takes 63
        state, start, over = policy.begin(None, 1), np.ones(1, bool), False
        while not over:
            action, state = policy.predict(observation[None], state, start, True)
            observation, _, terminated, truncated, _ = env.step(action[0])
            start, over = np.zeros(1, bool), terminated or truncated
    made = env.create_dataset(
        f"memenv/{config.device}/{Path(name).stem}-v0",
        eval_env=env.spec,
        algorithm_name=name,
        author="memenv developers",
        author_email="see CITATION.cff",
        code_permalink=f"memenv {memenv.__version__}: benchmarks/minari_datasets.py",
        description=f"cells of {config.device}, programmed to {config.tolerance:g} of the range by {name}",
        requirements=["memenv"],
    )
    env.close()
    return made


def main(arguments: Sequence[str]) -> None:
    """Record all that are asked for."""
    config = parse(DatasetConfig, arguments, "minari_datasets.py")
    os.environ["MINARI_DATASETS_PATH"] = str(config.out.resolve())
    for name in config.controllers:
        made = record(config, name)
        print(f"{made.id}: {made.total_episodes} episodes, {made.total_steps} steps")


if __name__ == "__main__":
    main(sys.argv[1:])
