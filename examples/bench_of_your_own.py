"""A bench of your own: anything with these three methods; a resistor that pulses trim stands in for it here."""

import tempfile
from pathlib import Path

import numpy as np

from agents import load_policy
from memenv import WriteVerify
from memenv.lab import Limits, program


class MyBench:
    def __init__(self) -> None:
        self.siemens = np.full(8, 3e-5)  # open your instrument here

    def pulse(self, cells, amplitude, width):  # signed amplitude [V], positive SETs; width [s]
        for cell, volts, seconds in zip(cells, amplitude, width, strict=True):
            self.siemens[cell] *= np.exp(np.sign(volts) * 0.05 * np.expm1(abs(volts) - 0.4) * (seconds / 1e-6) ** 0.3)

    def read(self, cells):  # conductances [S]
        return self.siemens[cells]

    def off(self):  # the safe state: no voltage on any cell
        pass


task = WriteVerify(device="threshold", tolerance=0.02)  # record of range, driver and read noise, as of memenv fit
limits = Limits(amplitude=1.8, width=1e-5, pulses=50, energy=1e-6)
record = Path(tempfile.mkdtemp()) / "bench.csv"
done = program(MyBench(), load_policy("ispp", task), task, np.linspace(2e-5, 6e-5, 8), record, limits=limits)
print(done.summary(), f"every pulse and read: {record}", sep="\n")
