"""Seconds that IBM's aihwkit needs for a signed pulse on each cell and a noisy read of it; called by engine_speed.py.

    .venv-aihwkit/bin/python benchmarks/aihwkit_speed.py CELLS       # see benchmarks/aihwkit_parity.py for the set-up

A tile of one input and CELLS outputs: the vector of outputs chooses each cell's sign, and a forward pass reads each
cell alone. A tile of CELLS inputs and one output takes its pulses faster, but its forward pass reads only their sum.
The device has soft bounds, 50 % spread of the rate, 8 % of the bounds, 15 % cycle noise; reads have 0.4 % noise.
"""

import json
import sys
import time

import torch
from aihwkit.simulator.configs import IOParameters, SingleRPUConfig, UpdateParameters
from aihwkit.simulator.configs.devices import SoftBoundsDevice
from aihwkit.simulator.tiles import AnalogTile

SECONDS = 0.25


def seconds(shape: tuple[int, int]) -> float:
    """Of a pulse and a read by a tile of (outputs, inputs), the quickest of several."""
    device = SoftBoundsDevice(
        dw_min=0.1, dw_min_dtod=0.5, dw_min_std=0.15, w_max_dtod=0.08, w_min_dtod=0.08, mult_noise=True
    )
    one_pulse = UpdateParameters(desired_bl=1, update_bl_management=False, update_management=False)
    tile = AnalogTile(*shape, SingleRPUConfig(device=device, forward=IOParameters(out_noise=0.004), update=one_pulse))
    tile.set_learning_rate(4 * device.dw_min)  # twice the probability one
    cells, one = max(shape), torch.ones(1, 1)
    signs = torch.where(torch.rand(1, cells) < 0.5, -1.0, 1.0)
    inputs, errors = (one, signs) if shape[1] == 1 else (signs, one)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        tile.update(inputs, errors)
        tile.forward(inputs)
        best = min(best, time.perf_counter() - start)
    return best


torch.set_num_threads(1)
number = int(sys.argv[1])
print(json.dumps({"a read of each cell": seconds((number, 1)), "a read of their sum": seconds((1, number))}))
