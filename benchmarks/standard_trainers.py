"""What stable-baselines3 and sb3-contrib learn by id, with nothing of memenv's but the environments.

    OMP_NUM_THREADS=1 python benchmarks/standard_trainers.py --seeds 5 --out standard_trainers

Every run is `make_vec_env(id, n_envs=8)` without a wrapper, the algorithm with "MlpPolicy", and the settings below or
the library's own. It is judged now and then, acting deterministically, on cells that no run trains on. The command goes
on where it was interrupted: a run that is in curves.csv is not made again. Written: curves.csv (a row for each run and
evaluation) and curves.png; printed: a table, with write-verify tuned on other cells.
"""

import csv
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from matplotlib.figure import Figure
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import memenv
from agents.evaluation import EVALUATION, Outcomes, evaluate
from agents.library import controller
from agents.tuning import tune
from memenv import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text
from memenv.files import write_whole

ENVS = 8
JUDGEMENTS = 20  # of a run


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """An algorithm, where it learns, and for how long."""

    model: Any  # the class
    steps: int
    id: str = "memenv/WriteVerify-v0"
    arguments: dict[str, Any] = field(default_factory=dict)  # of the environment
    settings: dict[str, Any] = field(default_factory=dict)  # of the model


OM = {"device": "hfo2-array-om", "give_up": True}
TRAINERS = {
    "ppo": Trainer(model=PPO, steps=200_000, settings={"n_steps": 256, "batch_size": 256, "learning_rate": 1e-3}),
    "ppo-defaults": Trainer(model=PPO, steps=1_000_000),
    "sac": Trainer(model=SAC, steps=50_000, settings={"gradient_steps": -1}),
    "dqn": Trainer(model=DQN, steps=300_000, id="memenv/WriteVerifyDiscrete-v0", settings={"gradient_steps": -1}),
    "maskable-ppo-om": Trainer(
        model=MaskablePPO,
        steps=1_000_000,
        id="memenv/WriteVerifyDiscrete-v0",
        arguments=OM,
        settings={"n_steps": 256, "batch_size": 256, "learning_rate": 1e-3},
    ),
}


@dataclass(frozen=True, kw_only=True)
class StandardConfig:
    """Train by id with standard tools, judge, draw."""

    trainers: tuple[str, ...] = option(tuple(TRAINERS), help="which, names separated by spaces")
    seeds: int = option(5, help="runs of each")
    cells: int = option(4000, help="on which a policy is judged")
    out: Path = option(Path("standard_trainers"), help="folder")


@dataclass(frozen=True)
class Deterministic:
    """A model's most likely actions, with the masks where it takes them."""

    model: Any
    task: WriteVerify

    def begin(self, chip: Any, cells: int) -> None:
        """Nothing is remembered."""

    def predict(self, observation: np.ndarray, *_: Any) -> tuple[np.ndarray, None]:
        """Actions (cells, ...)."""
        masked = isinstance(self.model.policy, MaskableActorCriticPolicy)
        masks = {"action_masks": self.task.masks_of(observation)} if masked else {}
        return self.model.predict(observation, deterministic=True, **masks)[0], None


class Judge(BaseCallback):
    """Judges the model now and then; between rollouts, so that nothing of the training changes."""

    def __init__(self, every: int, judged: Any) -> None:
        super().__init__()
        self.every, self.judged, self.due = every, judged, 0

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.due:
            self.due += self.every
            self.judged(self.num_timesteps)

    def _on_step(self) -> bool:
        return True


def figures(outcomes: Outcomes) -> dict[str, float]:
    """Mean pulses and share of success."""
    return {"pulses": float(outcomes.pulses.mean()), "success": float(outcomes.accepted.mean())}


def run(name: str, seed: int, cells: int) -> list[dict[str, Any]]:
    """The rows of one run."""
    trainer, rows, begun = TRAINERS[name], [], time.perf_counter()
    env = make_vec_env(trainer.id, n_envs=ENVS, seed=seed, env_kwargs=trainer.arguments)
    model = trainer.model("MlpPolicy", env, seed=seed, device="cpu", **trainer.settings)
    task = gym.make(trainer.id, **trainer.arguments).unwrapped.task  # type: ignore[attr-defined]

    def judged(steps: int) -> None:
        outcomes = evaluate(Deterministic(model, task), task, cells, 0, purpose=EVALUATION)
        row = {"trainer": name, "seed": seed, "steps": steps, "seconds": time.perf_counter() - begun}
        rows.append(row | figures(outcomes))

    model.learn(trainer.steps, Judge(trainer.steps // JUDGEMENTS, judged))
    judged(model.num_timesteps)
    return rows


def bar(name: str, cells: int) -> dict[str, float]:
    """What tuned incremental step pulses take on the same cells."""
    arguments = {"give_up": True} | TRAINERS[name].arguments
    task = WriteVerify(**arguments)
    return figures(evaluate(tune(controller("ispp", task), 100).policy, task, cells, 0, purpose=EVALUATION))


def draw(rows: Sequence[dict[str, Any]], bars: dict[str, dict[str, float]]) -> bytes:
    """Pulses and success against steps, a column a trainer and a line a seed, with write-verify dashed."""
    figure = Figure(figsize=(4.5 * len(bars), 5.5), dpi=100, layout="constrained")
    panels = figure.subplots(2, len(bars), squeeze=False)
    for column, (name, line) in enumerate(bars.items()):
        for axes, what in zip(panels[:, column], ("pulses", "success"), strict=True):
            for seed in sorted({row["seed"] for row in rows if row["trainer"] == name}):
                own = [row for row in rows if row["trainer"] == name and row["seed"] == seed]
                axes.plot([row["steps"] / 1000 for row in own], [row[what] for row in own], label=f"seed {seed:.0f}")
            axes.axhline(line[what], linestyle="--", color="black", label="ISPP, tuned")
            axes.set(xlabel="environment steps / 1000", ylabel=what)
        panels[0, column].set(title=name, yscale="log", yticks=(3, 5, 10, 20, 50))
        panels[0, column].yaxis.set_major_formatter("{x:g}")
        panels[0, column].yaxis.set_minor_formatter("")
    panels[0, 0].legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, judge, print, draw."""
    config = parse(StandardConfig, arguments, "standard_trainers.py")
    torch.set_num_threads(1)
    path = config.out / "curves.csv"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {key: value if key == "trainer" else float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
    print(f"memenv {memenv.__version__}, gymnasium {gym.__version__}, torch {torch.__version__}")
    print("| trainer | seed | steps | seconds | pulses | success % | ISPP: pulses | success % |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    bars = {name: bar(name, config.cells) for name in config.trainers}
    for name in config.trainers:
        for seed in range(config.seeds):
            if not any(row["trainer"] == name and row["seed"] == seed for row in rows):
                rows += run(name, seed, config.cells)
                config.out.mkdir(parents=True, exist_ok=True)
                write_whole(path, csv_text(rows))
            last = [row for row in rows if row["trainer"] == name and row["seed"] == seed][-1]
            own = f"{last['steps']:,.0f} | {last['seconds']:.0f} | {last['pulses']:.2f} | {100 * last['success']:.1f}"
            print(f"| {name} | {seed} | {own} | {bars[name]['pulses']:.2f} | {100 * bars[name]['success']:.1f} |")
            sys.stdout.flush()
    write_whole(config.out / "curves.png", draw(rows, bars))


if __name__ == "__main__":
    main(sys.argv[1:])
