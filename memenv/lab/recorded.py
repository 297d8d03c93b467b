"""A recorded bench: it answers a pulse with one of the measured changes of the likest pulses in a lab's record."""

from typing import Any

import numpy as np

from memenv.devices.device import Driver
from memenv.fitting.pulse_data import PulseData
from memenv.lab.bench import BenchError


class RecordedBench:
    """Measured transitions, replayed off-policy: no law is assumed, and what was not measured is refused.

    Cell i is the record's device i modulo their number. A pulse takes the change of one of the `neighbours` measured
    pulses of that device and polarity that are nearest in conductance, amplitude, logarithm of the width and gate
    voltage, each as a share of what the record spans, drawn at random. Reads add no noise: measured changes hold that
    of two reads.
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
        self.gate = [gate[after + 1, train] for gate in data.gates()]
        self.pulses = np.stack([self.before, self.amplitude, np.log(self.width), *self.gate])  # (kinds, pulses)
        spans = np.ptp([self.before, np.abs(self.amplitude), *self.pulses[2:]], axis=1)
        self.scale = np.where(spans > 0, spans, 1.0)[:, None]

    @property
    def driver(self) -> Driver:
        """The pulses that were measured: what a policy may ask for."""
        magnitude, up = np.abs(self.amplitude), self.amplitude > 0
        ends = {name: magnitude[rows] for name, rows in (("set", up), ("reset", ~up))}
        own: dict[str, Any] = {
            f"{name}_{end.__name__}": float(end(part)) for name, part in ends.items() for end in (min, max)
        }
        return Driver(**own, width_min=float(self.width.min()), width_max=float(self.width.max()))

    def pulse(
        self, cells: np.ndarray, amplitude: np.ndarray, width: np.ndarray, gate: np.ndarray | None = None
    ) -> None:
        """One pulse on each of `cells`, by default at the largest gate voltage of the record's pulses of its polarity.

        Raises:
            BenchError: a pulse that is stronger, weaker, longer or shorter than any that was measured, or at a gate
                voltage beyond those; a gate to be chosen where the record tells none.
        """
        if gate is not None and not self.gate:
            raise BenchError("the record has not several gate voltages: hold the gate of the policy's device")
        if gate is None and self.gate:
            up = self.amplitude > 0
            gate = np.where(amplitude > 0, *(self.gate[0][of].max(initial=0.0) for of in (up, ~up)))
        gates = [] if gate is None else [gate]
        for cell, volts, seconds, *own in np.column_stack([cells, amplitude, width, *gates]).tolist():
            cell, wanted = int(cell), np.array([self.g[int(cell)], volts, np.log(seconds), *own])
            alike = np.flatnonzero((self.device == self.of[cell]) & (np.sign(self.amplitude) == np.sign(volts)))
            away = self.pulses[:, alike] - wanted[:, None]
            if not len(alike) or not ((away[1:].min(axis=1) <= 1e-9) & (away[1:].max(axis=1) >= -1e-9)).all():
                pulse = f"{volts:g} V, {seconds:g} s" + "".join(f", gate {at:g} V" for at in own)
                raise BenchError(f"cell {cell}: pulses of {pulse} lie outside what was measured")
            near = np.argsort(((away / self.scale) ** 2).sum(axis=0))[: self.neighbours]
            taken = alike[self.rng.choice(near)]
            self.g[cell] = max(self.g[cell] + self.after[taken] - self.before[taken], self.after.min())

    def read(self, cells: np.ndarray) -> np.ndarray:
        """Conductances (n,) [S], as they would have been measured after those pulses."""
        read: np.ndarray = self.g[cells]
        return read

    def off(self) -> None:
        """Records have no voltage."""
