"""Tune a controller's parameters for a device, on chips that no evaluation ever sees.

The search is CMA-ES (Hansen, arXiv:1604.00772; the package `cmaes`). A generation is judged on the same cells, the next
one on others, so that no parameter set wins by its cells; towards the end there are more of them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from agents.bulk.writer import MassWriter, mass_writer
from agents.classical.write_verify import Controller
from agents.evaluation import TUNING, evaluate, mixed
from agents.library import CONTROLLERS, GATED, controller, controllers
from memenv.bounds import MANY, MOST_SEED, MOST_WEIGHT, whole
from memenv.compiler.runtime import Unsupported
from memenv.engine import load_engine
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.kept import Kept, Once
from memenv.experiments.options import option, parse
from memenv.experiments.parallel import WorkerOptions, keep, workers
from memenv.experiments.runs import RunOptions, begun, command_line

TRIALS, FEW_TRIALS = 2000, 200  # by default, where loops are compiled and where not
TRIALS_HELP = (
    "parameter sets that a controller's tuning tries, 1 = no tuning [shipped parameters where there are any, else "
    f"{TRIALS}, {FEW_TRIALS} where loops are not compiled]"
)
CELLS, FINAL_CELLS = 256, 8192  # to judge the first generations on, and to judge the best few of all on
STAGES = ((0.5, 1), (0.8, 4), (1.0, 8))  # shares of the search that end with so many times CELLS
FINALISTS = 8
SMALLEST = 4  # generation
SPREAD = 0.3  # [of the ranges] standard deviation of the first generation
MEDIUM = 0.01  # [pulses] usual price of a pulse's time, if it has the medium width of the driver
PACKAGES = ("memenv", "numpy", "scipy", "cmaes")  # that decide the parameters


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The outcome of tuning one controller."""

    policy: Any  # the controller with its best parameters
    cost: float  # as judged, of a controller the mean of `costs`
    trials: int
    parameters: dict[str, Any] = field(default_factory=dict)
    pulses: Sequence[float] = ()  # of the results of several searches, where this is the best of them


def costs(task: WriteVerify, outcomes: Any) -> np.ndarray:
    """Price of each cell [pulses], of `Outcomes` or `Programmed` (cells,).

    Pulses; `max_pulses` more for a cell that was not accepted: bad cells must not reward giving up early; and time and
    energy at the task's own weights, of which `WriteVerify.weight_pulses` is a pulse, as policies are trained.
    """
    priced = task.weight_latency * outcomes.latency + task.weight_energy * outcomes.energy
    paid: np.ndarray = outcomes.pulses + task.max_pulses * ~outcomes.accepted + priced / WriteVerify.weight_pulses
    return paid


def priced(task: WriteVerify, weight_latency: float | None) -> WriteVerify:
    """The task with this price of time [1/s]; None is the usual one, at which long pulses break ties only.

    It depends on the device, since some take nanoseconds and others milliseconds.
    """
    if weight_latency is None:
        drivers = [device.driver for device in task.device.devices or (task.device,)]
        medium = np.exp(np.mean(np.log([(driver.width_min, driver.width_max) for driver in drivers])))
        weight_latency = float(f"{MEDIUM * WriteVerify.weight_pulses / medium:.3g}")
    return dataclasses.replace(task, weight_latency=weight_latency)


def cost(policy: Any, task: WriteVerify, cells: int, seed: int) -> float:
    """Mean of `costs` over tuning cells."""
    return float(np.mean(costs(task, evaluate(policy, task, cells, seed, purpose=TUNING))))


Judge = Callable[[Sequence[Any], int, int], np.ndarray]  # costs of policies, each judged on the same cells of a seed


def one_by_one(cost: Callable[[Any, int, int], float]) -> Judge:
    """A judge by the cost of one policy on so many cells of a seed."""
    return lambda policies, cells, seed: np.array([cost(policy, cells, seed) for policy in policies])


def on_cells(policies: Sequence[Any], cells: int, seed: int) -> np.ndarray:
    """Mean of `costs` in the task of policies that differ in parameters alone: several in a loop, if there is one."""
    policy = policies[0]
    if len(policies) > 1 and compiled(policy):  # NumPy has judged one before its loop is compiled
        values = {f.name: np.array([getattr(one, f.name) for one in policies]) for f in tunable(policy)}
        write = _writer(dataclasses.replace(policy, **{f.name: f.default for f in tunable(policy)}))
        with suppress(Unsupported):  # numbers of the device that single precision does not hold
            written = write(cells, mixed(TUNING, seed), variants=values, workers=1)
            mean: np.ndarray = costs(policy.task, written).reshape(cells, len(policies)).mean(axis=0)
            return mean
    return one_by_one(lambda one, cells, seed: cost(one, one.task, cells, seed))(policies, cells, seed)


def compiled(policy: Any) -> bool:
    """True where trials of the policy run in compiled loops: it is one of ours, all of which remember numbers only."""
    own = isinstance(policy, Controller) and type(policy) in (CONTROLLERS | GATED).values()
    return own and policy.task.action == "continuous" and not policy.task.not_compiled and load_engine().name == "numba"


@functools.lru_cache(maxsize=4)
def _writer(policy: Controller) -> MassWriter:
    """The loops of a controller, which are the same for all of its parameters."""
    return mass_writer(policy, [f.name for f in tunable(policy)])


def tunable(policy: Any) -> list[Any]:
    """The fields that a search may set."""
    return [f for f in dataclasses.fields(policy) if "range" in f.metadata] if dataclasses.is_dataclass(policy) else []


def by_generation(once: Once) -> Judge:
    """`on_cells`, each generation of a search kept by its number, so that it is not judged again."""
    numbers = count()

    def judged(policies: Sequence[Any], cells: int, seed: int) -> np.ndarray:
        return np.asarray(once(("generation", next(numbers)), lambda: on_cells(policies, cells, seed).tolist()))

    return judged


def tune(policy: Any, trials: int | None = None, seed: int = 0, judged: Judge | None = None) -> Tuned:
    """The best of `trials` parameter sets.

    Args:
        policy: a frozen dataclass, such as a controller with its `task`; fields with metadata "range" (low, high) and
            "log" are tuned, numbers or tuples of them, trials and cells scaled by its `tuning_effort`. Anything without
            such fields is returned as it is.
        trials: parameter sets, >= 1, rounded down to whole generations; the controller's own parameters are the first
            of them, and the only ones where there are too few for a generation. None: as many as take seconds.
        seed: of the tuning chips and of the search.
        judged: the costs of parameter sets; None: `on_cells`.

    Raises:
        ValueError: less than one trial.
    """
    if trials is not None:
        whole("trials", trials, 1, MANY)
    fields, judged = tunable(policy), judged or on_cells
    if not fields:
        return Tuned(policy=policy, cost=float("nan"), trials=0)
    if trials is None:
        trials = TRIALS if compiled(policy) else FEW_TRIALS
    effort = policy.tuning_effort
    trials = max(round(effort * trials), 1)
    own = np.concatenate([np.atleast_1d(_scaled(f, getattr(policy, f.name))) for f in fields])
    sizes = [np.size(getattr(policy, f.name)) for f in fields]
    low, high = np.repeat([_scaled(f, f.metadata["range"]) for f in fields], sizes, axis=0).T

    def build(point: np.ndarray) -> Any:
        values: dict[str, Any] = {}
        for f, part in zip(fields, np.split(low + (high - low) * point, np.cumsum(sizes)[:-1]), strict=True):
            numbers = tuple((np.exp(part) if f.metadata.get("log") else part).tolist())
            values[f.name] = numbers if isinstance(getattr(policy, f.name), tuple) else numbers[0]
        return dataclasses.replace(policy, **values)

    def judge(points: Sequence[np.ndarray], cells: int, number: int) -> np.ndarray:
        return judged([build(point) for point in points], max(round(effort * cells), 1), mixed(seed, number))

    points, tried = _search((own - low) / (high - low), trials, seed, judge)
    final = judge(points, FINAL_CELLS, tried)
    winner = build(points[np.argmin(final)])
    parameters = {f.name: getattr(winner, f.name) for f in fields}
    return Tuned(policy=winner, cost=float(final.min()), trials=tried, parameters=parameters)


def _search(
    own: np.ndarray, trials: int, seed: int, judge: Callable[[Sequence[np.ndarray], int, int], np.ndarray]
) -> tuple[list[np.ndarray], int]:
    """Points in the unit cube that may be the best, of which `own` is the first, and how many were tried."""
    from cmaes import CMA

    if trials < SMALLEST:
        return [own], 1
    size = max(isqrt(trials), SMALLEST)
    generations = trials // size
    search = CMA(
        mean=np.clip(own, 0.05, 0.95),
        sigma=SPREAD,
        bounds=np.array([[0.0, 1.0]] * len(own)),
        seed=mixed(TUNING, seed) % 2**32,
        population_size=size,
    )
    best = [own]
    for number in range(generations):
        points = [search.ask() for _ in range(size)]
        if number == 0:
            points[0] = own
        cells = CELLS * next(times for end, times in STAGES if number < end * generations)
        found = judge(points, cells, number * size)
        search.tell(list(zip(points, found.tolist(), strict=True)))
        best.append(points[np.argmin(found)])
    return [own, np.clip(search.mean, 0.0, 1.0), *best[-(FINALISTS - 2) :]], generations * size


def _scaled(f: Any, value: Any) -> Any:
    """A value, or a range, on the scale of the search."""
    return np.log(value) if f.metadata.get("log") else np.asarray(value, float)


@dataclass(frozen=True, kw_only=True)
class PriceOptions(RunOptions):
    """What tuning pays for besides pulses and failures, alike for every command that tunes."""

    group: ClassVar[str] = "prices of tuning"

    weight_energy: float = option(0.0, bounds=(0.0, MOST_WEIGHT), help="price of energy, as of memenv train [1/J]")
    weight_latency: float | None = option(
        None, bounds=(0.0, MOST_WEIGHT), help="price of time, as of memenv train [1/s] [0.01 of a pulse a medium width]"
    )


@dataclass(frozen=True, kw_only=True)
class TuneConfig(PriceOptions, WorkerOptions):
    """Tune classical controllers for a device and print their parameters, on chips that no evaluation sees.

    Example: memenv tune --device pcm --controllers ispp,secant --trials 60
    """

    device: str = option("threshold", help="a name, a .json record or a .npz table")
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    controllers: tuple[str, ...] = option((), distinct=True, help="controllers to tune [all]")
    trials: int | None = option(None, bounds=(1, MANY), help="parameter sets tried for each [2000; 200 without numba]")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of the tuning chips and the search")
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    out: Path | None = option(None, help="write the parameters to this JSON file as well, which --resume needs")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(TuneConfig, arguments, "memenv tune")
    own = {name: getattr(config, name) for name in ("device", "tolerance", "max_pulses", "weight_energy")}
    task = priced(WriteVerify(**own, give_up=True), config.weight_latency)
    chosen = [(name, controller(name, task)) for name in config.controllers or controllers()]
    if not config.controllers:
        chosen = [(name, policy) for name, policy in chosen if tunable(policy)]
    elif fixed := [name for name, policy in chosen if not tunable(policy)]:
        raise ValueError(f"controllers are {', '.join(config.controllers)}: {fixed[0]} has no parameters to tune")
    if config.out is None:
        if config.resume:
            raise ValueError("--resume needs --out, the file of the run to resume")
        place: Any = nullcontext()
    else:
        if config.out.is_dir():
            raise ValueError(f"{config.out} is a folder: name a file in it")
        place = begun(config.out, config, command=command_line("memenv tune", arguments), packages=PACKAGES)
    found = dict[str, Any]()
    with workers(config.jobs, config.cluster, PACKAGES) as finished, place as run:
        kept = run.kept if run else Kept()
        pieces = {
            (name, "found"): partial(
                found_for, policy, config.trials, config.seed, by_generation(kept.of(name)) if config.alone else None
            )
            for name, policy in chosen
        }
        for (name, _), one in keep(kept, finished, pieces, "controller"):
            found[name] = one
            values = ", ".join(f"{key}={value:.4g}" for key, value in one["parameters"].items())
            tqdm.write(f"{name:<16} cost {one['cost']:7.3f}  {values}")
            if run and not run.again:
                facts = {"device": task.device.name, "tolerance": config.tolerance, "seed": config.seed}
                whole = {name: found[name] for name, _ in chosen if name in found}
                run.write({}, **facts, controllers=whole, complete=len(found) == len(chosen))


def found_for(policy: Any, *search: Any) -> dict[str, Any]:
    """What a search of `tune` found, as `memenv tune` keeps it."""
    tuned = tune(policy, *search)
    return {"cost": tuned.cost, "trials": tuned.trials, "parameters": tuned.parameters}
