"""The two Gymnasium shells: they own the only mutable state, seeds and autoreset, and know no physics."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from memenv.arrays import put, take
from memenv.envs.actions import TaskError
from memenv.envs.task import Observation, Streams, Task
from memenv.render import trace_image, trace_text

PER_CELL = ("start", "target")  # reset options with one number (or map of an array) for all or one for each
OPTIONS = ("chip_seed", *PER_CELL)


class _Runner:
    """Episodes of a task in a batch of cells, and the streams that feed them: what both shells have in common."""

    def __init__(self, task: Task, cells: int) -> None:
        self.task, self.cells = task, cells
        self.streams: Streams | None = None
        self.episode: Any = None

    def fresh(self, cells: int, options: dict[str, Any]) -> Any:
        """New episodes for `cells` cells (or arrays)."""
        assert self.streams is not None
        chip_rng = np.random.default_rng(options["chip_seed"]) if "chip_seed" in options else self.streams.chip
        chip = self.task.fabricate(chip_rng, cells)
        return self.task.initial(chip, self.streams.draw(self.task.initial_draws, cells), options)

    def reset(self, options: dict[str, Any]) -> None:
        """New episodes everywhere."""
        self.episode = self.fresh(self.cells, options)

    def reset_rows(self, rows: np.ndarray, options: dict[str, Any]) -> None:
        """New episodes for the cells with the indices `rows`."""
        own = {name: value[rows] if name in PER_CELL else value for name, value in options.items()}
        self.episode = put(self.episode, rows, self.fresh(len(rows), own))

    def step(self, action: np.ndarray) -> None:
        """One step of all cells."""
        assert self.streams is not None
        self.episode = self.task.transition(self.episode, action, self.streams.draw(self.task.step_draws, self.cells))

    def reward(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Reward (cells,) of the last step and the terms that it is the sum of."""
        terms = dict(self.task.reward(self.episode))
        return sum(terms.values(), np.zeros(self.cells)), terms

    def observation(self) -> Observation:
        """Observations (cells, ...), arrays of their own."""
        return _parts(np.copy, self.task.observe(self.episode))

    def info(self, terms: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """The task's info and the reward terms of the last step, arrays (cells, ...) of their own."""
        rewards = {f"reward/{name}": value for name, value in (terms or {}).items()}
        return {name: value.copy() for name, value in self.task.info(self.episode).items()} | rewards


def _parts(function: Callable[[np.ndarray], np.ndarray], observation: Observation) -> Observation:
    """The function of an observation's array, or of each of its arrays."""
    if isinstance(observation, dict):
        return {name: function(part) for name, part in observation.items()}
    return function(observation)


def _checked_options(options: dict[str, Any] | None, task: Task, cells: int, *more: str) -> dict[str, Any]:
    """The reset options that were given, those of `PER_CELL` as arrays (cells, *layout)."""
    layout = task.initial_draws[0].layout
    allowed = (*OPTIONS, *more)
    given = {name: value for name, value in (options or {}).items() if value is not None or name not in allowed}
    for name, value in given.items():
        if name not in allowed:
            raise TaskError(f"reset option {name!r} is unknown; known are {', '.join(allowed)}")
        if name == "chip_seed" and not (isinstance(value, int | np.integer) and value >= 0):
            raise TaskError(f"reset option chip_seed is {value!r}, a whole number >= 0 is needed")
        if name in PER_CELL:
            numbers = np.asarray(value)
            if numbers.dtype.kind not in "fiu" or numbers.shape not in ((), layout, (cells, *layout)):
                if not layout:
                    raise TaskError(f"reset option {name} is {value!r}, a number or {cells} of them are needed")
                shapes = f"a number, {layout} or {(cells, *layout)} is needed"
                raise TaskError(f"reset option {name} is {numbers.dtype} of shape {numbers.shape}; {shapes}")
            given[name] = np.broadcast_to(numbers, (cells, *layout))
    return given


def _checked_action(action: Any, space: gym.Space[Any]) -> np.ndarray:
    """The action as an array of the shape of its space; the task looks at the values."""
    action = np.asarray(action)
    if action.shape != space.shape:
        raise TaskError(f"action has the shape {action.shape}, {space.shape} is needed")
    return action


class TaskEnv(gym.Env[Any, Any]):
    """One cell (or array) of a task as a Gymnasium environment: a batch of one.

    `reset(options=)` takes chip_seed (int), start and target (as the task defines them).

    Args:
        task: what is run.
        render_mode: "rgb_array", "ansi" or None.
        image: draws a task's episodes so far for "rgb_array".
        text: writes them for "ansi".
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012, as Gymnasium declares it

    def __init__(
        self,
        task: Task,
        render_mode: str | None = None,
        image: Callable[[Any, list[Any]], np.ndarray] = trace_image,
        text: Callable[[Any, list[Any]], str] = trace_text,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise TaskError(f"render_mode is {render_mode!r}, allowed are None, rgb_array, ansi")
        self.task, self.render_mode = task, render_mode
        self.observation_space, self.action_space = task.observation_space, task.action_space
        self._pictures: dict[str | None, Callable[[Any, list[Any]], Any]] = {"rgb_array": image, "ansi": text}
        self._runner = _Runner(task, 1)
        self._trace: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A fresh cell; see the class for `options`."""
        super().reset(seed=seed)
        if seed is not None or self._runner.streams is None:
            self._runner.streams = Streams(self.np_random)
        self._runner.reset(_checked_options(options, self.task, 1))
        self._trace = [self._runner.episode]
        return self._observation(), self._single(self._runner.info(None))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the cell."""
        episode = self._runner.episode
        if episode is None:
            raise TaskError("step() before reset(): call reset() first")
        if self.task.terminated(episode)[0]:
            raise TaskError("step() after the end of the episode: call reset() first")
        self._runner.step(_checked_action(action, self.action_space)[None])
        episode = self._runner.episode
        if self.render_mode:
            self._trace.append(episode)
        reward, terms = self._runner.reward()
        terminated = bool(self.task.terminated(episode)[0])
        info = self._single(self._runner.info(terms))
        return self._observation(), float(reward[0]), terminated, False, info

    def action_masks(self) -> np.ndarray:
        """(menu,) bool, as sb3-contrib's MaskablePPO asks for it; of the discrete action modes."""
        return self._runner.info(None)["action_mask"][0]

    def render(self) -> Any:
        """An image (height, width, 3) uint8, or a text, of the episode so far."""
        return self._pictures[self.render_mode](self.task, self._trace) if self.render_mode else None

    def _observation(self) -> Observation:
        return _parts(lambda part: part[0].copy(), self.task.observe(self._runner.episode))

    @staticmethod
    def _single(info: dict[str, np.ndarray]) -> dict[str, Any]:
        return {name: value[0] if value.ndim > 1 else value[0].item() for name, value in info.items()}


class TaskVectorEnv(VectorEnv[Any, np.ndarray, np.ndarray]):
    """Many cells (or arrays) of a task at once, natively batched.

    Args:
        task: what is run.
        num_envs: cells.
        autoreset_mode: Gymnasium's `AutoresetMode` or its value: "NextStep"; "SameStep" (`final_obs` (cells, ...) and
            `final_info` in info, valid where `_final_obs`); "Disabled" (`reset(options={"reset_mask": ...})` resets the
            cells that are done).
        max_episode_steps: truncates an episode after so many steps; None = never.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
    ) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise TaskError(f"num_envs is {num_envs!r}, allowed is a whole number >= 1")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise TaskError(f"max_episode_steps is {max_episode_steps!r}, allowed is a whole number >= 1 or None")
        if autoreset_mode not in (modes := [*AutoresetMode, *(mode.value for mode in AutoresetMode)]):
            raise TaskError(f"autoreset_mode is {autoreset_mode!r}, allowed is one of {modes}")
        self.task, self.num_envs, self.max_episode_steps = task, num_envs, max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode}
        self.single_observation_space, self.single_action_space = task.observation_space, task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._runner = _Runner(task, num_envs)
        self._steps = np.zeros(num_envs, int)
        self._done = np.zeros(num_envs, bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Fresh cells everywhere, or where `options["reset_mask"]` (cells,) bool is true; options as in `TaskEnv`."""
        super().reset(seed=seed)
        if seed is not None or self._runner.streams is None:
            self._runner.streams = Streams(self.np_random)
        known = _checked_options(options, self.task, self.num_envs, "reset_mask")
        mask = known.pop("reset_mask", None)
        if mask is None:
            self._runner.reset(known)
            self._steps[:] = 0
            self._done[:] = False
        else:
            self._reset_where(np.asarray(mask), known)
        return self._runner.observation(), self._info(None)

    def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every cell; in NEXT_STEP mode, cells that were done are reset instead and ignore their action."""
        if self._runner.episode is None:
            raise TaskError("step() before reset(): call reset() first")
        stale = self._done if self._done.any() else None
        if stale is not None and self.autoreset_mode is AutoresetMode.DISABLED:
            count = int(stale.sum())
            raise TaskError(f'{count} cells are done: reset them with reset(options={{"reset_mask": ...}}) first')
        if stale is None or not stale.all():  # a reset alone draws no noise, as in the single environment
            self._runner.step(_checked_action(action, self.action_space))
            self._steps += 1
        reward, terms = self._runner.reward()
        terminated = self.task.terminated(self._runner.episode)
        truncated = np.zeros(self.num_envs, bool)
        if self.max_episode_steps is not None:
            truncated = self._steps >= self.max_episode_steps
        if stale is not None:
            self._runner.reset_rows(np.flatnonzero(stale), {})
            self._steps[stale] = 0
            reward, terminated, truncated = np.where(stale, 0.0, reward), terminated & ~stale, truncated & ~stale
            terms = {name: np.where(stale, 0.0, value) for name, value in terms.items()}
        done = terminated | truncated
        info = self._info(terms)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if done.any():
                info = self._reset_same_step(done, info)
        else:
            self._done = done
        return self._runner.observation(), reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """(cells, menu) bool, of the discrete action modes."""
        return self._runner.info(None)["action_mask"]

    def _reset_same_step(self, done: np.ndarray, info: dict[str, Any]) -> dict[str, Any]:
        """The info after the done cells have been reset, with what they ended with in final_obs and final_info."""
        rows = np.flatnonzero(done)
        final = {name: value for name, value in info.items() if not name.startswith("_")}
        final |= {f"_{name}": done for name in final}
        last = self._runner.observation()
        self._runner.reset_rows(rows, {})
        self._steps[rows] = 0
        fresh = self.task.info(take(self._runner.episode, rows))
        for name, value in fresh.items():
            info[name] = info[name].copy()
            info[name][rows] = value
        return info | {"final_obs": last, "_final_obs": done, "final_info": final, "_final_info": done}

    def _reset_where(self, mask: np.ndarray, options: dict[str, Any]) -> None:
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise TaskError(f"reset_mask is {mask.dtype} of shape {mask.shape}, ({self.num_envs},) bool is needed")
        if self._runner.episode is None:
            raise TaskError("reset_mask before a full reset(): call reset() first")
        if mask.any():
            self._runner.reset_rows(np.flatnonzero(mask), options)
        self._steps[mask] = 0
        self._done = self._done & ~mask

    def _info(self, terms: dict[str, np.ndarray] | None) -> dict[str, Any]:
        """Arrays (cells, ...) and, as Gymnasium has it, a mask of the same name with an underscore."""
        info: dict[str, Any] = self._runner.info(terms)
        everyone = np.ones(self.num_envs, bool)
        return info | {f"_{name}": everyone for name in info}
