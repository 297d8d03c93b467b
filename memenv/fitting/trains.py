"""From a lab's pulse data to a device record: mean response, noise and mismatch, their errors, and where the law fails.

Pulse trains: the shape of each polarity's response is chosen by least squares on the single steps, then everything is
fitted together by maximum likelihood on the trains (`estimation.py`, `likelihood.py`). Measured tables: `tables.py`.
Either way a half of the trains (devices) predicts the other half.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from memenv.devices.device import Device, Driver, Mismatch, Read
from memenv.devices.law import Response
from memenv.devices.measured import TableDevice
from memenv.devices.neurosim import label, one_pulse_driver, one_pulse_response
from memenv.devices.records import DeviceError, validate
from memenv.fitting.bounds import Bounds, find_bounds, spread_of_bounds
from memenv.fitting.checks import POLARITIES, Row, Steps, largest_misfit, misfits, rows, siemens
from memenv.fitting.estimation import (
    CLOSE,
    LEVEL,
    Estimate,
    Likeliest,
    Single,
    fit_mean,
    fit_trains,
    predict,
    split_noise,
    values,
)
from memenv.fitting.histories import SIGNS, at_each_pulse, memories, traces
from memenv.fitting.likelihood import Filtered, Trains, WanderingRead, filtered
from memenv.fitting.pulse_data import FEWEST, PulseData, read_csv
from memenv.fitting.tables import estimate_tables

JUMP = 7.0  # standard deviations beyond which a step is a jump; log-normal noise stays below
CLEAR = 3.0  # read noises that a step, or a stretch of steps, must exceed to tell the law's shape
LONG = 100  # reads of a train, from which slow wander can be told from a walk of the state
UNKNOWN = 1.5  # [ln] of mismatch: where less than that may be none, nothing is known of it
WANDER = ("read.wander", "read.memory")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted device and what is known about the fit."""

    device: Device
    estimate: Estimate  # what the data tell of each parameter
    labels: dict[str, float]  # NeuroSim's nonlinearity label of both polarities
    described: tuple[Row, ...]  # the law against the data it was fitted to
    held_out: tuple[Row, ...]  # the law fitted to one half against the other half; none where a half lacks a polarity
    remarks: tuple[str, ...]  # where the law does not describe the data, and what was assumed

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors of the values by parameter: "set.dose" and so on."""
        pairs = zip(self.estimate.names, self.estimate.intervals, strict=True)
        return {name: (high - low) / (2 * LEVEL) for name, (low, high) in pairs}

    def report(self) -> str:
        """The fit as text: parameters with errors, labels, the held-out check, remarks."""
        device = self.device
        lines = [f"{device.name}: {' to '.join(siemens(device.g_min, device.g_max))}", ""]
        lines.append(f"{'parameter':<22}  {'value':>11}  standard error  95 % interval")
        own = zip(values(device, self.estimate.names), self.errors.items(), self.estimate.intervals, strict=True)
        for value, (name, error), (low, high) in own:
            known = "not determined" if name in self.estimate.undetermined else f"{low:.4g} to {high:.4g}"
            lines.append(f"{name:<22}  {value:>11.5g}  {error:>14.2g}  {known}")
        for polarity in POLARITIES:
            way = "grow" if getattr(device, polarity).growing else "shrink"
            lines.append(f"{polarity.upper()} steps {way} on the way, NeuroSim label {self.labels[polarity]:+.2f}")
        if self.held_out:
            lines += ["", "held-out check, steps by the sixth of the range in which they start [of the range]"]
            lines.append("           from         to           steps       mean  predicted     spread  predicted")
        for row in self.held_out:
            ends = "  ".join(f"{end:<11}" for end in siemens(row.low, row.high))
            numbers = (row.mean, row.mean_law, row.spread, row.spread_law)
            columns = "".join(f"  {number:>9.5f}" for number in numbers)
            lines.append(f"{row.polarity.upper():<9}  {ends}  {row.steps:>5}{columns}")
        return "\n".join([*lines, "", *(f"- {remark}" for remark in self.remarks)])


def read_pulses(
    *paths: str | Path,
    read_voltage: float | None = None,
    quantity: str | None = None,
    unit: str | None = None,
    read: str = "after",
) -> PulseData | TableDevice:
    """Pulse trains of text files or spreadsheets (arguments of `read_csv`), or the measured tables of one .npz file."""
    if not any(Path(path).suffix == ".npz" for path in paths):
        return read_csv(*paths, read_voltage=read_voltage, quantity=quantity, unit=unit, read=read)
    if len(paths) != 1:
        raise DeviceError(f"{', '.join(map(str, paths))}: tables are fitted one file at a time")
    return TableDevice.load(paths[0])


def fit(
    data: PulseData | TableDevice,
    *,
    name: str = "fitted",
    source: str = "",
    g_min: float | None = None,
    g_max: float | None = None,
) -> Fit:
    """The device that describes the data.

    Args:
        data: pulse trains (`read_csv`) or measured tables (`TableDevice.load`).
        name: of the record.
        source: of the data; what was fitted and assumed is added to it.
        g_min: [S] conductance at x = 0, a bound of all devices; by default where each device's trains come to rest,
            else the least read. Not for tables.
        g_max: [S] that at x = 1; by default likewise, else the largest read. Not for tables.

    Raises:
        DeviceError: bounds that are no range or that the data leave, devices whose ranges do not overlap, too few
            pulses.
    """
    found = _fit_tables(data) if isinstance(data, TableDevice) else _fit_pulses(data, g_min, g_max)
    text = " ".join(filter(None, (source, found.device.source, largest_misfit(found.described))))
    return dataclasses.replace(found, device=validate(found.device.replace(name=name, source=text)))


# -- measured tables ---------------------------------------------------------------------------------------------------


def _fit_tables(table: TableDevice) -> Fit:
    found = estimate_tables(table)
    spread, half = found.device.mismatch, len(table.tables.device) // 2
    unsure = float(np.hypot(spread.rate, spread.asymmetry) * np.sqrt(2 / max(half, 1)))
    remarks = misfits(found.described, "the law")
    remarks += misfits(found.held_out, "held-out devices, the law", unsure)
    own = zip(found.estimate.names, found.estimate.errors, strict=True)
    limited = [name for name, error in own if error < 1e-9 and not name.endswith("noise")]
    remarks += [f"{name} stands at the limit of what the law allows." for name in limited]
    return Fit(
        device=_without_traces(found.device, found.estimate),
        estimate=found.estimate,
        labels={polarity: label(found.device, polarity) for polarity in POLARITIES},
        described=found.described,
        held_out=found.held_out,
        remarks=tuple([*remarks, _undetermined(found.estimate)]),
    )


def _undetermined(estimate: Estimate) -> str:
    """A sentence on the parameters that the data do not determine."""
    if not estimate.undetermined:
        return "The data determine all parameters of the law."
    return f"The data do not determine {', '.join(estimate.undetermined)}."


# -- pulse trains ------------------------------------------------------------------------------------------------------


def _fit_pulses(data: PulseData, g_min: float | None, g_max: float | None) -> Fit:
    bounds = find_bounds(data, g_min, g_max)
    base, trains = _prepare(data, bounds)
    free = {polarity: _free(data, sign) for polarity, sign in SIGNS.items()}
    devices = len(data.devices)
    likeliest, trains = _estimate(base, trains, free, devices)
    remarks = _whole_trains(likeliest, trains)
    described, held_out = _compare(likeliest, trains), tuple[Row, ...]()
    known, unseen = data.halves()
    if all(data.of(sign)[:, half].sum() >= FEWEST for sign in (1, -1) for half in (known, unseen)):
        half, _ = _likeliest(likeliest.device, likeliest.names, trains.select(known), devices)
        held_out = _compare(half, _without_jumps(half, trains.select(unseen)))
    else:
        remarks.append("Too few trains of a polarity for a half of them to predict the other half.")
    remarks += [*misfits(described, "the law"), *misfits(held_out, "held-out trains, the law")]
    remarks += _jumps(likeliest, trains)
    mismatch, known_mismatch = _mismatch(likeliest, bounds, base.g_max - base.g_min)
    estimate = likeliest.known.select(tuple(name for name in likeliest.names if name not in WANDER))
    mute = [f"{polarity}.{leaf}" for polarity in POLARITIES for leaf in ("threshold", "slope") if not free[polarity]]
    mute += [name for side, name in enumerate(("x_lo", "x_hi")) if not bounds.determined[side]]
    estimate = estimate.joined(known_mismatch)
    estimate = dataclasses.replace(estimate, undetermined=(*mute, *estimate.undetermined))
    said = [_undetermined(estimate), *_assumed(data, likeliest, bounds, (g_min, g_max))]
    device = likeliest.device
    device = device.replace(
        mismatch=mismatch,
        read=Read(**{leaf.name: getattr(device.read, leaf.name) for leaf in dataclasses.fields(Read)}),
        source=" ".join([device.source, *said]),
    )
    device = _without_traces(device, estimate)
    return Fit(
        device=device,
        estimate=estimate,
        labels={polarity: label(device, polarity) for polarity in POLARITIES},
        described=described,
        held_out=held_out,
        remarks=(*remarks, *said),
    )


def _prepare(data: PulseData, bounds: Bounds) -> tuple[Device, Trains]:
    """Knowledge before the fit, and the trains in units of the range."""
    x_min, x_max = bounds.nominal
    size = x_max - x_min
    ends = (bounds.low - x_min) / size, (bounds.high - x_min) / size
    reading = (data.conductance - x_min) / size
    trains = Trains(reading, data.amplitude, data.width, data.device, *ends, np.zeros(reading.shape, bool))
    responses, driver = _pulses(data)
    base = Device(
        source=_provenance(data),
        g_min=x_min,
        g_max=x_max,
        set=responses[0],
        reset=responses[1],
        driver=driver,
        read=Read(voltage=data.read_voltage),
    )
    return base, trains


def _mismatch(likeliest: Likeliest, bounds: Bounds, size: float) -> tuple[Mismatch, Estimate]:
    """The spread between devices, and what is known of it."""
    names = ("mismatch.rate", "mismatch.asymmetry", "mismatch.x_lo", "mismatch.x_hi")
    if likeliest.mismatch is None:
        return Mismatch(), Estimate((), (), (), np.zeros((0, 0)), names)
    ends, limits = spread_of_bounds(bounds, size)
    value = np.append(likeliest.mismatch.value, ends)
    intervals = np.vstack([likeliest.mismatch.intervals, limits])
    told = np.isfinite(value) & ~((intervals[:, 0] == 0) & (intervals[:, 1] > UNKNOWN))
    value = np.where(told, value, 0.0)
    spread = Mismatch(**{name.split(".")[1]: float(own) for name, own in zip(names, value, strict=True)})
    known = [k for k in range(len(names)) if told[k]]
    errors = [float(np.log(intervals[k, 1] / value[k]) / LEVEL) if value[k] else 0.0 for k in known]
    return spread, Estimate(
        tuple(names[k] for k in known),
        tuple(errors),
        tuple((float(intervals[k, 0]), float(intervals[k, 1])) for k in known),
        np.eye(len(known)),
        tuple(name for name, sure in zip(names, told, strict=True) if not sure),
    )


def _assumed(
    data: PulseData, likeliest: Likeliest, bounds: Bounds, given: tuple[float | None, float | None]
) -> list[str]:
    """Sentences on what was assumed in place of what the data do not tell."""
    out, driver = list[str](), likeliest.device.driver
    single = [polarity for polarity, sign in SIGNS.items() if not _free(data, sign)]
    if single:
        ends = [f"{getattr(driver, f'{p}_min'):.3g} to {getattr(driver, f'{p}_max'):.3g} V" for p in single]
        out.append(
            f"One amplitude of {' and of '.join(map(str.upper, single))}: threshold (half of it), slope (a tenth) and "
            f"the driver's {' and '.join(ends)} are assumptions."
        )
    if driver.width_min == driver.width_max:
        out.append("One width: the data tell nothing of width; that the dose grows with it is an assumption.")
    for side, name, way in ((0, "lower", "least"), (1, "upper", "largest")):
        if given[side] is None and not bounds.determined[side]:
            out.append(f"Not all trains come to rest at the {name} bound: the {way} reads stand for it.")
    if len(data.devices) > 1:
        out.append(f"Mismatch between {len(data.devices)} devices: of doses and bounds; other parameters are shared.")
    else:
        out.append("One device: nothing can be said about mismatch.")
    if set(WANDER) <= set(likeliest.names):
        wander, memory = values(likeliest.device, WANDER)
        out.append(
            f"The reads wander by {wander:.2g} of the range (s.d.) and forget it in {memory:.2g} reads: slow noise "
            "that is neither cycle noise nor read noise, and not in the record."
        )
    return out


def _whole_trains(likeliest: Likeliest, trains: Trains) -> list[str]:
    """Sentences on whole trains, on steps at each amplitude and width, and on steps that remember earlier ones."""
    device = likeliest.device
    rate = np.exp(likeliest.offsets[:, trains.device])
    seen = _filtered(likeliest, trains)
    out = [str(trace) for trace in traces(device, trains, rate)]
    for polarity in POLARITIES:
        out += at_each_pulse(polarity, trains, seen)
        out += memories(polarity, trains, seen)
    return out


def _pulses(data: PulseData) -> tuple[list[Response], Driver]:
    """Reference pulse of both polarities, the median of those in the data, and a driver of what was measured."""
    pulses = [(np.abs(data.amplitude[of]), data.width[of]) for of in (data.of(1), data.of(-1))]
    up, down = [(float(np.median(volts)), float(np.median(seconds))) for volts, seconds in pulses]
    widths = np.concatenate([seconds for _, seconds in pulses])
    ends: dict[str, Any] = {"width_min": float(widths.min()), "width_max": float(widths.max())}
    for polarity, (volts, _) in zip(POLARITIES, pulses, strict=True):
        if volts.min() < volts.max():
            ends |= {f"{polarity}_min": float(volts.min()), f"{polarity}_max": float(volts.max())}
    driver = dataclasses.replace(one_pulse_driver(up[0], down[0], (up[1], down[1])), **ends)
    return [one_pulse_response(*pulse, dose=1.0) for pulse in (up, down)], driver


def _provenance(data: PulseData) -> str:
    """Sentences on the data and on what is assumed."""
    text = " ".join([f"Fitted to {data.summary()}", *data.understood])
    if not data.amplitude_known:
        text += " The data do not tell the amplitude: 1 V is assumed."
    if not data.width_known:
        text += " The data do not tell the width: 1 us is assumed."
    return text


def _free(data: PulseData, sign: int) -> tuple[str, ...]:
    """Parameters of which the amplitudes of one polarity tell something."""
    volts = data.amplitude[data.of(sign)]
    return ("threshold", "slope") if volts.min() < volts.max() else ()


def _estimate(base: Device, trains: Trains, free: dict[str, tuple[str, ...]], devices: int) -> tuple[Likeliest, Trains]:
    """The most likely device: shapes from the steps, then all parameters from the trains, with jumps marked."""
    first = {polarity: _start(base, trains, polarity, sign, free[polarity]) for polarity, sign in SIGNS.items()}
    base = base.replace(**{polarity: responses[0] for polarity, (responses, _) in first.items()})
    noise = max(1e-5, *(read for _, read in first.values()))
    slow = WANDER if np.isfinite(trains.reading).sum(axis=0).max() >= LONG else ()
    base = base.replace(read=WanderingRead(voltage=base.read.voltage, noise=noise, wander=noise if slow else 0.0))
    names: tuple[str, ...] = ()
    for polarity, (responses, _) in first.items():
        some = trains.select((np.sign(trains.amplitude) == SIGNS[polarity]).any(axis=0))
        best = responses[0]
        if len(responses) > 1:  # the likelihood of the trains decides
            some = some.thinned(LONG)
            rivals = []
            for rival in responses:
                own = (*_names(polarity, rival, free[polarity]), "read.noise", *slow)
                rivals.append(fit_trains(base.replace(**{polarity: rival}), own, some, devices, 1))
            best = getattr(min(rivals, key=lambda rival: rival.criterion).device, polarity)
            best = dataclasses.replace(best, cycle_noise=responses[0].cycle_noise)  # of one pulse
        base = base.replace(**{polarity: best})
        names += _names(polarity, best, free[polarity])
    likeliest, trains = _likeliest(base, (*names, "read.noise", *slow), trains, devices)
    if slow and likeliest.known.interval("read.wander")[0] == 0:
        still = Read(voltage=base.read.voltage, noise=likeliest.device.read.noise)
        likeliest, trains = _likeliest(likeliest.device.replace(read=still), (*names, "read.noise"), trains, devices)
    return likeliest, trains


def _likeliest(base: Device, names: tuple[str, ...], trains: Trains, devices: int) -> tuple[Likeliest, Trains]:
    """The most likely device of the shape of `base`, and the trains with their jumps marked."""
    estimate = fit_trains(base, names, trains, devices)
    for _ in range(3):  # fewer jumps leave less noise to hide behind
        marked = _without_jumps(estimate, trains)
        if np.array_equal(marked.jump, trains.jump):
            break
        trains = marked
        estimate = fit_trains(estimate.device, names, trains, devices)
    return estimate, trains


def _names(polarity: str, response: Response, free: tuple[str, ...]) -> tuple[str, ...]:
    """The free parameters of a polarity."""
    shape = tuple(leaf for leaf in ("margin", "kappa") if getattr(response, leaf) > 0)
    return tuple(f"{polarity}.{leaf}" for leaf in ("dose", "gamma", *shape, *free, "cycle_noise", "additive_noise"))


def _start(
    base: Device, trains: Trains, polarity: str, sign: int, free: tuple[str, ...]
) -> tuple[list[Response], float]:
    """First responses of one polarity, the likeliest shape in front, and the read noise [range].

    The shape from stretches of pulses that move the state by more than the noise, the noise from single pulses.
    """
    of, single = single_steps(trains, sign)
    read = _read_noise(trains.reading, of)
    steps, pulses = single, 1
    while sign * (steps.after - steps.before).mean() < CLEAR * read:
        pulses *= 2
        longer = single_steps(trains, sign, pulses)[1]
        if len(longer.before) < max(FEWEST, len(single.before) / 2):
            break
        steps = longer
    own = trains.device[steps.first // len(of)]
    rate, device, responses = np.ones(own.max() + 1), base, [Response()]
    for _ in range(2):
        steps = steps._replace(rate=rate[own])
        ahead = steps.x_hi - steps.before if sign > 0 else steps.before - steps.x_lo
        far = ahead > 3 * read  # closer to the bound, steps tell more of the read noise than of the law
        shaping = steps.select(far) if far.sum() > FEWEST else steps
        close = CLOSE if len(rate) == 1 else np.inf  # doses of their own bend the steps of devices together
        responses = fit_mean(base, polarity, shaping, free, close=close)
        device = base.replace(**{polarity: responses[0]})
        walked, due = (
            np.bincount(own, weights=end - steps.before) for end in (steps.after, predict(device, steps, sign > 0))
        )
        rate *= np.clip(walked / np.where(due == 0, 1.0, due), 0.1, 10.0)
    single = single._replace(rate=np.append(rate, np.ones(trains.device.max()))[trains.device[single.first // len(of)]])
    end = predict(device, single, sign > 0)
    residual, mean = np.full((2, *of.shape), np.nan)
    residual[of], mean[of] = single.after - end, end - single.before
    relative, additive, read = split_noise(residual, mean)
    # neither may start from nothing, where the likelihood does not feel it
    rest, size = 0.3 * float(np.nanstd(residual)) + 1e-5, float(np.nanmean(np.abs(mean)))
    noise = {"cycle_noise": min(max(relative, rest / size), 1.0), "additive_noise": max(additive, rest)}
    return [dataclasses.replace(response, **noise) for response in responses], read


def _read_noise(reading: np.ndarray, of: np.ndarray) -> float:
    """Read noise [range] from the covariance of successive steps of one polarity, which is minus its variance."""
    moved = np.where(of, np.diff(reading, axis=0), np.nan)
    moved -= np.nanmean(moved)
    pairs = moved[1:] * moved[:-1]
    return float(np.sqrt(max(-np.nanmean(pairs), 0.0))) if np.isfinite(pairs).any() else 0.0


def _without_traces(device: Device, estimate: Estimate) -> Device:
    """The record without noises of which the data show nothing: below a tenth of what they may be."""
    for name, (low, high) in zip(estimate.names, estimate.intervals, strict=True):
        part, leaf = name.split(".")
        own = getattr(device, part)
        if leaf.endswith("noise") and getattr(own, leaf) < max(0.1 * high * (low == 0), 1e-6):
            device = device.replace(**{part: dataclasses.replace(own, **{leaf: 0.0})})
    return device


def _without_jumps(estimate: Likeliest, trains: Trains) -> Trains:
    """The trains with those reads marked that lie beyond all noise of the estimate."""
    seen = _filtered(estimate, trains)
    jump = trains.jump.copy()
    jump[1:] |= np.abs(np.nan_to_num(seen.error)) > JUMP * np.sqrt(np.nan_to_num(seen.variance))
    return trains._replace(jump=jump)


def _filtered(likeliest: Likeliest, trains: Trains) -> Filtered:
    return filtered(likeliest.device, trains, *np.exp(likeliest.offsets[:, trains.device]))


def single_steps(trains: Trains, sign: int, pulses: int = 1) -> tuple[np.ndarray, Single]:
    """The mask (steps, trains) of where stretches of `pulses` of a polarity begin, and those stretches."""
    of = (np.sign(trains.amplitude[1:]) == sign) & np.isfinite(trains.reading[1:]) & ~trains.jump[1:]
    whole = np.zeros_like(of)
    if pulses <= len(of):
        whole[: len(of) - pulses + 1] = sliding_window_view(of, pulses, axis=0).all(axis=-1)
    row, train = np.nonzero(whole)
    first = train * len(of) + row
    return whole, Single(
        before=trains.reading[row, train],
        after=trains.reading[row + pulses, train],
        x_lo=trains.x_lo[train],
        x_hi=trains.x_hi[train],
        rate=np.ones(len(row)),
        amplitude=trains.amplitude[1:].T.ravel(),
        width=trains.width[1:].T.ravel(),
        first=first,
        last=first + pulses - 1,
    )


def _compare(likeliest: Likeliest, trains: Trains) -> tuple[Row, ...]:
    """Measured steps against those of the estimate, from the state that the reads before tell."""
    seen, out = _filtered(likeliest, trains), tuple[Row, ...]()
    place = (seen.before - trains.x_lo) / (trains.x_hi - trains.x_lo)
    law = seen.after - seen.before
    for polarity, sign in SIGNS.items():
        of = (np.sign(trains.amplitude[1:]) == sign) & np.isfinite(seen.error)
        columns = (place, law + seen.error, 0 * law, law, np.sqrt(seen.variance))
        out += rows(likeliest.device, polarity, Steps(*(column[of] for column in columns)))
    return out


def _jumps(estimate: Likeliest, trains: Trains) -> list[str]:
    """A sentence for each polarity with jumps."""
    out = []
    for polarity, sign in SIGNS.items():
        of = trains.jump & (np.sign(trains.amplitude) == sign)
        if count := int(of.sum()):
            largest = np.abs(np.diff(trains.reading, axis=0))[of[1:]].max()
            steps = count + single_steps(trains, sign)[0].sum()
            out.append(
                f"{polarity.upper()}: {count} of {steps} steps are jumps, more than {JUMP:g} "
                f"standard deviations from the law and up to {largest:.2g} of the range; fit and checks leave them out."
            )
    return out
