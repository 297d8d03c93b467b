"""Converters between numbers and the array: a DAC drives voltages onto its lines, an ADC senses the currents."""

import math
from dataclasses import dataclass

from memenv.arrays import Array, clip, is_zero, namespace
from memenv.bounds import whole


class CrossbarError(ValueError):
    """A setting, a weight or an argument that an array cannot take; the message says what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Converter:
    """A converter over a range of both signs, -full_scale to full_scale, or over 0 to full_scale.

    Zero is a level of both: 2^bits - 1 levels for both signs, 2^bits for one. With `bits` = 0 it is ideal, without
    rounding and without end; its noise stays.

    Raises:
        CrossbarError: a setting outside its range.
    """

    bits: int = 0  # [bit] 0 = ideal
    full_scale: float = 1.0  # [V] of a DAC, [A] of an ADC
    signed: bool = True  # both signs
    noise: float = 0.0  # [full_scale] standard deviation of each conversion, before it is rounded

    def __post_init__(self) -> None:
        least = 2 if self.signed else 1
        object.__setattr__(self, "bits", whole("bits", self.bits, 0, 24, CrossbarError))
        if not (self.bits == 0 or self.bits >= least):
            kind = "both signs" if self.signed else "one sign"
            raise CrossbarError(f"bits is {self.bits!r}, allowed is 0 (ideal) or {least} to 24 for a range of {kind}")
        if not _finite(self.full_scale) or self.full_scale <= 0:
            raise CrossbarError(f"full_scale is {self.full_scale!r}, allowed is a number > 0 [V or A]")
        if not _finite(self.noise) or not 0 <= self.noise <= 1:
            raise CrossbarError(f"noise is {self.noise!r}, allowed is 0 to 1 of full_scale")

    @property
    def step(self) -> float:
        """The distance between two levels [V or A]; 0 where nothing is rounded."""
        return self.full_scale / (2 ** (self.bits - self.signed) - 1) if self.bits else 0.0

    def convert(self, values: Array, noise: Array) -> Array:
        """The levels [V or A] nearest to `values` (...) and their noise, from standard normals (...)."""
        return self.rounded(values if is_zero(self.noise) else values + (self.noise * self.full_scale) * noise)

    def rounded(self, values: Array) -> Array:
        """The levels [V or A] nearest to `values` (...), inside the range."""
        if not self.bits:
            return values
        inside = clip(values, -self.full_scale if self.signed else 0.0, self.full_scale)
        return self.step * namespace(values).round(inside / self.step)


def _finite(value: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
