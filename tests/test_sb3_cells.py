"""The cells of arrays as environments of stable-baselines3, and what it learns there."""

import csv
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import memenv  # noqa: F401, registers the environments

pytest.importorskip("sb3_contrib")

from stable_baselines3 import PPO, SAC

from agents.sb3.cells import OPEN, PPO_OF_CELLS, SAC_OF_CELLS, CellsPolicy, CellsVecEnv, features_of

TASK = {"reward_map": True, "rows": 2, "cols": 4, "tolerance": 0.1, "max_pulses": 8}


def arrays(number=4, **more):
    return gym.make_vec("memenv/CrossbarProgram-v0", number, autoreset_mode=AutoresetMode.SAME_STEP, **{**TASK, **more})


def test_cells_see_their_entries_and_their_pay_is_that_of_their_arrays_in_the_mean():
    cells, plain = CellsVecEnv(arrays()), arrays()
    cells.seed(4)
    seen, (maps, _) = cells.reset(), plain.reset(seed=4)
    rng, ended, closed = np.random.default_rng(0), 0, np.zeros(32, bool)
    for _ in range(40):
        np.testing.assert_array_equal(seen, features_of(maps))
        np.testing.assert_array_equal(seen[:, 2], maps["error"].ravel())
        action = rng.uniform(-1, 1, (32, 2)).astype(np.float32)
        seen, reward, done, infos = cells.step(action)
        maps, paid, terminated, _, info = plain.step(action.reshape(4, 2, 4, 2))
        np.testing.assert_allclose(reward.reshape(4, 8).mean(1), paid, rtol=1e-5, atol=1e-7)
        last = features_of(info["final_obs"] if terminated.any() else maps)
        np.testing.assert_array_equal(done, np.repeat(terminated, 8) | (last[:, OPEN] == 0))
        for cell in np.flatnonzero(done):
            np.testing.assert_array_equal(infos[cell]["terminal_observation"], last[cell])
        assert not any(infos[cell] for cell in np.flatnonzero(~done))
        ended, closed = ended + terminated.sum(), closed | (done & np.repeat(~terminated, 8))
    assert ended > 5 and closed.sum() > 5


def test_a_rollout_buffer_gives_the_steps_of_open_cells_alone():
    model = PPO("MlpPolicy", CellsVecEnv(arrays()), **PPO_OF_CELLS, seed=0, device="cpu")
    model.learn(32 * 32)
    opened = model.rollout_buffer.observations[:, OPEN] == 1
    batches = list(model.rollout_buffer.get(64))
    given = np.concatenate([batch.observations.numpy() for batch in batches])
    assert 0 < opened.sum() < opened.size and len(given) == opened.sum() and np.all(given[:, OPEN] == 1)
    assert [len(batch.advantages) for batch in batches[:-1]] == [64] * (len(batches) - 1)


def test_a_replay_buffer_remembers_the_steps_of_open_cells_alone():
    model = SAC(
        "MlpPolicy",
        CellsVecEnv(arrays()),
        **(SAC_OF_CELLS | {"learning_starts": 10**6}),
        seed=0,
        device="cpu",
        buffer_size=5000,
    )
    model.learn(40 * 32)
    held = model.replay_buffer
    assert 0 < held.pos < 40 * 32 and np.all(held.observations[: held.pos, 0, OPEN] == 1)
    assert np.any(held.next_observations[: held.pos, 0, OPEN] == 0)


@pytest.mark.parametrize(
    "env, message",
    [
        (lambda: arrays(action="lines"), 'memenv/CrossbarProgram-v0 with action="cells" and reward_map=True is needed'),
        (lambda: gym.make_vec("memenv/CrossbarProgram-v0", 2), "autoreset mode is .*NEXT_STEP"),
    ],
)
def test_another_environment_is_refused(env, message):
    with pytest.raises(ValueError, match=message):
        CellsVecEnv(env())


def test_a_policy_of_cells_plays_arrays_of_any_size():
    model = PPO("MlpPolicy", CellsVecEnv(arrays()), **PPO_OF_CELLS, seed=0, device="cpu")
    large = arrays(2, rows=5, cols=4)
    seen, _ = large.reset(seed=0)
    action, _ = CellsPolicy(task=large.unwrapped.task, model=model).predict(seen)
    assert large.action_space.contains(action)
    one, _ = model.predict(features_of(seen)[7], deterministic=True)
    np.testing.assert_allclose(action[0, 1, 3], one, rtol=1e-5)


def test_the_benchmark_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import crossbar_rl

    monkeypatch.setattr(crossbar_rl, "TASKS", {name: task | TASK for name, task in crossbar_rl.TASKS.items()})
    arguments = ["--seeds", "1", "--share", "0.0005", "--arrays", "3", "--trials", "1", "--out", str(tmp_path)]
    crossbar_rl.main([*arguments, "--cases", "cells", "lines"])
    rows = (tmp_path / "results.csv").read_text(encoding="utf-8")
    names = [row["policy"] for row in csv.DictReader(rows.splitlines())]
    assert names == [
        "random",
        "idle",
        "ispp",
        "secant",
        "ppo-cells",
        "sac-cells",
        "random",
        "idle",
        "ispp",
        "secant",
        "ramp",
        "maskable-lines",
    ]
    monkeypatch.setattr(crossbar_rl, "judged", None)
    crossbar_rl.main([*arguments, "--cases", "cells", "lines"])
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == rows
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(names)
