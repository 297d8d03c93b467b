"""The few-shot task and its shells: conventions, what actions do to a chip, what is seen and paid, refusals."""

import copy
import pickle
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from nested import same, single_equals_batch

from memenv import Device, DeviceError, Mismatch, Read, Response
from memenv.envs import FewShot, FewShotEnv, TaskError
from memenv.envs.few_shot.actions import MOST_THRESHOLD, SPAN, LearningActions
from memenv.envs.few_shot.task import of_the_worst
from memenv.envs.noise import Episodes, cells_of
from memenv.few_shot import bank
from memenv.few_shot.characters import Characters
from memenv.few_shot.heads import class_means, head_inputs
from memenv.few_shot.strokes import TRAINING_GLYPHS
from memenv.learning.backprop import cross_entropy, forward

ID = "memenv/FewShot-v0"
MODES = {mode.name: mode for mode in AutoresetMode}
STEP = Response(amplitude=1.0, width=1e-6, threshold=0.5, slope=0.1, dose=0.02, gamma=0.0)
QUIET = Device(g_min=1e-6, g_max=1e-4, set=STEP, reset=STEP)  # linear, without noise
SMALL = {"init": "random", "ways": 3, "queries": 2, "max_steps": 3, "engine": "numpy"}
VARIANTS = {
    "devices": {},
    "one device": {"device": "alox-hfo2", "weight_energy": 1e9},
    "mismatch": {"device": "hfo2-array-om", "shots": 2},
    "unknown_faults": {"device": "hfo2-array-om", "know_stuck": False, "devices_per_weight": 2},
    "relaxing": {"device": "pcm", "pulsed": "set", "reads": 1},
    "mlp": {"network": "mlp", "device": QUIET},
}


@pytest.fixture(scope="module")
def few() -> Characters:
    """A few glyphs, for which an encoder takes no time."""
    return bank.glyph_split("train").select(np.arange(8))


def arguments(variant: str, few: Characters, **more) -> dict:
    return {**SMALL, "characters": few, **VARIANTS[variant], **more}


def vector(num_envs: int, mode: str = "NEXT_STEP", **more) -> gym.vector.VectorEnv:
    return gym.make_vec(ID, num_envs=num_envs, autoreset_mode=MODES[mode], **more)


def play(task: FewShot, tasks: int, *choices: dict, seed: int = 0):
    """The episodes after each of the choices, the first one before any."""
    noise = Episodes.of(seed, range(tasks)).noise(cells_of(task))
    chip, noise = task.fabricate(noise.chip, tasks), noise.next()
    episode = task.initial(chip, noise.drawn(task.initial_draws), {})
    episodes = [episode]
    for choice in choices:
        gain = np.broadcast_to(choice.get("gain", 1.0), (tasks, len(task.base_rates)))
        action = task.encode(gain, **{name: value for name, value in choice.items() if name != "gain"})
        noise = noise.next()
        episode = task.transition(episode, action, noise.drawn(task.step_draws))
        episodes.append(episode)
    return episodes


# -- conventions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_passes_both_checkers_without_warning(variant, few):
    env = gym.make(ID, **arguments(variant, few)).unwrapped
    check_env(env, skip_render_check=True)
    pytest.importorskip("stable_baselines3.common.env_checker").check_env(env)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_single_env_equals_a_batch_of_one(variant, mode, few):
    single, batch = FewShotEnv(**arguments(variant, few)), vector(1, mode, **arguments(variant, few))
    single_equals_batch(single, batch, mode)


def test_episodes_started_ahead_are_those_of_single_environments_after_many_autoresets(few):
    batch, given = vector(3, "SAME_STEP", **arguments("mismatch", few)), arguments("mismatch", few)
    singles = [FewShotEnv(**given) for _ in range(3)]
    of_batch, _ = batch.reset(seed=7)
    seen = [single.reset(seed=7 + number)[0] for number, single in enumerate(singles)]
    batch.action_space.seed(0)
    ended = np.zeros(3, int)
    while ended.min() < 6:  # more than are kept ahead
        np.testing.assert_array_equal(of_batch, seen)
        actions = batch.action_space.sample()
        actions[:, -1] = -1.0  # goes on
        actions[ended.argmin(), -1] = 1.0  # stops: environments end at different times
        of_batch, *_ = batch.step(actions)
        for number, single in enumerate(singles):
            seen[number], _, terminated, *_ = single.step(actions[number])
            if terminated:
                ended[number] += 1
                seen[number], _ = single.reset()


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_step_shows_in_final_what_disabled_would_have_shown_and_seeds_fix_both(variant, few):
    env = vector(6, "SAME_STEP", **arguments(variant, few))
    plain = vector(6, "DISABLED", **arguments(variant, few))
    env.action_space.seed(1)
    same(env.reset(seed=4), plain.reset(seed=4))
    ended = 0
    for _ in range(8):
        action = env.action_space.sample()
        observation, reward, terminated, _, info = env.step(action)
        expected, expected_reward, expected_terminated, _, expected_info = plain.step(action)
        np.testing.assert_array_equal(reward, expected_reward)
        np.testing.assert_array_equal(terminated, expected_terminated)
        if terminated.any():
            ended += int(terminated.sum())
            np.testing.assert_array_equal(info["final_obs"][terminated], expected[terminated])
            np.testing.assert_array_equal(info["final_info"]["accuracy"], expected_info["accuracy"])
            expected, _ = plain.reset(options={"reset_mask": terminated})
        np.testing.assert_array_equal(observation, expected)
    assert ended > 6


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"]
)
def test_a_copied_env_goes_on_as_the_original(duplicate, few):
    env = FewShotEnv(**arguments("mismatch", few))
    env.reset(seed=0)
    again = duplicate(env)
    action = np.zeros(env.action_space.shape, np.float32)
    same(again.step(action), env.step(action))


@pytest.mark.parametrize("device", ["pcm", [QUIET, "alox-hfo2"]])
def test_a_specification_survives_json(device):
    env = gym.make(ID, **SMALL, device=device, split="test", max_episode_steps=9)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.task == env.unwrapped.task
    same(again.reset(seed=1), env.reset(seed=1))


def test_what_an_env_returns_is_its_users_to_change(few):
    envs = [vector(4, **arguments("devices", few)) for _ in range(2)]
    results = [env.reset(seed=0) for env in envs]
    for _ in range(3):
        observation, *_, info = results[1]
        observation[:] = np.nan
        for value in info.values():
            value[:] = 0
        results = [env.step(np.zeros((4, 5), np.float32)) for env in envs]
        same(*results)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_no_observation_element_is_constant_and_none_leaves_the_space(network, few):
    env = vector(16, "SAME_STEP", **arguments("mismatch", few, max_pulses=2, network=network))
    env.action_space.seed(0)
    env.reset(seed=0)
    seen = np.concatenate([env.step(env.action_space.sample())[0] for _ in range(10)])
    assert (seen.min(0) < seen.max(0)).all()
    space = env.single_observation_space
    assert (seen >= space.low).all() and (seen <= space.high).all()


def test_ppo_learns_a_step_and_its_shape_is_that_of_the_task(few):
    ppo = pytest.importorskip("stable_baselines3").PPO
    from agents.sb3.vec_env import GymVecEnv

    env = GymVecEnv(vector(4, "SAME_STEP", **arguments("devices", few)))
    model = ppo("MlpPolicy", env, n_steps=4, batch_size=8, seed=0, device="cpu").learn(16)
    assert model.predict(env.reset())[0].shape == (4, 5)


# -- tasks and chips ---------------------------------------------------------------------------------------------------


def test_the_splits_share_no_glyph_with_each_other_or_with_pretraining():
    seeds = [seed for seed, _ in bank.SPLITS.values()]
    assert len({*seeds, TRAINING_GLYPHS[0]}) == 3
    train, test = (bank.glyph_split(split).images.reshape(-1, 28 * 28) for split in bank.SPLITS)
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}


def test_an_episode_has_different_classes_and_different_drawings_in_support_and_query(few):
    (episode,) = play(FewShot(**arguments("devices", few)), 50)
    assert all(len(set(kinds)) == 3 for kinds in episode.kind.tolist())
    assert all(len(set(drawn)) == 3 for drawn in episode.instance.reshape(-1, 3).tolist())
    assert set(episode.kind.ravel()) == set(range(8)) and set(episode.instance.ravel()) == set(range(20))


def test_a_chip_is_wholly_of_one_of_the_devices_and_each_comes_up(few):
    other = QUIET.replace(g_min=2e-6, g_max=3e-6)
    (episode,) = play(FewShot(**arguments("devices", few, device=[QUIET, other])), 40)
    most = episode.layers[0].chip.g_max  # one number for all cells of a chip
    assert most.shape == (40, 1, 1, 1) and set(most.ravel()) == {1e-4, 3e-6}


def test_devices_that_differ_in_the_pulse_of_one_polarity_learn_side_by_side(few):
    other = QUIET.replace(reset=replace(STEP, amplitude=1.2))
    task = FewShot(**arguments("devices", few, device=[QUIET, other]))
    assert np.isfinite(task.info(play(task, 4, {})[-1])["accuracy"]).all()


def test_circuits_know_a_chips_range_but_take_its_pulses_for_the_mean_of_the_devices(few):
    fine = QUIET.replace(set=replace(STEP, dose=0.01), reset=replace(STEP, dose=0.01), g_min=1e-5, g_max=2e-5)
    task = FewShot(**arguments("devices", few, device=[QUIET.replace(set=replace(STEP, dose=0.04)), fine]))
    (layer,) = play(task, 20)[0].layers
    size = (layer.chip.g_max - layer.chip.g_min)[..., :1, :1, :1]
    np.testing.assert_allclose(layer.step[0] / size, 0.02, rtol=1e-6)
    np.testing.assert_allclose(layer.step[1] / size, np.sqrt(0.02 * 0.01), rtol=1e-6)
    np.testing.assert_allclose(layer.scale[..., None] * size, task.start.ranges[0], rtol=1e-6)


def test_a_chip_seed_pins_the_chips_and_nothing_else(few):
    env = FewShotEnv(**arguments("mismatch", few))

    def bounds(seed: int, chip_seed: int | None) -> tuple[np.ndarray, np.ndarray]:
        env.reset(seed=seed, options={"chip_seed": chip_seed})
        episode = env._runner.episode
        return episode.layers[0].chip.x_hi, episode.kind

    (chip, kind), (again, other_kind), (other, _) = bounds(1, 11), bounds(2, 11), bounds(1, 12)
    np.testing.assert_array_equal(chip, again)
    assert (chip != other).any() and (kind != other_kind).any()


def test_stuck_cells_that_are_known_get_no_pulses(few):
    device = QUIET.replace(mismatch=Mismatch(stuck_anywhere=0.3))
    for know_stuck in (True, False):
        task = FewShot(**arguments("devices", few, device=device, know_stuck=know_stuck))
        *_, episode = play(task, 8, {"gain": 10.0})
        stuck = (episode.layers[0].chip.x_hi == episode.layers[0].chip.x_lo).mean()
        assert 0.2 < stuck < 0.4
        assert (episode.last.layers[:, 2].mean() < 0.1) == know_stuck  # pulsed, and at a bound or stuck


# -- learning ----------------------------------------------------------------------------------------------------------


def test_learning_on_quiet_chips_brings_the_loss_down_and_the_queries_up(few):
    start, *_, end = play(FewShot(**arguments("devices", few, device=QUIET)), 40, *[{}] * 3)
    assert abs(start.seen.loss.mean() / np.log(3) - 1.0) < 0.05
    assert end.seen.loss.mean() < 0.5 * start.seen.loss.mean()
    assert end.seen.accuracy.mean() > start.seen.accuracy.mean() + 0.2


def test_a_small_step_at_twice_the_gain_gives_twice_the_pulses(few):
    task = FewShot(**arguments("devices", few, device=QUIET))
    small, large = (play(task, 40, {"gain": gain})[-1].pulses.mean() for gain in (0.2, 0.4))
    assert large == pytest.approx(2 * small, rel=0.05)


def test_doses_below_the_threshold_are_not_given(few):
    task = FewShot(**arguments("devices", few, device=QUIET))
    assert play(task, 8, {"gain": 0.1})[-1].pulses.min() > 0
    assert play(task, 8, {"gain": 0.1, "threshold": 2.0})[-1].pulses.max() == 0


def test_a_share_of_the_examples_is_that_with_the_largest_errors():
    outputs = np.array([[[3.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]] * 3)
    targets = np.array([[1.0, 0.0]] * 4)
    _, error = of_the_worst(np.array([1.0, 0.5, 0.0]))(outputs, targets)
    _, whole = cross_entropy(outputs, targets)
    taught = np.array([[True] * 4, [False, False, True, True], [False, False, False, True]])
    np.testing.assert_array_equal(error, whole * taught[..., None])


def test_a_share_of_the_examples_gives_another_step(few):
    task = FewShot(**arguments("devices", few, device=QUIET))
    (_, whole), (_, part) = (play(task, 8, {"gain": 0.3, "share": share}) for share in (1.0, 0.1))
    assert part.seen.loss.mean() > whole.seen.loss.mean() + 0.1


def test_a_layer_with_the_least_signal_keeps_its_cells_and_the_others_learn(few):
    task = FewShot(**arguments("mlp", few))
    before, after = play(task, 3, {"gain": np.array([0.0, 1.0])})
    np.testing.assert_array_equal(before.layers[0].state.x, after.layers[0].state.x)
    assert (before.layers[1].state.x != after.layers[1].state.x).any()


def test_stopping_ends_the_episode_without_pulses_or_energy(few):
    task = FewShot(**arguments("devices", few))
    before, after = play(task, 5, {"stop": np.array([True, False, True, False, False])})
    stopped = np.array([True, False, True, False, False])
    np.testing.assert_array_equal(task.terminated(after), stopped)
    assert (after.pulses[stopped] == 0).all() and (after.energy[stopped] == 0).all()
    assert (after.pulses[~stopped] > 0).all() and (after.energy[~stopped] > 0).all()
    np.testing.assert_allclose(before.layers[0].state.x[stopped], after.layers[0].state.x[stopped], rtol=1e-14)


def test_an_episode_ends_when_its_steps_are_spent(few):
    task = FewShot(**arguments("devices", few))
    assert [task.terminated(episode).tolist() for episode in play(task, 2, {}, {}, {})] == [[False] * 2] * 3 + [
        [True] * 2
    ]


@pytest.mark.parametrize("variant", ["devices", "mlp"])
def test_class_means_are_written_to_the_head_alone_and_over_what_it_holds(variant, few):
    task = FewShot(**arguments(variant, few, device=QUIET))
    _, learnt, written = play(task, 5, {"gain": 0.5}, {"gain": 0.5, "means": True})
    x = task._examples(written.kind, written.instance)[:, :3, :-1]
    inputs = head_inputs(lambda layers, x: forward([one.seen for one in layers], x).outputs, written.written[:-1], x)
    means = class_means(inputs, np.tile(task.targets, (5, 1, 1)), 0.5 * task.start.means_gain)
    np.testing.assert_allclose(written.written[-1].seen.weights, means, atol=0.025 * task.start.ranges[-1])
    for before, after in zip(learnt.layers[:-1], written.layers[:-1], strict=True):
        np.testing.assert_array_equal(before.state.x, after.state.x)
    assert (written.last.pulses > 0).all()
    np.testing.assert_allclose(written.last.layers[:, 2, -1], 0.0)  # share of the weights that are off


def test_what_is_tolerated_of_class_means_is_neither_pulsed_nor_missed(few):
    task = FewShot(**arguments("devices", few, device=QUIET))
    fine, coarse, none = (play(task, 8, {"means": True, "threshold": most})[-1] for most in (0.0, 0.5, 2.0))
    assert fine.pulses.mean() > coarse.pulses.mean() > none.pulses.mean()
    assert fine.last.layers[:, 0].mean() < coarse.last.layers[:, 0].mean() < none.last.layers[:, 0].mean()
    assert fine.seen.loss.mean() < none.seen.loss.mean()


def test_where_class_means_are_already_there_a_read_of_every_cell_is_all_that_is_paid(few):
    *_, written, again = play(FewShot(**arguments("devices", few, device=QUIET, reads=4)), 4, *[{"means": True}] * 2)
    np.testing.assert_allclose(again.last.energy, written.written[-1].seen.energy / 4, rtol=1e-6)
    assert not again.last.pulses.any()


def test_circuits_that_write_know_the_device_and_those_that_learn_the_mean_of_all(few):
    coarse = QUIET.replace(set=replace(STEP, dose=0.3), reset=replace(STEP, dose=0.3))
    task = FewShot(**arguments("devices", few, device=[QUIET, coarse]))
    _, end = play(task, 20, {"means": True})
    assert end.last.layers[:, 2].max() == 0 and end.pulses.max() < 3  # one pulse as weak as need be, hardly a second


def test_class_means_are_written_to_the_chips_of_a_mixture_as_noise_of_their_own_device_asks_for(few):
    noisy, quiet = "hfo2-array-om", "ideal"
    both, alone, other = (
        play(FewShot(**arguments("devices", few, device=device)), 6, {"means": True})[-1].pulses
        for device in ([noisy, quiet], noisy, quiet)
    )
    same = [np.isclose(both, own) for own in (alone, other)]
    assert all(map(np.any, same)) and np.logical_or(*same).all() and not np.isclose(alone, other).any()


def test_measured_devices_learn_too(few, published):
    table = str(published / "sandia" / "enode_dg_tables.npz")
    before, after = play(FewShot(**arguments("devices", few, device=table)), 10, {"gain": 0.3})
    assert after.seen.loss.mean() < before.seen.loss.mean()
    *_, written = play(FewShot(**arguments("devices", few, device=table)), 10, {"means": True, "threshold": 0.5})
    assert written.seen.loss.mean() < after.seen.loss.mean()


# -- what is seen and paid ---------------------------------------------------------------------------------------------


def test_rewards_sum_to_what_the_episode_achieved_and_spent(few):
    task = FewShot(**arguments("one device", few, weight_pulses=0.3))
    episodes = play(task, 6, {}, {"gain": 0.2}, {"gain": 3.0})
    sums = {name: sum(task.reward(episode)[name] for episode in episodes) for name in task.reward(episodes[-1])}
    end = episodes[-1]
    np.testing.assert_allclose(sums["accuracy"], end.seen.accuracy - episodes[0].seen.accuracy)
    np.testing.assert_allclose(sums["pulses"], -0.3 * end.pulses)
    np.testing.assert_allclose(sums["energy"], -1e9 * end.energy)


def test_the_view_gives_back_what_the_episode_holds(few):
    task = FewShot(**arguments("devices", few, device=QUIET))
    *_, episode = play(task, 6, {"gain": 2.0}, {"gain": 0.5})
    view = task.view(task.observe(episode))
    np.testing.assert_allclose(view.budget, 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(view.loss, episode.seen.loss / np.log(3), rtol=1e-5)
    np.testing.assert_allclose(view.pulses, episode.pulses, rtol=1e-5)
    np.testing.assert_allclose(view.last_pulses, episode.last.pulses, rtol=1e-5)
    np.testing.assert_allclose(SPAN**view.signal, 0.5, rtol=1e-5)
    np.testing.assert_allclose(view.gradient, episode.last.layers[:, 0], rtol=1e-4)


def test_the_support_is_read_with_noise_and_a_quiet_one_without(few):
    for noise, alike in ((0.0, True), (0.02, False)):
        task = FewShot(**arguments("devices", few, device=QUIET.replace(read=Read(noise=noise))))
        before, after = play(task, 4, {"stop": True})
        assert np.allclose(before.seen.loss, after.seen.loss) == alike


def test_encoded_choices_come_back(rng):
    actions = LearningActions(layers=2)
    gain, threshold, share = np.exp(rng.uniform(-3, 3, (9, 2))), rng.uniform(0, MOST_THRESHOLD, 9), rng.uniform(0, 1, 9)
    gain[0] = 0.0, SPAN
    choice = actions.decoded(actions.encode(gain, threshold, share, threshold > 1, share > 0.5))
    np.testing.assert_allclose(choice.gain, gain, rtol=1e-5)
    np.testing.assert_allclose(choice.threshold, threshold, rtol=1e-5)
    np.testing.assert_allclose(choice.share, share, rtol=1e-5)
    np.testing.assert_array_equal(choice.stop, threshold > 1)
    np.testing.assert_array_equal(choice.means, share > 0.5)


# -- pictures and refusals ---------------------------------------------------------------------------------------------


def test_pictures_show_the_episode(few):
    pytest.importorskip("matplotlib")
    env = FewShotEnv(render_mode="rgb_array", **arguments("devices", few))
    env.reset(seed=0)
    first = env.render()
    env.step(np.zeros(5, np.float32))
    second = env.render()
    assert first.shape == second.shape == (480, 960, 3) and first.dtype == np.uint8
    assert np.any(first != second)


def test_the_text_has_a_line_for_each_step(few):
    env = FewShotEnv(render_mode="ansi", **arguments("devices", few))
    env.reset(seed=0)
    env.step(env.task.encode(np.array([[3.0]]))[0])
    env.step(env.task.encode(np.array([[1.0]]), stop=True)[0])
    head, start, step, stop = env.render().splitlines()
    assert head.split()[:3] == ["step", "gain", "loss"] and start.split()[0] == "0"
    assert step.split()[:2] == ["1", "3"] and stop.split()[:2] == ["2", "stop"]


@pytest.mark.parametrize(
    "task, message",
    [
        ({"ways": 1}, "ways is 1, allowed is a whole number >= 2"),
        ({"ways": 9}, "ways is 9, allowed is at most the 8 classes"),
        ({"shots": 10, "queries": 11}, "queries is 11, allowed is with the shots at most the 20 drawings"),
        ({"max_steps": 0}, "max_steps is 0, allowed is a whole number >= 1"),
        ({"know_stuck": 3}, "know_stuck is 3, allowed is True or False"),
        ({"max_pulses": True}, "max_pulses is True, allowed is a whole number >= 1"),
        ({"weight_pulses": -1.0}, "weight_pulses is -1.0, allowed is a number >= 0"),
        ({"weight_accuracy": float("nan")}, "weight_accuracy is nan, allowed is a number >= 0"),
        ({"split": "validation"}, "split is 'validation', allowed is"),
        ({"network": "transformer"}, "network is 'transformer', allowed is"),
        ({"pulsed": "minus"}, "devices is 'minus': choose from both, set, reset, plus"),
        ({"characters": "omniglot"}, "characters is 'omniglot', allowed is None or"),
        ({"init": 3}, "init is 3, allowed is a name"),
        ({"device": "nonsense"}, "unknown device 'nonsense'"),
        ({"init": "nonsense"}, "init is 'nonsense': random, maml, device-aware"),
        ({"init": "missing.npz"}, "missing.npz is no initialisation"),
    ],
)
def test_an_impossible_argument_is_named_with_its_value_and_what_is_allowed(task, message, few):
    with pytest.raises((TaskError, DeviceError, ValueError), match=message):
        FewShot(**{**SMALL, "characters": few, **task})


def test_an_initialisation_without_rates_cannot_teach(few, tmp_path):
    own = bank.initialisation("random", "conv")
    replace(own, rates=0 * own.rates).save(tmp_path / "still.npz")
    with pytest.raises(TaskError, match=r"init is .*, allowed is one with rates to learn by"):
        FewShot(**arguments("devices", few, init=str(tmp_path / "still.npz")))


@pytest.mark.parametrize(
    "action, message",
    [
        (np.zeros(3), r"action has the shape \(3,\), \(5,\) is needed"),
        (np.array([0.0, np.nan, 0.0, 0.0, 0.0]), "action has a component nan, allowed is -1 to 1"),
        (np.array(["a"] * 5), r"action is of type <U1, numbers in \[-1, 1\] are needed"),
    ],
)
def test_an_action_that_is_none_is_refused(action, message, few):
    env = FewShotEnv(**arguments("devices", few))
    env.reset(seed=0)
    with pytest.raises(TaskError, match=message):
        env.step(action)


def test_an_action_outside_the_space_is_clipped():
    actions = LearningActions(layers=1)
    for far, near in zip(
        actions.decoded(np.array([[9.0, 3.0, -2.0, 2.0, -np.inf]])),
        actions.decoded(np.array([[1, 1, -1, 1, -1]])),
        strict=True,
    ):
        np.testing.assert_array_equal(far, near)


def test_reset_options_of_other_tasks_are_refused(few):
    with pytest.raises(TaskError, match="reset option start is for the programming of cells"):
        FewShotEnv(**arguments("devices", few)).reset(options={"start": 1e-5})


# -- a stream of tasks -------------------------------------------------------------------------------------------------


def test_a_stream_goes_on_with_another_task_on_the_chip_as_the_last_one_left_it(few):
    task = FewShot(**arguments("mismatch", few, stream=3, max_steps=2))
    episodes = play(task, 2, *[{}] * 6)
    plain = play(FewShot(**arguments("mismatch", few, max_steps=2)), 2, *[{}] * 2)
    learnt, second = plain[-1], episodes[2]
    for now, then in zip(second.layers, learnt.layers, strict=True):
        np.testing.assert_array_equal(now.state.x, then.state.x)
    assert (second.kind != learnt.kind).any() and (second.stream.number == 1).all() and not second.steps.any()
    np.testing.assert_array_equal(second.stream.newest, learnt.seen.accuracy)
    np.testing.assert_array_equal(second.last.accuracy, learnt.last.accuracy)  # the reward is the old task's
    np.testing.assert_array_equal(second.pulses, learnt.pulses)
    over = [task.terminated(episode).all() for episode in episodes]
    assert over == [False] * 6 + [True] and (episodes[-1].stream.number == 2).all()


def test_what_an_earlier_task_is_worth_is_asked_when_the_next_one_has_been_learned(few):
    task = FewShot(**arguments("one device", few, stream=3, max_steps=1, queries=15))
    first, second, third = play(task, 20, {}, {}, {"gain": 0.0})[:3]
    assert not first.stream.kept.any() and not second.stream.kept.any()
    frozen = play(task, 20, {}, {"stop": True}, {})[2]  # nothing was learned in between
    np.testing.assert_allclose(frozen.stream.kept.mean(), second.stream.newest.mean(), atol=0.05)
    assert third.stream.kept.mean() < frozen.stream.kept.mean() - 0.05


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_between_two_tasks_of_a_stream_cells_drift(engine, few):
    if engine == "numba":
        pytest.importorskip("numba")
    given = arguments("relaxing", few, stream=2, max_steps=1, engine=engine)
    at_once, later = (play(FewShot(**given, interval=time), 2, {})[1] for time in (0.0, 1e5))
    weights = [episode.written[-1].seen.weights for episode in (at_once, later)]
    assert np.abs(weights[1]).mean() < 0.99 * np.abs(weights[0]).mean()


def test_a_task_that_is_stopped_gives_way_to_the_next_for_its_chip_alone(few):
    task = FewShot(**arguments("mismatch", few, stream=2))
    noise = Episodes.of(0, range(2)).noise(cells_of(task))
    chip, noise = task.fabricate(noise.chip, 2), noise.next()
    episode = task.initial(chip, noise.drawn(task.initial_draws), {})
    action = task.encode(np.ones((2, 1)), stop=np.array([True, False]))
    after = task.transition(episode, action, noise.next().drawn(task.step_draws))
    assert after.stream.number.tolist() == [1, 0] and after.steps.tolist() == [0, 1]
    np.testing.assert_array_equal(after.kind[1], episode.kind[1])


def test_a_stream_longer_than_the_ids_episodes_warns(few):
    env = gym.make(ID, **arguments("one device", few, stream=4, max_steps=2))
    env.reset(seed=0)
    for _ in range(5):
        truncated = env.step(env.action_space.sample() * 0)[3]
    assert truncated
    with pytest.warns(UserWarning, match="the arguments allow 8"):
        env.reset()


def test_a_stream_has_a_task_at_least_and_no_more_steps_than_can_be_counted(few):
    with pytest.raises(TaskError, match="stream is 0"):
        FewShot(**arguments("one device", few, stream=0))
    with pytest.raises(TaskError, match="stream is 100000, allowed is at most 262,140 / max_steps"):
        FewShot(**arguments("one device", few, stream=100_000))
