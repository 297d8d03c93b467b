"""A programming policy for your own device: write or fit a record, train by gradients through it, compare.

The record is that of `examples/your_own_device.py` in kind; put the path of your own in its place.
"""

import os
import tempfile
from pathlib import Path

from memenv import Mismatch, load_device, to_json
from memenv.__main__ import main

QUICK = "MEMENV_QUICK" in os.environ

folder = Path(tempfile.mkdtemp())
mine = load_device("alox-hfo2").replace(name="mine", mismatch=Mismatch(rate=0.4, x_lo=0.05, x_hi=0.05))
(folder / "mine.json").write_text(to_json(mine))

steps = ["--steps", "5", "--envs", "64", "--evaluations", "1"] if QUICK else []
train = ["train", "--device", str(folder / "mine.json"), "--algo", "pulse", "--out", str(folder / "policy")]
assert main([*train, *steps]) == 0

cells = ["--cells", "100", "--trials", "5"] if QUICK else []
rivals = f"ispp,history,{folder / 'policy' / 'policy.npz'},clairvoyant"
compare = ["compare", "--device", str(folder / "mine.json"), "--controllers", rivals]
assert main([*compare, *cells, "--out", str(folder / "comparison")]) == 0
