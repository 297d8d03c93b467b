"""Coverage of the fit's 95 % intervals of a gate on synthetic laboratories with 1T1R cells.

    python benchmarks/gated_labs.py --labs 12

A laboratory has 1 to 6 cells whose SETs stop by the gate voltage, with a spread from cell to cell and from pulse to
pulse, and RESETs at several gate voltages, of which a loss is taken. The truth is put into the range that was found.
"""

import dataclasses
import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np

from memenv import fit
from memenv.arrays import take
from memenv.devices import Device, Driver, Gate, Mismatch, Read, Response
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown
from memenv.fitting.coordinates import leaf, values
from memenv.fitting.gates import in_units
from memenv.fitting.pulse_data import PulseData

WIDTH, TRAINS, PULSES = 1e-6, 90, 4  # [s], trains and pulses in each
VOLTS = (1.6, 1.9, 2.2, 2.6)  # [V] of SETs
RESETS = (2.0, 2.4, 2.8, 3.4)  # [V] of RESETs


@dataclass(frozen=True, kw_only=True)
class GatedLabsConfig:
    """Fit records to synthetic pulses under a gate and count how often its truth lies in the intervals.

    Example:
        python benchmarks/gated_labs.py --labs 12
    """

    labs: int = option(12, help="laboratories")
    seed: int = option(0, help="of the first laboratory; the others follow")


def laboratory(seed: int) -> tuple[Device, PulseData]:
    """A device with a gate and what is measured of it: SET and RESET trains of its cells."""
    rng = np.random.default_rng(seed)
    stops = np.cumsum(rng.uniform((0.25, 0.1, 0.05, 0.03), (0.4, 0.25, 0.2, 0.1)))
    cells = int(rng.integers(1, 7))  # one is what it is
    own, drawn = (tuple(np.full(4, rng.uniform(0.01, 0.03)).tolist()) for _ in range(2))
    gate = Gate(
        low=1.6,
        high=3.4,
        volts=VOLTS,
        stops=tuple(stops.tolist()),
        mismatch=own if cells > 1 else (),
        cycle_noise=drawn,
        loss=float(rng.uniform(0.8, 1.4)),
    )
    pulse = {"amplitude": 1.4, "width": WIDTH, "threshold": 0.5, "slope": 0.2, "gamma": 1.0, "margin": 0.1}
    device = Device(
        g_min=2e-6,
        g_max=2.5e-4,
        set=Response(**pulse, dose=float(rng.uniform(1.0, 5.0)), cycle_noise=0.3),
        reset=Response(**pulse, dose=float(rng.uniform(0.3, 0.8)), cycle_noise=0.2),
        driver=Driver(set_max=1.4, reset_max=1.4),
        mismatch=Mismatch(rate=0.1 * (cells > 1)),
        read=Read(noise=0.003),
        gate=gate,
    )
    of = np.arange(TRAINS) % cells
    chip, up = take(device.fabricate(rng, cells), of), rng.random(TRAINS) < 0.6
    state = chip.fresh(0.1 + 0.7 * rng.random(TRAINS), rng.standard_normal((2, TRAINS)))
    rows = [(chip.sense(state, rng.standard_normal((2, TRAINS)))[0], np.zeros(TRAINS), np.zeros(TRAINS))]
    for _ in range(PULSES):
        volts = np.where(up, rng.choice(VOLTS, TRAINS), rng.choice(RESETS, TRAINS))
        amplitude = np.where(up, 1.0, -1.0) * rng.choice((0.9, 1.4), TRAINS)
        noise = rng.standard_normal((3, TRAINS))
        state = chip.at_gate(volts).pulse(state, amplitude, np.full(TRAINS, WIDTH), noise)
        rows.append((chip.sense(state, rng.standard_normal((2, TRAINS)))[0], amplitude, volts))
    g, amplitude, volts = map(np.array, zip(*rows, strict=True))
    names = tuple(map(str, range(cells)))
    width = np.full(g.shape, WIDTH)
    return device, PulseData(conductance=g, amplitude=amplitude, width=width, device=of, devices=names, gate=volts)


def judged(seed: int) -> dict[str, list[bool | None]]:
    """Whether the truth lies in each interval of a laboratory, by row of the gate; None: not determined."""
    truth, data = laboratory(seed)
    found = fit(data)
    size = truth.g_max - truth.g_min
    low, range_ = (found.device.g_min - truth.g_min) / size, (found.device.g_max - found.device.g_min) / size
    own = in_units(truth.gate, low, range_)
    mismatch = tuple(one / range_ for one in truth.gate.mismatch)  # type: ignore[union-attr]
    truth = truth.replace(gate=dataclasses.replace(own, mismatch=mismatch))  # type: ignore[type-var]
    out: dict[str, list[bool | None]] = {}
    names = tuple(name for name in found.estimate.names if name.startswith("gate."))
    for name, true in zip(names, values(truth, names), strict=True):
        least, most = found.estimate.interval(name)
        sure = name not in found.estimate.undetermined
        out.setdefault(leaf(name), []).append(bool(least <= true <= most) if sure else None)
    return out


def main() -> None:
    """Fit and count."""
    config = parse(GatedLabsConfig, sys.argv[1:], "gated_labs.py")
    warnings.simplefilter("error")
    begin, found = time.process_time(), [judged(config.seed + lab) for lab in range(config.labs)]
    lines = []
    for row in ("stops", "cycle_noise", "mismatch", "loss"):
        every = [verdict for lab in found for verdict in lab.get(row, [])]
        sure = [verdict for verdict in every if verdict is not None]
        lines.append([row, f"{sum(sure)} of {len(sure)}", str(len(every) - len(sure))])
    print(markdown(["gate", "95 % interval covers", "undetermined"], lines))
    print(f"A fit takes {(time.process_time() - begin) / config.labs:.1f} s of a core.")


if __name__ == "__main__":
    main()
