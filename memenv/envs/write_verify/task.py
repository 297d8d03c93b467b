"""The write-verify task: bring one cell of an unknown chip to a target conductance with as few pulses as possible."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
from gymnasium import spaces

from memenv.arrays import numbers, put, take
from memenv.crossbars.memory_budget import FEW, check_room, memory_needed
from memenv.devices.catalogue import Loaded
from memenv.devices.device import Device, Driver
from memenv.devices.gate import Gate, to_choose
from memenv.devices.protocol import CellModel
from memenv.devices.uncertainty import of_chips
from memenv.envs import scales
from memenv.envs.pulse_actions import Float, PulseActions, signals_of, volts
from memenv.envs.task import Draw, NormalDraw, Observation, TaskError, UniformDraw
from memenv.envs.write_verify.arguments import CLEARANCE, check_together, settled
from memenv.envs.write_verify.episode import OF_ONE_STEP, Episode
from memenv.envs.write_verify.levels import Level, check_targets, drawn_level, in_band, levels_of
from memenv.envs.write_verify.observation import ERROR, SIGNAL, CellObservation, View, last_pulse


@dataclass(frozen=True, kw_only=True)
class WriteVerify:
    """A cell, a target, pulses and reads: the Markov decision process of programming, pure and batched over cells.

    Raises:
        TaskError: an argument outside its range (the message names it).
        DeviceError: an unknown or impossible device.
    """

    device: Loaded = Loaded("threshold")  # name, path, record, or a list of those: domain randomisation
    tolerance: float = 0.02  # half-width of the target band ...
    tolerance_unit: str = "range"  # ... as a fraction of g_max - g_min ("range") or in siemens ("S")
    action: str = "continuous"  # or "discrete"
    levels: tuple[int, int] = (8, 3)  # amplitudes and widths of the discrete menu, per polarity
    give_up: bool = False  # giving up is an action
    max_pulses: int = 50  # budget for one target
    confirm_reads: int = 0  # further reads that must be inside before a cell is accepted
    rounds: int = 1  # targets in an episode, each after the acceptance of the last
    history: int = 1  # steps stacked in the observation
    goal: bool = False  # observations of achieved and desired goals, as hindsight experience replay takes them
    privileged: bool = False  # the cell's own parameters are in info
    target_range: tuple[float, float] = (0.1, 0.9)  # [range] in which targets are drawn
    target_levels: Any = ()  # instead so many, or a list of targets or of (low, target, high), as `tolerance_unit` says
    bands: str = "conductance"  # of levels whose bands are not given, or "resistance", or "relative" to the target
    weight_pulses: float = 0.02  # reward for a pulse: minus this
    weight_energy: float = 0.0  # [1/J] reward for energy: minus this times it
    weight_latency: float = 0.0  # [1/s] reward for time: minus this times it
    weight_acceptance: float = 1.0  # reward for an acceptance
    weight_false_acceptance: float = 1.0  # reward for a false one: minus this
    weight_failure: float = 1.0  # reward for the end of an episode before the last acceptance: minus this, or twice it
    weight_shaping: float = 1.0  # of the potential, minus the logarithmic error that is observed

    siemens, fraction = staticmethod(scales.siemens), staticmethod(scales.fraction)

    def __post_init__(self) -> None:
        for name, value in settled(self).items():
            object.__setattr__(self, name, value)
        check_together(self)

    def check_memory(self, cells: int) -> None:
        """Refuses more cells than fit into the memory that is free, before anything is allocated."""
        if cells > FEW:
            steps = 8 * cells * (self.rounds + 2 * self.history * self.observations.features)
            needed = memory_needed(self.device, cells, self.device.pulse_channels) + steps
            check_room(needed, f"{cells:,} cells of {self.device.name}", "take fewer cells at a time", TaskError)

    # -- spaces ------------------------------------------------------------------------------------------------------

    @property
    def max_steps(self) -> int:
        """The most pulses that an episode can take."""
        return self.max_pulses * self.rounds

    @cached_property
    def tolerance_x(self) -> Any:
        """Tolerance [range]; for a list of devices with a tolerance in siemens an array (devices,)."""
        return self.tolerance_of(self.device)

    @cached_property
    def target_bands(self) -> tuple[Level, ...]:
        """The levels and their bands, none without `target_levels`."""
        return levels_of(self) if self.target_levels else ()

    @cached_property
    def gate(self) -> Gate | None:
        """The gate whose voltage an action chooses; None without one, where it is held, and of menus: fully open."""
        record = self.device.record
        return to_choose(record.gate) if record is not None and self.action == "continuous" else None

    def check_gate(self, who: str, driven: bool = False) -> None:
        """Refuse a gate to be chosen where `who` chooses none, and none where it does.

        Raises:
            TaskError: so it is.
        """
        if driven and self.gate is None:
            raise TaskError(
                f"device is {self.device.name}: {who} was trained to drive a gate, and there is none to choose; give "
                "the task a device whose gate is not held, or train on this one"
            )
        if self.gate is not None and not driven:
            raise TaskError(
                f"device is {self.device.name}: it has a gate of {self.gate.low:g} to {self.gate.high:g} V, which "
                f"{who} does not drive; hold it at a voltage: device.at_gate({self.gate.high:g}), or gate.low "
                "equal to gate.high in its record"
            )

    @cached_property
    def observations(self) -> CellObservation:
        """The layout of observations."""
        least = float(np.min(self.tolerance_x))
        own = {name: getattr(self, name) for name in ("max_pulses", "rounds", "history", "goal", "gate")}
        return CellObservation(tolerance=least, **own)

    @property
    def features(self) -> int:
        """Numbers in the observation of one step."""
        return self.observations.features

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Box (history * features,) float32, the newest step last, or a Dict with goals."""
        return self.observations.space

    @cached_property
    def actions(self) -> PulseActions:
        """The meaning of actions."""
        return PulseActions(
            discrete=self.action == "discrete",
            levels=self.levels,
            give_up=self.give_up,
            polarity_only=self.device.polarity_only,
            gate=self.gate,
        )

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Box (channels,) float32 in [-1, 1], or Discrete (menu length)."""
        return self.actions.space

    # -- actions and observations in physical terms ------------------------------------------------------------------

    def decode(self, action: np.ndarray, driver: Driver | None = None) -> tuple[Any, ...]:
        """Signed amplitude [V], width [s], giving up (bool) and the gate [V], if chosen, of actions (cells, ...)."""
        signal, log_width, gave_up, *gate = self.actions.signals(action)
        opened = [cast(Gate, self.gate).volts_of(part) for part in gate]
        return *volts(signal, log_width, driver or self.device.driver), gave_up, *opened

    def encode(
        self,
        amplitude: Float,
        width: Float,
        give_up: np.ndarray | None = None,
        driver: Driver | None = None,
        gate: Float | None = None,
    ) -> np.ndarray:
        """The actions nearest to signed amplitudes (cells,) [V], widths (cells,) [s] and gates (cells,) [V].

        They are clipped to the driver's; a gate that is not given is fully open.
        """
        return self.actions.encode(amplitude, width, give_up, driver or self.device.driver, gate)

    def view(self, observation: Observation, driver: Driver | None = None) -> View:
        """Observations (cells, ...) in physical terms, the newest step of each."""
        return self.observations.view(observation, driver or self.device.driver)

    def observation_parts(self, episode: Episode) -> tuple[Float, ...]:
        """The numbers of the newest step, each (cells,), in the order of the observation; element-wise."""
        seen = episode.reading, episode.target, self.tolerance_of(episode.chip), episode.response
        return self.observations.parts(
            *seen, episode.signal, episode.log_width, episode.spent, episode.rounds_left, episode.gate
        )

    def view_of(self, episode: Episode) -> View:
        """The `view` of an observation of these episodes, but for its rounding; element-wise."""
        tolerance, farthest = self.tolerance_of(episode.chip), self.observations.farthest
        return View(
            read=np.clip(episode.reading, *scales.READS),
            target=episode.target,
            error=np.clip((episode.reading - episode.target) / tolerance, -farthest, farthest),
            response=np.clip(episode.response / tolerance, -farthest, farthest),
            **last_pulse(episode.signal, episode.log_width, episode.chip.driver, self.gate, episode.gate),
            budget=1.0 - episode.spent / self.max_pulses,
        )

    # -- the process -------------------------------------------------------------------------------------------------

    of_one_step: tuple[str, ...] = field(init=False, default=OF_ONE_STEP)

    @cached_property
    def initial_draws(self) -> tuple[Draw, ...]:
        """Noise of a start: start and target, resting cell, first read."""
        return UniformDraw((2,)), NormalDraw((2,)), NormalDraw((self.device.read_channels,))

    @cached_property
    def step_draws(self) -> tuple[Draw, ...]:
        """Noise of one step: pulse, verify reads, next target."""
        reads = NormalDraw((1 + self.confirm_reads, self.device.read_channels))
        pulse = NormalDraw((self.device.pulse_channels,))
        return (pulse, reads, UniformDraw((1,))) if self.rounds > 1 else (pulse, reads)

    @property
    def not_compiled(self) -> str:
        """The setting that the compiled engine does not run, if any."""
        if self.device.not_compiled:
            return self.device.not_compiled
        for name, simple in (("history", 1), ("confirm_reads", 0)):
            if getattr(self, name) != simple:
                return f"{name}={getattr(self, name)}"
        return ""

    def fabricate(self, rng: Any, cells: int) -> CellModel:
        """A chip: one unknown cell for each environment."""
        return self.device.fabricate(of_chips(rng, cells), cells)

    def initial(self, chip: CellModel, noise: tuple[np.ndarray, ...], options: dict[str, Any]) -> Episode:
        """Fresh episodes on a chip; start uniform in the cell's own range, target uniform in `target_range`.

        Args:
            chip: of `cells` cells.
            noise: as `initial_draws` says.
            options: start, target: conductances [S], float or (cells,), instead of random ones.
        """
        episode = self.begin(chip, noise, options)
        return episode._replace(history=self.observations.remember(None, self.observation_parts(episode)))

    def begin(self, chip: CellModel, noise: Sequence[Any], options: dict[str, Any]) -> Episode:
        """`initial` but for the history; element-wise, without options also on symbolic values."""
        uniform, cell_noise, read_noise = noise
        zero, never = np.zeros_like(uniform[0]), np.zeros_like(uniform[0], bool)
        start = chip.x_lo + (chip.x_hi - chip.x_lo) * uniform[0]
        if options.get("start") is not None:
            start = np.clip(
                zero + scales.given_state(self.device, chip, "start", options["start"]), chip.x_lo, chip.x_hi
            )
        reading, cell = chip.sense(chip.fresh(start, cell_noise), read_noise)
        reading = self.fraction(chip, reading)
        target = self._draw_target(chip, reading, uniform[1])
        if options.get("target") is not None:
            target = zero + scales.given_state(self.device, chip, "target", options["target"])
            if self.target_levels:
                check_targets(self.target_bands, target)
        g = chip.conductance(cell)
        return Episode(
            chip=chip,
            cell=cell,
            target=target,
            reading=reading,
            response=zero,
            signal=zero,
            log_width=zero,
            spent=zero,
            rounds_left=zero + (self.rounds - 1),
            pulses=zero,
            energy=zero,
            latency=zero,
            step_energy=zero,
            step_latency=zero,
            step_reads=zero + 1.0,
            potential=self._potential(chip, reading, target),
            shaping=zero,
            true_conductance=g,
            true_error=g - self.siemens(chip, target),
            pulsed=never,
            accepted=never,
            false=never,
            false_acceptances=zero,
            gave_up=never,
            gate=None if self.gate is None else zero,
        )

    def transition(self, episode: Episode, action: np.ndarray, noise: tuple[np.ndarray, ...]) -> Episode:
        """One pulse and its verify read, or giving up, on each cell; noise as `step_draws` says."""
        following = self.advance(episode, self.actions.signals(action), noise)
        return following._replace(
            history=self.observations.remember(episode.history, self.observation_parts(following))
        )

    def advance(self, episode: Episode, decoded_action: tuple[Any, ...], noise: Sequence[Any]) -> Episode:
        """`transition` but for the history; element-wise, with confirm_reads=0 also on symbolic values.

        `decoded_action` is signal, log-width, giving up and the gate's signal, if there is one, each (cells,).
        """
        chip, tolerance = episode.chip, self.tolerance_of(episode.chip)
        signal, log_width, gave_up, *gate = decoded_action
        amplitude, width = volts(signal, log_width, chip.driver)
        if chip.driver.gridded:
            signal, log_width = signals_of(amplitude, width, chip.driver)
        pulsed = ~gave_up
        if self.give_up:  # a pulse of no amplitude and no width does nothing and is not remembered
            amplitude, width = amplitude * pulsed, width * pulsed
            signal, log_width = np.where(pulsed, signal, episode.signal), np.where(pulsed, log_width, episode.log_width)
        gated = chip
        if self.gate is not None:
            opened = self.gate.volts_of(gate[0])
            gated = cast(Device, chip).driven(opened)
            signal_seen = self.gate.signal_of(opened) if self.gate.step else gate[0]
            gate = [np.where(pulsed, signal_seen, episode.gate)]
        pulsed_cell = gated.pulse(episode.cell, amplitude, width, noise[0])
        after = chip.conductance(pulsed_cell)
        seen, cell = chip.sense(pulsed_cell, noise[1][0])
        verify = chip.read_energy(after)
        step_energy = chip.pulse_energy(episode.true_conductance, after, amplitude, width) + verify * pulsed
        step_latency = width + chip.read.duration * pulsed
        step_reads = 1.0 * pulsed
        reading = self.fraction(chip, seen)
        accepted = self.within(chip, reading, episode.target) & pulsed
        for confirm in noise[1][1:]:
            rows = np.flatnonzero(accepted)
            again, moved = take(chip, rows).sense(take(cell, rows), [channel[rows] for channel in confirm])
            cell = put(cell, rows, moved)
            reading[rows] = self.fraction(take(chip, rows), again)
            step_energy[rows] += verify[rows]
            step_latency[rows] += take(chip, rows).read.duration
            step_reads[rows] += 1.0
            accepted = accepted & self.within(chip, reading, episode.target)
        if self.give_up:
            reading = np.where(gave_up, episode.reading, reading)
        response = np.where(pulsed, reading - episode.reading, episode.response)
        true = chip.conductance(cell)
        true_error = true - self.siemens(chip, episode.target)
        if self.target_levels:
            false = accepted & ~self.within(chip, self.fraction(chip, true), episode.target)
        else:
            false = accepted & (np.abs(true_error) > tolerance * (chip.g_max - chip.g_min))
        spent = episode.spent + pulsed
        target, rounds_left, accepted_last = episode.target, episode.rounds_left, accepted
        if self.rounds > 1:
            again = accepted & (rounds_left > 0)
            target = np.where(again, self._draw_target(chip, reading, noise[2][0]), target)
            spent = np.where(again, 0.0, spent)
            rounds_left = rounds_left - again
            accepted_last = accepted & ~again
        over = (rounds_left - accepted_last < 0) | gave_up | (spent >= self.max_pulses)
        potential = np.where(over, 0.0, self._potential(chip, reading, target))
        return episode._replace(
            cell=cell,
            target=target,
            reading=reading,
            response=response,
            signal=signal,
            log_width=log_width,
            spent=spent,
            rounds_left=np.where(accepted_last, -1.0, rounds_left),
            pulses=episode.pulses + pulsed,
            energy=episode.energy + step_energy,
            latency=episode.latency + step_latency,
            step_energy=step_energy,
            step_latency=step_latency,
            step_reads=step_reads,
            potential=potential,
            shaping=potential - episode.potential,
            true_conductance=true,
            true_error=true_error,
            pulsed=pulsed,
            accepted=accepted,
            false=false,
            false_acceptances=episode.false_acceptances + false,
            gave_up=gave_up,
            history=None,
            gate=gate[0] if gate else None,
        )

    @property
    def devices(self) -> Sequence[CellModel]:
        """Those of which cells are drawn; empty where all are of one."""
        return self.device.devices

    def chip_of(self, episode: Episode) -> CellModel:
        """The chip of episodes."""
        return episode.chip

    def with_chip(self, episode: Episode, chip: CellModel) -> Episode:
        """The episodes with another chip."""
        return episode._replace(chip=chip)

    def terminated(self, episode: Episode) -> np.ndarray:
        """(cells,) bool: the last target was accepted, the cell was given up, or the budget for the target is spent."""
        over: np.ndarray = (episode.rounds_left < 0) | episode.gave_up | (episode.spent >= self.max_pulses)
        return over

    def reward(self, episode: Episode) -> dict[str, Float]:
        """The named reward terms of the last step, each (cells,); their sum is the reward."""
        failed = self.terminated(episode) & (episode.rounds_left >= 0)
        distance = -self._potential(episode.chip, episode.reading, episode.target)
        terms = {
            "pulses": -self.weight_pulses * episode.pulsed,
            "acceptance": self.weight_acceptance * episode.accepted,
            "false_acceptance": -self.weight_false_acceptance * episode.false,
            "failure": -self.weight_failure * (failed * (1.0 + distance)),
        }
        terms["shaping"] = self.weight_shaping * episode.shaping
        if self.weight_energy:
            terms["energy"] = -self.weight_energy * episode.step_energy
        if self.weight_latency:
            terms["latency"] = -self.weight_latency * episode.step_latency
        return terms

    def observe(self, episode: Episode) -> Observation:
        """Observations (cells, history * features) float32, or dictionaries with goals."""
        return self.observations.arranged(self._flat(episode))

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any = None) -> Any:
        """The reward with goal=True, (...) of goals (..., 1), whatever was desired; `info` does not matter."""
        del info
        reached = self.observations.reached(achieved_goal, desired_goal)
        return (self.weight_acceptance * reached - self.weight_pulses).astype(np.float32)  # as rewards of a step are

    def info(self, episode: Episode) -> dict[str, np.ndarray]:
        """Everything that the agent does not see, each (cells,), and the mask of a menu (cells, menu)."""
        return self.info_parts(episode) | self.info_of_observation(self.observations.newest(self._flat(episode)).T)

    def info_of_observation(self, observation_parts: Any) -> dict[str, np.ndarray]:
        """The part of info that follows from what the newest step shows."""
        seen = observation_parts[ERROR], observation_parts[SIGNAL]
        return {"action_mask": self.actions.masks(*seen)} if self.action == "discrete" else {}

    def info_parts(self, episode: Episode) -> dict[str, np.ndarray]:
        """The rest of info, each (cells,); element-wise."""
        own = numbers(episode.chip, "cell/") if self.privileged else {}
        return own | {
            "true_conductance": episode.true_conductance,
            "true_error": episode.true_error,
            "is_success": episode.rounds_left < 0,
            "pulses": episode.pulses,
            "energy": episode.energy,
            "latency": episode.latency,
            "false_acceptances": episode.false_acceptances,
        }

    def masks_of(self, observation: np.ndarray) -> np.ndarray:
        """The masks (cells, menu) bool of observations (cells, history * features), which is all that a policy sees."""
        newest = self.observations.newest(observation)
        return self.actions.masks(newest[:, ERROR], newest[:, SIGNAL])

    def tolerance_of(self, chip: CellModel) -> Any:
        """Tolerance of each cell [range]; of levels the least distance of a target to an end of its band."""
        if self.target_levels:
            return min(level.half for level in self.target_bands)
        return self.tolerance if self.tolerance_unit == "range" else self.tolerance / (chip.g_max - chip.g_min)

    def within(self, chip: CellModel, x: Any, target: Any) -> Any:
        """(cells,) bool: states [range] are in the bands of their targets; element-wise."""
        if not self.target_levels:
            return np.abs(x - target) <= self.tolerance_of(chip)
        return in_band(self.target_bands, x, target)

    def last_pulse(self, episode: Episode) -> tuple[float, float]:
        """Signed amplitude [V] and width [s] of the last pulse on the first cell."""
        amplitude, width = volts(episode.signal[:1], episode.log_width[:1], take(episode.chip, slice(0, 1)).driver)
        return float(amplitude[0]), float(width[0])

    def _potential(self, chip: CellModel, reading: Float, target: Float) -> Float:
        """Minus the observed error's magnitude (cells,) in [0, 1], the potential of `shaping`."""
        distance: Float = np.abs(self.observations.distance(reading - target, self.tolerance_of(chip)))
        return -distance

    @staticmethod
    def _flat(episode: Episode) -> np.ndarray:
        """(cells, history * features) float32."""
        assert episode.history is not None
        flat: np.ndarray = episode.history.reshape(len(episode.history), -1)
        return flat

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _draw_target(self, chip: CellModel, reading: Float, uniform: Float) -> Float:
        """Targets uniform in `target_range` outside CLEARANCE tolerances of the read, from uniforms (cells,).

        With levels any of them but one in whose band the read is.
        """
        if self.target_levels:
            level: Float = drawn_level(self.target_bands, reading, uniform)
            return level
        low, high = self.target_range
        gap = CLEARANCE * self.tolerance_of(chip)
        below = np.clip(reading - gap, low, high)
        above = np.clip(reading + gap, low, high)
        place = low + uniform * (high - low - (above - below))
        target: Float = np.where(place < below, place, place + (above - below))
        return target
