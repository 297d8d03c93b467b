"""The compiler: the text of the physics, run on symbolic values and recorded, as one loop over cells."""

from memenv.compiler.adjoint import derivatives
from memenv.compiler.runtime import Unsupported, prepare, run

__all__ = ["Unsupported", "derivatives", "prepare", "run"]
