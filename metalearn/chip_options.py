"""Options of chips that learn, alike for pretraining on them and for judging what was pretrained."""

from dataclasses import dataclass, fields
from typing import ClassVar

from memenv.bounds import MANY
from memenv.devices.protocol import CellModel
from memenv.experiments.options import Options, option
from memenv.few_shot.chips import MOST_DEVICES, Hardware
from memenv.learning.updates import ASSUMED


@dataclass(frozen=True, kw_only=True)
class ChipOptions(Options):
    """The fields of `Hardware`, but for the device, and what runs it."""

    group: ClassVar[str] = "the chip"

    devices_per_weight: tuple[int, ...] = option(
        (1,),
        bounds=(1, MOST_DEVICES),
        help="plus devices of a weight, and as many minus devices; or those of each layer",
    )
    pulsed: str = option("both", help="which devices learn", choices=("both", "set", "reset", "plus"))
    max_pulses: int = option(10, bounds=(1, MANY), help="at most per device and step")
    reads: int = option(4, bounds=(1, MANY), help="averaged in each product")
    tolerance: float = option(
        0.02, bounds=(0.0, 0.5), help="to which weights are written, by pulses that count [of their range]; 0: as if so"
    )
    unknown_faults: bool = option(False, help="no test has found the stuck cells")
    place_units: bool = option(False, help="a test of all devices finds each hidden unit the column that suits it")
    accumulate: bool = option(False, help="mixed precision: the residual of whole pulses is accumulated")
    lines: bool = option(False, help="stochastic row-parallel updates")
    assume: str = option("linear", help="what a pulse is taken to do: as at mid-range, or by the law", choices=ASSUMED)
    engine: str = option("auto", help="of chips of many cells; numpy: of all", choices=("auto", "numpy", "numba"))

    def hardware(self, device: CellModel) -> Hardware:
        """Chips of a nominal device; errors as of `Hardware`."""
        names = {one.name for one in fields(Hardware)} & {one.name for one in fields(ChipOptions)}
        return Hardware(device=device, know_stuck=not self.unknown_faults, **{n: getattr(self, n) for n in names})
