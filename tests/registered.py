"""The ids that memenv registers, for the tests of its clients."""

import gymnasium as gym

import memenv

IDS = sorted(name for name in gym.registry if name.startswith(f"{memenv.__name__}/"))
CELL, MENU = ("memenv/WriteVerify-v0", {}), ("memenv/WriteVerify-v0", {"action": "discrete"})
