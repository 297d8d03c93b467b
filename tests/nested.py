"""Nested results of environments: what several test files compare."""

from typing import Any

import numpy as np


def same(first: Any, second: Any) -> None:
    """Two nested results hold the same, bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            same(first[name], second[name])
    elif isinstance(first, tuple):
        for pair in zip(first, second, strict=True):
            same(*pair)
    else:
        np.testing.assert_array_equal(first, second)


def row(results: Any, index: int = 0) -> Any:
    """What one environment of a batch got."""
    if isinstance(results, dict):
        return {name: row(value, index) for name, value in results.items()}
    return results[index]


def single_equals_batch(single: Any, batch: Any, mode: str) -> None:
    """Two episodes of random actions are those of a batch of one, whatever the mode in which it begins anew."""
    single.action_space.seed(0)
    (observation, info), (of_batch, batch_info) = single.reset(seed=7), batch.reset(seed=7)
    episodes = 0
    while episodes < 2:
        same(row(of_batch), observation)
        for name, value in info.items():
            np.testing.assert_array_equal(batch_info[name][0], value)
        action = single.action_space.sample()
        observation, reward, terminated, _, info = single.step(action)
        of_batch, batch_reward, batch_terminated, _, batch_info = batch.step(action[None])
        assert (batch_reward[0], batch_terminated[0]) == (reward, terminated)
        if not terminated:
            continue
        episodes += 1
        ended = (batch_info["final_obs"], batch_info["final_info"]) if mode == "SAME_STEP" else (of_batch, batch_info)
        same(row(ended[0]), observation)
        for name, value in info.items():
            np.testing.assert_array_equal(ended[1][name][0], value)
        observation, info = single.reset()
        if mode == "NEXT_STEP":
            of_batch, batch_reward, *_ = batch.step(action[None])
            assert batch_reward[0] == 0.0
        elif mode == "DISABLED":
            of_batch, _ = batch.reset(options={"reset_mask": np.array([True])})
        batch_info = {name: np.asarray(value)[None] for name, value in info.items()}
