"""Success of controllers where the amplitude slope is not what the record says: devices that are known for one pulse.

    python benchmarks/unknown_slope.py --device enode-sandia --policies bayes history secant specialist

The record of such a device states its slope as uncertain, and so do controllers expect it; the cells that they are
judged on have this slope times a factor, alike for both polarities, and nothing else uncertain. What was done stays in
the folder, and a run that is begun again goes on.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation import EVALUATION, evaluate, noise_of
from agents.library import load_policy
from agents.tuning import tune
from memenv.devices.device import Device
from memenv.devices.protocol import parametric
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import aligned, columns, csv_text, figure, mean_interval, shown
from memenv.experiments.runs import RECORD, RunOptions, begun, command_line

FILE = "unknown_slope.csv"


@dataclass(frozen=True, kw_only=True)
class SlopeConfig(RunOptions):
    """Program cells whose slope is off by a factor that nobody is told."""

    device: tuple[str, ...] = option(("enode-sandia",), help="presets or records with an uncertain slope")
    policies: tuple[str, ...] = option(
        ("secant", "history", "bayes", "specialist"), help="names or paths; {device} in them is that of the device"
    )
    factors: tuple[float, ...] = option((0.5, 0.667, 1.0, 1.5, 2.0), help="true slopes, in nominal ones")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    cells: int = option(4000, help="cells for each factor")
    trials: int = option(60, help="parameter sets that each controller's tuning tries; 1 = no tuning")
    seed: int = option(0, help="of cells, starts, targets and noise")
    out: Path = option(Path("unknown-slope"), help="folder of the table, run.json and what a run goes on from")


def with_slope(device: Device, factor: float) -> Device:
    """The device, known, with another slope."""
    up, down = (replace(part, slope=factor * part.slope) for part in (device.set, device.reset))
    return device.replace(set=up, reset=down, uncertainty=None)


def judged(config: SlopeConfig, task: WriteVerify, policy: Any, factor: float) -> dict[str, float]:
    """Success, that on cells which can reach their target, and pulses of an accepted cell."""
    noise = noise_of(task, range(config.cells), config.seed, EVALUATION)
    chip = with_slope(parametric(task.device, "this benchmark"), factor).fabricate(noise.chip, config.cells)
    outcomes = evaluate(policy, task, config.cells, config.seed, chip=chip)
    start = noise.next()
    target = task.initial(chip, start.drawn(task.initial_draws), {}).target
    reach = (
        (target >= chip.x_lo - task.tolerance_x) & (target <= chip.x_hi + task.tolerance_x) & (chip.x_hi > chip.x_lo)
    )
    within = np.flatnonzero(reach)
    done = np.flatnonzero(outcomes.accepted)
    return {
        **columns("success", mean_interval(outcomes.accepted[within].astype(float), config.seed)),
        **columns("pulses", mean_interval(outcomes.pulses[done], config.seed)),
        "reachable": float(reach.mean()),
    }


def main() -> None:
    """Run, print and write."""
    arguments = sys.argv[1:]
    config = parse(SlopeConfig, arguments, "unknown_slope.py")
    command = command_line("python benchmarks/unknown_slope.py", arguments)
    with begun(config.out / RECORD, config, command=command, files=(FILE,)) as run:
        rows = []
        for device in config.device:
            task = WriteVerify(device=device, tolerance=config.tolerance, give_up=True)
            for name in config.policies:
                policy = None
                for factor in config.factors:

                    def result(name: str = name, task: WriteVerify = task, factor: float = factor) -> dict[str, float]:
                        nonlocal policy
                        if policy is None:
                            loaded = load_policy(name.format(device=task.device.name), task)
                            policy = tune(loaded, config.trials, config.seed).policy
                        return judged(config, task, policy, factor)

                    found = run.once((task.device.name, name, factor), result)
                    rows.append({"device": task.device.name, "policy": name, "slope": factor, **found})
        lines = [
            [
                row["device"],
                row["policy"],
                f"{row['slope']:g}",
                shown(figure(row, "success", 100), "{:.1f}"),
                shown(figure(row, "pulses")),
            ]
            for row in rows
        ]
        head = ("device", "policy", "slope / nominal", "success of reachable [%]", "pulses of an accepted cell")
        run.write({FILE: csv_text(rows)}, complete=True)
        print(aligned(head, lines, left=2))


if __name__ == "__main__":
    main()
