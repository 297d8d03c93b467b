"""The two Gymnasium shells: they own the only mutable state, seeds and autoreset, and know no physics."""

import functools
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from memenv.bounds import MOST, MOST_SEED, shown, whole
from memenv.engine import Engine
from memenv.envs.auto_runner import runner_of
from memenv.envs.noise import Seeds, in_turn
from memenv.envs.pictures import MODES, Pictures
from memenv.envs.runners import OPTIONS, PER_CELL, Look, Runner, parts
from memenv.envs.task import Task, TaskError

ALONE = np.zeros(1, int)  # index of the only environment


def _checked_options(options: dict[str, Any] | None, task: Task, cells: int, *more: str) -> dict[str, Any]:
    """The reset options that were given, as arrays: chip_seed (cells,), those of `PER_CELL` (cells, *layout)."""
    layout = task.initial_draws[0].layout
    allowed = (*OPTIONS, *more)
    if not isinstance(options, Mapping | None):
        raise TaskError(f"options is {shown(options)}, a dictionary of {', '.join(allowed)} is needed")
    given = {name: value for name, value in (options or {}).items() if value is not None or name not in allowed}
    for name, value in given.items():
        if name not in allowed:
            raise TaskError(f"reset option {name!r} is unknown; known are {', '.join(allowed)}")
        if name == "chip_seed":
            given[name] = in_turn(whole("reset option chip_seed", value, 0, MOST_SEED, TaskError), cells)
        if name in PER_CELL:
            numbers = _array(f"reset option {name}", value)
            if numbers.dtype.kind not in "fiu" or numbers.shape not in ((), layout, (cells, *layout)):
                if not layout:
                    raise TaskError(f"reset option {name} is {shown(value)}, a number or {cells} of them are needed")
                shapes = f"a number, {layout} or {(cells, *layout)} is needed"
                raise TaskError(f"reset option {name} is {numbers.dtype} of shape {numbers.shape}; {shapes}")
            given[name] = np.broadcast_to(numbers, (cells, *layout))
    return given


def _of_np_random(env: Any, seed: int | None) -> int | None:
    """The seed of the environment's `np_random`: if nothing has yet, a seed that `reset` takes, to come back to it."""
    return secrets.randbelow(MOST_SEED + 1) if seed is None and env._np_random is None else seed


def _entropy(env: Any) -> int:
    """A seed where none was given: that of the environment's `np_random`, or drawn from it if the user brought it."""
    seed = env.np_random_seed
    return int(seed if seed >= 0 else env.np_random.integers(2**63))


def _checked_action(action: Any, space: gym.Space[Any]) -> np.ndarray:
    """The action as an array of the shape of its space; the task looks at the values."""
    given = _array("action", action)
    if given.shape != space.shape:
        raise TaskError(f"action has the shape {given.shape}, {space.shape} is needed")
    return given


def _array(name: str, value: Any) -> np.ndarray:
    """As an array, whatever it is."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TaskError(f"{name} cannot be made an array: {error}") from None


def _checked_seed(seed: Any) -> int | None:
    """The seed as Gymnasium wants it."""
    return None if seed is None else whole("seed", seed, 0, MOST_SEED, TaskError)


def _checked_seeds(seed: Any, envs: int) -> int | list[int | None] | None:
    """The seed, or a seed or None for each environment."""
    several = isinstance(seed, Sequence) or (isinstance(seed, np.ndarray) and seed.ndim > 0)
    if not several or isinstance(seed, str | bytes):
        return _checked_seed(seed)
    if len(seed) != envs:
        raise TaskError(f"{len(seed)} seeds for {envs} environments: one for each, or None, is needed")
    return [None if one is None else whole("seed", one, 0, MOST_SEED, TaskError, "or None") for one in seed]


def _first(array: np.ndarray) -> Any:
    return array[0]


def _with_masks(info: dict[str, np.ndarray]) -> dict[str, Any]:
    """The info and, as Gymnasium has it, a mask of the cells of the same name with an underscore."""
    everyone = np.ones(len(next(iter(info.values()))), bool)
    return info | dict.fromkeys(_mask_names(tuple(info)), everyone)


@functools.lru_cache(maxsize=64)
def _mask_names(names: tuple[str, ...]) -> list[str]:
    return [f"_{name}" for name in names]


def _masks(runner: Runner) -> np.ndarray:
    """The masks (cells, menu) bool of the episodes now.

    Raises:
        TaskError: there are no episodes yet, or no masks of such actions.
    """
    if runner.episode is None:
        raise TaskError("action_masks() before reset(): call reset() first")
    masks: np.ndarray | None = runner.look().info.get("action_mask")
    if masks is None:
        raise TaskError('these actions have no masks: action="discrete", of arrays action="lines", has them')
    return masks


def _warn_of_limit(env: Any, steps: int | None) -> None:
    """Says that an id's own limit of so many steps cuts episodes which the task's arguments allow to be longer."""
    registered = gym.registry.get(env.spec.id) if env.spec else None
    longest = getattr(env.task, "episode_steps", getattr(env.task, "max_steps", 0))
    if registered is not None and steps is not None and steps == registered.max_episode_steps and steps < longest:
        warnings.warn(
            f"episodes are truncated after {steps} steps, the limit of {env.spec.id}; the arguments allow {longest}: "
            f"pass max_episode_steps={longest} to gym.make or gym.make_vec",
            stacklevel=3,
        )


def _take_spec(env: Any, spec: EnvSpec | None) -> None:
    """Keeps what Gymnasium says an environment was made by, where a user's arguments have replaced those of the id.

    Raises:
        TaskError: the variant is another than that of the id.
    """
    registered = gym.registry.get(spec.id) if spec else None
    if spec and registered and (given := spec.kwargs.get("variant")) != registered.kwargs.get("variant"):
        raise TaskError(f"variant is {shown(given)}, and {spec.id} has its own: leave it out, or make another id")
    vars(env)["spec"] = spec


# `gym.make` merges a user's arguments with those of the id before it makes an environment, which so cannot tell whose
# they are; of what it sets afterwards, the spec is the first that says so.
SPEC: Any = property(lambda env: vars(env).get("spec"), _take_spec)


class TaskEnv(gym.Env[Any, Any]):
    """One cell (or array) of a task as a Gymnasium environment: a batch of one.

    `reset(options=)` takes chip_seed (int), start and target (as the task defines them).

    Args:
        task: what is run.
        render_mode: "rgb_array", "ansi" or None.
        image: draws a task's episodes so far for "rgb_array".
        text: writes them for "ansi".
        engine: as in `TaskVectorEnv`.
    """

    spec = SPEC
    metadata = {"render_modes": MODES, "render_fps": 4}  # noqa: RUF012, as Gymnasium declares it

    def __init__(
        self,
        task: Task,
        render_mode: str | None,
        image: Callable[[Any, list[Any]], np.ndarray],
        text: Callable[[Any, list[Any]], str],
        engine: str | Engine = "auto",
    ) -> None:
        self._pictures = Pictures(task, render_mode, {"rgb_array": image, "ansi": text}, 1)
        self.task, self.render_mode = task, render_mode
        self.observation_space, self.action_space = task.observation_space, task.action_space
        self._runner, self._seeds = runner_of(task, 1, engine, drawn=render_mode is not None), Seeds(1)
        self._over: bool | None = None  # whether the episode is, None before the first
        self._steps = 0  # of the episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A fresh cell; see the class for `options`."""
        known, seed = _checked_options(options, self.task, 1), _checked_seed(seed)
        if self._over is False:
            _warn_of_limit(self, self._steps)
        super().reset(seed=_of_np_random(self, seed))
        self._seeds.sow(seed, ALONE, lambda: _entropy(self))
        self._runner.reset(self._seeds.next(ALONE), known)
        self._pictures.begin(ALONE)
        self._over, self._steps = False, 0
        observation, _, _, info = self._look()
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the cell."""
        if self._over is not False:
            when = "before reset()" if self._over is None else "after the end of the episode"
            raise TaskError(f"step() {when}: call reset() first")
        self._runner.step(_checked_action(action, self.action_space)[None])
        self._steps += 1
        observation, reward, self._over, info = self._look()
        return observation, reward, self._over, False, info

    def action_masks(self) -> np.ndarray:
        """(menu,) bool, as sb3-contrib's MaskablePPO asks for it; of the discrete action modes."""
        mask: np.ndarray = _masks(self._runner)[0]
        return mask

    def render(self) -> Any:
        """An image (height, width, 3) uint8, or a text, of the episode so far."""
        frames = self._pictures.frames()
        return frames and frames[0]

    def _look(self) -> tuple[Any, float, bool, dict[str, Any]]:
        """Observation, reward, whether the episode is over, and info with NumPy's scalars, as they are now."""
        self._pictures.add(self._runner.episode)
        seen = self._runner.look()
        info = {name: value[0] for name, value in seen.info.items()}
        return parts(_first, seen.observation), seen.reward.item(), seen.terminated.item(), info


class TaskVectorEnv(VectorEnv[Any, np.ndarray, np.ndarray]):
    """Many cells (or arrays) of a task at once, natively batched.

    Args:
        task: what is run.
        num_envs: cells.
        autoreset_mode: Gymnasium's `AutoresetMode` or its value: "NextStep"; "SameStep" (`final_obs` (cells, ...) and
            `final_info` in info, valid where `_final_obs`); "Disabled" (`reset(options={"reset_mask": ...})` resets the
            cells that are done).
        max_episode_steps: truncates an episode after so many steps; None = never.
        engine: "auto" begins on NumPy and goes on with a compiled loop once that pays, after about a second of NumPy's
            steps, where numba is installed (extra `numba`) and the task can be compiled: the same episodes to the
            rounding of single precision. "numpy" stays there, and so does what is drawn; "numba", or an `Engine` of
            `load_engine`, compiles first.
        render_mode, image, text: as in `TaskEnv`; `render` returns a picture for each cell, of which those after the
            first `PICTURED` are empty.
    """

    spec = SPEC

    def __init__(
        self,
        task: Task,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        engine: str | Engine = "auto",
        render_mode: str | None = None,
        image: Callable[[Any, list[Any]], np.ndarray] | None = None,
        text: Callable[[Any, list[Any]], str] | None = None,
    ) -> None:
        num_envs = whole("num_envs", num_envs, 1, MOST, TaskError)
        if max_episode_steps is not None:
            max_episode_steps = whole("max_episode_steps", max_episode_steps, 1, MOST, TaskError, "or None")
        modes = [*AutoresetMode, *(mode.value for mode in AutoresetMode)]
        if not isinstance(autoreset_mode, str | AutoresetMode) or autoreset_mode not in modes:
            raise TaskError(f"autoreset_mode is {shown(autoreset_mode)}, allowed is one of {modes}")
        task.check_memory(num_envs)
        self.task, self.num_envs, self.max_episode_steps = task, num_envs, max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = TaskEnv.metadata | {"autoreset_mode": self.autoreset_mode}
        self._pictures = Pictures(task, render_mode, {"rgb_array": image, "ansi": text}, num_envs)
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = task.observation_space, task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._runner, self._seeds = runner_of(task, num_envs, engine, drawn=render_mode is not None), Seeds(num_envs)
        self._steps = np.zeros(num_envs, int)
        self._done = np.zeros(num_envs, bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Fresh cells everywhere, or where `options["reset_mask"]` (cells,) bool is true; options as in `TaskEnv`.

        Environment i of `seed` s is the single environment of the seed s + i. A list has a seed for each of all, or
        None where it goes on with its next episode, as all do without a seed.
        """
        known = _checked_options(options, self.task, self.num_envs, "reset_mask")
        rows = self._asked(known.pop("reset_mask", None))
        seed = _checked_seeds(seed, self.num_envs)
        super().reset(seed=_of_np_random(self, seed if isinstance(seed, int) else None))
        self._seeds.sow(seed, rows, lambda: _entropy(self))
        if self._runner.episode is None:
            _warn_of_limit(self, self.max_episode_steps)
        if len(rows):
            self._begin(rows, known)
        self._done[rows] = False
        self._pictures.add(self._runner.episode, rows)
        seen = self._runner.look()
        return seen.observation, _with_masks(seen.info)

    def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every cell; in NEXT_STEP mode, cells that were done are reset instead and ignore their action."""
        if self._runner.episode is None:
            raise TaskError("step() before reset(): call reset() first")
        stale = self._done.nonzero()[0]
        if len(stale) and self.autoreset_mode is AutoresetMode.DISABLED:
            raise TaskError(f'{len(stale)} cells are done: reset them with reset(options={{"reset_mask": ...}}) first')
        if len(stale) < self.num_envs:
            self._act(_checked_action(action, self.action_space), stale)
            self._steps += 1
        if len(stale):
            self._begin(stale, {})
        seen = self._runner.look()
        truncated = np.zeros(self.num_envs, bool)
        if self.max_episode_steps is not None:
            truncated = self._steps >= self.max_episode_steps
        done = seen.terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            observation, info = self._reset_same_step(done, seen)
        else:
            self._done, observation, info = done, seen.observation, _with_masks(seen.info)
        self._pictures.add(self._runner.episode)
        return observation, seen.reward, seen.terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """A picture of each cell's episode so far, as in `TaskEnv`."""
        return self._pictures.frames()

    def action_masks(self) -> np.ndarray:
        """(cells, menu) bool, of the discrete action modes."""
        return _masks(self._runner)

    def _begin(self, rows: np.ndarray, options: dict[str, Any]) -> None:
        """The next episodes of the cells with the indices `rows`."""
        self._runner.reset(self._seeds.next(rows), options, None if len(rows) == self.num_envs else rows)
        self._steps[rows] = 0
        self._pictures.begin(rows)

    def _act(self, action: np.ndarray, ignored: np.ndarray) -> None:
        """A step of the runner; of the cells with the indices `ignored` actions may be anything."""
        try:
            self._runner.step(action)
        except TaskError:
            if not len(ignored):
                raise
            action = action.copy()
            action[ignored] = 0
            self._runner.step(action)

    def _reset_same_step(self, done: np.ndarray, seen: Look) -> tuple[Any, dict[str, Any]]:
        """Observation and info after the done cells have been reset, with how they ended in final_obs, final_info."""
        rows = done.nonzero()[0]
        if not len(rows):
            return seen.observation, _with_masks(seen.info)
        self._begin(rows, {})
        fresh = self._runner.look()
        final = seen.info | {f"_{name}": done for name in seen.info}
        more = {"final_obs": seen.observation, "_final_obs": done, "final_info": final, "_final_info": done}
        return fresh.observation, _with_masks(fresh.info) | more

    def _asked(self, mask: Any) -> np.ndarray:
        """The indices of the cells of a mask, None for all."""
        if mask is None:
            return np.arange(self.num_envs)
        mask = _array("reset_mask", mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise TaskError(f"reset_mask is {mask.dtype} of shape {mask.shape}, ({self.num_envs},) bool is needed")
        if self._runner.episode is None:
            raise TaskError("reset_mask before a full reset(): call reset() first")
        return np.flatnonzero(mask)
