"""The protocol of whatever is written: what tasks, crossbars, engines and controllers ask of a device.

The parametric `Device`, the measured `TableDevice`, the `Mixture` and any class of a user's own answer it. A device as
its user knows it and a chip that was fabricated of it are records of one kind: parameters are numbers, or arrays with
the shape of the cells. Records are frozen dataclasses, as rows of cells are taken from their arrays; methods are pure.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

from memenv.arrays import Array
from memenv.devices.device import Device, Driver
from memenv.devices.reads import Read, ReadMoments, Retention, State
from memenv.devices.records import DeviceError


class CellModel(Protocol):
    """A device, or the cells of a chip of it; `docs/architecture.md` has the members as a table."""

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Short: the heading of tables."""

    @property
    def g_min(self) -> Array:
        """[S] conductance at x = 0."""

    @property
    def g_max(self) -> Array:
        """[S] conductance at x = 1."""

    @property
    def x_lo(self) -> Array:
        """[range] lower bound of each cell's state."""

    @property
    def x_hi(self) -> Array:
        """[range] upper bound of each cell's state."""

    @property
    def driver(self) -> Driver:
        """[V, s] the pulses that can be applied."""

    @property
    def read(self) -> Read:
        """[V, s, range] how it is read; controllers expect the noise that stands here."""

    # -- what it supports ----------------------------------------------------------------------------------------------

    @property
    def polarity_only(self) -> bool:
        """The sign of the amplitude is all that a pulse can choose."""

    @property
    def pulse_channels(self) -> int:
        """Standard normals that a pulse takes for each cell."""

    @property
    def read_channels(self) -> int:
        """Standard normals that a read takes for each cell."""

    @property
    def not_compiled(self) -> str:
        """The reason why engines do not compile it, for a message; empty if they do."""

    @property
    def record(self) -> Device | None:
        """The parametric record, for whoever needs the law of a pulse; None without one."""

    @property
    def devices(self) -> Sequence["CellModel"]:
        """The devices that a mixture draws its cells from; empty for one device."""

    # -- what it does --------------------------------------------------------------------------------------------------

    def fabricate(self, rng: Any, cells: int) -> "CellModel":
        """A chip of `cells` cells, each with parameters of its own, drawn from a NumPy generator or its stand-in.

        Environments draw from `Draws` (memenv/compiler/counter_rng.py): `integers(high, size=cells)`, and of
        `standard_normal((channels, cells))` and `random((channels, cells))` channels, by index or in a loop.
        """

    def fresh(self, x: Array, noise: Array) -> State:
        """Cells at `x` (cells,) [range] that rest; noise (2, cells) standard normal."""

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """Cells after `count` pulses (cells,) [V], positive SETs, of (cells,) [s]; noise (pulse_channels, cells)."""

    def rest(self, state: State, seconds: Array) -> State:
        """Cells after `seconds`, a number or (cells,) [s], without a pulse."""

    def sense(self, state: State, noise: Array) -> tuple[Array, State]:
        """One noisy read (cells,) [S] and the cells after it; noise (read_channels, cells)."""

    def conductance(self, state: State) -> Array:
        """True conductance (cells,) [S]."""

    def read_moments(self, state: State) -> ReadMoments:
        """Mean (cells,) [S] and variance (cells,) [S^2] of a read, for sums along a line."""

    def pulse_energy(self, before: Array, after: Array, amplitude: Array, width: Array) -> Array:
        """Energy (cells,) [J] of a pulse between conductances (cells,) [S]."""

    def read_energy(self, g: Array) -> Array:
        """Energy (cells,) [J] of a read of conductances (cells,) [S]."""


class LearningModel(CellModel, Protocol):
    """A device that learns on its chip, in counted pulses of one kind (`memenv.learning`)."""

    @property
    def retention(self) -> Retention | None:
        """Relaxation and drift, None without."""

    def reference_pulse(self, up: Array, like: Array) -> tuple[Array, Array]:
        """Signed amplitude (cells,) [V] and width (cells,) [s], SET where `up`; `like` lends its type to numbers."""

    def mean_step(self, g: Array, up: Array) -> Array:
        """Magnitude (cells,) [S] of what that pulse changes at `g` (cells,) [S] in the mean, as far as is known."""


DeviceSpec: TypeAlias = str | Path | Mapping[str, Any] | CellModel | Sequence["DeviceSpec"]  # what `load_device` takes


def members(protocol: type) -> tuple[str, ...]:
    """The names that a protocol asks for beyond those of its bases."""
    return tuple(name for name in vars(protocol) if not name.startswith("_"))


def missing(model: object, protocol: type) -> list[str]:
    """Names of the `members` that an object lacks."""
    present = dir(model)
    return [name for name in members(protocol) if name not in present]


def checked(model: Any) -> CellModel:
    """A user's own device, if it answers the protocol.

    Raises:
        DeviceError: a class instead of its instance, missing members (all are named), or no frozen dataclass.
    """
    kind = model if isinstance(model, type) else type(model)
    if model is kind:
        raise DeviceError(f"device is the class {kind.__name__}: an instance is needed, such as {kind.__name__}()")
    if lacking := missing(model, CellModel):
        raise DeviceError(
            f"device {kind.__name__} lacks {', '.join(lacking)}: the members of CellModel are described in "
            "memenv/devices/protocol.py"
        )
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise DeviceError(
            f"device {kind.__name__} is no frozen dataclass: write @dataclass(frozen=True), as rows of cells are "
            "taken from the arrays among its fields"
        )
    return cast(CellModel, model)


def learning(model: CellModel) -> LearningModel:
    """A device that learns on its chip.

    Raises:
        DeviceError: members of `LearningModel` are missing; all are named.
    """
    if lacking := missing(model, LearningModel):
        raise DeviceError(
            f"device is {model.name}: to learn on its chip {type(model).__name__} needs {', '.join(lacking)}, as "
            "described in memenv/devices/protocol.py"
        )
    return cast(LearningModel, model)


def parametric(model: CellModel, who: str) -> Device:
    """The parametric record of a device, for `who` needs the law of its pulses.

    Raises:
        DeviceError: a measured table, a mixture, or a class of a user's own without a record.
    """
    if model.record is None:
        raise DeviceError(
            f"device is {model.name}: {who} needs a parametric device, a preset or a record (.json); "
            "memenv fit makes one from measured pulses"
        )
    return model.record


def one_device(model: CellModel, who: str) -> CellModel:
    """A device that is no mixture, for `who` takes its parameters for those of every cell.

    Raises:
        DeviceError: a mixture.
    """
    if model.devices:
        raise DeviceError(f"device is {model.name}, several; {who} takes one of them")
    return model
