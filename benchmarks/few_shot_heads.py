"""Learning on the chip against its simple opponent, class means: accuracy, pulses, reads and energy; resumable.

    MEMENV_OMNIGLOT=omniglot python benchmarks/few_shot_heads.py --proto PROTO.npz --rates RATES.npz --aware AWARE.npz

All are the MLP whose every layer is on the chip, written there by pulses that count, and see the same episodes, so
that differences are paired. heads.png draws accuracy against pulses, after each step. `digital`, `written` and
`learning` are heads of class means of a prototypical network (`memenv pretrain --method proto`); `rates` and `aware`
learn by pulses from a head of zeros, with rates learned through the device and with everything learned through it.
`redundant` is a number of devices a weight for each layer.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from memenv.devices.catalogue import load_device
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, markdown, mean_and_half_width, rendered
from memenv.experiments.runs import RECORD, RunOptions, begun, command_line
from memenv.few_shot.chips import Hardware
from memenv.few_shot.initialisations import load_initialisation
from metalearn.datasets import load
from metalearn.evaluation import DAY, evaluate
from metalearn.few_shot import COSTS, COUNTERS, costs_of, with_head

COMMAND = command_line("python benchmarks/few_shot_heads.py", sys.argv[1:])
HEADS = {"digital": "proto", "written": "proto", "learning": "learning", "rates": "rates", "aware": "aware"}
FILES = ("heads.csv", "heads.md", "heads.png")
KEPT = ("episodes", "by_step", "pulses_by_step")  # of a row: accuracy of each episode, means after each step
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class HeadsConfig(RunOptions):
    """Judge class means and learning by pulses on equal chips and episodes."""

    proto: str = option("omniglot-mlp-proto", help="a prototypical network")
    learning: str = option("omniglot-mlp-proto", help="the same, with rates to learn by from its class means")
    rates: str = option("omniglot-mlp-maml", help="an initialisation of numbers with rates for the device")
    aware: str = option("omniglot-mlp-device-aware", help="one learned through the device")
    heads: tuple[str, ...] = option(tuple(HEADS), help="what is judged")
    device: tuple[str, ...] = option(
        ("hfo2-array-om", "hfo2-array-baseline", "taox-sandia", "pcm"), help="names or .json records"
    )
    redundant: tuple[str, ...] = option(("1", "2", "1-1-2", "1-1-4"), help="devices a weight, of all layers or of each")
    place_units: bool = option(False, help="hidden units on the columns that a test finds to suit them")
    tolerance: float = option(0.02, bounds=(0.0, 0.5), help="to which weights are written [of their range]")
    episodes: int = option(1000, bounds=(2, 10**6), help="tasks, each on a chip of its own")
    seed: int = option(0, help="of episodes, chips and noise")
    out: Path = option(Path("few-shot-heads"), help="folder of heads.csv, heads.md, heads.png, run.json and a journal")


def judged(config: HeadsConfig, images: np.ndarray, device: str, devices: str, head: str, once: Any) -> Row:
    """A line of the table, and KEPT."""
    if head not in HEADS:
        raise ValueError(f"head is {head!r}: choose from {', '.join(HEADS)}")
    init = load_initialisation(getattr(config, HEADS[head]))
    init = with_head(init, head if HEADS[head] in ("proto", "learning") else "zeros")
    numbers = tuple(map(int, devices.split("-")))
    of_chip: dict[str, Any] = {"tolerance": config.tolerance, "place_units": config.place_units}
    hardware = Hardware(device=load_device(device), devices_per_weight=numbers, **of_chip)
    how: dict[str, Any] = {"episodes": config.episodes, "seed": config.seed, "delays": (0.0, DAY), "once": once}
    outcomes = evaluate(init, hardware, init.front(images), **how)
    row: Row = {"device": device, "devices_per_weight": devices, "head": head}
    for name, shares in zip(("accuracy", "after_a_day"), outcomes.later, strict=True):
        row[name], row[f"{name}_half_width"] = mean_and_half_width(shares)
    row |= {name: float(getattr(outcomes, name).mean()) for name in COUNTERS}
    by_step = (getattr(outcomes, name).mean(1) for name in KEPT[1:])
    return row | dict(zip(KEPT, (outcomes.later[0], *by_step), strict=True))


def table_of(rows: list[Row]) -> str:
    """All lines; differences are those to written class means on the same episodes."""
    lines = []
    for row in rows:
        same = [one for one in rows if all(one[k] == row[k] for k in ("device", "devices_per_weight"))]
        written = next((one for one in same if one["head"] == "written"), None)
        difference = "–"
        if written is not None and written is not row:
            mean, half = mean_and_half_width(row["episodes"] - written["episodes"])
            difference = f"{100 * mean:+.2f} ± {100 * half:.2f}"
        accuracy = [f"{100 * row[k]:.2f} ± {100 * row[f'{k}_half_width']:.2f}" for k in ("accuracy", "after_a_day")]
        lines.append([row["device"], row["devices_per_weight"], row["head"], *accuracy, difference, *costs_of(row)])
    head = ["device", "devices", "head", "accuracy [%]", "after a day [%]", "on top of written"]
    return markdown([*head, *COSTS], lines)


def picture_of(rows: list[Row]) -> bytes:
    """Accuracy against pulses of a task, after each step; a panel for each device and devices a weight."""
    from matplotlib.figure import Figure

    places = list(dict.fromkeys((row["device"], row["devices_per_weight"]) for row in rows))
    across = min(len(places), 4)
    down = -(-len(places) // across)
    figure = Figure(figsize=(3.2 * across, 3.0 * down), dpi=110, layout="constrained")
    panels: Any = figure.subplots(down, across, squeeze=False)
    for axes, place in zip(panels.flat, places, strict=False):
        for row in rows:
            if (row["device"], row["devices_per_weight"]) != place:
                continue
            colour, share = f"C{list(HEADS).index(row['head'])}", 100 * row["by_step"]
            if row["pulses"]:
                steps = slice(int(row["pulses_by_step"][0] == 0), None)
                axes.semilogx(row["pulses_by_step"][steps], share[steps], "o-", color=colour, label=row["head"])
            else:
                axes.axhline(share[0], color=colour, label=row["head"])
        axes.set(title=f"{place[0]}, {place[1]}", xlabel="pulses of a task", ylabel="queries right [%]")
    panels.flat[0].legend(fontsize=8)
    for axes in panels.flat[len(places) :]:
        axes.remove()
    return rendered(figure)


def main() -> None:
    """Judge what is missing, and write the table."""
    config = parse(HeadsConfig, sys.argv[1:], "benchmarks/few_shot_heads.py")
    images = load("omniglot").test.images
    work = [
        (device, devices, head) for device in config.device for devices in config.redundant for head in config.heads
    ]
    with (
        begun(config.out / RECORD, config, command=COMMAND, packages=("memenv", "numpy"), files=FILES) as run,
        tqdm(work, unit="line", disable=None, file=sys.stderr) as bar,
    ):
        rows: list[Row] = []
        for place in bar:
            bar.set_description(" ".join(place))
            rows.append(judged(config, images, *place, lambda key, task, place=place: run.once((*place, *key), task)))
            plain = [{name: value for name, value in row.items() if name not in KEPT} for row in rows]
            text = f"`{COMMAND}`\n\n5-way 1-shot, {config.episodes} episodes, ± 95 % interval\n\n{table_of(rows)}"
            if not run.again:
                tables = {"heads.csv": csv_text(plain), "heads.md": text}
                run.write(tables | {"heads.png": picture_of(rows)}, complete=len(rows) == len(work))
    print(text)


if __name__ == "__main__":
    main()
