"""Odd arguments, options and actions end in the package's own errors, and leave the environment as it was."""

import contextlib
import warnings
from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest
from odd import VALUES

import memenv
from memenv.bounds import MANY, MOST, MOST_SEED, is_word, real, whole
from memenv.crossbars.crossbar import Crossbar
from memenv.envs import CrossbarProgram, FewShot, TaskError, WriteVerify, WriteVerifyEnv

SMALL = {
    WriteVerify: {"device": "ideal"},
    CrossbarProgram: {"device": "ideal", "rows": 2, "cols": 2},
    FewShot: {"device": "ideal", "init": "random", "network": "conv"},
}
IDS = ("WriteVerify", "CrossbarProgram")
OWN = (TaskError, memenv.DeviceError, memenv.CrossbarError)


def test_numpy_numbers_are_numbers():
    assert whole("n", np.int64(3), 1, MANY) == 3 and type(whole("n", np.uint8(3), 1, MANY)) is int
    for half in (np.float32(0.5), np.array(0.5, np.float16)):
        assert real("n", half, 0.0, 1e300) == 0.5 and type(real("n", half, 0.0, 1e300)) is float
    assert is_word("a", ("a", "b")) and not is_word(np.array(["a", "a"]), ("a", "b"))


@pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", None, [1], np.array([1, 2]), 0, MANY + 1])
def test_what_is_no_whole_number_of_a_range_is_refused_by_name_and_range(value):
    with pytest.raises(TaskError, match=r"n is .*, allowed is a whole number >= 1 and <= 1000000"):
        whole("n", value, 1, MANY, TaskError)


@pytest.mark.parametrize("value", [True, "1", None, [0.5], 1j, np.nan, np.inf, 2.0, 10**400])
def test_what_is_no_number_of_a_range_is_refused_by_name_and_range(value):
    with pytest.raises(ValueError, match=r"n is .*, allowed is a number >= 0 and <= 1"):
        real("n", value, 0.0, 1.0)


@pytest.mark.parametrize("kind", SMALL)
def test_an_odd_argument_makes_a_task_or_the_packages_own_error(kind):
    made = refused = 0
    for field in fields(kind):
        for value in VALUES if field.init else ():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    task = kind(**SMALL[kind] | {field.name: value})
                except ValueError as error:
                    assert isinstance(error, OWN) or field.name == "init", (field.name, value, repr(error))
                    assert len(str(error).splitlines()) == 1 or field.name == "crossbar", str(error)
                    refused += 1
                else:
                    assert task.action_space is not None and task.observation_space is not None
                    made += 1
    assert refused > made > 0


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}")
def test_odd_sizes_of_a_batch_and_of_an_array_are_refused_or_right(value):
    for name in ("num_envs", "max_episode_steps", "render_mode", "engine", "autoreset_mode"):
        try:
            env = memenv.envs.WriteVerifyVectorEnv(device="ideal", **{name: value})
        except TypeError:
            assert name == "render_mode"  # no argument of a batch
        except TaskError:
            pass
        else:
            env.reset(seed=0)
    for name in ("rows", "cols", "scheme", "writing", "levels", "correlation", "reach", "wires", "dac", "adc"):
        with contextlib.suppress(memenv.CrossbarError):
            Crossbar(device="ideal", **{name: value})


@pytest.mark.parametrize("name", IDS)
def test_odd_seeds_options_and_actions_leave_the_environment_as_it_was(name):
    for make in (gym.make, gym.make_vec):
        small = SMALL[getattr(memenv.envs, name)]
        env = make(f"memenv/{name}-v0", **small).unwrapped
        twin = make(f"memenv/{name}-v0", **small).unwrapped
        for one in (env, twin):
            one.reset(seed=1)
            one.action_space.seed(1)
        refused = 0
        for value in VALUES:
            for option in ("chip_seed", "reset_mask", "nothing"):
                refused += not_done(env.reset, options={option: value})
            for option in ("start", "target"):
                refused += not_done(env.reset, seed=value, options={option: value})
            refused += not_done(env.step, value)
        refused += not_done(env.reset, options=[1]) + not_done(env.reset, options="abc")
        assert refused > 4 * len(VALUES)
        for one in (env, twin):
            one.reset(seed=2)
        action = env.action_space.sample()
        twin.action_space.sample()
        np.testing.assert_equal(env.step(action)[:4], twin.step(action)[:4])


def not_done(call, *arguments, **named) -> bool:
    """Whether the call was refused by the package's own error."""
    try:
        call(*arguments, **named)
    except TaskError:
        return True
    return False


def test_a_seed_of_numpy_is_that_number():
    env = gym.make("memenv/WriteVerify-v0", device="ideal").unwrapped
    np.testing.assert_array_equal(env.reset(seed=np.int64(5))[0], env.reset(seed=5)[0])
    with pytest.raises(TaskError, match=f"seed is -1, allowed is a whole number >= 0 and <= {MOST_SEED}"):
        env.reset(seed=-1)


@pytest.mark.parametrize("name", ["WriteVerify", "CrossbarProgram", "FewShot"])
def test_more_environments_than_the_memory_holds_are_refused_before_they_are_made(name):
    with pytest.raises(TaskError, match=r"need .* GB, .* GB are free"):
        gym.make_vec(f"memenv/{name}-v0", num_envs=MOST, **SMALL[getattr(memenv.envs, name)])


def test_more_devices_than_a_weight_has_room_for_are_refused():
    for value in (1e9, 10**9):
        with pytest.raises(TaskError, match=r"devices_per_weight is .*, allowed is a whole number >= 1 and <= 1000"):
            FewShot(devices_per_weight=value)


@pytest.mark.parametrize("task", [WriteVerify, CrossbarProgram])
def test_a_tolerance_that_observations_have_no_room_for_is_refused(task):
    for tolerance in (5e-324, 9e-10):
        with pytest.raises(TaskError, match=f"tolerance is {tolerance}.* 1e-09"):
            task(**SMALL[task], tolerance=tolerance)
    task(**SMALL[task], tolerance=1e-9)


def test_a_large_whole_number_is_a_weight_like_any_other():
    env = WriteVerifyEnv(device="ideal", weight_pulses=10**30)
    env.reset(seed=0)
    assert env.step(np.array([1.0, 0.0, -1.0], np.float32))[1] < -9e29


@pytest.mark.parametrize("task", SMALL)
def test_a_weight_that_single_precision_has_no_room_for_is_refused(task):
    name = "weight_energy"
    with pytest.raises(TaskError, match=rf"{name} is 1e\+31, allowed is a number >= 0 and <= 1e\+30"):
        task(**SMALL[task], **{name: 1e31})


def test_an_array_is_quoted_in_one_line():
    env = memenv.envs.WriteVerifyVectorEnv(device="ideal", num_envs=2)
    with pytest.raises(TaskError, match=r"start is array\(\[\[2.e-05\], \[2.e-05\]\]\), a number or 2 of them"):
        env.reset(options={"start": np.full((2, 1), 2e-5)})


def test_a_number_that_python_does_not_print_is_refused_too():
    with pytest.raises(TaskError, match="n is a number of thousands of digits, allowed is"):
        whole("n", 10**5000, 1, MANY, TaskError)
