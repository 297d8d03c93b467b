"""Every line of arrays as an environment of its own: MaskablePPO learns one policy for all lines.

    arrays = gym.make_vec("memenv/CrossbarProgramLines-v0", 64, autoreset_mode=AutoresetMode.SAME_STEP, reward_map=True)
    model = MaskablePPO("MlpPolicy", LinesVecEnv(arrays), **PPO_OF_LINES).learn(1_000_000)
    policy = LinesPolicy(task=arrays.unwrapped.task, model=model)

The parts of an action by lines are drawn independently of one another: a policy that draws the line draws the pulse
without knowing for which. Here lines take turns. A line sees its own cells, chooses a pulse and those of its cells that
get it, and is paid their part of the array's reward.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn

from agents.policy import one_or_many
from agents.sb3.cells import OPEN, OpenRollouts, features_of
from agents.sb3.vec_env import GymVecEnv
from memenv.envs.crossbar_program.actions import LineActions
from memenv.envs.crossbar_program.task import CrossbarProgram


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The lines of arrays: their features, masks and actions.

    Raises:
        ValueError: a task in which an action is not a line and its pulse.
    """

    task: CrossbarProgram

    def __post_init__(self) -> None:
        if not isinstance(self.task.actions, LineActions):
            raise ValueError(f'action is {self.task.action!r}: action="lines" is needed')

    @property
    def actions(self) -> LineActions:
        """Those of the arrays."""
        assert isinstance(self.task.actions, LineActions)
        return self.task.actions

    def split(self, values: np.ndarray) -> np.ndarray:
        """(arrays, lines, cells of a line, ...) of flat maps (arrays, rows * cols, ...)."""
        maps = values.reshape(len(values), *self.task.array.shape, *values.shape[2:])
        return maps.swapaxes(1, 2) if self.task.array.writing == "columns" else maps

    def features(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """(arrays * lines, features) float32: those of the line's cells, and whether one of them is open."""
        flat = features_of(observation)
        cells = self.split(flat.reshape(len(observation["open"]), -1, flat.shape[1]))
        own = cells.reshape(cells.shape[0] * cells.shape[1], -1)
        return np.column_stack([own, cells[..., OPEN].max(-1).ravel()])

    def masks(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """(arrays * lines, menu + 2 * cells of a line) bool: a polarity that an open cell needs, and open cells."""
        opened, error = (self.split(observation[name]) for name in ("open", "error"))
        needs = [((opened == 1) & side).any(-1, keepdims=True) for side in (error <= 0, error > 0)]
        menu = np.where(self.actions.pulses.menu[0] > 0, *needs) | ~(needs[0] | needs[1])
        places = np.stack([np.ones_like(opened), opened], -1).reshape(*opened.shape[:2], -1)
        masks: np.ndarray = np.concatenate([menu, places == 1], -1).reshape(-1, menu.shape[-1] + places.shape[-1])
        return masks

    def turns(self, observation: dict[str, np.ndarray], action: np.ndarray) -> np.ndarray:
        """(arrays, lines, 2 + cells of a line) the arrays' actions at each line's turn, of those of all lines.

        Cells that read on the other side of their target get no pulse.
        """
        error = self.split(observation["error"])
        chosen = action.reshape(*error.shape[:2], -1)
        towards = (self.actions.pulses.menu[0][chosen[..., :1]] > 0) == (error <= 0)
        line = np.broadcast_to(np.arange(error.shape[1])[:, None], (*error.shape[:2], 1))
        return np.concatenate([line, chosen[..., :1], chosen[..., 1:] * towards], -1)


class LinesVecEnv(GymVecEnv):
    """The lines of a batch of arrays as stable-baselines3's environments; in a step each of them has its turn.

    A line's episode ends as its last cell closes. An array that ends between turns begins anew and waits for the next
    step.

    Args:
        env: of `memenv/CrossbarProgram-v0` with action="lines" and reward_map=True, in SAME_STEP mode.

    Raises:
        ValueError: another environment, or another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        task = getattr(env.unwrapped, "task", None)
        if not isinstance(task, CrossbarProgram) or task.action != "lines" or not task.reward_map:
            raise ValueError(f'{env}: memenv/CrossbarProgram-v0 with action="lines" and reward_map=True is needed')
        self._lines = Lines(task=task)
        space = task.observation_space
        seen = self._lines.features({name: np.zeros((1, *(part.shape or ()))) for name, part in space.items()})
        nvec = self._lines.actions.space.nvec[1:]
        own = spaces.Box(-1.0, 1.0, seen.shape[1:], np.float32), spaces.MultiDiscrete(nvec)
        VecEnv.__init__(self, len(seen) * env.num_envs, *own)

    def reset(self) -> VecEnvObs:
        """Fresh arrays."""
        observation = super().reset()
        assert isinstance(observation, dict)
        self._seen = observation
        return self._lines.features(observation)

    def step_wait(self) -> VecEnvStepReturn:
        """A turn of every line."""
        assert self._actions is not None
        turns = self._lines.turns(self._seen, self._actions)
        going, paid = np.ones(len(turns), bool), np.zeros(turns.shape[:2])
        last, cut = np.zeros((self.num_envs, *(self.observation_space.shape or ())), np.float32), np.zeros_like(going)
        for line in range(turns.shape[1]):
            action = turns[:, line]
            action[~going, 2:] = 0
            self._seen, _, terminated, truncated, info = self.env.step(action)
            reward, over, features = info["reward_map"], going & (terminated | truncated), None
            if over.any():
                reward = np.where(over[:, None, None], info["final_info"]["reward_map"], reward)
                features = self._lines.features(info["final_obs"])
                last = np.where(np.repeat(over, turns.shape[1])[:, None], features, last)
                cut |= over & truncated & ~terminated
            paid += going[:, None] * self._lines.split(reward.reshape(len(reward), -1)).mean(2)
            going &= ~over
        fresh, over = self._lines.features(self._seen), np.repeat(~going, turns.shape[1])
        last = np.where(over[:, None], last, fresh)
        closed, cut = last[:, OPEN] == 0, np.repeat(cut, turns.shape[1])
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for place in np.flatnonzero(over | closed).tolist():
            ended = bool(cut[place] & ~closed[place])
            infos[place] = {"terminal_observation": last[place], "TimeLimit.truncated": ended}
        return fresh, paid.ravel().astype(np.float32), over | closed, infos

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """The masks of lines, as MaskablePPO asks for them; else as of arrays."""
        if method_name == "action_masks":
            return self._picked(self._lines.masks(self._seen), indices)
        return super().env_method(method_name, *method_args, indices=indices, **method_kwargs)


class OpenMaskedRollouts(OpenRollouts, MaskableRolloutBuffer):
    """A rollout buffer with masks that learns from open lines alone."""

    def get(self, batch_size: int | None = None) -> Generator[Any, None, None]:
        """Batches of steps of open lines; not of a lone one, by the spread of whose advantage MaskablePPO divides."""
        yield from (batch for batch in super().get(batch_size) if len(batch.advantages) > 1)


PPO_OF_LINES: dict[str, Any] = {
    "rollout_buffer_class": OpenMaskedRollouts,
    "n_steps": 32,
    "batch_size": 512,
    "n_epochs": 6,
    "gamma": 0.95,
    "gae_lambda": 0.9,
    "learning_rate": lambda left: min(1e-3, 2e-3 * left),
}


@dataclass(frozen=True, kw_only=True)
class LinesPolicy:
    """The policy that lines learned, for arrays: in each step the next line that has an open cell has its turn."""

    task: CrossbarProgram
    model: MaskablePPO

    @one_or_many
    def predict(
        self,
        observation: dict[str, np.ndarray],
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, None]:
        """Actions (arrays, 2 + cells of a line) of observations (arrays, ...)."""
        lines = Lines(task=self.task)
        features, masks = lines.features(observation), lines.masks(observation)
        action, _ = self.model.predict(features, action_masks=masks, deterministic=deterministic)
        turns = lines.turns(observation, action)
        steps = np.rint((1.0 - self.task.view(observation).budget) * self.task.max_steps).astype(int)
        wait = (np.arange(turns.shape[1]) - steps[:, None]) % turns.shape[1]
        next_open = np.argmin(np.where(features[:, OPEN].reshape(wait.shape) == 1, wait, turns.shape[1]), axis=1)
        return turns[np.arange(len(turns)), next_open], None
