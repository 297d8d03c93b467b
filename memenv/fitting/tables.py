"""The law fitted to measured tables: mean and spread of every device's step, and how much the devices differ.

Least squares on both at once, with one set of parameters and a dose of its own for every device. What the devices do on
average weighs more than how each departs from it. Standard errors by leaving out one device after the other.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import OptimizeResult, least_squares

from memenv.devices.device import Device, Mismatch
from memenv.devices.measured import TableDevice
from memenv.devices.neurosim import ASSUMED_AMPLITUDE, one_pulse_driver, one_pulse_response
from memenv.fitting.checks import POLARITIES, Row, Steps, bound_spreads, rows
from memenv.fitting.coordinates import LEVEL, NUDGE, UNDETERMINED, Coordinates, as_floats, nudged, values
from memenv.fitting.estimation import Estimate
from memenv.fitting.likelihood import step
from memenv.fitting.mean_response import SHAPES, Single, fit_mean

PLACES = 31  # of each table that are looked at
FAR_APART = 0.5  # [ln] doses, above which additive noise, which grows with a cell's dose, would run away
HOLD = 0.05  # on the offsets, in root mean square steps: a dose that does not matter, far in saturation, stays common
SPREAD, OWN = 0.6, 0.3  # weights of the spread next to the mean step, and of a device's own next to the mean behaviour
WORTH = 0.95  # of its cost, which a further parameter must save
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)  # over the mismatch of devices that were not seen


class TableEstimate(NamedTuple):
    """A device that describes the tables."""

    device: Device
    estimate: Estimate
    described: tuple[Row, ...]
    held_out: tuple[Row, ...]


class _Measured(NamedTuple):
    """Some of the tabulated devices; arrays (devices, places) unless stated."""

    x: np.ndarray  # [range]
    mean: np.ndarray  # (2, devices, places) [range] of the step, SET and RESET
    spread: np.ndarray  # (2, devices, places) [range]

    def select(self, devices: slice | np.ndarray) -> "_Measured":
        return _Measured(self.x[devices], self.mean[:, devices], self.spread[:, devices])

    def place(self) -> np.ndarray:
        """Share of the device's own range."""
        return (self.x - self.x[:, :1]) / (self.x[:, -1:] - self.x[:, :1])


class _Fitted(NamedTuple):
    """The parameters of one or both polarities, and each device's own doses."""

    device: Device
    names: tuple[str, ...]  # of the free parameters
    offsets: np.ndarray  # (polarities, devices) logarithm


def estimate_tables(table: TableDevice) -> TableEstimate:
    """The law with the least squared error of the tables of `table`; a half of the devices predicts the other."""
    steps = table.steps()
    chosen = np.linspace(0, steps.x.shape[1] - 1, min(PLACES, steps.x.shape[1])).round().astype(int)
    measured = _Measured(steps.x[:, chosen], steps.mean[:, :, chosen], steps.spread[:, :, chosen])
    pulse = one_pulse_response(1.0, 1e-6, dose=1.0)
    base = Device(
        source=f"Fitted to tables of {len(measured.x)} devices. Their pulse is not told: 1 V, 1 us is assumed. "
        f"{ASSUMED_AMPLITUDE}",
        g_min=table.g_min,
        g_max=table.g_max,
        set=pulse,
        reset=pulse,
        driver=one_pulse_driver(1.0, 1.0, (1e-6, 1e-6)),
        read=table.read,
    )
    found = _fit(base, measured)
    apart, mismatch = float(np.std(measured.x[:, [0, -1]].mean(axis=1), ddof=1)), found.device.mismatch
    if apart > 2 * np.hypot(mismatch.x_lo, mismatch.x_hi):
        text = f"{base.source} The devices' ranges lie apart by {apart:.2g} of the range (s.d.), a common shift."
        shifted = dataclasses.replace(mismatch, x_shift=apart)
        found = found._replace(device=found.device.replace(source=text, mismatch=shifted))
    described = _rows(found.device, measured, found.offsets[:, :, None], np.ones(1))
    held_out: tuple[Row, ...] = ()
    if len(measured.x) > 3:
        half, unseen = _fit(base, measured.select(slice(0, None, 2))).device, measured.select(slice(1, None, 2))
        spread = np.hypot(half.mismatch.rate, half.mismatch.asymmetry) * NODES
        held_out = _rows(half, unseen, np.broadcast_to(spread, (2, len(unseen.x), len(NODES))), WEIGHTS / WEIGHTS.sum())
    return TableEstimate(found.device, _jackknife(found, measured), described, held_out)


def _fit(base: Device, measured: _Measured) -> _Fitted:
    """All parameters from some devices."""
    parts = []
    for index, polarity in enumerate(POLARITIES):
        parts.append(_fit_polarity(base, measured, index, polarity))
        base = parts[-1].device
    return _with_mismatch(base, measured, (*parts[0].names, *parts[1].names), np.vstack([p.offsets for p in parts]))


def _with_mismatch(device: Device, measured: _Measured, names: tuple[str, ...], offsets: np.ndarray) -> _Fitted:
    """The device with the spread of its doses, bounds and noise, where there are two devices or more."""
    if offsets.shape[1] > 1:
        rate, asymmetry = (float(np.std(offsets[0] + sign * offsets[1], ddof=1) / 2) for sign in (1, -1))
        x_lo, x_hi = bound_spreads(measured.x[:, 0], measured.x[:, -1])
        own = {"rate": rate, "asymmetry": asymmetry, "x_lo": x_lo, "x_hi": x_hi}
        own["cycle_noise"] = _noise_spread(device, measured, offsets)
        device = device.replace(mismatch=Mismatch(**own))
        names = (*names, *(f"mismatch.{leaf}" for leaf in own))
    return _Fitted(device, names, offsets)


def _noise_spread(device: Device, measured: _Measured, offsets: np.ndarray) -> float:
    """Standard deviation [ln] of how much more the steps of a device spread than the law makes them."""
    ratios = []
    for index, polarity in enumerate(POLARITIES):
        law = _moments(device, measured, polarity, offsets[index][:, None])[1]
        squares = (measured.spread[index] ** 2).mean(axis=1), (law**2).mean(axis=1)
        if min(map(np.min, squares)) > 0:
            ratios.append(0.5 * np.log(squares[0] / squares[1]))
    return float(np.sqrt(np.mean(np.var(ratios, axis=1, ddof=1)))) if ratios else 0.0


def _jackknife(found: _Fitted, measured: _Measured) -> Estimate:
    """What is known of the parameters, by leaving out one device after the other: each counts once."""
    count = len(measured.x)
    undetermined = tuple(f"{polarity}.{leaf}" for polarity in POLARITIES for leaf in ("threshold", "slope"))
    if count < 3:
        return Estimate((), (), (), np.zeros((0, 0)), found.names + undetermined)
    left = []
    for out in range(count):
        rest, device, offsets = measured.select(np.arange(count) != out), found.device, []
        for index, polarity in enumerate(POLARITIES):
            names = tuple(name for name in found.names if name.startswith(polarity))
            start = np.delete(found.offsets[index], out)
            problem = _Problem(Coordinates(device, names), rest, index)
            device, own = problem.record(problem.solve(start).x)
            offsets.append(own)
        left.append(values(_with_mismatch(device, rest, (), np.array(offsets)).device, found.names))
    value, away = np.array(values(found.device, found.names)), np.array(left) - np.mean(left, axis=0)
    covariance = away.T @ away * (count - 1) / count
    spread = np.sqrt(np.diag(covariance))
    errors = spread / np.maximum(value, 1e-9)
    widest = stats.t.ppf(0.975, count - 1) / LEVEL
    ends = [value * np.exp(np.clip(sign * widest * LEVEL * errors, -40.0, 40.0)) for sign in (-1, 1)]
    return Estimate(
        found.names,
        tuple(map(float, widest * errors)),
        tuple((float(low), float(high)) for low, high in zip(*ends, strict=True)),
        covariance / np.maximum(np.outer(spread, spread), 1e-300),
        (*(name for name, error in zip(found.names, errors, strict=True) if error > UNDETERMINED), *undetermined),
    )


def _fit_polarity(base: Device, measured: _Measured, index: int, polarity: str) -> _Fitted:
    """The response of one polarity in the shape that describes the tables best."""
    count, places = measured.x.shape
    share = np.linspace(0.0, 1.0, places)
    own = zip(measured.place(), measured.mean[index], strict=True)
    typical = np.mean([np.interp(share, place, mean) for place, mean in own], axis=0)
    zero, one, pulse = np.zeros(places), np.ones(places), np.arange(places)
    single = Single(share, share + typical, zero, one, one, one, 1e-6 * one, pulse, pulse)
    noise = {"cycle_noise": 0.1, "additive_noise": float(np.median(measured.spread[index]))}
    best, least = None, np.inf
    for shape in SHAPES:
        response = dataclasses.replace(fit_mean(base, polarity, single, (), (shape,))[0], **noise)
        names = tuple(f"{polarity}.{leaf}" for leaf in ("dose", "gamma", *shape[1], *noise))
        problem = _Problem(Coordinates(base.replace(**{polarity: response}), names), measured, index)
        found = problem.solve(np.zeros(count))
        if found.cost < WORTH * least:
            best, least = (problem, found.x), found.cost
    assert best is not None
    problem, point = best
    device, offsets = problem.record(point)
    names = problem.coordinates.names
    if offsets.std() > FAR_APART:
        names = names[:-1]
        own = dataclasses.replace(getattr(device, polarity), additive_noise=0.0)
        problem = _Problem(Coordinates(device.replace(**{polarity: own}), names), measured, index)
        device, offsets = problem.record(problem.solve(offsets).x)
    return _Fitted(device, names, offsets)


@dataclass(frozen=True)
class _Problem:
    """Least squares of one polarity's tables; a point is the coordinates, then the devices' offsets."""

    coordinates: Coordinates
    measured: _Measured
    index: int  # 0 SET, 1 RESET

    def solve(self, offsets: np.ndarray) -> OptimizeResult:
        """The least squares from the coordinates' own place and `offsets` (devices,)."""
        low, high = self.coordinates.limits()
        far = np.full(len(offsets), 9.0)
        start = np.append(np.clip(self.coordinates.theta(), low + 1e-3, high - 1e-3), offsets)
        bounds = np.append(low, -far), np.append(high, far)
        return least_squares(self.residual, start, self.jacobian, bounds, x_scale="jac", max_nfev=100)

    def record(self, point: np.ndarray) -> tuple[Device, np.ndarray]:
        """The device at a point, and the devices' offsets about their mean."""
        free = len(self.coordinates.names)
        device = as_floats(self.coordinates.device(point[:free]), self.coordinates.names)
        return device, point[free:] - point[free:].mean()

    def residual(self, point: np.ndarray) -> np.ndarray:
        free = len(self.coordinates.names)
        error = self.weighted(self.error(point[:free, None], point[None, free:]))[0]
        # the last makes the dose the devices' geometric mean
        return np.concatenate([error.ravel(), HOLD * point[free:], [point[free:].sum()]])

    def jacobian(self, point: np.ndarray) -> np.ndarray:
        free = len(self.coordinates.names)
        theta, offsets = nudged(point[:free]), np.repeat(point[None, free:], free + 2, axis=0)
        offsets[-1] += NUDGE  # all at once: of a device's own offset, only its own steps know
        error = self.error(np.column_stack([theta, point[:free]]), offsets)
        slope = (error[1:] - error[0]) / NUDGE
        own = np.zeros((len(point) - free, *slope.shape[1:]))
        own[(np.arange(len(own)),) * 2] = slope[-1]
        slope = self.weighted(np.concatenate([slope[:-1], own])).reshape(len(point), -1).T
        tie = np.vstack([HOLD * np.eye(len(own)), np.ones(len(own))])
        return np.vstack([slope, np.hstack([np.zeros((len(tie), free)), tie])])

    def error(self, theta: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """(variants, devices, places, 2) of theta (free, variants) and offsets (variants, devices), mean and spread."""
        mean, spread = self.measured.mean[self.index], self.measured.spread[self.index]
        device = self.coordinates.device(theta[:, :, None, None])
        end = _moments(device, self.measured, POLARITIES[self.index], offsets[:, :, None])
        return np.stack([end[0] - mean, SPREAD * (end[1] - spread)], axis=-1) / np.sqrt(np.mean(mean**2))

    def weighted(self, error: np.ndarray) -> np.ndarray:
        """(variants, 1 + devices, places, 2): mean behaviour and departures."""
        common = error.mean(axis=1, keepdims=True)
        return np.concatenate([np.sqrt(error.shape[1]) * common, OWN * (error - common)], axis=1)


def _moments(device: Device, measured: _Measured, polarity: str, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread [range] of the step at all places, (variants, devices, places)."""
    shape = np.broadcast_shapes(offsets.shape, measured.x.shape)
    ends = np.broadcast_to(measured.x[:, :1], measured.x.shape), np.broadcast_to(measured.x[:, -1:], measured.x.shape)
    chip = device.replace(x_lo=ends[0], x_hi=ends[1])
    sign = np.full(measured.x.shape, 1.0 if polarity == "set" else -1.0)
    x = np.broadcast_to(measured.x, shape)
    end = step(chip, x, sign, np.full(measured.x.shape, 1e-6), np.exp(offsets))
    return end.mean - x, np.sqrt(end.variance)


def _rows(device: Device, measured: _Measured, offsets: np.ndarray, weights: np.ndarray) -> tuple[Row, ...]:
    """Measured steps against those of the device, averaged over offsets (2, devices, nodes) of the doses."""
    out: tuple[Row, ...] = ()
    for index, polarity in enumerate(POLARITIES):
        moments = _moments(device, measured, polarity, np.moveaxis(offsets[index], -1, 0)[:, :, None])
        mean, square = (np.tensordot(weights, moment, axes=1) for moment in (moments[0], moments[1] ** 2))
        columns = (measured.place(), measured.mean[index], measured.spread[index], mean, np.sqrt(square))
        out += rows(device, polarity, Steps(*map(np.ravel, columns)), within=True)
    return out
