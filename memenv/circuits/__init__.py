"""Wires: the voltage that is lost along the lines of a crossbar, exactly and fast."""

from typing import TYPE_CHECKING

from memenv.circuits.network import Solution, Wires
from memenv.circuits.solver import effective, fast
from memenv.lazy import lazily

if TYPE_CHECKING:
    from memenv.circuits.nodal import exact

__all__ = ["Solution", "Wires", "effective", "exact", "fast"]

__getattr__ = lazily(__name__, {"memenv.circuits.nodal": ("exact",)})
