"""Any Gymnasium VectorEnv with same-step autoreset as a stable-baselines3 VecEnv, natively batched."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn


class GymVecEnv(VecEnv):
    """A vector environment for stable-baselines3, which has no adapter of its own (its issue 1745 asks for one).

    Infos carry `terminal_observation`, `TimeLimit.truncated` and the final info (`is_success`, ...) where an episode
    ended, and are empty elsewhere: a full dictionary for each environment would cost more than the step. VecMonitor and
    VecNormalize go on top as usual; `env_method("action_masks")` serves MaskablePPO.

    Args:
        env: its `metadata["autoreset_mode"]` must be SAME_STEP.

    Raises:
        ValueError: another autoreset mode. With NEXT_STEP each episode would begin with a step that did nothing.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"the environment's autoreset mode is {mode}, stable-baselines3 needs AutoresetMode.SAME_STEP: "
                "make the environment with autoreset_mode=AutoresetMode.SAME_STEP"
            )
        self.env = env
        self._actions: np.ndarray | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Fresh episodes everywhere, seeded if `seed` was called before; `set_options` takes one dictionary for all."""
        options = self._options[0]
        if any(own != options for own in self._options):
            raise ValueError("reset options that differ between environments: a vector environment takes one for all")
        observation: VecEnvObs
        observation, info = self.env.reset(seed=self._seeds[0], options=options or None)
        self.reset_infos = _rows(info, np.arange(self.env.num_envs))
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """One step of every environment."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(done)
        if len(ended):
            final = info["final_info"] | {
                "terminal_observation": info["final_obs"],
                "TimeLimit.truncated": truncated & ~terminated,
            }
            for row, last in zip(ended.tolist(), _rows(final, ended), strict=True):
                infos[row] = last
        return observation, np.asarray(reward, np.float32), done, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of single environments; of a native batch the one that it has, once for each index."""
        core = self.env.unwrapped
        if attr_name != "render_mode" and isinstance(core, SyncVectorEnv | AsyncVectorEnv):
            return self._picked(core.get_attr(attr_name), indices)
        return self._picked([getattr(core, attr_name)] * self.num_envs, indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all environments.

        Raises:
            ValueError: only some of them are named.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"set_attr({attr_name!r}) for some environments: leave out indices and set it for all")
        core = self.env.unwrapped
        if isinstance(core, SyncVectorEnv | AsyncVectorEnv):
            core.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(core, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """The results of a method of single environments; of a native batch the rows of its batched result."""
        core = self.env.unwrapped
        if isinstance(core, SyncVectorEnv | AsyncVectorEnv):
            return self._picked(core.call(method_name, *method_args, **method_kwargs), indices)
        method: Callable[..., Any] = getattr(core, method_name)
        return self._picked(method(*method_args, **method_kwargs), indices)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """False: what is wrapped is the vector environment, not the single ones."""
        return self._picked([False] * self.num_envs, indices)

    def _picked(self, values: Sequence[Any] | np.ndarray, indices: VecEnvIndices) -> list[Any]:
        """The values (environments, ...) of the environments with these indices."""
        return [values[index] for index in self._get_indices(indices)]


def _rows(info: dict[str, Any], rows: np.ndarray) -> list[dict[str, Any]]:
    """The infos of single environments from a batched one, arrays (environments, ...) with masks `_name`."""
    names = [name for name in info if not name.startswith("_")]
    columns = [_column(info[name], rows) for name in names]
    out = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)] or [{} for _ in rows]
    for name in names:
        there = info.get(f"_{name}")
        for place in () if there is None else np.flatnonzero(~there[rows]):
            del out[place][name]
    return out


def _column(value: Any, rows: np.ndarray) -> Sequence[Any]:
    """The values of single environments, plain numbers where they are numbers; infos may be nested."""
    if isinstance(value, dict):
        return _rows(value, rows)
    return value[rows].tolist() if value.ndim == 1 else list(value[rows])
