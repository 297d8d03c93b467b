"""Hand-written controllers: ramps, inverses, the Bayesian one, and the bounds that know more."""

from agents.classical.bayes import Bayesian, Oracle
from agents.classical.optimum import TableOptimum
from agents.classical.write_verify import (
    ISPP,
    ConstantPulse,
    HistoryInverse,
    NominalInverse,
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
    "ShrinkingISPP",
    "TableOptimum",
    "VoltageIncrementalPI",
]
