"""A lab's pulse trains side by side, and the polarity of their pulses where the files do not tell it.

The first read of a train stands before its first pulse.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from memenv.devices.records import DeviceError
from memenv.fitting.checks import siemens
from memenv.fitting.columns import ASSUMED_READ, Stated
from memenv.fitting.headers import READINGS, parse_unit
from memenv.fitting.marks import DECIMALS
from memenv.fitting.readings import Train, read_trains

ORDERS = ("after", "before")  # a row's read and its pulse
FEWEST = 20  # pulses of one polarity, below which nothing can be fitted
TURN = 0.4  # of the range: slow wander of a noisy train comes back by 0.3


class Unlikely(NamedTuple):
    """A median above which a quantity is more likely in the wrong unit."""

    above: float
    unit: str
    remedy: str


UNLIKELY = {
    "amplitude": Unlikely(100.0, "V", "millivolts given as volts? multiply by 1e-3"),
    "width": Unlikely(100.0, "s", "microseconds given as seconds? multiply by 1e-6"),
}


@dataclass(frozen=True, kw_only=True)
class PulseData:
    """Pulse trains side by side, arrays (reads, trains); a train that ends early is followed by NaN."""

    conductance: np.ndarray  # [S] read
    amplitude: np.ndarray  # [V] of the pulse before the read, + SET, - RESET, 0 in the first row
    width: np.ndarray  # [s] of the pulse before the read
    device: np.ndarray  # (trains,) index into `devices`
    devices: tuple[str, ...]
    files: tuple[str, ...] = ()
    amplitude_known: bool = True  # else 1 V was assumed
    width_known: bool = True  # else 1 us was assumed
    read_voltage: float = 0.1  # [V]
    time: np.ndarray | None = None  # [s] of the reads, where the files tell
    gate: np.ndarray | None = None  # [V] during the pulse before the read; None where there are not several
    understood: tuple[str, ...] = ()  # sentences on what the files were taken for

    def summary(self) -> str:
        """Trains, devices, pulses of each polarity and range, in words."""
        devices, pulses = len(self.devices), [int(self.of(sign).sum()) for sign in (1, -1)]
        text = f"{len(self.device)} pulse trains of {devices} device{'s' if devices > 1 else ''}"
        text += f" ({', '.join(self.files)})" if self.files else ""
        low, high = siemens(float(np.nanmin(self.conductance)), float(np.nanmax(self.conductance)))
        text += f", {pulses[0]} SET and {pulses[1]} RESET pulses"
        pulsed = self.of(1) | self.of(-1)
        for name, unit in (("amplitude", "V"), ("width", "s")):
            values = np.abs(getattr(self, name)[pulsed])
            least, most = values.min(), values.max()
            known = f"{least:.4g}{f' to {most:.4g}' * bool(least < most)} {unit}"
            text += f", {name} {known if getattr(self, f'{name}_known') else 'not told'}"
        if self.gate is not None:
            text += f", gate {self.gate[pulsed].min():.4g} to {self.gate[pulsed].max():.4g} V"
        return f"{text}; {low} to {high}."

    def of(self, sign: int) -> np.ndarray:
        """(reads, trains) whether a pulse of this sign stands before the read."""
        return np.isfinite(self.conductance) & (np.sign(self.amplitude) == sign)

    def gates(self) -> tuple[np.ndarray, ...]:
        """(reads, trains) [V] of the gate, if there are several."""
        return () if self.gate is None else (self.gate,)

    def polarity(self) -> np.ndarray:
        """(trains,) the sign of most pulses of each train."""
        return np.where(np.nansum(np.sign(self.amplitude), axis=0) >= 0, 1, -1)

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of every other train of each device and polarity, and of the rest."""
        order = np.lexsort((np.arange(len(self.device)), self.polarity(), self.device))
        return np.sort(order[0::2]), np.sort(order[1::2])


def read_csv(
    *paths: str | Path,
    read_voltage: float | None = None,
    quantity: str | None = None,
    unit: str | None = None,
    read: str = "after",
    decimal: str | None = None,
) -> PulseData:
    """The pulse trains of one or several tables (text or .xlsx), e.g. one of SET and one of RESET trains.

    Args:
        paths: of the files.
        read_voltage: [V] by which currents are divided; by default what the file tells, else 0.1.
        quantity: "conductance", "resistance" or "current", where a file has several or tells none.
        unit: of the reads, "uS", "kOhm", "nA", in place of what the headers say.
        read: "after" where a row's read follows its pulse, "before" where it precedes it.
        decimal: "point" or "comma", where numbers such as 1,234 do not tell.

    Raises:
        DeviceError: a file that cannot be read, that contradicts itself or its magnitudes; too few pulses.
    """
    if read_voltage is not None and not read_voltage > 0:
        raise DeviceError(f"read voltage is {read_voltage!r} V, a number > 0 is needed")
    own = parse_unit(unit) if unit else None
    if unit and (own is None or own.quantity not in READINGS or quantity not in (None, own.quantity)):
        raise DeviceError(f"unit is {unit!r}: a unit of {quantity or 'conductance, resistance or current'} is needed")
    if quantity not in (None, *READINGS) or read not in ORDERS:
        raise DeviceError(f"quantity is {quantity!r} and read {read!r}: {', '.join(READINGS)}; after, before")
    if decimal not in (None, *DECIMALS):
        raise DeviceError(f"decimal is {decimal!r}: point or comma")
    stated = Stated(quantity, own, read_voltage, read == "before", decimal)
    files = [read_trains(Path(path), stated) for path in paths]
    told = [file.read_voltage for file in files if file.read_voltage is not None]
    pairs, said = _with_signs([train for file in files for train in file.trains if len(train.conductance) > 1])
    pulses = [_pulse(train, sign) for train, sign in pairs]
    known = [all(pulse[place] is not None for pulse in pulses) for place in (0, 1)]
    reads = max(len(sign) for _, sign in pairs)
    conductance, amplitude, width = (np.full((reads, len(pairs)), np.nan) for _ in range(3))
    for column, ((train, sign), (volts, seconds)) in enumerate(zip(pairs, pulses, strict=True)):
        conductance[: len(sign), column] = train.conductance
        amplitude[: len(sign), column] = sign * (volts if known[0] and volts is not None else 1.0)
        width[: len(sign), column] = seconds if known[1] and seconds is not None else 1e-6
    amplitude[0] = 0.0
    time = None
    if all(train.time is not None for train, _ in pairs):
        time = np.full(conductance.shape, np.nan)
        for column, (train, sign) in enumerate(pairs):
            time[: len(sign), column] = train.time
    devices = tuple(dict.fromkeys(train.device for train, _ in pairs))
    data = PulseData(
        conductance=conductance,
        amplitude=amplitude,
        width=width,
        device=np.array([devices.index(train.device) for train, _ in pairs]),
        devices=devices,
        files=tuple(Path(path).name for path in paths),
        amplitude_known=known[0],
        width_known=known[1],
        read_voltage=read_voltage or (told[0] if told else ASSUMED_READ),
        time=time,
        gate=_gates(pairs, amplitude),
        understood=(*(file.understood for file in files), *said),
    )
    _check_amounts(data)
    return data


def _gates(pairs: list[tuple[Train, np.ndarray]], amplitude: np.ndarray) -> np.ndarray | None:
    """(reads, trains) [V] the gate during each pulse; None where no file tells it, or all pulses have one.

    Raises:
        DeviceError: pulses of which it is not told, among others at several voltages.
    """
    gate, pulsed = np.full(amplitude.shape, np.nan), np.nan_to_num(amplitude) != 0
    for column, (train, sign) in enumerate(pairs):
        gate[: len(sign), column] = np.nan if train.gate is None else train.gate
    told = gate[pulsed & np.isfinite(gate)]
    if not len(told) or np.ptp(told) == 0:
        return None
    if len(told) < pulsed.sum() or told.min() < 0:
        raise DeviceError(
            f"{pulsed.sum() - (told >= 0).sum()} of {pulsed.sum()} pulses have no gate voltage of 0 V or more, the "
            f"others up to {told.max():g} V: tell that of each, or keep the pulses at one of them"
        )
    return np.where(pulsed, gate, 0.0)


def _check_amounts(data: PulseData) -> None:
    """Enough pulses of both polarities; a warning for values that look like another unit."""
    for sign, name in ((1, "SET"), (-1, "RESET")):
        pulses = int(np.sum((np.sign(data.amplitude) == sign) & np.isfinite(data.conductance)))
        if pulses < FEWEST:
            raise DeviceError(
                f"{', '.join(data.files)}: {pulses} {name} pulses, at least {FEWEST} are needed: "
                "pass the file of the other polarity as well, or longer trains"
            )
    for name, limit in UNLIKELY.items():
        median = float(np.nanmedian(np.abs(getattr(data, name)[1:])))
        if median > limit.above:
            warnings.warn(f"the median {name} is {median:g} {limit.unit}: {limit.remedy}", UserWarning, stacklevel=3)


# -- polarity ----------------------------------------------------------------------------------------------------------


def _with_signs(trains: list[Train]) -> tuple[list[tuple[Train, np.ndarray]], list[str]]:
    """Trains with the signs (reads,) of their pulses, and sentences on how they came by them.

    Amplitudes of both signs tell them; else a train's trend does, and where it turns, there are two trains.
    """
    volts = np.concatenate([train.volts[1:] for train in trains if train.volts is not None] or [np.zeros(1)])
    signed = (volts > 0).any() and (volts < 0).any()
    out, said, backwards, turned, falling = list[tuple[Train, np.ndarray]](), list[str](), set[str](), 0, 0
    for train in trains:
        if train.sign is not None and not np.isnan(train.sign).any():
            out.append((train, train.sign))
        elif signed and train.volts is not None:
            out.append((train, np.sign(train.volts)))
        else:
            pieces = _monotone(train)
            turned += len(pieces) > 1
            if len(pieces) == 1 and train.polarity * _trend(pieces[0]) < 0:
                backwards.add(train.column)
                pieces = [pieces[0].at(slice(None, None, -1))]
            for piece in pieces:
                falling += _trend(piece) < 0 and train.volts is not None
                pulsed = np.ones(len(piece.conductance)) if piece.sign is None else 1.0 * (piece.sign != 0)
                out.append((piece, _trend(piece) * pulsed))
    if backwards:
        said.append(f"{', '.join(sorted(backwards))} moves against its name: listed backwards, and reversed.")
    if turned:
        said.append(f"{turned} of {len(trains)} trains turn: split at their turning points, {len(out)} trains.")
    if falling:
        sign = "positive" if volts.max() > 0 else "negative"
        said.append(
            f"All amplitudes are {sign}, but {falling} of {len(out)} trains fall: these are taken for RESET pulses."
        )
    said += _apart([train for train, _ in out])
    if signed and _against(out):
        said.append("Negative pulses raise the conductance: they are taken for SET, positive ones for RESET.")
        out = [(train, -sign) for train, sign in out]
    return out, said


def _pulse(train: Train, sign: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Amplitude without sign [V] and width [s] of each pulse, if known."""
    volts, width = (train.volts if train.volts is None else np.abs(train.volts)), train.width
    if volts is None and train.told:
        volts = np.where(sign < 0, train.told[-1][0], train.told[1][0])
        if width is None and train.told[1][1] > 0:
            width = np.where(sign < 0, train.told[-1][1], train.told[1][1])
    return volts, width


def _apart(trains: list[Train]) -> list[str]:
    """A sentence on the first device of which one train spans less than a tenth of what another does."""
    for device in dict.fromkeys(train.device for train in trains):
        spans = [np.array([np.min(t.conductance), np.max(t.conductance)]) for t in trains if t.device == device]
        small, large = (pick(spans, key=np.ptp) for pick in (min, max))
        if 10 * np.ptp(small) < np.ptp(large):
            ends = [" to ".join(siemens(*span)) for span in (small, large)]
            return [f"Trains of device {device} span {ends[0]} and {ends[1]}: are they of one device?"]
    return []


def _against(trains: list[tuple[Train, np.ndarray]]) -> bool:
    """True if positive pulses lower the conductance and negative ones raise it, by more than a fifth of the range."""
    moved = [sum(np.diff(train.conductance)[sign[1:] == way].sum() for train, sign in trains) for way in (1, -1)]
    reach = max(np.ptp(train.conductance) for train, _ in trains)
    return bool(moved[0] < -0.2 * reach and moved[1] > 0.2 * reach)


def _trend(train: Train) -> float:
    return float(np.copysign(1.0, train.conductance[-1] - train.conductance[0]))


def _monotone(train: Train) -> list[Train]:
    """The train, split where it turns."""
    pieces = np.split(np.arange(len(train.conductance)), turning_points(train.conductance))
    return [train.at(rows) for rows in pieces if len(rows) > 1]


def turning_points(read: np.ndarray) -> list[int]:
    """Where the trains of one trend begin, after the first, in a series (reads,) that rises and falls.

    A turn is an extreme from which the series, without single outliers, goes `TURN` of its range back, and six
    standard deviations of its noise. Turns that lie about evenly are even: noise moves the extreme of a flat end.
    """
    smooth = np.median(sliding_window_view(np.pad(read, 2, mode="edge"), 5), axis=1)
    noise = 1.4826 * float(np.median(np.abs(np.diff(read, 2)))) / 6**0.5 if len(read) > 2 else 0.0
    reach = max(TURN * float(np.ptp(smooth)), 6 * noise)
    low = high = 0
    way, turns = 0, list[int]()
    for k, value in enumerate(smooth):
        low, high = (k if value < smooth[low] else low), (k if value > smooth[high] else high)
        if way >= 0 and smooth[high] - value > reach:
            turns += [high + 1] * (way > 0)
            way, low = -1, k
        elif way <= 0 and value - smooth[low] > reach:
            turns += [low + 1] * (way < 0)
            way, high = 1, k
    for first in (0, 1):  # a read before the first pulse
        each, rest = divmod(len(read) - first, len(turns) + 1)
        even = [first + each * k for k in range(1, len(turns) + 1)]
        if turns and not rest and max(abs(a - b) for a, b in zip(turns, even, strict=True)) <= max(0.2 * each, 1):
            return even
    return turns
