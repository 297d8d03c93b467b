"""The time that a point of a sweep takes above its work: real pieces are handed out, and real rows come back undone.

    python benchmarks/sweep_overhead.py                       # two processes
    python benchmarks/sweep_overhead.py --cluster HEAD:6379   # the nodes of Ray

Shown are the least and the most of several repetitions.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.sweeping import SweepConfig, work_of
from memenv.experiments.options import option, parse
from memenv.experiments.parallel import WorkerOptions, workers

WARM = 8  # pieces before the clock runs: workers start and import


@dataclass(frozen=True, kw_only=True)
class OverheadConfig(WorkerOptions):
    """Time pieces that do nothing."""

    jobs: int = option(2, bounds=(1, 256), help="processes")
    pieces: int = option(200, bounds=(1, 10**6), help="in each repetition")
    repetitions: int = option(5, bounds=(1, 10**6), help="of them")


def undone(row: dict[str, Any], *_: Any) -> dict[str, Any]:
    """The row of a point that was judged before."""
    return row


def main() -> None:
    """Time, print."""
    config = parse(OverheadConfig, sys.argv[1:], "sweep_overhead.py")
    own = SweepConfig(tolerance=(0.02,), controllers=("ispp",), trials=1, cells=20, out=Path("none"))
    (work,) = work_of(own).values()
    piece, took = partial(undone, work(), *work.args), list[float]()
    with workers(config.jobs, config.cluster) as finished:
        list(finished(dict.fromkeys(range(WARM), piece)))
        for _ in range(config.repetitions):
            began = time.perf_counter()
            list(finished(dict.fromkeys(range(config.pieces), piece)))
            took.append((time.perf_counter() - began) / config.pieces)
    print(f"{1e3 * min(took):.2f} to {1e3 * max(took):.2f} ms a point")


if __name__ == "__main__":
    main()
