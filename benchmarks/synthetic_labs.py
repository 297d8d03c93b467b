"""Coverage of the fit's 95 % intervals on synthetic laboratories, zero mismatch included.

    python benchmarks/synthetic_labs.py --labs 200 --out synthetic-labs

A laboratory has 1 to 12 devices, 1 to 20 trains of each polarity and device, one to five amplitudes, trains that come
to rest or do not, noise over two decades, and mismatch in every other laboratory. Nothing but its pulses and reads is
told to the fit. The truth is put into the fit's own units first: its range is what was read, its reference pulse the
median one. A law of other shape (steps that grow, a second pole) has no true dose, exponent or margin: those are
counted under `shape`. What no data of the laboratory tell must be called undetermined.
"""

import dataclasses
import sys
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from memenv.arrays import take
from memenv.devices.device import Device, Mismatch
from memenv.devices.law import Response, equivalent_pulses
from memenv.devices.reads import Read
from memenv.devices.records import DeviceError
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, markdown, mean_interval, shown
from memenv.experiments.runs import RECORD, RunOptions, begun, command_line
from memenv.fitting.checks import POLARITIES
from memenv.fitting.coordinates import values
from memenv.fitting.pulse_data import PulseData
from memenv.fitting.trains import Fit, fit

WIDTH = 1e-6  # [s]
MOST_READS = 1000  # of a laboratory
SHAPED = ("dose", "gamma", "margin")  # of a law of one shape only


@dataclass(frozen=True, kw_only=True)
class LabsConfig(RunOptions):
    """Fit records to the data of synthetic laboratories and count how often the truth lies in their intervals."""

    labs: int = option(200, help="laboratories")
    seed: int = option(0, help="of the first laboratory; the others follow")
    out: Path = option(Path("synthetic-labs"), help="folder of synthetic_labs.csv and .md")


def laboratory(seed: int) -> tuple[Device, PulseData]:
    """A device and what a laboratory measures of it."""
    rng = np.random.default_rng(seed)
    saturated, spread = rng.random() < 0.5, rng.random() < 0.5
    pulses, devices, trains = (int(rng.integers(*ends)) for ends in ((25, 61), (1, 13), (1, 21)))
    spread &= devices > 1  # one device is what it is
    trains = max(1, min(trains, MOST_READS // (2 * devices * pulses)))
    noise = 10 ** rng.uniform(-1, 1)

    def response() -> Response:
        gamma, margin = rng.uniform(0.5, 2.0), rng.uniform(0.05, 0.4)
        own = Response(threshold=0.5, slope=0.1, gamma=gamma, margin=margin, growing=bool(rng.random() < 0.3))
        reach = np.abs(_dose_through(own)) * (rng.uniform(1.5, 3.0) if saturated else rng.uniform(0.3, 0.8))
        kinds = {
            "cycle_noise": 0.05 * noise * rng.uniform(0.5, 2),
            "additive_noise": 0.001 * noise * rng.uniform(0.5, 2),
        }
        return dataclasses.replace(own, dose=reach / pulses, **kinds)

    mismatch = Mismatch(rate=rng.uniform(0.05, 0.3), asymmetry=rng.uniform(0.05, 0.3)) if spread else Mismatch()
    if spread and saturated:
        mismatch = dataclasses.replace(mismatch, x_lo=0.03, x_hi=0.05)
    reads = Read(noise=0.002 * noise * rng.uniform(0.5, 2))
    device = Device(g_min=1e-5, g_max=1e-4, set=response(), reset=response(), mismatch=mismatch, read=reads)
    volts = [np.ones(1), np.array([0.9, 1.0]), np.linspace(0.8, 1.05, 5)][rng.integers(3)]
    return device, _measured(device, rng, devices, trains, pulses, volts)


def _dose_through(law: Response) -> float:
    """The dose that takes the state through the range."""
    ends, power = (law.margin, 1 + law.margin), 1 - law.gamma
    return float(np.log(ends[1] / ends[0])) if abs(power) < 1e-6 else (ends[1] ** power - ends[0] ** power) / power


def _measured(
    device: Device, rng: np.random.Generator, devices: int, trains: int, pulses: int, volts: np.ndarray
) -> PulseData:
    """Trains of SET from the lower and of RESET from the upper end, pulses at random amplitudes."""
    own = np.tile(np.arange(devices), 2 * trains)
    count = len(own)
    sign = np.where(np.arange(count) < count // 2, 1.0, -1.0)
    cells = take(device.fabricate(rng, devices), own)
    low, high = (np.broadcast_to(end, (count,)) for end in (cells.x_lo, cells.x_hi))
    share = np.where(sign > 0, 0.0, 1.0) + sign * 0.1 * rng.random(count)
    state = cells.fresh(low + share * (high - low), rng.standard_normal((2, count)))
    reads, pulsed = [cells.sense(state, rng.standard_normal((2, count)))[0]], [np.zeros(count)]
    for _ in range(pulses):
        pulsed.append(sign * rng.choice(volts, count))
        state = cells.pulse(state, pulsed[-1], np.full(count, WIDTH), rng.standard_normal((3, count)))
        reads.append(cells.sense(state, rng.standard_normal((2, count)))[0])
    return PulseData(
        conductance=np.array(reads),
        amplitude=np.array(pulsed),
        width=np.full((pulses + 1, count), WIDTH),
        device=own,
        devices=tuple(f"d{k}" for k in range(devices)),
    )


def truth_as_fitted(truth: Device, fitted: Fit) -> Device:
    """The true device in the range and at the reference pulses of the fitted one.

    A pole is as far from the true bound as the law says; where no train tells a bound, from what stands for it.
    """
    found = fitted.device
    scale = (truth.g_max - truth.g_min) / (found.g_max - found.g_min)
    spread, out = truth.mismatch, {}
    for polarity in POLARITIES:
        law, volts = getattr(truth, polarity), getattr(found, polarity).amplitude
        n = float(equivalent_pulses(law.law(), volts, WIDTH))
        above = (polarity == "set") != law.growing  # where the pole lies
        told = ("x_hi" if above else "x_lo") in fitted.estimate.names
        beyond = 0.0 if told else truth.g_max - found.g_max if above else found.g_min - truth.g_min
        out[polarity] = dataclasses.replace(
            law,
            amplitude=volts,
            dose=law.dose * n * scale ** (1 - law.gamma),
            margin=scale * law.margin + beyond / (found.g_max - found.g_min),
            additive_noise=scale * law.additive_noise * n**0.5,
        )
    mismatch = dataclasses.replace(spread, x_lo=scale * spread.x_lo, x_hi=scale * spread.x_hi)
    low, high = ((end - found.g_min) / (found.g_max - found.g_min) for end in (truth.g_min, truth.g_max))
    return truth.replace(**out, mismatch=mismatch, read=Read(noise=scale * truth.read.noise), x_lo=low, x_hi=high)


def judged(seed: int) -> dict[str, Any]:
    """What the fit says of one laboratory: of each parameter 1 covered, 0 missed, -1 undetermined."""
    truth, data = laboratory(seed)
    begin = time.process_time()
    try:
        found = fit(data)
    except DeviceError as error:
        return {"refused": str(error)}
    out: dict[str, Any] = {"seconds": time.process_time() - begin, "rows": data.conductance.size}
    return out | _verdicts(truth_as_fitted(truth, found), found, data)


def _verdicts(truth: Device, found: Fit, data: PulseData) -> dict[str, Any]:
    estimate, out = found.estimate, dict[str, Any]()
    for name, (low, high), true in zip(estimate.names, estimate.intervals, values(truth, estimate.names), strict=True):
        part, _, leaf = name.rpartition(".")
        law, own = (getattr(device, part or "set") for device in (truth, found.device))
        if leaf in SHAPED and (own.growing != law.growing or own.kappa > 0 or law.margin <= 0):
            out[name] = "shape"
        elif name in estimate.undetermined:
            out[name] = -1
        else:
            out[name] = int(low <= true <= high)
        if part == "mismatch" and true == 0 and not isinstance(out[name], str):
            out[f"{name} = 0"] = out.pop(name)
    several = len(np.unique(np.abs(data.amplitude[1:]))) > 1
    mute = () if several else tuple(f"{p}.{leaf}" for p in POLARITIES for leaf in ("threshold", "slope"))
    mute += () if len(data.devices) > 1 else ("mismatch.rate", "mismatch.asymmetry")
    return out | {"mute": len(mute), "called": sum(name in estimate.undetermined for name in mute)}


def table(labs: list[dict[str, Any]], seed: int) -> str:
    """Coverage of every parameter."""
    names = sorted({name for lab in labs for name in lab if "." in name})
    lines, every = [], list[int]()
    for name in names:
        found = [lab[name] for lab in labs if name in lab]
        sure = [verdict for verdict in found if verdict in (0, 1)]
        every += sure
        cover = shown(mean_interval(np.array(sure, float), seed), "{:.3f}") if len(sure) > 1 else "-"
        lines.append([name, str(len(sure)), cover, str(found.count(-1)), str(found.count("shape"))])
    lines.append(["all", str(len(every)), shown(mean_interval(np.array(every, float), seed), "{:.3f}"), "", ""])
    mute, called = (sum(lab.get(key, 0) for lab in labs) for key in ("mute", "called"))
    seconds = np.array([lab["seconds"] for lab in labs if "seconds" in lab])
    refused = sum("refused" in lab for lab in labs)
    return (
        markdown(["parameter", "determined", "95 % interval covers", "undetermined", "other shape"], lines)
        + f"\n{len(labs)} laboratories, {refused} refused; of {mute} parameters without data {called} are called "
        f"undetermined. A fit takes {np.median(seconds):.1f} s of one core, {seconds.max():.0f} s at most.\n"
    )


def main() -> None:
    """Run, print and write."""
    config = parse(LabsConfig, sys.argv[1:], "synthetic_labs.py")
    command = command_line("python benchmarks/synthetic_labs.py", sys.argv[1:])
    warnings.simplefilter("error")
    with begun(config.out / RECORD, config, command=command, files=("synthetic_labs.*",)) as run:
        seeds = range(config.seed, config.seed + config.labs)
        labs = [run.once((seed,), partial(judged, seed)) for seed in seeds]
        text = table(labs, config.seed)
        found = {"synthetic_labs.csv": csv_text(labs), "synthetic_labs.md": f"`{command}`\n\n{text}"}
        run.write(found, complete=True)
        print(text)


if __name__ == "__main__":
    main()
