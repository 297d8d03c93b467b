"""`memenv datasets`: what is refused before anything is played."""

from pathlib import Path

import gymnasium as gym
import pytest

import memenv  # noqa: F401  # registers the ids
from agents.datasets import DatasetsConfig, check_new, dataset_id


def test_a_dataset_that_is_there_or_has_the_name_of_another_is_refused_before_it_is_played(tmp_path: Path) -> None:
    config, env = DatasetsConfig(out=tmp_path), gym.make("memenv/WriteVerify-v0")
    names = [dataset_id(env, policy, config) for policy in ("random", "a/mine.npz", "b/mine.npz")]
    check_new(names[:2], tmp_path)
    with pytest.raises(ValueError, match=r"two datasets would be memenv/WriteVerify/.*/mine-v0"):
        check_new(names, tmp_path)
    (tmp_path / names[0]).mkdir(parents=True)
    with pytest.raises(ValueError, match="random-v0 is there already: choose another --out"):
        check_new(names[:2], tmp_path)
