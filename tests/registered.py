"""The ids that memenv registers, for the tests of its clients."""

import gymnasium as gym

import memenv

IDS = sorted(name for name in gym.registry if name.startswith(f"{memenv.__name__}/"))
CELL, MENU = ("memenv/WriteVerify-v0", {}), ("memenv/WriteVerify-v0", {"action": "discrete"})

# Numbers of tasks that tests share compiled loops with; others are made where numbers are alike by chance.
PRICED = {"tolerance": 0.05, "weight_energy": 1e8, "weight_latency": 1e3}
