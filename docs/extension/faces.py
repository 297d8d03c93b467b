"""The reference of the interface: a page for each face, a package's `__init__.py`."""

import importlib
from pathlib import Path

FACES = (
    "memenv",
    "memenv.devices",
    "memenv.fitting",
    "memenv.crossbars",
    "memenv.circuits",
    "memenv.envs",
    "memenv.few_shot",
    "memenv.learning",
    "memenv.compiler",
    "memenv.experiments",
    "agents",
    "agents.classical",
    "agents.predictor",
    "agents.arrays",
    "agents.bulk",
    "agents.few_shot",
    "agents.sb3",
    "metalearn",
)


def pages(folder: Path) -> dict[str, str]:
    """The pages by name; what can be imported from `memenv` stands on its page alone."""
    first = set(importlib.import_module(FACES[0]).__all__)
    found = {}
    for face in FACES:
        names = importlib.import_module(face).__all__
        own = [name for name in names if face == FACES[0] or name not in first]
        text = f"# {face}\n\n```{{eval-rst}}\n.. automodule:: {face}\n   :members: {', '.join(own)}\n```\n"
        if len(own) < len(names):
            rest = ", ".join(f"`{name}`" for name in names if name not in own)
            text += f"\nAlso here, and described under [memenv](memenv.md): {rest}.\n"
        found[face] = text
    return found
