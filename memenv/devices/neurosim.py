"""NeuroSim's tables of a device: its nonlinearity label, and a law that is known for one pulse only."""

import math
from typing import Any

import numpy as np

from memenv.devices.device import Device, Driver
from memenv.devices.law import Response, dose_to_reach, move
from memenv.devices.records import DeviceError
from memenv.devices.uncertainty import Uncertainty

ASSUMED_AMPLITUDE = (
    "The source knows one pulse only: width scales the dose; threshold (half the amplitude) and exponential slope "
    "(a tenth of it) are assumptions."
)


def neurosim_a(label: float) -> float:
    """NeuroSim's A [in units of the pulses from bound to bound] of a nonlinearity label, with the label's sign.

    Solves max over x of y(x) - x = 0.07 sqrt(2) |label| with y(x) = (1 - exp(-x/A)) / (1 - exp(-1/A)) by bisection;
    it reproduces NeuroSim's table of 900 rows to 2.1e-5.
    """
    if not 0 < abs(label) < 9.9:
        raise DeviceError(f"nonlinearity label is {label!r}, allowed is 0 < |label| < 9.9")
    goal, low, high = 0.07 * math.sqrt(2) * abs(label), 1e-3, 1e3
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _bulge(middle) > goal else (low, middle)
    return math.copysign(middle, label)


def _bulge(a: float) -> float:
    """max over x of y(x) - x, which lies where y' = 1."""
    end = -math.expm1(-1 / a)
    x = -a * math.log(a * end)
    return -math.expm1(-x / a) / end - x


def neurosim_label(bulge: float) -> float:
    """The nonlinearity label of a normalised response whose largest distance from the straight line is `bulge`."""
    return bulge / (0.07 * math.sqrt(2))


def label(device: Device, polarity: str) -> float:
    """NeuroSim's nonlinearity label of a train of reference pulses between the bounds, signed as in its tables.

    Where the law only approaches a bound, or would never leave it, the train ends or starts at 1 % of the range.
    """
    up, response = np.array([polarity == "set"]), getattr(device, polarity)
    law = device.law(up)
    slow = 0.01 if response.gamma >= 1 and response.margin < 1e-6 else 0.0
    first, last = (slow, 0.0) if response.growing else (0.0, slow)
    start, end = (first, 1 - last) if up[0] else (1 - first, last)
    share = np.linspace(0.0, 1.0, 2001)
    total = dose_to_reach(law, np.array([start]), np.array([end]), 0.0, 1.0, up)
    x = move(law, np.full(share.shape, start), 0.0, 1.0, np.full(share.shape, up[0]), share * total)
    height = (x - x.min()) / (x.max() - x.min())
    bulge = height - (share if up[0] else 1 - share)
    return neurosim_label(float(bulge[np.argmax(np.abs(bulge))]))


def one_pulse_response(amplitude: float, width: float, **law: Any) -> Response:
    """A response known for one pulse, with the amplitude law assumed as `ASSUMED_AMPLITUDE` states."""
    return Response(amplitude=amplitude, width=width, threshold=amplitude / 2, slope=amplitude / 10, **law)


def one_pulse_uncertainty(set_amplitude: float, reset_amplitude: float, *assumed: str) -> Uncertainty:
    """The prior of what one pulse does not tell; `assumed` are further fields that the source does not.

    Standard deviations are a factor of 1.65 of slopes and a tenth of the amplitude [V] of thresholds: where draws end,
    e in 2.2 to 45 % of the amplitude; filamentary oxides have been measured down to e per 25 mV, 2.5 % at 1 V.
    """
    return Uncertainty(
        parameters=("set.slope", "reset.slope", "set.threshold", "reset.threshold"),
        deviations=(0.5, 0.5, 0.1 * set_amplitude, 0.1 * reset_amplitude),
        assumed=("set.slope", "reset.slope", "set.threshold", "reset.threshold", *assumed),
    )


def one_pulse_driver(set_amplitude: float, reset_amplitude: float, widths: tuple[float, float]) -> Driver:
    """Amplitudes 0.5 to 1.3 times the known ones, widths a tenth of the shorter to ten times the longer [V, s]."""
    return Driver(
        set_min=0.5 * set_amplitude,
        set_max=1.3 * set_amplitude,
        reset_min=0.5 * reset_amplitude,
        reset_max=1.3 * reset_amplitude,
        width_min=0.1 * min(widths),
        width_max=10 * max(widths),
    )
