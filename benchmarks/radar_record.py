"""The record of the RADAR chip from its measured pulses: where SETs stop, RESETs by whole ramps, SETs on their way.

`radar_chip.py` is the command, and says what the arrays are.
"""

import dataclasses

import numpy as np
from scipy.optimize import least_squares, minimize

from memenv import Device
from memenv.devices import Driver, Gate, Mismatch, Read, Response
from memenv.devices.law import equivalent_pulses, move
from memenv.devices.reads import State
from memenv.devices.records import validate

G_MIN, G_MAX = 2e-6, 2.5e-4  # [S] the range of the measured cells
DRIVER = Driver(set_min=0.5, set_max=3.3, reset_min=0.5, reset_max=3.0, width_min=1e-7, width_max=1e-6)
FRESH = 5e4  # [ohm] above which a cell was reset
SHARP = 1.75  # [V] above which SETs of 1 us have arrived, below which those of 100 ns tell where they stop
TABLE = (1.4, 1.5, 1.55, 1.6, 1.65, 1.7, SHARP, 1.8, 1.9, 2.0, 2.1, 2.2, 2.4, 2.6, 3.0)  # [V] of 1 us
WIDTH, STEP = 2e-7, 0.05  # [s], [V] of ramps
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


def states(rows: np.ndarray, name: str) -> np.ndarray:
    """(rows,) [range] before or after the pulses."""
    return (1.0 / rows[f"r_{name}_ohm"].astype(float) - G_MIN) / (G_MAX - G_MIN)


def half(rows: np.ndarray, odd: int) -> np.ndarray:
    """The rows of every other cell."""
    return rows[np.isin(rows["cell"], np.unique(rows["cell"])[odd::2])]


def share_of_cells(rows: np.ndarray, x: np.ndarray) -> float:
    """Share of the variance of `x` (rows,) that is between cells, where each was measured several times."""
    own = [x[rows["cell"] == cell] for cell in np.unique(rows["cell"])]
    own = [part for part in own if len(part) > 2]
    between, within = np.var([part.mean() for part in own]), np.mean([part.var() for part in own])
    return float(between / (between + within))


# -- where SETs stop ---------------------------------------------------------------------------------------------------


def first_sets(rows: np.ndarray) -> np.ndarray:
    """SETs of reset cells, at gates to which nearly all cells were taken: of the rest only the hard ones are left."""
    rows = rows[rows["r_before_ohm"] > FRESH]
    pulses = np.round([rows["width_s"] * 1e9, rows["wl_V"] * 100])
    _, kind, count = np.unique(pulses, axis=1, return_inverse=True, return_counts=True)
    return rows[count[kind] >= 0.7 * np.median(count)]


def fitted_gate(data: dict[str, np.ndarray], odd: int) -> Gate:
    """The gate of every other cell: how far the word line comes in time, where SETs stop, what RESET loses.

    `rise` and `stretch` bring SETs of 100 ns to 10 us onto one table. How much of the spread belongs to the cell is
    told by the fresh SETs of 100 ns, low down, and by ramps without reset, high up.
    """
    short, wide, long, slow = (
        first_sets(half(data[name], odd))
        for name in ("set_wl_fresh", "set_bl_fresh", "single_set_1us", "single_set_10us")
    )
    at = np.array(TABLE)

    def reached(rows: np.ndarray, time: np.ndarray) -> np.ndarray:
        """(rows,) [V] in those of a SET of 1 us."""
        line = Gate(rise=time[0], stretch=time[1])
        return rows["wl_V"] * line.share(rows["width_s"].astype(float)) / line.share(1e-6)

    def table(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stops, and the voltages and states that they are drawn from."""
        volts = np.concatenate([reached(rows, time) for rows in (long, short)])
        kept = np.concatenate([long["wl_V"] > SHARP, reached(short, time) < SHARP])
        x = np.concatenate([states(rows, "after") for rows in (long, short)])[kept]
        volts = volts[kept]
        hats = np.stack([np.interp(volts, at, one) for one in np.eye(len(at))], axis=1)
        return np.maximum.accumulate(np.linalg.lstsq(hats, x, rcond=None)[0]), volts, x

    def off(logs: np.ndarray) -> np.ndarray:
        time = np.exp(logs)
        stops = table(time)[0]
        return np.concatenate(
            [
                (np.interp(reached(rows, time), at, stops) - states(rows, "after"))[::5] / np.sqrt(len(rows))
                for rows in (short, wide, slow)
            ]
        )

    time = np.exp(least_squares(off, np.log([1.6e-7, 0.3]), diff_step=1e-2).x)
    stops, volts, x = table(time)
    left = x - np.interp(volts, at, stops)
    spread = np.array([left[np.abs(volts - one) < 0.03].std() for one in at])
    low = share_of_cells(short, states(short, "after") - np.interp(reached(short, time), at, stops))
    ramps = half(data["set_wl"], odd)
    ramps = [ramps[np.abs(ramps["wl_V"] - one) < 0.01] for one in (2.2, 2.25, 2.3, 2.35, 2.4)]
    high = np.mean([share_of_cells(rows, states(rows, "after")) for rows in ramps])
    own = np.interp(at, [SHARP, 1.9], [low, high])
    line = Gate(rise=float(time[0]), stretch=float(time[1]))
    word, source = (middle(half(data[f"reset_{name}"], odd), f"{name}_V") for name in ("wl", "sl"))
    return dataclasses.replace(
        line,
        low=1.4,
        high=4.0,
        loss=float(word * line.share(WIDTH) - source),
        volts=tuple((at * line.share(1e-6)).tolist()),
        stops=tuple(stops.tolist()),
        mismatch=tuple((spread * np.sqrt(own)).tolist()),
        cycle_noise=tuple((spread * np.sqrt(1 - own)).tolist()),
    )


# -- RESET -------------------------------------------------------------------------------------------------------------


def ramps_of(rows: np.ndarray, field: str) -> tuple[np.ndarray, np.ndarray]:
    """States before ramps (ramps,) and after each of their steps (ramps, steps) [range]; the last one is kept."""
    first = np.flatnonzero((np.diff(rows[field], prepend=9.0) < 0) | (np.diff(rows["cell"], prepend=-1) != 0))
    x, steps = states(rows, "after"), round(float(rows[field].max()) / STEP) + 1
    place = np.minimum(first[:, None] + np.arange(steps), np.append(first[1:], len(rows))[:, None] - 1)
    return states(rows, "before")[first], x[place]


def middle(rows: np.ndarray, field: str) -> float:
    """[V] at which the median ramp brings a cell below 100 uS."""
    _, x = ramps_of(rows, field)
    return STEP * float(np.median((x < (1e-4 - G_MIN) / (G_MAX - G_MIN)).argmax(axis=1)))


def fitted_reset(data: dict[str, np.ndarray], gate: Gate, odd: int) -> tuple[Response, float]:
    """The law of RESETs, and the spread of thresholds [of the threshold], by whole ramps of simulated cells.

    The ramps' quantiles at each voltage, where cells pass 140, 60 and 30 uS, from ramp to ramp and from cell to cell,
    and quantiles after a full RESET; single steps would not do, for cells that are still high are the hard ones.
    """
    rows = half(data["reset_sl"], odd)
    begin, seen = ramps_of(rows, "sl_V")
    cells, end = len(np.unique(rows["cell"])), float(np.quantile(seen[:, -1], 0.5))
    rng = np.random.default_rng(0)
    noise, own = rng.standard_normal((seen.shape[1], 3, len(begin))), rng.standard_normal(cells)
    alone, others = rng.standard_normal((3, 500)), rng.standard_normal(500)
    fresh = half(data["set_wl_fresh"], odd)
    after_set = (states(fresh, "after")[:-1] > 0.4) & (fresh["cell"][:-1] == fresh["cell"][1:])

    def full(x: np.ndarray) -> np.ndarray:
        """Logarithms of quantiles of conductances."""
        return np.log(G_MIN / (G_MAX - G_MIN) + np.quantile(x, (0.25, 0.5, 0.75, 0.95)))

    def told(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Square roots of quantiles by step, and voltages [V] at which levels are passed."""
        volts = []
        for level in (140, 60, 30):  # [uS]
            low = x < (level * 1e-6 - G_MIN) / (G_MAX - G_MIN)
            passed = STEP * np.where(low.any(axis=1), low.argmax(axis=1), 50).reshape(cells, -1)
            volts += [np.median(passed), np.median([middle_spread(ramps) for ramps in passed])]
            volts += [middle_spread(np.median(passed, axis=1))]
        return np.sqrt(np.maximum(np.quantile(x[:, 10:41], QUANTILES, axis=0), 0.0)), np.array(volts)

    def device_of(point: np.ndarray, normals: np.ndarray, volts: float) -> Device:
        threshold, *logs, spread = point
        slope, dose, gamma, cycle, added = np.exp(np.clip(logs, -6.0, 6.0))
        threshold, spread = float(np.clip(threshold, 0.0, 1.5)), float(np.exp(np.clip(spread, -5.0, 0.0)))
        law = Response(
            amplitude=2.0,
            width=WIDTH,
            threshold=threshold,
            slope=float(slope),
            shift=threshold * spread * normals,
            dose=float(dose),
            gamma=float(min(gamma, 4.0)),
            margin=0.02,
            cycle_noise=float(min(cycle, 2.0)),
            additive_noise=float(min(added, 0.4)),
        )
        return Device(reset=law, gate=gate).at_gate(volts)

    def pulsed(chip: Device, x: np.ndarray, volts: float, normals: np.ndarray) -> np.ndarray:
        return chip.pulse(State(x=x, age=0.0 * x), np.full(len(x), -volts), np.full(len(x), WIDTH), normals).x

    wanted, wanted_volts = told(seen)
    wanted_full = full(states(fresh, "before")[1:][after_set])

    def cost(point: np.ndarray) -> float:
        chip, x, found = device_of(point, np.repeat(own, len(begin) // cells), 3.5), begin, []
        for step, normals in enumerate(noise):
            x = np.where(x > end, pulsed(chip, x, STEP * step, normals), x)
            found.append(x)
        quantiles, volts = told(np.stack(found, axis=1))
        last = pulsed(device_of(point, others, gate.high), np.full(500, begin.mean()), DRIVER.reset_max, alone)
        parts = (quantiles - wanted) / 0.045, (volts - wanted_volts) / 0.03, (full(last) - wanted_full) / 0.35
        return float(sum(np.mean(part**2) for part in parts))

    start = np.array([0.6, np.log(0.3), np.log(30.0), np.log(2.0), 0.0, np.log(0.02), np.log(0.3)])
    simplex = np.vstack([start, start + np.diag([0.12, *[0.4] * 6])])
    found = minimize(cost, start, method="Nelder-Mead", options={"maxfev": 600, "initial_simplex": simplex}).x
    return dataclasses.replace(device_of(found, own, gate.high).reset, shift=0.0), float(np.exp(found[-1]))


def middle_spread(values: np.ndarray) -> float:
    """Standard deviation by the quartiles, which few odd ones do not change."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float((high - low) / 1.349)


# -- SET below where it stops, and the record --------------------------------------------------------------------------


def fitted_set(rows: np.ndarray, gate: Gate) -> Response:
    """The law of single SETs under a gate, most likely with normal distributions of the right moments.

    Cells differ in where they stop; their other differences are in the noise of a cycle.
    """
    before, after = (np.clip(states(rows, name), 0.0, 1.0) for name in ("before", "after"))
    up, width = np.full(len(rows), True), rows["width_s"].astype(float)
    volts, total = rows["bl_V"].astype(float), WEIGHTS.sum()
    gates = [dataclasses.replace(gate, high=rows["wl_V"].astype(float), cell=cell) for cell in (-1.0, 0.0, 1.0)]
    stops = [[one.limits(up, volts, width, before, 1.0, z)[1] for z in NODES] for one in gates]

    def response(point: np.ndarray) -> Response:
        onset, slope, dose, gamma, noise = point
        return Response(
            amplitude=2.0,
            width=WIDTH,
            threshold=float(np.clip(onset, 0.0, 1.5)),
            slope=float(np.exp(np.clip(slope, -3.0, 3.0))),
            dose=float(np.exp(np.clip(dose, -9.0, 9.0))),
            gamma=float(np.clip(gamma, 0.0, 3.0)),
            margin=0.02,
            cycle_noise=float(np.exp(np.clip(noise, -5.0, 0.4))),
        )

    def cost(point: np.ndarray) -> float:
        own = response(point)
        law = own.law()
        dose = law.dose * equivalent_pulses(law, volts, width)
        drawn = np.exp(own.cycle_noise * (NODES[:, None] - 0.5 * own.cycle_noise))
        x = [[move(law, before, 0.0, *each) for each in zip(row, [up] * 9, dose * drawn, strict=True)] for row in stops]
        low, mean, high = (WEIGHTS @ np.array(row) / total for row in x)
        variance = WEIGHTS @ (x[1] - mean) ** 2 / total + 0.25 * (high - low) ** 2 + 1e-4  # of reads
        return float(np.mean(0.5 * (after - mean) ** 2 / variance + 0.5 * np.log(variance)))

    return response(minimize(cost, [0.5, -1.0, 1.0, 1.0, -0.3], method="Nelder-Mead", options={"maxfev": 700}).x)


def record(data: dict[str, np.ndarray], odd: int = 0) -> Device:
    """The chip, by every other cell."""
    gate = fitted_gate(data, odd)
    ramps, *fresh = (half(data[name], odd) for name in ("set_bl", "set_wl_fresh", "single_set_1us"))
    fresh = [rows[(rows["r_before_ohm"] > FRESH) & (rows["wl_V"] > 2.2)][::5] for rows in fresh]
    reset, spread = fitted_reset(data, gate, odd)
    return validate(
        Device(
            name="hfo2-radar",
            source="Fitted by benchmarks/radar_chip.py to the pulses of Le et al., IEEE TED 2021, "
            "10.1109/TED.2021.3097975 (1T1R HfO2), every other cell. The spread of thresholds is that of RESET; "
            "the read noise (0.3 %) is an assumption.",
            g_min=G_MIN,
            g_max=G_MAX,
            set=fitted_set(np.concatenate([ramps[ramps["bl_V"] < 2.0][::2], *fresh]), gate),
            reset=reset,
            driver=DRIVER,
            mismatch=Mismatch(threshold=spread),
            read=Read(noise=0.003),
            gate=gate,
        )
    )
