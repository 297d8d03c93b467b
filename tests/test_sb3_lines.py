"""The lines of arrays as environments of stable-baselines3, and what MaskablePPO learns there."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import memenv  # noqa: F401, registers the environments

pytest.importorskip("sb3_contrib")

from sb3_contrib import MaskablePPO

from agents.sb3.cells import OPEN, features_of
from agents.sb3.lines import PPO_OF_LINES, Lines, LinesPolicy, LinesVecEnv

TASK = {"rows": 3, "cols": 2, "tolerance": 0.1, "max_pulses": 6, "reward_map": True, "action": "lines"}
MENU = 48


def arrays(number=4, **more):
    task = {**TASK, "writing": "rows", **more}
    return gym.make_vec(
        "memenv/CrossbarProgram-v0", number, autoreset_mode=AutoresetMode.SAME_STEP, max_episode_steps=18, **task
    )


@pytest.mark.parametrize("writing", ["rows", "columns"])
def test_lines_take_turns_and_are_paid_what_their_cells_contributed(writing):
    more = {"writing": writing} | ({"rows": 2, "cols": 3} if writing == "columns" else {})
    vec, plain = LinesVecEnv(arrays(**more)), arrays(**more)
    vec.seed(4)
    seen, (maps, _) = vec.reset(), plain.reset(seed=4)
    lines, rng, ended = Lines(task=plain.unwrapped.task), np.random.default_rng(0), 0
    for _ in range(20):
        np.testing.assert_array_equal(seen, lines.features(maps))
        action = np.column_stack([rng.integers(0, MENU, 12), rng.integers(0, 2, (12, 2))])
        turns, going, paid = lines.turns(maps, action), np.ones(4, bool), np.zeros((4, 3))
        seen, reward, done, infos = vec.step(action)
        for line in range(3):
            turns[~going, line, 2:] = 0  # an array that has begun anew waits
            maps, _, terminated, _, info = plain.step(turns[:, line])
            part = info["final_info"]["reward_map"] if terminated.any() else info["reward_map"]
            part = np.where(terminated[:, None, None], part, info["reward_map"])
            paid += going[:, None] * part.mean(2 if writing == "rows" else 1)
            going &= ~terminated
        np.testing.assert_allclose(reward, paid.ravel(), rtol=1e-5, atol=1e-7)
        assert done[np.repeat(~going, 3)].all()
        assert all(infos[line]["terminal_observation"].shape == seen[0].shape for line in np.flatnonzero(done))
        ended += (~going).sum()
    assert ended > 5


def test_masks_leave_polarities_that_open_cells_need_and_a_pulse_goes_towards_the_target_alone():
    env = arrays(1, tolerance=0.02)
    target = np.full((3, 2), 5e-5)
    start = target * [[0.5, 1.5], [0.5, 1.0], [1.0, 1.0]]
    seen, _ = env.reset(seed=0, options={"start": start, "target": target})
    seen |= {"open": np.array([[1, 1, 1, 0, 0, 0]], np.int8)}
    lines = Lines(task=env.unwrapped.task)
    masks, up = lines.masks(seen), lines.actions.pulses.menu[0] > 0
    expected = [np.ones(MENU, bool), up, np.ones(MENU, bool)]  # both; SET; nothing is open
    np.testing.assert_array_equal(masks[:, :MENU], expected)
    np.testing.assert_array_equal(masks[:, MENU:], [[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 1, 0]])
    strong = int(np.flatnonzero(up)[-1])
    turns = lines.turns(seen, np.tile([strong, 1, 1], (3, 1)))
    np.testing.assert_array_equal(turns[0, 0], [0, strong, 1, 0])
    np.testing.assert_array_equal(turns[0, 1, :3], [1, strong, 1])


def test_a_policy_of_lines_passes_over_lines_that_have_no_open_cell_and_learns_from_open_ones_alone():
    model = MaskablePPO("MlpPolicy", LinesVecEnv(arrays()), **PPO_OF_LINES, seed=0, device="cpu")
    model.learn(32 * 12)
    given = np.concatenate([batch.observations.numpy() for batch in model.rollout_buffer.get(64)])
    opened = model.rollout_buffer.observations[:, OPEN] == 1
    assert 0 < opened.sum() < opened.size and len(given) == opened.sum() and np.all(given[:, OPEN] == 1)
    large = arrays(2, rows=5)
    seen, _ = large.reset(seed=0)
    seen["open"][:] = np.repeat([[0, 1, 0, 1, 1], [1, 1, 1, 0, 1]], 2, axis=1)
    action, _ = LinesPolicy(task=large.unwrapped.task, model=model).predict(seen)
    assert large.action_space.contains(action)
    np.testing.assert_array_equal(action[:, 0], [1, 0])
    seen["budget"][:] = 1 - 2 * 3 / 30  # after three steps of thirty
    action, _ = LinesPolicy(task=large.unwrapped.task, model=model).predict(seen)
    np.testing.assert_array_equal(action[:, 0], [3, 4])


@pytest.mark.parametrize("more", [{"action": "cells"}, {"reward_map": False}])
def test_another_environment_is_refused(more):
    with pytest.raises(ValueError, match='memenv/CrossbarProgram-v0 with action="lines" and reward_map=True is needed'):
        LinesVecEnv(arrays(**more))


def test_features_of_a_line_are_those_of_its_cells():
    env = arrays(2, writing="columns")
    seen, _ = env.reset(seed=1)
    own = Lines(task=env.unwrapped.task).features(seen)
    cells = features_of(seen).reshape(2, 3, 2, -1)
    np.testing.assert_array_equal(own.reshape(2, 2, -1)[1, 1, :-1], cells[1, :, 1].ravel())
