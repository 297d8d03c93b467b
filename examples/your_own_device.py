"""From pulse measurements to a programming scheme: write a CSV as a lab would, fit it, compare controllers on the fit.

Here the measurements are simulated; with your own, the lines at the end are all there is to do.
"""

import csv
import os
import tempfile
from pathlib import Path

import numpy as np

from agents import CompareConfig, compare, text_table
from memenv import Mismatch, fit, load_device, read_pulses

QUICK = "MEMENV_QUICK" in os.environ


def measure(path: Path, devices: int = 4, trains: int = 6, pulses: int = 60) -> None:
    """Trains of SET pulses, then of RESET pulses, on several devices, as a long CSV."""
    rng = np.random.default_rng(0)
    truth = load_device("alox-hfo2").replace(name="lab")
    chip = truth.replace(mismatch=Mismatch(rate=0.2)).fabricate(rng, devices)
    state = chip.fresh(np.zeros(devices), rng.standard_normal((2, devices)))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["device", "train", "pulse", "amplitude_V", "width_s", "conductance_S"])
        for train in range(trains):
            response, sign = (chip.set, 1.0) if train % 2 == 0 else (chip.reset, -1.0)
            for pulse in range(pulses):
                read, state = chip.sense(state, rng.standard_normal((2, devices)))
                for device in range(devices):
                    writer.writerow([device, train, pulse, sign * response.amplitude, response.width, read[device]])
                amplitude = np.full(devices, sign * response.amplitude)
                state = chip.pulse(
                    state, amplitude, np.full(devices, response.width), rng.standard_normal((3, devices))
                )


folder = Path(tempfile.mkdtemp())
measure(folder / "pulses.csv")
found = fit(read_pulses(folder / "pulses.csv"), name="mydevice")
print(found.report())
size = {"cells": 100, "trials": 5} if QUICK else {}
names = ("ispp", "history", "oracle")
print(text_table(compare(CompareConfig(device=(found.device,), controllers=names, out=folder / "comparison", **size))))
