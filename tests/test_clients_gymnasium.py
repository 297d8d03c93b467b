"""Gymnasium as a client: its own checks over every id, its wrappers over every family, its ways to make and to copy."""

import copy
import itertools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector
from registered import CELL, IDS, MENU

FAMILIES = {
    "cell": CELL,
    "menu": MENU,
    "array": ("memenv/CrossbarProgram-v0", {"rows": 2, "cols": 2}),
    "chip": ("memenv/FewShot-v0", {}),
}
LIMIT = {"max_episode_steps": 4}  # some episode ends in every test
STEPS = 10
NEXT_STEP, SAME_STEP, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
LATELY = tuple(map(int, gym.__version__.split(".")[:2])) >= (1, 4)
wrapping = pytest.mark.skipif(
    not LATELY, reason="before Gymnasium 1.4 wrappers miscount SAME_STEP, and some are missing"
)
ZERO, ONE = np.float32(0), np.float32(1)

BOX, DICTIONARY, NUMBERS = "box", "dictionary", "numbers"  # what a wrapper asks for: of observations, of actions
SINGLE = {
    "Autoreset": (wrappers.Autoreset, None),
    "ClipAction": (wrappers.ClipAction, NUMBERS),
    "ClipReward": (lambda env: wrappers.ClipReward(env, -1, 1), None),
    "DelayObservation": (lambda env: wrappers.DelayObservation(env, 1), None),
    "DiscretizeAction": (lambda env: wrappers.DiscretizeAction(env, 3), NUMBERS),
    "DiscretizeObservation": (lambda env: wrappers.DiscretizeObservation(env, 5), BOX),
    "DtypeObservation": (lambda env: wrappers.DtypeObservation(env, np.float32), BOX),
    "FilterObservation": (lambda env: wrappers.FilterObservation(env, [*env.observation_space][:1]), DICTIONARY),
    "FlattenObservation": (wrappers.FlattenObservation, None),
    "FrameStackObservation": (lambda env: wrappers.FrameStackObservation(env, 3), None),
    "MaxAndSkipObservation": (lambda env: wrappers.MaxAndSkipObservation(env, 2), BOX),
    "NormalizeObservation": (wrappers.NormalizeObservation, BOX),
    "NormalizeReward": (wrappers.NormalizeReward, None),
    "OrderEnforcing": (wrappers.OrderEnforcing, None),
    "PassiveEnvChecker": (wrappers.PassiveEnvChecker, None),
    "RecordEpisodeStatistics": (wrappers.RecordEpisodeStatistics, None),
    "RepeatAction": (lambda env: wrappers.RepeatAction(env, 2), None),
    "RescaleAction": (lambda env: wrappers.RescaleAction(env, ZERO, ONE), NUMBERS),
    "RescaleObservation": (lambda env: wrappers.RescaleObservation(env, ZERO, ONE), BOX),
    "ReshapeObservation": (lambda env: wrappers.ReshapeObservation(env, (1, *env.observation_space.shape)), BOX),
    "StickyAction": (lambda env: wrappers.StickyAction(env, 0.5), None),
    "TimeAwareObservation": (wrappers.TimeAwareObservation, None),
    "TimeLimit": (lambda env: wrappers.TimeLimit(env, 3), None),
    "TransformReward": (lambda env: wrappers.TransformReward(env, lambda reward: 2 * reward), None),
}
IMAGES = {
    "AddRenderObservation": lambda env: wrappers.AddRenderObservation(env, render_only=False),
    "AddWhiteNoise": lambda env: wrappers.AddWhiteNoise(env, 0.1),
    "GrayscaleObservation": lambda env: wrappers.GrayscaleObservation(wrappers.AddRenderObservation(env)),
    "ObstructView": lambda env: wrappers.ObstructView(env, 0.1, 5),
    "RenderCollection": wrappers.RenderCollection,
}
BATCHED = {
    "ClipAction": (vector.ClipAction, NUMBERS),
    "ClipReward": (lambda env: vector.ClipReward(env, -1, 1), None),
    "DictInfoToList": (vector.DictInfoToList, None),
    "DtypeObservation": (lambda env: vector.DtypeObservation(env, np.float32), BOX),
    "FilterObservation": (lambda env: vector.FilterObservation(env, [*env.single_observation_space][:1]), DICTIONARY),
    "FlattenObservation": (vector.FlattenObservation, None),
    "NormalizeObservation": (vector.NormalizeObservation, BOX),
    "NormalizeReward": (vector.NormalizeReward, None),
    "RecordEpisodeStatistics": (vector.RecordEpisodeStatistics, None),
    "RescaleAction": (lambda env: vector.RescaleAction(env, ZERO, ONE), NUMBERS),
    "RescaleObservation": (lambda env: vector.RescaleObservation(env, ZERO, ONE), BOX),
    "ReshapeObservation": (lambda env: vector.ReshapeObservation(env, (1, *env.single_observation_space.shape)), BOX),
    "TransformReward": (lambda env: vector.TransformReward(env, lambda reward: 2 * reward), None),
}
OF_OBSERVATIONS = [name for name in BATCHED if name.endswith("Observation")]


def applies(need, observations, actions):
    """Whether spaces have what a wrapper asks for."""
    kinds = {BOX: (observations, spaces.Box), DICTIONARY: (observations, spaces.Dict), NUMBERS: (actions, spaces.Box)}
    return need is None or isinstance(*kinds[need])


def steps(env):
    """A reset and some random steps of a single environment; each observation is in its space."""
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    for _ in range(STEPS):
        assert env.observation_space.contains(observation), observation
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        if terminated or truncated:
            observation, _ = env.reset()
    env.close()


def batch(name, mode=NEXT_STEP, envs=3, **arguments):
    """A native batch of a family."""
    id_, fixed = FAMILIES[name]
    return gym.make_vec(id_, num_envs=envs, autoreset_mode=mode, **LIMIT, **fixed, **arguments)


def turns(env, count=STEPS):
    """What random steps of a batch return; done environments of the mode DISABLED are reset."""
    env.action_space.seed(0)
    yield env.reset(seed=0)
    for _ in range(count):
        out = env.step(env.action_space.sample())
        yield out
        done = np.asarray(out[2] | out[3])
        if env.metadata["autoreset_mode"] is DISABLED and done.any():
            env.reset(options={"reset_mask": done})


def assert_alike(one, other):
    """Both are alike to the rounding of single precision, with equal shapes; parts of dictionaries too."""
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for name in other:
            assert_alike(one[name], other[name])
    else:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_s_own_check_finds_nothing_to_say(name):
    pytest.importorskip("matplotlib")
    check_env(gym.make(name).unwrapped)


@pytest.mark.parametrize("name", IDS)
def test_an_id_and_its_spec_make_the_same_environment(name):
    env = gym.make(name, **LIMIT)
    for again in (gym.make(env.spec), gym.make(EnvSpec.from_json(env.spec.to_json()))):
        assert again.spec == env.spec
        assert (again.observation_space, again.action_space) == (env.observation_space, env.action_space)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
@pytest.mark.parametrize("name", IDS)
def test_a_copy_goes_on_as_the_environment_itself(name, copied):
    env = gym.make(name)
    env.action_space.seed(0)
    env.reset(seed=0)
    if env.step(env.action_space.sample())[2]:  # it decided to stop
        env.reset()
    other, action = copied(env), env.action_space.sample()
    assert data_equivalence(other.step(action), env.step(action))


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("name", IDS)
def test_the_native_batch_is_gymnasium_s_batch_of_single_environments(name, mode):
    sync = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    ours, theirs = (gym.make_vec(name, num_envs=2, **LIMIT, **more) for more in ({"autoreset_mode": mode}, sync))
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    for mine, other in zip(turns(ours, 6), turns(theirs, 6), strict=True):
        assert ours.observation_space.contains(mine[0])
        for one, another in zip(mine[:-1], other[:-1], strict=True):
            assert_alike(one, another)


@wrapping
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", SINGLE)
def test_a_wrapper_takes_a_single_environment(name, family):
    wrapper, need = SINGLE[name]
    id_, fixed = FAMILIES[family]
    env = gym.make(id_, **fixed, **LIMIT)
    if not applies(need, env.observation_space, env.action_space):
        pytest.skip("the wrapper is for other spaces")
    steps(wrapper(env))


@wrapping
@pytest.mark.parametrize("name", IMAGES)
def test_a_wrapper_of_images_takes_a_single_environment(name):
    pytest.importorskip("matplotlib")
    env = IMAGES[name](gym.make("memenv/WriteVerify-v0", render_mode="rgb_array"))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation) and env.render() is not None


@wrapping
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", BATCHED)
def test_a_wrapper_takes_a_native_batch(name, family):
    wrapper, need = BATCHED[name]
    env = batch(family)
    if not applies(need, env.single_observation_space, env.single_action_space):
        pytest.skip("the wrapper is for other spaces")
    env = wrapper(env)
    for observation, *rest in turns(env):
        assert env.observation_space.contains(observation), observation
        assert all(part.shape == (env.num_envs,) for part in rest[:-1])


@wrapping
@pytest.mark.parametrize("name", OF_OBSERVATIONS)
def test_gymnasium_s_wrappers_of_observations_refuse_same_step(name):
    """The trap of docs/clients.md: where Gymnasium lifts it, that page changes."""
    wrapper, need = BATCHED[name]
    env = batch("array" if need == DICTIONARY else "cell", SAME_STEP)
    with pytest.raises(ValueError, match="NEXT_STEP"):
        wrapper(env)


@wrapping
@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_statistics_of_a_batch_count_whole_episodes(family, mode):
    env = vector.RecordEpisodeStatistics(batch(family, mode))
    returns, length, fresh, episodes = np.zeros(3), np.zeros(3, int), np.zeros(3, bool), 0
    for _, reward, terminated, truncated, info in itertools.islice(turns(env), 1, None):
        counted = ~fresh if mode is NEXT_STEP else np.ones(3, bool)
        returns, length, done = returns + reward * counted, length + counted, terminated | truncated
        assert ("episode" in info) == done.any()
        if done.any():
            np.testing.assert_array_equal(info["_episode"], done)
            np.testing.assert_allclose(info["episode"]["r"][done], returns[done], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(info["episode"]["l"][done], length[done])
        episodes += done.sum()
        returns, length, fresh = returns * ~done, length * ~done, done
    assert episodes == env.episode_count >= 4


def test_a_single_environment_reports_its_episodes_too():
    env = wrappers.RecordEpisodeStatistics(gym.make("memenv/WriteVerify-v0", **LIMIT))
    env.reset(seed=0)
    total, done, count = 0.0, False, 0
    while not done:
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total, count, done = total + reward, count + 1, terminated or truncated
    assert (info["episode"]["r"], info["episode"]["l"]) == (pytest.approx(total), count)
