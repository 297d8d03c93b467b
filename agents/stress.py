"""`memenv stress`: every controller is told a device's record, while the cells are those of another one, the truth.

Controllers are tuned on the record, as an engineer would who has nothing else, and policies see through it. What is
asked for and how reads are scaled are the record's too: of the truth are the cells alone.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.comparison import PACKAGES, metrics
from agents.evaluation import Outcomes, evaluate
from agents.library import fair_controllers, known_policies, load_policy
from agents.tuned import shipped_or_tuned
from agents.tuning import TRIALS_HELP, PriceOptions, priced
from memenv.bounds import MANY, MOST, MOST_SEED, once
from memenv.devices.device import Device
from memenv.devices.law import Response
from memenv.devices.protocol import CellModel, parametric
from memenv.devices.records import validate
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments import reporting
from memenv.experiments.options import option, parse
from memenv.experiments.parallel import WorkerOptions, keep, workers
from memenv.experiments.runs import RECORD, begun, check_picture, command_line
from memenv.experiments.web_page import contents

FILES = ("stress.csv", "stress.md", "stress.png", "stress.html")
MATCHED, TOLERANCE = "record", "tolerance"
BEST = "of_the_best"  # column of the ratio to the best classical controller


def _both(change: Callable[[Response, float], dict[str, Any]]) -> Callable[[Device, float], Device]:
    """A change of both polarities of a record."""

    def changed(record: Device, amount: float) -> Device:
        up, down = (replace(one, **change(one, amount)) for one in (record.set, record.reset))
        return record.replace(set=up, reset=down)

    return changed


# In what a truth can differ from its record, and how: the amount is a factor, or what is added [V, range].
WAYS: dict[str, tuple[str, Callable[[Device, float], Device]]] = {
    "slope": ("{} x {:g}", _both(lambda one, factor: {"slope": one.slope * factor})),
    "gamma": ("{} x {:g}", _both(lambda one, factor: {"gamma": one.gamma * factor})),
    "threshold": ("{} {:+g} V", _both(lambda one, volts: {"shift": one.shift + volts})),
    "cycle-noise": (
        "{} x {:g}",
        _both(lambda one, factor: {name: getattr(one, name) * factor for name in ("cycle_noise", "additive_noise")}),
    ),
    "write-noise": (
        "{} {:g}",
        _both(lambda one, more: {"additive_noise": float(np.copysign(np.hypot(one.additive_noise, more), more))}),
    ),
    "read-noise": ("{} {:g}", lambda record, noise: record.replace(read=replace(record.read, noise=noise))),
    "window": ("{} {:+g}", lambda record, by: record.replace(x_lo=record.x_lo + by, x_hi=record.x_hi + by)),
}
USUAL = (
    MATCHED,
    *("slope=0.25", "slope=0.5", "slope=2", "gamma=0.5", "gamma=2", "threshold=-0.2", "threshold=0.2"),
    *("cycle-noise=4", "read-noise=0.01", "write-noise=0.01", "window=-0.1", "window=0.1"),
    *("tolerance=0.001", "tolerance=0.005", "tolerance=0.05"),
)


class Case(NamedTuple):
    """A truth and its name: the task that controllers are told, and that of the cells."""

    name: str
    told: WriteVerify
    true: WriteVerify


def case(task: WriteVerify, text: str) -> Case:
    """The case `text`: `record`, a way of `WAYS` with an amount as in `slope=0.5`, or `tolerance=0.005`, which is told.

    Raises:
        ValueError: an unknown way, no number, or a truth that no record describes.
    """
    way, _, amount = text.partition("=")
    known = f"known are {MATCHED} and, each with =NUMBER, {', '.join((*WAYS, TOLERANCE))}"
    if text == MATCHED:
        return Case(MATCHED, task, task)
    try:
        number = float(amount)
    except ValueError:
        raise ValueError(f"truth is {text!r}; {known}") from None
    if way == TOLERANCE:
        told = replace(task, tolerance=number)
        return Case(f"{TOLERANCE} {100 * number:g} %", told, told)
    if way not in WAYS:
        raise ValueError(f"truth is {text!r}; {known}")
    form, change = WAYS[way]
    try:
        truth = validate(change(parametric(task.device, "memenv stress").replace(uncertainty=None), number))
    except ValueError as error:
        raise ValueError(f"truth {text} is no device of the law: {error}") from None
    return Case(form.format(way, number), task, replace(task, device=truth))


@dataclass(frozen=True, kw_only=True)
class StressConfig(PriceOptions, WorkerOptions):
    """Compare controllers and policies that are told a record on cells for which it is wrong.

    Example: memenv stress pcm --truths slope=0.5,threshold=0.1 --controllers ispp,bayes --out pcm-stressed
    """

    device: str | CellModel = option("threshold", help="the record that is told: a name or a .json", positional=True)
    truths: tuple[str, ...] = option(
        USUAL, help=f"{MATCHED}, or WAY=NUMBER with a way of {', '.join(WAYS)} (each on its own), {TOLERANCE} (told)"
    )
    tolerance: float = option(0.02, bounds=(1e-9, 1.0), help="half-width of the target band, fraction of the range")
    controllers: tuple[str, ...] = option(
        (), distinct=True, help="controllers, shipped policies or paths of policies [all]"
    )
    cells: int = option(1000, bounds=(1, MOST), help="fresh cells of each truth for each controller")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of chips, starts, targets and noise")
    max_pulses: int = option(50, bounds=(1, MANY), help="pulse budget for a target")
    trials: int | None = option(None, bounds=(1, MANY), help=TRIALS_HELP)
    out: Path = option(Path("stress"), help="folder of stress.csv, .md, .png, .html, run.json, journal")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(StressConfig, arguments, "memenv stress")
    rows = under_stress(config, command_line("memenv stress", arguments))
    print(f"{NOTE}\n\n{reporting.aligned(*table(rows))}")
    print(f"in {config.out}: {', '.join(FILES)}, {RECORD}")


def under_stress(config: StressConfig, command: str = "") -> list[dict[str, Any]]:
    """Run the comparison and write its files into `config.out`; the rows of the table.

    Raises:
        ValueError: an unknown device, controller or truth, a folder that holds another run, nothing to resume.
    """
    check_picture()
    own = ("device", "tolerance", "max_pulses", "weight_energy")
    task = WriteVerify(**{name: getattr(config, name) for name in own}, give_up=True)
    task = priced(task, config.weight_latency)
    parametric(task.device, "memenv stress")
    task.check_memory(config.cells)
    cases = [case(task, text) for text in config.truths]
    names = config.controllers or known_policies(task)
    once("truths", [one.name for one in cases])
    policies = {
        (told.tolerance, name): load_policy(name, told)
        for told in {one.told.tolerance: one.told for one in cases}.values()
        for name in names
    }
    rows: list[dict[str, Any]] = []
    with (
        workers(config.jobs, config.cluster, PACKAGES) as finished,
        begun(config.out / RECORD, config, command=command, packages=PACKAGES, files=FILES) as run,
    ):
        searches = {
            (name, tolerance, "parameters"): partial(parameters, policy, config)
            for (tolerance, name), policy in policies.items()
        }
        searched = dict(keep(run.kept, finished, searches, "search"))
        pieces = {
            (name, one.name): partial(
                judge, one, policies[(at := one.told.tolerance), name], searched[name, at, "parameters"], config
            )
            for one in cases
            for name in names
        }
        found: dict[Any, Any] = {}
        try:
            found.update(keep(run.kept, finished, pieces, "controller"))
        finally:
            for one in cases:
                judged = {name: found[name, one.name] for name in names if (name, one.name) in found}
                rows += rows_of(one.name, judged, config)
            if rows and not run.again:
                figure, caption = picture(rows, task.device.name), "Pulses and success of each controller on each truth"
                made = contents(rows, markdown(rows, command), caption, figure, run.record)
                run.write(dict(zip(FILES, made, strict=True)), complete=len(rows) == len(cases) * len(names))
    return rows


def parameters(policy: Any, config: StressConfig) -> dict[str, Any]:
    """Those of a policy that is told the record: shipped, or of a search on it."""
    return shipped_or_tuned(policy, config.trials, config.seed).parameters


def judge(one: Case, policy: Any, found: dict[str, Any], config: StressConfig) -> dict[str, Any]:
    """Outcomes and figures of a policy with the parameters that were found for it."""
    outcomes = evaluate(with_parameters(policy, found), one.true, config.cells, config.seed)
    return {"outcomes": outcomes._asdict(), "figures": metrics(outcomes, config.seed)}


def with_parameters(policy: Any, parameters: dict[str, Any]) -> Any:
    """A policy with parameters as a journal keeps them."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()}
    return dataclasses.replace(policy, **values) if values else policy


# -- what is written -------------------------------------------------------------------------------------------------


def rows_of(truth: str, judged: dict[str, dict[str, Any]], config: StressConfig) -> list[dict[str, Any]]:
    """A row for each controller; the best classical one is that of least pulses, with max_pulses for a failure."""
    outcomes = {name: Outcomes(**one["outcomes"]) for name, one in judged.items()}
    costs = {
        name: np.mean(one.pulses + config.max_pulses * ~one.accepted)
        for name, one in outcomes.items()
        if name in fair_controllers()
    }
    best = min(costs, key=lambda name: costs[name]) if costs else None
    rows = []
    for name, one in outcomes.items():
        row = {"truth": truth, "controller": name, "cells": config.cells, **judged[name]["figures"]}
        row["handed_over_rate"] = float(one.handed_over.mean())
        if best:
            ratio = reporting.ratio_interval(one.pulses, outcomes[best].pulses, config.seed)
            row |= {"best": best, **reporting.columns(BEST, ratio)}
        rows.append(row)
    return rows


NOTE = (
    "Pulses, times those of the best classical controller of the line (*), success / false acceptances [%], and, where "
    "there are any, cells that a policy handed over to secant [%]."
)


def table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table: a line for each truth, a column for each controller."""
    names, truths = (list(dict.fromkeys(row[key] for row in rows)) for key in ("controller", "truth"))
    cells = {(row["truth"], row["controller"]): _cell(row) for row in rows}
    return ["truth", *names], [[truth, *(cells.get((truth, name), "") for name in names)] for truth in truths]


def _cell(row: dict[str, Any]) -> str:
    """The figures of a controller on a truth."""
    ratio = f" x{reporting.number(row[BEST])}{'*' * (row['best'] == row['controller'])}" if BEST in row else ""
    false = reporting.number(100 * row["false_acceptance_rate"], "{:.1f}")
    shares = f"{100 * row['success_rate']:.1f}/{false}"
    handed = f" >{100 * row['handed_over_rate']:.0f}" if row["handed_over_rate"] else ""
    return f"{row['pulses_mean']:.2f}{ratio} {shares}{handed}"


def markdown(rows: Sequence[dict[str, Any]], command: str) -> str:
    """The table as Markdown, under the command that made it."""
    return f"`{command}`\n\n{NOTE} Intervals stand in stress.csv.\n\n{reporting.markdown(*table(rows))}"


def picture(rows: Sequence[dict[str, Any]], device: str) -> Any:
    """The figure: truths against controllers, coloured by the cost of a cell, with pulses and success."""
    from matplotlib.figure import Figure

    names, truths = (list(dict.fromkeys(row[key] for row in rows)) for key in ("controller", "truth"))
    ratio = np.full((len(truths), len(names)), np.nan)
    figure = Figure(
        figsize=(max(2 + 0.95 * len(names), 6.5), max(1.2 + 0.42 * len(truths), 4.0)), dpi=110, layout="constrained"
    )
    axes = figure.subplots()
    for row in rows:
        place = truths.index(row["truth"]), names.index(row["controller"])
        ratio[place] = row.get(BEST, np.nan)
        text = f"{row['pulses_mean']:.1f}  {100 * row['success_rate']:.0f}%"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=7)
    image = axes.imshow(np.log2(ratio), cmap="RdYlGn_r", vmin=-2, vmax=2, aspect="auto", alpha=0.8)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(truths)), truths)
    axes.set_title(f"{device} is told, another device is true: pulses and success")
    bar = figure.colorbar(image, ax=axes, ticks=[-2, -1, 0, 1, 2])
    bar.set_ticklabels(["1/4", "1/2", "1", "2", "4"])
    bar.set_label("pulses, of the best classical controller's")
    return figure
