"""From a lab's pulse data to a device record: mean response, noise and mismatch, their errors, and where the law fails.

Pulse trains: the shape of each polarity's response is chosen by least squares on the single steps, then everything is
fitted together by maximum likelihood on the trains (`search.py`, `estimation.py`, `likelihood.py`). Measured tables:
`tables.py`. Either way a half of the trains (devices) predicts the other half.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memenv.devices.catalogue import PULSE
from memenv.devices.device import Device, Driver, Mismatch
from memenv.devices.law import Response
from memenv.devices.measured import TableDevice
from memenv.devices.neurosim import label, one_pulse_driver, one_pulse_response
from memenv.devices.reads import Read
from memenv.devices.records import DeviceError, validate
from memenv.fitting.bounds import Bounds, find_bounds
from memenv.fitting.checks import POLARITIES, Row, Steps, largest_misfit, misfits, rows, siemens
from memenv.fitting.coordinates import BOUNDS, LEVEL, leaf, values, with_values
from memenv.fitting.estimation import Estimate, Likeliest
from memenv.fitting.gates import HEADROOM, above_reads, first_gate, title, with_gate
from memenv.fitting.histories import SIGNS, at_each_pulse, memories, traces
from memenv.fitting.ignorance import with_uncertainty
from memenv.fitting.likelihood import Trains
from memenv.fitting.profiles import with_profiles
from memenv.fitting.pulse_data import FEWEST, PulseData, read_csv
from memenv.fitting.relaxation import parted, retention_of
from memenv.fitting.search import JUMP, WANDER, filtered_by, likeliest_device, likeliest_of, single_steps, without_jumps
from memenv.fitting.tables import estimate_tables

UNKNOWN = 1.5  # [ln] of mismatch: where less than that may be none, nothing is known of it


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
            lines.append(f"{title(device, name):<22}  {value:>11.5g}  {error:>14.2g}  {known}")
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
    decimal: str | None = None,
) -> PulseData | TableDevice:
    """Pulse trains of text files or spreadsheets (arguments of `read_csv`), or the measured tables of one .npz file."""
    if not any(Path(path).suffix == ".npz" for path in paths):
        return read_csv(*paths, read_voltage=read_voltage, quantity=quantity, unit=unit, read=read, decimal=decimal)
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
        g_min: [S] conductance at x = 0, a bound of all devices; by default fitted, with what each device adds, if
            trains come to rest there, else the least read. Not for tables.
        g_max: [S] that at x = 1; by default likewise, else the largest read. Not for tables.

    Raises:
        DeviceError: bounds that are no range or that the data leave, devices whose ranges do not overlap, too few
            pulses.
    """
    found = _fit_tables(data) if isinstance(data, TableDevice) else _fit_pulses(data, g_min, g_max)
    text = " ".join(filter(None, (source, found.device.source, largest_misfit(found.described))))
    try:
        validate(found.device)
    except DeviceError as error:
        raise DeviceError(
            f"trains follow no law of a device ({error}): look for reads that jump or that pulses do not move"
        ) from None
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
    device, said = with_uncertainty(_without_traces(found.device, found.estimate), found.estimate, PULSE)
    remarks += said
    return Fit(
        device=device,
        estimate=found.estimate,
        labels={polarity: label(found.device, polarity) for polarity in POLARITIES},
        described=found.described,
        held_out=found.held_out,
        remarks=tuple([*remarks, _undetermined(found.estimate, device)]),
    )


def _undetermined(estimate: Estimate, device: Device) -> str:
    """A sentence on the parameters that the data do not determine."""
    if not estimate.undetermined:
        return "The data determine all parameters of the law."
    return f"The data do not determine {', '.join(title(device, name) for name in estimate.undetermined)}."


# -- pulse trains ------------------------------------------------------------------------------------------------------


def _fit_pulses(data: PulseData, g_min: float | None, g_max: float | None) -> Fit:
    data, rests = parted(data)
    bounds = find_bounds(data, g_min, above_reads(data.conductance) if data.gates() and g_max is None else g_max)
    base, trains, offsets = _prepare(data, bounds)
    free = {polarity: _free(data, sign) for polarity, sign in SIGNS.items()}
    ends = tuple(name for name, own in zip(BOUNDS, bounds.free, strict=True) if own)
    likeliest, trains = likeliest_device(base, trains, offsets, free, ends)
    remarks = _whole_trains(likeliest, trains)
    described, held_out = _compare(likeliest, trains), tuple[Row, ...]()
    known, unseen = data.halves()
    if all(data.of(sign)[:, half].sum() >= FEWEST for sign in (1, -1) for half in (known, unseen)):
        half, _ = likeliest_of(likeliest.device, likeliest.names, trains.select(known), likeliest.offsets, True)
        held_out = _compare(half, without_jumps(half, trains.select(unseen)))
    else:
        remarks.append("Too few trains of a polarity for a half of them to predict the other half.")
    remarks += [*misfits(described, "the law"), *misfits(held_out, "held-out trains, the law")]
    remarks += _jumps(likeliest, trains)
    mismatch, known_mismatch = _mismatch(likeliest)
    device, estimate = with_gate(likeliest, trains, with_profiles(likeliest, trains))
    estimate = estimate.select(tuple(name for name in estimate.names if name not in WANDER))
    mute = [f"{polarity}.{leaf}" for polarity in POLARITIES for leaf in ("threshold", "slope") if not free[polarity]]
    mute += [name for name, stated in zip(BOUNDS, (g_min, g_max), strict=True) if _moving(likeliest, name, stated)]
    estimate = estimate.joined(known_mismatch)
    estimate = dataclasses.replace(estimate, undetermined=(*mute, *estimate.undetermined))
    said = [_undetermined(estimate, device), *_assumed(data, likeliest, (g_min, g_max))]
    retention = None
    if data.time is not None:
        retention, sentence = retention_of(rests, device.read.noise * (device.g_max - device.g_min), device.g_max)
        said.append(sentence)
    device = device.replace(
        mismatch=mismatch,
        retention=retention,
        read=Read(**{own.name: getattr(device.read, own.name) for own in dataclasses.fields(Read)}),
        source=" ".join([device.source, *said]),
    )
    device, narrowed = with_uncertainty(_without_traces(device, estimate), estimate, _untold(data))
    return Fit(
        device=device,
        estimate=estimate,
        labels={polarity: label(device, polarity) for polarity in POLARITIES},
        described=described,
        held_out=held_out,
        remarks=(*remarks, *said, *narrowed),
    )


def _moving(likeliest: Likeliest, bound: str, stated: float | None) -> bool:
    """True of a bound that nobody stated and trains do not tell."""
    return stated is None and bound not in likeliest.names


def _prepare(data: PulseData, bounds: Bounds) -> tuple[Device, Trains, np.ndarray]:
    """Knowledge before the fit, the trains in units of the range, and what each device adds (4, devices)."""
    x_min, x_max = bounds.nominal
    size = x_max - x_min
    reading = (data.conductance - x_min) / size
    low, high = (bounds.trains - x_min) / size
    trains = Trains(
        reading, data.amplitude, data.width, data.device, low, high, np.zeros(reading.shape, bool), data.gate
    )
    offsets = np.zeros((4, len(data.devices)))
    offsets[2:] = np.where(bounds.free, (bounds.devices.T - bounds.nominal) / size, 0.0).T
    responses, driver = _pulses(data)
    base = Device(
        source=_provenance(data),
        g_min=x_min,
        g_max=x_max,
        set=responses[0],
        reset=responses[1],
        driver=driver,
        read=Read(voltage=data.read_voltage),
        gate=first_gate(trains),
    )
    return base, trains, offsets


def _mismatch(likeliest: Likeliest) -> tuple[Mismatch, Estimate]:
    """The spread between devices, and what is known of it."""
    every = ("mismatch.rate", "mismatch.asymmetry", "mismatch.x_lo", "mismatch.x_hi")
    spread = likeliest.mismatch
    if spread is None:
        return Mismatch(), Estimate((), (), (), np.zeros((0, 0)), every)
    names = (*every[:2], *(f"mismatch.{name}" for name in BOUNDS if name in likeliest.names))
    names += ("mismatch.x_shift",) * (len(spread.value) - len(names))
    told = ~((spread.intervals[:, 0] == 0) & (spread.intervals[:, 1] > UNKNOWN))
    value, known = np.where(told, spread.value, 0.0), np.flatnonzero(told)
    device = Mismatch(**{leaf(name): float(own) for name, own in zip(names, value, strict=True)})
    errors = [float(np.log(spread.intervals[k, 1] / value[k]) / LEVEL) if value[k] else 0.0 for k in known]
    return device, Estimate(
        tuple(names[k] for k in known),
        tuple(errors),
        tuple((float(spread.intervals[k, 0]), float(spread.intervals[k, 1])) for k in known),
        np.eye(len(known)),
        tuple(name for name in dict.fromkeys((*every, *names)) if name not in {names[k] for k in known}),
    )


def _assumed(data: PulseData, likeliest: Likeliest, given: tuple[float | None, float | None]) -> list[str]:
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
    for bound, stated, name, way in zip(BOUNDS, given, ("lower", "upper"), ("least", "largest"), strict=True):
        if _moving(likeliest, bound, stated) and data.gates() and bound == "x_hi":
            out.append(
                f"The gate stops SETs below the upper bound: it is put {HEADROOM:.0%} of the range above all reads."
            )
        elif _moving(likeliest, bound, stated):
            out.append(f"Trains do not come to rest at the {name} bound: the {way} reads stand for it.")
    if data.gates():
        out.append("How far the gate comes within a pulse is not fitted: it is taken to be there at once.")
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
    rate = np.exp(likeliest.offsets[:2, trains.device])
    seen = filtered_by(likeliest, trains)
    out = [str(trace) for trace in traces(device, _placed(likeliest, trains), rate)]
    for polarity in POLARITIES:
        out += at_each_pulse(polarity, trains, seen)
        out += memories(polarity, trains, seen)
    return out


def _placed(likeliest: Likeliest, trains: Trains) -> Trains:
    """The trains with the bounds of their own devices."""
    low, high = trains.bounds(likeliest.device, likeliest.offsets[:, trains.device])
    return trains._replace(x_lo=low, x_hi=high)


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


def _untold(data: PulseData) -> tuple[str, ...]:
    """Fields of the record's pulses that the data do not tell."""
    known = {"amplitude": data.amplitude_known, "width": data.width_known}
    return tuple(name for name in PULSE if not known[leaf(name)]) + ("gate.rise", "gate.stretch") * len(data.gates())


def _free(data: PulseData, sign: int) -> tuple[str, ...]:
    """Parameters of which the amplitudes of one polarity tell something; a gate makes several of one of RESETs."""
    volts = data.amplitude, *data.gates()[: sign < 0]
    return ("threshold", "slope") if any(np.ptp(part[data.of(sign)]) > 0 for part in volts) else ()


def _without_traces(device: Device, estimate: Estimate) -> Device:
    """The record without noises of which the data show nothing: below a tenth of what they may be."""
    for name, (low, high) in zip(estimate.names, estimate.intervals, strict=True):
        if name.endswith("noise") and values(device, (name,))[0] < max(0.1 * high * (low == 0), 1e-6):
            device = with_values(device, {name: 0.0})
    return device


def _compare(likeliest: Likeliest, trains: Trains) -> tuple[Row, ...]:
    """Measured steps against those of the estimate, from the state that the reads before tell."""
    seen, out = filtered_by(likeliest, trains), tuple[Row, ...]()
    placed = _placed(likeliest, trains)
    place = (seen.before - placed.x_lo) / (placed.x_hi - placed.x_lo)
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
