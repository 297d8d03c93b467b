"""Few-shot accuracy of an initialisation on chips, replayed without torch: episodes, drift, pulses, energy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from memenv.devices.device import Device
from memenv.devices.protocol import CellModel, parametric
from memenv.experiments.kept import Once, at_once
from memenv.experiments.reporting import mean_and_half_width
from memenv.few_shot.chips import Hardware, summed, total
from memenv.few_shot.compiled_chips import fits
from memenv.few_shot.episodes import Episodes, draw
from memenv.few_shot.initialisations import Initialisation
from memenv.learning.writing import UNCOUNTED, Spent
from metalearn.learners import Layers, Learner, begin, learner_of

EVALUATION, TUNING = 0, 1  # what a seed is for: the two share neither chips nor tasks nor noise
HOUR, DAY = 3600.0, 86400.0  # [s]
DELAYS = (0.0, HOUR, DAY)

FINER, COARSER = 10**0.125, 4  # factor between tuned values at last, and how many of it lie between them at first
BATCH = 10  # episodes at once: few, to stay in the caches, and always as many, so that what is drawn is alike


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Outcomes of episodes; of a stream of tasks on each chip all arrays have a first axis (tasks)."""

    by_step: np.ndarray  # (steps + 1, episodes) accuracy on the queries before the first and after each step
    pulses_by_step: np.ndarray  # (steps + 1, episodes) of the task until then, class means included, to all devices
    later: np.ndarray  # (delays, episodes) accuracy so long after the last step
    kept: np.ndarray  # (episodes,) accuracy then on the stream's task before; NaN without one
    pulses: np.ndarray  # (episodes,) of the whole task
    energy: np.ndarray  # (episodes,) [J] of the pulses
    reads: np.ndarray  # (episodes,) of devices, in products and to verify what is written
    read_energy: np.ndarray  # (episodes,) [J] of these, at most
    initial_pulses: np.ndarray  # the same of putting the initialisation on the chip, if the hardware counts them
    initial_energy: np.ndarray
    initial_reads: np.ndarray
    initial_read_energy: np.ndarray

    def accuracy(self, delay: int = 0) -> tuple[float, float]:
        """Mean and half-width of its 95 % interval, after one of the delays."""
        return mean_and_half_width(self.later[delay])

    def of_tasks(self, numbers: np.ndarray) -> "Outcomes":
        """The means over these tasks of a stream."""
        return Outcomes(**{name: part[numbers].mean(0) for name, part in vars(self).items()})


DRIFT_TIME = "drift_time"
NON_IDEALITIES: dict[str, tuple[str, tuple[float, ...]]] = {  # what an amount means, and amounts worth a look
    "mismatch": (
        "standard deviation of the logarithm of doses; bounds by a third of it [range]",
        (0, 0.25, 0.5, 0.75, 1),
    ),
    "cycle_noise": ("standard deviation of the logarithm of a pulse's dose", (0, 0.25, 0.5, 1, 1.5)),
    "nonlinearity": ("exponent of the law of both polarities", (0, 0.5, 1, 2, 3)),
    "asymmetry": ("logarithm of RESET's over SET's dose", (0, 0.5, 1, 1.5, 2)),
    "read_noise": ("standard deviation of a cell's read [range]", (0, 0.01, 0.02, 0.05, 0.1)),
    "stuck": ("share of cells that do not move", (0, 0.05, 0.1, 0.2, 0.3)),
    DRIFT_TIME: ("time by which all queries come later [s]", (0, 1e2, 1e4, 1e6, 1e8)),
}


def with_non_ideality(device: CellModel, what: str, amount: float) -> Device:
    """The device with one of NON_IDEALITIES at `amount`, all else as it was; the device itself for a drift time.

    Raises:
        ValueError: no such non-ideality, or a device that is no record.
    """
    if what not in NON_IDEALITIES:
        raise ValueError(f"unknown non-ideality {what!r}: choose from {', '.join(NON_IDEALITIES)}")
    device = parametric(device, "--vary")
    if what == DRIFT_TIME:
        return device
    up, down, spread = device.set, device.reset, device.mismatch
    changes: dict[str, dict[str, object]] = {
        "mismatch": {"mismatch": replace(spread, rate=amount, x_lo=amount / 3, x_hi=amount / 3)},
        "cycle_noise": {"set": replace(up, cycle_noise=amount), "reset": replace(down, cycle_noise=amount)},
        "nonlinearity": {
            "set": replace(up, gamma=amount, margin=0.0, growing=False, kappa=0.0),
            "reset": replace(down, gamma=amount, margin=0.0, growing=False, kappa=0.0),
        },
        "asymmetry": {
            "set": replace(up, dose=up.dose * np.exp(-amount / 2)),
            "reset": replace(down, dose=down.dose * np.exp(amount / 2)),
        },
        "read_noise": {"read": replace(device.read, noise=amount)},
        "stuck": {"mismatch": replace(spread, stuck_anywhere=amount)},
    }
    return device.replace(**changes[what])


def evaluate(
    init: Initialisation,
    hardware: Hardware | None,
    inputs: np.ndarray,
    *,
    episodes: int = 1000,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    delays: Sequence[float] = DELAYS,
    seed: int = 0,
    purpose: int = EVALUATION,
    engine: str = "auto",
    stream: int = 1,
    interval: float = 0.0,
    once: Once = at_once,
) -> Outcomes:
    """Learn each of `episodes` tasks on a fresh chip and classify its queries; or streams of tasks, each on one chip.

    Equal seeds give equal episodes whatever learns them, and equal chips to networks of one shape under one engine.

    Args:
        init: where learning starts.
        hardware: the chip; None: ideal updates of numbers.
        inputs: (classes, instances, features) that the initialisation's front made of the characters.
        episodes: number of tasks.
        ways: classes of a task.
        shots: support examples of a class.
        queries: query examples of a class.
        delays: [s] between the last step and the queries; each counts from the last step.
        seed: of episodes, chips and noise.
        purpose: EVALUATION or TUNING episodes, chips and noise.
        engine: "numpy", "numba", or "auto": compiled where `memenv.few_shot.compiled_chips.fits` says so.
        stream: tasks of an episode, one after the other on the same ageing chip.
        interval: [s] without a pulse between two of them.
        once: keeps what batches of episodes yield, by their number.

    Raises:
        ValueError: more ways or shots than the data has, or an engine that does not take the chip.
    """
    compiled = hardware is not None and fits(hardware, BATCH, sum(w.size for w in init.weights(ways)), engine)

    def batch(number: int) -> dict[str, np.ndarray]:
        tasks_rng, chip_rng, noise_rng = (np.random.default_rng([seed, number, 3 * purpose + k]) for k in range(3))
        tasks = min(BATCH, episodes - number * BATCH)
        learner = learner_of(hardware, init, tasks, chip_rng, noise_rng, compiled)
        told: list[dict[str, np.ndarray]] = []
        layers, before = None, None
        for _ in range(stream):
            drawn = draw(inputs, tasks_rng, tasks, ways=ways, shots=shots, queries=queries)
            if layers is not None and interval:
                layers = learner.rested(layers, interval)
            outcomes, layers = _learned(learner, hardware, init, drawn, np.eye(ways), delays, layers, before)
            told.append(vars(outcomes))
            before = drawn
        return told[0] if stream == 1 else {name: np.stack([one[name] for one in told]) for name in told[0]}

    parts = [once((number,), partial(batch, number)) for number in range(-(-episodes // BATCH))]
    return Outcomes(**{name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]})


class Tuned(NamedTuple):
    """Factors of an initialisation's rates and ranges that suit a chip, and the accuracy with them."""

    rates: float
    ranges: float
    accuracy: float

    def of(self, init: Initialisation) -> Initialisation:
        """The initialisation with these factors."""
        return replace(init, rates=self.rates * init.rates, ranges=self.ranges * init.ranges)


def tune(
    init: Initialisation, hardware: Hardware | None, inputs: np.ndarray, *, once: Once = at_once, **options: Any
) -> Tuned:
    """Factors of all rates and of all ranges that classify best, found step by step from one; for tables, too.

    Neighbours on a grid of factors are tried until none is better, then those on a finer grid.

    Args:
        init: where learning starts.
        hardware: the chip.
        inputs: what the front made of characters to tune on, others than those to evaluate on.
        once: keeps what factors yield, by their place on the grid.
        options: as of `evaluate`, on TUNING chips; the accuracy is that after the first delay.
    """
    seen: dict[tuple[int, int], float] = {}

    def accuracy(place: tuple[int, int]) -> float:
        if place not in seen:
            tuned = Tuned(FINER ** place[0], FINER ** place[1], 0.0).of(init)
            seen[place] = once(
                place, lambda: evaluate(tuned, hardware, inputs, purpose=TUNING, **options).accuracy()[0]
            )
        return seen[place]

    best = (0, 0)
    for stride in (COARSER, 1):
        while True:
            around = [(best[0] + a * stride, best[1] + b * stride) for a in (-1, 0, 1) for b in (-1, 0, 1)]
            better = max(around, key=accuracy)
            if accuracy(better) <= accuracy(best):
                break
            best = better
    return Tuned(FINER ** best[0], FINER ** best[1], seen[best])


def _learned(
    learner: Learner,
    hardware: Hardware | None,
    init: Initialisation,
    drawn: Episodes,
    labels: np.ndarray,
    delays: Sequence[float],
    layers: Layers | None,
    before: Episodes | None,
) -> tuple[Outcomes, Layers]:
    """A task learned, on fresh layers or on those that the task before has left, and the layers after it."""
    targets = labels[drawn.support_y]
    begun = begin(learner, init, drawn.support_x, targets, layers)
    layers, parts = begun.layers, [begun.means]

    def share(layers: Any, of: Episodes = drawn) -> np.ndarray:
        outputs = begun.outputs(learner, layers, of.query_x)
        answers: np.ndarray = (outputs.argmax(-1) == of.query_y).mean(-1)
        return answers

    shares = [share(layers)]
    for number, step in enumerate(begun.steps(learner, drawn.support_x, targets)):
        layers = step.layers
        shares.append(share(layers))
        if hardware is None:
            parts.append(UNCOUNTED)
            continue
        reads = _reads(hardware, init, begun.rates[number], *targets.shape[1:])
        pulses, energy, read_energy = (total(step.counters, what) for what in ("pulses", "energy", "read_energy"))
        parts.append(Spent(pulses, energy, reads, read_energy))
    spent, nothing = summed(parts)._asdict(), np.zeros(len(targets))
    spent |= {f"initial_{name}": part for name, part in begun.initial._asdict().items()}
    outcomes = Outcomes(
        by_step=np.stack(shares),
        pulses_by_step=np.cumsum([part.pulses + nothing for part in parts], 0),
        later=np.stack([share(learner.rested(layers, seconds)) for seconds in delays]),
        kept=nothing + np.nan if before is None else share(layers, before),
        **{name: part + nothing for name, part in spent.items()},
    )
    return outcomes, layers


def _reads(hardware: Hardware, init: Initialisation, rates: Sequence[float], examples: int, ways: int) -> int:
    """Reads of devices in the products of a step: of each example forwards, and back as far as something learns."""
    weights = init.weights(ways)
    lowest = next((number for number, rate in enumerate(rates) if rate), len(rates))
    products = [examples * (2 if number > lowest else 1) for number in range(len(weights))]
    devices = [2 * k * w.size for k, w in zip(hardware.devices_of(len(weights)), weights, strict=True)]
    return hardware.reads * int(np.dot(products, devices))
