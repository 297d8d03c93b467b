"""One definition of noise: what an environment meets depends on its seed alone, not on engine, neighbours or calls."""

import copy
import importlib.util
import itertools
import pickle

import numpy as np
import pytest
from nested import same
from scipy import stats
from test_auto import TASKS as COMPILED

from agents.arrays.noise import ArrayNoise
from agents.evaluation import EVALUATION, evaluate, noise_of
from agents.few_shot.schedules import learn, own_schedule
from agents.library import load_policy
from memenv import Mismatch, load_device
from memenv.bounds import MOST_SEED
from memenv.crossbars.crossbar import Crossbar
from memenv.envs import CrossbarProgram, TaskEnv, TaskError, TaskVectorEnv, WriteVerify
from memenv.envs.few_shot.task import FewShot
from memenv.envs.noise import Episodes, cells_of, lanes
from memenv.envs.runners import NumpyRunner
from memenv.envs.task import NormalDraw, UniformDraw

MODES = ("NextStep", "SameStep", "Disabled")
COARSE = {"tolerance": 0.1, "max_pulses": 4}  # for episodes to be short
TASKS = {
    "cell": WriteVerify(**COARSE),
    "mixture": WriteVerify(device=["threshold", "pcm"], **COARSE),
    "array": CrossbarProgram(rows=3, cols=4, max_pulses=3),
    "product": CrossbarProgram(rows=3, cols=4, max_pulses=3, objective="product", inputs=5),
    "correlated": CrossbarProgram(crossbar=Crossbar(rows=4, cols=3, correlation=0.7, reach=2.0), max_pulses=3),
    "half-select": CrossbarProgram(rows=3, cols=4, max_pulses=3, scheme="V/2", verify="all"),
    "lines": CrossbarProgram(rows=2, cols=3, max_pulses=3, action="lines", writing="rows"),
    "few-shot": FewShot(ways=3, queries=4, max_steps=2),
}


def row(results, number):
    """What nested results of a batch say about one environment."""
    if isinstance(results, dict):
        return {name: row(value, number) for name, value in results.items()}
    return results[number]


def task_of(name: str, everything, tmp_path) -> object:
    """A task, its fixtures filled in."""
    if name == "rounds":
        return WriteVerify(device=everything, rounds=3, confirm_reads=2, history=2, **COARSE)
    if name == "table":
        grid = np.array([np.linspace(1e-6, 5e-5, 6), np.linspace(2e-6, 6e-5, 6)])
        step = np.broadcast_to(np.array([1e-6, 5e-6, 9e-6])[None, :, None], (2, 3, 6))
        path = tmp_path / "two.npz"
        np.savez(
            path, device=np.arange(2), conductance=grid, cdf=np.array([0.0, 0.5, 1.0]), dg_set=step, dg_reset=-step
        )
        return WriteVerify(device=path, **COARSE)
    return TASKS[name]


# -- one environment and many ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("envs", [1, 3, 150], ids="{} envs".format)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*TASKS, "rounds", "table"])
@pytest.mark.filterwarnings("ignore:tolerance")
def test_environment_i_of_a_batch_is_the_single_one_of_seed_plus_i(name, mode, envs, everything, tmp_path):
    task, followed = task_of(name, everything, tmp_path), {0, envs // 2, envs - 1}
    if name == "few-shot" and envs > 3:
        envs, followed = 8, {0, 7}
    env, singles = TaskVectorEnv(task, envs, mode), {number: TaskEnv(task, None, None, None) for number in followed}
    env.action_space.seed(1)
    observation, _ = env.reset(seed=7)
    for number, single in singles.items():
        same(row(observation, number), single.reset(seed=7 + number)[0])
    over, episodes = np.zeros(envs, bool), 0
    for _ in range(14):
        if mode == "Disabled" and over.any():
            observation, _ = env.reset(options={"reset_mask": over})
            for number in followed & {*np.flatnonzero(over).tolist()}:
                same(row(observation, number), singles[number].reset()[0])
            over[:] = False
        actions = env.action_space.sample()
        observation, reward, terminated, _, info = env.step(actions)
        for number, single in singles.items():
            if mode == "NextStep" and over[number]:
                same(row(observation, number), single.reset()[0])
                continue
            last, its_reward, its_end, _, its_info = single.step(actions[number])
            assert its_reward == reward[number] and its_end == terminated[number]
            episodes += its_end
            if its_end and mode == "SameStep":
                same(row(info["final_obs"], number), last)
                last, its_info = single.reset()
            same(row(observation, number), last)
            for key, value in its_info.items():
                np.testing.assert_array_equal(info[key][number], value)
        over = terminated
    assert episodes >= len(followed)


# -- engines -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]")
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("task", COMPILED.values(), ids=COMPILED)
def test_an_engine_changes_speed_and_no_episode(task, mode):
    envs = [TaskVectorEnv(task, 60, mode, engine=engine) for engine in ("numpy", "numba")]
    envs[0].action_space.seed(0)
    start = 1e-5 + 1e-7 * np.arange(60.0).reshape(60, *[1] * len(task.initial_draws[0].layout))
    start = np.broadcast_to(start, (60, *task.initial_draws[0].layout))
    some = np.arange(60) % 3 == 0
    ended, apart = 0, np.zeros(60, bool)
    for step in range(40):
        if step in (0, 15, 25):
            options = {0: None, 15: {"chip_seed": 4, "start": start}, 25: {"reset_mask": some}}[step]
            seed = 3 if step == 0 else None
            results = [env.reset(seed=seed, options=options)[:1] for env in envs]
        else:
            actions = envs[0].action_space.sample()
            results = [env.step(actions)[:3] for env in envs]
            ended += results[0][2].sum()
        for one, other in zip(*map(flat, results), strict=True):
            apart |= ~np.isclose(one, other, rtol=1e-3, atol=1e-3).reshape(60, -1).all(1)
    assert ended > 60 and apart.mean() < 0.05  # a decision may fall the other way by a rounding


def flat(results) -> list[np.ndarray]:
    """The arrays of nested results."""
    parts = results.values() if isinstance(results, dict) else results
    return [results] if isinstance(results, np.ndarray) else [array for part in parts for array in flat(part)]


# -- seeds -------------------------------------------------------------------------------------------------------------


def test_a_list_has_a_seed_for_each_environment_and_none_goes_on():
    task = TASKS["cell"]
    env, singles = TaskVectorEnv(task, 3), [TaskEnv(task, None, None, None) for _ in range(3)]
    for seeds in ([5, 99, 5], [None, 1, None], [None] * 3, np.array([7, 8, 2**70 % 2**63])):
        observation, _ = env.reset(seed=seeds)
        for number, (single, seed) in enumerate(zip(singles, seeds, strict=True)):
            same(observation[number], single.reset(seed=None if seed is None else int(seed))[0])
    same(env.reset(seed=[5, 99, 5])[0][0], env.reset(seed=[5, 5, 5])[0][2])


def test_without_a_seed_episodes_go_on():
    env = TaskVectorEnv(TASKS["cell"], 4)
    first, second = env.reset(seed=1)[0], env.reset()[0]
    assert (first[:, :2] != second[:, :2]).all()
    same(env.reset(seed=[1, 2, 3, 4])[0], first)
    same(env.reset(seed=None)[0], second)


def test_a_masked_reset_may_be_seeded_and_leaves_the_others_alone():
    env, twin, other = (TaskVectorEnv(TASKS["cell"], 4, "Disabled") for _ in range(3))
    mask = np.array([False, True, False, True])
    for each in (env, twin):
        each.reset(seed=0)
    fresh, _ = other.reset(seed=50)
    same(env.reset(seed=50, options={"reset_mask": mask})[0][mask], fresh[mask])
    same(twin.reset(seed=[None, 51, 8, 53], options={"reset_mask": mask})[0][mask], fresh[mask])
    actions = np.tile(np.float32([0.2, 0.0, -1.0]), (4, 1))
    untouched = TaskVectorEnv(TASKS["cell"], 4, "Disabled")
    untouched.reset(seed=0)
    same(*(each.step(actions)[0] for each in (env, twin)))
    same(untouched.step(actions)[0][~mask], twin._runner.look().observation[~mask])


@pytest.mark.parametrize(
    "seed, message",
    [
        ([1, 2], "2 seeds for 3 environments: one for each, or None, is needed"),
        ([1, -2, 3], f"seed is -2, allowed is a whole number >= 0 and <= {MOST_SEED} or None"),
        ([1, 2.0, 3], f"seed is 2.0, allowed is a whole number >= 0 and <= {MOST_SEED} or None"),
    ],
)
def test_other_lists_of_seeds_are_refused(seed, message):
    with pytest.raises(TaskError, match=message):
        TaskVectorEnv(TASKS["cell"], 3).reset(seed=seed)


@pytest.mark.parametrize(
    "make", [lambda: TaskEnv(TASKS["cell"], None, None, None), lambda: TaskVectorEnv(TASKS["cell"], 3)]
)
def test_a_first_reset_without_a_seed_takes_that_of_np_random(make):
    env, other = make(), make()
    observation, _ = env.reset()
    assert not np.array_equal(observation, other.reset()[0])
    same(make().reset(seed=env.np_random_seed)[0], observation)
    brought = []
    for _ in range(2):
        env = make()
        env.np_random = np.random.default_rng(4)
        brought.append(env.reset()[0])
    same(*brought)


def test_a_chip_seed_counts_on_like_a_seed():
    env, single = TaskVectorEnv(TASKS["array"], 3), TaskEnv(TASKS["array"], None, None, None)
    env.reset(seed=0, options={"chip_seed": 8})
    single.reset(seed=77, options={"chip_seed": 10})
    alone, third = single._runner.episode.state.chip, env._runner.episode.state.chip
    np.testing.assert_array_equal(alone.x_hi[0], third.x_hi[2])
    np.testing.assert_array_equal(alone.set.dose[0], third.set.dose[2])


@pytest.mark.parametrize("name", ["cell", "product", "few-shot"])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"]
)
def test_a_copy_plays_on_alike(name, duplicate):
    env = TaskVectorEnv(TASKS[name], 3, "SameStep")
    env.action_space.seed(0)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    twin = duplicate(env)
    for _ in range(6):
        actions = env.action_space.sample()
        same(env.step(actions), twin.step(actions))


# -- independence ------------------------------------------------------------------------------------------------------


def numbers(draws, envs=40, episodes=6, cells=5, steps=8) -> np.ndarray:
    """What a channel draws, (channels, steps, episodes, envs, cells)."""
    seeds, count = np.arange(3, 3 + envs, dtype=np.uint64), np.arange(episodes, dtype=np.uint32)
    noise = Episodes(np.tile(seeds, episodes), np.repeat(count, envs)).noise(cells)
    found = []
    for _ in range(steps):
        found.append(np.array([channel for draw in noise.drawn(draws) for channel in draw]))
        noise = noise.next()
    return np.moveaxis(found, 0, 1).reshape(-1, steps, episodes, envs, cells)


def test_no_number_comes_twice():
    drawn = numbers((NormalDraw((3,), (5,)), NormalDraw((2,), (5,)), UniformDraw((2,), (5,))))
    normals, uniforms = drawn[:5], drawn[5:]
    assert len(np.unique(normals)) > 0.997 * normals.size  # of 2^24 radii and angles some meet by chance
    assert len(np.unique(uniforms)) > 1 - 0.01 * uniforms.size
    pairs = np.moveaxis(normals[:4:2], 0, -1).reshape(-1, 2)  # of two channels together none
    assert len(np.unique(pairs, axis=0)) == len(pairs)


@pytest.mark.parametrize("axis", range(5), ids=["channel", "step", "episode", "environment", "cell"])
def test_normals_are_normal_and_uniforms_uniform_along_every_index(axis):
    normals = np.moveaxis(numbers((NormalDraw((3,), (5,)), NormalDraw((2,), (5,)))), axis, 0)
    uniforms = np.moveaxis(numbers((UniformDraw((4,), (5,)),)), axis, 0)
    for values, law in ((normals, "norm"), (uniforms, "uniform")):
        worst = min(stats.kstest(part.ravel(), law).pvalue for part in values)
        assert worst > 1e-3 / len(values)
        flat = values.reshape(len(values), -1)
        between = np.array([np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(flat)])
        assert (np.abs(between) < 4.5 / np.sqrt(flat.shape[1])).all()


def test_lanes_are_dealt_once():
    draws = (
        UniformDraw((2,)),
        NormalDraw((2, 3)),
        NormalDraw((4,)),
        NormalDraw((), (7,)),
        UniformDraw((), (3,)),
        UniformDraw((1,)),
    )
    dealt = lanes(draws)
    assert [len(own) for own in dealt] == [2, 6, 4, 2, 2, 1]
    assert len({lane for own in dealt for lane in own}) == 17
    normal, uniform = ({lane // 2 for n in places for lane in dealt[n]} for places in ((1, 2), (0, 5)))
    assert not normal & uniform


def test_a_draw_without_channels_is_normal_and_repeats_nothing():
    noise = Episodes.of(4, range(50)).noise(100)
    normals, uniforms = noise.drawn((NormalDraw((), (20, 5)), UniformDraw((), (99,))))
    assert normals.shape == (50, 20, 5) and uniforms.shape == (50, 99)
    assert stats.kstest(normals.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(uniforms.ravel(), "uniform").pvalue > 1e-3
    assert len(np.unique(normals)) == normals.size


def test_neighbouring_seeds_make_unlike_chips():
    task = WriteVerify(device=load_device("threshold").replace(mismatch=Mismatch(rate=0.5)))
    seeds = np.arange(20_001, dtype=np.uint64)
    noise = Episodes(seeds, np.zeros(len(seeds), np.uint32)).noise(cells_of(task))
    rates = np.log(task.fabricate(noise.chip, len(seeds)).set.dose)
    assert abs(np.corrcoef(rates[1:], rates[:-1])[0, 1]) < 4.5 / np.sqrt(20_000)


def test_the_parts_of_a_chip_are_unlike():
    noise = Episodes.of(0, range(3)).noise(4)
    first, second = noise.chip.spawn(2)
    inner = first.spawn(1)[0]
    drawn = [np.array([*each.standard_normal((2, 12))]) for each in (noise.chip, first, second, inner)]
    assert len(np.unique(drawn)) == 4 * 2 * 12
    same(drawn[1], np.array([*first.standard_normal((2, 12))]))


# -- agents ------------------------------------------------------------------------------------------------------------


def test_what_becomes_of_a_cell_does_not_depend_on_how_many_are_judged():
    task = WriteVerify()
    few, many = (evaluate(load_policy("ispp", task), task, cells, 0) for cells in (30, 200))
    for name in ("pulses", "accepted", "error", "energy"):
        same(getattr(few, name), getattr(many, name)[:30])


def test_what_an_agent_learns_does_not_depend_on_the_batch():
    task = TASKS["few-shot"]
    same(*(tuple(learn(own_schedule(task), task, 7, 0, batch=batch)) for batch in (7, 3)))


def test_seeds_of_an_evaluation_share_no_cell():
    task = WriteVerify()
    starts = [
        noise_of(task, range(2000), seed, purpose).next().drawn(task.initial_draws)[0][0]
        for seed in (0, 1)
        for purpose in (EVALUATION, EVALUATION + 1)
    ]
    for number, one in enumerate(starts):
        for other in starts[:number]:
            assert len(np.intersect1d(one, other)) < 5  # of 2^24 numbers


def test_more_reads_of_an_array_do_not_change_its_pulses():
    one, other = ArrayNoise.of(1, 2), ArrayNoise.of(1, 2)
    other.read.standard_normal((2, 4, 5))
    first = one.cycle.standard_normal((3, 4, 5))
    same(first, other.cycle.standard_normal((3, 4, 5)))
    assert len(np.unique([first, one.cycle.standard_normal((3, 4, 5)), one.read.standard_normal((3, 4, 5))])) == 180


def test_a_reset_of_some_cells_copies_no_array_that_no_step_has_replaced():
    runner, rows = NumpyRunner(WriteVerify(), 4), np.array([1])
    runner.reset(Episodes.of(0, range(4)), {})
    runner.reset(Episodes.of(0, range(4, 5)), {}, rows)
    dose, twin = runner.episode.chip.set.dose, copy.deepcopy(runner)
    before = dose.copy()
    runner.reset(Episodes.of(0, range(5, 6)), {}, rows)
    assert runner.episode.chip.set.dose is dose and np.flatnonzero(dose != before).tolist() == [1]
    np.testing.assert_array_equal(twin.episode.chip.set.dose, before)
