"""The embedded few-shot tasks: glyphs that no pretraining has seen, and what the front of a network makes of them."""

from functools import lru_cache

import numpy as np

from memenv.few_shot.characters import Characters
from memenv.few_shot.initialisations import Initialisation, load_initialisation, shipped, untrained
from memenv.few_shot.strokes import TEST_GLYPHS, glyphs

SPLITS = {"train": (2, 200), "test": (TEST_GLYPHS[0], 200)}  # seed and number of glyphs: to train agents, to judge them
NETWORKS = ("conv", "mlp")
UNTRAINED = "random"


@lru_cache(maxsize=2)
def glyph_split(split: str) -> Characters:
    """The glyphs of "train" or "test", rendered once (0.3 s)."""
    return glyphs(*SPLITS[split])


@lru_cache(maxsize=8)
def initialisation(name: str, network: str) -> Initialisation:
    """The initialisation "random", a shipped one for glyphs ("maml", "device-aware"), or that of a path (.npz).

    Raises:
        ValueError: an unknown name, a missing or a damaged file.
    """
    if name == UNTRAINED:
        return untrained(network)
    if name.endswith(".npz") or name in shipped():
        return load_initialisation(name)
    if (known := f"glyphs-{network}-{name}") not in shipped():
        raise ValueError(f"init is {name!r}: random, maml, device-aware, {', '.join(shipped())} or the path of a .npz")
    return load_initialisation(known)


@lru_cache(maxsize=4)
def features(name: str, network: str, split: str) -> np.ndarray:
    """(classes, instances, features) float32 of the glyphs of a split, computed once (1.5 s with an encoder)."""
    made = initialisation(name, network).front(glyph_split(split).images)
    made.flags.writeable = False
    return made
