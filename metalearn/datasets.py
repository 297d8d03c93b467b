"""Characters by the name of their source: Omniglot, or glyphs of our own, which need no download."""

from memenv.few_shot.characters import Split
from memenv.few_shot.strokes import TEST_GLYPHS, TRAINING_GLYPHS, glyphs
from metalearn.omniglot import load_omniglot

SOURCES = ("omniglot", "glyphs")


def load(source: str, split: str = "random") -> Split:
    """Characters to train and to evaluate on; `split` is Omniglot's.

    Raises:
        ValueError: Omniglot is missing or damaged.
    """
    if source == "omniglot":
        return load_omniglot(split=split)
    return Split(glyphs(*TRAINING_GLYPHS), glyphs(*TEST_GLYPHS))
