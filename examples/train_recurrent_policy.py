"""Train a recurrent policy, load it with one call, and program fresh cells: the memory is in the network."""

import os
import tempfile
from pathlib import Path

import agents
from agents.evaluation import evaluate
from agents.training import TrainConfig, train
from memenv import WriteVerify

QUICK = "MEMENV_QUICK" in os.environ

out = Path(tempfile.mkdtemp()) / "recurrent"
best = train(TrainConfig(device=("threshold",), algo="recurrent_ppo", steps=30_000 if QUICK else 250_000, out=out))
print(f"on its evaluation cells: {best['pulses']:.2f} pulses, success {best['success']:.1%}")

task = WriteVerify(device="threshold")  # shows one step at a time
outcomes = evaluate(agents.load_policy(out / "policy.npz", task), task, cells=1000, seed=1)
print(f"on fresh cells: {outcomes.pulses.mean():.2f} pulses, success {outcomes.accepted.mean():.1%}")
