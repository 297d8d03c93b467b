"""The compiled engine under arrays of cells: the same task, the same episodes, and what each array sums up."""

import copy
import importlib.util
import pickle
from dataclasses import replace

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from nested import same
from registered import PRICED
from scipy.stats import ks_2samp

from memenv import Device, load_device
from memenv.arrays import tree_map
from memenv.circuits.solver import Wires
from memenv.compiler.counter_rng import READ_LANES, WRITE_LANES, Key, Lanes, Noise
from memenv.crossbars.crossbar import Crossbar
from memenv.engine import load_engine
from memenv.envs import CrossbarProgram, TaskError, TaskVectorEnv
from memenv.envs.compiled_runner import CompiledRunner
from memenv.envs.noise import Episodes
from memenv.envs.runners import NumpyRunner

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]"
)


ARRAYS = {"rows": 2, "cols": 3, "max_pulses": 5, **PRICED}


def vector(num_envs: int, mode: str = "SameStep", engine="numba", **task) -> TaskVectorEnv:
    arguments = {**ARRAYS, **task}
    return TaskVectorEnv(CrossbarProgram(**arguments), num_envs, AutoresetMode(mode), engine=engine)


def towards(env, observation, rng):
    """Actions that drive reads of open cells towards their targets with pulses of random strength."""
    shape = env.action_space.shape
    strength = rng.uniform(0.15, 0.8, shape[:-1])
    error = observation["error"].reshape(shape[:-1])
    signal = np.where(error < 0, strength, -strength) * observation["open"].reshape(shape[:-1])
    return np.stack([signal, rng.uniform(-1, 1, shape[:-1])], -1)[..., : shape[-1]].astype(np.float32)


def first_episodes(env, steps, seed=0):
    """What info says at the end of the first episode of each array, and its return."""
    rng, arrays = np.random.default_rng(seed), env.num_envs
    observation, _ = env.reset(seed=seed)
    going, total = np.ones(arrays, bool), np.zeros(arrays)
    ends = {name: np.full(arrays, np.nan) for name in ("pulses", "energy", "latency", "accepted", "true_error")}
    for _ in range(steps):
        observation, reward, terminated, _, info = env.step(towards(env, observation, rng))
        total += reward * going
        for name, values in ends.items():
            if terminated.any():
                values[going & terminated] = info["final_info"][name][going & terminated]
        going &= ~terminated
    assert not going.any()
    ends["return"] = np.round(total, 4)
    return {name: values.astype(np.float32) for name, values in ends.items()}  # shares are the same in both engines


def silent(device: Device) -> Device:
    """The device with so little noise that none is left, in the same loop."""
    quiet = {"cycle_noise": 1e-12}
    return device.replace(
        set=replace(device.set, **quiet), reset=replace(device.reset, **quiet), read=replace(device.read, noise=1e-12)
    )


# -- one task under both engines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["everything", ["threshold", "pcm"]], ids=str)
def test_engines_play_episodes_of_one_distribution(device, request):
    device = request.getfixturevalue(device) if device == "everything" else device
    one, other = (first_episodes(vector(1500, engine=engine, device=device), 5) for engine in ("numba", "numpy"))
    for name in one:
        assert ks_2samp(one[name], other[name], method="asymp").pvalue > 1e-3, name


@pytest.mark.parametrize(
    "variant",
    [{}, {"verify": "all"}, {"width": 1e-6}, {"rows": 1, "cols": 1}, {"rows": 130, "cols": 130}],
    ids=["pulsed cells", "all cells", "one width", "one cell", "more than a block"],
)
def test_engines_agree_cell_by_cell_without_noise(variant):
    device = silent(load_device("threshold"))
    arrays = 3 if "rows" in variant else 40
    envs = [vector(arrays, "NextStep", engine, device=device, **variant) for engine in ("numba", "numpy")]
    rng = np.random.default_rng(0)
    start, target = device.g_min + (device.g_max - device.g_min) * rng.uniform(
        0.1, 0.9, (2, *envs[0].action_space.shape[:-1])
    )
    shown = [env.reset(seed=0, options={"chip_seed": 1, "start": start, "target": target}) for env in envs]
    for step in range(5):
        for name, mine in shown[0][0].items():
            scale = 0.05 if name == "error" else 1.0  # [range]
            np.testing.assert_allclose(mine * scale, shown[1][0][name] * scale, rtol=0, atol=1e-5, err_msg=name)
        assert shown[0][-1].keys() == shown[1][-1].keys()
        for name, mine in shown[0][-1].items():
            scale = 1e-4 if name == "true_conductance" else 1.0  # [S] of the whole range
            np.testing.assert_allclose(mine, shown[1][-1][name], rtol=1e-5, atol=1e-5 * scale, err_msg=name)
        if shown[1][-1]["is_success"].any() or step == 4:
            break
        moves = towards(envs[0], shown[0][0], rng)
        (one, *fused), (two, *plain) = (env.step(moves) for env in envs)
        for mine, its in zip(fused[:3], plain[:3], strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-5)
        shown = [(one, fused[3]), (two, plain[3])]
    assert step > 0


@pytest.mark.parametrize("name", ["threshold", "everything"])
def test_engines_agree_cell_by_cell(name, everything):
    device = load_device(name) if name == "threshold" else everything
    task = CrossbarProgram(**{**ARRAYS, "device": device, "rows": 3, "cols": 2})
    runner = CompiledRunner(task, 60, load_engine("numba"))
    episodes = Episodes.of(7, range(60))
    runner.reset(episodes, {})
    noise = episodes.noise(6)
    chip, noise = task.fabricate(noise.chip, 60), noise.next()
    episode = task.begin(chip, noise.drawn(task.initial_draws), {})
    rng = np.random.default_rng(0)
    for _ in range(3):
        for mine, its in (
            (runner.episode.seen.reading, episode.seen.reading),
            (runner.episode.state.cell.x, episode.state.cell.x),
            (runner.episode.state.cell.age * 1e5, episode.state.cell.age * 1e5),
            (runner.episode.state.energy * 1e9, episode.state.energy * 1e9),
            (runner.episode.state.latency * 1e5, episode.state.latency * 1e5),
            (runner.look().reward, sum(task.reward(episode).values())),
        ):
            close = np.isclose(mine, its, rtol=1e-4, atol=1e-5)
            assert close.mean() > (0.99 if name == "everything" else 0.9999)  # a trap may flip on a rounding
        action = rng.uniform(-1, 1, (60, 3, 2, 2)).astype(np.float32)
        runner.step(action)
        noise = noise.next()
        components = np.moveaxis(task.actions.components(action), -1, 0)
        episode = task.advance(episode, task.actions.decoded(components), noise.drawn(task.step_draws))


def test_time_passes_for_cells_while_others_of_their_array_are_written_and_read():
    driver, duration = load_device("threshold").driver, load_device("threshold").read.duration
    env = vector(2)
    env.reset(seed=0)
    before = env._runner.episode.state.cell.age.copy()
    action = np.zeros((2, 2, 3, 2), np.float32)
    action[0, 0, :2] = 1.0, -1.0  # strong and short
    info = env.step(action)[-1]
    whole = 2 * (driver.width_min + duration)
    np.testing.assert_allclose(info["latency"], [whole, 0], rtol=1e-6)
    age = env._runner.episode.state.cell.age.reshape(2, 6)
    np.testing.assert_allclose(age[0, :2], whole - driver.width_min, rtol=1e-5)
    np.testing.assert_allclose(age[0, 2:], before[0].ravel()[2:] + whole, rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"scheme": "V/2"}, {"writing": "rows"}], ids=["compiled", "V/2", "rows"])
@pytest.mark.parametrize("in_place", [False, True], ids=["anew", "in place"])
def test_engines_write_and_read_crossbars_as_crossbars_do(settings, in_place, rng):
    crossbar, shape = Crossbar(rows=3, cols=4, **settings), (50, 3, 4)
    chip = crossbar.fabricate(rng, shape[:1])
    state = crossbar.fresh(chip, rng.random(shape), rng.standard_normal((2, *shape)))
    enabled, width = rng.random(shape) < 0.7, np.full(shape, 1e-6)
    operations = crossbar.plan(rng.uniform(-1.2, 1.2, shape), width, enabled)
    noise = Noise(Key(3).words()[:, None], np.arange(600, dtype=np.uint32).reshape(shape))
    exact = crossbar.write(state, operations, Lanes(noise.normal, WRITE_LANES))
    seen, exact = crossbar.sense(exact, Lanes(noise.normal, READ_LANES), enabled)
    single = tree_map(lambda leaf: np.array(leaf, np.float32) if np.ndim(leaf) else leaf, state)
    for name in ("numba", "numpy"):
        engine, own = load_engine(name), copy.deepcopy(single)
        reading = np.empty(shape, np.float32)
        written = engine.write(crossbar, own, operations, Key(3), out=own if in_place else None)
        out = (reading, written) if in_place else None
        reading, after = engine.sense(crossbar, written, Key(3), enabled, out)
        assert (after.cell.x is own.cell.x) == in_place
        np.testing.assert_allclose(reading * 1e4, seen * 1e4, rtol=0, atol=1e-5)
        for mine, its, scale in (
            (after.cell.x, exact.cell.x, 1),
            (after.cell.age, exact.cell.age, 1e-6),
            (after.energy, exact.energy, 1e-12),
            (after.latency, exact.latency, 1e-6),
            (after.pulses + after.reads, exact.pulses + exact.reads, 1),
        ):
            np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-5 * scale)


# -- shells ------------------------------------------------------------------------------------------------------------


def test_same_step_shows_in_final_what_disabled_would_have_shown():
    envs, rng = (
        [vector(80, mode) for mode in ("SameStep", "Disabled")],
        np.random.default_rng(0),
    )
    observation, _ = envs[0].reset(seed=1)
    same(observation, envs[1].reset(seed=1)[0])
    ended = 0
    for _ in range(11):
        moves = towards(envs[0], observation, rng)
        (observation, *judged, info), (last, *plainly, plain) = (env.step(moves) for env in envs)
        same(tuple(judged), tuple(plainly))
        done = judged[1]
        if not done.any():
            continue
        ended += done.sum()
        for name, value in info["final_obs"].items():
            np.testing.assert_array_equal(value[done], last[name][done])
        for name, value in info["final_info"].items():
            if not name.startswith("_"):
                np.testing.assert_array_equal(value[done], plain[name][done])
        renewed = envs[1].reset(options={"reset_mask": done})
        same(observation, renewed[0])
        for name, value in renewed[1].items():
            np.testing.assert_array_equal(info[name], value)
    assert ended > 80


def test_start_and_target_of_some_arrays_can_be_given():
    env = vector(4, "Disabled")
    env.reset(seed=0)
    before = env.step(np.zeros(env.action_space.shape, np.float32))[0]
    mask = np.array([True, False, True, False])
    observation, info = env.reset(options={"reset_mask": mask, "target": 5e-5, "start": np.full((2, 3), 2e-5)})
    for name, value in before.items():
        np.testing.assert_array_equal(observation[name][~mask], value[~mask])
    np.testing.assert_allclose(env.task.view(observation).target[mask], (5e-5 - 2e-6) / 9.8e-5, rtol=1e-6)
    assert (observation["budget"][mask] == 1).all() and info["true_conductance"].shape == (4, 2, 3)


def test_episodes_do_not_depend_on_the_number_of_threads():
    results = []
    for threads in (1, 3):
        env = vector(7000, "NextStep", load_engine("numba", threads=threads))
        env.action_space.seed(0)
        results.append((env.reset(seed=0), *(env.step(env.action_space.sample()) for _ in range(3))))
    same(*results)


def test_a_seed_fixes_all_and_another_changes_all():
    runs = []
    for seed in (5, 5, 6):
        env = vector(30)
        env.action_space.seed(0)
        runs.append((env.reset(seed=seed), *(env.step(env.action_space.sample()) for _ in range(8))))
    same(runs[0], runs[1])
    assert (runs[0][0][0]["target"] != runs[2][0][0]["target"]).all()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"]
)
def test_a_copy_plays_on_alike_and_apart(duplicate):
    env, rng = vector(20), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    moves = towards(env, observation, rng)
    env.step(moves)
    twin = duplicate(env)
    for _ in range(3):
        same(env.step(moves), twin.step(moves))


def test_what_is_returned_belongs_to_the_caller():
    env, twin = vector(20, "NextStep"), vector(20, "NextStep")
    rng = np.random.default_rng(0)
    result, again = (each.reset(seed=0) for each in (env, twin))
    for _ in range(8):
        moves = towards(twin, again[0], rng)
        for value in (*result[0].values(), *(value for name, value in result[-1].items() if name[0] != "_")):
            value[:] = 1
        result, again = env.step(moves), twin.step(moves)
        same(result, again)
    assert twin.observation_space.contains(again[0])


# -- what is compiled, and what is not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task, reason",
    [
        ({"objective": "product"}, "objective='product'"),
        ({"action": "lines"}, "action='lines'"),
        ({"scheme": "V/2"}, "scheme='V/2'"),
        ({"writing": "rows"}, "writing='rows'"),
        ({"crossbar": Crossbar(rows=2, cols=2, wires=Wires())}, "wires=Wires"),
        ({"crossbar": Crossbar(rows=2, cols=2, correlation=0.5)}, "correlation=0.5"),
    ],
    ids=["product", "lines", "half-select", "rows", "wires", "correlated"],
)
def test_what_is_not_compiled_is_refused_by_name_and_left_to_numpy_by_auto(task, reason):
    whole = CrossbarProgram(**task)
    with pytest.raises(TaskError, match=f'engine "numba" does not run {reason}'):
        TaskVectorEnv(whole, 2, engine="numba")
    many = -(-4096 // (whole.array.rows * whole.array.cols))
    assert isinstance(TaskVectorEnv(whole, many, engine="auto")._runner, NumpyRunner)


def test_invalid_actions_are_refused_and_nothing_happens():
    env, twin = vector(2), vector(2)
    same(env.reset(seed=0), twin.reset(seed=0))
    with pytest.raises(TaskError, match="action has a component nan"):
        env.step(np.full(env.action_space.shape, np.nan))
    moves = np.ones(env.action_space.shape, np.float32)
    same(env.step(moves), twin.step(moves))


def test_cells_are_closed_when_their_pulses_are_spent():
    env = vector(5, "NextStep", tolerance=3e-9)
    env.reset(seed=0)
    moves = np.ones(env.action_space.shape, np.float32)
    assert not any(env.step(moves)[2].any() for _ in range(4))
    observation, _, terminated, _, info = env.step(moves)
    assert terminated.all() and not observation["open"].any() and (info["pulses"] == 30).all()
