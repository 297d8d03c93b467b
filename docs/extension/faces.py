"""The reference of the interface: a page for each face, a package's `__init__.py`."""

import importlib
import inspect
from pathlib import Path
from typing import Any

FACES = (
    "memenv",
    "memenv.devices",
    "memenv.devices.physics",
    "memenv.fitting",
    "memenv.crossbars",
    "memenv.circuits",
    "memenv.envs",
    "memenv.few_shot",
    "memenv.lab",
    "memenv.learning",
    "memenv.compiler",
    "memenv.experiments",
    "agents",
    "agents.classical",
    "agents.predictor",
    "agents.arrays",
    "agents.bulk",
    "agents.export",
    "agents.few_shot",
    "agents.sb3",
    "metalearn",
)


def pages(folder: Path) -> dict[str, str]:
    """The pages by name; what can be imported from `memenv` stands on its page alone."""
    first = importlib.import_module(FACES[0]).__all__
    found = {}
    for face in FACES:
        module = importlib.import_module(face)
        own = [name for name in module.__all__ if face == FACES[0] or name not in first]
        parts = [f".. automodule:: {face}", *(_member(face, name, getattr(module, name)) for name in own)]
        found[face] = f"# {face}\n\n```{{eval-rst}}\n" + "\n\n".join(parts) + "\n```\n"
        if rest := ", ".join(f"`{name}`" for name in module.__all__ if name not in own):
            found[face] += f"\nAlso here, and described under [memenv](memenv.md): {rest}.\n"
    return found


def _member(face: str, name: str, thing: Any) -> str:
    """The directive of a class, with its methods, of a function or of a constant, whose value is not shown."""
    if inspect.isfunction(thing):
        return f".. autofunction:: {face}.{name}"
    kind, shown = ("class", "members") if inspect.isclass(thing) else ("data", "no-value")
    return f".. auto{kind}:: {face}.{name}\n   :{shown}:"
