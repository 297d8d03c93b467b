"""Scores of tuned controllers and shipped policies by id: where `reward_threshold` and the site's tables are from.

    python benchmarks/returns.py --out docs/scores.json

Each controller is tuned on cells, or chips, of its own and judged on others, in the id's own task (giving up is no
action there). The file keeps what it holds of ids that are not asked for. Printed: a table with 95 % intervals over
cells, arrays or episodes, and the best of those that learn nothing.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from crossbar_rl import CLASSICAL as BY_LINES
from crossbar_rl import at_random, ispp_of_lines, judged, one_after_another
from few_shot_agents import CONTROLLERS as SCHEDULES
from few_shot_agents import by_reward

import memenv
from agents.arrays import EachCell
from agents.evaluation import evaluate
from agents.few_shot import learn, shipped_agent
from agents.few_shot.schedules import own_schedule
from agents.library import fair_controllers, load_policy
from agents.tuning import Tuned, one_by_one, tune
from memenv import CrossbarProgram, FewShot, WriteVerify
from memenv.envs.variants import VARIANTS
from memenv.experiments import reporting
from memenv.experiments.options import option, parse
from memenv.files import load_json, write_whole

CLASSICAL = fair_controllers()
KNOWING = ("specialist", "generalist", "oracle")  # learned, or looking at the cell
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReturnsConfig:
    """Scores of controllers by id."""

    ids: tuple[str, ...] = option(tuple(f"memenv/{name}-v0" for name in VARIANTS), help="that are judged")
    cells: int = option(4000, help="on which a controller is judged, of arrays together")
    episodes: int = option(1000, help="of few-shot learning")
    trials: int | None = option(None, help="of tuning, 1 = no tuning [2000 where loops are compiled, else 200]")
    seed: int = option(0, help="of tuning and cells")
    out: Path | None = option(None, help="write the scores here (.json)")


def tuned_by(config: ReturnsConfig, policy: Any, **how: Any) -> Tuned:
    """The policy after as much tuning as is asked for; `how` as of `tune`."""
    if config.trials == 1:
        return Tuned(policy=policy, cost=float("nan"), trials=0)
    return tune(policy, config.trials, config.seed, **how)


def row(name: str, parameters: dict[str, Any], judged: str, **figures: np.ndarray) -> Row:
    """Means of figures (n,) with their intervals, `judged` on n of these."""
    means = {key: reporting.mean_interval(np.asarray(values, float)) for key, values in figures.items()}
    count = len(next(iter(figures.values())))
    return {"controller": name, "parameters": parameters, "judged": f"{count} {judged}", **means}


def cells(task: WriteVerify, config: ReturnsConfig) -> Iterator[Row]:
    """Those of write-verify."""
    for name in (*CLASSICAL, *KNOWING):
        tuned = tuned_by(config, load_policy(name, task))
        met = evaluate(tuned.policy, task, config.cells, config.seed)
        figures = {"pulses": met.pulses, "success": met.accepted, "energy": met.energy}
        yield row(name, tuned.parameters, "cells", **{"return": met.returns}, **figures)


def arrays(task: CrossbarProgram, config: ReturnsConfig) -> Iterator[Row]:
    """Those of arrays: policies of single cells, tuned on these, or, by lines, a ramp and chance."""
    size = task.array.rows * task.array.cols
    count = max(config.cells // size, 4)
    players: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {}
    if task.action == "lines":
        players = {"ramp of lines": lambda: (ispp_of_lines(task), {}), "random": lambda: (at_random(task), {})}
        for name in BY_LINES:
            alone = partial(one_after_another, task, name, config.trials)
            players[f"{name}, a cell after another"] = lambda alone=alone: (alone(), {})
    else:
        for name in (*CLASSICAL, *KNOWING[:-1]):

            def each(name: str = name) -> tuple[Any, dict[str, Any]]:
                own = EachCell.of(name, task)
                tuned = tuned_by(config, own.policy)
                player = dataclasses.replace(own, policy=tuned.policy)
                return lambda seen, state, start, masks: player.predict(seen, state, start), tuned.parameters

            players[name] = each
    for name, make in players.items():
        act, parameters = make()
        met = judged(task, act, count)
        figures = {"return": met["return"], "pulses": met["pulses"], "success": met["accepted"]}
        yield row(name, parameters, "arrays", **figures, energy=met["energy"] / size)


def networks(task: FewShot, config: ReturnsConfig) -> Iterator[Row]:
    """Those of few-shot learning: schedules tuned for the reward, the initialisation's own, the agent where it fits."""
    players: dict[str, tuple[Any, dict[str, Any]]] = {"rates of the initialisation": (own_schedule(task), {})}
    for name, make in SCHEDULES.items():
        tuned = tuned_by(config, make(task, gain=1.0, threshold=0.0), judged=one_by_one(by_reward))
        players[name] = tuned.policy, tuned.parameters
    if task.network == "conv":
        players["agent"] = shipped_agent(task), {}
    judging = dataclasses.replace(task, split="test")
    for name, (policy, parameters) in players.items():
        met = learn(policy, judging, config.episodes, config.seed)
        figures = {"return": met.reward, "pulses": met.pulses, "accuracy": met.accuracy}
        yield row(name, parameters, "episodes", **figures, energy=met.energy / judging.cells)


KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Iterator[Row]]]] = {
    "WriteVerify": (WriteVerify, cells),
    "CrossbarProgram": (CrossbarProgram, arrays),
    "FewShot": (FewShot, networks),
}


def main(arguments: Sequence[str]) -> None:
    """Tune, judge, print."""
    config = parse(ReturnsConfig, arguments, "returns.py")
    found = load_json(config.out)["rows"] if config.out and config.out.exists() else []
    lines = []
    for name, variant in VARIANTS.items():
        own = f"memenv/{name}-v0"
        if own not in config.ids:
            continue
        make, judge = KINDS[variant.base]
        task = make(**{key: value for key, value in variant.fixed.items() if key != "goal"})  # seen by all alike
        given = {key: getattr(config, key) for key in ("cells", "episodes", "trials", "seed", "out")}
        words = (f"--{key} {value}" for key, value in given.items() if value is not None)
        facts = {"id": own, "memenv": memenv.__version__}
        facts["command"] = " ".join((f"python benchmarks/returns.py --ids {own}", *words))
        rows = [facts | one for one in judge(task, config)]
        found = [one for one in found if one["id"] != own] + rows
        untaught = (one for one in rows if one["controller"] not in (*KNOWING, "agent"))
        best = max(untaught, key=lambda one: one["return"][0])
        for one in [*rows, best | {"controller": f"best: {best['controller']} (threshold {variant.reward_threshold})"}]:
            lines.append([own, one["controller"], reporting.shown(one["return"], "{:.3f}")])
            print("  ".join(lines[-1]), file=sys.stderr, flush=True)
        if config.out:
            order = [f"memenv/{name}-v0" for name in VARIANTS]
            rows = sorted(found, key=lambda one: order.index(one["id"]))
            write_whole(config.out, json.dumps({"rows": rows}, indent=1) + "\n")
    print(reporting.markdown(["id", "controller", "return"], lines))


if __name__ == "__main__":
    main(sys.argv[1:])
