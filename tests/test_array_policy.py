"""Policies for single cells in the environment of arrays."""

import gymnasium as gym
import numpy as np
import pytest

import memenv  # noqa: F401, registers the environments
from agents.arrays.each_cell import EachCell
from memenv.envs.crossbar_program.task import CrossbarProgram


def programmed(name, **options):
    """Shares of accepted cells and mean pulses of arrays, each in one episode, and the task."""
    envs = gym.make_vec("memenv/CrossbarProgram-v0", 6, device="threshold", rows=6, cols=5, **options)
    task = envs.unwrapped.task
    policy, (seen, info), state, start = EachCell.of(name, task), envs.reset(seed=1), None, np.ones(6, bool)
    accepted, pulses = np.zeros((2, 6))
    running = np.ones(6, bool)
    while running.any():
        action, state = policy.predict(seen, state, start)
        seen, _, terminated, truncated, info = envs.step(action)
        start = terminated | truncated
        accepted, pulses = np.where(running, (info["accepted"], info["pulses"] / 30), (accepted, pulses))
        running &= ~start
    return accepted, pulses


@pytest.mark.parametrize(("name", "most"), [("ispp", 9.0), ("specialist", 3.4)])
def test_cells_of_an_array_are_programmed_as_single_ones(name, most):
    accepted, pulses = programmed(name)
    assert accepted.mean() > 0.95 and 0.5 * most < pulses.mean() < most


@pytest.mark.parametrize("name", ["specialist", "bayes"])
def test_a_new_episode_begins_anew_and_closed_cells_get_no_pulse(name):
    envs = gym.make_vec("memenv/CrossbarProgram-v0", 2, device="threshold", rows=3, cols=3)
    policy = EachCell.of(name, envs.unwrapped.task)
    seen, _ = envs.reset(seed=3)
    first, state = policy.predict(seen, None, np.ones(2, bool))
    for _ in range(2):
        action, state = policy.predict(seen, state, np.zeros(2, bool))
        assert not action[..., 0].reshape(2, -1)[seen["open"] == 0].any()
        seen, *_ = envs.step(action)
    nothing, state = policy.predict(seen | {"open": np.zeros_like(seen["open"])}, state, np.zeros(2, bool))
    assert not nothing[..., 0].any()
    again, _ = policy.predict(envs.reset(seed=3)[0], state, np.ones(2, bool))
    np.testing.assert_allclose(again, first, rtol=1e-6)


@pytest.mark.parametrize("change", [{"action": "lines"}, {"width": 1e-6}])
def test_other_actions_are_refused(change):
    with pytest.raises(ValueError, match="a pulse for every cell, of any width, is needed"):
        EachCell.of("ispp", CrossbarProgram(**change))
