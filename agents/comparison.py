"""`memenv compare`: every controller on the same chips, starts and targets; table, picture and files with intervals."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from tqdm import tqdm

from agents.by_level import BIT_ERRORS, LevelOptions, level_rows, level_table, wrong_bits
from agents.evaluation import Outcomes, evaluate
from agents.library import known_policies, load_policy
from agents.tuned import shipped_or_tuned
from agents.tuning import TRIALS_HELP, PriceOptions, priced, tune
from memenv.bounds import MANY, MOST, MOST_SEED, once
from memenv.devices.catalogue import load_device
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.levels import BANDS
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments import reporting
from memenv.experiments.options import option, parse
from memenv.experiments.parallel import WorkerOptions, keep, workers
from memenv.experiments.runs import RECORD, Run, begun, check_picture, command_line
from memenv.experiments.web_page import contents

FILES = ("comparison.csv", "comparison.md", "comparison.png", "comparison.html")
LEVELS = "levels.csv"
PACKAGES = ("memenv", "numpy", "scipy", "gymnasium", "cmaes")
SHARED = ("max_pulses", "rounds", "confirm_reads", "weight_energy")  # options and arguments of the task
SPREAD = "pulses_over_tunings"  # column of the standard deviation over searches
AGAINST = "pulses_against"  # column of the paired difference to a rival


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(LevelOptions, PriceOptions, WorkerOptions):
    """The judging of controllers, alike for every command that judges many of them on one device after the other."""

    group: ClassVar[str] = "how controllers are judged"

    cells: int = option(1000, bounds=(1, MOST), help="fresh cells for each controller")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of chips, starts, targets and noise")
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    rounds: int = option(1, bounds=(1, MANY), help="targets written one after another to the same cell")
    confirm_reads: int = option(0, bounds=(0, MANY), help="further reads that must be inside before a cell is accepted")
    trials: int | None = option(None, bounds=(1, MANY), help=TRIALS_HELP)
    retune: bool = option(False, help="tune also where parameters are shipped")

    def task(self, device: str | CellModel, tolerance: float) -> WriteVerify:
        """The task on a device, at the price of its pulses' time.

        Raises:
            ValueError: an unknown device, an impossible tolerance, or more cells than fit into the memory.
        """
        own: dict[str, Any] = {name: getattr(self, name) for name in SHARED}
        whole = WriteVerify(device=device, tolerance=tolerance, give_up=True, **own, **self.level_arguments())
        task = priced(whole, self.weight_latency)
        task.check_memory(self.cells)
        return task


@dataclass(frozen=True, kw_only=True)
class CompareConfig(JudgeOptions):
    """Compare controllers and policies at programming: every one on the same cells, starts and targets.

    Example: memenv compare --device pcm --controllers ispp,secant --out pcm-compared
    """

    device: tuple[str | CellModel, ...] = option(
        ("threshold", "enode-sandia"), help="names, .json records or .npz tables"
    )
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    controllers: tuple[str, ...] = option(
        (), distinct=True, help="controllers, shipped policies or paths of policies [all]"
    )
    against: str | None = option(None, help="one of them, from which the others' pulses are subtracted cell by cell")
    out: Path = option(Path("comparison"), help="folder of comparison.csv, .md, .png, .html, run.json, journal")


class Row(dict[str, Any]):
    """A line of the table: controller, device, tolerance, cells, and each metric with _low and _high."""


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(CompareConfig, arguments, "memenv compare")
    rows = compare(config, command_line("memenv compare", arguments))
    print(text_table(rows, config.against))
    print(reporting.uncertain(map(load_device, config.device)))
    files = (*FILES, LEVELS) if config.target_levels else FILES
    print(f"in {config.out}: {', '.join(files)}, {RECORD}")


def compare(config: CompareConfig, command: str = "") -> list[Row]:
    """Run the comparison and write its files into `config.out`; the rows of the table.

    Raises:
        ValueError: an unknown device, controller or rival, one twice, another run in the folder, nothing to resume.
    """
    check_picture()
    tasks = [config.task(device, config.tolerance) for device in config.device]
    once("device", [task.device.name for task in tasks])
    work = [
        (task, name, load_policy(name, task)) for task in tasks for name in config.controllers or known_policies(task)
    ]
    for task in tasks if config.against else ():
        if config.against not in (names := [name for other, name, _ in work if other is task]):
            raise ValueError(f"against is {config.against!r}: on {task.device.name} allowed is {', '.join(names)}")
    place = config.out / RECORD
    fixed: dict[str, Any] = {"packages": PACKAGES, "files": (*FILES, LEVELS), "continuable": ("against",)}
    with (
        workers(config.jobs, config.cluster, PACKAGES) as finished,
        begun(place, config, command=command, **fixed) as run,
    ):
        pieces = {(number, name, task.device.name): (task, name, own) for number, (task, name, own) in enumerate(work)}
        found: dict[Any, Any] = {}
        try:
            work_of = {key: partial(judge, *piece, config) for key, piece in pieces.items()}
            found.update(keep(run.kept, finished, work_of, "controller"))
        finally:
            judged = [judged_of(*pieces[key][:2], found[key], config) for key in pieces if key in found]
            if judged and not run.again:
                _write(run, judged, config, command, complete=len(judged) == len(work))
    return rows_of(judged, config)


class Judged(NamedTuple):
    """One controller on one device."""

    task: WriteVerify
    name: str
    outcomes: Outcomes
    row: Row
    run: dict[str, Any]


def judge(
    task: WriteVerify, name: str, policy: Any, config: JudgeOptions, tuning_seed: int | None = None
) -> dict[str, Any]:
    """A policy with the parameters that are shipped for it, or tuned, its outcomes, and its figures.

    With a `tuning_seed` it is tuned by a search of that seed, else, where it has to be tuned, of `config.seed`.
    """
    anew, seed = config.retune or tuning_seed is not None, config.seed if tuning_seed is None else tuning_seed
    found = (tune if anew else shipped_or_tuned)(policy, config.trials, seed)
    if found.trials and not (found.pulses or anew or config.trials):
        text = f"{name} on {task.device.name}: tuned, since no parameters are shipped for this record and task"
        tqdm.write(text, file=sys.stderr)
    began = time.perf_counter()
    outcomes = evaluate(found.policy, task, config.cells, config.seed, examples=min(3, config.cells))
    seconds = time.perf_counter() - began
    spread = {SPREAD: float(np.std(found.pulses, ddof=1))} if len(found.pulses) > 1 else {}
    made = {
        "controller": name,
        "device": task.device.name,
        "parameters": found.parameters,
        "trials": found.trials,
        "tunings": len(found.pulses) or min(found.trials, 1),
        "seconds": seconds,
        "seconds_per_pulse": seconds / max(float(outcomes.pulses.sum()), 1.0),
    }
    figures = metrics(outcomes, config.seed) | spread
    if task.target_levels:
        figures |= reporting.columns(BIT_ERRORS, reporting.mean_interval(wrong_bits(task, outcomes), config.seed))
    return {"outcomes": outcomes._asdict(), "figures": figures, "run": made}


def judged_of(task: WriteVerify, name: str, found: dict[str, Any], config: CompareConfig) -> Judged:
    """One controller, of what was measured."""
    key = {"controller": name, "device": task.device.name, "tolerance": config.tolerance, "cells": config.cells}
    key |= {"bands": task.bands} if task.target_levels else {}
    return Judged(task, name, Outcomes(**found["outcomes"]), Row(key | found["figures"]), found["run"])


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
            "reads_mean": outcomes.reads[rows].mean(axis=-1),
            "error_rms": np.sqrt((outcomes.error[rows] ** 2 * accepted).sum(axis=-1) / accepted.sum(axis=-1)),
            "energy_mean": outcomes.energy[rows].mean(axis=-1),
            "latency_mean": outcomes.latency[rows].mean(axis=-1),
            "return_mean": outcomes.returns[rows].mean(axis=-1),
        }


def metrics(outcomes: Outcomes, seed: int) -> dict[str, float]:
    """Each metric with its 95 % bootstrap interval over cells, as _low and _high."""
    found = reporting.bootstrap(partial(summary, outcomes), len(outcomes.pulses), seed)
    return {key: value for name, one in found.items() for key, value in reporting.columns(name, one).items()}


def rows_of(judged: Sequence[Judged], config: CompareConfig) -> list[Row]:
    """The rows of the table, with the difference to the pulses of the rival where both have been judged."""
    rows = []
    for one in judged:
        for rival in judged:
            if rival.name == config.against and rival.task is one.task and rival is not one:
                difference = reporting.paired_interval(one.outcomes.pulses, rival.outcomes.pulses, config.seed)
                one = one._replace(row=Row(one.row | reporting.columns(AGAINST, difference)))
        rows.append(one.row)
    return rows


# -- what is written -------------------------------------------------------------------------------------------------


def _write(run: Run, judged: list[Judged], config: CompareConfig, command: str, complete: bool) -> None:
    """Table, picture and record of what is finished."""
    rows = rows_of(judged, config)
    table = markdown_table(rows, command, config.against) + reporting.uncertain(one.task.device for one in judged)
    levels = [row for one in judged if one.task.target_levels for row in level_rows(one.task, one.name, one.outcomes)]
    made = contents(rows, table + level_table(levels), "Pulses, errors and reads", picture(judged), run.record)
    files = dict(zip(FILES, made, strict=True)) | ({LEVELS: reporting.csv_text(levels)} if levels else {})
    run.write(files, runs=[one.run for one in judged], complete=complete)


MEANING = (
    "Brackets: 95 % bootstrap interval over cells. Tunings: standard deviation of the pulses over the searches of "
    "which the best is shown; – where there was one search, or none."
)
HEADLINES = ("pulses_mean", "pulses_per_accepted")  # whose intervals are printed
SHOWN = (
    ("pulses_mean", "pulses", "{:.2f}", 1.0),
    ("pulses_per_accepted", "per accepted", "{:.2f}", 1.0),
    (SPREAD, "tunings", "± {:.2f}", 1.0),
    ("reads_mean", "reads", "{:.2f}", 1.0),
    ("pulses_p95", "p95", "{:.0f}", 1.0),
    ("pulses_p99", "p99", "{:.0f}", 1.0),
    ("success_rate", "success %", "{:.1f}", 100.0),
    ("false_acceptance_rate", "false %", "{:.2f}", 100.0),
    ("error_rms", "error %", "{:.2f}", 100.0),
    ("energy_mean", "energy pJ", "{:.3g}", 1e12),
    ("latency_mean", "time us", "{:.3g}", 1e6),
    ("return_mean", "return", "{:.3f}", 1.0),
)
TOLERANCES = dict(zip((None, *BANDS), ("the range", "the range", "the resistances", "the target"), strict=True))
LEVELLED = (BIT_ERRORS, "bit errors %", "{:.3f}", 100.0)  # shown of tasks with levels


def _line(row: Row, against: str | None) -> list[str]:
    """A row's figures; the headline ones with their interval."""
    line = [row["controller"]]
    for name, _, form, scale in _shown(row):
        if name in (*HEADLINES, BIT_ERRORS):
            line.append(reporting.shown(reporting.figure(row, name, scale), form))
        else:
            line.append(reporting.number(scale * row.get(name, np.nan), form))
    if against:
        line.append(reporting.shown(reporting.figure(row, AGAINST), "{:+.2f}") if AGAINST in row else "–")
    return line


def _shown(row: Row) -> tuple[tuple[str, str, str, float], ...]:
    """Name, title, form and unit of a row's figures."""
    return (*SHOWN, LEVELLED) if BIT_ERRORS in row else SHOWN


def _grouped(rows: list[Row], against: str | None) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """For each device and tolerance a title, the head and the lines of its table."""
    more = [f"against {against}"] if against else []
    for device, tolerance in dict.fromkeys((row["device"], row["tolerance"]) for row in rows):
        own = [row for row in rows if (row["device"], row["tolerance"]) == (device, tolerance)]
        head = ["controller", *(title for _, title, _, _ in _shown(own[0])), *more]
        title = f"{device}: tolerance {tolerance:.3g} of {TOLERANCES[own[0].get('bands')]}, {own[0]['cells']} cells"
        yield title, head, [_line(row, against) for row in own]


def text_table(rows: list[Row], against: str | None = None) -> str:
    """The table for the terminal, with a column of differences if they are `against` a rival."""
    return "\n".join(f"\n{title}\n{reporting.aligned(head, lines)}" for title, head, lines in _grouped(rows, against))


def markdown_table(rows: list[Row], command: str, against: str | None = None, meaning: str = MEANING) -> str:
    """The table as Markdown, under the command that made it and what brackets mean."""
    note = f" Pulses against those of {against}: paired, on the same cells." if against else ""
    tables = [f"\n**{title}**\n\n{reporting.markdown(head, lines)}" for title, head, lines in _grouped(rows, against)]
    return f"`{command}`\n\n{meaning}{note}\n" + "".join(tables)


def picture(judged: list[Judged]) -> Any:
    """The figure: for each device the distribution of pulses, the error against pulses, and traces of one cell."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, MaxNLocator

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
                errors.semilogy(pulses, 100 * outcomes.error_by_pulse, color=colours[name], label=name)
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
        for axes in line:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside right center")
    return figure


def _draw_traces(axes: Any, task: WriteVerify, own: list[Judged], colours: dict[str, Any]) -> None:
    """The reads of one cell under each controller: the cell on which the first controller needed most pulses."""
    cell = int(np.argmax([len(reads) for reads, _, _ in own[0].outcomes.examples]))
    target = own[0].outcomes.examples[cell][2]
    device = task.device
    half = float(np.min(task.tolerance_x * (device.g_max - device.g_min)))
    axes.axhspan((target - half) * 1e6, (target + half) * 1e6, color="tab:green", alpha=0.3)
    for _, name, outcomes, _, _ in own:
        reads = outcomes.examples[cell][0]
        axes.plot(np.arange(len(reads)), reads * 1e6, "o-", markersize=3, color=colours[name], alpha=0.8, label=name)
    axes.set(title="one cell: reads and target band", xlabel="pulses", ylabel="G [uS]")
