"""The Gymnasium shells: what the checkers want, one episode in both, autoreset, options, copies and clear refusals."""

import copy
import importlib.util
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from nested import same
from registered import PRICED

import memenv
from memenv import Device, Mismatch, Read, Response
from memenv.envs import (
    CrossbarProgram,
    TaskEnv,
    TaskError,
    TaskVectorEnv,
    WriteVerify,
    WriteVerifyEnv,
    WriteVerifyVectorEnv,
)
from memenv.envs.scales import READS, UNIT, scaled, unscaled

ID = "memenv/WriteVerify-v0"
MODES = {mode.name: mode for mode in AutoresetMode}
VARIANTS = {
    "continuous": {},
    "discrete": {"action": "discrete"},
    "rounds": {"rounds": 3, "tolerance": 0.1, "action": "discrete"},
    "history": {"history": 4},
    "giving up": {"give_up": True},
    "giving up, discrete": {"give_up": True, "action": "discrete"},
    "confirmed": {"confirm_reads": 2, "tolerance": 0.1},
    "siemens": {"tolerance": 2e-6, "tolerance_unit": "S"},
    "mixture": {"device": ["threshold", "pcm", "hfo2-array-om"]},
    "all rewards": {"weight_energy": 1e9, "weight_latency": 1e4, "tolerance": 0.15},
}
ENGINES = ["numpy", "numba"] if importlib.util.find_spec("numba") else ["numpy"]
AUTORESET = ["NEXT_STEP", "SAME_STEP"]
BOXES = [WriteVerify(), CrossbarProgram(rows=2, cols=3, max_pulses=5, **PRICED)]
STEP = Response(amplitude=1.0, width=1e-6, threshold=0.5, slope=0.1, dose=0.2, gamma=0.0)
QUIET = Device(g_min=1e-6, g_max=1e-4, set=STEP, reset=STEP)  # linear, without noise
FAINT = np.array([1.0, -1.0, 0.0], np.float32)  # a pulse below its threshold


def vector(num_envs: int, mode: str = "NEXT_STEP", **arguments) -> gym.vector.VectorEnv:
    return gym.make_vec(ID, num_envs=num_envs, autoreset_mode=MODES[mode], **arguments)


# -- conventions -------------------------------------------------------------------------------------------------------


def registered() -> list[str]:
    return [name for name in gym.registry if name.startswith("memenv/")]


def test_importing_memenv_registers_its_environments():
    assert ID in registered()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_passes_gymnasiums_checker_without_warning(variant):
    check_env(gym.make(ID, **VARIANTS[variant]).unwrapped)


@pytest.mark.parametrize("name", registered())
def test_every_registered_env_passes_gymnasiums_checker_without_warning(name):
    check_env(gym.make(name).unwrapped)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_passes_stable_baselines_checker_without_warning(variant):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(gym.make(ID, **VARIANTS[variant]).unwrapped)


@pytest.mark.parametrize("action", ["continuous", "discrete"])
def test_a_measured_table_passes_the_checker_and_plays_alike_in_both_shells(action, published):
    arguments = {"device": str(published / "sandia" / "enode_dg_tables.npz"), "action": action, "tolerance": 0.05}
    single, batch = gym.make(ID, **arguments).unwrapped, vector(1, **arguments)
    check_env(single)
    single.action_space.seed(0)
    (observation, _), (batch_observation, _) = single.reset(seed=1), batch.reset(seed=1)
    for _ in range(20):
        np.testing.assert_array_equal(batch_observation[0], observation)
        step = single.action_space.sample()
        observation, reward, terminated, _, _ = single.step(step)
        batch_observation, batch_reward, batch_terminated, _, _ = batch.step(np.asarray(step)[None])
        assert (batch_reward[0], batch_terminated[0]) == (reward, terminated)
        if terminated:
            break


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_every_render_mode_passes_the_checker(mode):
    pytest.importorskip("matplotlib")
    check_env(gym.make(ID, render_mode=mode).unwrapped)


@pytest.mark.parametrize("mode", AUTORESET)
def test_a_batch_is_drawn_as_the_single_environments_are(mode, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("memenv.envs.pictures.PICTURED", 2)
    for render_mode in ("rgb_array", "ansi"):
        env = vector(5, mode, render_mode=render_mode, max_pulses=3)
        singles = [gym.make(ID, render_mode=render_mode, max_pulses=3).unwrapped for _ in range(2)]
        env.action_space.seed(0)
        env.reset(seed=4)
        for number, single in enumerate(singles):
            single.reset(seed=4 + number)
        over = np.zeros(5, bool)
        for _ in range(4):
            actions = env.action_space.sample()
            _, _, terminated, _, _ = env.step(actions)
            for number, single in enumerate(singles):
                if over[number] or (single.step(actions[number])[2] and mode == "SAME_STEP"):
                    single.reset()
            over = terminated & (mode == "NEXT_STEP")
        frames = env.render()
        assert isinstance(frames, tuple) and len(frames) == 5
        same(frames[:2], tuple(single.render() for single in singles))
        assert not (frames[2].any() if render_mode == "rgb_array" else frames[2]) and frames[2] is frames[4]
        assert env.metadata["render_modes"] == ["rgb_array", "ansi"] and env.render_mode == render_mode


@pytest.mark.skipif(len(ENGINES) < 2, reason="numba is not installed: memenv[numba]")
def test_an_engine_that_keeps_nothing_to_be_drawn_is_refused_with_a_render_mode():
    with pytest.raises(TaskError, match='use engine="auto" with a render_mode'):
        gym.make(ID, render_mode="ansi", engine="numba")
    assert gym.make(ID).unwrapped.render() is None and vector(2).render() is None


def test_make_imports_the_package_by_itself():
    code = f"import gymnasium; print(gymnasium.make('memenv:{ID}').spec.id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ID


@pytest.mark.parametrize(
    "arguments",
    [
        {"device": "pcm", "levels": (4, 2), "action": "discrete"},
        {"device": memenv.load_device("pcm")},
        {"device": [QUIET, memenv.load_device("pcm")]},
    ],
)
def test_a_specification_survives_json(arguments):
    env = gym.make(ID, max_episode_steps=9, **arguments)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.task.device == env.unwrapped.task.device
    assert again.action_space == env.action_space and again.spec.max_episode_steps == 9
    same(again.reset(seed=1), env.reset(seed=1))
    batch = gym.make_vec(ID, num_envs=3, autoreset_mode="SameStep", **arguments)
    batch_again = gym.make_vec(EnvSpec.from_json(batch.spec.to_json()))
    assert (batch_again.num_envs, batch_again.autoreset_mode) == (3, AutoresetMode.SAME_STEP)
    same(batch_again.reset(seed=1), batch.reset(seed=1))


def test_gymnasiums_own_vectorisation_works_too():
    env = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", device="ideal")
    observation, info = env.reset(seed=1)
    assert env.observation_space.contains(observation) and info["pulses"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize(
    "make", [lambda: gym.make(ID, action="discrete"), lambda: vector(5, action="discrete")], ids=["single", "vector"]
)
def test_a_copied_env_goes_on_as_the_original(make, duplicate):
    env = make()
    env.reset(seed=3)
    action = np.zeros(env.action_space.shape, int)
    env.step(action)
    twin = duplicate(env)
    for _ in range(3):
        same(twin.step(action), env.step(action))


# -- one episode, two shells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("device", memenv.presets())
def test_single_env_equals_a_batch_of_one(device, mode):
    arguments = {"device": device, "max_pulses": 6, "rounds": 2, "tolerance": 0.1, "confirm_reads": 1}
    single, batch = WriteVerifyEnv(**arguments), vector(1, mode, **arguments)
    single.action_space.seed(0)
    observation, info = single.reset(seed=7)
    batch_observation, batch_info = batch.reset(seed=7)
    episodes = 0
    for _ in range(60):
        np.testing.assert_array_equal(batch_observation[0], observation)
        assert {name: value[0] for name, value in batch_info.items() if name in info} == info
        action = single.action_space.sample()
        observation, reward, terminated, _, info = single.step(action)
        batch_observation, batch_reward, batch_terminated, _, batch_info = batch.step(action[None])
        assert (batch_reward[0], batch_terminated[0]) == (reward, terminated)
        if not terminated:
            continue
        episodes += 1
        if mode == "SAME_STEP":
            np.testing.assert_array_equal(batch_info["final_obs"][0], observation)
            assert {name: batch_info["final_info"][name][0] for name in info} == info
        else:
            np.testing.assert_array_equal(batch_observation[0], observation)
            assert {name: batch_info[name][0] for name in info} == info
        observation, info = single.reset()
        if mode == "NEXT_STEP":
            batch_observation, batch_reward, batch_terminated, _, batch_info = batch.step(action[None])
            assert (batch_reward[0], batch_terminated[0]) == (0.0, False)
        elif mode == "DISABLED":
            batch_observation, batch_info = batch.reset(options={"reset_mask": np.array([True])})
    assert episodes >= 5


@pytest.mark.parametrize("device", memenv.presets())
def test_same_seed_same_episode(device):
    def play(seed: int):
        env = WriteVerifyEnv(device=device, action="discrete")
        results = [env.reset(seed=seed), env.step(3)]
        while len(results) < 12 and not results[-1][2]:
            results.append(env.step(7 * len(results) % 48))
        return results

    first, second, other = play(5), play(5), play(6)
    for parts in zip(first, second, strict=True):
        same(*parts)
    assert not np.array_equal(first[0][0], other[0][0])


def test_a_seed_fixes_a_batch_over_many_episodes():
    def play():
        env = vector(64, "SAME_STEP", max_pulses=5)
        env.action_space.seed(0)
        return [env.reset(seed=2), *(env.step(env.action_space.sample()) for _ in range(20))]

    for parts in zip(play(), play(), strict=True):
        same(*parts)


# -- autoreset ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_step_shows_in_final_what_disabled_would_have_shown(variant):
    arguments = {"max_pulses": 6, "max_episode_steps": 8, **VARIANTS[variant]}
    env, plain = vector(24, "SAME_STEP", **arguments), vector(24, "DISABLED", **arguments)
    env.action_space.seed(1)
    same(env.reset(seed=4), plain.reset(seed=4))
    ended = 0
    for _ in range(25):
        action = env.action_space.sample()
        observation, reward, terminated, truncated, info = env.step(action)
        last, *rest, last_info = plain.step(action)
        same((reward, terminated, truncated), tuple(rest))
        done = terminated | truncated
        if not done.any():
            assert "final_obs" not in info
            same(observation, last)
            continue
        ended += done.sum()
        assert info["_final_obs"].tolist() == info["_final_info"].tolist() == done.tolist()
        np.testing.assert_array_equal(info["final_obs"][done], last[done])
        for name, value in info["final_info"].items():
            np.testing.assert_array_equal(value[done], done[done] if name.startswith("_") else last_info[name][done])
        fresh, fresh_info = plain.reset(options={"reset_mask": done})
        same(observation, fresh)
        for name, value in fresh_info.items():
            np.testing.assert_array_equal(info[name], value)
    assert ended > 24


def test_next_step_resets_in_the_step_after_the_end_and_ignores_the_action_there():
    env = vector(64, max_pulses=3)
    env.action_space.seed(0)
    env.reset(seed=0)
    done = np.zeros(64, bool)
    resets = 0
    for _ in range(12):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        resets += done.sum()
        np.testing.assert_array_equal(observation[done, 6], 1.0)  # the whole budget
        np.testing.assert_array_equal(observation[done, 4], 0.0)  # no pulse yet
        for value in (
            reward,
            terminated,
            truncated,
            info["pulses"],
            info["energy"],
            info["is_success"],
            info["reward/pulses"],
        ):
            assert not value[done].any()
        assert np.all(info["pulses"][~done] > 0) and np.all(reward[~done] != 0)
        assert np.all(observation[terminated & ~info["is_success"], 6] == -1)
        done = terminated | truncated
    assert resets > 64


def test_disabled_waits_for_the_reset_of_the_cells_that_are_done_and_leaves_the_others():
    env = vector(16, "DISABLED", action="discrete", give_up=True)
    env.reset(seed=0, options={"start": 5e-6, "target": 9e-5})
    action = np.full(16, 1)
    action[:5] = env.single_action_space.n - 1  # giving up
    observation, _, terminated, _, _ = env.step(action)
    assert terminated.tolist() == [True] * 5 + [False] * 11
    with pytest.raises(TaskError, match=r'5 cells are done: reset them with reset\(options={"reset_mask": ...}\)'):
        env.step(action)
    mask = np.arange(16) < 3
    fresh, info = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(fresh[3:], observation[3:])
    assert np.all(fresh[:3, :2] != observation[:3, :2]) and not info["pulses"][:3].any()
    with pytest.raises(TaskError, match="2 cells are done"):
        env.step(action)
    env.reset(options={"reset_mask": terminated & ~mask})
    env.step(action)


@pytest.mark.parametrize("mode, ends", [("NEXT_STEP", [4, 9]), ("SAME_STEP", [4, 8]), ("DISABLED", [4, 8])])
def test_only_max_episode_steps_truncates(mode, ends):
    below_threshold = np.tile(FAINT, (8, 1))
    for limit in (None, 4):
        env = vector(8, mode, device=QUIET, max_episode_steps=limit)
        env.reset(seed=0)
        for step in range(1, 11):
            _, _, terminated, truncated, _ = env.step(below_threshold)
            assert not terminated.any()
            np.testing.assert_array_equal(truncated, limit is not None and step in ends)
            if mode == "DISABLED" and truncated.any():
                env.reset(options={"reset_mask": truncated})


def test_a_spent_budget_terminates_and_a_step_limit_truncates_in_the_single_env():
    for pulses, steps, expected in ((3, 9, (True, False)), (9, 3, (False, True)), (3, 3, (True, True))):
        ends = []
        env = gym.make(ID, device=QUIET, max_pulses=pulses, max_episode_steps=steps)
        env.reset(seed=0)
        batch = vector(1, device=QUIET, max_pulses=pulses, max_episode_steps=steps)
        batch.reset(seed=0)
        for _ in range(3):
            observation, _, *end, _ = env.step(FAINT)
            _, _, terminated, truncated, _ = batch.step(FAINT[None])
            assert [terminated[0], truncated[0]] == end
            ends.append(tuple(end))
        assert ends == [(False, False), (False, False), expected]
        assert observation[6] == pytest.approx(1 - 2 * 3 / pulses)


# -- info and reward ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_reward_is_the_sum_of_the_named_terms_in_info(variant):
    env, batch = WriteVerifyEnv(**VARIANTS[variant]), vector(32, max_episode_steps=150, **VARIANTS[variant])
    names = {"pulses", "acceptance", "false_acceptance", "failure", "shaping"}
    names |= {"energy", "latency"} if variant == "all rewards" else set()
    for shell in (env, batch):
        shell.reset(seed=1)
        shell.action_space.seed(1)
        for _ in range(8):
            _, reward, terminated, _, info = shell.step(shell.action_space.sample())
            terms = {name.removeprefix("reward/"): value for name, value in info.items() if name.startswith("reward/")}
            assert terms.keys() == names
            np.testing.assert_allclose(reward, sum(terms.values()), rtol=1e-6, atol=1e-7)
            if shell is env and terminated:
                shell.reset()


def test_info_of_the_single_env_holds_numpys_scalars():
    env = WriteVerifyEnv(action="discrete")
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(0)
    assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    assert type(info.pop("is_success")) is np.bool_
    for name in info.keys() - {"action_mask"}:
        assert type(info[name]) is np.float32
    assert info["action_mask"].shape == (48,) and info["action_mask"].dtype == bool


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", [WriteVerify(action="discrete"), *BOXES], ids=["menu", "cell", "array"])
def test_info_has_the_same_keys_at_reset_and_at_step_and_keeps_its_values(task, engine):
    single, batch = TaskEnv(task, None, None, None, engine), TaskVectorEnv(task, 3, engine=engine)
    for shell in (single, batch):
        _, first = shell.reset(seed=0)
        copied = copy.deepcopy(first)
        second = shell.step(shell.action_space.sample() * 0)[4]
        assert type(first) is type(second) is dict and [*first] == [*second]
        assert not np.any(first["reward/pulses"]) and np.all(second["reward/pulses"] <= 0)
        same(first, copied)
        same(pickle.loads(pickle.dumps(second)), second)
        for name in first:
            assert np.asarray(first[name]).dtype == np.asarray(second[name]).dtype


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_masks_before_a_reset_or_of_actions_without_any_are_refused(make):
    menu, box = make("memenv/WriteVerifyDiscrete-v0"), make(ID)
    with pytest.raises(TaskError, match=r"action_masks\(\) before reset\(\): call reset\(\) first"):
        menu.unwrapped.action_masks()
    box.reset()
    with pytest.raises(TaskError, match='no masks: action="discrete", of arrays action="lines", has them'):
        box.unwrapped.action_masks()


def test_action_masks_are_those_in_info():
    env, batch = gym.make(ID, action="discrete"), vector(7, action="discrete")
    for shell in (env, batch):
        _, info = shell.reset(seed=0)
        np.testing.assert_array_equal(shell.unwrapped.action_masks(), info["action_mask"])


def test_what_an_env_returns_is_its_users_to_change():
    envs = [vector(6, history=2, action="discrete") for _ in range(2)]
    results = [env.reset(seed=0) for env in envs]
    for _ in range(4):
        observation, *_, info = results[1]
        observation[:] = np.nan
        for value in info.values():
            value[:] = 0
        results = [env.step(np.full(6, 5)) for env in envs]
        same(*results)


# -- reset options -----------------------------------------------------------------------------------------------------

SPREAD = QUIET.replace(mismatch=Mismatch(rate=0.5))
PULSE = np.array([1.0, 0.0, 0.0], np.float32)


def test_a_chip_seed_pins_the_chip_and_nothing_else():
    env = WriteVerifyEnv(device=SPREAD)

    def rise(seed: int, chip_seed: int | None) -> tuple[float, float]:
        observation, info = env.reset(seed=seed, options={"chip_seed": chip_seed, "start": 2e-5})
        return env.step(PULSE)[4]["true_conductance"] - info["true_conductance"], float(observation[1])

    (first, target), (again, other_target), (other, _) = rise(1, 11), rise(2, 11), rise(1, 12)
    assert first == again != other
    assert target != other_target
    assert rise(1, None)[0] != rise(2, None)[0]


def test_start_and_target_are_pinned_in_siemens():
    env = WriteVerifyEnv(device=QUIET)
    observation, info = env.reset(options={"start": 2.08e-5, "target": 5.05e-5})
    assert info["true_conductance"] == pytest.approx(2.08e-5)
    assert info["true_error"] == pytest.approx(2.08e-5 - 5.05e-5)
    error = -np.log1p(0.3 / 0.02) / np.log1p(3 / 0.02)
    np.testing.assert_allclose(observation[:3], [-0.2, 0.0, error], rtol=1e-6, atol=1e-6)  # x of 0.2 and 0.5


def test_options_of_a_batch_are_one_for_all_or_one_for_each_also_under_a_mask():
    env = vector(4, "DISABLED", device=QUIET)
    observation, _ = env.reset(seed=0, options={"start": 2.08e-5, "target": np.array([1, 2, 3, 4]) * 2e-5})
    np.testing.assert_allclose(observation[:, 0], scaled(0.2, READS), rtol=1e-6)
    np.testing.assert_allclose(observation[:, 1], scaled((np.array([2, 4, 6, 8]) - 0.1) / 9.9, UNIT), rtol=1e-6)
    mask = np.array([False, True, False, True])
    later, _ = env.reset(options={"reset_mask": mask, "target": np.array([9, 5, 9, 6]) * 1e-5, "start": 7.03e-5})
    np.testing.assert_array_equal(later[~mask], observation[~mask])
    np.testing.assert_allclose(later[mask, 1], scaled((np.array([50, 60]) - 1) / 99, UNIT), rtol=1e-5)
    np.testing.assert_allclose(later[mask, 0], scaled(0.7, READS), rtol=1e-6)


def test_a_masked_reset_with_a_seed_is_reproducible():
    env = vector(4, "DISABLED")
    mask = np.array([False, True, False, True])
    env.reset(seed=0)
    first, _ = env.reset(seed=8, options={"reset_mask": mask})
    second, _ = env.reset(seed=8, options={"reset_mask": mask})
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"chipseed": 3}, "reset option 'chipseed' is unknown; known are chip_seed, start, target"),
        ({"chip_seed": -1}, "reset option chip_seed is -1, allowed is a whole number >= 0"),
        ({"chip_seed": "a"}, "reset option chip_seed is 'a', allowed is a whole number >= 0"),
        ({"start": "low"}, "reset option start is 'low', a number or 1 of them are needed"),
        ({"target": [1e-5, 2e-5]}, "reset option target is .*, a number or 1 of them are needed"),
        ({"target": 2e-4}, "target is 0.0002 S, outside the reachable range 1e-06 to 0.0001 S"),
        ({"start": float("nan")}, "start is nan S, outside the reachable range"),
        ({"reset_mask": np.array([True])}, "reset option 'reset_mask' is unknown"),
    ],
)
def test_a_reset_option_is_refused_by_its_name_and_value(options, message):
    with pytest.raises(TaskError, match=message):
        WriteVerifyEnv(device=QUIET).reset(options=options)


@pytest.mark.parametrize("mask", [np.array([True]), np.array([0, 1, 1]), [True, False]])
def test_a_reset_mask_of_another_shape_or_type_is_refused(mask):
    env = vector(3, "DISABLED")
    env.reset(seed=0)
    with pytest.raises(TaskError, match=r"reset_mask is .* of shape .*, \(3,\) bool is needed"):
        env.reset(options={"reset_mask": mask})


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [WriteVerifyEnv, lambda: vector(2).unwrapped], ids=["single", "vector"])
def test_a_step_before_the_first_reset_is_refused(make):
    env = make()
    with pytest.raises(TaskError, match=r"step\(\) before reset\(\)"):
        env.step(env.action_space.sample())


def test_a_mask_before_the_first_reset_is_refused():
    with pytest.raises(TaskError, match=r"reset_mask before a full reset\(\)"):
        vector(2, "DISABLED").reset(options={"reset_mask": np.array([True, False])})


def test_a_step_after_the_end_is_refused():
    env = WriteVerifyEnv(max_pulses=1)
    env.reset(seed=0)
    assert env.step(np.zeros(3))[2]
    with pytest.raises(TaskError, match=r"step\(\) after the end of the episode"):
        env.step(np.zeros(3))
    env.reset()
    env.step(np.zeros(3))


@pytest.mark.parametrize(
    "action, message",
    [
        (np.zeros(2), r"action has the shape \(2,\), \(3,\) is needed"),
        (0.5, r"action has the shape \(\), \(3,\) is needed"),
        (np.array([0.0, np.nan, 0.0]), "action has a component nan, allowed is -1 to 1"),
        (np.array(["a", "b", "c"]), "action is of type <U1, numbers in"),
    ],
)
def test_an_action_outside_the_space_is_refused_and_changes_nothing(action, message):
    env, twin = WriteVerifyEnv(), WriteVerifyEnv()
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(TaskError, match=message):
        env.step(action)
    with pytest.raises(TaskError):
        vector(1).unwrapped.step(action)
    assert np.array_equal(env.unwrapped._runner.episode.cell.x, twin.unwrapped._runner.episode.cell.x)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", BOXES, ids=lambda task: type(task).__name__)
def test_actions_beyond_a_box_are_clipped_as_gymnasium_clips_them(task, engine):
    envs = [TaskVectorEnv(task, 3, engine=engine) for _ in range(2)]
    for env in envs:
        env.reset(seed=0)
    beyond = np.random.default_rng(0).normal(0, 3, envs[0].action_space.shape)
    same(envs[0].step(beyond), envs[1].step(np.clip(beyond, -1, 1)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("action, nonsense", [("continuous", np.nan), ("discrete", 10**6), ("discrete", -3)])
def test_an_action_of_a_cell_that_is_being_reset_may_be_anything_and_no_other_may(action, nonsense, engine):
    envs = [TaskVectorEnv(WriteVerify(action=action, give_up=True, **PRICED), 4, engine=engine) for _ in range(2)]
    give_up = [0, 0, 0, 1] if action == "continuous" else envs[0].single_action_space.n - 1
    moves = np.zeros_like(envs[0].action_space.sample())
    for env in envs:
        env.reset(seed=0)
        first = moves.copy()
        first[1:3] = give_up
        assert env.step(first)[2].tolist() == [False, True, True, False]
    odd = moves.astype(float if action == "continuous" else int)
    odd[1:3] = nonsense
    same(envs[0].step(odd), envs[1].step(moves))
    with pytest.raises(TaskError, match="action "):
        envs[0].step(odd)


def test_a_batch_of_actions_needs_one_for_each_cell():
    env = vector(3, action="discrete")
    env.reset(seed=0)
    with pytest.raises(TaskError, match=r"action has the shape \(1,\), \(3,\) is needed"):
        env.step(np.array([4]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_envs": 0}, "num_envs is 0, allowed is a whole number >= 1"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0, allowed is a whole number >= 1 and <= 1000000000 or None"),
        ({"autoreset_mode": "Sometimes"}, "autoreset_mode is 'Sometimes', allowed is one of"),
    ],
)
def test_an_impossible_argument_of_the_batch_is_refused(arguments, message):
    with pytest.raises(TaskError, match=message):
        gym.make_vec(ID, **{"num_envs": 2, **arguments})


@pytest.mark.parametrize("make", [WriteVerifyEnv, WriteVerifyVectorEnv])
def test_an_unknown_render_mode_is_refused(make):
    with pytest.raises(TaskError, match="render_mode is 'human', allowed are None, rgb_array, ansi"):
        make(render_mode="human")


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_the_text_shows_every_step_with_the_target_it_was_made_for():
    env = WriteVerifyEnv(device=QUIET, rounds=2, give_up=True, render_mode="ansi")
    env.reset(seed=0, options={"start": 1e-6, "target": 2.08e-5})
    env.step(env.task.encode(np.array([1.0]), np.array([1e-6]))[0])
    env.step(np.array([0.0, 0.0, 0.0, 1.0], np.float32))
    head, start, pulse, give_up = env.render().splitlines()
    assert head.split()[:2] == ["step", "pulse"]
    assert start.split() == ["0", "read", "1", "20.8", "-10.00"]
    assert pulse.split() == ["1", "+1.000", "V", "1e-06", "s", "20.8", "20.8", "-0.00", "accepted"] or "+0.00" in pulse
    assert "give up" in give_up and "accepted" not in give_up


def test_the_image_changes_with_the_episode():
    pytest.importorskip("matplotlib")
    env = WriteVerifyEnv(render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    env.step(PULSE)
    second = env.render()
    assert first.shape == second.shape == (480, 640, 3) and first.dtype == np.uint8
    assert np.any(first != second)
    assert WriteVerifyEnv().render() is None


def test_read_noise_of_a_batch_is_its_own_for_each_cell():
    env = vector(500, device=QUIET.replace(read=Read(noise=0.01)))
    observation, _ = env.reset(seed=0, options={"start": 5.05e-5})
    assert np.std(unscaled(observation[:, 0], READS)) == pytest.approx(0.01, rel=0.1)
