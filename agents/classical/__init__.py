"""Hand-written controllers: ramps, the secant, inverses, the Bayesian one, and the bounds that know more."""

from agents.classical.bayes import Bayesian
from agents.classical.inverse import HistoryInverse, NominalInverse, Overshooting
from agents.classical.optimum import TableOptimum
from agents.classical.particles import Oracle
from agents.classical.revealed import Revealed
from agents.classical.secant import Secant
from agents.classical.write_verify import (
    ISPP,
    ConstantPulse,
    ShrinkingISPP,
    VoltageIncrementalPI,
)

__all__ = [
    "ISPP",
    "Bayesian",
    "ConstantPulse",
    "HistoryInverse",
    "NominalInverse",
    "Oracle",
    "Overshooting",
    "Revealed",
    "Secant",
    "ShrinkingISPP",
    "TableOptimum",
    "VoltageIncrementalPI",
]
