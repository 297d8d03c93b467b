"""`memenv compare`: every controller on the same chips, starts and targets; table, picture and files with intervals."""

import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from agents.evaluation import Outcomes, evaluate
from agents.library import known_policies, load_policy
from agents.tuning import kept, tune
from memenv.bounds import MANY, MOST, MOST_SEED
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.runs import RECORD, Run, RunOptions, begun, check_picture, command_line, csv_text

FILES = ("comparison.csv", "comparison.md", "comparison.png")
PACKAGES = ("memenv", "numpy", "scipy", "gymnasium")
RESAMPLES = 1000  # of the bootstrap over chips
METRICS = (
    "pulses_mean",
    "pulses_per_accepted",
    "pulses_median",
    "pulses_p95",
    "pulses_p99",
    "success_rate",
    "false_acceptance_rate",
    "error_rms",
    "energy_mean",
    "latency_mean",
)


@dataclass(frozen=True, kw_only=True)
class CompareConfig(RunOptions):
    """Compare controllers and policies at programming: every one on the same cells, starts and targets."""

    device: tuple[str | CellModel, ...] = option(
        ("threshold", "enode-sandia"), help="names, .json records or .npz tables"
    )
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    controllers: tuple[str, ...] = option((), help="controllers, shipped policies or paths of policies [all]")
    cells: int = option(1000, bounds=(1, MOST), help="fresh cells for each controller")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of chips, starts, targets and noise")
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    rounds: int = option(1, bounds=(1, MANY), help="targets written one after another to the same cell")
    confirm_reads: int = option(0, bounds=(0, MANY), help="further reads that must be inside before a cell is accepted")
    trials: int = option(60, bounds=(1, MANY), help="parameter sets that each controller's tuning tries; 1 = no tuning")
    out: Path = option(Path("comparison"), help="folder of comparison.csv, .md, .png, run.json, journal")


class Row(dict[str, Any]):
    """A line of the table: controller, device, tolerance, cells, and each metric with _low and _high."""


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(CompareConfig, arguments, "memenv compare")
    rows = compare(config, command_line("memenv compare", arguments))
    print(text_table(rows))
    print(f"in {config.out}: {', '.join(FILES)}, {RECORD}")


def compare(config: CompareConfig, command: str = "") -> list[Row]:
    """Run the comparison and write its files into `config.out`; the rows of the table.

    Raises:
        ValueError: an unknown device or controller, a folder that holds another run, nothing to resume.
    """
    check_picture()
    tasks = [
        WriteVerify(
            device=device,
            tolerance=config.tolerance,
            max_pulses=config.max_pulses,
            rounds=config.rounds,
            confirm_reads=config.confirm_reads,
            give_up=True,
        )
        for device in config.device
    ]
    for task in tasks:
        task.check_memory(config.cells)
    work = [
        (task, name, load_policy(name, task)) for task in tasks for name in config.controllers or known_policies(task)
    ]
    judged: list[Judged] = []
    with begun(config.out / RECORD, config, command=command, packages=PACKAGES, files=FILES) as run:
        try:
            with tqdm(work, unit="controller", disable=None, file=sys.stderr) as bar:
                for number, (task, name, policy) in enumerate(bar):
                    bar.set_description(f"{name} on {task.device.name}")
                    judged.append(judge(task, name, policy, config, run, number))
        finally:
            if judged and not run.again:
                _write(run, judged, command, complete=len(judged) == len(work))
    return [one.row for one in judged]


class Judged(NamedTuple):
    """One controller on one device."""

    task: WriteVerify
    name: str
    outcomes: Outcomes
    row: Row
    run: dict[str, Any]


def judge(task: WriteVerify, name: str, policy: Any, config: CompareConfig, run: Run, number: int) -> Judged:
    """Tune a policy, evaluate it and put its figures together, unless that is the run's piece `number` and finished."""
    device = task.device.name

    def work() -> dict[str, Any]:
        tuned = tune(policy, config.trials, config.seed, kept(run, f"{number}: {name} on {device}"))
        began = time.perf_counter()
        outcomes = evaluate(tuned.policy, task, config.cells, config.seed, examples=min(3, config.cells))
        seconds = time.perf_counter() - began
        made = {
            "controller": name,
            "device": device,
            "parameters": tuned.parameters,
            "trials": tuned.trials,
            "seconds": seconds,
            "seconds_per_pulse": seconds / max(float(outcomes.pulses.sum()), 1.0),
        }
        return {"outcomes": outcomes._asdict(), "figures": metrics(outcomes, config.seed), "run": made}

    found = run.once((number, name, device), work)
    row = Row(controller=name, device=device, tolerance=config.tolerance, cells=config.cells, **found["figures"])
    return Judged(task, name, Outcomes(**found["outcomes"]), row, found["run"])


# -- figures ---------------------------------------------------------------------------------------------------------


def summary(outcomes: Outcomes, rows: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
    """The metrics of a set of cells; `rows` (..., cells) may hold many resamples, and each metric is then (...,)."""
    pulses, accepted = outcomes.pulses[rows], outcomes.accepted[rows]
    wins = outcomes.acceptances[rows].sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # nothing accepted: a ratio is infinite or undefined
        return {
            "pulses_mean": pulses.mean(axis=-1),
            "pulses_per_accepted": pulses.sum(axis=-1) / wins,
            **{
                f"pulses_{name}": np.percentile(pulses, share, axis=-1)
                for name, share in (("median", 50), ("p95", 95), ("p99", 99))
            },
            "success_rate": accepted.mean(axis=-1),
            "false_acceptance_rate": outcomes.false_acceptances[rows].sum(axis=-1) / wins,
            "error_rms": np.sqrt((outcomes.error[rows] ** 2 * accepted).sum(axis=-1) / accepted.sum(axis=-1)),
            "energy_mean": outcomes.energy[rows].mean(axis=-1),
            "latency_mean": outcomes.latency[rows].mean(axis=-1),
        }


def metrics(outcomes: Outcomes, seed: int) -> dict[str, float]:
    """Each metric with its 95 % bootstrap interval over cells, as _low and _high."""
    cells = len(outcomes.pulses)
    rng = np.random.default_rng((9, seed))
    parts = [summary(outcomes, rng.integers(cells, size=(50, cells))) for _ in range(RESAMPLES // 50)]
    out: dict[str, float] = {}
    for name, value in summary(outcomes).items():
        draws = np.concatenate([part[name] for part in parts])
        draws = draws[np.isfinite(draws)]
        low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
        out |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    return out


# -- what is written -------------------------------------------------------------------------------------------------


def _write(run: Run, judged: list[Judged], command: str, complete: bool) -> None:
    """Table, picture and record of what is finished."""
    rows = [one.row for one in judged]
    contents = (csv_text(rows), markdown_table(rows, command), picture(judged))
    run.write(dict(zip(FILES, contents, strict=True)), runs=[one.run for one in judged], complete=complete)


SHOWN = (
    ("pulses_mean", "pulses", "{:.2f}", 1.0),
    ("pulses_per_accepted", "per accepted", "{:.2f}", 1.0),
    ("pulses_p95", "p95", "{:.0f}", 1.0),
    ("pulses_p99", "p99", "{:.0f}", 1.0),
    ("success_rate", "success %", "{:.1f}", 100.0),
    ("false_acceptance_rate", "false %", "{:.2f}", 100.0),
    ("error_rms", "error %", "{:.2f}", 100.0),
    ("energy_mean", "energy pJ", "{:.3g}", 1e12),
    ("latency_mean", "latency us", "{:.3g}", 1e6),
)


def _cells(row: Row) -> list[str]:
    """A row's figures; the two headline ones with their interval."""
    out = [row["controller"]]
    for name, _, form, scale in SHOWN:
        text = form.format(row[name] * scale)
        if name in ("pulses_mean", "pulses_per_accepted"):
            text += f" [{form.format(row[f'{name}_low'] * scale)}, {form.format(row[f'{name}_high'] * scale)}]"
        out.append(text)
    return out


def _grouped(rows: list[Row]) -> list[tuple[str, list[list[str]]]]:
    """For each device a title and the lines of its table, the head first."""
    head = ["controller", *(title for _, title, _, _ in SHOWN)]
    groups = []
    for device in dict.fromkeys(row["device"] for row in rows):
        own = [row for row in rows if row["device"] == device]
        title = f"{device}: tolerance {own[0]['tolerance']:.3g} of the range, {own[0]['cells']} cells"
        groups.append((title, [head, *(_cells(row) for row in own)]))
    return groups


def text_table(rows: list[Row]) -> str:
    """The table for the terminal."""
    out = []
    for title, lines in _grouped(rows):
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        out.append(f"\n{title}")
        out += [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
    return "\n".join(out)


def markdown_table(rows: list[Row], command: str) -> str:
    """The table as Markdown, under the command that made it."""
    out = [f"`{command}`", "", "Brackets: 95 % bootstrap interval over cells."]
    for title, lines in _grouped(rows):
        out += ["", f"**{title}**", ""]
        table = ["| " + " | ".join(line) + " |" for line in lines]
        out += [table[0], "|" + " --- |" * len(lines[0]), *table[1:]]
    return "\n".join(out) + "\n"


def picture(judged: list[Judged]) -> bytes:
    """PNG: for each device the distribution of pulses, the error against pulses, and traces of one cell."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    devices = list(dict.fromkeys(one.task.device.name for one in judged))
    figure = Figure(figsize=(15, 4.3 * len(devices)), dpi=110, layout="constrained")
    grid = figure.subplots(len(devices), 3, squeeze=False)
    names = list(dict.fromkeys(one.name for one in judged))
    colours = {name: colormaps["tab20" if len(names) > 10 else "tab10"](i) for i, name in enumerate(names)}
    for line, device in zip(grid, devices, strict=True):
        own = [one for one in judged if one.task.device.name == device]
        shares, errors, traces = line
        task = own[0].task
        for _, name, outcomes, _, _ in own:
            pulses = np.arange(task.max_pulses + 1)
            done = np.array([(outcomes.accepted & (outcomes.pulses <= k)).mean() for k in pulses * task.rounds])
            shares.step(pulses, 100 * done, where="post", color=colours[name], label=name)
            if task.rounds == 1:
                errors.semilogy(pulses, 100 * outcomes.error_by_pulse, color=colours[name])
        last = int(np.clip(max(np.percentile(one.outcomes.pulses, 90) for one in own), 8, 20))
        shares.set(
            title=f"{device}: cells programmed", xlabel="pulses", ylabel="share [%]", xlim=(0, last), ylim=(0, 102)
        )
        errors.axhline(100 * float(np.min(task.tolerance_x)), color="grey", linestyle=":", label="tolerance")
        errors.set(
            title="true error, median over all cells", xlabel="pulses", ylabel="error [% of range]", xlim=(0, last)
        )
        errors.yaxis.set_major_formatter("{x:g}")
        errors.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        errors.yaxis.set_minor_formatter("{x:g}")
        _draw_traces(traces, task, own, colours)
        traces.set_xlim(-0.3, last)
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside right center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_traces(axes: Any, task: WriteVerify, own: list[Judged], colours: dict[str, Any]) -> None:
    """The reads of one cell under each controller: the cell on which the first controller needed most pulses."""
    cell = int(np.argmax([len(reads) for reads, _, _ in own[0].outcomes.examples]))
    target = own[0].outcomes.examples[cell][2]
    device = task.device
    half = float(np.min(task.tolerance_x * (device.g_max - device.g_min)))
    axes.axhspan((target - half) * 1e6, (target + half) * 1e6, color="tab:green", alpha=0.3)
    for _, name, outcomes, _, _ in own:
        reads = outcomes.examples[cell][0]
        axes.plot(np.arange(len(reads)), reads * 1e6, "o-", markersize=3, color=colours[name], alpha=0.8)
    axes.set(title="one cell: reads and target band", xlabel="pulses", ylabel="G [uS]")
