"""Characters by the name of their source: Omniglot, or glyphs of our own, which need no download."""

from metalearn.glyphs import glyphs
from metalearn.omniglot import load_omniglot
from metalearn.tasks import Split

SOURCES = ("omniglot", "glyphs")
TRAINING_GLYPHS, TEST_GLYPHS = (0, 1200), (1, 423)  # seed and number


def load(source: str, split: str = "random") -> Split:
    """Characters to train and to evaluate on; `split` is Omniglot's.

    Raises:
        ValueError: Omniglot is missing or damaged.
    """
    if source == "omniglot":
        return load_omniglot(split=split)
    return Split(glyphs(*TRAINING_GLYPHS), glyphs(*TEST_GLYPHS))
