"""Time of an outer step of the pretraining: on devices against ideally, and all tasks at once against one by one.

    OMP_NUM_THREADS=1 python benchmarks/pretrain_speed.py

A step of `memenv pretrain` on glyphs, with the same tasks and inner steps throughout: best processor time of --repeats.
"""

import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown
from memenv.few_shot.strokes import glyphs
from metalearn.pretraining import Learner, PretrainConfig, completed


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """Time an outer step."""

    device: tuple[str, ...] = option(("alox-hfo2", "hfo2-array-om"), help="names or .json records")
    tasks: int = option(32, help="in an outer step")
    inner_steps: int = option(3, help="steps of learning")
    repeats: int = option(3, help="timings, of which the best counts")


def seconds(config: SpeedConfig, pretrain: PretrainConfig) -> tuple[float, float]:
    """Processor time [s] of a step with all tasks at once, and of as many steps of one task each."""
    data = glyphs(0, 60, 20)
    times = []
    for tasks in (config.tasks, 1):
        learner = Learner(completed(replace(pretrain, tasks=tasks)), data)
        learner.step(0, 0.0)
        spent: list[float] = []
        for _ in range(config.repeats):
            before = time.process_time()
            for number in range(config.tasks // tasks):
                learner.step(number, 0.0)
            spent.append(time.process_time() - before)
        times.append(min(spent))
    return times[0], times[1]


def main() -> None:
    """Print the table."""
    config = parse(SpeedConfig, sys.argv[1:], "benchmarks/pretrain_speed.py")
    torch.set_num_threads(1)
    lines = []
    for network in ("conv", "mlp"):
        shared: dict[str, Any] = {"network": network, "inner_steps": config.inner_steps, "ways": 5}
        ideal = 0.0
        for device in ("", *config.device):
            at_once, one_by_one = seconds(config, PretrainConfig(**shared, device=(device,) if device else ()))
            ideal = ideal or at_once
            ratios = f"{at_once / ideal:.1f}", f"{one_by_one / at_once:.1f}"
            lines.append([network, device or "ideal", f"{at_once:.3f}", *ratios])
    print(markdown(["network", "update", "step [s]", "of ideal", "one by one / at once"], lines))


if __name__ == "__main__":
    main()
