"""Environment steps and cells a second, next to Gymnasium's CartPole in the same run: single ones and native batches.

    OMP_NUM_THREADS=1 python benchmarks/env_speed.py

Default arguments, but for rows "NumPy": the engine begins on NumPy and goes over to compiled loops (extra `numba`), on
one thread; what is measured comes after that. Random actions, sampled beforehand; batches reset by themselves
(NEXT_STEP), single environments are reset when they end. Seconds are those of the processor, and each row is measured
`REPEATS` times in turn with the others, so that a busy machine slows all of them alike.

Printed: median and best of environment steps a second, the median as a multiple of CartPole's at the batch's number of
environments (or of the single one, as `gym.make` makes it), and cells a second. An environment of CrossbarProgram is an
array: its step writes, reads and judges all of its cells, each of which has the work of an environment of WriteVerify.
Both comparisons are therefore printed: arrays of a few sizes in CartPole's number (rows "as many"), which says what an
environment costs, and arrays with four times as many cells in all, which say what a cell costs.
"""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import memenv
from memenv.envs import CrossbarProgram, TaskVectorEnv

REPEATS = 5
SECONDS = 0.3  # of one measurement
BATCHES = (8, 64, 1024, 16_384)
CARTPOLE = "CartPole-v1 (Gymnasium)"
CASES: dict[str, dict[str, Any]] = {
    "threshold, continuous": {},
    "threshold, continuous, NumPy": {"engine": "numpy"},
    "threshold, discrete": {"action": "discrete"},
    "threshold, 4 rounds": {"rounds": 4},
    "threshold + pcm, mixture": {"device": ["threshold", "pcm"]},
    "ag-asi, continuous": {"device": "ag-asi"},
    "hfo2-array-om, continuous": {"device": "hfo2-array-om"},
    "pcm (drift), continuous": {"device": "pcm"},
    "threshold, history of 4 (NumPy)": {"history": 4},
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
MANY = 1024  # environments, from which on arrays are measured
CHIPS = 64  # environments, with which chips that learn are
SINGLE_ARRAYS = (8, 256)  # rows and columns


def batches(size: int) -> dict[str, Any]:
    """The rows of so many environments, and of arrays."""
    rows: dict[str, Any] = {
        CARTPOLE: gym.make_vec("CartPole-v1", num_envs=size, vectorization_mode="vector_entry_point")
    }
    for name, case in CASES.items():
        rows[name] = gym.make_vec("memenv/WriteVerify-v0", num_envs=size, **case)
    if size == CHIPS:
        rows["few-shot"] = gym.make_vec("memenv/FewShot-v0", num_envs=size)
    if size >= MANY:
        for name, case in ARRAYS.items():
            count = max(4 * size // (case.get("rows", 8) * case.get("cols", 8)), 1)
            rows[f"arrays {name}"] = TaskVectorEnv(CrossbarProgram(**case), count)
        for side in AS_MANY:
            rows[f"arrays {side} x {side}, as many"] = TaskVectorEnv(CrossbarProgram(rows=side, cols=side), size)
    return rows


def singles() -> dict[str, Any]:
    """The rows of single environments."""
    rows = {CARTPOLE: gym.make("CartPole-v1")}
    rows |= {name: gym.make("memenv/WriteVerify-v0", **case) for name, case in CASES.items()}
    for side in SINGLE_ARRAYS:
        rows[f"array {side} x {side}"] = gym.make("memenv/CrossbarProgram-v0", rows=side, cols=side)
    return rows


def cells(env: Any) -> int:
    """Cells of each environment."""
    task = getattr(env.unwrapped, "task", None)
    return math.prod(task.initial_draws[0].layout) if task else 1


def stepper(env: Any) -> Callable[[], float]:
    """A function that measures environment steps a second once; the engine has settled before."""
    env.action_space.seed(0)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(8)]
    count, turn = getattr(env, "num_envs", None), 0

    def step() -> None:
        nonlocal turn
        _, _, terminated, truncated, _ = env.step(actions[turn % len(actions)])
        turn += 1
        if count is None and (terminated or truncated):
            env.reset()

    def measure() -> float:
        steps, start = 0, time.process_time()
        while (elapsed := time.process_time() - start) < SECONDS:
            step()
            steps += 1
        return steps * (count or 1) / elapsed

    runner = getattr(env.unwrapped, "_runner", None)
    while getattr(runner, "left", math.inf) < math.inf:  # until "auto" has gone over
        step()
    step()
    return measure


def table(title: str, envs: dict[str, Any]) -> None:
    """Measure and print."""
    print(f"{title:<36} {'envs':>7} {'median':>8} {'best':>8} {'CartPoles':>9} {'Mcells/s':>9} {'us/step':>9}")
    measures = {name: stepper(env) for name, env in envs.items()}
    speeds: dict[str, list[float]] = {name: [] for name in envs}
    for _ in range(REPEATS):
        for name, measure in measures.items():
            speeds[name].append(measure() / 1e6)
    for name, values in speeds.items():
        env, median, count = envs[name], statistics.median(values), getattr(envs[name], "num_envs", 1)
        share = median / statistics.median(speeds[CARTPOLE])
        figures = f"{median:>8.3g} {max(values):>8.3g} {share:>9.3g} {median * cells(env):>9.3g} {count / median:>9.3g}"
        print(f"{name:<36} {count:>7,} {figures}", flush=True)


def main() -> None:
    """All tables."""
    print(f"memenv {memenv.__version__}, gymnasium {gym.__version__}, numpy {np.__version__}")
    table("single, million steps a second", singles())
    for size in BATCHES:
        table("batch, million steps a second", batches(size))


if __name__ == "__main__":
    main()
