"""The samples that commands of the documentation take: pulse measurements, and a layer of weights with its inputs.

pulses.csv has trains of SET, then of RESET pulses on three simulated AlOx/HfO2 devices; W.npy (49, 10) is the linear
classifier of ten glyphs, 7 x 7 coarse, by ridge regression, and X.npy (1200, 49; 255 = ink) has glyphs that it was
not fitted to.

python docs/samples/make.py
"""

import csv
from pathlib import Path

import numpy as np

from memenv import Mismatch, load_device
from memenv.few_shot.strokes import glyphs

HERE = Path(__file__).parent
DEVICES, TRAINS, PULSES = 3, 6, 40


def main() -> None:
    """Write pulses.csv, W.npy and X.npy beside this file."""
    pulses()
    drawn = glyphs(0, 10, 220).images.astype(float)  # (classes, instances, 28, 28)
    images = drawn.reshape(10, 220, 7, 4, 7, 4).mean((3, 5)).reshape(10, 220, 49)
    train, labels = images[:, :100].reshape(1000, -1), np.repeat(np.eye(10), 100, axis=0) - 0.1
    ridge = 10 * 255**2 * np.eye(49)
    np.save(HERE / "W.npy", np.linalg.solve(train.T @ train + ridge, 255 * train.T @ labels).astype(np.float32))
    np.save(HERE / "X.npy", images[:, 100:].reshape(1200, -1).round().astype(np.uint8))


def pulses() -> None:
    """Write pulses.csv."""
    rng = np.random.default_rng(0)
    chip = load_device("alox-hfo2").replace(mismatch=Mismatch(rate=0.2)).fabricate(rng, DEVICES)
    state = chip.fresh(np.zeros(DEVICES), rng.standard_normal((2, DEVICES)))
    with (HERE / "pulses.csv").open("w", newline="", encoding="utf-8") as file:
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
