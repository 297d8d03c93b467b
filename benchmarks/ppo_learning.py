"""Learning curves of reinforcement learning at programming: pulses and success against seconds and steps, over seeds.

    OMP_NUM_THREADS=1 python benchmarks/ppo_learning.py --algo ppo --seeds 5 --steps 8000000 --out ppo_learning

Every run is one `memenv train` (one process, one thread, one after another), judged on the same chips, which no run
trains on. The command continues where it was interrupted. Written: learning.csv (a row for each seed and evaluation),
summary.csv (interquartile mean over the seeds with its 95 % bootstrap interval) and learning.png, with the tuned
classical controllers on the same chips as lines.
"""

import csv
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import trim_mean

from agents.evaluation import TUNING, evaluate
from agents.library import controller
from agents.training import EVALUATION_SEED, TrainConfig, checkpoint_file, train
from agents.tuning import tune
from memenv import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, rendered
from memenv.files import write_whole

LINES = ("ispp", "history")  # controllers drawn for comparison
RESAMPLES = 10_000  # of the bootstrap over seeds


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """Train an algorithm with several seeds and draw its learning curves."""

    device: str = option("threshold", help="name, .json record or .npz table")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    algo: str = option("ppo", help="algorithm of `memenv train`")
    steps: int = option(0, help="of each run [the recipe's]")
    seeds: int = option(5, help="runs")
    evaluations: int = option(60, help="points of a curve")
    cells: int = option(2000, help="on which a policy is judged")
    out: Path = option(Path("ppo_learning"), help="folder")


def rows_of(config: LearningConfig, seed: int, command: str) -> list[dict[str, float]]:
    """eval.csv of one seed, trained if it has not been."""
    folder = config.out / f"seed{seed}"
    run = TrainConfig(
        device=(config.device,),
        tolerance=config.tolerance,
        algo=config.algo,
        steps=config.steps,
        seed=seed,
        evaluations=config.evaluations,
        evaluation_cells=config.cells,
        out=folder,
    )
    train(TrainConfig(**vars(run) | {"resume": checkpoint_file(run).exists()}), command)
    with (folder / "eval.csv").open(newline="", encoding="utf-8") as file:
        return [{"seed": seed, **{name: float(value) for name, value in row.items()}} for row in csv.DictReader(file)]


def interquartile_mean(values: np.ndarray) -> Any:
    """Mean of the middle half, over the last axis."""
    return trim_mean(values, 0.25, axis=-1)


def summarise(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interquartile mean (points,) of curves (points, seeds) with its 95 % bootstrap interval over seeds."""
    draws = np.random.default_rng(0).integers(curves.shape[1], size=(RESAMPLES, curves.shape[1]))
    low, high = np.percentile([interquartile_mean(point[draws]) for point in curves], [2.5, 97.5], axis=1)
    return interquartile_mean(curves), low, high


def beats(row: dict[str, float], other: dict[str, float]) -> bool:
    """Fewer pulses at a success rate not lower by more than a tenth of a per cent."""
    return row["pulses"] < other["pulses"] and row["success"] >= other["success"] - 0.001


def main(arguments: Sequence[str]) -> None:
    """Train, summarise, draw."""
    config = parse(LearningConfig, arguments, "ppo_learning.py")
    command = "python benchmarks/ppo_learning.py " + shlex.join(arguments)
    runs = [rows_of(config, seed, command) for seed in range(config.seeds)]
    write_whole(config.out / "learning.csv", csv_text([row for run in runs for row in run]))

    points = min(len(run) for run in runs)
    summary: list[dict[str, float]] = []
    stacked = {name: np.array([[run[i][name] for run in runs] for i in range(points)]) for name in runs[0][0]}
    parts = {name: summarise(stacked[name]) for name in ("seconds", "pulses", "success")}
    for i in range(points):
        row = {"steps": float(stacked["steps"][i].mean())}
        for name, (middle, low, high) in parts.items():
            row |= {name: float(middle[i]), f"{name}_low": float(low[i]), f"{name}_high": float(high[i])}
        summary.append(row)
    write_whole(config.out / "summary.csv", csv_text(summary))

    task = WriteVerify(device=config.device, tolerance=config.tolerance, give_up=True)
    lines: dict[str, dict[str, float]] = {}
    for name in LINES:
        tuned = tune(controller(name, task), 60).policy
        outcomes = evaluate(tuned, task, config.cells, EVALUATION_SEED, purpose=TUNING)
        lines[name] = {"pulses": float(outcomes.pulses.mean()), "success": float(outcomes.accepted.mean())}

    figure = Figure(figsize=(11, 6.5), dpi=110, layout="constrained")
    for panels, what in zip(figure.subplots(2, 2), ("pulses", "success"), strict=True):
        for axes, across in zip(panels, ("seconds", "steps"), strict=True):
            for run in runs:
                axes.plot([row[across] for row in run], [row[what] for row in run], color="tab:blue", alpha=0.25)
            x = np.array([row[across] for row in summary])
            middle, low, high = parts[what]
            axes.fill_between(x, low, high, color="tab:blue", alpha=0.25)
            axes.plot(x, middle, color="tab:blue", label=f"{config.algo}, {config.seeds} seeds")
            for (name, values), colour in zip(lines.items(), ("tab:red", "tab:green"), strict=True):
                axes.axhline(values[what], linestyle="--", color=colour, label=f"{name}, tuned")
            axes.set(xlabel=across, ylabel=what, title=f"{task.device.name}, tolerance {config.tolerance:.3g}")
            if what == "pulses":
                axes.set(yscale="log", yticks=(1, 2, 3, 5, 10, 20, 50))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("")
            axes.legend()
    write_whole(config.out / "learning.png", rendered(figure))

    for name, values in lines.items():
        ahead = [[row for row in run if beats(row, values)] for run in runs]
        reached = [f"{rows[0]['seconds']:.0f}" if rows else "never" for rows in ahead]
        print(f"{name}, tuned: {values['pulses']:.2f} pulses; {config.algo} is ahead after {', '.join(reached)} s")
    last = summary[-1]
    print(
        f"{config.algo} after {last['seconds']:.0f} s, {last['steps']:.3g} steps: {last['pulses']:.3f} pulses "
        f"[{last['pulses_low']:.3f}, {last['pulses_high']:.3f}], success {last['success']:.1%}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
