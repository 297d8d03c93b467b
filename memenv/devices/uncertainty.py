"""What a lab does not know of a device as a whole: drawn once a chip, beside mismatch, which is drawn once a cell.

A parameter that the data determine has the standard error of its fit here, one that they do not determine the deviation
of a stated prior. Draws are normal for thresholds and bounds and log-normal for all others, and end at `FARTHEST`
deviations, to which `records.validate` tries the law.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memenv.arrays import Array, clip

FARTHEST = 3.0  # [deviations] where draws end: what lies beyond would have to be legal, too
ADDED = ("set.threshold", "reset.threshold", "x_lo", "x_hi", "x_shift", "gate.stops", "gate.loss")  # [V], [range]
FACTORS = (  # [ln]
    *(
        f"{polarity}.{name}"
        for polarity in ("set", "reset")
        for name in ("dose", "slope", "gamma", "margin", "kappa", "cycle_noise", "additive_noise")
    ),
    *(
        f"mismatch.{name}"
        for name in ("rate", "asymmetry", "gamma", "slope", "cycle_noise", "threshold", "x_lo", "x_hi", "x_shift")
    ),
    "read.noise",
    "gate.mismatch",
    "gate.cycle_noise",
)


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """The parameters of a device that are not known, and how far they may lie from their nominal values."""

    parameters: tuple[str, ...] = ()  # of ADDED and FACTORS; x_shift moves both bounds, a row of a table is one
    deviations: tuple[float, ...] = ()  # standard, [V] of thresholds and loss, [range] of bounds and stops, else [ln]
    correlations: tuple[tuple[float, ...], ...] = ()  # of each parameter with each; () = independent
    assumed: tuple[str, ...] = ()  # fields of the record that no measurement stands behind, uncertain or not

    def root(self) -> np.ndarray:
        """(parameters, parameters), the correlations times which independent normals are to be multiplied."""
        if not self.correlations:
            return np.eye(len(self.parameters))
        values, vectors = np.linalg.eigh(np.array(self.correlations))
        root: np.ndarray = vectors * np.sqrt(np.maximum(values, 0.0))
        return root

    def described(self) -> str:
        """What is uncertain, by how much, and what is assumed, in a line."""
        alike: dict[str, list[str]] = {}
        for name, deviation in zip(self.parameters, self.deviations, strict=True):
            unit = " V" if name.endswith(("threshold", "loss")) else ""
            off = f"± {deviation:.3g}{unit}" if name in ADDED else f"×/÷ {math.exp(deviation):.3g}"
            alike.setdefault(off, []).append(name)
        lines = [f"{', '.join(names)} {off}" for off, names in alike.items()]
        return "; ".join([*lines, *([f"assumed: {', '.join(self.assumed)}"] if self.assumed else [])])

    def deviation(self, weights: Mapping[str, float]) -> float:
        """Standard deviation of a weighted sum of parameters."""
        each = np.array([weights.get(name, 0.0) for name in self.parameters]) * np.array(self.deviations)
        return float(np.linalg.norm(each @ self.root()))


def settled(device: Any, normals: Any) -> Any:
    """The device as one of those that it may be, nothing of it uncertain.

    `normals[k]` is a standard normal, a float or (cells,), for each parameter; the result's parameters are alike.
    """
    draws = [
        clip(sum(weight * normals[k] for k, weight in enumerate(row) if weight), -FARTHEST, FARTHEST)
        for row in device.uncertainty.root().tolist()
    ]
    return displaced(device, draws)


def displaced(device: Any, draws: Sequence[Array]) -> Any:
    """The device with its uncertain parameters off by so many deviations each, floats or (cells,)."""
    unknown: Uncertainty = device.uncertainty
    for name, deviation, draw in zip(unknown.parameters, unknown.deviations, draws, strict=True):
        off = deviation * (float(draw) if isinstance(draw, float | int) else draw)
        part, _, leaf = name.rpartition(".")
        record = getattr(device, part) if part else device
        names = ("x_lo", "x_hi") if name == "x_shift" else (leaf,)
        new = {field: _moved(getattr(record, field), off, name in FACTORS) for field in names}
        changed = dataclasses.replace(record, **new)
        device = device.replace(**{part: changed}) if part else changed
    return device.replace(uncertainty=None)


def expected_spread(device: Any) -> Any:
    """The `Mismatch` of a cell of an unknown chip: mismatch and uncertainty together, for whoever is told it."""
    spread, unknown = device.mismatch, device.uncertainty
    if unknown is None:
        return spread

    def both(own: float, *weights: Mapping[str, float]) -> float:
        """The root of the sum of squares, of several kinds of deviation their mean square."""
        return math.hypot(own, math.sqrt(sum(unknown.deviation(one) ** 2 for one in weights) / len(weights)))

    def each(name: str, up: float = 1.0, down: float = 1.0) -> tuple[dict[str, float], dict[str, float]]:
        return {f"set.{name}": 1 / up}, {f"reset.{name}": 1 / down}

    thresholds = (max(way.threshold, 1e-9) for way in (device.set, device.reset))
    return dataclasses.replace(
        spread,
        rate=both(spread.rate, {"set.dose": 0.5, "reset.dose": 0.5}),
        asymmetry=both(spread.asymmetry, {"set.dose": 0.5, "reset.dose": -0.5}),
        gamma=both(spread.gamma, *each("gamma")),
        slope=both(spread.slope, *each("slope")),
        cycle_noise=both(spread.cycle_noise, *each("cycle_noise")),
        threshold=both(spread.threshold, *each("threshold", *thresholds)),
        x_lo=both(spread.x_lo, {"x_lo": 1.0}),
        x_hi=both(spread.x_hi, {"x_hi": 1.0}),
        x_shift=both(spread.x_shift, {"x_shift": 1.0}),
    )


def _moved(value: Any, off: Array, factor: bool) -> Any:
    """A parameter, or all numbers of a table's row, times e^off or `off` higher."""
    if isinstance(value, tuple):
        return tuple(_moved(one, off, factor) for one in value)
    return value * _exp(off) if factor else value + off


def _exp(value: Array) -> Array:
    return math.exp(value) if isinstance(value, float) else np.exp(value)


# -- the draws of chips ------------------------------------------------------------------------------------------------


class Chips:
    """Stands in for a generator where cells are of several chips, as many of each, one chip after another.

    Whoever makes the parts of the same chips asks it again: what they have in common is drawn once.
    """

    def __init__(self, rng: np.random.Generator, chips: int) -> None:
        """Takes the generator to draw from."""
        self.rng, self.chips = rng, chips
        self.standard_normal, self.random, self.integers = rng.standard_normal, rng.random, rng.integers
        self.common: dict[int, np.ndarray] = {}  # by their number, normals (channels, chips)

    def chip_normal(self, shape: tuple[int, int]) -> np.ndarray:
        """Standard normals (channels, cells), alike for the cells of a chip."""
        channels, cells = shape
        if channels not in self.common:
            self.common[channels] = _aside(self.rng).standard_normal((channels, self.chips))
        return np.repeat(self.common[channels], cells // self.chips, axis=1)

    def spawn(self, count: int) -> list["Chips"]:
        """Sources for as many parts of the chips: this one, one part after another."""
        return [self] * count


def of_chips(rng: Any, chips: int) -> Any:
    """A generator for the cells of so many chips; what stands in for one knows its chips itself."""
    return Chips(rng, chips) if isinstance(rng, np.random.Generator) else rng


def chip_normals(rng: Any, channels: int, cells: int) -> Any:
    """Standard normals for `settled`: of a generator floats, all cells being of one chip, else (channels, cells)."""
    if isinstance(rng, np.random.Generator):
        normals: list[float] = _aside(rng).standard_normal(channels).tolist()
        return normals
    return rng.chip_normal((channels, cells))


def _aside(rng: np.random.Generator) -> np.random.Generator:
    """A generator from which drawing changes nothing of what `rng` gives: mismatch is that of a known device."""
    return rng.spawn(1)[0]
