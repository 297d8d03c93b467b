"""The compiled few-shot chips: an engine changes speed, never an episode; nor does the number of environments."""

import importlib.util

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from memenv.envs import FewShot, FewShotEnv, TaskError
from memenv.few_shot import bank

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: memenv[numba]", allow_module_level=True)

ID = "memenv/FewShot-v0"
SMALL = {"init": "random", "ways": 3, "queries": 2, "max_steps": 3}
VARIANTS = {
    "devices": {},
    "relaxing": {"device": "pcm", "pulsed": "set", "reads": 1, "network": "mlp", "devices_per_weight": 2},
}


@pytest.fixture(scope="module", params=VARIANTS)
def arguments(request) -> dict:
    few = bank.glyph_split("train").select(np.arange(8))
    return {**SMALL, "characters": few, **VARIANTS[request.param]}


def played(env: gym.vector.VectorEnv, steps: int = 8) -> list[tuple]:
    """Observations, rewards and accuracies of some steps from the seed 3 on, the actions being env 5's everywhere."""
    env.single_action_space.seed(0)
    seen = [(env.reset(seed=3)[0], np.zeros(env.num_envs), np.zeros(env.num_envs))]
    for _ in range(steps):
        action = np.tile(env.single_action_space.sample(), (env.num_envs, 1))
        observation, reward, *_, info = env.step(action)
        seen.append((observation, reward, info["accuracy"]))
    return seen


def test_an_engine_changes_no_episode(arguments):
    ours, theirs = (played(gym.make_vec(ID, num_envs=6, engine=name, **arguments)) for name in ("numba", "numpy"))
    for mine, other in zip(ours, theirs, strict=True):
        for part, expected in zip(mine, other, strict=True):
            np.testing.assert_allclose(part, expected, atol=2e-3)
    accuracies = np.concatenate([accuracy for *_, accuracy in ours])
    assert accuracies.min() < accuracies.max()


def test_an_environment_is_the_same_alone_and_among_others(arguments):
    many = gym.make_vec(ID, num_envs=5, engine="numba", autoreset_mode=AutoresetMode.DISABLED, **arguments)
    alone = FewShotEnv(engine="numba", **arguments)
    together, single = many.reset(seed=7)[0], alone.reset(seed=10)[0]
    np.testing.assert_array_equal(together[3], single)
    for gain in (0.2, -1.0, 0.0):  # of which the second teaches nothing, and the others all but the first environment
        action = np.full((5, many.single_action_space.shape[0]), 0.0, np.float32)
        action[1:, 0] = gain
        action[0, -1] = 0.0
        observation, reward, *_ = many.step(action)
        single, one, *_ = alone.step(action[3])
        np.testing.assert_array_equal(observation[3], single)
        assert reward[3] == one


def test_a_few_chips_are_left_to_numpy_unless_asked_for(arguments):
    task = FewShot(**arguments)
    assert task.sized(1).engine == ("numpy" if task.cells < 4096 else "numba")
    assert task.sized(1000).engine == "numba" and FewShot(engine="numba", **arguments).sized(1).engine == "numba"


def test_an_engine_that_cannot_take_the_device_is_refused_and_auto_does_without(published):
    table = str(published / "sandia" / "enode_dg_tables.npz")
    assert FewShot(device=table, init="random", network="mlp").sized(1000).engine == "numpy"
    with pytest.raises(TaskError, match='engine "numba" does not compile'):
        FewShot(device=table, init="random", network="mlp", engine="numba")
    with pytest.raises(TaskError, match="engine is 'cuda', allowed are auto, numpy, numba"):
        FewShot(init="random", network="mlp", engine="cuda")
