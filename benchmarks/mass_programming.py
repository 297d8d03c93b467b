"""Millions of cells programmed: seconds, cost per cell, memory, pulses, from 64 x 64 to 4,096 x 4,096 cells.

    python benchmarks/mass_programming.py --policies ispp,specialist --out cells-by-the-million.png

The task is that of `memenv compare`: the preset `threshold`, 2 % of the range, 50 pulses at most, one chip of that many
cells, start and target at random. ISPP is tuned first, as there. Each policy runs in a process of its own, which
compiles and warms up on 64 x 64 cells and then measures the sizes in turn; a size under a second is repeated, and the
quickest counts. CPU seconds are those of all threads. Memory is the most that the process has held so far.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the workers are threads already; before NumPy is imported

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from agents.bulk.writer import MassWriter, mass_writer
from agents.evaluation import evaluate
from agents.library import load_policy
from agents.tuning import tune
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.reporting import markdown

SIDES = (64, 128, 256, 512, 1024, 2048, 4096)
REPEAT_BELOW = 1.0  # [s]
REPEATS = 7
TRIALS = 100  # of tuning
CHECKED = 4000  # cells on which `agents.evaluation` says what the pulses should be


def measured(writer: MassWriter, side: int, workers: int) -> dict[str, float]:
    """The quickest of some runs on side x side cells."""
    best: dict[str, float] = {}
    for number in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        result = writer(side * side, seed=number, workers=workers, conductances=True)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if not best or wall < best["seconds"]:
            best = {
                "side": side,
                "seconds": wall,
                "cpu": cpu,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "pulses": float(result.pulses.mean()),
                "success": float(result.accepted.mean()),
                "false": float(result.false_acceptances.mean()),
            }
        if wall > REPEAT_BELOW:
            break
    return best


def one_policy(name: str, sides: list[int], workers: int) -> None:
    """Measures a policy; prints JSON."""
    task = WriteVerify(give_up=True)
    policy: Any = load_policy(name, task)
    policy = tune(policy, TRIALS).policy if name == "ispp" else policy
    writer = mass_writer(policy)
    writer(64 * 64, seed=0)
    rows = [measured(writer, side, workers) for side in sides]
    expected = float(np.mean(evaluate(policy, task, CHECKED, 0).pulses))
    print(json.dumps({"rows": rows, "expected": expected}))


def figure(found: dict[str, Any], path: Path) -> None:
    """Cost per cell over the number of cells."""
    axes = plt.figure(figsize=(6, 4), layout="constrained").gca()
    for name, result in found.items():
        cells = np.array([row["side"] ** 2 for row in result["rows"]])
        axes.loglog(
            cells, [row["cpu"] / n * 1e9 for row, n in zip(result["rows"], cells, strict=True)], "o-", label=name
        )
    axes.set_xlabel("cells")
    axes.set_ylabel("CPU time per programmed cell (ns)")
    axes.set_ylim(bottom=100)
    axes.grid(alpha=0.3)
    axes.legend()
    axes.figure.savefig(path, dpi=150)


def main() -> None:
    """Measure each policy in a process of its own, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", default="ispp,specialist", help="names or files, separated by commas")
    parser.add_argument("--sides", default=",".join(map(str, SIDES)), help="of the arrays")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="of the figure")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sides = [int(side) for side in options.sides.split(",")]
    if options.one:
        return one_policy(options.one, sides, options.workers)
    found, lines = {}, []
    for name in options.policies.split(","):
        command = [sys.executable, __file__, "--one", name, "--sides", options.sides, "--workers", str(options.workers)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[Path(name).stem] = result = json.loads(run.stdout)
        for row in result["rows"]:
            cells = row["side"] ** 2
            lines.append(
                [
                    Path(name).stem,
                    f"{row['side']:,} x {row['side']:,}",
                    *(f"{row[key]:.3g}" for key in ("seconds", "cpu")),
                    *(f"{row[key] / cells * 1e9:.0f}" for key in ("seconds", "cpu")),
                    f"{row['memory'] / 1e9:.2f}",
                    f"{row['pulses']:.3f}",
                    f"{100 * row['success']:.2f}",
                    f"{100 * row['false']:.2f}",
                ]
            )
        lines[-1][7] += f" (evaluate: {result['expected']:.2f})"
    head = ["policy", "cells", "s", "CPU s", "ns a cell", "CPU ns a cell", "GB", "pulses", "success %", "false %"]
    print(markdown(head, lines), end="")
    if options.out:
        figure(found, options.out)


if __name__ == "__main__":
    main()
