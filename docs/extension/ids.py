"""A page for each registered environment: registration, spaces, an episode in pictures, scores and manual."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym

from extension import docstrings
from extension.animation import films
from memenv.envs.variants import VARIANTS, Variant

SCORES = Path(__file__).parents[1] / "scores.json"
OWN = ("Description", "Action space", "Observation space", "Rewards", "Starting state", "Episode end", "Info")
OWN += ("Reset options", "Arguments", "Version history")
OF_A_VARIANT = ("Action space", "Observation space")  # the rest stands on the page of the family


def pages(folder: Path) -> dict[str, str]:
    """The pages by name; pictures go into `folder`."""
    scores = json.loads(SCORES.read_text(encoding="utf-8"))
    return {f"{name}-v0": page(name, variant, scores, folder) for name, variant in VARIANTS.items()}


def page(name: str, variant: Variant, scores: dict[str, Any], folder: Path) -> str:
    """One page in Markdown."""
    own = f"memenv/{name}-v0"
    env = gym.make(own)
    manual = docstrings.sections(type(env.unwrapped).__doc__ or "")
    family = f"[`memenv/{variant.base}-v0`]({variant.base}-v0.md)"
    rows = [row for row in scores["rows"] if row["id"] == own]
    if not rows:
        raise ValueError(
            f"{SCORES} has no scores of {own}: run python benchmarks/returns.py --ids {own} --out docs/scores.json"
        )
    parts = [f"# {own}\n", manual[""].splitlines()[0] + "\n", _facts(own, variant, env), _code(own)]
    if variant.fixed:
        parts.append(f"A variant of {family}, whose page has rewards, infos, reset options and all arguments.\n")
    parts += ["## An episode\n", films(name, rows, folder), "## Scores\n", _scores(rows)]
    for title in OF_A_VARIANT if variant.fixed else OWN:
        make = docstrings.listed if title in ("Arguments", "Version history") else docstrings.markdown
        parts.append(f"## {title}\n\n{make(manual[title])}")
    env.close()
    return "\n".join(parts)


def _facts(own: str, variant: Variant, env: Any) -> str:
    """What the registration and the spaces say."""
    spec = gym.spec(own)
    fixed = ", ".join(f"`{key}={value!r}`" for key, value in variant.fixed.items())
    rows = [
        ("class", f"[`memenv.envs.{variant.base}Env`](memenv.envs.md)"),
        ("arguments that it fixes", fixed or "none"),
        ("steps at most", str(spec.max_episode_steps)),
        (
            "`reward_threshold`",
            f"{spec.reward_threshold:g}; [where it is from](../environments.md)",
        ),
        ("action space", _space(env.action_space)),
        ("observation space", _space(env.observation_space)),
    ]
    return "| | |\n| --- | --- |\n" + "".join(f"| {key} | {value} |\n" for key, value in rows)


def _space(space: gym.Space[Any]) -> str:
    if isinstance(space, gym.spaces.Dict):
        return "Dict of " + ", ".join(f"`{key}` {_space(part)}" for key, part in space.spaces.items())
    if isinstance(space, gym.spaces.MultiDiscrete):
        sizes = space.nvec.tolist()
        return f"`MultiDiscrete({str(sizes[:3])[:-1]}, ...])` of {len(sizes)}" if len(sizes) > 8 else f"`{space}`"
    return f"`{space}`"


def _code(own: str) -> str:
    return f"""
```python
import gymnasium as gym
import memenv  # registers the environments

env = gym.make("{own}")
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

envs = gym.make_vec("{own}", num_envs=64)  # a native batch
```
"""


def _scores(rows: list[dict[str, Any]]) -> str:
    """The table of everybody."""
    success = "accuracy %" if "accuracy" in rows[0] else "success %"
    lines = [f"| controller | return | pulses | {success} | energy pJ |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        share = row["accuracy" if "accuracy" in row else "success"]
        cells = (
            _figure(row["return"], "{:.3f}"),
            _figure(row["pulses"], "{:.2f}"),
            _figure([100 * value for value in share], "{:.1f}"),
            _figure([1e12 * value for value in row["energy"]], "{:.3g}"),
        )
        lines.append(f"| {row['controller']} | " + " | ".join(cells) + " |")
    said = (
        f"\n`{rows[0]['command']}` (memenv {rows[0]['memenv']}; {rows[0]['judged']}; brackets are 95 % intervals). "
        "What is tuned (`--trials`; 1 = not) is tuned on other chips than it is judged on; `oracle` knows the cell. "
        "Pulses and energy are means, of arrays and networks for each device. [Controllers](../controllers.md) says "
        "what each of them does.\n"
    )
    return "\n".join(lines) + "\n" + said


def _figure(figure: list[float], form: str) -> str:
    value, low, high = (form.format(number) for number in figure)
    return f"{value} [{low}, {high}]"
