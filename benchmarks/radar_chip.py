"""The RADAR chip (Le et al., IEEE TED 2021, 10.1109/TED.2021.3097975): its record from measured pulses, and checks.

    python benchmarks/radar_chip.py DATA --record hfo2-radar.json

DATA is a folder with `pulses.npz`, structured arrays of cell, width_s, bl_V or sl_V, wl_V, r_before_ohm, r_after_ohm,
and `write_verify.npz`, rows of cells that ISPP and RADAR programmed. Every other cell of the pulses is fitted, the rest
predicted; then cells of the record are programmed to the three levels of 2 bit a cell that take pulses, by ISPP and
RADAR with their authors' settings, and beside them stands what the chip took.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from radar_record import DRIVER, FRESH, G_MAX, WIDTH, half, record, states

from agents.classical.gated import GateISPP, Radar
from agents.evaluation import evaluate
from memenv import Device, WriteVerify, to_json
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown
from memenv.files import write_whole

ISPP_START = 1.8  # [V] of the word line: not published, read off the pulses until a level is first reached
ISPP_STEPS = (0.01, 0.05, 0.1)  # [V]; the authors took the last one


class Settings(NamedTuple):
    """A level and its settings of RADAR: those that the authors publish beside their data.

    The word lines of 2 bit a cell lie between those that they give for 3 bit, by resistance.
    """

    low: float  # [ohm]
    high: float  # [ohm]
    word: float  # [V] first coarse SET
    bit: float = 0.6  # [V] first fine SET
    bit_step: float = 0.18  # [V]
    source: float = 0.6  # [V] first fine RESET
    source_step: float = 0.26  # [V]


LEVELS = (
    Settings(0.0, 5e3, 3.0),
    Settings(5.77e3, 6.01e3, 2.49),
    Settings(8.51e3, 9.31e3, 2.24, bit=0.8, bit_step=0.1, source_step=0.34),
)


@dataclass(frozen=True, kw_only=True)
class RadarChipConfig:
    """Fit the record of the RADAR chip, predict cells that were held out, and program levels as its authors did.

    Example:
        python benchmarks/radar_chip.py data/radar --record hfo2-radar.json
    """

    data: Path = option(help="folder of pulses.npz and write_verify.npz", positional=True)
    record: Path = option(Path("hfo2-radar.json"), help="where the record is written")
    cells: int = option(4000, help="that are programmed by each controller")
    seed: int = option(0, help="of cells and noise")


def held_out(device: Device, data: dict[str, np.ndarray]) -> str:
    """Mean and spread by gate voltage of the first SET, measured on the other cells and predicted, as a table."""
    lines, rng = [], np.random.default_rng(0)
    for name, width, gates in (
        ("set_wl_fresh", 1e-7, (2.2, 2.3, 2.4, 2.5, 2.6)),
        ("set_bl_fresh", 2e-7, (1.9, 2.0, 2.1, 2.2, 2.3, 2.4)),
        ("single_set_1us", 1e-6, (1.55, 1.7, 1.8, 2.2, 2.6, 3.0)),
        ("single_set_10us", 1e-5, (1.55, 1.7, 1.8, 2.2, 2.6, 3.0)),
    ):
        rows = half(data[name], 1)
        rows = rows[(rows["r_before_ohm"] > FRESH) & np.isclose(rows["width_s"], width, rtol=1e-3)]
        for volts in gates:
            own = rows[np.abs(rows["wl_V"] - volts) < 0.011]
            chip = device.fabricate(rng, len(own)).at_gate(volts)
            state = chip.fresh(states(own, "before"), rng.standard_normal((2, len(own))))
            noise = rng.standard_normal((chip.pulse_channels, len(own)))
            after = chip.conductance(chip.pulse(state, own["bl_V"].astype(float), np.full(len(own), width), noise))
            figures = (f"{g.mean():.0f} ± {g.std():.0f}" for g in (1e6 / own["r_after_ohm"], 1e6 * after))
            lines.append([name, f"{width * 1e9:.0f}", f"{volts:.2f}", str(len(own)), *figures])
    return markdown(["pulses", "ns", "gate V", "cells", "measured uS", "predicted uS"], lines)


def as_published(task: WriteVerify, level: Settings, step: float | None) -> GateISPP:
    """ISPP with steps of the word line [V], which resets fully what has gone past; or RADAR, without a step."""
    gate, driver = task.gate, DRIVER
    assert gate is not None
    bits, sources, words = driver.set_max - driver.set_min, driver.reset_max - driver.reset_min, gate.high - gate.low
    common: dict[str, Any] = {
        "task": task,
        "bit_level": (2.0 - driver.set_min) / bits,
        "reset_start": 1.0,
        "width_level": np.log(WIDTH / driver.width_min) / np.log(driver.width_max / driver.width_min),
    }
    if step is not None:
        return GateISPP(**common, gate_start=(ISPP_START - gate.low) / words, gate_step=step / words)
    return Radar(
        **common,
        gate_start=(level.word - gate.low) / words,
        gate_step=0.1 / words,
        near=0.0,
        fine_set=(level.bit - driver.set_min) / bits,
        fine_set_step=level.bit_step / bits,
        fine_reset=(level.source - driver.reset_min) / sources,
        fine_reset_step=level.source_step / sources,
    )


def programmed(device: Device, logs: dict[str, np.ndarray], cells: int, seed: int) -> str:
    """Pulses and success of ISPP and RADAR from a full RESET to each level, on chip and record, as a table."""
    rng = np.random.default_rng(seed)
    chip = device.fabricate(rng, cells)
    full = chip.at_gate(chip.gate.high)  # type: ignore[union-attr]
    noise = rng.standard_normal((full.pulse_channels, cells))
    begun = full.fresh(np.full(cells, 0.6), np.zeros((2, cells)))
    start = full.conductance(full.pulse(begun, np.full(cells, -DRIVER.reset_max), np.full(cells, WIDTH), noise))
    ends = [(1 / level.high, 1 / level.low if level.low else G_MAX) for level in LEVELS]
    bands = tuple((low, 0.5 * (low + high), high) for low, high in ends)
    task = WriteVerify(device=device, target_levels=bands, tolerance=1e-6, tolerance_unit="S", max_pulses=200)
    lines = []
    runs = [(f"ISPP, {step:g} V", f"ispp_2bit_step_{step:.3f}", step) for step in ISPP_STEPS]
    for title, name, step in (*runs, ("RADAR", "radar_2bit_chip1", None)):
        figures = []
        for level, (_, target, _) in zip(LEVELS, bands, strict=True):
            options = {"start": start, "target": target}
            done = evaluate(as_published(task, level, step), task, cells, seed, chip=chip, options=options)
            rows = logs[name][np.isclose(logs[name][:, 7], level.high)]
            figures.append((rows[:, 2] + rows[:, 3] - 1, done.pulses, rows[:, 8], done.accepted))
            lines.append([title, f"{level.low / 1e3:g}-{level.high / 1e3:g}", *told(figures[-1])])
        lines.append([title, "all", *told([np.concatenate(part) for part in zip(*figures, strict=True)])])
    return markdown(["run", "kohm", "pulses, chip", "pulses, record", "success %, chip", "success %, record"], lines)


def told(figures: Any) -> list[str]:
    """Means of pulses with 95 % intervals over cells, and shares of success [%]."""
    *pulses, chip, ours = figures
    shown = [f"{part.mean():.1f} ± {1.96 * part.std() / np.sqrt(len(part)):.1f}" for part in pulses]
    return [*shown, f"{100 * chip.mean():.1f}", f"{100 * ours.mean():.1f}"]


def main() -> None:
    """Fit, predict, program."""
    config = parse(RadarChipConfig, sys.argv[1:], "radar_chip.py")
    with np.load(config.data / "pulses.npz") as archive:
        data = dict(archive)
    device = record(data)
    write_whole(config.record, to_json(device))
    print(held_out(device, data))
    with np.load(config.data / "write_verify.npz") as archive:
        print(programmed(device, dict(archive), config.cells, config.seed))


if __name__ == "__main__":
    main()
