"""From measurements to a record: pulse trains and measured tables, read, fitted and held against the law."""

from typing import TYPE_CHECKING

from memenv.lazy import lazily

if TYPE_CHECKING:
    from memenv.fitting.estimation import Estimate
    from memenv.fitting.pulse_data import PulseData
    from memenv.fitting.trains import Fit, fit, read_pulses

__all__ = ["Estimate", "Fit", "PulseData", "fit", "read_pulses"]

__getattr__ = lazily(
    __name__,
    {
        "memenv.fitting.estimation": ("Estimate",),
        "memenv.fitting.pulse_data": ("PulseData",),
        "memenv.fitting.trains": ("Fit", "fit", "read_pulses"),
    },
)
