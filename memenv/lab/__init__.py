"""From a policy to programmed cells: benches that pulse and read, and the loop that drives them under limits."""

from typing import TYPE_CHECKING

from memenv.lab.bench import Bench, BenchError, Limits
from memenv.lab.programming import Programmed, program
from memenv.lab.simulated import SimulatedBench
from memenv.lazy import lazily

if TYPE_CHECKING:
    from memenv.lab.probing import probe
    from memenv.lab.recorded import RecordedBench
    from memenv.lab.visa import Commands, VisaBench

__all__ = [
    "Bench",
    "BenchError",
    "Commands",
    "Limits",
    "Programmed",
    "RecordedBench",
    "SimulatedBench",
    "VisaBench",
    "probe",
    "program",
]

__getattr__ = lazily(
    __name__,
    {
        "memenv.lab.probing": ("probe",),
        "memenv.lab.recorded": ("RecordedBench",),
        "memenv.lab.visa": ("Commands", "VisaBench"),
    },
)
