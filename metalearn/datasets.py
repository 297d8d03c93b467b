"""Few-shot data by the name of their source: Omniglot; or glyphs and sensors' answers to odours, both generated."""

import json

from memenv.few_shot.characters import Characters, Split
from memenv.few_shot.initialisations import Initialisation, load_initialisation, shipped
from memenv.few_shot.strokes import TEST_GLYPHS, TRAINING_GLYPHS, glyphs
from metalearn.omniglot import SPLITS, load_omniglot
from metalearn.sensors import TEST_ODOURS, TRAINING_ODOURS, odours

SOURCES = ("omniglot", "glyphs", "odours")


def load(source: str, split: str = "random") -> Split:
    """Characters to train and to evaluate on; `split` is Omniglot's.

    Raises:
        ValueError: Omniglot is missing or damaged.
    """
    if source == "omniglot":
        return load_omniglot(split=split)
    if source == "odours":
        return Split(odours(*TRAINING_ODOURS), odours(*TEST_ODOURS))
    return Split(glyphs(*TRAINING_GLYPHS), glyphs(*TEST_GLYPHS))


def learned_from(init: Initialisation) -> set[str]:
    """The splits of Omniglot whose characters an initialisation has learned from, as its card and shipped ones' say."""
    config = json.loads(init.card).get("config")
    data, split, before = map(config.get, ("data", "split", "init")) if isinstance(config, dict) else (None,) * 3
    earlier = learned_from(load_initialisation(before)) if before in shipped() else set()
    return earlier | {split} if data == "omniglot" and split in SPLITS else earlier


def learned_before(init: Initialisation, split: str, test: Characters) -> int:
    """How many of the characters that a split of Omniglot evaluates on the initialisation has learned from."""
    others = learned_from(init) - {split}  # its own has none
    return len({name for other in others for name in load_omniglot(split=other).train.names} & {*test.names})
