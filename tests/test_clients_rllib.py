"""RLlib and Ray Tune as clients: by id, over single environments and over the native batch."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="RLlib is not installed: extra rllib")

TRAINING = """
import logging, sys
import ray
from gymnasium import VectorizeMode
from ray.rllib.algorithms.ppo import PPOConfig
import memenv

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
config = PPOConfig().environment("memenv/WriteVerify-v0")
config.env_runners(
    num_env_runners=0,
    num_envs_per_env_runner=4,
    rollout_fragment_length=50,
    gym_env_vectorize_mode=VectorizeMode(sys.argv[1]),
)
config.training(train_batch_size_per_learner=200, minibatch_size=50, num_epochs=1)
algorithm = config.build_algo()
for _ in range(2):
    found = algorithm.train()["env_runners"]
print(type(algorithm.env_runner.env.unwrapped).__name__, found["num_env_steps_sampled_lifetime"] >= 400)
"""

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mode, batch", [("sync", "SyncVectorEnv"), ("vector_entry_point", "WriteVerifyVectorEnv")])
def test_rllib_trains_by_id_over_single_environments_and_over_the_native_batch(mode, batch):
    command = [sys.executable, "-c", TRAINING, mode]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == f"{batch} True"


def test_ray_tune_trains_a_population_by_id(tmp_path):
    command = [sys.executable, str(ROOT / "examples/rllib/population_based_tuning.py")]
    places = {
        "PYTHONPATH": str(ROOT),
        "RAY_ADDRESS": "local",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "HOME": str(tmp_path),
    }
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | places | {"MEMENV_QUICK": "1"}
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("best of 2: return ")
