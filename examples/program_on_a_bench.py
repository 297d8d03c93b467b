"""From a CSV of pulses to programmed cells: fit a record, drive a bench. The simulator stands in for the instrument."""

import tempfile
from pathlib import Path

import numpy as np

from agents import load_policy
from memenv import WriteVerify, fit, read_pulses, to_json
from memenv.lab import Limits, SimulatedBench, program

folder = Path(tempfile.mkdtemp())
cells = np.arange(8)
bench = SimulatedBench("alox-hfo2", len(cells), seed=0, latency=1e-3)  # yours: VisaBench("GPIB0::17::INSTR", ...)

rows = ["device,train,pulse,amplitude_V,width_s,conductance_S"]  # your own measurement, if there is none yet
for train in range(12):
    volts, width = (1 - 2 * (train % 2)) * np.linspace(0.8, 1.1, 6)[train // 2], (5e-5, 1e-4)[train % 2]
    for pulse in range(30):
        bench.pulse(cells, np.full(len(cells), volts), np.full(len(cells), width))
        rows += [
            f"{cell},{train},{pulse},{volts},{width},{g}" for cell, g in zip(cells, bench.read(cells), strict=True)
        ]
(folder / "pulses.csv").write_text("\n".join(rows))

found = fit(read_pulses(folder / "pulses.csv"), name="mine").device  # what `memenv fit pulses.csv -o mine.json` does
(folder / "mine.json").write_text(to_json(found))
task = WriteVerify(device=folder / "mine.json", tolerance=0.03, give_up=True)
targets = found.g_min + np.linspace(0.2, 0.8, len(cells)) * (found.g_max - found.g_min)  # [S]
limits = Limits(amplitude=1.5, width=1e-3, pulses=50, reads=100)
done = program(bench, load_policy("generalist", task), task, targets, folder / "programmed.csv", limits=limits)
errors = (bench.conductance() - targets) / (found.g_max - found.g_min)  # of the range, as the tolerance is
print(done.summary(), f"true errors [% of the range]: {100 * errors}", sep="\n")
