"""The compiled engine under the vector environment: the same task and the same episodes in distribution as by NumPy."""

import copy
import importlib.util
import pickle
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from nested import same
from registered import PRICED
from scipy.stats import ks_2samp

from memenv import Device, Response, load_device
from memenv.compiler import runtime
from memenv.compiler.counter_rng import Key, Noise
from memenv.engine import load_engine
from memenv.envs import TaskError, TaskVectorEnv, WriteVerify
from memenv.envs.noise import drawn
from memenv.envs.task import NormalDraw, UniformDraw

ID = "memenv/WriteVerify-v0"
STEP = Response(amplitude=1.0, width=1e-6, threshold=0.5, slope=0.1, dose=0.2, gamma=0.0)
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]"
)


def vector(num_envs: int, mode: str = "SameStep", engine="numba", **arguments) -> gym.vector.VectorEnv:
    arguments = {"give_up": True, **PRICED, **arguments}
    return gym.make_vec(ID, num_envs=num_envs, autoreset_mode=mode, engine=engine, **arguments)


def towards(observation, rng):
    """Continuous actions that drive reads towards targets with pulses of random strength, and seldom give up."""
    strength, cells = rng.uniform(0.1, 0.9, len(observation)), len(observation)
    polarity = np.where(observation[:, 2] < 0, 1.0, -1.0)
    parts = [polarity, 2 * strength - 1, rng.uniform(-1, 1, cells), rng.uniform(-1, 0.92, cells)]
    return np.stack(parts, 1).astype(np.float32)


def first_episodes(env, cells, steps, seed=0):
    """What info says at the end of the first episode of each cell, and its return; NaN where that is not over."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    going, total = np.ones(cells, bool), np.zeros(cells)
    ends = {name: np.full(cells, np.nan) for name in ("pulses", "energy", "latency", "is_success", "true_error")}
    for _ in range(steps):
        observation, reward, terminated, _, info = env.step(towards(observation, rng))
        total += reward * going
        for name, values in ends.items():
            values[going & terminated] = info["final_info"][name][going & terminated] if terminated.any() else 0
        going &= ~terminated
    return ends | {"return": np.where(going, np.nan, np.round(total, 4))}  # sums of one precision or the other


def alike(one, other) -> bool:
    """Whether two samples may be of one distribution."""
    return ks_2samp(one, other, method="asymp").pvalue > 1e-3


def arrays(result) -> list[np.ndarray]:
    """The arrays of a nested result."""
    if isinstance(result, np.ndarray):
        return [result]
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, tuple) else ()
    return [array for part in parts for array in arrays(part)]


# -- one task under both engines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["threshold", "everything", ["threshold", "pcm"]], ids=str)
def test_engines_play_episodes_of_one_distribution(device, request):
    device = request.getfixturevalue(device) if device == "everything" else device
    arguments = {"device": device, "max_pulses": 12}
    one, other = (first_episodes(vector(4000, engine=engine, **arguments), 4000, 12) for engine in ("numba", "numpy"))
    for name in one:
        assert not np.isnan(one[name]).any() and alike(one[name], other[name]), name


def test_engines_play_several_rounds_alike():
    one, other = (
        first_episodes(vector(4000, engine=engine, rounds=2, max_pulses=6), 4000, 12) for engine in ("numba", "numpy")
    )
    for name in one:
        assert alike(one[name], other[name]), name


def silent(device):
    """The device with so little noise that none is left."""
    quiet = {"cycle_noise": 1e-12}
    return device.replace(
        set=replace(device.set, **quiet), reset=replace(device.reset, **quiet), read=replace(device.read, noise=1e-12)
    )


@pytest.mark.parametrize("action", ["continuous", "discrete"])
def test_engines_agree_cell_by_cell_without_noise(action):
    device, cells = silent(load_device("threshold")), 300
    envs = [vector(cells, "NextStep", engine, device=device, action=action) for engine in ("numba", "numpy")]
    rng = np.random.default_rng(0)
    start, target = device.g_min + (device.g_max - device.g_min) * rng.uniform(0.1, 0.9, (2, cells))
    options = {"chip_seed": 1, "start": start, "target": target}
    going = np.ones(cells, bool)
    shown = [env.reset(seed=0, options=options)[0] for env in envs]
    for _ in range(6):
        moves = towards(shown[0], rng)
        if action == "discrete":
            moves = rng.integers(envs[0].single_action_space.n - 1, size=cells)
        (one, *fused), (other, *plain) = (env.step(moves) for env in envs)
        shown = [one, other]
        np.testing.assert_allclose(one[going], other[going], rtol=0, atol=1e-4)
        for mine, its in zip(fused[:3], plain[:3], strict=True):
            np.testing.assert_allclose(mine[going], its[going], rtol=1e-5, atol=1e-5)
        assert fused[3].keys() == plain[3].keys()
        for name, mine in fused[3].items():
            scale = 1e-4 if "true" in name else 1.0  # [S] of the whole range
            np.testing.assert_allclose(mine[going], plain[3][name][going], rtol=1e-4, atol=1e-5 * scale, err_msg=name)
        going &= ~fused[1]
    assert 0 < going.sum() < cells


def test_environments_of_equal_tasks_and_their_copies_share_what_is_traced():
    vector(3).reset(seed=0)
    before = len(runtime._TRACED)
    env = vector(7)
    env.reset(seed=0)
    copy.deepcopy(env).step(env.action_space.sample())
    assert len(runtime._TRACED) == before


def test_a_seed_of_the_chip_means_the_same_cells_under_both_engines():
    chips = []
    for engine in ("numba", "numpy"):
        env = vector(50, engine=engine)
        env.reset(seed=3, options={"chip_seed": 4})
        chips.append(env.unwrapped._runner.episode.chip)
    np.testing.assert_array_equal(chips[0].set.dose, chips[1].set.dose.astype(np.float32))


def test_start_and_target_of_some_cells_can_be_given():
    env = vector(4, "Disabled")
    env.reset(seed=0)
    before = env.step(np.zeros((4, 4), np.float32))[0]
    mask = np.array([True, False, True, False])
    observation, info = env.reset(options={"reset_mask": mask, "target": np.full(4, 5e-5), "start": 2e-5})
    np.testing.assert_array_equal(observation[~mask], before[~mask])
    np.testing.assert_allclose(info["true_conductance"][mask] - info["true_error"][mask], 5e-5, rtol=1e-6)
    assert (observation[mask, 6] == 1).all() and not info["pulses"][mask].any()


# -- autoreset ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["continuous", "discrete"])
def test_same_step_shows_in_final_what_disabled_would_have_shown(action):
    envs = [vector(300, mode, action=action, max_episode_steps=5) for mode in ("SameStep", "Disabled")]
    envs[0].action_space.seed(0)
    same(*[env.reset(seed=1) for env in envs])
    for _ in range(10):
        moves = envs[0].action_space.sample()
        (first, *judged, info), (last, *plainly, plain) = (env.step(moves) for env in envs)
        same(tuple(judged), tuple(plainly))
        done = judged[1] | judged[2]
        assert done.any()
        np.testing.assert_array_equal(info["final_obs"][done], last[done])
        for name, value in info["final_info"].items():
            if not name.startswith("_"):
                np.testing.assert_array_equal(value[done], plain[name][done])
        renewed = envs[1].reset(options={"reset_mask": done})
        np.testing.assert_array_equal(first, renewed[0])
        for name, value in renewed[1].items():
            np.testing.assert_array_equal(info[name], value)


def test_next_step_resets_a_step_later_for_nothing():
    env, rng = vector(300, "NextStep", max_episode_steps=5), np.random.default_rng(0)
    observation, _ = env.reset(seed=1)
    over = np.zeros(300, bool)
    for _ in range(12):
        observation, reward, terminated, truncated, info = env.step(towards(observation, rng))
        assert not reward[over].any() and not (terminated | truncated)[over].any() and not info["pulses"][over].any()
        assert not info["reward/pulses"][over].any() and (observation[over, 4] == 0).all()
        assert (reward[~over] != 0).any()
        over = terminated | truncated
    assert over.any() and not over.all()


def test_every_episode_has_a_chip_of_its_own():
    env = vector(200, max_episode_steps=5)
    env.reset(seed=0)
    doses = [env.unwrapped._runner.episode.chip.set.dose.copy()]
    for _ in range(2):
        for _ in range(5):
            env.step(np.zeros((200, 4), np.float32))
        doses.append(env.unwrapped._runner.episode.chip.set.dose.copy())
    assert len(np.unique(doses)) == 600


# -- seeds, threads, copies --------------------------------------------------------------------------------------------


def test_a_seed_fixes_all_and_another_changes_all():
    runs = []
    for seed in (5, 5, 6):
        env = vector(100)
        env.action_space.seed(0)
        runs.append((env.reset(seed=seed), *(env.step(env.action_space.sample()) for _ in range(5))))
    same(runs[0], runs[1])
    assert (runs[0][0][0][:, :2] != runs[2][0][0][:, :2]).all()


def test_episodes_do_not_depend_on_the_number_of_threads():
    cells, results = 40_000, []
    for threads in (1, 3):
        env = vector(cells, engine=load_engine("numba", threads=threads))
        env.action_space.seed(0)
        results.append((env.reset(seed=0), env.step(env.action_space.sample()), env.step(env.action_space.sample())))
    same(*results)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"]
)
def test_a_copy_plays_on_alike_and_apart(duplicate):
    env, rng = vector(60), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    moves = towards(observation, rng)
    env.step(moves)
    twin = duplicate(env)
    for _ in range(3):
        same(env.step(moves), twin.step(moves))


def test_what_is_returned_belongs_to_the_caller():
    env, twin = vector(100, "NextStep"), vector(100, "NextStep")
    rng, results = np.random.default_rng(0), []
    observation, _ = env.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(6):
        moves = towards(observation, rng)
        result, again = env.step(moves), twin.step(moves)
        same(result, again)
        observation = again[0]
        owned = arrays((*result[:4], {name: value for name, value in result[4].items() if name[0] != "_"}))
        assert not any(np.may_share_memory(array, other) for array in owned for other in results)
        results = owned
        for array in owned:
            array[:] = 1
    assert env.observation_space.contains(observation) and result[1].dtype == np.float32


def test_a_specification_keeps_the_engine():
    env = gym.make_vec(EnvSpec.from_json(vector(3).spec.to_json()))
    same(env.reset(seed=1), vector(3).reset(seed=1))


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task, reason",
    [
        (WriteVerify(history=2), "history=2"),
        (WriteVerify(confirm_reads=1), "confirm_reads=1"),
    ],
    ids=["history", "confirm_reads"],
)
def test_what_is_not_compiled_is_refused_with_the_engine_to_use(task, reason):
    with pytest.raises(TaskError, match=f'engine "numba" does not run {reason}: use engine="numpy"'):
        TaskVectorEnv(task, 2, engine="numba")


def test_an_unknown_engine_is_refused():
    with pytest.raises(TaskError, match="engine is 'gpu', allowed are"):
        vector(2, engine="gpu")


@pytest.mark.parametrize("moves", [np.full((2, 4), np.nan), np.zeros((2, 3))], ids=str)
def test_invalid_actions_are_refused_and_nothing_happens(moves):
    env, twin = vector(2), vector(2)
    same(env.reset(seed=0), twin.reset(seed=0))
    with pytest.raises(TaskError, match="action has"):
        env.step(moves)
    same(env.step(np.ones((2, 4), np.float32)), twin.step(np.ones((2, 4), np.float32)))


def test_masks_follow_the_observation():
    env = vector(200, action="discrete")
    observation, info = env.reset(seed=0)
    np.testing.assert_array_equal(info["action_mask"], env.unwrapped.task.masks_of(observation))
    np.testing.assert_array_equal(env.unwrapped.action_masks(), info["action_mask"])


def test_draws_have_numbers_of_their_own():
    draws = NormalDraw((3,)), NormalDraw((1, 2)), UniformDraw((2,))
    noise = Noise(Key(0).words()[:, None], np.arange(5, dtype=np.uint32))
    cycle, (read,), task = drawn(draws, noise)
    normals, uniforms = [*cycle, *read], [*task]
    assert (len(normals), len(uniforms)) == (5, 2)
    assert len(np.unique([*normals, *uniforms])) == 7 * 5
    assert np.min(uniforms) >= 0 and np.max(uniforms) < 1


def test_a_device_without_mismatch_and_noise_is_compiled_too():
    env = vector(5, device=Device(g_min=1e-6, g_max=1e-4, set=STEP, reset=STEP), give_up=False, tolerance=0.01)
    env.reset(seed=0, options={"start": 2e-5, "target": 8e-5})
    info = env.step(np.tile(np.float32([1.0, 0.0, 0.0]), (5, 1)))[4]
    x = (2e-5 - 1e-6) / 9.9e-5 + 0.2  # one reference pulse: 1 V, 1 us
    np.testing.assert_allclose(info["true_conductance"], 1e-6 + x * 9.9e-5, rtol=1e-5)


def test_modes_are_gymnasiums():
    assert vector(2, AutoresetMode.NEXT_STEP).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
