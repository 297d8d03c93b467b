"""The compiler: the text of the physics, run on symbolic values and recorded, as one loop over cells."""

from memenv.compiler.counter_rng import Key, Noise
from memenv.compiler.runtime import prepare, run

__all__ = ["Key", "Noise", "prepare", "run"]
