"""A programming policy for your own device: write or fit a record, train by gradients through it, compare.

The record is a preset with more mismatch; put your own in its place: `memenv.load_device("mine.json")`.
"""

import os
import tempfile
from pathlib import Path

from agents import CompareConfig, TrainConfig, compare, text_table, train
from memenv import Device, Mismatch, load_device

QUICK = "MEMENV_QUICK" in os.environ

folder = Path(tempfile.mkdtemp())
preset = load_device("alox-hfo2")
assert isinstance(preset, Device)
mine = preset.replace(name="mine", mismatch=Mismatch(rate=0.4, x_lo=0.05, x_hi=0.05))

# The recipe has 3,000 steps; a hundred are ahead of write-verify.
steps = {"steps": 5, "envs": 64, "evaluations": 1} if QUICK else {"steps": 100, "evaluations": 2}
best = train(TrainConfig(device=(mine,), algo="pulse", out=folder / "policy", **steps))
print(f"on its evaluation cells: {best['pulses']:.2f} pulses, success {best['success']:.1%}")

cells = {"cells": 100, "trials": 5} if QUICK else {}
rivals = ("ispp", "history", str(folder / "policy" / "policy.npz"), "oracle")
print(text_table(compare(CompareConfig(device=(mine,), controllers=rivals, out=folder / "comparison", **cells))))
