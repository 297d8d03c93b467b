"""Handing a cell over: a policy whose own predictions fail on a cell leaves it to `secant`.

What a pulse did is compared with what the record says of it, after what the cell has shown: the logarithm of its dose
is normal about that of the cell, known to the mismatch at first and better with each response (one Kalman filter a
polarity). Surprises add up; too many, and the record is not that of this cell. A secant controller looks on from the
first pulse, with the slope and the bases that the record has, so that it knows the cell when it is called.

Where a record does not tell what a pulse does, nothing is a surprise: a policy may send a cell to and fro for ever.
There, pulses that went too far by much of their way, of far more dose than the record's, are counted instead, and the
secant controller is the one that needs no record.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from agents.classical.secant import Secant
from agents.classical.write_verify import width_at
from memenv.arrays import Array, clip
from memenv.devices.device import Device
from memenv.devices.law import Law, dose_to_reach, equivalent_pulses, move
from memenv.devices.uncertainty import expected_spread
from memenv.envs.pulse_actions import amplitude_range
from memenv.envs.write_verify.observation import View
from memenv.envs.write_verify.task import WriteVerify

ERROR = 0.15  # [ln] of the law, besides noise, mismatch and reads
EXPECTED, MOST = 3.0, 25.0  # squared surprises [variances] up to which there is no alarm, and that count at most
DOUBTFUL = 0.2  # share of the alarm from which a policy may not give a cell up
LATE = 0.5  # share of the pulses for its target that is left when it loses a cell that is doubtful, or not ...
NEAR = 3.0  # ... so near to the target [tolerance and noise] that noise may be all that keeps it out
WASTED = 0.5  # share of the way by which a pulse goes too far: after PATIENCE such pulses the cell is handed over
STRONGER = 2.0  # [ln] of a dose over the record's: twice the spread that networks met in training
FAR = 1e9  # [range] as if nothing had been tried
UNTOLD = 1.0  # [ln] of the dose of a reference pulse: from there on, a record does not tell it
PATIENCE = 4.0  # idle pulses after which the secant controller gives up: it has looked on before


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What a policy was made for."""

    tolerance: tuple[float, float] = (0.001, 0.06)  # [range]
    read_noise: tuple[float, float] = (0.0, 6.0)  # [tolerances]
    cycle_noise: tuple[float, float] = (0.0, 2.0)  # [ln]
    alarm: float = 10.0  # sum of surprises at which a cell is handed over; high where records were wrong in training

    def outside(self, task: WriteVerify) -> str:
        """In which way a task is not what a policy was made for; nothing where it is."""
        tolerance = float(np.max(task.tolerance_x))
        asked = {"tolerance": tolerance, "read_noise": float(np.max(task.device.read.noise)) / tolerance}
        if task.device.record is not None:
            asked["cycle_noise"] = loudest(task.device.record)
        for name, value in asked.items():
            low, high = getattr(self, name)
            if not low <= value <= high:
                return f"{name} is {value:.3g}, it was made for {low:.3g} to {high:.3g}"
        return ""


def loudest(device: Device) -> float:
    """Cycle noise [ln] of the polarity that has more of it."""
    return float(max(np.max(one.cycle_noise) for one in (device.set, device.reset)))


class Watch(NamedTuple):
    """Knowledge of a cell besides the network's; arrays (cells,)."""

    excess_set: Array  # [ln] dose above the record's
    excess_reset: Array
    doubt_set: Array  # [ln^2] what is not known of it
    doubt_reset: Array
    alarm: Array  # [1]
    turns: Array  # pulses that went too far, where the record does not tell what a pulse does
    handed: Array  # 1 where it is handed over, else 0: loops carry numbers
    secant: Any  # memory of the controller


def standby(task: WriteVerify, device: Device) -> Secant:
    """The secant controller whose lines are those of a record; its own where that does not know what a pulse does."""
    if untold(device):
        return Secant(task=task)
    driver, x = device.driver, np.linspace(0.1, 0.9, 9)
    settings: dict[str, float] = {}
    needed = []
    for name, up in (("set", True), ("reset", False)):
        law = device.law(up)
        low, high = (driver.set_min, driver.set_max) if up else (driver.reset_min, driver.reset_max)
        here, goal = (part.ravel() for part in np.meshgrid(x, x))
        ahead = (goal > here) == up
        here, goal = here[ahead & (goal != here)], goal[ahead & (goal != here)]
        log_count = np.log(dose_to_reach(law, here, goal, device.x_lo, device.x_hi, up) / law.dose + 1e-9)
        rooms = np.geomspace(0.02, 5.0, 40)
        step, way = np.abs(goal - here), (1.0 - here if up else here)
        offsets = [
            log_count - np.log(-(1 + room) * np.log1p(-step / np.maximum(room + way, 1.1 * step))) for room in rooms
        ]
        best = int(np.argmin([np.std(one) for one in offsets]))
        settings[f"{name}_room"] = float(rooms[best])
        needed.append((law, low, high, float(np.mean(offsets[best])), float(np.max(log_count))))
    level = max(_width_level(law, high, most, device) for law, _, high, _, most in needed)
    width = width_at(driver, level)
    for name, (law, low, high, offset, _) in zip(("set", "reset"), needed, strict=True):
        drive = np.exp(offset) * law.unit / width  # expm1 of the volts above the onset, in slopes
        settings[f"{name}_base"] = (law.onset + law.slope * np.log1p(drive) - low) / (high - low)
        settings[f"{name}_slope"] = law.slope * drive / (1.0 + drive) / (high - low)
    spread = expected_spread(device)
    known = np.hypot(spread.rate, spread.threshold * device.set.threshold / device.set.slope)
    ranges = {one.name: one.metadata["range"] for one in fields(Secant) if one.name in settings}
    settings = {name: float(np.clip(value, *ranges[name])) for name, value in settings.items()}
    return Secant(task=task, patience=PATIENCE, caution=min(0.35, 0.35 * known), width_level=level, **settings)


def _width_level(law: Law, high: float, log_count: float, device: Device) -> float:
    """The shortest width, of the driver's log range, at which the driver's amplitude is worth e^log_count pulses."""
    driver = device.driver
    width = np.exp(log_count) * law.unit / np.expm1(max((high - law.onset) / law.slope, 1e-3))
    span = max(np.log(driver.width_max / driver.width_min), 1e-12)  # a driver may offer one width only
    return float(np.clip(np.log(width / driver.width_min) / span, 0.0, 1.0))


def unknown(secant: Secant, device: Device, view: View, handed: bool) -> Watch:
    """The watch over cells at the first observation; `handed` from the first pulse or not."""
    zero = 0.0 * view.read
    up, down = (zero + _spread(device, way) for way in (True, False))
    return Watch(zero, zero, up, down, zero, zero, zero + handed, secant.unknown(view))


def _spread(device: Device, up: bool) -> float:
    """Variance [ln^2] of the log dose of a polarity from cell to cell."""
    spread, one = expected_spread(device), device.set if up else device.reset
    volts = np.hypot(spread.threshold * one.threshold, spread.slope * (one.amplitude - one.threshold)) / one.slope
    return float(spread.rate**2 + spread.asymmetry**2 + volts**2 + ERROR**2)


def looked(device: Device, watch: Watch, view: View, previous: Array, tolerance: float) -> Watch:
    """The watch after the last pulse and its read."""
    up, pulsed = view.amplitude > 0, view.amplitude != 0
    law, spread, sign = device.law(up), expected_spread(device), np.where(up, 1.0, -1.0)
    excess = np.where(up, watch.excess_set, watch.excess_reset)
    doubt = np.where(up, watch.doubt_set, watch.doubt_reset)
    spare = 0.5 * tolerance + 2.0 * device.verify_noise
    low = np.minimum(device.x_lo, np.minimum(previous, view.read) - spare)
    high = np.maximum(device.x_hi, np.maximum(previous, view.read) + spare)
    count = equivalent_pulses(law, np.abs(view.amplitude), view.width)
    blur = np.sqrt((1.5 * device.verify_noise) ** 2 + law.additive_noise**2 * count + 1e-8)
    seen, far = (
        dose_to_reach(law, previous, view.read + more, low, high, up) / law.dose for more in (0.0, sign * blur)
    )
    least = np.maximum(far - seen, 1e-9)
    seen, expected = np.maximum(seen, least), np.maximum(count * np.exp(excess), least)
    unsure = law.cycle_noise**2 + ERROR**2  # [ln^2]
    gain = doubt / (doubt + unsure + (least / np.minimum(seen, expected)) ** 2) * pulsed
    innovation = gain * np.log(seen / expected)
    forecast = move(law, previous, low, high, up, law.dose * count * np.exp(excess))
    step = np.maximum(np.abs(forecast - previous), np.abs(view.read - previous))
    bound, apart = np.where(up, device.x_hi, device.x_lo), spread.x_shift
    own = np.where(up, np.hypot(spread.x_hi, apart), np.hypot(spread.x_lo, apart))
    room = np.maximum(sign * (bound - previous), 0.0) + law.margin
    drawn = own * np.minimum(step / np.maximum(room, 1e-6), 1.0)  # [range] by the pole that the bound moves
    ended = clip(sign * (forecast - bound) + 2.0 * own, 0.0, step)  # [range] where the cell's bound may come first
    variance = step**2 * (doubt + unsure) + blur**2 + drawn**2 + ended**2
    surprise = np.minimum((view.read - forecast) ** 2 / variance, MOST)
    alarm = np.maximum(watch.alarm + (surprise - EXPECTED) * pulsed, 0.0)
    beyond, way = sign * (view.read - view.target), sign * (view.target - previous)
    stronger = excess + innovation > STRONGER + 2.0 * law.cycle_noise
    wasted = (beyond > near(device, tolerance)) & (beyond > WASTED * way) & stronger & pulsed
    return watch._replace(
        excess_set=watch.excess_set + np.where(up, innovation, 0.0),
        excess_reset=watch.excess_reset + np.where(up, 0.0, innovation),
        doubt_set=watch.doubt_set * np.where(up, 1.0 - gain, 1.0),
        doubt_reset=watch.doubt_reset * np.where(up, 1.0, 1.0 - gain),
        alarm=alarm,
        turns=watch.turns + np.where(wasted, 1.0, 0.0) * untold(device),
    )


def untold(device: Device) -> bool:
    """True where a record does not say what a pulse does, so that nothing that it does is a surprise."""
    unsure = device.uncertainty
    return unsure is not None and max(unsure.deviation({f"{way}.dose": 1.0}) for way in ("set", "reset")) > UNTOLD


def near(device: Device, tolerance: float) -> Array:
    """Distance to the target [range] within which noise may be all that keeps a cell out."""
    return NEAR * (tolerance + 2.0 * device.verify_noise + max(device.set.additive_noise, device.reset.additive_noise))


Pulse = tuple[Array, Array, Array]  # signed amplitude [V], width [s], giving up


def decided(device: Device, secant: Secant, alarm: float, watch: Watch, view: View, own: Pulse) -> tuple[Pulse, Watch]:
    """The pulse of a policy, or of the secant controller where the cell is handed over, and the watch after it.

    The controller sees each pulse as one of its own width, worth as much by its slope.
    """
    up, width = view.amplitude > 0, secant.width(secant.width_level)
    low, high = amplitude_range(up, secant.task.device.driver)
    slope = np.where(up, secant.set_slope, secant.reset_slope) * (high - low)
    longer = slope * np.log(np.maximum(view.width, 1e-15) / width) * (view.amplitude != 0)
    alike = view._replace(amplitude=view.amplitude + np.where(up, longer, -longer), width=width * (view.amplitude != 0))
    pulse, known = secant.act(alike, watch.secant)
    doubtful = watch.alarm > DOUBTFUL * alarm
    far = np.abs(view.read - view.target) > near(device, secant.task.tolerance_x)
    late = (view.budget <= LATE) & (doubtful | far)
    failing = late | (doubtful & own[2])
    handed = (watch.handed > 0) | failing | (watch.alarm > alarm) | (watch.turns >= PATIENCE)
    chosen = (
        np.where(handed, pulse[0], own[0]),
        np.where(handed, pulse[1], own[1]),
        (handed & pulse[2]) | (~handed & own[2]),
    )
    known = known._replace(idle=np.where(handed, known.idle, 0.0), nearest=np.where(handed, known.nearest, FAR))
    return chosen, watch._replace(handed=np.where(handed, 1.0, 0.0), secant=known)
