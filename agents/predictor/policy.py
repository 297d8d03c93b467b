"""The pulse predictor: a small network that corrects the nominal pulse by what the cell has shown.

It sees reads, target and its own last pulse through the nominal law: the dose that the nominal device would need, and
how the last response compares with the one expected. It answers with a factor on that dose, the width of the pulse, and
the probability that the target can be reached at all (below `give_up_below` the cell is given up). The network runs on
NumPy; `agents.predictor.training` trains it by gradients through the differentiable device.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import hypot
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from agents.classical.secant import Secant
from agents.classical.write_verify import choose, parameter
from agents.policy import one_or_many
from agents.predictor import handover
from agents.predictor.gru import Weights, forward
from memenv.archives import Entry, check_card, load_archive, save_archive
from memenv.arrays import Array, clip, floor_at, namespace
from memenv.bounds import is_number
from memenv.devices.device import Device
from memenv.devices.gate import to_choose
from memenv.devices.law import dose_to_reach, equivalent_pulses, move, pulse_worth
from memenv.devices.protocol import CellModel
from memenv.devices.records import from_tree, to_json
from memenv.devices.uncertainty import expected_spread
from memenv.envs.write_verify.observation import View
from memenv.envs.write_verify.task import WriteVerify
from memenv.files import named, parse_json

FEATURES = 22
OUTPUTS = 3
BESIDE = 0.2  # [range] from the target, within which the gate makes SETs stop
MOST_TOLD = 1.0  # [ln] of the spread of doses: of devices with more, shipped networks have met none in training
UNKNOWN = 0.25  # [ln] of a slope: from there on, a record does not tell what amplitudes do
FORMAT = "memenv pulse predictor 1"
WHAT = "pulse predictor"
CARD = {"format": str, "device": dict, "memory": bool, "give_up_below": float, "domain": dict, "card": str}
SHAPES: dict[str, tuple[int | str, ...]] = {
    "b_in": ("hidden",),
    "w_in": (FEATURES, "hidden"),
    "w_gates": ("2 hidden", "2 hidden"),
    "b_gates": ("2 hidden",),
    "w_new": ("2 hidden", "hidden"),
    "b_new": ("hidden",),
    "w_mix": ("2 hidden", "hidden"),
    "b_mix": ("hidden",),
    "w_out": ("hidden", "outputs"),
    "b_out": ("outputs",),
}
ENTRIES = {name: Entry(shape, most=1e6) for name, shape in SHAPES.items()}


class Sight(NamedTuple):
    """Inputs of the network before scaling, arrays (cells,); amplitude 0 = no pulse yet."""

    read: Array  # [range]
    target: Array  # [range]
    previous: Array  # [range] the read before the last pulse
    amplitude: Array  # [V] signed, of the last pulse
    width: Array  # [s] of the last pulse
    tolerance: Array  # [range]


def features(device: Device, sight: Sight) -> Array:
    """(cells, FEATURES): the sight of a cell through the nominal `device`."""
    xp = namespace(sight.read)
    r, t, tolerance = sight.read, sight.target, sight.tolerance + 0.0 * sight.read
    up, last_up = t > r, sight.amplitude > 0
    pulsed = (sight.amplitude != 0) * 1.0
    units = unit_doses(device)
    own_unit, unit = (xp.where(way, *units) for way in (up, last_up))
    needed, last = needed_count(device, r, t, up, own_unit), device.law(last_up)
    count = equivalent_pulses(last, xp.abs(sight.amplitude), sight.width) * (last.dose / unit)
    expected = move(
        last, clip(sight.previous, device.x_lo, device.x_hi), device.x_lo, device.x_hi, last_up, unit * count
    )
    spread = expected_spread(device)
    scale = max(1.0, 0.5 * hypot(handover.loudest(device), spread.rate + spread.asymmetry))  # within the clip, too
    direction = xp.where(last_up, 1.0, -1.0)
    moved, due = (r - sight.previous) * direction, (expected - sight.previous) * direction
    shown = dose_to_reach(last, sight.previous, r, device.x_lo, device.x_hi, last_up) / unit
    response = clip(xp.log((shown + 1e-3) / (count + 1e-3)) / scale, -4.0, 4.0)
    noise, law = device.read.noise / tolerance, device.law(up)
    reach = 0.5 * (device.driver.set_max - device.driver.set_min)  # [V] from amplitudes in use to the reference one
    dose = hypot(spread.threshold * device.set.threshold, spread.slope * reach) / device.set.slope
    cells = device.mismatch.threshold * device.set.threshold / device.set.slope
    added = law.additive_noise**2 * (own_unit / law.dose)
    scatter = xp.sqrt((law.cycle_noise * xp.abs(t - r)) ** 2 + added * needed + 1e-12) / tolerance
    ones = 1.0 + 0.0 * r
    columns = (
        2.0 * r - 1.0,
        2.0 * t - 1.0,
        4.0 * (t - r),
        xp.where(up, 1.0, -1.0),
        xp.log(floor_at(xp.abs(t - r), 1e-4) / tolerance) / 2.0,
        xp.log(needed) / 3.0,
        pulsed,
        pulsed * direction,
        pulsed * xp.log(count + 1e-4) / 4.0,
        pulsed * response,
        pulsed * 4.0 * moved,
        pulsed * 4.0 * due,
        pulsed * clip((moved - due) / tolerance / 4.0, -4.0, 4.0),
        pulsed * xp.where(up == last_up, 1.0, -1.0),
        xp.log(tolerance / 0.02) + 0.0 * r,
        noise * ones,
        xp.log(scatter + 0.1) / 2.0,
        law.cycle_noise * 3.0 * ones,
        2.0 * (spread.rate + spread.asymmetry) * ones,
        max(cells, min(dose, MOST_TOLD)) * ones,
        8.0 * (hypot(spread.x_lo, spread.x_shift) + hypot(spread.x_hi, spread.x_shift)) * ones,
        4.0 * (spread.stuck_low + spread.stuck_high + spread.stuck_anywhere + spread.collapsed) * ones,
    )
    return xp.stack(columns, -1)


def unit_doses(device: Device) -> list[float]:
    """Doses in which SET and RESET are counted: of a reference pulse, or of half the range if that is less."""
    quarter = 0.25 * (device.x_hi - device.x_lo)
    low, high = np.array([device.x_lo + quarter, device.x_hi - quarter])
    units = []
    for way, x, goal in ((True, low, high), (False, high, low)):
        law = device.law(way)
        units.append(float(min(law.dose, dose_to_reach(law, x, goal, device.x_lo, device.x_hi, way))))
    return units


def needed_count(device: Device, read: Array, target: Array, up: Array, unit: Array) -> Array:
    """Units of dose (cells,) that take the nominal device from read to target, kept within 1e-4..1e4."""
    return clip(dose_to_reach(device.law(up), read, target, device.x_lo, device.x_hi, up) / unit, 1e-4, 1e4)


class Decision(NamedTuple):
    """The network's answer for each cell, arrays (cells,)."""

    amplitude: Array  # [V] signed
    width: Array  # [s]
    reachable: Array  # logit of the probability that the target can be reached


def decide(device: Device, sight: Sight, outputs: Array) -> Decision:
    """The pulse of the network's `outputs` (cells, OUTPUTS or more) on the nominal `device`.

    The network chooses the width where the record tells what amplitudes do, else the pulse keeps to the reference
    amplitude as far as widths go: there, the dose does not depend on what is not known.
    """
    xp = namespace(sight.read)
    up, driver = sight.target > sight.read, device.driver
    unit = xp.where(up, *unit_doses(device))
    finer = unit / device.law(up).dose
    most = 5.0 - xp.log(finer)  # [ln] where pulses are strong it may take many times the dose to pass a threshold
    needed = needed_count(device, sight.read, sight.target, up, unit)
    count = needed * finer * xp.exp(most * xp.tanh(outputs[:, 0] / most))
    level = 0.5 + 0.5 * xp.tanh(outputs[:, 1])
    width = driver.width_min * xp.exp(level * float(np.log(driver.width_max / driver.width_min)))
    reference = clip(count * device.reference_pulse(up, count)[1], driver.width_min, driver.width_max)
    for way, slope in ((up, "set.slope"), (~up, "reset.slope")):
        if device.uncertainty is not None and device.uncertainty.deviation({slope: 1.0}) > UNKNOWN:
            width = xp.where(way, reference, width)
    low, high = xp.where(up, driver.set_min, driver.reset_min), xp.where(up, driver.set_max, driver.reset_max)
    amplitude, width = pulse_worth(device.law(up), low, high, driver.width_min, driver.width_max, count, width)
    return Decision(xp.where(up, amplitude, -amplitude), width, outputs[:, 2])


def outputs_of(device: Device) -> int:
    """Numbers that the network answers with: one more where there is a gate to choose."""
    return OUTPUTS + (to_choose(device.gate) is not None)


def gates(device: Device, sight: Sight, width: Array, outputs: Array) -> tuple[Array, ...]:
    """The gate (cells,) [V] of each pulse where there is one to choose: SETs stop about the target, RESETs are free."""
    gate = to_choose(device.gate)
    if gate is None:
        return ()
    xp = namespace(sight.read)
    volts = gate.to_stop(sight.target + BESIDE * xp.tanh(outputs[:, OUTPUTS]), width)
    return (xp.where(sight.target > sight.read, clip(volts, gate.low, gate.high), gate.high + 0.0 * volts),)


class Memory(NamedTuple):
    """The predictor's memory from step to step, arrays with a leading axis (cells,)."""

    hidden: np.ndarray | None  # (cells, hidden)
    previous: np.ndarray  # [range] the last read
    watch: handover.Watch | None = None  # None where nobody stands by

    @property
    def handed(self) -> Any:
        """Cells (cells,) that are handed over."""
        return False if self.watch is None else self.watch.handed > 0


@dataclass(frozen=True, kw_only=True)
class PulsePredictor:
    """A trained pulse predictor as a policy of the write-verify task.

    `device` is the nominal device through which it sees: that of its training, or, for a generalist, any other.
    """

    tuning_effort: ClassVar[float] = 0.15  # share of the trials and cells that tuning spends on it: one parameter

    weights: Weights
    device: Device
    task: WriteVerify
    memory: bool = True
    give_up_below: float = parameter(0.05, 0.001, 0.5, log=True)  # [probability] of reaching the target
    domain: handover.Domain = field(default_factory=handover.Domain)
    card: str = ""  # JSON: command, seed, figures on the chips on which its training was judged

    def begin(self, chip: CellModel | None, cells: int) -> Memory:
        """An empty memory."""
        del chip
        hidden = np.zeros((cells, len(self.weights.b_in))) if self.memory else None
        nothing = np.zeros(cells)
        return Memory(hidden, nothing, self.unknown(View(*[nothing] * len(View._fields))))

    @one_or_many
    def predict(
        self,
        observation: np.ndarray,
        state: Memory | None = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Memory]:
        """Actions of the task and the memory after them; see `agents.policy.Policy`.

        What was learnt is forgotten where `episode_start` says so, by default before a cell's first pulse: a caller
        that goes on to a neighbouring cell may pass False and keep it.
        """
        del deterministic
        view = self.task.view(observation)
        state = self.begin(None, len(view.read)) if state is None else state
        first = view.amplitude == 0
        forget = first if episode_start is None else np.asarray(episode_start, bool)
        hidden = None if state.hidden is None else np.where(forget[:, None], 0.0, state.hidden)
        watch = None if state.watch is None else choose(first, self.unknown(view), state.watch)
        outputs, hidden = forward(self.weights, features(self.device, self.sight(view, state.previous)), hidden)
        (amplitude, width, gave_up, *gate), watch = self.decide(view, state.previous, watch, outputs)
        action = self.task.encode(amplitude, width, gave_up, gate=gate[0] if gate else None)
        return action, Memory(hidden, view.read, watch)

    @cached_property
    def standby(self) -> Secant | None:
        """The controller to which cells are handed over; None for polarities alone, and where a gate is driven."""
        task = self.task
        alone = task.device.polarity_only or task.device.devices or task.gate is not None
        return None if alone else handover.standby(task, self.device)

    def decide(
        self, view: View, previous: Array, watch: handover.Watch | None, outputs: Array
    ) -> tuple[tuple[Array, ...], handover.Watch | None]:
        """Signed amplitudes [V], widths [s], giving up, `gates`, of the network or who took over, and the watch after.

        `previous` (cells,) [range] is the last read, `outputs` (cells, `outputs_of`) are the network's.
        """
        sight = self.sight(view, previous)
        own = self.act(sight, outputs)
        if self.standby is None or watch is None:
            return (*own, *gates(self.device, sight, own[1], outputs)), None
        watch = handover.looked(self.device, watch, view, previous, self.task.tolerance_x)
        return handover.decided(self.device, self.standby, self.domain.alarm, watch, view, own)

    def unknown(self, view: View) -> handover.Watch | None:
        """The watch over cells at the first observation."""
        if self.standby is None:
            return None
        return handover.unknown(self.standby, self.device, view, bool(self.domain.outside(self.task)))

    def sight(self, view: View, previous: Array) -> Sight:
        """The sight of each cell; `previous` (cells,) [range] is the read before the last pulse."""
        first = view.amplitude == 0
        return Sight(
            read=view.read,
            target=view.target,
            previous=np.where(first, view.read, previous),
            amplitude=view.amplitude,
            width=np.where(first, self.device.driver.width_min, view.width),
            tolerance=self.task.tolerance_x + 0.0 * view.read,
        )

    def act(self, sight: Sight, outputs: Array) -> tuple[Array, Array, Array]:
        """Signed amplitudes [V], widths [s] and giving up of the network's outputs (cells, OUTPUTS)."""
        decision = decide(self.device, sight, outputs)
        hopeless = decision.reachable < float(np.log(self.give_up_below / (1 - self.give_up_below)))
        return decision.amplitude, decision.width, (sight.amplitude != 0) & hopeless

    def on(self, task: WriteVerify, device: Device | None = None) -> "PulsePredictor":
        """The same network for another task, seeing through `device` (default: its own)."""
        return replace(self, task=task, device=device or self.device)

    def save(self, path: Path) -> None:
        """Write plain arrays, as float32, and a card."""
        card = {
            "format": FORMAT,
            "device": parse_json(to_json(self.device)),
            "memory": self.memory,
            "give_up_below": self.give_up_below,
            "domain": asdict(self.domain),
            "card": self.card,
        }
        save_archive(path, card, {name: np.asarray(w, np.float32) for name, w in self.weights._asdict().items()})


def load_pulse_predictor(path: Path, task: WriteVerify) -> PulsePredictor:
    """A saved predictor for a task.

    Raises:
        ValueError: the file is missing, damaged or not a pulse predictor.
    """
    card, arrays = load_archive(path, WHAT, _entries)
    with named(path, WHAT):
        device, count = from_tree(card["device"]), len(arrays["b_out"])
        if count != outputs_of(device):
            raise ValueError(f"its network has {count} outputs, its device {device.name} needs {outputs_of(device)}")
        return PulsePredictor(
            weights=Weights(**{name: array.astype(np.float64) for name, array in arrays.items()}),
            device=device,
            task=task,
            memory=card["memory"],
            give_up_below=card["give_up_below"],
            domain=_domain(card.get("domain", {})),
            card=card["card"],
        )


def _entries(card: dict[str, Any], headers: Any) -> dict[str, Entry]:
    """The arrays of a predictor.

    Raises:
        ValueError: the card is not that of one.
    """
    del headers
    if card.get("format") != FORMAT:
        raise ValueError(f"its format is {card.get('format')!r}, {FORMAT!r} is needed; train it again")
    check_card({"domain": {}} | card, CARD)
    _domain(card.get("domain", {}))
    if not 0 < card["give_up_below"] < 1:
        raise ValueError(f"give_up_below is {card['give_up_below']!r}, a probability above 0 and below 1 is needed")
    return ENTRIES


def _domain(card: dict[str, Any]) -> handover.Domain:
    """What a policy was made for, as its card says; files of before it had one hold the usual one.

    Raises:
        ValueError: unknown names, or values of other types.
    """
    usual = handover.Domain()
    kinds = {name: type(value) for name, value in asdict(usual).items()}
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in card.items()}
    check_card(asdict(usual) | given, kinds)
    for name, value in given.items():
        if isinstance(value, tuple) and not (len(value) == 2 and all(is_number(number) for number in value)):
            raise ValueError(f"{name} of its domain is {value!r:.80}, two numbers are needed")
    return handover.Domain(**given)
