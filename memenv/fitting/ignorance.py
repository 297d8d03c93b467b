"""The uncertainty that a fit states in its record: errors with correlations, and priors where no data tell."""

import numpy as np

from memenv.devices.device import Device
from memenv.devices.neurosim import one_pulse_uncertainty
from memenv.devices.records import FIELDS, DeviceError, validate
from memenv.devices.uncertainty import ADDED, FACTORS, Uncertainty
from memenv.fitting.coordinates import values
from memenv.fitting.estimation import Estimate

DIGITS = 5  # of correlations
NARROWER = 0.8  # steps in which a deviation is made smaller until the law stands it
STANDS = {"x_lo": "g_min", "x_hi": "g_max"}  # for what the trains do not tell
LEAST = 1e-3  # of a deviation, below which it is none


def with_uncertainty(device: Device, estimate: Estimate, assumed: tuple[str, ...] = ()) -> tuple[Device, list[str]]:
    """The record with what is not known of it, and sentences on parameters that the law does not let be so unknown.

    Standard errors and correlations are those of the estimate. Where one pulse tells neither slope nor threshold, both
    have the prior of the presets; other parameters without an error stand among the assumed ones, as do `assumed`.
    """
    said, known = [], [name for name in estimate.names if name in (*ADDED, *FACTORS)]
    own = {name: estimate.errors[estimate.names.index(name)] for name in known}
    for row in ("stops", "cycle_noise", "mismatch"):  # of a gate's table: all voltages together
        own |= _of_row(estimate, f"gate.{row}")
    mute = [name for name in estimate.undetermined if name not in own]
    prior = one_pulse_uncertainty(device.set.amplitude, device.reset.amplitude)
    own |= {name: off for name, off in zip(prior.parameters, prior.deviations, strict=True) if name in mute}
    parameters, deviations = list[str](), list[float]()
    for name, error in own.items():
        deviation = _bearable(device, name, error)
        if deviation < 0.99 * error and np.any(values(device, (name,))[0]):
            said.append(f"{name} may be off by {error:.2g}, the law stands {deviation:.2g}: the record says that.")
        if deviation > 0:
            parameters.append(name)
            deviations.append(deviation)
    told = [name for name in parameters if name in known]
    correlations = np.eye(len(parameters))
    index = [estimate.names.index(name) for name in told]
    correlations[: len(told), : len(told)] = estimate.correlation[np.ix_(index, index)]
    uncertainty = Uncertainty(
        parameters=tuple(parameters),
        deviations=tuple(deviations),
        correlations=_rounded(correlations),
        assumed=tuple(
            name for name in dict.fromkeys((*(STANDS.get(name, name) for name in mute), *assumed)) if name in FIELDS
        ),
    )
    return device.replace(uncertainty=uncertainty), said


def _of_row(estimate: Estimate, row: str) -> dict[str, float]:
    """The root mean square error of the entries of a row of a table of which the data tell."""
    entries = zip(estimate.names, estimate.errors, strict=True)
    told = [error for name, error in entries if name.startswith(f"{row}.") and name not in estimate.undetermined]
    return {row: float(np.sqrt(np.mean(np.square(told))))} if told else {}


def _bearable(device: Device, name: str, error: float) -> float:
    """The standard deviation of a parameter, at most the largest that the law stands; 0 where it stands none."""
    deviation = error
    while deviation > LEAST * error:
        rounded = float(f"{deviation:.4g}")
        try:
            validate(device.replace(uncertainty=Uncertainty(parameters=(name,), deviations=(rounded,))))
        except DeviceError:
            deviation *= NARROWER
        else:
            return rounded
    return 0.0


def _rounded(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Correlations with few digits, drawn together by more than rounding can take them apart."""
    step = 10.0**-DIGITS
    near = (1 - len(matrix) * step) * (matrix + matrix.T) / 2
    np.fill_diagonal(near, 1.0)
    return tuple(tuple(row) for row in near.round(DIGITS).tolist())
