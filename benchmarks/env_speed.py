"""Environment steps and cells a second of the native vector environments, next to Gymnasium's CartPole in the same run.

    OMP_NUM_THREADS=1 python benchmarks/env_speed.py

Random actions, autoreset NEXT_STEP, actions sampled beforehand; each row is measured `REPEATS` times in turn with the
others, so that a busy machine slows all of them alike. Printed: median and best, and the median as a multiple of
CartPole's. Of arrays there are fewer environments, with four times as many cells in all. Rows "numba" are the compiled
engine (extra `numba`) on one thread.
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
    "2 x 2": {"rows": 2, "cols": 2},
    "8 x 8": {},
    "64 x 64": {"rows": 64, "cols": 64},
    "8 x 8, row-parallel": {"writing": "rows"},
    "8 x 8, lines": {"action": "lines", "writing": "rows"},
    "8 x 8, product": {"objective": "product"},
    "8 x 8, V/2, all read": {"scheme": "V/2", "verify": "all"},
}


def environments(size: int) -> dict[str, gym.vector.VectorEnv]:
    """The rows of the table, with so many cells, and four times as many in arrays."""
    rows = {CARTPOLE: gym.make_vec("CartPole-v1", num_envs=size)}
    for name, case in CASES.items():
        rows[name] = gym.make_vec("memenv/WriteVerify-v0", num_envs=size, **case)
        if importlib.util.find_spec("numba") and not rows[name].unwrapped.task.not_compiled:
            rows[f"{name}, numba"] = gym.make_vec("memenv/WriteVerify-v0", num_envs=size, engine="numba", **case)
    for name, case in ARRAYS.items():
        count = max(4 * size // (case.get("rows", 8) * case.get("cols", 8)), 1)
        rows[f"CrossbarProgram {name}"] = gym.make_vec("memenv/CrossbarProgram-v0", num_envs=count, **case)
    return rows


def cells(env: gym.vector.VectorEnv) -> int:
    """Cells of each environment."""
    draws = env.unwrapped.task.initial_draws if "memenv" in env.spec.id else ()
    return math.prod(draws[0].layout) if draws else 1


def stepper(env: gym.vector.VectorEnv) -> Callable[[], float]:
    """A function that measures environment steps a second once."""
    env.action_space.seed(0)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(16)]
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
