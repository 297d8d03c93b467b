"""The engine "auto": NumPy's episodes go on in a compiled loop as if nothing had happened; episodes computed ahead."""

import copy
import importlib.util
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest
from nested import same
from registered import PRICED

from memenv import load_engine
from memenv.envs import CrossbarProgram, TaskEnv, TaskError, TaskVectorEnv, WriteVerify, auto_runner
from memenv.envs.auto_runner import AutoRunner
from memenv.envs.compiled_runner import CompiledRunner
from memenv.envs.runners import NumpyRunner

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]"
)
COARSE = {"give_up": True, "max_pulses": 6, **PRICED}
TASKS = {
    "cell": WriteVerify(**COARSE),
    "mixture": WriteVerify(device=["threshold", "pcm"], **COARSE),
    "rounds": WriteVerify(rounds=2, action="discrete", **COARSE),
    "array": CrossbarProgram(rows=3, cols=4, max_pulses=3, **PRICED),
}


@pytest.fixture
def soon(monkeypatch):
    """Goes over to the loop in the sixth step."""
    monkeypatch.setattr(auto_runner, "STEP", 10**9)
    monkeypatch.setattr(auto_runner, "WORTHWHILE", 5 * 10**9)


def flat(result) -> list[np.ndarray]:
    """The arrays of nested results."""
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, tuple) else ()
    return (
        [np.asarray(result)]
        if not isinstance(result, dict | tuple)
        else [array for part in parts for array in flat(part)]
    )


def keys(result) -> list[str]:
    return [type(result).__name__, *result] if isinstance(result, dict) else [str(np.asarray(result).dtype)]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("name", TASKS)
def test_episodes_go_on_in_the_loop_as_they_would_have_under_numpy(name, mode, soon):
    task, envs = TASKS[name], 30
    auto, plain = (TaskVectorEnv(task, envs, mode, engine=engine) for engine in ("auto", "numpy"))
    auto.action_space.seed(0)
    results, apart, ended = [env.reset(seed=3) for env in (auto, plain)], np.zeros(envs, bool), 0
    for _ in range(30):
        assert [keys(part) for part in results[0]] == [keys(part) for part in results[1]]
        for one, other in zip(*map(flat, results), strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape
            apart |= ~np.isclose(one, other, rtol=1e-3, atol=1e-3).reshape(envs, -1).all(1)
        actions = auto.action_space.sample()
        results = [env.step(actions) for env in (auto, plain)]
        ended += results[0][2].sum()
    assert type(auto._runner.runner) is CompiledRunner and type(plain._runner) is NumpyRunner
    assert ended > envs and apart.mean() < 0.1  # a decision may fall the other way by a rounding


def test_a_single_environment_goes_over_too(soon):
    auto, plain = (TaskEnv(TASKS["cell"], None, None, None, engine) for engine in ("auto", "numpy"))
    auto.action_space.seed(0)
    results = [env.reset(seed=1) for env in (auto, plain)]
    for _ in range(40):
        for one, other in zip(*map(flat, results), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
        assert [type(part) for part in results[0]] == [type(part) for part in results[1]]
        action = auto.action_space.sample()
        over = len(results[0]) == 5 and results[0][2]
        results = [env.reset() if over else env.step(action) for env in (auto, plain)]
    assert type(auto._runner.runner) is CompiledRunner


def test_a_script_of_a_few_steps_does_not_import_numba():
    code = """
import sys, gymnasium, memenv
for env in (gymnasium.make("memenv/WriteVerify-v0"), gymnasium.make_vec("memenv/WriteVerify-v0", num_envs=8)):
    env.reset(seed=0)
    for _ in range(10):
        if env.step(env.action_space.sample())[2] is True:
            env.reset()
print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False" and not done.stderr


@pytest.mark.parametrize("what", ["history=2", "rgb_array"])
def test_what_is_not_compiled_or_is_drawn_stays_on_numpy(what):
    task = WriteVerify(history=2) if what == "history=2" else WriteVerify()
    env = TaskEnv(task, None if what == "history=2" else "rgb_array", None, None)
    assert type(env._runner) is NumpyRunner


def test_a_loop_that_cannot_be_made_leaves_a_run_on_numpy_with_a_notice(soon, monkeypatch, caplog):
    def fail(*_):
        raise TypeError("the engine cannot compile this")

    monkeypatch.setattr(CompiledRunner, "take_over", fail)
    env = TaskVectorEnv(TASKS["cell"], 3)
    env.reset(seed=0)
    with caplog.at_level(logging.WARNING):
        for _ in range(12):
            env.step(env.action_space.sample())
    assert type(env._runner.runner) is NumpyRunner
    assert caplog.text.count("stays on NumPy: the engine cannot compile this") == 1


@pytest.mark.parametrize("steps", [3, 12], ids=["before", "after"])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"]
)
def test_a_copy_goes_over_alike(duplicate, steps, soon):
    env = TaskVectorEnv(TASKS["cell"], 5)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(steps):
        env.step(env.action_space.sample())
    twin = duplicate(env)
    for _ in range(12):
        actions = env.action_space.sample()
        same(env.step(actions), twin.step(actions))
    assert isinstance(twin._runner, AutoRunner) and type(twin._runner.runner) is CompiledRunner


# -- episodes ahead ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_episodes_computed_ahead_are_those_that_are_computed_when_they_begin(name, monkeypatch):
    def play(ahead: int) -> list:
        monkeypatch.setattr("memenv.envs.compiled_runner.AHEAD", ahead)
        env = TaskVectorEnv(TASKS[name], 7, "NextStep", engine="numba")
        env.action_space.seed(0)
        results, layout = [], TASKS[name].initial_draws[0].layout
        resets = {
            0: {"seed": 5},
            30: {"options": {"chip_seed": 3}},
            40: {},
            50: {"seed": [1, None, 5, None, 2, 9, None]},
            60: {"seed": 5},
            70: {"options": {"reset_mask": np.arange(7) % 3 == 0, "start": np.full((7, *layout), 2e-5)}},
            80: {"seed": 8, "options": {"reset_mask": np.arange(7) % 2 == 0}},
        }
        for step in range(110):
            if step in resets:
                results.append(env.reset(**resets[step]))
            results.append(env.step(env.action_space.sample()))
        return results

    ahead, now = play(8192), play(0)
    for one, other in zip(ahead, now, strict=True):
        same(one, other)


@pytest.mark.parametrize("engine", ["auto", "numpy", "numba"])
def test_after_a_first_reset_that_was_refused_a_step_is_refused(engine):
    env = TaskVectorEnv(TASKS["cell"], 2, engine=engine)
    with pytest.raises(TaskError, match="start is 1 S"):
        env.reset(seed=0, options={"start": 1.0})
    with pytest.raises(TaskError, match=r"step\(\) before reset\(\)"):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    env.step(env.action_space.sample())


def test_an_explicit_engine_is_taken_from_the_first_step():
    assert type(TaskVectorEnv(TASKS["cell"], 2, engine="numpy")._runner) is NumpyRunner
    for engine in ("numba", load_engine("numba", threads=2)):
        assert type(TaskVectorEnv(TASKS["cell"], 2, engine=engine)._runner) is CompiledRunner
        assert type(TaskEnv(TASKS["cell"], None, None, None, engine)._runner) is CompiledRunner
