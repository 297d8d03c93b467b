"""Every cell of arrays as an environment of its own: learners of stable-baselines3 learn one policy for all cells.

    arrays = gym.make_vec("memenv/CrossbarProgram-v0", 4, autoreset_mode=AutoresetMode.SAME_STEP, reward_map=True)
    env = CellsVecEnv(arrays)
    model = PPO("MlpPolicy", env, **PPO_OF_CELLS).learn(1_000_000)
    policy = CellsPolicy(task=CrossbarProgram(), model=model)

A cell sees its own entries of the maps and the array's budget, and is paid its own part of the array's reward. Where
cells are independent (1T1R without wires) that is the array's task exactly, with the credit given to whom it is due.
Where they are coupled, by half-select pulses, shared operations or IR drop, a cell learns from what others do to it but
does not pay for what it does to them.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvObs, VecEnvStepReturn

from agents.policy import one_or_many
from agents.sb3.vec_env import GymVecEnv
from memenv.envs.crossbar_program.actions import CellActions
from memenv.envs.crossbar_program.task import CrossbarProgram

MAPS = ("reading", "target", "error", "signal", "log_width", "spent", "gradient")  # those that there are
OPEN = -1  # the place among a cell's features that says whether it is open


def features_of(observation: dict[str, np.ndarray]) -> np.ndarray:
    """Observations of cells (arrays * cells, features) float32 of observations (arrays, ...): maps, budget, open."""
    cells = observation["open"].shape[1]
    maps = [observation[name] for name in MAPS if name in observation]
    parts = [*maps, np.repeat(observation["budget"], cells, axis=1), observation["open"]]
    return np.stack([part.ravel() for part in parts], axis=-1).astype(np.float32)


class CellsVecEnv(GymVecEnv):
    """The cells of a batch of arrays, in C order, as stable-baselines3's environments.

    A cell's episode ends as it closes; what it shows until its array starts anew is not worth learning from, and
    `OpenRollouts` and `OpenReplay` leave it out. A closed cell that is disturbed begins another episode as it opens.

    Args:
        env: of `memenv/CrossbarProgram-v0` with action="cells" and reward_map=True, in SAME_STEP mode.

    Raises:
        ValueError: another environment, or another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        space, task = env.single_observation_space, getattr(env.unwrapped, "task", None)
        actions: Any = getattr(task, "actions", None)
        if (
            not isinstance(actions, CellActions)
            or not isinstance(space, spaces.Dict)
            or not getattr(task, "reward_map", False)
        ):
            raise ValueError(f'{env}: memenv/CrossbarProgram-v0 with action="cells" and reward_map=True is needed')
        self._shape = (env.num_envs, *actions.shape, actions.channels)
        seen = features_of({name: np.zeros((1, *(part.shape or ()))) for name, part in space.items()})
        VecEnv.__init__(
            self,
            len(seen) * env.num_envs,
            spaces.Box(-1.0, 1.0, seen.shape[1:], np.float32),
            spaces.Box(-1.0, 1.0, (actions.channels,), np.float32),
        )

    def reset(self) -> VecEnvObs:
        """Fresh arrays."""
        observation = super().reset()
        assert isinstance(observation, dict)
        return features_of(observation)

    def step_wait(self) -> VecEnvStepReturn:
        """One step of every array."""
        assert self._actions is not None
        observation, _, terminated, truncated, info = self.env.step(self._actions.reshape(self._shape))
        over, reward, last = terminated | truncated, info["reward_map"], observation
        if over.any():
            last = info["final_obs"]
            reward = np.where(over[:, None, None], info["final_info"]["reward_map"], reward)
        last, cells = features_of(last), len(reward[0].ravel())
        closed, cut = last[:, OPEN] == 0, np.repeat(truncated & ~terminated, cells)
        done = np.repeat(over, cells) | closed
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for cell in np.flatnonzero(done).tolist():
            infos[cell] = {"terminal_observation": last[cell], "TimeLimit.truncated": bool(cut[cell] & ~closed[cell])}
        return features_of(observation), reward.ravel().astype(np.float32), done, infos


class OpenRollouts(RolloutBuffer):
    """A rollout buffer that learns from open cells alone."""

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Batches of steps of open cells, in random order."""
        next(super().get())  # makes rows of them
        rows = np.random.permutation(np.flatnonzero(self.observations[:, OPEN]))
        size = batch_size or len(rows)
        for first in range(0, len(rows), size):
            yield self._get_samples(rows[first : first + size])


class OpenReplay(ReplayBuffer):
    """A replay buffer that remembers the steps of open cells alone, one after another."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **(options | {"n_envs": 1}))

    def add(self, obs: np.ndarray, *step: Any) -> None:
        """Remember a step of all cells: observation, next observation, action, reward, end, infos."""
        for cell in np.flatnonzero(obs[:, OPEN]).tolist():
            super().add(obs[cell, None], *(part[cell : cell + 1] for part in step))


PPO_OF_CELLS: dict[str, Any] = {
    "rollout_buffer_class": OpenRollouts,
    "n_steps": 32,
    "batch_size": 256,
    "learning_rate": lambda left: min(1e-3, 2e-3 * left),
    "policy_kwargs": {"log_std_init": -1.0},
}
SAC_OF_CELLS: dict[str, Any] = {
    "replay_buffer_class": OpenReplay,
    "train_freq": 1,
    "gradient_steps": 32,
    "learning_starts": 2000,
    "learning_rate": 1e-3,
    "ent_coef": "auto_0.05",
    "gamma": 0.95,
    "policy_kwargs": {"net_arch": [64, 64]},
}


@dataclass(frozen=True, kw_only=True)
class CellsPolicy:
    """The policy that cells learned, for arrays."""

    task: CrossbarProgram
    model: BaseAlgorithm

    @one_or_many
    def predict(
        self,
        observation: dict[str, np.ndarray],
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, None]:
        """Actions (arrays, rows, cols, 1 or 2) of observations (arrays, ...)."""
        action, _ = self.model.predict(features_of(observation), deterministic=deterministic)
        return action.reshape(-1, *self.task.array.shape, action.shape[-1]), None
