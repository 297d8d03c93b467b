"""Reinforcement learning of arrays: what stable-baselines3 makes of `memenv/CrossbarProgram-v0`, seed by seed.

    OMP_NUM_THREADS=1 python benchmarks/crossbar_rl.py --seeds 3 --out crossbar_rl

Cases, with the device `threshold` and the environment's own weights:

    cells    8 x 8, a pulse for every cell; PPO and SAC on its cells (`agents.sb3.cells`), which share one policy
    one      1 x 1, and `four` 2 x 2, a pulse for every cell; PPO with MultiInputPolicy
    lines    4 x 4, a line, a pulse and its cells; MaskablePPO on its lines (`agents.sb3.lines`), which share one policy

Beside them stand ISPP and secant (tuned on single cells; by lines a cell after another), by lines `ramp`, where cells
share pulses, a level stronger with each, random actions within the masks, and no pulse at all. All are judged on the
same arrays, which no run trains on. What results.csv holds is not done again: the command continues where it was
interrupted.
"""

import csv
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO, SAC

from agents.arrays.each_cell import EachCell
from agents.library import controller
from agents.sb3.cells import PPO_OF_CELLS, SAC_OF_CELLS, CellsPolicy, CellsVecEnv
from agents.sb3.lines import PPO_OF_LINES, LinesPolicy, LinesVecEnv
from agents.sb3.vec_env import GymVecEnv
from agents.tuning import tune
from memenv.envs import CrossbarProgram, TaskVectorEnv
from memenv.envs.pulse_actions import volts
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text
from memenv.files import write_whole

JUDGED = 10**6  # seed of the arrays on which all are judged; trainings take theirs below
TASKS = {
    "cells": {"rows": 8, "cols": 8},
    "one": {"rows": 1, "cols": 1},
    "four": {"rows": 2, "cols": 2},
    "lines": {"rows": 4, "cols": 4, "action": "lines", "writing": "rows"},
}
PLAIN = {"n_steps": 256, "batch_size": 256, "learning_rate": 1e-3}
ALGORITHMS: dict[str, tuple[Any, Any, int, dict[str, Any]]] = {  # their classes, adapters and numbers of arrays
    "ppo-cells": (PPO, CellsVecEnv, 4, PPO_OF_CELLS),
    "sac-cells": (SAC, CellsVecEnv, 1, SAC_OF_CELLS),
    "ppo": (PPO, GymVecEnv, 8, PLAIN),
    "maskable-lines": (MaskablePPO, LinesVecEnv, 32, PPO_OF_LINES),
}
STEPS = {
    "cells": {"ppo-cells": 1_500_000, "sac-cells": 30_000},
    "one": {"ppo": 200_000},
    "four": {"ppo": 300_000},
    "lines": {"maskable-lines": 300_000},
}
CLASSICAL = ("ispp", "secant")
Act = Callable[[dict[str, np.ndarray], Any, np.ndarray, np.ndarray | None], tuple[np.ndarray, Any]]


@dataclass(frozen=True, kw_only=True)
class CrossbarConfig:
    """Train agents for arrays and compare them with controllers."""

    cases: tuple[str, ...] = option(tuple(TASKS), help="of those above")
    algorithms: tuple[str, ...] = option(tuple(ALGORITHMS), help="that learn them")
    seeds: int = option(3, help="runs of each algorithm")
    share: float = option(1.0, help="of the steps of each run", bounds=(1e-6, 1e6))
    arrays: int = option(200, help="on which each is judged")
    trials: int | None = option(None, help="parameter sets that tuning tries [2000]")
    out: Path = option(Path("crossbar_rl"), help="folder of results.csv")


def judged(task: CrossbarProgram, act: Act, arrays: int) -> dict[str, np.ndarray]:
    """What came of the first episodes of so many arrays, (arrays,) each."""
    envs = TaskVectorEnv(task, arrays, engine="auto")
    (seen, info), state, start = envs.reset(seed=JUDGED), None, np.ones(arrays, bool)
    going, total = np.ones(arrays, bool), np.zeros(arrays)
    names = ["is_success", "accepted", "pulses", "energy", "false_acceptances", "true_error"]
    ends = {name: np.zeros(arrays) for name in names}
    while going.any():
        action, state = act(seen, state, start, info.get("action_mask"))
        seen, reward, start, _, info = envs.step(action)
        total += reward * going
        for name, values in ends.items():
            values[going] = info[name][going]
        going &= ~start
    ends["pulses"] /= task.array.rows * task.array.cols
    return {"return": total, **ends}


def at_random(task: CrossbarProgram) -> Act:
    """Actions drawn from the space, or of what masks leave."""
    rng = np.random.default_rng(0)

    def act(seen: dict[str, np.ndarray], state: Any, start: np.ndarray, masks: np.ndarray | None) -> Any:
        if masks is None:
            return rng.uniform(-1, 1, (len(start), *task.action_space.shape)), None
        parts = np.split(masks, np.cumsum(task.action_space.nvec)[:-1], axis=1)
        return np.stack([np.argmax(rng.random(part.shape) * part, axis=1) for part in parts], axis=1), None

    return act


def idle(task: CrossbarProgram) -> Act:
    """No pulse."""
    nothing = np.zeros(task.action_space.shape, int)
    return lambda seen, state, start, masks: (np.repeat(nothing[None], len(start), 0), None)


def all_cells(task: CrossbarProgram, name: str, trials: int | None) -> Act:
    """A controller, tuned on single cells, for every cell that reads outside the tolerance."""
    own = EachCell.of(name, task)
    tuned = dataclasses.replace(own, policy=tune(controller(name, own.cell), trials).policy)

    def act(seen: dict[str, np.ndarray], state: Any, start: np.ndarray, masks: np.ndarray | None) -> Any:
        outside = np.abs(task.view(seen).error).reshape(len(start), -1) > 1.0
        return tuned.predict(seen | {"open": seen["open"] * outside}, state, start)

    return act


def one_after_another(task: CrossbarProgram, name: str, trials: int | None) -> Act:
    """A controller, tuned on single cells, by the menu's pulses, for a cell at a time: the first open, not given up."""
    twin = replace(task, action="cells", writing="cells")
    own, driver = EachCell.of(name, twin), task.array.device.driver
    tuned = dataclasses.replace(own, policy=tune(controller(name, own.cell), trials).policy)

    def act(seen: dict[str, np.ndarray], state: Any, start: np.ndarray, masks: np.ndarray | None) -> Any:
        arrays, cols = np.arange(len(start)), task.array.cols
        left = seen["open"] == 1 if state is None else (seen["open"] == 1) & ~state.given_up.reshape(len(start), -1)
        cell = left.argmax(1)
        only = np.zeros_like(seen["open"])
        only[arrays, cell] = left[arrays, cell]
        action, state = tuned.predict(seen | {"open": only}, state, start)
        signal, log_width, _ = twin.actions.decoded([*np.moveaxis(action, -1, 0)])
        pulse = (part.reshape(len(start), -1)[arrays, cell] for part in volts(signal, log_width, driver))
        line, place = np.divmod(cell, cols)
        enabled = (np.arange(cols) == place[:, None]) & left.any(1)[:, None]
        return task.actions.encode(line, *pulse, enabled, driver), state

    return act


def ispp_of_lines(task: CrossbarProgram) -> Act:
    """A cell far off that was seldom pulsed, and those of its row half as far off, a level above its last pulse."""
    levels, driver = task.array.levels[0], task.array.device.driver

    def act(seen: dict[str, np.ndarray], state: Any, start: np.ndarray, masks: np.ndarray | None) -> Any:
        view = task.view(seen)
        error = np.where(view.open, view.error if view.gradient is None else view.gradient, 0.0)
        due = np.abs(error) * (1.0 if view.gradient is not None else (1.0 + task.max_pulses * view.pulses) ** -2.0)
        arrays, worst = np.arange(len(error)), due.reshape(len(error), -1).argmax(1)
        line, cell = np.divmod(worst, error.shape[2])
        own, last = error[arrays, line, cell], view.signal[arrays, line, cell]
        strength = np.where(last * own < 0, np.abs(last), 0.0) + 1.0 / levels  # a pulse against the error goes on
        amplitude, width = volts(-np.sign(own) * np.minimum(strength, 1.0), np.full(len(own), -0.5), driver)
        enabled = error[arrays, line] * np.sign(own)[:, None] >= 0.5 * np.abs(own)[:, None]
        return task.actions.encode(line, amplitude, width, enabled, driver), None

    return act


def learned(algorithm: str, task: CrossbarProgram, seed: int, steps: int) -> Act:
    """What an algorithm learned with its seed."""
    kind, adapter, envs, options = ALGORITHMS[algorithm]
    env = adapter(TaskVectorEnv(replace(task, reward_map=True), envs, AutoresetMode.SAME_STEP, engine="auto"))
    policy = "MultiInputPolicy" if adapter is GymVecEnv else "MlpPolicy"
    model = kind(policy, env, seed=seed, device="cpu", **options).learn(steps)
    if adapter is GymVecEnv:
        return lambda seen, state, start, masks: model.predict(seen, deterministic=True)
    if adapter is CellsVecEnv:
        return lambda seen, state, start, masks: CellsPolicy(task=task, model=model).predict(seen)
    lines = LinesPolicy(task=task, model=model)  # whose most likely choice may be none of its cells, for ever
    return lambda seen, state, start, masks: lines.predict(seen, deterministic=False)


def jobs(config: CrossbarConfig) -> Iterator[tuple[str, str, int, int, Callable[[CrossbarProgram], Act]]]:
    """Case, name, seed and steps of all that is judged, and what makes it."""
    for case in config.cases:
        yield case, "random", 0, 0, at_random
        yield case, "idle", 0, 0, idle
        simple = one_after_another if case == "lines" else all_cells
        for name in CLASSICAL:
            yield case, name, 0, 0, partial(simple, name=name, trials=config.trials)
        if case == "lines":
            yield case, "ramp", 0, 0, ispp_of_lines
        for algorithm, most in STEPS[case].items():
            for seed in range(config.seeds if algorithm in config.algorithms else 0):
                steps = round(config.share * most)
                yield case, algorithm, seed, steps, partial(learned, algorithm, seed=seed, steps=steps)


def main(arguments: Sequence[str]) -> None:
    """Train, judge, print."""
    config = parse(CrossbarConfig, arguments, "crossbar_rl.py")
    file, rows = config.out / "results.csv", []
    if file.exists():
        with file.open(newline="", encoding="utf-8") as there:
            rows = list(csv.DictReader(there))
    for case, name, seed, steps, make in jobs(config):
        own = {"case": case, "policy": name, "seed": str(seed), "steps": str(steps)}
        known = next((row for row in rows if own.items() <= row.items()), None)
        if known is None:
            task, begin = CrossbarProgram(**TASKS[case]), time.perf_counter()
            act = make(task)
            seconds = time.perf_counter() - begin
            means = {key: values.mean() for key, values in judged(task, act, config.arrays).items() if key != "energy"}
            figures = means | {"seconds": seconds}
            known = own | {key: f"{value:.4f}" for key, value in figures.items()}
            rows.append(known)
            write_whole(file, csv_text(rows))
        print("  ".join(f"{key} {value}" for key, value in known.items()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
