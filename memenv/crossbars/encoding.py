"""Signed weights on arrays of positive conductances: differential pairs or a reference column, there and back.

    weight = scale (plus - minus)

Pairs take the columns 2 j (plus) and 2 j + 1 (minus) for output j; the partner that is not needed rests at the lowest
conductance in use. A reference column is the array's last, at the middle, and is the minus of every other column.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from memenv.arrays import Array, clip, floor_at, namespace
from memenv.crossbars.converters import CrossbarError
from memenv.crossbars.operations import picked
from memenv.devices.protocol import CellModel, one_device

KINDS = ("pairs", "reference")


class Mapping(NamedTuple):
    """Places of weights on one chip; leading axes are a batch of arrays."""

    targets: Array  # (..., rows, cols) [S]
    missing: Array  # (..., rows, outputs) [weight] what is wanted less the nearest that the cells reach
    order: Array  # (..., outputs) int, the pair (or column) that carries each output


class _Sides(NamedTuple):
    """Bounds of the plus and the minus of a difference, (..., rows, pairs or 1) [S]."""

    plus_low: Array
    plus_high: Array
    minus_low: Array
    minus_high: Array

    def nearest(self, plus: Array, wanted: Array) -> tuple[Array, Array]:
        """plus and minus whose difference comes nearest to `wanted`, and of these the ones nearest to `plus`."""
        minus = clip(clip(plus, self.plus_low, self.plus_high) - wanted, self.minus_low, self.minus_high)
        return clip(minus + wanted, self.plus_low, self.plus_high), minus

    def only(self, pairs: slice) -> "_Sides":
        """Those of some pairs."""
        return _Sides(*(part[..., pairs] if part.shape[-1] > 1 else part for part in self))


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The translation of weights into conductances.

    Raises:
        CrossbarError: a setting outside its range.
    """

    kind: str = "pairs"  # or "reference"
    low: float  # [S] least conductance in use
    high: float  # [S] largest conductance in use
    scale: float  # [1/S]
    spares: int = 0  # further pairs (or columns) for outputs that their own cells serve badly

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CrossbarError(f"kind is {self.kind!r}, allowed is {', '.join(KINDS)}")
        if not 0 < self.low < self.high < np.inf:
            raise CrossbarError(f"low is {self.low!r} and high is {self.high!r}, allowed is 0 < low < high [S]")
        if not 0 < self.scale < np.inf:
            raise CrossbarError(f"scale is {self.scale!r}, allowed is a number > 0 [1/S]")
        if not isinstance(self.spares, int) or isinstance(self.spares, bool) or self.spares < 0:
            raise CrossbarError(f"spares is {self.spares!r}, allowed is a whole number >= 0")

    @classmethod
    def of(
        cls,
        weights: Array,
        device: CellModel,
        *,
        kind: str = "pairs",
        span: tuple[float, float] = (0.1, 0.9),
        largest: float | None = None,
        spares: int = 0,
    ) -> Self:
        """The encoding in which `largest`, by default the largest magnitude of all, takes the whole span.

        Args:
            weights: (..., rows, outputs).
            device: nominal device.
            kind: "pairs" or "reference".
            span: part of the device's range that is used.
            largest: magnitude of a weight; larger ones are out of reach.
            spares: further pairs or columns.

        Raises:
            CrossbarError: weights that are no matrix of finite numbers, or a setting outside its range.
        """
        check_weights(weights)
        if not 0 <= span[0] < span[1] <= 1:
            raise CrossbarError(f"span is {span!r}, allowed is 0 <= low < high <= 1 of the range")
        size = one_device(device, "an encoding").g_max - device.g_min
        low, high = (float(device.g_min + part * size) for part in span)
        largest = float(abs(weights).max()) if largest is None else largest
        used = high - low if kind == "pairs" else 0.5 * (high - low)
        return cls(kind=kind, low=low, high=high, scale=(largest or 1.0) / used, spares=spares)

    def columns(self, outputs: int) -> int:
        """Columns of cells that so many outputs take, spares included."""
        return 2 * (outputs + self.spares) if self.kind == "pairs" else outputs + self.spares + 1

    def decode(self, values: Array, order: Array | None = None) -> Array:
        """scale (plus - minus), (..., n, outputs): weights of conductances [S] (..., n, cols), or of currents [A].

        Without the `order` of a mapping, output j is on pair (or column) j.
        """
        signed = values[..., 0::2] - values[..., 1::2] if self.kind == "pairs" else values[..., :-1] - values[..., -1:]
        if order is None:
            return self.scale * signed[..., : signed.shape[-1] - self.spares]
        return self.scale * picked(signed, order[..., None, :])

    def mapped(self, weights: Array, reach: tuple[Array, Array] | None = None) -> Mapping:
        """The targets that come nearest to `weights` with what each cell can reach.

        Where a cell of a pair is stuck, or its range ends before its target, its partner takes the difference if it
        can; all cells of a row follow that of a reference column. Each spare in turn takes the output that it helps
        most.

        Args:
            weights: (..., rows, outputs).
            reach: least and largest conductance (..., rows, cols) [S] of each cell; perfect cells if None.

        Raises:
            CrossbarError: weights that are no matrix of finite numbers, or a reach of another shape.
        """
        check_weights(weights)
        xp, outputs = namespace(weights), weights.shape[-1]
        wanted, shape = weights / self.scale, (*weights.shape[:-1], self.columns(outputs))
        if reach is None:
            cells = xp.concatenate([0.0 * wanted[..., :1]] * shape[-1], -1)
            reach = self.low + cells, self.high + cells
        if tuple(reach[0].shape[-2:]) != tuple(shape[-2:]):
            raise CrossbarError(
                f"the array has the shape {tuple(reach[0].shape[-2:])}; weights {tuple(weights.shape[-2:])} as "
                f"{self.kind} with {self.spares} spares take {tuple(shape[-2:])}"
            )
        sides = self._sides(*reach)
        order = self._order(wanted, sides)
        carries = order[..., :, None] == _numbers(outputs + self.spares, order)  # 0 on pairs (or columns) that are idle
        placed = wanted @ (carries + 0.0 * wanted[..., :1, :1])
        plus, minus = sides.nearest(self._first(placed), placed)
        missing = self.scale * picked(placed - (plus - minus), order[..., None, :])
        return Mapping(self._cells(plus, minus), missing, order)

    def _sides(self, low: Array, high: Array) -> _Sides:
        if self.kind == "pairs":
            return _Sides(low[..., 0::2], high[..., 0::2], low[..., 1::2], high[..., 1::2])
        reference = clip(0.0 * low[..., -1:] + 0.5 * (self.low + self.high), low[..., -1:], high[..., -1:])
        return _Sides(low[..., :-1], high[..., :-1], reference, reference)

    def _first(self, wanted: Array) -> Array:
        """Conductance of a perfect plus for the difference `wanted` [S]."""
        return self.low + floor_at(wanted, 0.0) if self.kind == "pairs" else 0.5 * (self.low + self.high) + wanted

    def _cells(self, plus: Array, minus: Array) -> Array:
        """(..., rows, cols)."""
        return _woven(plus, minus) if self.kind == "pairs" else namespace(plus).concatenate([plus, minus[..., :1]], -1)

    def _order(self, wanted: Array, sides: _Sides) -> Array:
        """(..., outputs) int: each spare in turn takes the output whose squared error it lowers most, if any."""
        xp, outputs = namespace(wanted), wanted.shape[-1]

        def error(pairs: slice) -> Array:
            part = sides.only(pairs)
            plus, minus = part.nearest(self._first(wanted), wanted)
            return ((wanted - (plus - minus)) ** 2).sum(-2)

        left = error(slice(outputs))
        number = order = xp.broadcast_to(_numbers(outputs, left), left.shape)
        for pair in range(outputs, outputs + self.spares):
            there = error(slice(pair, pair + 1))
            gain = left - there
            moved = (number == xp.argmax(gain, -1)[..., None]) & (gain > 0)
            left, order = xp.where(moved, there, left), xp.where(moved, pair, order)
        return order


def check_weights(weights: Array) -> None:
    """Refuses what is no matrix, or no batch of matrices, of finite numbers."""
    xp = namespace(weights)
    if getattr(weights, "ndim", 0) < 2 or 0 in weights.shape:
        raise CrossbarError(f"weights have the shape {np.shape(weights)}, (..., rows, outputs) is needed")
    if not bool(xp.isfinite(weights).all()):
        bad = int((~xp.isfinite(weights)).sum())
        raise CrossbarError(f"{bad} of {math.prod(weights.shape)} weights are NaN or infinite; all must be finite")


def reach(chip: CellModel, like: Array) -> tuple[Array, Array]:
    """Least and largest conductance [S] of each cell, as RESET and SET to the end would show them; shape of `like`."""
    size, zero = chip.g_max - chip.g_min, 0.0 * like
    return chip.g_min + size * chip.x_lo + zero, chip.g_min + size * chip.x_hi + zero


def _numbers(count: int, like: Array) -> Array:
    """0 to count - 1, where `like` lives."""
    return np.arange(count) if namespace(like) is np else namespace(like).arange(count, device=like.device)


def _woven(even: Array, odd: Array) -> Array:
    """(..., 2 n) of (..., n) columns each."""
    return namespace(even).stack([even, odd], -1).reshape(*even.shape[:-1], -1)
