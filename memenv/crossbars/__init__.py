"""Arrays of cells and what surrounds them: schemes of writing, half-select disturb, converters, weights on pairs."""

from memenv.crossbars.converters import Converter, CrossbarError
from memenv.crossbars.crossbar import Crossbar, CrossbarState
from memenv.crossbars.encoding import Encoding
from memenv.crossbars.schemes import SCHEMES

__all__ = ["SCHEMES", "Converter", "Crossbar", "CrossbarError", "CrossbarState", "Encoding"]
