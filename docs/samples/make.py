"""The sample of pulse measurements: trains of SET, then of RESET pulses on three simulated AlOx/HfO2 devices.

python docs/samples/make.py
"""

import csv
from pathlib import Path

import numpy as np

from memenv import Mismatch, load_device

DEVICES, TRAINS, PULSES = 3, 6, 40


def main() -> None:
    """Write pulses.csv beside this file."""
    rng = np.random.default_rng(0)
    chip = load_device("alox-hfo2").replace(mismatch=Mismatch(rate=0.2)).fabricate(rng, DEVICES)
    state = chip.fresh(np.zeros(DEVICES), rng.standard_normal((2, DEVICES)))
    with (Path(__file__).parent / "pulses.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["device", "train", "pulse", "amplitude (V)", "width (us)", "G (uS)"])
        for train in range(TRAINS):
            response, sign = (chip.reset, -1.0) if train % 2 else (chip.set, 1.0)
            volts, seconds = np.full(DEVICES, sign * response.amplitude), np.full(DEVICES, response.width)
            for pulse in range(PULSES):
                state = chip.pulse(state, volts, seconds, rng.standard_normal((3, DEVICES)))
                read, state = chip.sense(state, rng.standard_normal((2, DEVICES)))
                for device, g in enumerate(read):
                    writer.writerow([device, train, pulse, volts[0], f"{1e6 * response.width:g}", f"{1e6 * g:.4f}"])


if __name__ == "__main__":
    main()
