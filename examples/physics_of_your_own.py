"""A device with physics of its own: write a frozen dataclass that answers `CellModel`, and use it wherever presets are.

This one drifts as in the VTEAM model (Kvatinsky et al., IEEE TCAS-II 62, 786 (2015), 10.1109/TCSII.2015.2433536): above
a threshold the state moves with a power of the excess voltage, under a window, here with log-normal noise. `Reads` has
all that is no physics of its own: reads, rest and energy.
"""

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.classical import HistoryInverse
from agents.comparison import CompareConfig, compare, text_table
from agents.training import TrainConfig, train
from memenv import Driver, Read, WriteVerify
from memenv.devices import Reads
from memenv.envs import WriteVerifyEnv, WriteVerifyVectorEnv

QUICK = "MEMENV_QUICK" in os.environ


@dataclass(frozen=True, kw_only=True)
class Vteam(Reads):
    name: str = "vteam"
    g_min: float = 1e-6  # [S]
    g_max: float = 1e-4  # [S]
    speed: float | np.ndarray = 1e4  # [1/s] at twice the threshold
    threshold: float | np.ndarray = 0.6  # [V]
    driver: Driver = Driver(set_min=0.6, set_max=1.8, reset_min=0.6, reset_max=1.8, width_min=1e-6, width_max=1e-4)
    read: Read = Read(noise=0.005)
    x_lo, x_hi = 0.0, 1.0
    polarity_only, pulse_channels, read_channels = False, 1, 1
    retention, record, devices = None, None, ()
    not_compiled = ""  # "": element-wise NumPy, which engine="numba" compiles as well

    def fabricate(self, rng, cells):
        own = rng.standard_normal((2, cells))
        speed, threshold = self.speed * np.exp(0.3 * own[0]), self.threshold * np.exp(0.05 * own[1])
        return dataclasses.replace(self, speed=speed, threshold=threshold)

    def pulse(self, state, amplitude, width, noise, count=1.0):
        excess = np.maximum(np.abs(amplitude) / self.threshold - 1, 0.0)
        step = self.speed * excess**3 * width * count * np.exp(0.2 * noise[0])
        left = np.where(amplitude > 0, 1 - state.x, -state.x)  # the window: dx/ds = left, integrated
        return state._replace(x=state.x - left * np.expm1(-step), age=0.0 * state.x)


mine, folder = Vteam(), Path(tempfile.mkdtemp())

env = WriteVerifyEnv(device=mine)
env.reset(seed=0)
seen = env.task.view(env.step(np.array([1.0, 0.0, 0.0], np.float32))[0][None])
print(f"one cell: a SET pulse took it to x = {seen.read[0]:.3f}, target {seen.target[0]:.3f}")
envs = WriteVerifyVectorEnv(1000, device=mine)
envs.reset(seed=0)
print(f"a thousand cells: observations {envs.step(envs.action_space.sample())[0].shape}")

try:
    HistoryInverse(task=WriteVerify(device=mine))
except ValueError as error:
    print(f"what inverts the law of a record says so: {error}")

steps, cells, trials = (2_048, 100, 4) if QUICK else (60_000, 500, 20)
print(f"training by PPO for {steps} steps, too few to be good, then tuning and comparing ...")
train(TrainConfig(device=(mine,), algo="ppo", steps=steps, evaluations=1, evaluation_cells=cells, out=folder / "ppo"))
rivals = "constant", "ispp", "ispp-shrinking", "vipi", str(folder / "ppo" / "policy.npz")
rows = compare(CompareConfig(device=(mine,), controllers=rivals, cells=cells, trials=trials, out=folder / "comparison"))
print(text_table(rows), f"\nwritten: {folder}", sep="\n")
