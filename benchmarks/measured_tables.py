"""Controllers and policies on measured devices, beside the exact optimum by dynamic programming.

    python benchmarks/measured_tables.py --tables taox_dg_tables.npz enode_dg_tables.npz \
        --nominal taox-sandia enode-sandia

A table knows one SET and one RESET pulse, and its reads are noise-free: a policy chooses the polarity or gives up.
`optimum` knows the device of each cell and pays least in pulses, with max_pulses on top for a cell that is not
accepted (the cost by which controllers are tuned). `towards` is the optimum among those that never pulse away from the
target: what it loses is lost by following the sign of the error, what controllers lose beyond it by giving up too
early or too late. A pulse predictor sees the table through the fit named by --nominal, whose reference pulse (1 V,
1 us) is what the table calls its one pulse; {nominal} in --policies stands for that name.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.classical.optimum import TableOptimum
from agents.comparison import Row, markdown_table, metrics, text_table
from agents.evaluation import EVALUATION, evaluate, seeded
from agents.library import load_policy
from agents.predictor.policy import PulsePredictor
from agents.tuning import tune
from memenv.arrays import take
from memenv.devices.catalogue import load_device
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, markdown, mean_interval, shown
from memenv.files import write_whole


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Program measured devices, each on its own and all together."""

    tables: tuple[str, ...] = option(help="paths of .npz tables")
    nominal: tuple[str, ...] = option(help="fitted device of each table, through which predictors see it")
    policies: tuple[str, ...] = option(
        ("constant", "ispp", "history", "bayes"), help="names or paths; {nominal} in them"
    )
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    max_pulses: int = option(200, help="pulse budget for a target")
    cells: int = option(10_000, help="cells of each table, spread over its devices")
    trials: int = option(60, help="parameter sets that each controller's tuning tries; 1 = no tuning")
    seed: int = option(0, help="of cells, starts, targets and noise")
    out: Path = option(Path("measured-tables"), help="folder of measured_tables.csv and .md")


def chosen(config: TablesConfig, task: WriteVerify, nominal: str) -> dict[str, Any]:
    """The tuned policies by name, the bounds last."""
    policies = {}
    for name in config.policies:
        policy = load_policy(name.format(nominal=nominal), task)
        if isinstance(policy, PulsePredictor):
            policy = policy.on(task, load_device(nominal))
        policies[name] = tune(policy, config.trials, config.seed).policy
    bounds = {"towards": TableOptimum(task=task, towards_only=True), "optimum": TableOptimum(task=task)}
    return policies | bounds


def row(config: TablesConfig, task: WriteVerify, name: str, policy: Any, chip: Any, device: str) -> Row:
    """One line: the metrics of `memenv compare`, and the cost."""
    outcomes = evaluate(policy, task, len(chip.which), config.seed, chip=chip)
    cost = mean_interval(outcomes.pulses + task.max_pulses * ~outcomes.accepted, config.seed)
    return Row(
        controller=name,
        device=device,
        tolerance=config.tolerance,
        cells=len(chip.which),
        **dict(zip(("cost", "cost_low", "cost_high"), cost, strict=True)),
        **metrics(outcomes, config.seed),
    )


def cost_table(rows: list[Row]) -> str:
    """Cost of every policy on every device."""
    names = list(dict.fromkeys(row["controller"] for row in rows))
    cost = {(row["device"], row["controller"]): (row["cost"], row["cost_low"], row["cost_high"]) for row in rows}
    lines = [
        [device, *(shown(cost[device, name], "{:.1f}") for name in names)]
        for device in dict.fromkeys(row["device"] for row in rows)
    ]
    return markdown(["cost [pulses]", *names], lines)


def main() -> None:
    """Run, print and write."""
    config = parse(TablesConfig, sys.argv[1:], "measured_tables.py")
    rows: list[Row] = []
    for path, nominal in zip(config.tables, config.nominal, strict=True):
        task = WriteVerify(device=path, tolerance=config.tolerance, max_pulses=config.max_pulses, give_up=True)
        chip = task.fabricate(seeded(config.seed, EVALUATION), config.cells)
        policies = chosen(config, task, nominal)
        parts = {f"{task.device.name} {task.device.tables.device[n]}": chip.which == n for n in np.unique(chip.which)}
        parts[f"{task.device.name}, all"] = np.ones(config.cells, bool)
        rows += [
            row(config, task, name, policy, take(chip, cells), device)
            for device, cells in parts.items()
            for name, policy in policies.items()
        ]
    whole = [row for row in rows if row["device"].endswith(", all")]
    write_whole(config.out / "measured_tables.csv", csv_text(rows))
    command = "python benchmarks/measured_tables.py " + shlex.join(sys.argv[1:])
    write_whole(config.out / "measured_tables.md", markdown_table(whole, command) + "\n" + cost_table(rows))
    print(text_table(whole), "\n\n" + cost_table(rows))


if __name__ == "__main__":
    main()
