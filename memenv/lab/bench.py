"""A bench: whatever pulses and reads cells; and the limits that it is driven under."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from memenv.bounds import MANY, real, whole
from memenv.devices.device import Driver
from memenv.devices.gate import Gate

NAMED = 5  # cells that a message names


class BenchError(OSError):
    """A bench that did not do what it was asked; the message says on which cells, and what is kept."""


class Bench(Protocol):
    """Cells that can be pulsed and read, by their numbers; a failure is an exception of any kind."""

    def pulse(self, cells: np.ndarray, amplitude: np.ndarray, width: np.ndarray) -> None:
        """One pulse on each of `cells` (n,) int: signed amplitude (n,) [V], positive SETs, and width (n,) [s].

        A bench whose transistors have a gate to choose takes `gate` (n,) [V] as a fourth argument.
        """

    def read(self, cells: np.ndarray) -> np.ndarray:
        """Conductances (n,) [S] of `cells` (n,) int."""

    def off(self) -> None:
        """The safe state: no voltage on any cell. Called at the end, whatever ends it, and maybe more than once."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a run, none of which is exceeded; of pulses, energy and reads those of each cell.

    Raises:
        ValueError: a limit that is no positive number.
    """

    amplitude: float | None = None  # [V] magnitude; None: the driver's
    width: float | None = None  # [s]; None: the driver's
    gate: float | None = None  # [V]; None: that of the device
    pulses: int | None = None  # None: the task's budget
    energy: float = np.inf  # [J] of pulses and reads, as estimated from the reads
    reads: int | None = None  # None: any number
    conductance: float = 1.0  # [S] a larger read is an overload of the instrument
    unmoved: int = 20  # pulses after which a cell whose reads have not moved is left alone

    def __post_init__(self) -> None:
        for name in ("amplitude", "width", "gate", "conductance"):
            if getattr(self, name) is not None:
                real(name, getattr(self, name), 1e-30, 1e30)
        for name in ("pulses", "reads", "unmoved"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1, MANY)
        if not self.energy > 0:
            raise ValueError(f"energy is {self.energy!r} J, a limit > 0 is needed")

    def filled(self, driver: Driver, gate: Gate | None = None) -> Self:
        """The limits, with the driver's amplitude and width, and the largest gate voltage, where none were given.

        Raises:
            ValueError: the driver goes beyond them; clipping would hide from the policy what it does; a limit of a gate
                that the device does not have.
        """
        if gate is None and self.gate is not None:
            raise ValueError(
                f"limits have a gate of {self.gate:g} V, the policy's device has none: nothing would hold the bench's "
                "to it; give the task a device with a gate, or leave the limit out"
            )
        most = {"amplitude": max(driver.set_max, driver.reset_max), "width": driver.width_max}
        most |= {} if gate is None else {"gate": gate.high}
        for name, own in most.items():
            limit, unit = getattr(self, name), "s" if name == "width" else "V"
            if limit is not None and own > limit:
                raise ValueError(
                    f"the policy's driver goes up to a pulse {name} of {own:g} {unit}, the limit is {limit:g} {unit}: "
                    "give the task a device whose driver keeps to it"
                )
        return replace(self, **{name: own for name, own in most.items() if getattr(self, name) is None})


def named(cells: Sequence[int] | np.ndarray) -> str:
    """The cells of a message."""
    some = ", ".join(map(str, cells[:NAMED]))
    more = len(cells) - NAMED
    return f"cell{'s' * (len(cells) > 1)} {some}{f' and {more} more' if more > 0 else ''}"
