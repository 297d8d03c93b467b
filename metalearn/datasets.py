"""Few-shot data by the name of their source: Omniglot; or glyphs and sensors' answers to odours, both generated."""

from memenv.few_shot.characters import Split
from memenv.few_shot.strokes import TEST_GLYPHS, TRAINING_GLYPHS, glyphs
from metalearn.omniglot import load_omniglot
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
