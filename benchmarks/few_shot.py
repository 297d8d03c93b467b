"""Initialisations of few-shot learning on every device, against each other: pretrained, re-tuned, judged; resumable.

    MEMENV_OMNIGLOT=omniglot python benchmarks/few_shot.py --network conv \
        --measured taox-sandia=taox_dg_tables.npz enode-sandia=enode_dg_tables.npz

All learn on equal chips with equal aids. `random`, `conventional` (a classifier of all training characters) and `ideal`
(MAML on numbers) have their inner rates and weight ranges learned through the device; `aware` is `ideal` after that,
of which everything went on learning through the device. `ideal-several` and `aware-several` are the same, learned
through the devices of --several; the others they have never seen. `float` is learning with numbers. On a measured
device learns what its fitted model's pretraining gave, and again with one factor of all rates and one of all ranges
tuned on training characters. What is in --out already is not done again: the same command continues where it stopped.
"""

import csv
import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from memenv.devices.catalogue import load_device
from memenv.experiments import renamed
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, markdown
from memenv.experiments.runs import RECORD
from memenv.few_shot.chips import Hardware
from memenv.few_shot.initialisations import load_initialisation
from memenv.files import write_whole
from metalearn.datasets import load
from metalearn.evaluation import DELAYS, evaluate, tune
from metalearn.pretraining import PretrainConfig, checkpoint_file, pretrain

COMMAND = shlex.join(["benchmarks/few_shot.py", *sys.argv[1:]])
KINDS = ("random", "conventional", "ideal", "aware", "ideal-several", "aware-several")
DEVICES = ("alox-hfo2", "enode-sandia", "taox-sandia", "pcm", "hfo2-array-om", "hfo2-array-baseline")
FLOAT, SEVERAL = "float", "several"  # in place of a device
NUMBERS = ("devices_per_weight", "episodes", "seed")
TUNING = 200  # training characters to tune on ...
TUNING_EPISODES = 50  # ... by so many episodes
RATES = {"train": "rates", "inner_steps": 3, "rates_learning_rate": 0.1, "evaluations": 1}
AWARE = {"inner_steps": 3, "rates_learning_rate": 0.02, "evaluations": 8}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {  # options of `memenv pretrain`
    "conv": {
        "conventional": {"method": "conventional", "tasks": 1, "ways": 60, "steps": 6000, "evaluations": 10},
        "ideal": {"steps": 12000, "evaluations": 12},
        "rates": {**RATES, "tasks": 32, "steps": 300},
        "aware": {**AWARE, "tasks": 32, "steps": 200, "learning_rate": 3e-4},
    },
    "mlp": {
        "conventional": {"method": "conventional", "steps": 3000, "evaluations": 10},
        "ideal": {"steps": 6000},
        "rates": {**RATES, "tasks": 8, "steps": 200},
        "aware": {**AWARE, "tasks": 16, "steps": 6000, "learning_rate": 3e-3, "augment": 0.3},
    },
}


@dataclass(frozen=True, kw_only=True)
class FewShotConfig:
    """Pretrain, re-tune and judge initialisations of few-shot learning on every device."""

    network: str = option(
        "conv", help="conv: encoder and a head; mlp: every layer on the chip", choices=("conv", "mlp")
    )
    kinds: tuple[str, ...] = option(KINDS, help="initialisations")
    device: tuple[str, ...] = option(DEVICES, help="names or .json records")
    several: tuple[str, ...] = option(
        ("alox-hfo2", "enode-sandia", "pcm", "hfo2-array-om"), help="through which those of several devices learn"
    )
    measured: tuple[str, ...] = option((), help="DEVICE=TABLE.npz: a measured device, and its fitted model")
    split: str = option("random", help="of Omniglot's characters")
    devices_per_weight: int = option(1, help="plus devices of a weight, and as many minus devices")
    aware_steps: int = option(0, help="in which `aware` goes on learning through a device [conv 200, mlp 6000]")
    episodes: int = option(1000, help="tasks, each on a chip of its own")
    seed: int = option(0, help="of pretraining, episodes, chips and noise")
    out: Path = option(Path("few-shot"), help="folder of few_shot.csv, few_shot.md and of the runs")


def init_of(config: FewShotConfig, kind: str, place: str) -> Path:
    """The file of an initialisation for a device, SEVERAL or FLOAT, pretrained now unless it is there."""
    kind, _, several = kind.partition("-")
    place = several or place
    recipe, init = "rates", ""
    if kind == "aware":
        recipe, init = "aware", str(init_of(config, "ideal", place))
    elif kind != "random":
        init = str(_trained(config, kind, kind))
    if (kind, place) == ("ideal", FLOAT):
        return Path(init)
    devices = {FLOAT: (), SEVERAL: config.several}.get(place, (place,))
    chip = {"device": devices, "devices_per_weight": config.devices_per_weight} if devices else {}
    steps = {"steps": config.aware_steps} if kind == "aware" and config.aware_steps else {}
    return _trained(config, f"{kind}-{Path(place).stem}", recipe, init=init, **chip, **steps)


def _trained(config: FewShotConfig, folder: str, recipe: str, **options: Any) -> Path:
    """The initialisation of a run, begun or continued unless it is complete."""
    out = config.out / folder
    wanted = PretrainConfig(
        network=config.network,
        split=config.split,
        seed=config.seed,
        out=out,
        **RECIPES[config.network][recipe] | options,
    )
    record = json.loads((out / RECORD).read_text(encoding="utf-8")) if (out / RECORD).exists() else {}
    if record.get("last", {}).get("steps") != wanted.steps:
        pretrain(replace(wanted, resume=checkpoint_file(wanted).exists()), COMMAND)
    return out / "initialisation.npz"


def judged(config: FewShotConfig, characters: Any, kind: str, place: str, table: str, tuned: bool) -> dict[str, Any]:
    """A line of the table: an initialisation on the device that it was made for, or on a measured one like it."""
    init = load_initialisation(init_of(config, kind, place))
    hardware = None
    if place != FLOAT:
        hardware = Hardware(device=load_device(table or place), devices_per_weight=config.devices_per_weight)
    if tuned:
        inputs = init.front(characters.train.images[:TUNING])
        init = tune(init, hardware, inputs, episodes=TUNING_EPISODES, delays=(0.0,), seed=config.seed).of(init)
    inputs = init.front(characters.test.images)
    outcomes = evaluate(init, hardware, inputs, episodes=config.episodes, seed=config.seed)
    line: dict[str, Any] = {"init": kind, "device": place, "measured": Path(table).name, "tuned": tuned}
    for number, delay in enumerate(DELAYS):
        line[f"accuracy_{delay:g}s"], line[f"half_width_{delay:g}s"] = outcomes.accuracy(number)
    return line | {"pulses": outcomes.pulses.mean(), "energy": outcomes.energy.mean()}


def work(config: FewShotConfig) -> list[tuple[str, str, str, bool]]:
    """Start, device, table of a measured one, and whether a factor is tuned for it."""
    tables = [text.split("=", 1) for text in config.measured]
    if wrong := [pair for pair in tables if len(pair) != 2 or pair[0] not in config.device]:
        raise ValueError(f"measured is {'='.join(wrong[0])}: DEVICE=TABLE.npz is needed, with a DEVICE of --device")
    lines = [(kind, FLOAT, "", False) for kind in config.kinds if kind in ("random", "conventional", "ideal")]
    for place in config.device:
        lines += [(kind, place, "", False) for kind in config.kinds]
        own = [table for name, table in tables if name == place]
        lines += [(kind, place, table, tuned) for table in own for tuned in (False, True) for kind in config.kinds]
    return lines


def table_of(rows: list[dict[str, Any]], kinds: tuple[str, ...], delay: float) -> str:
    """A line for each device, a column for each initialisation: accuracy [%] so long after learning."""
    lines = []
    for key in dict.fromkeys((row["device"], row["measured"], row["tuned"]) for row in rows):
        own = {row["init"]: row for row in rows if (row["device"], row["measured"], row["tuned"]) == key}
        cells = [_shown(own[kind], delay) if kind in own else "–" for kind in kinds]
        name, table, tuned = key
        lines.append([f"{name}, measured{', tuned' if tuned == 'True' else ''}" if table else name, *cells])
    return markdown(["device", *kinds], lines)


def _shown(row: dict[str, Any], delay: float) -> str:
    mean, half = (100 * float(row[f"{name}_{delay:g}s"]) for name in ("accuracy", "half_width"))
    return f"{mean:.2f} ± {half:.2f}"


def same_comparison(config: FewShotConfig) -> None:
    """Refuses a folder with results of other networks, chips, data, seeds or episodes; notes what they are of."""
    path = config.out / RECORD
    named = {name: getattr(config, name) for name in ("network", "split", "several", *NUMBERS)}
    record = json.loads(json.dumps(named))
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8"))) != record:
        raise ValueError(f"{config.out} holds results of {before}: choose another --out")
    write_whole(path, json.dumps(record, indent=2) + "\n")


def main() -> None:
    """Pretrain what is missing, judge what is missing, and write the table."""
    config = parse(FewShotConfig, sys.argv[1:], "benchmarks/few_shot.py")
    same_comparison(config)
    characters, path = load("omniglot", config.split), config.out / "few_shot.csv"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [renamed.by_current_names(row) for row in csv.DictReader(file)]
    with tqdm(work(config), unit="initialisation", disable=None, file=sys.stderr) as bar:
        for line in bar:
            bar.set_description(" ".join(map(str, line[:2])))
            key = dict(
                zip(("init", "device", "measured", "tuned"), (*line[:2], Path(line[2]).name, str(line[3])), strict=True)
            )
            if not any(key.items() <= row.items() for row in rows):
                rows.append({name: str(value) for name, value in judged(config, characters, *line).items()})
                write_whole(path, csv_text(rows))
    text = "".join(f"After {delay:g} s:\n\n{table_of(rows, config.kinds, delay)}\n" for delay in DELAYS)
    write_whole(
        config.out / "few_shot.md",
        f"`{COMMAND}`\n\n5-way 1-shot accuracy [%] of {config.episodes} episodes, ± 95 % interval\n\n{text}",
    )
    print(text)


if __name__ == "__main__":
    main()
