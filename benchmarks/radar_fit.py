"""The gate of the RADAR chip as `memenv fit` finds it: single SETs of 1 us at several gate voltages, ramps of RESETs.

    python benchmarks/radar_fit.py DATA --out radar.csv

DATA is that of `radar_chip.py`, whose record knows more (how far the word line comes in time, RESETs by whole ramps).
The pulses are written as a table that `memenv fit` reads, fitted, and held against what was measured and that record.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from radar_record import FRESH

from memenv import Device, fit, load_device, read_pulses
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown
from memenv.files import write_whole

CELLS = 2000  # simulated
GATES = (1.7, 1.8, 2.0, 2.2, 2.6, 3.0)  # [V] of the SETs


@dataclass(frozen=True, kw_only=True)
class RadarFitConfig:
    """Fit the gate of the RADAR chip with `memenv fit`, and compare where SETs end with what was measured.

    Example:
        python benchmarks/radar_fit.py data/radar --out radar.csv
    """

    data: Path = option(help="folder of pulses.npz", positional=True)
    out: Path = option(Path("radar.csv"), help="where the pulses are written")
    sets: int = option(40, help="at each gate voltage")
    ramps: int = option(8, help="of RESETs, of the source line and of the word line each")
    seed: int = option(0, help="of the choice")


def chosen(data: dict[str, np.ndarray], sets: int, ramps: int, seed: int) -> list[np.ndarray]:
    """Trains of pulses: SETs of cells that were reset, and ramps of RESETs each of another cell."""
    rng, fresh = np.random.default_rng(seed), data["single_set_1us"]
    fresh = fresh[fresh["r_before_ohm"] > FRESH]
    trains = []
    for volts in GATES:
        own = fresh[np.isclose(fresh["wl_V"], volts)]
        trains += [own[k : k + 1] for k in rng.choice(len(own), sets, replace=False)]
    for name, line in (("reset_sl", "sl_V"), ("reset_wl", "wl_V")):
        rows = data[name]
        for cell in rng.choice(np.unique(rows["cell"]), ramps, replace=False):
            own = rows[rows["cell"] == cell]
            first = np.split(own, np.flatnonzero(np.diff(own[line]) < 0) + 1)[0]
            trains.append(first[first["sl_V"] > 0])
    return trains


def table(trains: list[np.ndarray]) -> str:
    """The trains as a lab would write them down, the state before each first."""
    lines = ["train,pulse,amplitude_V,width_s,WL_V,R_ohm"]
    for number, rows in enumerate(trains):
        sign, line = (1, "bl_V") if "bl_V" in rows.dtype.names else (-1, "sl_V")
        lines.append(f"{number},0,0,0,,{rows['r_before_ohm'][0]:g}")
        lines += [
            f"{number},{k},{sign * row[line]:g},{row['width_s']:g},{row['wl_V']:g},{row['r_after_ohm']:g}"
            for k, row in enumerate(rows, 1)
        ]
    return "\n".join(lines) + "\n"


def ends(device: Device, trains: list[np.ndarray]) -> str:
    """Where SETs end by gate voltage [uS]: measured, as fitted, and in the record of the chip, as a table."""
    lines, rng, shipped = [], np.random.default_rng(0), load_device("hfo2-radar")
    for volts in GATES:
        own = np.concatenate(
            [rows for rows in trains if "bl_V" in rows.dtype.names and np.isclose(rows["wl_V"][0], volts)]
        )
        figures = [1e6 / own["r_after_ohm"]]
        for one in (device, shipped):
            before = np.resize((1 / own["r_before_ohm"] - one.g_min) / (one.g_max - one.g_min), CELLS)
            chip = one.replace(uncertainty=None).fabricate(rng, CELLS).at_gate(volts)
            state = chip.fresh(before, rng.standard_normal((2, CELLS)))
            pulse = np.full(CELLS, 2.0), np.full(CELLS, 1e-6), rng.standard_normal((chip.pulse_channels, CELLS))
            after = chip.pulse(state, *pulse)
            figures.append(1e6 * chip.conductance(after))
        lines.append([f"{volts:g}", str(len(own)), *(f"{g.mean():.0f} ± {g.std():.0f}" for g in figures)])
    return markdown(["gate V", "SETs", "measured uS", "memenv fit", "hfo2-radar"], lines)


def main() -> None:
    """Choose, write, fit, compare."""
    config = parse(RadarFitConfig, sys.argv[1:], "radar_fit.py")
    with np.load(config.data / "pulses.npz") as archive:
        trains = chosen(dict(archive), config.sets, config.ramps, config.seed)
    write_whole(config.out, table(trains))
    found = fit(read_pulses(config.out), name="radar")
    print(found.report(), ends(found.device, trains), sep="\n")


if __name__ == "__main__":
    main()
