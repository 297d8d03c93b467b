"""Policies answer a single environment as they answer a batch, and refuse what is no observation."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import memenv  # noqa: F401  (its ids)
from agents.arrays.each_cell import EachCell
from agents.few_shot.schedules import ConstantRate
from agents.library import BOUNDS, known_policies, load_policy
from memenv.arrays import tree_map
from memenv.envs.few_shot.task import FewShot
from memenv.envs.task import TaskError
from memenv.envs.write_verify.task import WriteVerify

TASK = WriteVerify(give_up=True, device="threshold")


def batch_of_one(observation: Any) -> Any:
    """An observation as the batch of one that it is."""
    if isinstance(observation, dict):
        return {name: part[None] for name, part in observation.items()}
    return observation[None]


def agree(policy: Any, env: gym.Env[Any, Any], steps: int) -> None:
    """Single actions fit the environment's space and are those of a batch of one, step after step."""
    observation, _ = env.reset(seed=3)
    refused(policy, observation)
    single = many = None
    for step in range(steps):
        start = np.array([step == 0])
        action, single = policy.predict(observation, single, start, True)
        batch, many = policy.predict(batch_of_one(observation), many, start, True)
        assert env.action_space.contains(action)
        np.testing.assert_array_equal(action, batch[0])
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return


def refused(policy: Any, observation: Any) -> None:
    """Observations with NaN or infinity are no observations, of one or of many."""
    for value in (np.nan, np.inf):
        odd = tree_map(lambda part: np.where(part == part.min(), value, part), observation)  # noqa: B023
        for given in (odd, batch_of_one(odd)):
            with pytest.raises(TaskError, match="has a component nan or inf, allowed is -1 to 1"):
                policy.predict(given)


@pytest.mark.parametrize("name", [name for name in known_policies(TASK) if name not in BOUNDS])
def test_a_policy_takes_the_observation_of_a_single_environment(name: str) -> None:
    agree(
        load_policy(name, TASK), gym.make("memenv/WriteVerify-v0", give_up=True, device="threshold", engine="numpy"), 5
    )


def test_a_policy_of_arrays_takes_the_observation_of_a_single_environment() -> None:
    env = gym.make("memenv/CrossbarProgram-v0", engine="numpy")
    agree(EachCell.of("ispp", env.unwrapped.task), env, 5)  # type: ignore[attr-defined]


def test_a_schedule_takes_the_observation_of_a_single_environment() -> None:
    env = gym.make("memenv/FewShotMLP-v0", engine="numpy")
    task = env.unwrapped.task  # type: ignore[attr-defined]
    assert isinstance(task, FewShot)
    agree(ConstantRate(task=task), env, 2)


@pytest.mark.parametrize("shape", [(5,), (4, 9), (2, 3, 7)])
def test_an_observation_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match=r"observation has shape .*, \(7,\) or \(cells, 7\) is needed"):
        load_policy("secant", TASK).predict(np.zeros(shape))


def test_goals_without_their_dictionary_and_of_another_shape_are_refused() -> None:
    policy = load_policy("secant", gym.make("memenv/WriteVerifyGoal-v0").unwrapped.task)
    whole = {"observation": np.zeros((2, 4)), "achieved_goal": np.zeros((2, 1)), "desired_goal": np.zeros((2, 1))}
    assert len(policy.predict(whole)[0]) == 2
    for odd in (whole | {"desired_goal": np.zeros((2, 3))}, np.zeros((2, 7))):
        with pytest.raises(TaskError, match=r"desired_goal has shape \(2, 3\)|has the parts \[''\]"):
            policy.predict(odd)
