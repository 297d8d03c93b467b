"""Probing: the pulses that tell most about a device whose record is uncertain, and what they leave uncertain.

The record's uncertainty is a cloud of devices. Of some amplitudes and widths that pulse is given next which is expected
to narrow most what the cloud says of the logarithms of all their doses; the median dose that some cells show then moves
the cloud (an ensemble Kalman filter, Evensen 2003, 10.1007/s10236-003-0036-9).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memenv.devices.device import Device
from memenv.devices.grid import on_grid
from memenv.devices.law import dose_to_reach, equivalent_pulses, move
from memenv.devices.uncertainty import FARTHEST, Uncertainty, displaced
from memenv.lab.bench import Bench, BenchError, named
from memenv.lab.log import Log, Row

AMPLITUDES, WIDTHS = 6, 3  # of the candidates of each polarity
DEVICES = 1000  # of the cloud
ERROR = 0.05  # [ln] of the law, of which cells have no mean
FAINT = 1e-4  # the dose at which a pulse that does nothing counts


class Pulses(NamedTuple):
    """Pulses, arrays (n,)."""

    up: np.ndarray  # bool, SET
    amplitude: np.ndarray  # [V] magnitude
    width: np.ndarray  # [s]


def candidates(device: Device) -> Pulses:
    """Amplitudes and widths over the driver's ranges, as the instrument makes them."""
    driver, parts = device.driver, np.arange(AMPLITUDES + 1.0)[1:] / AMPLITUDES
    widths = np.unique(np.geomspace(driver.width_min, driver.width_max, WIDTHS))
    ends = (True, driver.set_min, driver.set_max), (False, driver.reset_min, driver.reset_max)
    given = [(up, low + part * (high - low), width) for up, low, high in ends for part in parts for width in widths]
    up, amplitude, width = map(np.array, zip(*given, strict=True))
    return Pulses(up, *on_grid(driver, up, amplitude, width))


def probe(bench: Bench, device: Device, cells: np.ndarray, pulses: int, out: Path, seed: int = 0) -> Device:
    """The record after so many pulses on each of some cells of a chip, with what is left uncertain.

    Args:
        bench: pulses and reads.
        device: the record, with an uncertainty.
        cells: (n,) int, numbers on the bench.
        pulses: on each of them, SET and RESET as their reads suggest.
        out: the record of the bench, a CSV that `memenv fit` reads.
        seed: of the cloud.

    Raises:
        ValueError: a record without an uncertainty, or a file that is there already.
        BenchError: a read that is no number.
    """
    if device.uncertainty is None or not device.uncertainty.parameters:
        raise ValueError(f"device is {device.name}: nothing of its record is uncertain, there is nothing to probe for")
    if out.exists():
        raise ValueError(f"{out} is there already: choose another name")
    rng, known = np.random.default_rng(seed), candidates(device)
    root = device.uncertainty.root()
    cloud = np.clip(rng.standard_normal((DEVICES, len(root))) @ root.T, -FARTHEST, FARTHEST)
    log = Log(out)
    try:
        g, size = _read(bench, cells), device.g_max - device.g_min
        log.add(_rows(cells, 0, 0.0, 0.0, g))
        for number in range(1, pulses + 1):
            x, doses = (g - device.g_min) / size, _log_doses(device, known, cloud)
            doubt = _doubt(device, known, doses.mean(0), float(np.median(x)), len(cells))
            chosen = int(np.argmax(_gains(doses, doubt)))
            up, volts, seconds = (part[chosen] for part in known)
            bench.pulse(cells, np.full(len(cells), volts if up else -volts), np.full(len(cells), seconds))
            g = _read(bench, cells)
            log.add(_rows(cells, number, volts if up else -volts, seconds, g))
            shown = _shown(device, bool(up), x, (g - device.g_min) / size)
            cloud = _moved(cloud, doses[:, chosen], shown, float(doubt[chosen]), rng)
    finally:
        bench.off()
        log.close()
    return _settled(device, cloud)


def _read(bench: Bench, cells: np.ndarray) -> np.ndarray:
    """(n,) [S]."""
    g = np.asarray(bench.read(cells), float)
    if g.shape != cells.shape or not np.isfinite(g).all():
        raise BenchError(f"a read of {named(cells)} is no finite number: check contacts and ranges; probing ends")
    return g


def _rows(cells: np.ndarray, step: int, amplitude: float, width: float, g: np.ndarray) -> Iterator[Row]:
    return (Row(int(cell), step, amplitude, width, read, np.nan) for cell, read in zip(cells, g, strict=True))


def _log_doses(device: Device, pulses: Pulses, cloud: np.ndarray) -> np.ndarray:
    """(devices, pulses) ln of the doses of the cloud's devices."""
    columns = []
    one = displaced(device, [*cloud.T])
    for up, amplitude, width in zip(*pulses, strict=True):
        law = one.set.law() if up else one.reset.law()
        columns.append(np.log(law.dose * equivalent_pulses(law, amplitude, width) + FAINT) + np.zeros(len(cloud)))
    return np.stack(columns, -1)


def _doubt(device: Device, pulses: Pulses, log_dose: np.ndarray, x: float, cells: int) -> np.ndarray:
    """Variance (pulses,) [ln^2] of the median that cells at x [range] would show: noise, mismatch, reads, the law."""
    spread, law = device.mismatch, device.law(pulses.up)
    slope = np.where(pulses.up, device.set.slope, device.reset.slope)
    onset = spread.threshold * np.where(pulses.up, device.set.threshold, device.reset.threshold)
    alone = spread.rate**2 + spread.asymmetry**2 + (onset / slope) ** 2 + law.cycle_noise**2
    low, high = (
        move(law, x + 0.0 * log_dose, device.x_lo, device.x_hi, pulses.up, np.exp(log_dose + side))
        for side in (-ERROR, ERROR)
    )
    steep = np.abs(high - low) / (2 * ERROR)  # [range / ln]
    blur = 2.0 * device.read.noise**2 + law.additive_noise**2 + 1e-8
    doubt: np.ndarray = (alone + blur / np.maximum(steep, 1e-9) ** 2) / cells + ERROR**2
    return doubt


def _gains(doses: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """(pulses,) by how much each is expected to lessen the variance [ln^2] of all doses, in the mean."""
    covariance = np.cov(doses.T)
    gains: np.ndarray = (covariance**2).mean(1) / (np.diag(covariance) + doubt)
    return gains


def _shown(device: Device, up: bool, before: np.ndarray, after: np.ndarray) -> float:
    """ln of the median dose that cells have shown."""
    way = np.full(len(before), up)
    dose = dose_to_reach(device.law(way), before, after, device.x_lo, device.x_hi, way)
    return float(np.log(np.median(dose) + FAINT))


def _moved(cloud: np.ndarray, doses: np.ndarray, shown: float, doubt: float, rng: np.random.Generator) -> np.ndarray:
    """The cloud (devices, parameters) after a pulse of which it expected `doses` (devices,) [ln]."""
    off = doses - doses.mean()
    gain = (cloud - cloud.mean(0)).T @ off / len(off) / (np.mean(off**2) + doubt)
    surprise = shown + np.sqrt(doubt) * rng.standard_normal(len(off)) - doses
    return np.clip(cloud + surprise[:, None] * gain, -FARTHEST, FARTHEST)


def _settled(device: Device, cloud: np.ndarray) -> Device:
    """The device in the middle of the cloud, as uncertain as the cloud is wide."""
    unknown = device.uncertainty
    assert unknown is not None
    covariance = np.atleast_2d(np.cov(cloud.T)) + 1e-9 * np.eye(cloud.shape[1])
    spread = np.sqrt(np.diag(covariance))
    correlations = covariance / spread / spread[:, None]
    left = Uncertainty(
        parameters=unknown.parameters,
        deviations=tuple((spread * np.array(unknown.deviations)).tolist()),
        correlations=tuple(map(tuple, (0.5 * (correlations + correlations.T)).tolist())),
        assumed=unknown.assumed,
    )
    middle: Device = displaced(device, cloud.mean(0).tolist())
    return replace(middle, uncertainty=left)
