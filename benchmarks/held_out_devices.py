"""Measured devices that a fit has not seen, predicted by its record with mismatch and uncertainty: leave one out.

    python benchmarks/held_out_devices.py --tables enode_dg_tables.npz --out held-out-devices

Each device of a table is left out in turn, a record is fitted to the others, and chips of that record, one cell each,
say what to expect: 95 % of cells. Told is how often the device left out does that: its mean step and the spread of its
steps at nine places of its own range, its single steps there (the share of them inside the expected 95 % of single
steps), the ends of its range, and its mean trace over 40 pulses of each polarity from the end of its range.
"""

import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from memenv.arrays import take
from memenv.devices.measured import TableDevice, Tables
from memenv.devices.uncertainty import of_chips
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, markdown, mean_interval, shown
from memenv.experiments.runs import RECORD, RunOptions, begun, command_line
from memenv.fitting.trains import fit, read_pulses

PLACES = np.linspace(0.1, 0.9, 9)  # of a cell's own range
PULSES = 40  # of a train
MEASURES = ("mean step", "spread of steps", "single steps", "ends of the range", "mean trace")


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig(RunOptions):
    """Predict each device of measured tables by a record of the others.

    Example: python benchmarks/held_out_devices.py --tables enode_dg_tables.npz
    """

    tables: tuple[Path, ...] = option(help="paths of .npz tables")
    cells: int = option(300, bounds=(20, 1e5), help="chips of one cell each that say what to expect")
    repeats: int = option(64, bounds=(2, 1e4), help="steps, and trains, of each cell")
    seed: int = option(0, bounds=(0, 2**31), help="of cells and noise")
    out: Path = option(Path("held-out-devices"), help="folder of held_out_devices.csv and .md")


def some(table: TableDevice, keep: np.ndarray) -> TableDevice:
    """A table of some of the devices (mask)."""
    whole = table.tables
    tables = Tables(whole.device[keep], whole.conductance[keep], whole.cdf, whole.dg[:, keep])
    return dataclasses.replace(table, tables=tables, g_min=float(tables.low.mean()), g_max=float(tables.high.mean()))


def behaviour(device: Any, chip: Any, repeats: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Steps and traces of cells, (places or pulses, cells, repeats) [S], and the ends of their ranges (2, cells, 1)."""
    count = len(chip.x_hi)
    cells = take(chip, np.repeat(np.arange(count), repeats))
    shape, size = (count, repeats), device.g_max - device.g_min
    steps, traces = list[np.ndarray](), list[np.ndarray]()
    for up in (True, False):
        amplitude, width = cells.reference_pulse(np.full(count * repeats, up), cells.x_hi)

        def after(x: np.ndarray, volts: Any = amplitude, seconds: Any = width) -> np.ndarray:
            state = cells.fresh(x, np.zeros((2, len(x))))
            noise = rng.standard_normal((3, len(x)))
            moved: np.ndarray = cells.pulse(state, volts + 0 * x, seconds + 0 * x, noise).x
            return moved

        span = cells.x_hi - cells.x_lo
        steps += [size * (after(x) - x).reshape(shape) for x in (cells.x_lo + place * span for place in PLACES)]
        x = cells.x_lo if up else cells.x_hi
        for _ in range(PULSES):
            x = after(x)
            traces.append(device.g_min + size * x.reshape(shape))
    ends = device.g_min + size * np.array([chip.x_lo, chip.x_hi])[:, :, None]
    return {"steps": np.array(steps), "traces": np.array(traces), "ends": ends}


def covered(expected: dict[str, np.ndarray], seen: dict[str, np.ndarray]) -> dict[str, float]:
    """The share of what a device does that 95 % of the expected cells do; measures as `MEASURES`."""

    def inside(cells: np.ndarray, own: np.ndarray) -> float:
        """Of (places, values) of cells, and of the device."""
        low, high = np.quantile(cells, [0.025, 0.975], axis=1)[:, :, None]
        return float(((low <= own) & (own <= high)).mean())

    flat = {name: part.reshape(len(part), -1) for name, part in expected.items()}
    shares = (
        inside(expected["steps"].mean(axis=2), seen["steps"].mean(axis=2)),
        inside(expected["steps"].std(axis=2), seen["steps"].std(axis=2)),
        inside(flat["steps"], seen["steps"][:, 0]),
        inside(flat["ends"], seen["ends"][:, 0]),
        inside(expected["traces"].mean(axis=2), seen["traces"].mean(axis=2)),
    )
    return dict(zip(MEASURES, shares, strict=True))


def judged(table: TableDevice, left: int, config: HeldOutConfig) -> dict[str, Any]:
    """A row for the device `left` out: the shares that the record of the others covers."""
    rng, alone = np.random.default_rng((config.seed, left)), np.arange(len(table.tables.device)) == left
    record, one = fit(some(table, ~alone)).device, some(table, alone)
    chip = record.fabricate(of_chips(rng, config.cells), config.cells)
    expected = behaviour(record, chip, config.repeats, rng)
    seen = behaviour(one, one.fabricate(rng, 1), config.repeats, rng)
    return {"table": table.name, "device": int(table.tables.device[left]), **covered(expected, seen)}


def main() -> None:
    """Run, print and write."""
    config = parse(HeldOutConfig, sys.argv[1:], "held_out_devices.py")
    command = command_line("python benchmarks/held_out_devices.py", sys.argv[1:])
    with begun(config.out / RECORD, config, command=command, files=("held_out_devices.*",)) as run:
        rows, lines = list[dict[str, Any]](), list[list[str]]()
        for path in config.tables:
            table = read_pulses(path)
            assert isinstance(table, TableDevice)
            own = [
                run.once((str(path), left), partial(judged, table, left, config))
                for left in range(len(table.tables.device))
            ]
            shares = [
                shown(mean_interval(np.array([row[name] for row in own]), config.seed), "{:.2f}") for name in MEASURES
            ]
            lines.append([table.name, str(len(own)), *shares])
            rows += own
        text = markdown(["table", "devices", *MEASURES], lines)
        run.write(
            {"held_out_devices.csv": csv_text(rows), "held_out_devices.md": f"`{command}`\n\n{text}"}, complete=True
        )
        print(text)


if __name__ == "__main__":
    main()
