"""The crossbar task and its shells: what a step does to an array, both objectives, both kinds of action, refusals."""

import copy
import dataclasses
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from nested import row, same, single_equals_batch

from memenv import Device, DeviceError, Mismatch, Read, Response, load_device
from memenv.circuits.solver import Wires
from memenv.crossbars.converters import Converter
from memenv.crossbars.crossbar import Crossbar
from memenv.devices.law import dose_to_reach
from memenv.envs import CrossbarProgram, CrossbarProgramEnv, TaskError
from memenv.envs.crossbar_program.actions import REST
from memenv.envs.noise import Episodes, cells_of

ID = "memenv/CrossbarProgram-v0"
MODES = {mode.name: mode for mode in AutoresetMode}
STEP = Response(amplitude=1.0, width=1e-6, threshold=0.5, slope=0.1, dose=0.2, gamma=0.0)
QUIET = Device(g_min=1e-6, g_max=1e-4, set=STEP, reset=STEP)  # linear, without noise
SIZE = QUIET.g_max - QUIET.g_min
VARIANTS = {
    "cells": {},
    "lines": {"action": "lines", "writing": "rows", "rows": 3},
    "product": {"objective": "product", "inputs": 5},
    "gradients": {"objective": "product", "verify": "none", "action": "lines", "writing": "columns", "cols": 3},
    "half-select": {"scheme": "V/3", "writing": "rows", "verify": "all", "device": "pcm", "weight_latency": 1e3},
    "one cell": {"rows": 1, "cols": 1, "width": 1e-6, "weight_energy": 1e9},
    "mixture": {"device": ["threshold", "pcm"], "objective": "product", "inputs": [[0.1] * 4, [-0.2] * 4]},
}


def arguments(variant: str, **more) -> dict:
    return {"rows": 4, "cols": 4, "max_pulses": 4, **VARIANTS[variant], **more}


def vector(num_envs: int, mode: str = "NEXT_STEP", **more) -> gym.vector.VectorEnv:
    return gym.make_vec(ID, num_envs=num_envs, autoreset_mode=MODES[mode], **more)


class Game:
    """Episodes of a task in a batch of arrays; start and target in x of the range."""

    def __init__(self, arrays: int = 3, start=0.5, target=0.5, seed: int = 0, **task) -> None:
        self.task = CrossbarProgram(**{"device": QUIET, "rows": 4, "cols": 5, **task})
        noise = Episodes.of(seed, range(arrays)).noise(cells_of(self.task))
        self.arrays, self.noise = arrays, noise.next()
        chip = self.task.fabricate(noise.chip, arrays)
        shape = (arrays, *self.task.array.shape)
        given = {"start": start, "target": target}
        options = {name: QUIET.g_min + SIZE * np.broadcast_to(x, shape) for name, x in given.items() if x is not None}
        self.episode = self.task.initial(chip, self.noise.drawn(self.task.initial_draws), options)

    def step(self, action):
        self.noise = self.noise.next()
        self.episode = self.task.transition(self.episode, action, self.noise.drawn(self.task.step_draws))
        return self.episode

    def pulse(self, amplitude, width=1e-6):
        """Pulses [V, s] on all cells, 0 V for none."""
        shape = (self.arrays, *self.task.array.shape)
        driver = self.task.array.device.driver
        return self.step(
            self.task.actions.encode(np.broadcast_to(amplitude, shape), np.broadcast_to(width, shape), driver)
        )

    def line(self, line: int, amplitude: float, enabled, width=1e-6):
        """One pulse on a line of each array."""
        ones, driver = np.ones(self.arrays), self.task.array.device.driver
        enabled = np.broadcast_to(enabled, (self.arrays, self.task.actions.across))
        return self.step(
            self.task.actions.encode(np.full(self.arrays, line), amplitude * ones, width * ones, enabled, driver)
        )

    @property
    def x(self) -> np.ndarray:
        return self.episode.state.cell.x


# -- conventions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_passes_both_checkers_without_warning(variant):
    env = gym.make(ID, **arguments(variant)).unwrapped
    check_env(env, skip_render_check=True)
    pytest.importorskip("stable_baselines3.common.env_checker").check_env(env)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_single_env_equals_a_batch_of_one(variant, mode):
    single, batch = CrossbarProgramEnv(**arguments(variant)), vector(1, mode, **arguments(variant))
    single_equals_batch(single, batch, mode)


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_step_shows_in_final_what_disabled_would_have_shown_and_seeds_fix_both(variant):
    env, plain = vector(6, "SAME_STEP", **arguments(variant)), vector(6, "DISABLED", **arguments(variant))
    env.action_space.seed(1)
    same(env.reset(seed=4), plain.reset(seed=4))
    ended = 0
    for _ in range(16):
        action = env.action_space.sample()
        observation, reward, terminated, truncated, info = env.step(action)
        last, *rest, last_info = plain.step(action)
        same((reward, terminated, truncated), tuple(rest))
        if terminated.any():
            ended += terminated.sum()
            for name, value in info["final_obs"].items():
                np.testing.assert_array_equal(value[terminated], last[name][terminated])
            for name in (name for name in last_info if not name.startswith("_")):
                np.testing.assert_array_equal(info["final_info"][name][terminated], last_info[name][terminated])
            last, _ = plain.reset(options={"reset_mask": terminated})
        same(observation, last)
    assert ended >= 6


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("make", [lambda **k: gym.make(ID, **k), lambda **k: vector(3, **k)], ids=["single", "vector"])
def test_a_copied_env_goes_on_as_the_original(make, duplicate):
    env = make(**arguments("product"))
    env.reset(seed=3)
    env.action_space.seed(0)
    action = env.action_space.sample()
    env.step(action)
    twin = duplicate(env)
    for _ in range(2):
        same(twin.step(action), env.step(action))


@pytest.mark.parametrize("device", ["pcm", ["pcm", "threshold"]])
def test_a_specification_with_a_crossbar_survives_json(device):
    array = Crossbar(device=device, rows=3, cols=2, wires=Wires(), dac=Converter(bits=6, full_scale=0.2))
    env = gym.make(ID, crossbar=array, objective="product")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.task == env.unwrapped.task and hash(again.unwrapped.task.inputs)
    same(again.reset(seed=1), env.reset(seed=1))
    action = np.ones((3, 2, 2), np.float32)
    same(again.step(action), env.step(action))


@pytest.mark.parametrize("action", ["cells", "lines"])
def test_a_measured_table_offers_the_two_polarities(action, tmp_path):
    grid = np.array([np.linspace(1e-6, 5e-5, 6), np.linspace(2e-6, 6e-5, 6)])
    step = np.broadcast_to(np.array([1e-6, 2e-6, 3e-6])[None, :, None], (2, 3, 6))
    path = tmp_path / "two.npz"
    cdf = np.array([0.0, 0.5, 1.0])
    np.savez(path, device=np.arange(2), conductance=grid, cdf=cdf, dg_set=step, dg_reset=-step)
    env = CrossbarProgramEnv(device=str(path), rows=2, cols=3, action=action, writing="rows")
    assert (env.action_space.shape if action == "cells" else env.action_space.nvec.tolist()) in (
        (2, 3, 1),
        [2, 2, 2, 2, 2],
    )
    env.reset(seed=0, options={"start": 2e-5})
    up = env.step(np.full((2, 3, 1), 0.5) if action == "cells" else np.array([1, 0, 1, 1, 1]))[-1]
    rise = up["true_conductance"] - 2e-5
    assert rise[1].min() > 0.9e-6 and rise[1].max() < 3.1e-6 and np.all((rise[0] > 1e-7) == (action == "cells"))


def test_an_idle_environment_does_not_depend_on_those_beside_it(everything):
    env, alone = (vector(2, "DISABLED", **arguments("cells", device=everything)) for _ in range(2))
    action = np.zeros((2, 4, 4, 2), np.float32)
    for each in (env, alone):
        each.reset(seed=0)
    busy = action.copy()
    busy[1] = 1.0
    first, second = (row(each.step(own)[-1]) for each, own in ((env, action), (alone, busy)))
    same(first, second)


def test_what_an_env_returns_is_its_users_to_change():
    envs = [vector(3, **arguments("product")) for _ in range(2)]
    results = [env.reset(seed=0) for env in envs]
    action = np.ones((3, 4, 4, 2), np.float32)
    for _ in range(4):
        observation, *_, info = results[1]
        for value in (*observation.values(), *info.values()):
            value[:] = 0
        results = [env.step(action) for env in envs]
        same(*results)


@pytest.mark.parametrize("variant", ["cells", "lines", "product"])
def test_no_observation_element_is_constant(variant):
    env = vector(40, "SAME_STEP", **arguments(variant, max_pulses=2, tolerance=0.1))
    env.action_space.seed(0)
    seen = [env.reset(seed=0)[0]]
    for _ in range(12):
        observation, *_, info = env.step(env.action_space.sample())
        seen += [observation, info.get("final_obs", observation)]
    for name in env.single_observation_space:
        values = np.concatenate([part[name] for part in seen])
        assert np.all(np.ptp(values, axis=0) > 0), name
        assert env.single_observation_space[name].contains(values[0])


def test_ppo_takes_the_dictionary_and_maskable_ppo_the_masks():
    contrib = pytest.importorskip("sb3_contrib")
    from agents.sb3.vec_env import GymVecEnv

    env = GymVecEnv(vector(2, "SAME_STEP", **arguments("lines")))
    agent = contrib.MaskablePPO("MultiInputPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu", seed=0)
    agent.learn(16)
    assert agent.predict(env.reset())[0].shape == (2, 6)


# -- one step ----------------------------------------------------------------------------------------------------------


def test_each_cell_gets_its_own_pulse_as_the_device_takes_it(rng):
    game = Game(device=load_device("threshold").replace(read=Read()), target=0.9)
    shape = (3, 4, 5)
    amplitude = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.9, 1.3, shape)
    width = np.exp(rng.uniform(np.log(1e-6), np.log(1e-5), shape))
    before, noise = game.episode.state, game.noise.next().drawn(game.task.step_draws)
    driver = game.task.array.device.driver
    after = game.task.transition(game.episode, game.task.actions.encode(amplitude, width, driver), noise)
    expected = before.chip.pulse(before.cell, amplitude, width, noise[0])
    np.testing.assert_allclose(after.state.cell.x, expected.x, atol=1e-5)
    assert np.ptp(after.state.cell.x - before.cell.x) > 0.1


def test_weak_signals_are_no_pulses_and_nothing_is_read_or_paid():
    game = Game(device=QUIET.replace(read=Read(noise=0.01)))
    before = game.episode
    assert not before.seen.within.all()
    action = np.full((3, 4, 5, 2), 0.99 * REST, np.float32)
    action[..., 0] *= np.where(np.arange(5) % 2, -1, 1)
    after = game.step(action)
    np.testing.assert_array_equal(after.state.cell.x, before.state.cell.x)
    np.testing.assert_array_equal(after.seen.reading, before.seen.reading)
    assert not after.state.energy.any() and not after.state.latency.any() and not after.signal.any()
    np.testing.assert_allclose(sum(game.task.reward(after).values()), -0.02 * (~after.seen.within).mean((1, 2)))
    opened = game.task.observe(after)["open"].reshape(3, 4, 5)[:, 0, 0]
    action[:, 0, 0, 0] = REST
    np.testing.assert_array_equal(game.step(action).state.pulses.sum((1, 2)), opened)


@pytest.mark.parametrize("writing", ["cells", "rows", "columns"])
def test_a_line_pulses_its_enabled_cells_alike_and_at_once_where_lines_are_written(writing):
    game = Game(target=0.9, action="lines", writing=writing, width=1e-6)
    enabled = np.arange(4 if writing == "columns" else 5) % 3 != 1
    state = game.line(2, 1.0, enabled).state
    moved = game.x - 0.5
    line = moved[:, :, 2] if writing == "columns" else moved[:, 2]
    np.testing.assert_allclose(line, np.broadcast_to(0.2 * enabled, line.shape), atol=1e-12)
    assert moved.sum() == pytest.approx(line.sum())
    np.testing.assert_array_equal(state.reads, state.pulses)
    np.testing.assert_allclose(state.latency, 2e-6 * (enabled.sum() if writing == "cells" else 1))  # pulse and read


def test_cells_of_a_row_that_are_written_together_share_the_mean_pulse():
    amplitude = np.full((4, 5), 1.02)
    amplitude[:, 1] = 1.03
    alone, together = Game(target=0.9), Game(target=0.9, writing="rows")
    for game in (alone, together):
        game.pulse(amplitude)
    assert alone.x[0, 0, 1] > alone.x[0, 0, 0] + 0.01
    np.testing.assert_allclose(together.x[..., 1], together.x[..., 0])
    assert np.all(alone.episode.state.latency > 4 * together.episode.state.latency)


def test_half_select_moves_accepted_cells_which_only_reading_all_shows():
    target = np.full((4, 5), 0.5)
    target[0] = 0.6
    task = {"target": target, "scheme": "V/2", "tolerance": 0.01, "width": 1e-5}
    games = {verify: Game(verify=verify, **task) for verify in ("pulsed", "all")}
    amplitude = np.zeros((4, 5))
    amplitude[0] = 1.5
    for verify, game in games.items():
        assert game.task.info(game.episode)["accepted"].tolist() == [0.75] * 3
        game.pulse(amplitude)
        info = game.task.info(game.episode)
        assert np.all(game.x[:, 1:] > 0.51)
        assert np.all(info["false_acceptances"] == (0.75 if verify == "pulsed" else 0))
        assert np.all(info["accepted"] == (0.75 if verify == "pulsed" else 0))
    reward = games["pulsed"].task.reward(games["pulsed"].episode)
    np.testing.assert_allclose(reward["false_acceptance"], -0.75)
    np.testing.assert_allclose(reward["acceptance"], 0)
    np.testing.assert_allclose(games["all"].task.reward(games["all"].episode)["acceptance"], -0.75)


# -- episodes ----------------------------------------------------------------------------------------------------------


def hit(game: Game) -> np.ndarray:
    """Widths [s] of pulses at 1 V that take noise-free linear cells to their targets, and their signs."""
    goal, chip = game.episode.target, game.episode.state.chip
    up = goal > game.x
    dose = dose_to_reach(chip.law(up), game.x, goal, chip.x_lo, chip.x_hi, up)
    return np.where(up, 1.0, -1.0), 1e-6 * dose / STEP.dose


def test_a_perfect_pulse_for_every_cell_ends_the_episode_with_all_accepted():
    game = Game(start=0.2, target=np.linspace(0.4, 0.9, 20).reshape(4, 5))
    game.pulse(*hit(game))
    info = game.task.info(game.episode)
    assert np.all(game.task.terminated(game.episode)) and np.all(info["is_success"])
    np.testing.assert_allclose(info["true_error"], 0, atol=1e-5)
    reward = game.task.reward(game.episode)
    start = np.abs(game.task.observations.scaled_error("error", 0.2 - game.episode.target)).mean()
    expected = {"pulses": -0.02, "acceptance": 1, "false_acceptance": 0, "failure": 0, "waiting": 0, "shaping": start}
    assert reward.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(reward[name], value, rtol=1e-9, err_msg=name)


def test_random_starts_and_targets_fill_their_ranges():
    episode = Game(200, start=None, target=None, target_range=(0.3, 0.6)).episode
    assert (episode.target.min(), episode.target.max()) == pytest.approx((0.3, 0.6), abs=0.001)
    x = episode.state.cell.x
    assert (x.min(), x.max(), x.mean()) == pytest.approx((0, 1, 0.5), abs=0.01)


def test_an_array_that_starts_at_its_target_ends_with_the_first_step():
    game = Game(action="lines", writing="rows")
    assert game.episode.seen.within.all() and not game.task.terminated(game.episode).any()
    assert game.task.info(game.episode)["action_mask"].all()
    assert np.all(game.task.terminated(game.line(0, 1.0, np.zeros(5))))


def test_a_stuck_cell_is_closed_when_its_pulses_are_spent_and_gets_no_more():
    stuck = QUIET.replace(mismatch=Mismatch(stuck_low=1.0))
    game = Game(device=stuck, start=0.0, target=0.9, max_pulses=3, action="lines", writing="rows", rows=2)
    for spent in range(1, 5):
        episode = game.line(0, 1.0, np.ones(5))
        assert np.all(episode.state.pulses[:, 0] == min(spent, 3)) and not game.task.terminated(episode).any()
        mask = game.task.info(episode)["action_mask"]
        np.testing.assert_array_equal(mask[:, :2], [[spent < 3, True]] * 3)
    for _ in range(2):
        episode = game.line(1, 1.0, np.ones(5))
    assert np.all(game.task.terminated(episode)) and episode.steps[0] == 6  # the steps are spent
    np.testing.assert_array_equal(game.task.observe(episode)["budget"], -1)


def test_masks_leave_the_lines_and_places_that_have_open_cells():
    target = np.full((4, 5), 0.5)
    target[2, 3] = target[2, 0] = 0.9
    game = Game(action="lines", writing="rows", target=target)
    mask = game.task.info(game.episode)["action_mask"][0]
    assert mask.shape == (game.task.action_space.nvec.sum(),)
    assert mask[:4].tolist() == [False, False, True, False] and mask[4:52].all()
    np.testing.assert_array_equal(mask[52:].reshape(5, 2), [[True, place in (0, 3)] for place in range(5)])


def test_rewards_sum_to_what_the_episode_achieved_and_spent():
    weights = {"weight_energy": 1e9, "weight_latency": 1e4, "weight_shaping": 0.5, "weight_waiting": 2.0}
    weights["reward_map"] = True
    env = vector(8, "DISABLED", **arguments("cells", **weights))
    first, begin = env.reset(seed=0)
    env.action_space.seed(0)
    total: dict[str, np.ndarray] = {}
    waited = 0.0
    for _ in range(4):
        last, reward, terminated, _, info = env.step(env.action_space.sample())
        terms = {name: value for name, value in info.items() if name.startswith("reward/")}
        np.testing.assert_allclose(reward, sum(terms.values()), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(reward, info["reward_map"].mean((1, 2)), rtol=1e-5, atol=1e-7)
        total = {name: value + total.get(name, 0) for name, value in terms.items()}
        waited += 1 - info["accepted"]
    assert terminated.all()
    error, before = (np.abs(part["error"]) * (1 - part["within"]) for part in (last, first))
    expected = {
        "acceptance": info["accepted"] - begin["accepted"],
        "false_acceptance": begin["false_acceptances"] - info["false_acceptances"],
        "pulses": -0.02 * info["pulses"] / 16,
        "failure": -((1 - last["within"]) * (1 + error)).mean(1),
        "waiting": -2 * waited / 4,
        "shaping": 0.5 * before.mean(1),
        "energy": -1e9 * info["energy"],
        "latency": -1e4 * info["latency"],
    }
    assert total.keys() == {f"reward/{name}" for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(total[f"reward/{name}"], value, rtol=1e-5, atol=1e-9, err_msg=name)


def test_nothing_done_is_a_failure_that_waited_all_the_time():
    game = Game(start=0.3, target=0.8, max_pulses=4)
    total = sum(sum(game.task.reward(game.step(np.zeros((3, 4, 5, 2)))).values()) for _ in range(4))
    assert game.task.terminated(game.episode).all()
    np.testing.assert_allclose(total, -2.0)  # what the error costs is what the potential gives back
    assert not game.episode.state.pulses.any()


def test_cells_that_are_within_get_no_pulse():
    target = np.where(np.arange(5) == 2, 0.8, 0.3)
    game = Game(start=0.3, target=target)
    state = game.pulse(1.0).state
    np.testing.assert_array_equal(state.pulses, np.broadcast_to(np.arange(5) == 2, (3, 4, 5)))


# -- the product -------------------------------------------------------------------------------------------------------


def test_given_inputs_show_the_error_of_the_product_as_computed_by_hand(rng):
    inputs, x = rng.uniform(-0.3, 0.2, (6, 4)), rng.uniform(0.1, 0.9, (3, 4, 5))
    game = Game(objective="product", inputs=inputs, start=x, target=0.5)
    wrong, square = inputs @ (x - 0.5), (inputs**2).mean()
    product = game.episode.seen.product
    np.testing.assert_allclose(product.columns, np.sqrt((wrong**2).mean(1) / square / 4))
    np.testing.assert_allclose(product.gradient, inputs.T @ wrong / 6 / square)
    view = game.task.view(game.task.observe(game.episode))
    np.testing.assert_allclose(view.gradient, product.gradient / 0.02, rtol=1e-5)
    np.testing.assert_allclose(view.product_error, product.columns / 0.02, rtol=1e-5)
    np.testing.assert_allclose(view.error, (x - 0.5) / 0.02, rtol=1e-4)


def test_the_gradient_of_many_random_inputs_is_the_error_of_the_cells(rng):
    x = rng.uniform(0.2, 0.8, (2, 4, 5))
    product = Game(2, objective="product", inputs=20_000, start=x).episode.seen.product
    np.testing.assert_allclose(product.gradient, x - 0.5, atol=0.02)
    np.testing.assert_allclose(product.total, np.sqrt(((x - 0.5) ** 2).mean((1, 2))), rtol=0.03)


def test_following_the_gradient_programs_the_product_without_reading_a_cell():
    game = Game(
        8, objective="product", verify="none", inputs=32, start=None, target=None, tolerance=0.03, rows=8, cols=6
    )
    first = game.episode
    reached = np.zeros(8, bool)
    for _ in range(30):
        gradient = game.task.view(game.task.observe(game.episode)).gradient * 0.03
        game.pulse(-np.sign(gradient), np.clip(0.5 * np.abs(gradient) / 0.2, 0.1, 5) * 1e-6)
        reached |= game.task.info(game.episode)["is_success"]
    assert reached.all() and np.all(first.seen.product.total > 0.2)
    assert not game.episode.state.reads.any()
    np.testing.assert_array_equal(game.episode.seen.reading, first.seen.reading)


def test_a_product_takes_a_read_of_time_and_its_energy_for_each_input():
    game = Game(objective="product", inputs=np.full((7, 4), 0.2), verify="none")
    state = game.pulse(0.0).state
    np.testing.assert_allclose(state.latency, 7e-6)
    np.testing.assert_allclose(state.energy, 7 * 0.2**2 * 1e-6 * 5.05e-5)


@pytest.mark.parametrize(
    "change, least", [({"wires": Wires(row_segment=100.0)}, 0.005), ({"adc": Converter(bits=4, full_scale=1e-4)}, 0.01)]
)
def test_wires_and_converters_enter_the_product_where_all_cells_are_right(change, least):
    plain = Crossbar(device=QUIET, rows=4, cols=5)
    perfect, real = (
        Game(device="threshold", rows=8, cols=8, crossbar=array, objective="product", inputs=np.eye(4) / 10)
        for array in (plain, plain.replace(**change))
    )
    assert perfect.episode.seen.product.total.max() < 1e-12
    assert real.episode.seen.product.total.min() > least


# -- actions, options, pictures ----------------------------------------------------------------------------------------


def test_encoded_pulses_come_back_as_operations(rng):
    game = Game(2)
    amplitude = rng.choice([-1.0, 0.0, 1.0], (2, 4, 5)) * rng.uniform(0.5, 1.5, (2, 4, 5))
    width = np.exp(rng.uniform(np.log(1e-7), np.log(1e-5), (2, 4, 5)))
    task = game.task
    action = task.actions.encode(amplitude, width, QUIET.driver)
    assert task.action_space.contains(action[0])
    chip, everywhere = game.episode.state.chip, np.ones((2, 4, 5), bool)
    operations = task.actions.operations(action, task.array, chip, everywhere)
    np.testing.assert_allclose(operations.amplitude, amplitude, rtol=1e-5)
    np.testing.assert_allclose(operations.width, width * (amplitude != 0), rtol=1e-5)


def test_a_target_matrix_and_a_chip_are_pinned_also_under_a_mask():
    spread = QUIET.replace(mismatch=Mismatch(rate=0.5))
    env = vector(3, "DISABLED", device=spread, rows=2, cols=3)
    matrix = np.arange(1, 7).reshape(2, 3) * 1.5e-5
    options = {"target": matrix, "start": 2.08e-5, "chip_seed": 5}
    observation, info = env.reset(seed=0, options=options)
    np.testing.assert_allclose(env.unwrapped.task.view(observation).target, [(matrix - 1e-6) / SIZE] * 3, rtol=1e-5)
    np.testing.assert_allclose(info["true_conductance"], 2.08e-5)
    doses = env.unwrapped._runner.episode.state.chip.set.dose
    env.reset(seed=9, options=options)
    np.testing.assert_array_equal(env.unwrapped._runner.episode.state.chip.set.dose, doses)
    mask = np.array([False, True, False])
    each = np.stack([matrix, matrix[::-1], matrix])
    later, _ = env.reset(options={"reset_mask": mask, "target": each})
    np.testing.assert_allclose(env.unwrapped.task.view(later).target[1], (matrix[::-1] - 1e-6) / SIZE, rtol=1e-5)
    np.testing.assert_array_equal(later["target"][0], observation["target"][0])


def test_pictures_show_the_episode():
    pytest.importorskip("matplotlib")
    env = CrossbarProgramEnv(render_mode="rgb_array", **arguments("product"))
    env.reset(seed=0)
    first = env.render()
    env.step(np.ones((4, 4, 2), np.float32))
    assert first.shape == (480, 640, 3) and first.dtype == np.uint8 and np.any(first != env.render())
    text = CrossbarProgramEnv(render_mode="ansi", **arguments("cells"))
    text.reset(seed=0)
    text.step(np.ones((4, 4, 2), np.float32))
    head, start, step = text.render().splitlines()
    assert head.split()[:2] == ["step", "pulses"]
    assert start.split()[:2] == ["0", "0"] and step.split()[:2] == ["1", "16"]


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task, message",
    [
        ({"objective": "error"}, 'objective is \'error\', allowed is "cells" or "product"'),
        ({"action": "rows"}, 'action is \'rows\', allowed is "cells" or "lines"'),
        ({"rows": 0}, "rows is 0, allowed is a whole number >= 1"),
        ({"scheme": "V/4"}, "scheme is 'V/4', allowed is 1T1R, V/2, V/3"),
        ({"tolerance": np.nan}, "tolerance is nan, allowed is a number >= 1e-09"),
        ({"max_pulses": 0}, "max_pulses is 0, allowed is a whole number >= 1"),
        ({"verify": "none"}, "verify is 'none', allowed is pulsed, all for objective='cells'"),
        ({"target_range": (0.9, 0.1)}, r"target_range is \(0.9, 0.1\), allowed is 0 <= low < high <= 1"),
        ({"weight_shaping": -1.0}, "weight_shaping is -1.0, allowed is a number >= 0"),
        ({"width": 1.0}, "width is 1.0, allowed is None or 1e-07 to 1e-05 s"),
        ({"inputs": 0}, "inputs is 0, allowed is a whole number >= 1 and <= 1000000 or a matrix"),
        ({"inputs": np.ones((3, 4))}, r"inputs have the shape \(3, 4\), a whole number or a matrix \(n, 8\) is needed"),
        ({"inputs": np.full((3, 8), np.nan)}, "inputs are all zero, or some are NaN or infinite"),
        ({"crossbar": "64x64"}, "crossbar is '64x64', allowed is a memenv.crossbars.crossbar.Crossbar, or None"),
        (
            {"crossbar": Crossbar(), "rows": 4},
            r"rows is given twice, by crossbar too: use crossbar.replace\(rows=...\)",
        ),
        ({"rows": 10**6, "cols": 10**6}, "1,000,000,000,000 cells of quiet need .* GB, .* GB are free"),
    ],
)
def test_an_impossible_argument_is_named_with_its_value_and_what_is_allowed(task, message):
    with pytest.raises(TaskError, match=message):
        CrossbarProgram(**{"device": QUIET.replace(name="quiet")} | task if "crossbar" not in task else task)


def test_too_many_arrays_are_refused_before_anything_is_allocated():
    with pytest.raises(TaskError, match=r"4,096,000,000,000 cells .* need .* GB, .* GB are free"):
        vector(10**9, device=QUIET, rows=64, cols=64)


def test_cells_with_different_drivers_do_not_share_pulses():
    CrossbarProgram(device=["threshold", "ag-asi"])
    for change in ({"writing": "rows"}, {"action": "lines"}):
        with pytest.raises(DeviceError, match="different drivers"):
            CrossbarProgram(device=["threshold", "ag-asi"], **change)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": np.full((3, 2), 5e-5)}, r"reset option target is float64 of shape \(3, 2\); a number, \(2, 3\) or"),
        ({"start": "low"}, "reset option start is <U3 of shape"),
        (
            {"target": np.array([[5e-5, np.nan, 5e-5], [1.0, 5e-5, 5e-5]])},
            r"target is nan S in row 0, column 1 \(2 such",
        ),
        ({"inputs": 3}, "reset option 'inputs' is unknown; known are chip_seed, start, target"),
    ],
)
def test_a_reset_option_is_refused_by_its_name_and_value(options, message):
    with pytest.raises(TaskError, match=message):
        CrossbarProgramEnv(device=QUIET, rows=2, cols=3).reset(options=options)


@pytest.mark.parametrize(
    "action, value, message",
    [
        ("cells", np.zeros((2, 3)), r"action has the shape \(2, 3\), \(2, 3, 2\) is needed"),
        ("cells", np.full((2, 3, 2), np.nan), "action has a component nan, allowed is -1 to 1"),
        ("cells", np.full((2, 3, 2), "a"), "action is of type <U1"),
        ("lines", np.zeros(5), "action is of type float64, whole numbers are needed"),
        ("lines", np.array([2, 0, 1, 1, 1]), r"action\[0\] is 2, allowed is 0 to 1"),
        ("lines", np.array([1, 48, 1, 1, 1]), r"action\[1\] is 48, allowed is 0 to 47"),
        ("lines", np.array([1, 0, 1, -1, 1]), r"action\[3\] is -1, allowed is 0 to 1"),
    ],
)
def test_an_action_outside_the_space_is_refused_and_changes_nothing(action, value, message):
    env, twin = (CrossbarProgramEnv(rows=2, cols=3, action=action) for _ in range(2))
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(TaskError, match=message):
        env.step(value)
    np.testing.assert_array_equal(env._runner.episode.state.cell.x, twin._runner.episode.state.cell.x)


def test_a_task_is_varied_with_replace():
    task = dataclasses.replace(CrossbarProgram(inputs=[[0.1] * 8]), rows=8, action="lines", writing="columns", cols=3)
    assert (task.array.shape, task.max_steps, task.inputs) == ((8, 3), 150, ((0.1,) * 8,))
