"""From a lab's pulse data to a device record: mean response, noise and mismatch, their errors, and where the law fails.

Pulse trains: the shape of each polarity's response is chosen by least squares on the single steps, then everything is
fitted together by maximum likelihood on the trains (`estimation.py`, `likelihood.py`). Measured tables: `tables.py`.
Either way a half of the trains (devices) predicts the other half.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memenv.devices.device import Device, Driver, Mismatch, Read
from memenv.devices.law import Response
from memenv.devices.measured import TableDevice
from memenv.devices.neurosim import ASSUMED_AMPLITUDE, label, one_pulse_driver, one_pulse_response
from memenv.devices.records import DeviceError, validate
from memenv.fitting.checks import POLARITIES, Row, Steps, bound_spreads, largest_misfit, misfits, rows, siemens
from memenv.fitting.estimation import Estimate, Single, fit_mean, fit_trains, predict, split_noise, values
from memenv.fitting.likelihood import Trains, innovations, step
from memenv.fitting.pulse_data import FEWEST, PulseData, read_csv
from memenv.fitting.tables import estimate_tables

SIGNS = {"set": 1, "reset": -1}
EARLY = 5  # pulses of a train that are looked at for a memory of what came before
JUMP = 7.0  # standard deviations beyond which a step is a jump; log-normal noise stays below
RAMP = 0.9  # of the range: where every train of a device sweeps so much, the trains have bounds of their own


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted device and what is known about the fit."""

    device: Device
    errors: dict[str, float]  # standard errors by parameter: "set.dose" and so on
    labels: dict[str, float]  # NeuroSim's nonlinearity label of both polarities
    described: tuple[Row, ...]  # the law against the data it was fitted to
    held_out: tuple[Row, ...]  # the law fitted to one half against the other half
    remarks: tuple[str, ...]  # where the law does not describe the data, and what was assumed

    def report(self) -> str:
        """The fit as text: parameters with errors, labels, the held-out check, remarks."""
        device = self.device
        lines = [f"{device.name}: {' to '.join(siemens(device.g_min, device.g_max))}", ""]
        lines.append(f"{'parameter':<22}  {'value':>11}  standard error")
        named = zip(self.errors, values(device, tuple(self.errors)), self.errors.values(), strict=True)
        lines += [f"{name:<22}  {value:>11.5g}  {error:>11.2g}" for name, value, error in named]
        for polarity in POLARITIES:
            way = "grow" if getattr(device, polarity).growing else "shrink"
            lines.append(f"{polarity.upper()} steps {way} on the way, NeuroSim label {self.labels[polarity]:+.2f}")
        lines += ["", "held-out check, steps by the sixth of the range in which they start [of the range]"]
        lines.append("           from         to           steps       mean  predicted     spread  predicted")
        for row in self.held_out:
            ends = "  ".join(f"{end:<11}" for end in siemens(row.low, row.high))
            numbers = (row.mean, row.mean_law, row.spread, row.spread_law)
            columns = "".join(f"  {number:>9.5f}" for number in numbers)
            lines.append(f"{row.polarity.upper():<9}  {ends}  {row.steps:>5}{columns}")
        return "\n".join([*lines, "", *(f"- {remark}" for remark in self.remarks)])


def read_pulses(*paths: str | Path, read_voltage: float = 0.1) -> PulseData | TableDevice:
    """Pulse trains of CSV files, or the measured tables of one .npz file."""
    if not any(Path(path).suffix == ".npz" for path in paths):
        return read_csv(*paths, read_voltage=read_voltage)
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
        g_min: [S] conductance at x = 0, a bound of all devices; by default each device's least read. Not for tables.
        g_max: [S] that at x = 1; by default each device's largest read. Not for tables.

    Raises:
        DeviceError: bounds that are no range, or that the data leave.
    """
    found = _fit_tables(data) if isinstance(data, TableDevice) else _fit_pulses(data, g_min, g_max)
    found = dataclasses.replace(found, device=_without_traces(found.device, found.errors))
    text = " ".join(filter(None, (source, found.device.source, largest_misfit(found.described))))
    return dataclasses.replace(found, device=validate(found.device.replace(name=name, source=text)))


def _without_traces(device: Device, errors: dict[str, float]) -> Device:
    """The record without noises of which the data show nothing: a tenth of their standard error, or none at all."""
    for name, error in errors.items():
        part, leaf = name.split(".")
        own = getattr(device, part)
        if leaf.endswith("noise") and getattr(own, leaf) < max(0.1 * error, 1e-6):
            device = device.replace(**{part: dataclasses.replace(own, **{leaf: 0.0})})
    return device


# -- measured tables ---------------------------------------------------------------------------------------------------


def _fit_tables(table: TableDevice) -> Fit:
    estimate = estimate_tables(table)
    spread, half = estimate.device.mismatch, len(table.tables.device) // 2
    unsure = float(np.hypot(spread.rate, spread.asymmetry) * np.sqrt(2 / max(half, 1)))
    remarks = misfits(estimate.described, "the law")
    remarks += misfits(estimate.held_out, "held-out devices, the law", unsure)
    limited = [name for name, error in estimate.errors.items() if error < 1e-9 and not name.endswith("noise")]
    remarks += [f"{name} stands at the limit of what the law allows." for name in limited]
    return Fit(
        device=estimate.device,
        errors=estimate.errors,
        labels={polarity: label(estimate.device, polarity) for polarity in POLARITIES},
        described=estimate.described,
        held_out=estimate.held_out,
        remarks=tuple(remarks),
    )


# -- pulse trains ------------------------------------------------------------------------------------------------------


def _fit_pulses(data: PulseData, g_min: float | None, g_max: float | None) -> Fit:
    base, prepared = _prepare(data, g_min, g_max)
    free = {polarity: _free(data, sign) for polarity, sign in SIGNS.items()}
    devices = len(data.devices)
    estimate, trains = _estimate(base, prepared, free, devices)
    described = _compare(estimate, trains)
    known, unseen = data.halves()
    half, _ = _likeliest(estimate.device, estimate.names, prepared.select(known), devices)
    held_out = _compare(half, _without_jumps(half, prepared.select(unseen)))
    remarks = [*misfits(described, "the law"), *misfits(held_out, "held-out trains, the law")]
    remarks += [*_jumps(estimate, trains), *_memory(estimate, trains)]
    if g_min is None or g_max is None:
        remarks.append("Bounds that were not given are the extreme reads of devices or ramps, and have no errors.")
    errors = dict(zip(estimate.names, map(float, estimate.errors), strict=True))
    spread = Mismatch()
    if devices > 1:
        rate, asymmetry = estimate.mismatch
        ends = ([bound[trains.device == own].mean() for own in range(devices)] for bound in (trains.x_lo, trains.x_hi))
        x_lo, x_hi = bound_spreads(*map(np.array, ends))
        spread = Mismatch(rate=rate, asymmetry=asymmetry, x_lo=x_lo, x_hi=x_hi)
        for leaf in ("rate", "asymmetry", "x_lo", "x_hi"):
            errors[f"mismatch.{leaf}"] = getattr(spread, leaf) / np.sqrt(2 * (devices - 1))
        remarks.append(f"Mismatch between {devices} devices: spreads of doses and bounds; other parameters are shared.")
    else:
        remarks.append("One device: nothing can be said about mismatch.")
    device = estimate.device.replace(mismatch=spread)
    labels = {polarity: label(device, polarity) for polarity in POLARITIES}
    return Fit(
        device=device, errors=errors, labels=labels, described=described, held_out=held_out, remarks=tuple(remarks)
    )


def _prepare(data: PulseData, g_min: float | None, g_max: float | None) -> tuple[Device, Trains]:
    """Knowledge before the fit, and the trains in units of the range."""
    low, high = _bounds(data, g_min, g_max)
    x_min, x_max = float(low.mean()), float(high.mean())
    size = x_max - x_min
    reading = (data.conductance - x_min) / size
    bounds = (low - x_min) / size, (high - x_min) / size
    trains = Trains(reading, data.amplitude, data.width, data.device, *bounds, np.zeros(reading.shape, bool))
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


def _bounds(data: PulseData, g_min: float | None, g_max: float | None) -> tuple[np.ndarray, np.ndarray]:
    """(trains,) [S] the bounds of every train: as given, else the extreme reads of its device.

    Where all trains of a device are ramps through the whole range, each has its own: the turning points of ramps wander
    over the life of a device, and the steps follow them.
    """
    lows, highs = np.nanmin(data.conductance, axis=0), np.nanmax(data.conductance, axis=0)
    for own in range(len(data.devices)):
        of = data.device == own
        low, high = lows[of].min(), highs[of].max()
        if np.any(highs[of] - lows[of] < RAMP * (high - low)):
            lows[of], highs[of] = low, high
    low, high = (lows.mean() if g_min is None else g_min), (highs.mean() if g_max is None else g_max)
    if not 0 < low < high:
        raise DeviceError(f"g_min is {low:g} S and g_max {high:g} S: 0 < g_min < g_max is needed")
    for name, given, beyond in (("g_min", g_min, low - lows.min()), ("g_max", g_max, highs.max() - high)):
        if given is not None and beyond > 0.2 * (high - low):
            raise DeviceError(f"{name} is {given:g} S, but reads go {beyond:.3g} S beyond it")
    return (lows if g_min is None else 0 * lows + g_min), (highs if g_max is None else 0 * highs + g_max)


def _pulses(data: PulseData) -> tuple[list[Response], Driver]:
    """Reference pulse of both polarities, the median of those in the data, and a driver for such pulses."""
    pulses = [(np.abs(data.amplitude[of]), data.width[of]) for of in (data.of(1), data.of(-1))]
    up, down = [(float(np.median(volts)), float(np.median(seconds))) for volts, seconds in pulses]
    driver = one_pulse_driver(up[0], down[0], (up[1], down[1]))
    for polarity, (volts, _) in zip(POLARITIES, pulses, strict=True):
        if volts.min() < volts.max():
            ends = {f"{polarity}_min": float(volts.min()), f"{polarity}_max": float(volts.max())}
            driver = dataclasses.replace(driver, **ends)
    return [one_pulse_response(*pulse, dose=1.0) for pulse in (up, down)], driver


def _provenance(data: PulseData) -> str:
    """Sentences on the data and on what is assumed."""
    devices = len(data.devices)
    text = f"Fitted to {len(data.device)} pulse trains of {devices} device{'s' if devices > 1 else ''}"
    text += f" ({', '.join(data.files)})." if data.files else "."
    if not data.amplitude_known:
        text += " The data do not tell the amplitude: 1 V is assumed."
    if not data.width_known:
        text += " The data do not tell the width: 1 us is assumed."
    return text if _free(data, 1) and _free(data, -1) else f"{text} {ASSUMED_AMPLITUDE}"


def _free(data: PulseData, sign: int) -> tuple[str, ...]:
    """Parameters that the amplitudes of one polarity determine: two of them the slope, three the threshold as well."""
    return ((), ("slope",), ("threshold", "slope"))[min(len(np.unique(data.amplitude[data.of(sign)])), 3) - 1]


def _estimate(base: Device, trains: Trains, free: dict[str, tuple[str, ...]], devices: int) -> tuple[Estimate, Trains]:
    """The most likely device: shapes from the single steps, then all parameters from the trains, with jumps marked."""
    first = {polarity: _start(base, trains, polarity, sign, free[polarity]) for polarity, sign in SIGNS.items()}
    base = base.replace(**{polarity: responses[0] for polarity, (responses, _) in first.items()})
    read = dataclasses.replace(base.read, noise=max(1e-5, *(read for _, read in first.values())))
    base = base.replace(read=read)
    names: tuple[str, ...] = ()
    for polarity, (responses, _) in first.items():
        some = trains.select((np.sign(trains.amplitude) == SIGNS[polarity]).any(axis=0))
        best = responses[0]
        if len(responses) > 1:  # the likelihood of the trains decides
            rivals = [
                fit_trains(base.replace(**{polarity: rival}), _names(polarity, rival, free[polarity]), some, devices, 1)
                for rival in responses
            ]
            best = getattr(min(rivals, key=lambda rival: rival.criterion).device, polarity)
        base = base.replace(**{polarity: best})
        names += _names(polarity, best, free[polarity])[:-1]
    return _likeliest(base, (*names, "read.noise"), trains, devices)


def _likeliest(base: Device, names: tuple[str, ...], trains: Trains, devices: int) -> tuple[Estimate, Trains]:
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
    """The free parameters of a polarity, and the read noise."""
    shape = tuple(leaf for leaf in ("margin", "kappa") if getattr(response, leaf) > 0)
    leaves = ("dose", "gamma", *shape, *free, "cycle_noise", "additive_noise")
    return (*(f"{polarity}.{leaf}" for leaf in leaves), "read.noise")


def _start(
    base: Device, trains: Trains, polarity: str, sign: int, free: tuple[str, ...]
) -> tuple[list[Response], float]:
    """First responses of one polarity, the likeliest shape in front, and the read noise [range], from single steps."""
    of, steps = _single(trains, sign)
    own = np.broadcast_to(trains.device, of.shape)[of]
    ahead = steps.x_hi - steps.before if sign > 0 else steps.before - steps.x_lo
    responses, read, noise = [Response()], 0.0, {}
    for _ in range(2):
        far = ahead > 3 * read  # closer to the bound, steps tell more of the read noise than of the law
        shaping = Single(*(column[far] for column in steps)) if far.sum() > FEWEST else steps
        responses = fit_mean(base, polarity, shaping, free)
        residual, mean = np.full((2, *of.shape), np.nan)
        end = predict(base.replace(**{polarity: responses[0]}), steps)
        residual[of], mean[of] = steps.after - end, end - steps.before
        relative, additive, read = split_noise(residual, mean)
        # neither may start from nothing, where the likelihood does not feel it
        rest, size = 0.3 * float(np.nanstd(residual)) + 1e-5, float(np.nanmean(np.abs(mean)))
        noise = {"cycle_noise": max(relative, rest / size), "additive_noise": max(additive, rest)}
        walked, due = (np.bincount(own, weights=moved) for moved in (steps.after - steps.before, end - steps.before))
        steps = steps._replace(rate=steps.rate * np.clip(walked[own] / due[own], 0.1, 10.0))
    return [dataclasses.replace(response, **noise) for response in responses], read


def _without_jumps(estimate: Estimate, trains: Trains) -> Trains:
    """The trains with those reads marked that lie beyond all noise of the estimate."""
    error, variance = _innovations(estimate, trains)
    jump = trains.jump.copy()
    jump[1:] |= np.abs(np.nan_to_num(error)) > JUMP * np.sqrt(np.nan_to_num(variance))
    return trains._replace(jump=jump)


def _innovations(estimate: Estimate, trains: Trains) -> tuple[np.ndarray, np.ndarray]:
    up, down = np.exp(estimate.offsets[:, trains.device])
    return innovations(estimate.device, trains, up, down)


def _single(trains: Trains, sign: int) -> tuple[np.ndarray, Single]:
    """The mask (steps, trains) of a polarity, and those steps."""
    of = (np.sign(trains.amplitude[1:]) == sign) & np.isfinite(trains.reading[1:]) & ~trains.jump[1:]
    x_lo, x_hi = (np.broadcast_to(ends, of.shape)[of] for ends in (trains.x_lo, trains.x_hi))
    before, after = trains.reading[:-1][of], trains.reading[1:][of]
    return of, Single(before, after, trains.amplitude[1:][of], trains.width[1:][of], x_lo, x_hi, np.ones(len(before)))


def _compare(estimate: Estimate, trains: Trains) -> tuple[Row, ...]:
    """Measured steps against those that the estimate predicts from the read before."""
    device, out = estimate.device, list[Row]()
    for index, (polarity, sign) in enumerate(SIGNS.items()):
        of, steps = _single(trains, sign)
        rate = np.broadcast_to(np.exp(estimate.offsets[index][trains.device]), of.shape)[of]
        chip = device.replace(x_lo=steps.x_lo, x_hi=steps.x_hi)
        end = step(chip, steps.before, None, steps.amplitude, steps.width, rate)
        place = (steps.before - steps.x_lo) / (steps.x_hi - steps.x_lo)
        spread = np.sqrt(end.variance + 2 * device.read.noise**2)
        gathered = Steps(place, steps.after - steps.before, 0 * spread, end.mean - steps.before, spread)
        out += rows(device, polarity, gathered)
    return tuple(out)


def _jumps(estimate: Estimate, trains: Trains) -> list[str]:
    """A sentence for each polarity with jumps."""
    out = []
    for polarity, sign in SIGNS.items():
        of = trains.jump & (np.sign(trains.amplitude) == sign)
        if count := int(of.sum()):
            largest = np.abs(np.diff(trains.reading, axis=0))[of[1:]].max()
            steps = count + _single(trains, sign)[0].sum()
            out.append(
                f"{polarity.upper()}: {count} of {steps} steps are jumps, more than {JUMP:g} "
                f"standard deviations from the law and up to {largest:.2g} of the range; fit and checks leave them out."
            )
    return out


def _memory(estimate: Estimate, trains: Trains) -> list[str]:
    """A sentence for each polarity whose trains begin unlike the law: a memory of earlier pulses."""
    error, variance = _innovations(estimate, trains)
    moved = np.abs(np.diff(trains.reading, axis=0))
    out = []
    for polarity, sign in SIGNS.items():
        of = (_single(trains, sign)[0])[:EARLY]
        if of.sum() < 10:
            continue
        away = sign * error[:EARLY][of].mean()
        size = moved[:EARLY][of].mean()
        if abs(away) > max(0.1 * size, 4 * np.sqrt(variance[:EARLY][of].mean() / of.sum())):
            out.append(
                f"{polarity.upper()} trains: their first {EARLY} steps are {abs(away):.3g} of the range "
                f"{'larger' if away > 0 else 'smaller'} than the law makes them ({size:.3g} measured): "
                "the device remembers what came before, the law does not."
            )
    return out
