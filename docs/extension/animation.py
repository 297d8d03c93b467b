"""Episodes as animated pictures, played by those of the scores and drawn by the environment's own `render`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from agents.arrays import EachCell
from agents.few_shot import shipped_agent
from agents.few_shot.schedules import own_schedule
from agents.library import load_policy
from memenv.envs.variants import VARIANTS

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from crossbar_rl import at_random, ispp_of_lines
from few_shot_agents import CONTROLLERS as SCHEDULES

SEED, STEPS = 6, 200  # of the episode; at most, of very long ones
FRAMES, PAUSE, LAST = 4, 1200, 3000  # at most; [ms] of a picture and of the last one
COLOURS, LARGEST = (64, 32, 16, 8, 4), 300_000  # as many as fit into so many bytes
CELLS, LINES = ("ispp", "specialist"), ("random", "ramp of lines")
PLAYERS = {"FewShot": ("constant", "agent"), "FewShotMLP": ("rates of the initialisation", "schedule")}
PLAYERS |= {"FewShotStream": ("constant", "means")}
PLAYERS |= {"CrossbarProgramLines": LINES, "CrossbarProgramLines64x64": LINES}  # of the others cells
SHOWN = {
    "WriteVerify": "reads and target band above, pulses below",
    "CrossbarProgram": "maps of target, conductance, read error and pulses",
    "FewShot": "support and queries, accuracy after each step, cells of the head before and now",
}


def films(name: str, scores: list[dict[str, Any]], folder: Path) -> str:
    """Both episodes of an id, in Markdown; pictures that are there already are kept."""
    parts = []
    for player in PLAYERS.get(name, CELLS):
        row = next(one for one in scores if one["controller"] == player)
        file = folder / f"{name}-{player.replace(' ', '-')}.gif"
        told = file.with_suffix(".txt")
        if not told.exists():
            told.write_text(film(name, row, file), encoding="utf-8")
        ends = told.read_text(encoding="utf-8")
        shown = SHOWN[VARIANTS[name].base]
        parts.append(
            f":::{{figure}} {file.name}\n:alt: An episode by {player}, {ends}; {shown}\n\n{player}: {ends}\n:::\n"
        )
    return "::::{container} episodes\n" + "\n".join(parts) + "::::\n"


def film(name: str, row: dict[str, Any], file: Path) -> str:
    """Play an episode by the controller of a row of the scores, with its tuned parameters; what came of it in words."""
    variant = VARIANTS[name]
    plain = {key: value for key, value in variant.fixed.items() if key != "goal"}  # policies see what all see
    split = {"split": "test"} if variant.base == "FewShot" else {}
    own = {"render_mode": "rgb_array", "max_episode_steps": variant.max_episode_steps}
    env = gym.make(f"memenv/{variant.base}-v0", **own, **plain, **split)
    policy, many = player(row, env.unwrapped.task), variant.base == "CrossbarProgram"
    info = _played(env, policy)
    pictures = env.unwrapped._pictures  # draws the episode up to any step, so that it is played once
    (trace,) = pictures.traces
    length = len(trace) - 1
    steps = np.unique(np.linspace(0, length, min(FRAMES, length + 1)).round().astype(int))
    frames = [pictures.draw(pictures.task, trace[: step + 1]) for step in steps]
    for colours in COLOURS:
        first, *rest = [Image.fromarray(frame).quantize(colours) for frame in frames]
        first.save(file, save_all=True, append_images=rest, duration=[PAUSE] * len(rest) + [LAST], loop=0)
        if file.stat().st_size <= LARGEST:
            break
    if "accuracy" in info:
        right = f"{100 * info['accuracy']:.0f} % of the queries right after {length} steps"
        return f"{right}, {info['pulses']:.2f} pulses a device"
    pulses = f"{info['pulses']:.0f} pulses"
    if many:
        return f"{100 * info['accepted']:.0f} % of the cells within the tolerance after {length} steps, {pulses}"
    return f"{'accepted' if info['is_success'] else 'not accepted'} after {pulses}"


def player(row: dict[str, Any], task: Any) -> Any:
    """`act(seen, state, start, masks)`, of batches, of the controller of a row of the scores."""
    name = row["controller"]
    tuned = {key: tuple(value) if isinstance(value, list) else value for key, value in row["parameters"].items()}
    if name in ("random", "ramp of lines"):
        return (at_random if name == "random" else ispp_of_lines)(task)
    if row["id"].startswith("memenv/CrossbarProgram"):
        own = EachCell.of(name, task)
        policy: Any = replace(own, policy=replace(own.policy, **tuned))
    elif not row["id"].startswith("memenv/FewShot"):
        policy = replace(load_policy(name, task), **tuned)
    elif name == "agent":
        policy = shipped_agent(task)
    elif name in SCHEDULES:
        policy = replace(SCHEDULES[name](task, gain=1.0, threshold=0.0), **tuned)
    else:
        policy = own_schedule(task)
    return lambda seen, state, start, masks: policy.predict(seen, state, start)


def _played(env: Any, act: Any) -> dict[str, Any]:
    """Play an episode, or so much of it as `STEPS` allow; its last info."""
    (seen, info), state = env.reset(seed=SEED), None
    for step in range(STEPS):
        batch = {key: part[None] for key, part in seen.items()} if isinstance(seen, dict) else seen[None]
        masks = None if info.get("action_mask") is None else info["action_mask"][None]
        action, state = act(batch, state, np.full(1, step == 0), masks)
        seen, _, terminated, truncated, info = env.step(action[0])
        if terminated or truncated:
            break
    return info
