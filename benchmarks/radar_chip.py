"""The RADAR chip (Le et al., IEEE TED 2021, 10.1109/TED.2021.3097975): its record from measured pulses, and checks.

    python benchmarks/radar_chip.py DATA --record hfo2-radar.json

DATA is a folder with `pulses.npz`, structured arrays of cell, width_s, bl_V or sl_V, wl_V, r_before_ohm, r_after_ohm.
Every other cell is fitted, the rest predicted; then cells of the record are programmed to the three levels
of 2 bit a cell that take pulses, by ISPP and RADAR as their authors ran them.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares, minimize

from agents.evaluation import evaluate
from agents.library import load_policy
from agents.tuned import shipped_or_tuned
from agents.tuning import priced
from memenv import Device, WriteVerify, to_json
from memenv.devices import Driver, Gate, Mismatch, Read, Response
from memenv.devices.law import equivalent_pulses, move
from memenv.devices.records import validate
from memenv.experiments.reporting import markdown
from memenv.files import write_whole

G_MIN, G_MAX = 2e-6, 2.5e-4  # [S] the range of the measured cells
DRIVER = Driver(set_min=0.5, set_max=3.3, reset_min=0.5, reset_max=3.0, width_min=1e-7, width_max=1e-6)
FRESH = 5e4  # [ohm] above which a cell was reset
TABLE = (1.4, 1.5, 1.6, 1.65, 1.7, 1.75, 1.8, 1.9, 2.0, 2.2, 2.4, 2.6, 3.0)  # [V] of the gate
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
LEVELS = ((0.0, 5e3), (5.77e3, 6.01e3), (8.51e3, 9.31e3))  # [ohm]
MEASURED = {"ispp-gate": ("21.8-24.5", "98.9-99.8"), "radar": ("8.6-10.1", "99.7-99.9")}


def states(rows: np.ndarray, name: str) -> np.ndarray:
    """(rows,) [range] before or after the pulses."""
    return (1.0 / rows[name] - G_MIN) / (G_MAX - G_MIN)


def half(rows: np.ndarray, odd: int) -> np.ndarray:
    """The rows of every other cell."""
    return rows[np.isin(rows["cell"], np.unique(rows["cell"])[odd::2])]


def fitted_response(rows: np.ndarray, up: bool, gate: Gate) -> Response:
    """The law of single pulses under a gate, most likely with normal distributions of the right moments.

    Cells count as alike, so that their differences are in the noise of a cycle.
    """
    before, after = (np.clip(states(rows, f"r_{name}_ohm"), 0.0, 1.0) for name in ("before", "after"))
    polarity, width = np.full(len(rows), up), rows["width_s"].astype(float)
    gates = dataclasses.replace(gate, high=rows["wl_V"].astype(float))
    volts, top = gates.limits(polarity, rows["bl_V" if up else "sl_V"].astype(float), width, before, 1.0, 0.0)

    def response(point: np.ndarray) -> Response:
        onset, slope, dose, gamma, noise, added = point
        return Response(
            amplitude=2.0,
            width=2e-7,
            threshold=float(np.clip(onset, 0.0, 1.5)),
            slope=float(np.exp(np.clip(slope, -3.0, 3.0))),
            dose=float(np.exp(np.clip(dose, -9.0, 9.0))),
            gamma=float(np.clip(gamma, 0.0, 3.0)),
            margin=0.02,
            cycle_noise=float(np.exp(np.clip(noise, -5.0, 0.4))),
            additive_noise=0.0 if up else float(np.exp(np.clip(added, -7.0, -1.0))),
        )

    def cost(point: np.ndarray) -> float:
        own = response(point)
        law = own.law()
        pulses = equivalent_pulses(law, volts, width)
        dose = law.dose * pulses
        x = np.array(
            [
                move(law, before, 0.0, top, polarity, dose * np.exp(own.cycle_noise * (z - 0.5 * own.cycle_noise)))
                for z in NODES
            ]
        )
        mean = WEIGHTS @ x / WEIGHTS.sum()
        variance = WEIGHTS @ (x - mean) ** 2 / WEIGHTS.sum()
        variance += (1e-3 if up else 1e-4) + pulses * law.additive_noise**2  # of where a SET stops, and of reads
        return float(np.mean(0.5 * (after - mean) ** 2 / variance + 0.5 * np.log(variance)))

    found = minimize(cost, [0.5, -1.0, 1.0, 1.0, -0.3, -4.0], method="Nelder-Mead", options={"maxfev": 900})
    return response(found.x)


def fitted_gate(data: dict[str, np.ndarray], odd: int) -> Gate:
    """The gate of every other cell: the rise of the word line, its table, and what RESET loses.

    The table is that of single pulses of 1 us, when the word line has risen; `rise` brings pulses of 100 ns onto it.
    How much of the spread belongs to the cell is told by pulses of 100 ns, which were repeated on each.
    """
    long, short = (half(data[name], odd) for name in ("single_set_1us", "set_wl_fresh"))
    long, short = (rows[rows["r_before_ohm"] > FRESH] for rows in (long, short))
    seen = [states(long, "r_after_ohm")[np.abs(long["wl_V"] - volts) < 0.026] for volts in TABLE]
    stops = np.maximum.accumulate([part.mean() for part in seen])
    x = states(short, "r_after_ohm")

    def off(rise: np.ndarray) -> np.ndarray:
        reached = short["wl_V"] * -np.expm1(-1e-7 / rise[0])
        return np.interp(reached, TABLE, stops) - x

    rise = least_squares(off, [8e-8], bounds=(1e-9, 1e-6), x_scale=1e-8, diff_step=1e-3).x[0]
    left = off(np.array([rise]))
    own = np.array([left[short["cell"] == cell].mean() for cell in np.unique(short["cell"])])
    share = own.var() / left.var()
    spread = np.array([part.std() for part in seen])
    return Gate(
        low=1.4,
        high=4.0,
        rise=float(rise),
        loss=lost(data, float(rise), odd),
        volts=TABLE,
        stops=tuple(stops.tolist()),
        mismatch=tuple((spread * np.sqrt(share)).tolist()),
        cycle_noise=tuple((spread * np.sqrt(1 - share)).tolist()),
    )


def lost(data: dict[str, np.ndarray], rise: float, odd: int) -> float:
    """[V] by which gate ramps lag behind source line ramps in where they have brought half of the cells down."""
    at = {}
    for name, field in (("reset_sl", "sl_V"), ("reset_wl", "wl_V")):
        rows = half(data[name], odd)
        steps = np.round(rows[field] / 0.05).astype(int)
        low = [np.mean(rows["r_after_ohm"][steps == step] > 1e4) for step in range(64)]
        at[name] = 0.05 * float(np.interp(0.5, np.maximum.accumulate(low), np.arange(64)))
    return at["reset_wl"] * -float(np.expm1(-2e-7 / rise)) - at["reset_sl"]


def record(data: dict[str, np.ndarray], odd: int = 0) -> Device:
    """The chip, by every other cell."""
    ramps, *fresh, resets = (half(data[name], odd) for name in ("set_bl", "set_wl_fresh", "single_set_1us", "reset_sl"))
    fresh = [rows[(rows["r_before_ohm"] > FRESH) & (rows["wl_V"] > 2.2)][::5] for rows in fresh]
    sets, resets = np.concatenate([ramps[ramps["bl_V"] < 2.0], *fresh]), resets[resets["sl_V"] < 2.0]
    gate = fitted_gate(data, odd)
    return validate(
        Device(
            name="hfo2-radar",
            source="Fitted by benchmarks/radar_chip.py to the pulses of Le et al., IEEE TED 2021, "
            "10.1109/TED.2021.3097975 (1T1R HfO2), every other cell. Differences of cells are in the noise of a cycle, "
            "but for where a SET stops; the spread of thresholds (5 %) and the read noise (0.3 %) are assumptions.",
            g_min=G_MIN,
            g_max=G_MAX,
            set=fitted_response(sets, True, gate),
            reset=fitted_response(resets, False, gate),
            driver=DRIVER,
            mismatch=Mismatch(threshold=0.05),
            read=Read(noise=0.003),
            gate=gate,
        )
    )


def held_out(device: Device, data: dict[str, np.ndarray]) -> str:
    """Mean and spread by gate voltage of the first SET, measured on the other cells and predicted, as a table."""
    lines, rng = [], np.random.default_rng(0)
    for name, gates in (
        ("set_wl_fresh", (2.2, 2.3, 2.4, 2.5, 2.6, 2.7)),
        ("single_set_1us", (1.55, 1.7, 1.8, 2.2, 2.6, 3.0)),
        ("single_set_10us", (1.55, 1.7, 1.8, 2.2, 2.6, 3.0)),
    ):
        rows = half(data[name], 1)
        rows = rows[rows["r_before_ohm"] > FRESH]
        for volts in gates:
            own = rows[np.abs(rows["wl_V"] - volts) < 0.011]
            chip = device.fabricate(rng, len(own)).at_gate(volts)
            state = chip.fresh(states(own, "r_before_ohm"), rng.standard_normal((2, len(own))))
            pulse = own["bl_V"].astype(float), own["width_s"].astype(float)
            after = chip.conductance(chip.pulse(state, *pulse, rng.standard_normal((3, len(own))))) * 1e6
            seen = 1e6 / own["r_after_ohm"]
            figures = (f"{g.mean():.0f} +- {g.std():.0f}" for g in (seen, after))
            lines.append([name, f"{volts:.2f}", str(len(own)), *figures])
    return markdown(["pulses", "gate V", "cells", "measured uS", "predicted uS"], lines)


def programmed(device: Device, cells: int, trials: int | None) -> str:
    """Pulses and success of ISPP and RADAR, tuned, from a reset cell to each of the three levels, as a table."""
    bands = tuple((1 / high, 1 / low if low else None) for low, high in LEVELS)
    own = tuple((low, 1.05 * low if high is None else 0.5 * (low + high), high) for low, high in bands)
    task = WriteVerify(
        device=device, target_levels=own, tolerance=1e-6, tolerance_unit="S", max_pulses=200, give_up=True
    )
    lines = []
    for name, (pulses, success) in MEASURED.items():
        policy = shipped_or_tuned(load_policy(name, priced(task, None)), trials, 0).policy
        done = evaluate(policy, task, cells, 0)
        per = 1.96 * done.pulses.std() / np.sqrt(cells)
        mine = f"{done.pulses.mean():.1f} +- {per:.1f}", f"{100 * done.accepted.mean():.1f}"
        lines.append([name, pulses, mine[0], success, mine[1]])
    return markdown(["controller", "pulses, chip", "pulses, record", "success %, chip", "success %, record"], lines)


def main() -> None:
    """Fit, predict, program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of pulses.npz")
    parser.add_argument("--record", type=Path, default=Path("hfo2-radar.json"), help="where the record is written")
    parser.add_argument("--cells", type=int, default=2000, help="that are programmed by each controller")
    parser.add_argument("--trials", type=int, help="parameter sets tried of each controller [all]")
    config = parser.parse_args()
    with np.load(config.data / "pulses.npz") as archive:
        data = dict(archive)
    device = record(data)
    write_whole(config.record, to_json(device))
    print(held_out(device, data))
    print(programmed(device, config.cells, config.trials))


if __name__ == "__main__":
    main()
