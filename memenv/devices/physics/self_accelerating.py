"""A device that accelerates itself, with noise inside the pulse: the one on which Ouroboros' public copy is tried."""

from dataclasses import dataclass

import numpy as np

from memenv.arrays import Array
from memenv.devices.device import Driver
from memenv.devices.physics.model import Physics
from memenv.devices.reads import Read, State

GRID = 1e-8  # [s]
MOST = 200  # steps of the longest pulse


@dataclass(frozen=True, kw_only=True)
class SelfAccelerating(Physics):
    """g += 0.15 i (1 - g) (g - 0.01) + 0.005 z in every 10 ns, z normal anew each time; i the amplitude in volts.

    As in the public re-implementation of Ouroboros (Yu et al. 2024, arXiv 2403.06712), where i is +1 or -1. Widths are
    rounded to the grid of 10 ns, one at least; the noise-free flow is the law of memenv with gamma 1 and kappa 1, so
    that what differs is the noise, which grows with the width and is amplified on the way.
    """

    name: str = "physics/self-accelerating"
    source: str = (
        "Public re-implementation of Ouroboros (arXiv 2403.06712): equation, noise, grid. Conductance (1 to 100 uS), "
        "amplitudes other than 1 V and the absence of read noise are assumptions; all cells are alike."
    )
    g_min: Array = 1e-6  # g = 0.01
    g_max: Array = 1e-4  # g = 1
    driver: Driver = Driver(
        set_min=0.5, set_max=1.0, reset_min=0.5, reset_max=1.0, width_min=GRID, width_max=GRID * MOST
    )
    read: Read = Read()
    spread: float = 0.0
    cycle_noise: float = 0.0
    rate: float = 0.15
    diffusion: float = 0.005
    rest_point: float = 0.01  # g that no pulse leaves

    pulse_channels = MOST

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """As many steps as the pulse has, each with its own noise (that of longer trains comes again)."""
        self.check(amplitude, width)
        steps = np.maximum(np.rint(width / GRID), 1.0 * (np.asarray(width) > 0)) * count
        g = self.rest_point + (1.0 - self.rest_point) * state.x
        for k in range(int(np.max(steps))):
            moved = self.rate * amplitude * (1.0 - g) * (g - self.rest_point) + self.diffusion * noise[k % MOST]
            g = np.where(k < steps, np.clip(g + moved, self.rest_point, 1.0), g)
        return self.written(state, self.g_max * g, amplitude, width * count)
