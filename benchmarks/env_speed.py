"""Environment steps a second of the native vector environment, next to Gymnasium's CartPoleVectorEnv in the same run.

    OMP_NUM_THREADS=1 python benchmarks/env_speed.py

Random actions, autoreset NEXT_STEP, actions sampled beforehand; each row is measured `REPEATS` times in turn with the
others, so that a busy machine slows all of them alike. Printed: median and best.
"""

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
    print(f"{'million environment steps a second':<36} {'envs':>7} {'median':>8} {'best':>8}")
    for size in BATCHES:
        rows = {"CartPole-v1 (Gymnasium)": stepper(gym.make_vec("CartPole-v1", num_envs=size))}
        rows |= {
            name: stepper(gym.make_vec("memenv/WriteVerify-v0", num_envs=size, **case)) for name, case in CASES.items()
        }
        speeds: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(REPEATS):
            for name, measure in rows.items():
                speeds[name].append(measure() / 1e6)
        for name, values in speeds.items():
            print(f"{name:<36} {size:>7,} {statistics.median(values):>8.2f} {max(values):>8.2f}")


if __name__ == "__main__":
    main()
