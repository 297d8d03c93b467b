"""A recorded bench: it answers a pulse with one of the measured changes of the likest pulses in a lab's record."""

from typing import Any

import numpy as np

from memenv.devices.device import Driver
from memenv.fitting.pulse_data import PulseData
from memenv.lab.bench import BenchError


class RecordedBench:
    """Measured transitions, replayed off-policy: no law is assumed, and what was not measured is refused.

    Cell i is the record's device i modulo their number. A pulse takes the change of one of the `neighbours` measured
    pulses of that device and polarity that are nearest in conductance, amplitude and logarithm of the width, each as a
    share of what the record spans, drawn at random. Reads add no noise: measured changes hold that of two reads.
    """

    def __init__(self, data: PulseData, cells: int, seed: int = 0, neighbours: int = 5) -> None:
        """Cells that begin at reads drawn from their device's."""
        pulsed = data.of(1) | data.of(-1)
        after, train = np.nonzero(pulsed[1:] & np.isfinite(data.conductance[:-1]))
        self.before, self.after = data.conductance[after, train], data.conductance[after + 1, train]
        self.amplitude, self.width = data.amplitude[after + 1, train], data.width[after + 1, train]
        self.device, self.neighbours, self.rng = data.device[train], neighbours, np.random.default_rng(seed)
        known = np.unique(self.device)
        self.of = known[np.arange(cells) % len(known)]
        self.g = np.array([self.rng.choice(self.before[self.device == device]) for device in self.of])
        spans = np.ptp(self.before), np.ptp(np.abs(self.amplitude)), np.ptp(np.log(self.width))
        self.scale = np.array([span or 1.0 for span in spans])

    @property
    def driver(self) -> Driver:
        """The pulses that were measured: what a policy may ask for."""
        magnitude, up = np.abs(self.amplitude), self.amplitude > 0
        ends = {name: magnitude[rows] for name, rows in (("set", up), ("reset", ~up))}
        own: dict[str, Any] = {
            f"{name}_{end.__name__}": float(end(part)) for name, part in ends.items() for end in (min, max)
        }
        return Driver(**own, width_min=float(self.width.min()), width_max=float(self.width.max()))

    def pulse(self, cells: np.ndarray, amplitude: np.ndarray, width: np.ndarray) -> None:
        """One pulse on each of `cells`.

        Raises:
            BenchError: a pulse that is stronger, weaker, longer or shorter than any that was measured.
        """
        for cell, volts, seconds in zip(cells.tolist(), amplitude.tolist(), width.tolist(), strict=True):
            alike = np.flatnonzero((self.device == self.of[cell]) & (np.sign(self.amplitude) == np.sign(volts)))
            away = np.stack([self.before - self.g[cell], self.amplitude - volts, np.log(self.width / seconds)])
            away = away[:, alike]
            if not len(alike) or (away[1:].min(axis=1) > 1e-9).any() or (away[1:].max(axis=1) < -1e-9).any():
                raise BenchError(f"cell {cell}: pulses of {volts:g} V, {seconds:g} s lie outside what was measured")
            near = np.argsort(((away / self.scale[:, None]) ** 2).sum(axis=0))[: self.neighbours]
            taken = alike[self.rng.choice(near)]
            self.g[cell] = max(self.g[cell] + self.after[taken] - self.before[taken], self.after.min())

    def read(self, cells: np.ndarray) -> np.ndarray:
        """Conductances (n,) [S], as they would have been measured after those pulses."""
        read: np.ndarray = self.g[cells]
        return read

    def off(self) -> None:
        """Records have no voltage."""
