"""`memenv sweep`: comparisons at many tolerances and over searches, a file for each point, joined into one table."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.comparison import PACKAGES, SHOWN, SPREAD, JudgeOptions, Row, judge, markdown_table, text_table
from agents.library import known_policies, load_policy
from agents.tuning import tunable
from memenv.bounds import MOST_SEED, is_number, once
from memenv.devices.catalogue import load_device
from memenv.devices.protocol import CellModel
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments import reporting
from memenv.experiments.kept import in_files
from memenv.experiments.options import option, parse
from memenv.experiments.parallel import keep, workers
from memenv.experiments.runs import RECORD, begun, check_picture, command_line
from memenv.experiments.web_page import contents
from memenv.files import load_json, named, write_whole

FILES = ("sweep.csv", "sweep.md", "sweep.png", "sweep.html")
POINTS = "points/*.json"
FORMAT = "memenv sweep point 1"
MOST_POINTS = 10_000
FIGURES = {f"{name}{end}" for name, *_ in SHOWN if name != SPREAD for end in ("", "_low", "_high")}  # of every point


@dataclass(frozen=True, kw_only=True)
class SweepConfig(JudgeOptions):
    """Compare controllers on every device at every tolerance, over several searches; what is finished is kept.

    Example: memenv sweep --device threshold,pcm --tolerance 0.01,0.02,0.05 --controllers ispp,secant --jobs 2
    """

    device: tuple[str | CellModel, ...] = option(("threshold",), help="names, .json records or .npz tables")
    tolerance: tuple[float, ...] = option(
        (0.005, 0.01, 0.02, 0.05),
        bounds=(1e-9, 1.0),
        distinct=True,
        help="half-widths of the target band, fractions of the range",
    )
    controllers: tuple[str, ...] = option(
        (), distinct=True, help="controllers, shipped policies or paths of policies [all]"
    )
    seeds: tuple[int, ...] = option(
        (),
        bounds=(0, MOST_SEED),
        distinct=True,
        help="of searches: each tunes anew whatever can be tuned [tuned as memenv compare]",
    )
    out: Path = option(Path("sweep"), help="folder of sweep.csv, .md, .png, .html, run.json, points/ (a file each)")


class Point(NamedTuple):
    """A row of the table, not judged yet."""

    device: str
    tolerance: float
    controller: str
    tuning_seed: int | None

    def file(self, number: int) -> str:
        """Its file in the folder of the sweep."""
        seed = "" if self.tuning_seed is None else f"-{self.tuning_seed}"
        name = f"{number:05}-{self.device}-{self.tolerance:g}-{Path(self.controller).stem}{seed}"
        return f"points/{re.sub('[^A-Za-z0-9.-]', '_', name)}.json"


OWN = {*Point._fields, "cells"}  # of a row; the others are figures


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(SweepConfig, arguments, "memenv sweep")
    rows = sweep(config, command_line("memenv sweep", arguments))
    print(text_table(over_searches(rows)))
    print(reporting.uncertain(map(load_device, config.device)))
    print(f"in {config.out}: {', '.join(FILES)}, {RECORD}, points/")


def sweep(config: SweepConfig, command: str = "") -> list[Row]:
    """Judge every point and write the files of `config.out`; the rows of sweep.csv.

    A point is the row that `agents.comparison.compare` has for its device, tolerance and controller, whoever judges it.

    Raises:
        ValueError: an unknown device, controller or cluster, too many points, a folder that holds another run, nothing
            to resume.
        ChildProcessError: a worker was killed; what was finished is kept.
    """
    check_picture()
    work = work_of(config)
    files = {point: config.out / point.file(number) for number, point in enumerate(work)}
    fixed: dict[str, Any] = {"packages": PACKAGES, "files": (*FILES, POINTS), "checkpoint": POINTS}
    with (
        workers(config.jobs, config.cluster, PACKAGES) as finished,
        begun(config.out / RECORD, config, command=command, **fixed) as run,
    ):
        points = in_files(files, read, write)
        print(f"{len(work)} points, {len(points)} of them finished", file=sys.stderr)
        found = dict(keep(points, finished, work, "point"))
        rows = [found[point] for point in work]
        if not run.again:
            made = _contents(rows, config, command, run.record)
            run.write(dict(zip(FILES, made, strict=True)), complete=True)
    return rows


def work_of(config: SweepConfig) -> dict[Point, Any]:
    """A function for each point that judges it, in the order of the table.

    Raises:
        ValueError: an unknown device or controller, none or the same one twice, or more than `MOST_POINTS`.
    """
    devices = [load_device(device) for device in config.device]
    once("device", [one.name for one in devices])
    for name in ("device", "tolerance"):
        if not getattr(config, name):
            raise ValueError(f"{name} is empty: at least one is needed")
    most = len(devices) * len(config.tolerance) * max(len(config.seeds), 1)
    _check_count(most * max(len(config.controllers), 1))
    work: dict[Point, Any] = {}
    for device in devices:
        for tolerance in config.tolerance:
            task = config.task(device, tolerance)
            for name in config.controllers or known_policies(task):
                policy = load_policy(name, task)
                for seed in (config.seeds if tunable(policy) else ()) or (None,):
                    work[Point(device.name, tolerance, name, seed)] = partial(judged, task, name, policy, config, seed)
    _check_count(len(work))
    return work


def _check_count(points: int) -> None:
    if points > MOST_POINTS:
        raise ValueError(
            f"{points:,} points, allowed are {MOST_POINTS:,}: name fewer of --device, --tolerance, --controllers or "
            "--seeds, or sweep parts of them into folders of their own"
        )


def judged(task: WriteVerify, name: str, policy: Any, config: SweepConfig, seed: int | None) -> dict[str, Any]:
    """Figures of a point and how they came about, without the outcomes of each cell."""
    found = judge(task, name, policy, config, seed)
    return {"cells": config.cells, "figures": found["figures"], "run": found["run"]}


# -- the file of a point -----------------------------------------------------------------------------------------------


def write(path: Path, point: Point, found: dict[str, Any]) -> None:
    """Write the file of a point; figures that are not finite, as a ratio to nothing, are null."""
    figures = {name: reporting.finite(value) for name, value in found["figures"].items()}
    tree = {"format": FORMAT, "point": point._asdict(), **found, "figures": figures}
    write_whole(path, json.dumps(tree, indent=1) + "\n")


def read(path: Path, point: Point) -> Row:
    """The row of a point that is kept.

    Raises:
        ValueError: the file was cut short, is damaged, or is of another point.
    """
    with named(path, "file of this point"):
        tree = load_json(path)
        if (tree["format"], tree["point"]) != (FORMAT, point._asdict()):
            raise ValueError(f"it has {tree['format']!r} of {tree['point']}")
        for name, value in (("cells", tree["cells"]), *tree["figures"].items()):
            if not is_number(value) and (value is not None or name == "cells"):
                raise ValueError(f"{name} is {value!r:.80}, a number is needed")
        figures = {name: float("nan" if value is None else value) for name, value in tree["figures"].items()}
        if missing := FIGURES - figures.keys():
            raise ValueError(f"it has no {min(missing)}")
        return Row(point._asdict() | {"cells": int(tree["cells"])} | figures)


# -- what is written ---------------------------------------------------------------------------------------------------

MEANING = (
    "Means over searches. Brackets: 95 % bootstrap interval over cells, the mean one of the searches. Tunings: "
    "standard deviation of the pulses over searches; – where there was one, or nothing to search for."
)


def over_searches(rows: Sequence[Row]) -> list[Row]:
    """A row for each device, tolerance and controller, of those of its searches."""
    found = []
    for place in dict.fromkeys(map(_place, rows)):
        each = [row for row in rows if _place(row) == place]
        row = Row(each[0])
        for name in row.keys() - OWN:
            row[name] = float(np.mean([one[name] for one in each]))
        if len(each) > 1:
            row[SPREAD] = float(np.std([one["pulses_mean"] for one in each], ddof=1))
        found.append(row)
    return found


def _contents(
    rows: Sequence[Row], config: SweepConfig, command: str, record: dict[str, Any]
) -> tuple[str | bytes, ...]:
    """Those of FILES."""
    joined = over_searches(rows)
    table = markdown_table(joined, command, meaning=MEANING) + reporting.uncertain(map(load_device, config.device))
    return contents(rows, table, "Pulses and success against the tolerance", picture(joined), record)


def _place(row: Row) -> tuple[Any, ...]:
    return row["device"], row["tolerance"], row["controller"]


def picture(rows: Sequence[Row]) -> Any:
    """The figure: for each device pulses, and cells that failed, against the tolerance."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    devices, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("device", "controller"))
    figure = Figure(figsize=(11, 4.3 * len(devices)), dpi=110, layout="constrained")
    grid = figure.subplots(len(devices), 2, squeeze=False)
    for line, device in zip(grid, devices, strict=True):
        for number, name in enumerate(names):
            own = [row for row in rows if (row["device"], row["controller"]) == (device, name)]
            for axes, key, scale in zip(line, ("pulses_mean", "success_rate"), (1.0, 100.0), strict=True):
                value, low, high = np.array([reporting.figure(row, key, scale) for row in own]).reshape(-1, 3).T
                across = [100 * row["tolerance"] for row in own]
                colour = colormaps["tab20" if len(names) > 10 else "tab10"](number)
                axes.fill_between(across, low, high, color=colour, alpha=0.2, linewidth=0)
                axes.plot(across, value, "o-", markersize=4, color=colour, label=name)
        for axes, title, up in zip(line, ("pulses", "cells programmed [%]"), ("log", "linear"), strict=True):
            axes.set(title=f"{device}: {title}", xlabel="tolerance [% of range]", ylabel=title, xscale="log", yscale=up)
            axes.set_xticks(sorted({100 * row["tolerance"] for row in rows}))
            axes.set_xticks([], minor=True)
            axes.xaxis.set_major_formatter("{x:g}")
        pulses = line[0].yaxis
        pulses.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        pulses.set_major_formatter("{x:g}")
        pulses.set_minor_locator(NullLocator())
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure
