"""The sim-to-physics gap: controllers made for a fitted record, on the record and on the physics that it was fitted to.

    python benchmarks/physics_transfer.py                 # all devices, both sets of data; --resume goes on

Of each device a laboratory's data are simulated: 4 cells, 24 trains of a read and 25 pulses each, SET and RESET in
turn, at 4 amplitudes x 3 widths ("grid"), or at the middle amplitude alone ("one"). `memenv fit` makes a record of
them, with the driver of the physics. Controllers are tuned on the record (bayes and the generalist are taken as they
are) and drive simulated benches (`memenv.lab`) of the record, at its estimates, and of the physics: the same targets,
in 0.1 to 0.9 of the record's range. Pulses are those of all cells for each accepted one, with 95 % bootstrap intervals
over cells; the gap is their ratio.
"""

import itertools
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.library import load_policy
from agents.tuning import tune
from memenv import DeviceError, WriteVerify, fit, from_json, load_device, read_pulses, to_json
from memenv.devices.catalogue import physics_models
from memenv.devices.records import validate
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import columns, csv_text, figure, markdown, ratio_interval, shown
from memenv.experiments.runs import RECORD, Run, RunOptions, begun, command_line
from memenv.lab import SimulatedBench, program

MEASURED, TRAINS, PULSES = 4, 24, 25  # cells, trains of each, pulses of each
UNTUNED = ("bayes", "generalist")
FILES = ("transfer.csv", "transfer.md", "*.json")


@dataclass(frozen=True, kw_only=True)
class TransferConfig(RunOptions):
    """Pulses, success and false acceptances of controllers on fitted records and on physics."""

    device: tuple[str, ...] = option(physics_models(), help="devices with equations of their own")
    data: tuple[str, ...] = option(("grid", "one"), help="amplitudes in the data: grid, one")
    controllers: tuple[str, ...] = option(("ispp", "secant", "history", "bayes", "generalist"), help="names or paths")
    tolerance: float = option(0.02, bounds=(1e-6, 0.5), help="half-width of the target band, fraction of the range")
    cells: int = option(300, bounds=(2, 1e6), help="programmed by each controller on each bench")
    trials: int = option(40, bounds=(1, 1e6), help="parameter sets that each tuning tries; 1 = no tuning")
    seed: int = option(0, bounds=(0, 2**31), help="of data, tuning, cells and targets")
    out: Path = option(Path("physics-transfer"), help="folder of records, transfer.csv and transfer.md")


def measure(device: str, grid: bool, seed: int, path: Path) -> None:
    """A laboratory's CSV of the trains: the pulse grid of the driver, from a quarter of its span upwards."""
    bench, cells = SimulatedBench(device, MEASURED, (seed, 1)), np.arange(MEASURED)
    driver = bench.chip.driver
    widths = np.geomspace(driver.width_min, driver.width_max, 3)
    shares = (0.25, 0.5, 0.75, 1.0) if grid else (0.625,)
    order = np.random.default_rng((seed, 2)).permutation(TRAINS // 2)
    lines = ["device,train,pulse,amplitude_V,width_s,conductance_S"]

    def note(train: int, pulse: int, volts: float, width: float) -> None:
        reads = bench.read(cells).tolist()
        lines.extend(f"{cell},{train},{pulse},{volts},{width},{g}" for cell, g in enumerate(reads))

    for train in range(TRAINS):
        note(train, 0, 0.0, 0.0)  # the fit needs to know where the first pulse begins
        place, up = order[train // 2], train % 2 == 0
        low, high = (driver.set_min, driver.set_max) if up else (driver.reset_min, driver.reset_max)
        volts = (1 if up else -1) * (low + shares[place // 3 % len(shares)] * (high - low))
        for pulse in range(PULSES):
            bench.pulse(cells, np.full(MEASURED, volts), np.full(MEASURED, widths[place % 3]))
            note(train, pulse + 1, volts, widths[place % 3])
    path.write_text("\n".join(lines), encoding="utf-8")


def fitted(device: str, grid: bool, seed: int) -> dict[str, Any]:
    """The record of a device's data, as JSON, and what the report says of them."""
    with tempfile.TemporaryDirectory() as folder:
        measure(device, grid, seed, Path(folder) / "pulses.csv")
        found = fit(read_pulses(Path(folder) / "pulses.csv"), name=f"{device.removeprefix('physics/')}-fitted")
    record = validate(found.device.replace(driver=load_device(device).driver))
    return {"record": to_json(record), "said": list(found.remarks)}


def record_of(device: str, grid: bool, seed: int) -> dict[str, Any]:
    """The record, or the reason why there is none."""
    try:
        return fitted(device, grid, seed)
    except DeviceError as error:
        return {"refused": str(error)}


def drive(policy: Any, task: WriteVerify, bench: SimulatedBench, seed: int) -> dict[str, np.ndarray]:
    """Pulses, acceptance and false acceptance of each cell of a bench."""
    record, cells = task.device, len(bench.state.x)
    size = record.g_max - record.g_min
    targets = record.g_min + np.random.default_rng((seed, 3)).uniform(*task.target_range, cells) * size
    with tempfile.TemporaryDirectory() as folder:
        done = program(bench, policy, task, targets, Path(folder) / "bench.csv")
    accepted = done.outcome == "accepted"
    wrong = np.abs(bench.conductance() - targets) > task.tolerance * size
    return {"pulses": done.pulses, "accepted": accepted, "false": accepted & wrong}


def figures(found: dict[str, np.ndarray], seed: int) -> dict[str, float]:
    """Columns of a row."""
    pulses, accepted, false = (np.asarray(found[name], float) for name in ("pulses", "accepted", "false"))
    return {
        **columns("per_accepted", ratio_interval(pulses, accepted, seed)),
        **columns("success", ratio_interval(accepted, np.ones(len(pulses)), seed)),
        "false": float(false.sum() / max(accepted.sum(), 1)),
    }


def compared(run: Run, config: TransferConfig, key: tuple[str, str, str], text: str) -> dict[str, Any]:
    """The row of a device, its data and a controller, by the record that was fitted."""
    device, _, name = key
    record = from_json(text)
    task = WriteVerify(device=record, tolerance=config.tolerance, give_up=True)

    @cache
    def policy() -> Any:
        own = load_policy(name, task)
        return own if name in UNTUNED else tune(own, config.trials, config.seed).policy

    row: dict[str, Any] = dict(zip(("device", "data", "controller"), key, strict=True))
    for place, spec in (("record", record.replace(uncertainty=None)), ("physics", device)):

        def work(spec: Any = spec) -> dict[str, np.ndarray]:
            return drive(policy(), task, SimulatedBench(spec, config.cells, (config.seed, 4)), config.seed)

        found = figures(run.once((*key, place), work), config.seed)
        row |= {f"{place}_{column}": value for column, value in found.items()}
    return row | {"gap": row["physics_per_accepted"] / row["record_per_accepted"]}


def main(arguments: Sequence[str]) -> None:
    """Measure, fit, tune, drive, print."""
    config = parse(TransferConfig, arguments, "physics_transfer.py")
    warnings.filterwarnings("ignore", message="tolerance .* is below the read noise")
    command = command_line("python benchmarks/physics_transfer.py", arguments)
    with begun(config.out / RECORD, config, command=command, packages=("numpy", "scipy"), files=FILES) as run:
        rows, records, refused, said = list[dict[str, Any]](), dict[str, str](), list[str](), list[str]()
        for device, data in itertools.product(config.device, config.data):
            found = run.once((device, data, "record"), lambda d=device, g=data == "grid": record_of(d, g, config.seed))
            if "refused" in found:
                refused.append(f"{device}, {data}: no record, {found['refused']}")
                continue
            said += [f"\n{device}, {data}:\n", *(f"- {remark}" for remark in found["said"])]
            records[f"{device.removeprefix('physics/')}-{data}.json"] = found["record"]
            for name in config.controllers:
                rows.append(compared(run, config, (device, data, name), found["record"]))
                print(*_line(rows[-1]), sep="  ", file=sys.stderr, flush=True)
        head = ["device", "data", "controller", "record", "physics", "gap", "success %", "false %"]
        table = "\n".join([markdown(head, [_line(row) for row in rows]), *refused])
        run.write({"transfer.csv": csv_text(rows), "transfer.md": "\n".join([table, *said]), **records}, complete=True)
    print(table)


def _line(row: dict[str, Any]) -> list[str]:
    pair = [shown(figure(row, f"{place}_per_accepted"), "{:.3g}") for place in ("record", "physics")]
    shares = [
        f"{100 * row[f'record_{name}']:.1f} -> {100 * row[f'physics_{name}']:.1f}" for name in ("success", "false")
    ]
    return [row["device"], row["data"], row["controller"], *pair, f"{row['gap']:.2f}", *shares]


if __name__ == "__main__":
    main(sys.argv[1:])
