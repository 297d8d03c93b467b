"""rl_zoo3 as a client: it trains by the shipped hyper-parameters."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from registered import IDS

SHIPPED = sorted((Path(__file__).parents[1] / "agents" / "sb3" / "hyperparameters").glob("*.yml"))


@pytest.mark.skipif(importlib.util.find_spec("rl_zoo3") is None, reason="rl_zoo3 is not installed: extra clients")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_rl_zoo_trains_every_id_of_the_shipped_hyperparameters(path, tmp_path):
    import yaml

    names = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert names and set(names) <= set(IDS)
    for name in names:
        told = (
            f"--algo {path.stem} --env {name} --gym-packages memenv --conf-file {path} --n-timesteps 2048 --device cpu"
        )
        command = [sys.executable, "-m", "rl_zoo3.train", *told.split(), "--eval-freq", "-1", "-f", str(tmp_path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parents[3])
        assert run.returncode == 0, run.stderr
        assert len(list(tmp_path.rglob(f"{name.replace('/', '-')}.zip"))) == 1
