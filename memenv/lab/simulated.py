"""A simulated bench: cells of any device, which keep time and noise of their own."""

import numpy as np

from memenv.arrays import put, take
from memenv.devices.catalogue import load_device
from memenv.devices.protocol import DeviceSpec, parametric


class SimulatedBench:
    """Cells of a chip of any `CellModel`; `latency` [s] passes at every call, in which all of them relax and drift."""

    def __init__(self, device: DeviceSpec, cells: int, seed: int | tuple[int, ...] = 0, latency: float = 0.0) -> None:
        """A chip of so many cells, each somewhere in its own range."""
        self.rng, self.latency = np.random.default_rng(seed), latency
        self.chip = load_device(device).fabricate(self.rng, cells)
        x = self.chip.x_lo + (self.chip.x_hi - self.chip.x_lo) * self.rng.random(cells)
        self.state = self.chip.fresh(x, self.rng.standard_normal((2, cells)))

    def pulse(
        self, cells: np.ndarray, amplitude: np.ndarray, width: np.ndarray, gate: np.ndarray | None = None
    ) -> None:
        """One pulse on each of `cells`, by default at full gate."""
        self._rest()
        chip, noise = take(self.chip, cells), self.rng.standard_normal((self.chip.pulse_channels, len(cells)))
        chip = chip if gate is None else parametric(chip, "a gate").at_gate(gate)
        self.state = put(self.state, cells, chip.pulse(take(self.state, cells), amplitude, width, noise))

    def read(self, cells: np.ndarray) -> np.ndarray:
        """Noisy conductances (n,) [S]."""
        self._rest()
        chip, noise = take(self.chip, cells), self.rng.standard_normal((self.chip.read_channels, len(cells)))
        g, after = chip.sense(take(self.state, cells), noise)
        self.state = put(self.state, cells, after)
        return np.asarray(g)

    def off(self) -> None:
        """A simulated cell has a voltage only during a pulse."""

    def conductance(self) -> np.ndarray:
        """True conductances (cells,) [S] of all cells, which no instrument could tell."""
        return np.asarray(self.chip.conductance(self.state))

    def _rest(self) -> None:
        self.state = self.chip.rest(self.state, self.latency)
