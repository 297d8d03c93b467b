"""`memenv fewshot`: how well initialisations learn from a few examples on chips: table, files, pictures."""

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from memenv.bounds import MOST, MOST_SEED
from memenv.devices.catalogue import load_device
from memenv.devices.protocol import CellModel
from memenv.experiments.kept import Once
from memenv.experiments.options import option, parse
from memenv.experiments.parallel import WorkerOptions, keep, workers
from memenv.experiments.reporting import aligned, csv_text, markdown, mean_and_half_width, rendered, uncertain
from memenv.experiments.runs import RECORD, RunOptions, begun, check_picture, command_line
from memenv.experiments.web_page import page
from memenv.few_shot.characters import Split
from memenv.few_shot.chips import Hardware
from memenv.few_shot.initialisations import Initialisation, load_initialisation, shipped
from metalearn.chip_options import ChipOptions
from metalearn.datasets import SOURCES, learned_before, load
from metalearn.evaluation import (
    DELAYS,
    DRIFT_TIME,
    NON_IDEALITIES,
    Outcomes,
    evaluate,
    tune,
    with_non_ideality,
)
from metalearn.learners import seated
from metalearn.omniglot import SPLITS

FLOAT = "float"  # in place of a device: numbers instead of cells
TUNING = 200  # training characters to tune on
EACH = ("pulses", "energy", "reads", "read_energy")
COUNTERS = (*EACH, *(f"initial_{name}" for name in EACH))  # of a task; of putting the initialisation on the chip
COSTS = [f"{when}{what}" for when in ("", "initial ") for what in ("pulses", "reads", "energy [nJ]")]
FILES = ("fewshot.csv", "fewshot.md", "steps.png", "episode.png", "fewshot.html")
VARIED = "robustness.png"
PARTS = 4  # of a stream, besides its first task
CAPTIONS = {
    "steps": "Accuracy after each step",
    "episode": "An episode",
    "robustness": "Accuracy against what was varied",
}
PACKAGES = ("memenv", "numpy")
MODES = {  # of a head
    "zeros": "nothing, from which it learns",
    "digital": "class means, multiplied in digital; nothing learns",
    "written": "class means on the chip; nothing learns",
    "learning": "class means on the chip, from which all layers learn",
}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FewshotConfig(ChipOptions, RunOptions, WorkerOptions):
    """Learn from a few examples of new characters on fresh chips, and classify others; nothing is trained.

    Example: memenv fewshot --device pcm --episodes 200 --out pcm-fewshot
    """

    init: tuple[str, ...] = option(
        (), positional=True, distinct=True, help="shipped names or .npz files [those for the data]"
    )
    device: tuple[str, ...] = option(
        (FLOAT, "alox-hfo2"), distinct=True, help="names, .json records or .npz tables; float: no chip"
    )
    data: str = option(
        "glyphs", help="whose classes for evaluation are taken; odours: of simulated sensors", choices=SOURCES
    )
    split: str = option("random", help="of Omniglot's characters; original: by alphabets", choices=SPLITS)
    ways: int = option(5, bounds=(2, 10_000), help="classes of a task")
    shots: int = option(1, bounds=(1, 10_000), help="examples of a class to learn from")
    queries: int = option(15, bounds=(1, 10_000), help="examples of a class to judge by")
    episodes: int = option(1000, bounds=(2, MOST), help="tasks, each on a chip of its own")
    delays: tuple[float, ...] = option(
        DELAYS, bounds=(0.0, 1e12), distinct=True, help="after the last step, at which the queries come [s]"
    )
    head: tuple[str, ...] = option(
        (),
        distinct=True,
        help="in place of that of the initialisation, each in turn: " + "; ".join(map(": ".join, MODES.items())),
    )
    tune: int = option(
        0, bounds=(0, MOST), help="training episodes on which to tune a factor of all rates and one of all ranges"
    )
    stream: int = option(
        1, bounds=(1, 100_000), help="tasks of an episode, one after the other on the same ageing chip"
    )
    interval: float = option(0.0, bounds=(0.0, 1e12), help="without a pulse between two tasks of a stream [s]")
    vary: tuple[str, ...] = option((), distinct=True, help="also in several amounts: " + ", ".join(NON_IDEALITIES))
    seed: int = option(0, bounds=(0, MOST_SEED), help="of episodes, chips and noise")
    out: Path = option(Path("fewshot"), help="folder of fewshot.csv, .md, .html, pictures, run.json, journal")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(FewshotConfig, arguments, "memenv fewshot")
    rows = fewshot(config, command_line("memenv fewshot", arguments))
    print(text_table(rows))
    print(uncertain(load_device(name) for name in config.device if name != FLOAT))
    print(f"in {config.out}: {', '.join(FILES)}, {RECORD}")


def fewshot(config: FewshotConfig, command: str = "") -> list[Row]:
    """Judge all initialisations on all devices and write the files into `config.out`; the rows of the table.

    Raises:
        ValueError: unusable options, initialisations, devices or data, a folder that holds another run, nothing to
            resume.
    """
    _check(config)
    check_picture()
    names = config.init or tuple(name for name in shipped() if name.startswith(config.data))
    if not names:
        raise ValueError(f"no initialisation for {config.data} is shipped: name a file that memenv pretrain wrote")
    inits = _with_heads({_label(name, names): load_initialisation(name) for name in names}, config.head)
    devices: dict[str, CellModel | None] = {
        name: None if name == FLOAT else load_device(name) for name in config.device
    }
    varied = [device for device in devices.values() if device is not None]
    if config.vary and not varied:
        raise ValueError("--vary needs a --device other than float")
    for what in config.vary:
        for one in varied:
            with_non_ideality(one, what, NON_IDEALITIES[what][1][0])
    for init in inits.values() if varied else ():
        seated(config.hardware(varied[0]), init)  # refused before anything is judged
    characters = load(config.data, config.split)
    not_new = _not_new(config, inits, characters)
    if not_new:
        warnings.warn(not_new, stacklevel=2)
    work = [(name, device, "", 0.0) for name in inits for device in devices]
    work += [
        (name, device, what, amount)
        for what in config.vary
        for amount in NON_IDEALITIES[what][1]
        for name in inits
        for device in devices
        if device != FLOAT
    ]
    rows: list[Row] = []
    notes = uncertain(varied) + not_new
    views = {name: View.of(init, characters) for name, init in inits.items()}
    tuned: dict[tuple[str, str], Initialisation] = {}
    with (
        workers(config.jobs, config.cluster, PACKAGES) as finished,
        begun(config.out / RECORD, config, command=command, packages=PACKAGES, files=(*FILES, VARIED)) as run,
    ):

        def judging(key: tuple[str, str, str, float]) -> partial[dict[str, Any]]:
            name, device, what, amount = key
            view, chosen = views[name], devices[device]
            if (name, device) not in tuned:
                once = run.kept.of("tuning", name, device)
                tuned[name, device] = _tuned(config, inits[name], hardware(config, chosen), view.train, once)
            chip = hardware(config, with_non_ideality(chosen, what, amount) if what and chosen else chosen)
            options = _numbers(config) | {"stream": config.stream, "interval": config.interval}
            if config.alone:
                options["once"] = run.kept.of(*key)
            if what == DRIFT_TIME:
                options["delays"] = tuple(delay + amount for delay in config.delays)
            return partial(_outcomes, tuned[name, device], chip, view.test, episodes=config.episodes, **options)

        found: dict[Any, Outcomes] = {}
        for place, outcomes in keep(run.kept, finished, {key: judging(key) for key in work}, "evaluation"):
            found[place] = Outcomes(**outcomes)
            rows = [row for key in work if key in found for row in _rows(config, *key, found[key])]
            if not run.again:
                run.write(_tables(rows, command, notes))
        if not run.again:
            first, device = next(iter(inits)), config.device[-1]
            chip = hardware(config, devices[device])
            title, view = f"{first} on {device}", views[first]
            drawn = _pictures(config, rows, tuned[first, device], chip, characters, view, title)
            cards = {name: json.loads(init.card) for name, init in inits.items()}
            tables = _tables(rows, command, notes)
            shown = page(tables["fewshot.md"], {CAPTIONS[name]: one for name, one in drawn.items()}, run.record)
            files = {f"{name}.png": rendered(figure) for name, figure in drawn.items()}
            run.write({**tables, **files, "fewshot.html": shown}, cards=cards, complete=True)
    return rows


def _not_new(config: FewshotConfig, inits: dict[str, Initialisation], characters: Split) -> str:
    """Lines for below the table: which initialisations have learned from characters that they are asked."""
    if config.data != "omniglot":
        return ""
    known = {name: learned_before(init, config.split, characters.test) for name, init in inits.items()}
    total = len(characters.test)
    return "".join(
        f"\n{name} has learned from {number} of these {total} characters: pretrain one with --split {config.split}.\n"
        for name, number in known.items()
        if number
    )


def _outcomes(*arguments: Any, **options: Any) -> dict[str, Any]:
    """Those of `evaluate`, as they are kept."""
    return vars(evaluate(*arguments, **options))


def _with_heads(inits: dict[str, Initialisation], heads: Sequence[str]) -> dict[str, Initialisation]:
    """Every initialisation with each of these heads, by names that say so; all as they are without any."""
    return {f"{name}, {head}": with_head(init, head) for name, init in inits.items() for head in heads} or inits


def with_head(init: Initialisation, mode: str) -> Initialisation:
    """The initialisation with a head of MODES.

    Raises:
        ValueError: no such head.
    """
    if mode not in MODES:
        raise ValueError(f"head is {mode!r}: choose from {', '.join(MODES)}")
    rates = np.zeros_like(init.rates) if mode in ("digital", "written") else init.rates
    return replace(init, head="written" if mode == "learning" else mode, rates=rates)


def _label(name: str, names: Sequence[str]) -> str:
    """The label of a file: its folder, as long as that tells it from the others."""

    def short(path: Path) -> str:
        return path.parent.name if path.stem == "initialisation" and path.parent.name else path.stem

    if not name.endswith(".npz") or [short(Path(other)) for other in names].count(short(Path(name))) > 1:
        return name
    return short(Path(name))


def _check(config: FewshotConfig) -> None:
    if config.interval and config.stream == 1:
        raise ValueError(f"interval is {config.interval:g}, but one task has none: give --stream tasks as well")
    if config.tune == 1:
        raise ValueError(f"tune is {config.tune}, allowed is 0 or a whole number >= 2")
    if not config.device or not config.delays:
        raise ValueError("at least one device and one delay are needed")
    for what in config.vary:
        if what not in NON_IDEALITIES:
            raise ValueError(f"unknown non-ideality {what!r}: choose from {', '.join(NON_IDEALITIES)}")


def hardware(config: FewshotConfig, device: CellModel | None) -> Hardware | None:
    """The chip of a configuration; None without one."""
    return None if device is None else config.hardware(device)


class View(NamedTuple):
    """Features of the characters by an initialisation's front: (classes, instances, features)."""

    train: np.ndarray  # of the first TUNING of them
    test: np.ndarray

    @classmethod
    def of(cls, init: Initialisation, characters: Split) -> Self:
        """Both parts."""
        return cls(init.front(characters.train.images[:TUNING]), init.front(characters.test.images))


def _numbers(config: FewshotConfig) -> dict[str, Any]:
    """The common options of every evaluation of the configuration."""
    return {name: getattr(config, name) for name in ("ways", "shots", "queries", "delays", "seed", "engine")}


def _tuned(
    config: FewshotConfig, init: Initialisation, chip: Hardware | None, inputs: np.ndarray, once: Once
) -> Initialisation:
    """The initialisation with factors of rates and ranges that suit the chip, if they are to be tuned."""
    if not config.tune:
        return init
    return tune(init, chip, inputs, episodes=config.tune, once=once, **_numbers(config)).of(init)


# -- what is written ---------------------------------------------------------------------------------------------------


def _tables(rows: Sequence[Row], command: str, notes: str) -> dict[str, str]:
    return {"fewshot.csv": csv_text(rows), "fewshot.md": markdown_table(rows, command) + notes}


def _pictures(
    config: FewshotConfig,
    rows: Sequence[Row],
    init: Initialisation,
    chip: Hardware | None,
    characters: Split,
    view: View,
    title: str,
) -> dict[str, Any]:
    """Figures by name: accuracy by step, one episode of an initialisation on a chip, and what was varied."""
    from metalearn import plots as pictures

    numbers = {name: getattr(config, name) for name in ("ways", "shots", "queries", "seed")}
    figures = {
        "steps": pictures.by_step(rows),
        "episode": pictures.episode(init, chip, characters.test, view.test, title=title, **numbers),
    }
    return figures | {"robustness": pictures.robustness(rows)} if config.vary else figures


def _rows(config: FewshotConfig, name: str, device: str, what: str, amount: float, outcomes: Outcomes) -> Iterator[Row]:
    """The line of an evaluation; of streams that of the first task, and of parts of the others."""
    if config.stream == 1:
        yield _row(config, name, device, what, amount, outcomes)
        return
    parts = [np.arange(1), *np.array_split(np.arange(1, config.stream), min(PARTS, config.stream - 1))]
    for part in parts:
        pooled = outcomes.of_tasks(part)
        row = _row(config, name, device, what, amount, pooled)
        row |= {"first_task": int(part[0]) + 1, "last_task": int(part[-1]) + 1}
        row["kept"], row["half_width_kept"] = mean_and_half_width(pooled.kept)
        yield row


def _row(config: FewshotConfig, name: str, device: str, what: str, amount: float, outcomes: Outcomes) -> Row:
    row: Row = {
        "init": name,
        "device": device,
        "non_ideality": what,
        "amount": amount,
        "ways": config.ways,
        "shots": config.shots,
        "episodes": config.episodes,
    }
    for number, delay in enumerate(config.delays):
        row[f"accuracy_{delay:g}s"], row[f"half_width_{delay:g}s"] = outcomes.accuracy(number)
    for step, shares in enumerate(outcomes.by_step):
        row[f"accuracy_step{step}"], row[f"half_width_step{step}"] = mean_and_half_width(shares)
    for counter in COUNTERS:
        row[counter] = float(getattr(outcomes, counter).mean())
    return row


def _table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of what was not varied."""
    delays = [key.removeprefix("accuracy_") for key in rows[0] if key.startswith("accuracy_") and key.endswith("s")]
    streams = ["tasks", "task before [%]"] if "kept" in rows[0] else []
    head = ["initialisation", "device", *streams, *(f"after {delay} [%]" for delay in delays), *COSTS]
    lines = []
    for row in rows:
        if row["non_ideality"]:
            continue
        shares = [_share(row[f"accuracy_{delay}"], row[f"half_width_{delay}"]) for delay in delays]
        if streams:
            tasks = dict.fromkeys((row["first_task"], row["last_task"]))
            shares = [" to ".join(map(str, tasks)), _share(row["kept"], row["half_width_kept"]), *shares]
        lines.append([row["init"], row["device"], *shares, *costs_of(row)])
    return head, lines


def _share(mean: float, half_width: float) -> str:
    return "–" if np.isnan(mean) else f"{100 * mean:.2f} ± {100 * half_width:.2f}"


def costs_of(row: Row) -> list[str]:
    """The cells of COSTS; energies are those of pulses and of reads together."""
    cells: list[str] = []
    for when in ("", "initial_"):
        pulses, energy, reads, read_energy = (row[f"{when}{name}"] for name in EACH)
        given = f"{pulses:,.0f}", f"{reads:.3g}", f"{1e9 * (energy + read_energy):.3g}"
        cells += given if reads or pulses else ["–"] * len(given)
    return cells


def text_table(rows: Sequence[Row]) -> str:
    """The table for the terminal."""
    return f"{_title(rows[0])}\n{aligned(*_table(rows), left=2)}"


def markdown_table(rows: Sequence[Row], command: str) -> str:
    """The table as Markdown, under the command that made it."""
    return f"`{command}`\n\n{_title(rows[0])}\n\n{markdown(*_table(rows))}"


def _title(row: Row) -> str:
    what = "streams of tasks, each on one chip" if "kept" in row else "episodes"
    return f"{row['ways']}-way {row['shots']}-shot accuracy of {row['episodes']} {what}, ± 95 % interval"
