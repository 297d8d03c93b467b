"""Tune a controller's parameters for a device, on chips that no evaluation ever sees."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc
from tqdm import tqdm

from agents.evaluation import TUNING, evaluate
from agents.library import controller, controllers
from memenv.bounds import MANY, MOST_SEED
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.runs import Run, RunOptions, begun, command_line

GENERATIONS = 5  # of the cross-entropy search; the first is spread evenly over the ranges
ELITE = 0.2  # share of a generation that shapes the next
CELLS, FINAL_CELLS = 512, 4096  # to judge a trial on, and to judge the best few of all on
FINALISTS = 4
PACKAGES = ("memenv", "numpy", "scipy")  # that decide the parameters


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The outcome of tuning one controller."""

    policy: Any  # the controller with its best parameters
    cost: float  # as judged; of a controller mean pulses of a cell, plus max_pulses for one that was not accepted
    trials: int
    parameters: dict[str, Any] = field(default_factory=dict)


def cost(policy: Any, task: WriteVerify, cells: int, seed: int) -> float:
    """Mean pulses a cell, where a cell not accepted costs `max_pulses` on top: bad cells reward giving up early."""
    outcomes = evaluate(policy, task, cells, seed, purpose=TUNING)
    return float(np.mean(outcomes.pulses + task.max_pulses * ~outcomes.accepted))


Judge = Callable[[Any, int, int], float]  # the cost of a policy, judged on so many cells of a seed


def on_cells(policy: Any, cells: int, seed: int) -> float:
    """The cost in the policy's own task."""
    return cost(policy, policy.task, cells, seed)


def kept(run: Run, name: str) -> Judge:
    """The same, but what a run has judged already is not judged again; `name` tells its tunings apart."""
    numbers = count()

    def judged(policy: Any, cells: int, seed: int) -> float:
        return float(run.once((name, "trial", next(numbers)), lambda: on_cells(policy, cells, seed)))

    return judged


def tune(policy: Any, trials: int = 100, seed: int = 0, judged: Judge = on_cells) -> Tuned:
    """The best of `trials` parameter sets, searched by the cross-entropy method on common random numbers.

    Args:
        policy: a frozen dataclass, such as a controller with its `task`; fields with metadata "range" (low, high) and
            "log" are tuned, numbers or tuples of them, trials and cells scaled by its `tuning_effort`. Anything without
            such fields is returned as it is.
        trials: parameter sets, >= 1; the controller's own parameters are the first of them, and with 1 the only ones.
        seed: of the tuning chips and of the search.
        judged: the cost of a parameter set.
    """
    fields = (
        [f for f in dataclasses.fields(policy) if "range" in f.metadata] if dataclasses.is_dataclass(policy) else []
    )
    if not fields:
        return Tuned(policy=policy, cost=float("nan"), trials=0)
    effort = policy.tuning_effort
    trials, cells, final_cells = (max(round(effort * number), 1) for number in (trials, CELLS, FINAL_CELLS))
    own = np.concatenate([np.atleast_1d(_scaled(f, getattr(policy, f.name))) for f in fields])
    sizes = [np.size(getattr(policy, f.name)) for f in fields]
    low, high = np.repeat([_scaled(f, f.metadata["range"]) for f in fields], sizes, axis=0).T
    rng = np.random.default_rng((TUNING, seed))

    def build(point: np.ndarray) -> Any:
        values: dict[str, Any] = {}
        for f, part in zip(fields, np.split(point, np.cumsum(sizes)[:-1]), strict=True):
            numbers = tuple((np.exp(part) if f.metadata.get("log") else part).tolist())
            values[f.name] = numbers if isinstance(getattr(policy, f.name), tuple) else numbers[0]
        return dataclasses.replace(policy, **values)

    def judge(points: np.ndarray, cells: int) -> np.ndarray:
        return np.array([judged(build(point), cells, seed) for point in points])

    size = max((trials - 1) // GENERATIONS, 1)
    points, scores = own[None], judge(own[None], cells)
    while len(points) < trials:
        size = min(size, trials - len(points))
        if len(points) == 1:
            fresh = low + (high - low) * qmc.LatinHypercube(len(own), rng=rng).random(size)
        else:
            elite = points[np.argsort(scores)[: max(int(ELITE * len(points)), 2)]]
            spread = elite.std(axis=0) + 0.02 * (high - low)
            fresh = np.clip(elite.mean(axis=0) + spread * rng.standard_normal((size, len(own))), low, high)
        points, scores = np.vstack([points, fresh]), np.concatenate([scores, judge(fresh, cells)])
    finalists = points[np.argsort(scores)[:FINALISTS]]
    final = judge(finalists, final_cells)
    winner = build(finalists[np.argmin(final)])
    parameters = {f.name: getattr(winner, f.name) for f in fields}
    return Tuned(policy=winner, cost=float(final.min()), trials=len(points), parameters=parameters)


def _scaled(f: Any, value: Any) -> Any:
    """A value, or a range, on the scale of the search."""
    return np.log(value) if f.metadata.get("log") else np.asarray(value, float)


@dataclass(frozen=True, kw_only=True)
class TuneConfig(RunOptions):
    """Tune classical controllers for a device and print their parameters, on chips that no evaluation sees.

    Example: memenv tune --device pcm --controllers ispp,secant --trials 60
    """

    device: str = option("threshold", help="a name, a .json record or a .npz table")
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    controllers: tuple[str, ...] = option((), help="controllers to tune [all]")
    trials: int = option(256, bounds=(1, MANY), help="parameter sets tried for each")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of the tuning chips and the search")
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    out: Path | None = option(None, help="write the parameters to this JSON file as well, which --resume needs")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(TuneConfig, arguments, "memenv tune")
    task = WriteVerify(device=config.device, tolerance=config.tolerance, max_pulses=config.max_pulses, give_up=True)
    names = config.controllers or controllers()
    chosen = [(name, controller(name, task)) for name in names]
    if config.out is None:
        if config.resume:
            raise ValueError("--resume needs --out, the file of the run to resume")
        place: Any = nullcontext()
    else:
        if config.out.is_dir():
            raise ValueError(f"{config.out} is a folder: name a file in it")
        place = begun(config.out, config, command=command_line("memenv tune", arguments), packages=PACKAGES)
    found: dict[str, Any] = {}
    with place as run:
        for name, policy in tqdm(chosen, unit="controller", disable=None, file=sys.stderr):
            tuned = tune(policy, config.trials, config.seed, kept(run, name) if run else on_cells)
            found[name] = {"cost": tuned.cost, "trials": tuned.trials, "parameters": tuned.parameters}
            values = ", ".join(f"{key}={value:.4g}" for key, value in tuned.parameters.items())
            tqdm.write(f"{name:<16} cost {tuned.cost:7.3f}  {values}")
            if run and not run.again:
                facts = {"device": task.device.name, "tolerance": config.tolerance, "seed": config.seed}
                run.write({}, **facts, controllers=found, complete=len(found) == len(chosen))
