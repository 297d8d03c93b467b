"""The search for the device of pulse trains: shapes from single steps, then everything from whole trains."""

import dataclasses

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from memenv.devices.device import Device
from memenv.devices.law import Response, reachable_kappa
from memenv.devices.reads import Read
from memenv.fitting.bounds import STILL
from memenv.fitting.checks import POLARITIES
from memenv.fitting.coordinates import BOUNDS, PLACES, leaf, values, with_values
from memenv.fitting.estimation import Likeliest, fit_trains
from memenv.fitting.gates import acting, gate_names, in_units, with_loss
from memenv.fitting.histories import SIGNS
from memenv.fitting.likelihood import Filtered, Trains, WanderingRead, filtered
from memenv.fitting.mean_response import CLOSE, Single, fit_mean, predict, split_noise
from memenv.fitting.pulse_data import FEWEST

JUMP = 7.0  # standard deviations beyond which a step is a jump; log-normal noise stays below
CLEAR = 3.0  # read noises that a step, or a stretch of steps, must exceed to tell the law's shape
LONG = 100  # reads of a train, from which slow wander can be told from a walk of the state
QUIET = 0.2  # of the noise of single steps: where too much noise explains the trains, nothing moves the search on
DOUBT = 4.0  # of the criterion, by which a second pole must do better: the odds of 50 that it has against it
WANDER = ("read.wander", "read.memory")


def likeliest_device(
    base: Device, trains: Trains, offsets: np.ndarray, free: dict[str, tuple[str, ...]], bounds: tuple[str, ...]
) -> tuple[Likeliest, Trains]:
    """The most likely device, and the trains with jumps marked; both in units of the range that was found.

    Args:
        base: what is known before.
        trains: of all devices.
        offsets: (4, devices) where the search for what each device adds begins.
        free: parameters of the amplitude law of each polarity, of which the trains tell.
        bounds: of which the trains may tell, "x_lo", "x_hi".
    """
    ends = trains.bounds(base, offsets[:, trains.device])
    placed = trains._replace(x_lo=ends[0], x_hi=ends[1])
    base = with_loss(base, placed, single_steps(placed, -1)[1])
    first = {polarity: _start(base, placed, polarity, sign, free[polarity]) for polarity, sign in SIGNS.items()}
    base = base.replace(**{polarity: responses[0] for polarity, (responses, _) in first.items()})
    noise = max(1e-5, *(read for _, read in first.values()))
    slow = WANDER if np.isfinite(trains.reading).sum(axis=0).max() >= LONG else ()
    base = base.replace(read=WanderingRead(voltage=base.read.voltage, noise=noise, wander=noise if slow else 0.0))
    names: tuple[str, ...] = ()
    for polarity, (responses, _) in first.items():
        some = trains.select((np.sign(trains.amplitude) == SIGNS[polarity]).any(axis=0))
        response = responses[0]
        if len(responses) > 1:  # the likelihood of the trains decides
            some = some.thinned(LONG)
            ahead = tuple(name for name in bounds if name == ("x_hi" if polarity == "set" else "x_lo"))
            rivals = []
            for rival in responses:
                own = (*_names(polarity, rival, free[polarity]), "read.noise", *slow, *ahead)
                rivals.append(fit_trains(base.replace(**{polarity: rival}), own, some, offsets, bare=True))
            best = min(rivals, key=lambda rival: rival.criterion + DOUBT * (f"{polarity}.kappa" in rival.names))
            response = getattr(best.device, polarity)
            response = dataclasses.replace(response, cycle_noise=responses[0].cycle_noise)  # of one pulse
        base = base.replace(**{polarity: response})
        names += _names(polarity, response, free[polarity])
    likeliest, trains = likeliest_of(
        base, (*names, *gate_names(base.gate, trains), "read.noise", *slow, *bounds), trains, offsets
    )
    vague = [name for name in bounds if not (_rests(likeliest, trains, name) and _legal(likeliest.device))]
    still = slow and likeliest.known.interval("read.wander")[0] == 0
    if vague or still:
        base = with_values(likeliest.device, {name: getattr(base, name) for name in vague})
        offsets = likeliest.offsets.copy()
        for name in vague:
            offsets[2 + BOUNDS.index(name)] = 0.0
        if still:
            base = base.replace(read=Read(voltage=base.read.voltage, noise=base.read.noise))
        left = tuple(name for name in likeliest.names if name not in (*vague, *(WANDER if still else ())))
        likeliest, trains = likeliest_of(base, left, trains, offsets)
    return _in_own_range(likeliest, trains)


def _rests(likeliest: Likeliest, trains: Trains, bound: str) -> bool:
    """True where trains of a device stay at a bound towards which they are driven."""
    seen, side = filtered_by(likeliest, trains), BOUNDS.index(bound)
    sign, place = 2 * side - 1, trains.bounds(likeliest.device, likeliest.offsets[:, trains.device])[side]
    there = (np.sign(trains.amplitude[1:]) == sign) & (sign * (place - seen.after) < np.sqrt(seen.variance))
    reads = np.bincount(trains.device, weights=(there & np.isfinite(seen.error)).sum(axis=0))
    return bool(reads.max() >= STILL)


def _legal(device: Device) -> bool:
    """True where conductances are above zero."""
    return bool(device.g_min + device.x_lo * (device.g_max - device.g_min) > 0)


def likeliest_of(
    base: Device, names: tuple[str, ...], trains: Trains, offsets: np.ndarray, bare: bool = False
) -> tuple[Likeliest, Trains]:
    """The most likely device of the shape of `base`, and the trains with their jumps marked."""
    estimate = fit_trains(base, names, trains, offsets, bare)
    for _ in range(3):  # fewer jumps leave less noise to hide behind
        marked = without_jumps(estimate, trains)
        if np.array_equal(marked.jump, trains.jump):
            break
        trains = marked
        estimate = fit_trains(estimate.device, names, trains, estimate.offsets, bare)
    return estimate, trains


def _in_own_range(found: Likeliest, trains: Trains) -> tuple[Likeliest, Trains]:
    """The same in units of the range that was found: the bounds of the record are 0 and 1."""
    device, low = found.device, found.device.x_lo
    size = device.x_hi - low
    powers = {"margin": -1.0, "kappa": 1.0, "additive_noise": -1.0, "noise": -1.0, "wander": -1.0}

    def factor(name: str) -> float:
        """That of a parameter, by its dotted name."""
        part, field = name.partition(".")[0], leaf(name)
        if field == "dose":
            return float(size ** (getattr(device, part).gamma - 1))
        return float(size ** (-1.0 if name.startswith("gate.cycle_noise") else powers.get(field, 0.0)))

    scaled = [
        f"{polarity}.{field}" for polarity in POLARITIES for field in ("dose", "margin", "kappa", "additive_noise")
    ]
    scaled += ["read.noise", *(["read.wander"] if isinstance(device.read, WanderingRead) else [])]
    own = with_values(device, {name: values(device, (name,))[0] * factor(name) for name in scaled})
    reached = {polarity: reachable_kappa(getattr(own, polarity), 1.0) for polarity in POLARITIES}  # as trains have it
    own = with_values(own, {f"{polarity}.kappa": float(kappa) for polarity, kappa in reached.items()})
    range_ = device.g_max - device.g_min
    known, spread = found.known, found.mismatch
    intervals = tuple(
        ((a - low) / size, (b - low) / size) if leaf(name) in PLACES else (a * factor(name), b * factor(name))
        for name, (a, b) in zip(known.names, known.intervals, strict=True)
    )
    errors = tuple(e / size if leaf(name) in PLACES else e for name, e in zip(known.names, known.errors, strict=True))
    return found._replace(
        device=own.replace(
            g_min=device.g_min + low * range_,
            g_max=device.g_min + device.x_hi * range_,
            x_lo=0.0,
            x_hi=1.0,
            gate=in_units(device.gate, low, size),
        ),
        known=dataclasses.replace(known, errors=errors, intervals=intervals),
        offsets=found.offsets / np.array([1.0, 1.0, size, size])[:, None],
        mismatch=spread and spread.scaled(1 / size),
    ), trains._replace(
        reading=(trains.reading - low) / size, x_lo=trains.x_lo / size, x_hi=(trains.x_hi + size - 1) / size
    )


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
    single = acting(base.gate, trains, single)
    read = _read_noise(trains.reading, of)
    steps, pulses = single, 1
    while sign * (steps.after - steps.before).mean() < CLEAR * read:
        pulses *= 2
        longer = acting(base.gate, trains, single_steps(trains, sign, pulses)[1])
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
    # none may start from nothing, where the likelihood does not feel it
    rest, size = 0.3 * float(np.nanstd(residual)) + 1e-5, float(np.nanmean(np.abs(mean)))
    noise = {"cycle_noise": QUIET * min(max(relative, rest / size), 1.0), "additive_noise": QUIET * max(additive, rest)}
    return [dataclasses.replace(response, **noise) for response in responses], max(read, rest)


def _read_noise(reading: np.ndarray, of: np.ndarray) -> float:
    """Read noise [range] from the covariance of successive steps of one polarity, which is minus its variance."""
    moved = np.where(of, np.diff(reading, axis=0), np.nan)
    moved -= np.nanmean(moved)
    pairs = moved[1:] * moved[:-1]
    return float(np.sqrt(max(-np.nanmean(pairs), 0.0))) if np.isfinite(pairs).any() else 0.0


def without_jumps(estimate: Likeliest, trains: Trains) -> Trains:
    """The trains with those reads marked that lie beyond all noise of the estimate."""
    seen = filtered_by(estimate, trains)
    jump = trains.jump.copy()
    jump[1:] |= np.abs(np.nan_to_num(seen.error)) > JUMP * np.sqrt(np.nan_to_num(seen.variance))
    return trains._replace(jump=jump)


def filtered_by(likeliest: Likeliest, trains: Trains) -> Filtered:
    """Every read as the estimate predicts it."""
    return filtered(likeliest.device, trains, likeliest.offsets[:, trains.device])


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
