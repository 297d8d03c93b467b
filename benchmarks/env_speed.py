"""Environment steps and cells a second of the native vector environments, next to Gymnasium's CartPole in the same run.

    OMP_NUM_THREADS=1 python benchmarks/env_speed.py

Random actions, autoreset NEXT_STEP, actions sampled beforehand; each row is measured `REPEATS` times in turn with the
others, so that a busy machine slows all of them alike. Rows "numba" are the compiled engine (extra `numba`) on one
thread.

Printed: median and best of environment steps a second, the median as a multiple of CartPole's at the batch's number of
environments, and cells a second. An environment of CrossbarProgram is an array: its step writes, reads and judges all
of its cells, each of which has the work of an environment of WriteVerify. Both comparisons are therefore printed:
arrays of a few sizes in CartPole's number (rows "as many"), which says what an environment costs, and arrays with four
times as many cells in all, which say what a cell costs.
"""

import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import memenv
from memenv.envs import CrossbarProgram, TaskVectorEnv
from memenv.envs.compiled_runner import not_compiled

REPEATS = 5
SECONDS = 0.4  # of one measurement
BATCHES = (1024, 16_384)
CARTPOLE = "CartPole-v1 (Gymnasium)"
CASES: dict[str, dict[str, Any]] = {
    "threshold, continuous": {},
    "threshold, discrete": {"action": "discrete"},
    "threshold, 4 rounds": {"rounds": 4},
    "threshold, history of 4": {"history": 4},
    "ag-asi, continuous": {"device": "ag-asi"},
    "hfo2-array-om, continuous": {"device": "hfo2-array-om"},
    "pcm (drift), continuous": {"device": "pcm"},
    "threshold + pcm, mixture": {"device": ["threshold", "pcm"]},
}
ARRAYS: dict[str, dict[str, Any]] = {
    "8 x 8": {},
    "64 x 64": {"rows": 64, "cols": 64},
    "8 x 8, row-parallel": {"writing": "rows"},
    "8 x 8, lines": {"action": "lines", "writing": "rows"},
    "8 x 8, product": {"objective": "product"},
    "8 x 8, V/2, all read": {"scheme": "V/2", "verify": "all"},
}
AS_MANY = (1, 2, 4, 8)  # rows and columns


def engines(task: Any) -> dict[str, str]:
    """The engines that run a task, and what is added to the name of a row."""
    compiled = importlib.util.find_spec("numba") and not not_compiled(task)
    return {"numpy": "", "numba": ", numba"} if compiled else {"numpy": ""}


def environments(size: int) -> dict[str, gym.vector.VectorEnv]:
    """The rows of the table, with so many cells, and with arrays."""
    rows = {CARTPOLE: gym.make_vec("CartPole-v1", num_envs=size)}
    for name, case in CASES.items():
        for engine, suffix in engines(memenv.WriteVerify(**case)).items():
            rows[name + suffix] = gym.make_vec("memenv/WriteVerify-v0", num_envs=size, engine=engine, **case)
    for name, case in ARRAYS.items():
        count = max(4 * size // (case.get("rows", 8) * case.get("cols", 8)), 1)
        task = CrossbarProgram(**case)
        for engine, suffix in engines(task).items():
            rows[f"arrays {name}{suffix}"] = TaskVectorEnv(task, count, engine=engine)
    for side in AS_MANY:
        task = CrossbarProgram(rows=side, cols=side)
        engine, suffix = [*engines(task).items()][-1]
        rows[f"arrays {side} x {side}, as many{suffix}"] = TaskVectorEnv(task, size, engine=engine)
    return rows


def cells(env: gym.vector.VectorEnv) -> int:
    """Cells of each environment."""
    return math.prod(env.unwrapped.task.initial_draws[0].layout) if isinstance(env.unwrapped, TaskVectorEnv) else 1


def stepper(env: gym.vector.VectorEnv) -> Callable[[], float]:
    """A function that measures environment steps a second once."""
    env.action_space.seed(0)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(8)]
    for action in actions:
        env.step(action)

    def measure() -> float:
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS:
            env.step(actions[steps % len(actions)])
            steps += 1
        return steps * env.num_envs / elapsed

    return measure


def main() -> None:
    """Measure and print."""
    print(f"memenv {memenv.__version__}, gymnasium {gym.__version__}, numpy {np.__version__}")
    heads = f"{'envs':>7} {'median':>8} {'best':>8} {'CartPoles':>9} {'Mcells/s':>9}"
    print(f"{'million environment steps a second':<36} {heads}")
    for size in BATCHES:
        envs = environments(size)
        measures = {name: stepper(env) for name, env in envs.items()}
        speeds: dict[str, list[float]] = {name: [] for name in envs}
        for _ in range(REPEATS):
            for name, measure in measures.items():
                speeds[name].append(measure() / 1e6)
        for name, values in speeds.items():
            env, median = envs[name], statistics.median(values)
            share = median / statistics.median(speeds[CARTPOLE])
            figures = f"{median:>8.3g} {max(values):>8.3g} {share:>9.3g} {median * cells(env):>9.3g}"
            print(f"{name:<36} {env.num_envs:>7,} {figures}")


if __name__ == "__main__":
    main()
