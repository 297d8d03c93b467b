"""The device as a lab describes it: records of its parameters, fabrication of chips, pulses.

Pure functions on frozen records, generic over NumPy and torch; noise is an argument. The law of a pulse is in `law.py`,
what reads and time show of the state in `reads.py`.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np

from memenv.arrays import Array, choose, clip, expm1, floor_at, is_zero, log1p, namespace, sqrt
from memenv.devices.gate import Gate
from memenv.devices.law import DOSES, GAMMAS, SPREADS, TINY, Law, Response, equivalent_pulses, move, reachable_kappa
from memenv.devices.reads import Read, Reads, Retention, State
from memenv.devices.uncertainty import Uncertainty, chip_normals, settled


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The pulses that can be applied; magnitudes, whatever their sign at the device's terminals."""

    set_min: Array = 0.5  # [V] least SET amplitude
    set_max: Array = 1.5  # [V] largest SET amplitude
    reset_min: Array = 0.5  # [V] least RESET amplitude
    reset_max: Array = 1.5  # [V] largest RESET amplitude
    width_min: Array = 1e-7  # [s] shortest pulse
    width_max: Array = 1e-5  # [s] longest pulse
    amplitude_step: Array = 0.0  # [V] the instrument makes multiples of this; 0 = any amplitude ...
    width_step: Array = 0.0  # [s] ... and any width
    amplitudes: tuple[Array, ...] = ()  # [V] the magnitudes that it makes, ascending; empty = any ...
    widths: tuple[Array, ...] = ()  # [s] ... and any width

    @property
    def gridded(self) -> bool:
        """True where the instrument does not make every pulse."""
        return bool(self.amplitudes or self.widths or self.amplitude_step or self.width_step)


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Device-to-device spread: log-normal (standard deviation of the logarithm) or normal, and shares of bad cells."""

    rate: Array = 0.0  # [ln] doses of both polarities together
    asymmetry: Array = 0.0  # [ln] doses, SET up by as much as RESET goes down
    gamma: Array = 0.0  # [ln] exponents, each polarity on its own
    slope: Array = 0.0  # [ln] amplitude slopes, each polarity on its own
    cycle_noise: Array = 0.0  # [ln] cycle noise, both polarities together
    threshold: Array = 0.0  # [of the threshold] thresholds, each polarity on its own
    x_lo: Array = 0.0  # [range] lower bound
    x_hi: Array = 0.0  # [range] upper bound
    x_shift: Array = 0.0  # [range] both bounds together
    stuck_low: Array = 0.0  # [share] cells stuck at their lower bound
    stuck_high: Array = 0.0  # [share] cells stuck at their upper bound
    stuck_anywhere: Array = 0.0  # [share] cells stuck at a random state
    collapsed: Array = 0.0  # [share] cells whose range has collapsed ...
    collapsed_range: Array = 0.2  # ... to this fraction of it, around a random state


@dataclass(frozen=True, kw_only=True)
class Device(Reads):
    """A device as a lab describes it (floats), or a fabricated chip of it (arrays (cells,)): the same record."""

    name: str = "unnamed"
    source: str = ""  # where the numbers come from, and which are assumptions
    g_min: Array = 1e-6  # [S] conductance at x = 0
    g_max: Array = 1e-4  # [S] conductance at x = 1
    x_lo: Array = 0.0  # [range] lower bound of the state
    x_hi: Array = 1.0  # [range] upper bound of the state
    set: Response = field(default_factory=Response)
    reset: Response = field(default_factory=Response)
    driver: Driver = field(default_factory=Driver)
    mismatch: Mismatch = field(default_factory=Mismatch)
    read: Read = field(default_factory=Read)
    retention: Retention | None = None
    uncertainty: Uncertainty | None = None  # what is not known of the device as a whole; None on a chip
    gate: Gate | None = None  # of a transistor in series with each cell; None without one

    polarity_only = False  # an amplitude and a width can be chosen (a measured table knows neither)
    pulse_channels = 3  # standard normals that a pulse takes: cycle noise, additive noise, relaxation
    read_channels = 2  # standard normals that a read takes: thermal noise, telegraph trap
    not_compiled = ""  # engines run its text cell by cell
    devices = ()  # one device, not a mixture of several

    @property
    def record(self) -> Self:
        """Itself: the law of its pulses is known."""
        return self

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def at_gate(self, volts: Array) -> Self:
        """The device, or a chip of it, with the gate held at `volts`, a number or (cells,) [V].

        Raises:
            ValueError: no gate, or one that does not go there.
        """
        if self.gate is None:
            raise ValueError(f"device is {self.name}: it has no gate")
        low, high, values = self.gate.low, self.gate.high, np.asarray(volts)
        if values.dtype.kind not in "fiu" or not ((low <= values) & (values <= high)).all():
            raise ValueError(f"the gate is {volts!r:.80} V, of {self.name} allowed is {low:g} to {high:g} V")
        return self.driven(values if values.ndim else float(values))

    def driven(self, volts: Array) -> Self:
        """`at_gate` of a voltage that is known to be the driver's; element-wise, also on symbolic values."""
        return self.replace(gate=dataclasses.replace(cast(Gate, self.gate), low=volts, high=volts))

    @property
    def verify_noise(self) -> Array:
        """[range] standard deviation of what a read right after a pulse shows besides the state that was written.

        That of the read at `g_max` and, as far as it is the same at every conductance, that of the write.
        """
        if self.retention is None:
            return self.read.noise
        written = self.retention.sigma_early[0] * self.g_max / (self.g_max - self.g_min)
        return cast(Array, (self.read.noise**2 + written**2) ** 0.5)

    # -- fabrication -------------------------------------------------------------------------------------------------

    def fabricate(self, rng: Any, cells: int) -> Self:
        """A chip of `cells` cells (int >= 1) of this nominal device; parameters without mismatch stay floats.

        What is uncertain is drawn first, once for all cells, or for those of each chip that `rng` knows (`Chips`).
        Bounds are kept at positive conductance and in order, as aihwkit's `enforce_consistency` keeps them.
        """
        if self.uncertainty is not None:
            known: Self = settled(self, chip_normals(rng, len(self.uncertainty.parameters), cells))
            return known.fabricate(rng, cells)
        spread = self.mismatch
        shifting = not is_zero(spread.x_shift)
        draws = rng.standard_normal((11 + shifting + (self.gate is not None), cells))

        def lognormal(value: Array, sigma: Array, draw: np.ndarray) -> Array:
            return value if is_zero(sigma) else value * np.exp(sigma * draw)

        def kept(value: Array, low: float, high: float) -> Array:  # large spreads must not leave what the law can stand
            return value if isinstance(value, float | int) else clip(value, low, high)

        def normal(value: Array, sigma: Array, draw: np.ndarray) -> Array:
            return value if is_zero(sigma) else value + sigma * draw

        def response(nominal: Response, sign: float, own: np.ndarray) -> Response:
            rate = lognormal(1.0, spread.rate, draws[0]) * lognormal(1.0, spread.asymmetry, sign * draws[1])
            noise = lognormal(1.0, spread.cycle_noise, draws[2])
            onset = 0.0 if is_zero(spread.threshold) else spread.threshold * nominal.threshold
            return dataclasses.replace(
                nominal,
                dose=kept(nominal.dose * rate, *DOSES),
                additive_noise=0.0 if is_zero(nominal.additive_noise) else nominal.additive_noise * rate,
                gamma=kept(lognormal(nominal.gamma, spread.gamma, own[0]), *GAMMAS),
                slope=lognormal(nominal.slope, spread.slope, own[1]),
                shift=normal(nominal.shift, onset, own[2]),
                cycle_noise=kept(nominal.cycle_noise * noise, *SPREADS),
            )

        shift = spread.x_shift * draws[11] if shifting else 0.0
        x_lo, x_hi = self._bounds(rng, draws[3], draws[4], shift, cells)
        widest = x_hi - x_lo
        up, down = response(self.set, 1.0, draws[5:8]), response(self.reset, -1.0, draws[8:11])
        return self.replace(
            x_lo=x_lo,
            x_hi=x_hi,
            set=dataclasses.replace(up, kappa=reachable_kappa(up, widest)),
            reset=dataclasses.replace(down, kappa=reachable_kappa(down, widest)),
            gate=None if self.gate is None else dataclasses.replace(self.gate, cell=draws[11 + shifting]),
        )

    def _bounds(self, rng: Any, low: np.ndarray, high: np.ndarray, shift: Array, cells: int) -> tuple[Array, Array]:
        """Bounds of each cell, with the stuck and the collapsed cells among them."""
        spread = self.mismatch
        x_lo, x_hi = self.x_lo, self.x_hi
        if not all(map(is_zero, (spread.x_lo, spread.x_hi, shift))):
            dark = -0.99 * self.g_min / (self.g_max - self.g_min)  # x of a conductance just above zero
            a, b = (
                np.maximum(bound + sigma * draw + shift, dark)
                for bound, sigma, draw in ((x_lo, spread.x_lo, low), (x_hi, spread.x_hi, high))
            )
            x_lo, x_hi = np.minimum(a, b), np.maximum(a, b)
        shares = (spread.stuck_low, spread.stuck_high, spread.stuck_anywhere, spread.collapsed)
        if all(is_zero(share) for share in shares):
            return x_lo, x_hi
        lot, place = rng.random((2, cells))
        edges = np.cumsum(np.broadcast_arrays(*shares), axis=0)
        size = x_hi - x_lo
        kept = np.where(lot < edges[2], 0.0, np.where(lot < edges[3], spread.collapsed_range, 1.0))
        where = np.select([lot < edges[0], lot < edges[1]], [0.0, 1.0], place) * (1 - kept)
        start = x_lo + size * where
        return start, np.where(kept == 1.0, x_hi, start + size * kept)

    # -- pulses ------------------------------------------------------------------------------------------------------

    def pulse(self, state: State, amplitude: Array, width: Array, noise: Array, count: Array = 1.0) -> State:
        """The state after a train of `count` equal pulses.

        Args:
            state: of the cells, arrays (cells,).
            amplitude: (cells,) [V]; positive SETs, negative RESETs, whatever the sign at the device's terminals.
            width: (cells,) [s].
            noise: (3, cells) standard normal: cycle noise, additive noise, relaxation.
            count: pulses in the train, a number or (cells,); its noise sums so many draws, at least one.
        """
        xp = namespace(state.x, amplitude, width)
        up = amplitude > 0
        law = self.law(up, state.x)
        magnitude, x_hi = self._limits(up, xp.abs(amplitude), width, state.x, noise[0])
        n = equivalent_pulses(law, magnitude, width) * count
        s = law.dose * n
        if not is_zero(law.cycle_noise):
            sigma = law.cycle_noise
            if not (isinstance(count, float | int) and count == 1):
                sigma = sqrt(log1p(expm1(sigma**2) / floor_at(count, 1.0)) + TINY**2)
            s = s * xp.exp(sigma * noise[0] - 0.5 * sigma**2)
        added: Array = 0.0
        touched = n > 0
        if not is_zero(law.additive_noise):  # the derivative of sqrt(n) is infinite at n = 0: no noise there
            added = law.additive_noise * noise[1] * touched * n / sqrt(n + TINY**2)
        return state._replace(
            x=move(law, state.x, self.x_lo, x_hi, up, s, added),
            age=xp.where(touched, 0.0 * state.age, state.age + width * count),
            relaxation=None if state.relaxation is None else xp.where(touched, noise[2], state.relaxation),
            trap=self._trap_after(state.trap, width * count),
        )

    def _limits(self, up: Array, magnitude: Array, width: Array, x: Array, noise: Array) -> tuple[Array, Array]:
        """Magnitudes [V] that act and upper bounds [range] of pulses, as far as there is a gate to limit them."""
        if self.gate is None:
            return magnitude, self.x_hi
        return self.gate.limits(up, magnitude, width, x, self.x_hi, noise)

    def law(self, up: Array, like: Array | None = None) -> Law:
        """Each cell's response to its own polarity (SET where `up`); parameters alike in both stay as they are.

        `like` lends its type to floats that differ: torch would round them to its default type.
        """
        pairs = zip(self.set.law(), self.reset.law(), strict=True)
        return Law(*(choose(up, high, low, like) for high, low in pairs))

    # -- as circuits that learn take it --------------------------------------------------------------------------------

    def reference_pulse(self, up: Array, like: Array) -> tuple[Array, Array]:
        """Signed amplitude [V] and width [s] of one reference pulse; `like` lends its type to floats."""
        return (
            choose(up, self.set.amplitude, -self.reset.amplitude, like),
            choose(up, self.set.width, self.reset.width, like),
        )

    def mean_step(self, g: Array, up: Array) -> Array:
        """Magnitude [S] of what one reference pulse, SET where `up`, changes in nominal cells at `g` (cells,) [S]."""
        size = self.g_max - self.g_min
        x = clip((g - self.g_min) / size, self.x_lo, self.x_hi)
        law = self.law(up, x)
        amplitude, width = self.reference_pulse(up, x)
        magnitude, x_hi = self._limits(up, abs(amplitude), width + 0.0 * x, x, 0.0)
        count = 1.0 if self.gate is None else equivalent_pulses(law, magnitude, width)  # as the gate lets it act
        return size * namespace(g).abs(move(law, x, self.x_lo, x_hi, up, law.dose * count + 0.0 * x) - x)
