"""The crossbar task: bring an array of unknown cells to a target matrix, cell by cell or in its product."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from memenv.crossbars.converters import CrossbarError
from memenv.crossbars.crossbar import Crossbar, CrossbarState
from memenv.crossbars.memory_budget import check_memory
from memenv.crossbars.operations import Operations
from memenv.devices.protocol import CellModel, DeviceSpec
from memenv.envs import scales
from memenv.envs.crossbar_program.actions import CellActions, LineActions, Maps, as_in_action, encoded
from memenv.envs.crossbar_program.arguments import OF_CROSSBAR, crossbar_of, settled
from memenv.envs.crossbar_program.episode import ArrayEpisode, Float, Seen
from memenv.envs.crossbar_program.observation import ArrayObservation, ArrayView
from memenv.envs.crossbar_program.product import ProductTest
from memenv.envs.pulse_actions import PulseActions
from memenv.envs.task import Draw, NormalDraw, TaskError, UniformDraw


@dataclass(frozen=True, kw_only=True)
class CrossbarProgram:
    """Arrays, target matrices, pulses and reads as a Markov decision process, pure and batched over arrays.

    Raises:
        TaskError: an argument outside its range (the message names it), or arrays that do not fit into the memory.
        DeviceError: an unknown or impossible device.
    """

    device: DeviceSpec = "threshold"  # name, path, record, or a list of those: every cell is drawn from one of them
    rows: int = 8
    cols: int = 8
    scheme: str = "1T1R"  # "1T1R", "V/2" or "V/3"
    writing: str = "cells"  # one after another, or "rows" / "columns": together what shares a pulse
    crossbar: Any = None  # a Crossbar, the whole array (wires, converters, ...), in place of the five above
    objective: str = "cells"  # every cell within the tolerance, or "product": that of the matrix product
    action: str = "cells"  # a pulse for every cell, or "lines": one line, one pulse, enabled cells
    width: float | None = None  # [s] of all pulses, in place of a choice
    tolerance: float = 0.02  # [range]
    max_pulses: int = 50  # that a cell may get; steps of an episode, with action="lines" times the lines
    verify: str = "pulsed"  # cells that are read after a step, or "all", or (objective="product") "none"
    inputs: Any = 16  # of the product: so many random ones in each step, or a matrix (n, rows) [V]
    target_range: tuple[float, float] = (0.1, 0.9)  # [range] in which targets are drawn
    reward_map: bool = False  # what each cell contributes to the reward is in info
    weight_pulses: float = 0.02  # reward for a pulse on every cell: minus this
    weight_acceptance: float = 1.0  # reward when the objective is reached, in shares of the cells
    weight_false_acceptance: float = 1.0  # reward when all cells are accepted by their reads alone: minus this
    weight_failure: float = 1.0  # reward for the end of an episode before: minus this, or up to twice it
    weight_waiting: float = 1.0  # reward for an episode in which nothing is reached, spread over its steps: minus this
    weight_shaping: float = 1.0  # of the potential, minus the logarithmic error that is observed
    weight_energy: float = 0.0  # [1/J] reward for energy: minus this times it
    weight_latency: float = 0.0  # [1/s] reward for time: minus this times it

    siemens, fraction = staticmethod(scales.siemens), staticmethod(scales.fraction)

    def __post_init__(self) -> None:
        object.__setattr__(self, "crossbar", crossbar_of(self))
        self.check_memory(1)
        for name, value in settled(self).items():
            object.__setattr__(self, name, value)

    def check_memory(self, arrays: int) -> None:
        """Refuses more arrays than fit into the memory that is free, before anything is allocated."""
        array = self.array
        try:
            check_memory(array.device, arrays * array.rows * array.cols, array.write_channels)
        except CrossbarError as error:
            raise TaskError(str(error)) from None

    # -- what it consists of -------------------------------------------------------------------------------------------

    @cached_property
    def array(self) -> Crossbar:
        """The nominal array."""
        if isinstance(self.crossbar, Crossbar):
            return self.crossbar
        try:
            return Crossbar(**{name: getattr(self, name) for name in OF_CROSSBAR})
        except CrossbarError as error:
            raise TaskError(str(error)) from None

    @cached_property
    def actions(self) -> CellActions | LineActions:
        """The meaning of actions."""
        array, polarity_only = self.array, self.array.device.polarity_only
        if self.action == "cells":
            return CellActions(shape=array.shape, width=self.width, polarity_only=polarity_only)
        levels = array.levels if self.width is None else (array.levels[0], 1)
        menu = PulseActions(discrete=True, levels=levels, give_up=False, polarity_only=polarity_only)
        lines, across = array.shape[::-1] if array.writing == "columns" else array.shape
        return LineActions(lines=lines, across=across, width=self.width, pulses=menu)

    @cached_property
    def product_test(self) -> ProductTest:
        """The judge of products; used with objective="product"."""
        return ProductTest(array=self.array, inputs=self.inputs)

    @property
    def max_steps(self) -> int:
        """Steps of an episode."""
        return self.max_pulses * (self.actions.lines if isinstance(self.actions, LineActions) else 1)

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Box (rows, cols, 1 or 2), or MultiDiscrete: line, pulse of the menu, enabled cells."""
        return self.actions.space

    @cached_property
    def observations(self) -> ArrayObservation:
        """The layout of observations."""
        bounds = self.product_test.bounds if self.objective == "product" else None
        widths = self.width is None and not self.array.device.polarity_only
        return ArrayObservation(shape=self.array.shape, tolerance=self.tolerance, widths=widths, bounds=bounds)

    @property
    def observation_space(self) -> spaces.Dict:
        """Dict of flat maps (rows * cols,) in C order; see the environment's docstring."""
        return self.observations.space

    def view(self, observation: dict[str, np.ndarray]) -> ArrayView:
        """Observations (arrays, ...) as maps."""
        return self.observations.view(observation)

    # -- the process ---------------------------------------------------------------------------------------------------

    @property
    def of_one_step(self) -> tuple[str, ...]:
        """Fields of an episode that no later step needs."""
        return ("terms",)

    @property
    def not_compiled(self) -> str:
        """The setting that the compiled engine does not run, if any."""
        for name in ("objective", "action"):
            if getattr(self, name) != "cells":
                return f"{name}={getattr(self, name)!r}"
        return self.array.not_compiled or (f"correlation={self.array.correlation}" if self.array.correlation else "")

    @cached_property
    def initial_draws(self) -> tuple[Draw, ...]:
        """Noise of a start: start and target, resting cells, the first reads, the first product."""
        cells = self.array.shape
        resting = NormalDraw((2,), cells)
        return (UniformDraw((2,), cells), resting, *self._verify_draws)

    @cached_property
    def step_draws(self) -> tuple[Draw, ...]:
        """Noise of one step: writing, reads, product."""
        return (NormalDraw((self.array.write_channels,), self.array.shape), *self._verify_draws)

    @cached_property
    def _verify_draws(self) -> tuple[Draw, ...]:
        reads = NormalDraw((self.array.device.read_channels,), self.array.shape)
        return (reads, *self.product_test.draws) if self.objective == "product" else (reads,)

    def fabricate(self, rng: Any, arrays: int) -> CellModel:
        """A chip: one array of unknown cells for each environment."""
        return self.array.fabricate(rng, (arrays,))

    def initial(self, chip: CellModel, noise: tuple[np.ndarray, ...], options: dict[str, Any]) -> ArrayEpisode:
        """Fresh episodes on a chip; states uniform in each cell's own range, targets uniform in `target_range`.

        Args:
            chip: of arrays (arrays, rows, cols).
            noise: as `initial_draws` says.
            options: start, target: conductances (arrays, rows, cols) [S] instead of random ones.
        """
        uniform, cell_noise, *verify_noise = noise
        low, high = self.target_range
        start, target = chip.x_lo + (chip.x_hi - chip.x_lo) * uniform[0], low + (high - low) * uniform[1]
        if options.get("start") is not None:
            start = np.clip(
                scales.given_state(self.array.device, chip, "start", options["start"]), chip.x_lo, chip.x_hi
            )
        if options.get("target") is not None:
            target = scales.given_state(self.array.device, chip, "target", options["target"])
        fresh = self.array.fresh(chip, start, cell_noise)
        state, seen = self._look(fresh, target, None, start, verify_noise)
        none = np.zeros_like(target)
        terms = dict.fromkeys(self.weights, none)
        return ArrayEpisode(fresh._replace(cell=state.cell), target, seen, none, none, fresh.latency, terms)

    begin = initial  # all of it is element-wise

    def transition(self, episode: ArrayEpisode, action: np.ndarray, noise: tuple[np.ndarray, ...]) -> ArrayEpisode:
        """One step of writing and what verifies it; noise as `step_draws` says."""
        return self._after(episode, self.actions.operations(action, *self._writable(episode)), noise)

    def advance(
        self, episode: ArrayEpisode, decoded_action: tuple[Any, Any, Any], noise: Sequence[Any]
    ) -> ArrayEpisode:
        """`transition` of what `CellActions.decoded` says; also on symbolic values."""
        assert isinstance(self.actions, CellActions)
        operations = self.actions.planned(decoded_action, *self._writable(episode))
        as_asked = self.array.writing == "cells" and self.actions.channels == 2
        return self._after(episode, operations, noise, as_in_action(*decoded_action[:2]) if as_asked else None)

    def _writable(self, episode: ArrayEpisode) -> tuple[Crossbar, Any, Maps]:
        """The array, its chip, and the cells that may get a pulse."""
        return self.array, episode.state.chip, self._open(episode)

    def _after(
        self, episode: ArrayEpisode, operations: Operations, noise: Sequence[Any], pulse: Any = None
    ) -> ArrayEpisode:
        """The episodes after these operations, whose pulse is shown as `pulse` (signal, log-width) if it is given."""
        state = self.array.write(episode.state, operations, noise[0])
        asked = None if self.verify == "all" else operations.width > 0
        state, seen = self._look(state, episode.target, asked, episode.seen.reading, noise[1:])
        signal, log_width = pulse or encoded(operations.amplitude, operations.width, state.chip.driver)
        pulsed = operations.width > 0
        following = episode._replace(
            state=state,
            seen=seen,
            signal=np.where(pulsed, signal, episode.signal),
            log_width=np.where(pulsed, log_width, episode.log_width),
            steps=episode.steps + 1,
        )
        return following._replace(terms=self._terms(episode, following))

    def _look(
        self, state: CrossbarState, target: Maps, asked: Maps | None, last: Maps, noise: Sequence[Any]
    ) -> tuple[CrossbarState, Seen]:
        """Reads of the cells that are asked (None: all), of others the last, and the product if it is the objective."""
        chip = state.chip
        if asked is None or self.verify != "none":  # not where none is asked: environments must not depend on others
            read, state = self.array.sense(state, noise[0], asked)
            read = self.fraction(chip, read)
            last = read if asked is None else np.where(asked, read, last)
        within, true = np.abs(last - target) <= self.tolerance, self.array.conductance(state)
        false = within & (np.abs(self.fraction(chip, true) - target) > self.tolerance)
        seen = Seen(last, within, true, false)
        if self.objective == "product":
            state, product = self.product_test.run(state, self.siemens(chip, target), tuple(noise[1:]))
            seen = seen._replace(product=product)
        return state, seen

    @cached_property
    def weights(self) -> dict[str, float]:
        """Of the reward's terms, by name."""
        names = ["pulses", "acceptance", "failure", "waiting", "shaping"]
        if self.objective == "cells":
            names.insert(2, "false_acceptance")
        names += [name for name in ("energy", "latency") if getattr(self, f"weight_{name}")]
        return {name: getattr(self, f"weight_{name}") for name in names}

    def _terms(self, before: ArrayEpisode, after: ArrayEpisode) -> dict[str, Maps]:
        """The reward's terms of a step, maps (arrays, rows, cols) whose means over the cells they are."""
        old, new, over = before.state, after.state, self.terminated(after)[..., None, None]
        (had, was), (has, distance) = self._progress(before), self._progress(after)
        costs = {
            "pulses": new.pulses - old.pulses,
            "acceptance": had * 1.0 - has * 1.0,
            "false_acceptance": after.seen.false * 1.0 - before.seen.false * 1.0,
            "failure": over * (1.0 + distance) * ~has,
            "waiting": ~has * (1.0 / self.max_steps),
            "shaping": np.where(over, 0.0, distance) - was,
            "energy": (new.energy - old.energy) * float(self.array.rows * self.array.cols),
            "latency": (new.latency - old.latency)[..., None, None],
        }
        maps = np.zeros_like(new.pulses)
        return {name: maps - weight * costs[name] for name, weight in self.weights.items()}

    def _progress(self, episode: ArrayEpisode) -> tuple[Any, Any]:
        """Cells (or products) within the tolerance, bool, and their distance from it in [0, 1], logarithmic."""
        seen = episode.seen
        if seen.product is None:
            within, error = seen.within, self.observations.scaled_error("error", seen.reading - episode.target)
        else:
            total = seen.product.total[..., None, None]
            within, error = total <= self.tolerance, self.observations.scaled_error("product_error", total)
        return within, np.where(within, 0.0, np.abs(error))

    @property
    def devices(self) -> Sequence[CellModel]:
        """Those of which cells are drawn; empty where all are of one."""
        return self.array.device.devices

    def chip_of(self, episode: ArrayEpisode) -> CellModel:
        """The chip of episodes."""
        return episode.state.chip

    def with_chip(self, episode: ArrayEpisode, chip: CellModel) -> ArrayEpisode:
        """The episodes with another chip."""
        return episode._replace(state=episode.state._replace(chip=chip))

    def terminated(self, episode: ArrayEpisode) -> np.ndarray:
        """(arrays,) bool: the objective is reached, no cell is open any more, or the steps are spent; never at once."""
        over = self._reached(episode) | ~self._open(episode).any((1, 2)) | (episode.steps >= self.max_steps)
        ended: np.ndarray = over & (episode.steps > 0)
        return ended

    def reward(self, episode: ArrayEpisode) -> dict[str, Float]:
        """The named reward terms of the last step, each (arrays,); their sum is the reward."""
        return {name: term.mean((1, 2)) for name, term in episode.terms.items()}

    def observe(self, episode: ArrayEpisode) -> dict[str, np.ndarray]:
        """Observations, flat maps (arrays, rows * cols) float32 (masks int8)."""
        return self.observations.observed(self.observation_parts(episode))

    def observation_parts(self, episode: ArrayEpisode) -> dict[str, Maps]:
        """The parts of the observation, maps (arrays, rows, cols) and numbers (arrays,)."""
        seen = episode.seen
        return self.observations.parts(
            seen.reading,
            episode.target,
            seen.within,
            self._open(episode),
            (episode.signal, episode.log_width),
            episode.state.pulses / self.max_pulses,
            1.0 - episode.steps / self.max_steps,
            seen.product,
        )

    def info(self, episode: ArrayEpisode) -> dict[str, np.ndarray]:
        """Everything that the agent does not see, and masks of lines, arrays (arrays, ...)."""
        return self.info_parts(episode) | self.info_of_observation({"open": self._open(episode)})

    def info_of_observation(self, observation_parts: dict[str, Maps]) -> dict[str, np.ndarray]:
        """The part of info that follows from the parts of the observation."""
        if not isinstance(self.actions, LineActions):
            return {}
        opened = observation_parts["open"]
        return {"action_mask": self.actions.masks(opened.swapaxes(1, 2) if self.array.writing == "columns" else opened)}

    def info_parts(self, episode: ArrayEpisode) -> dict[str, np.ndarray]:
        """The rest of info, arrays (arrays, ...)."""
        seen, state = episode.seen, episode.state
        error = self.fraction(state.chip, seen.true) - episode.target
        info = {
            "true_conductance": seen.true,
            "true_error": np.sqrt((error**2).mean((1, 2))),
            "is_success": self._reached(episode),
            "accepted": seen.within.mean((1, 2)),
            "false_acceptances": seen.false.mean((1, 2)),
            "pulses": state.pulses.sum((1, 2)),
            "energy": state.energy.sum((1, 2)),
            "latency": state.latency,
        }
        if self.reward_map:
            info["reward_map"] = sum(episode.terms.values())
        if seen.product is not None:
            info["product_error"] = seen.product.total
        return info

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _open(self, episode: ArrayEpisode) -> Maps:
        """Cells that may be pulsed and, where cells are the objective, need to be."""
        left = episode.state.pulses < self.max_pulses
        found: Maps = left if self.objective == "product" else left & ~episode.seen.within
        return found

    def _reached(self, episode: ArrayEpisode) -> Any:
        seen = episode.seen
        return seen.within.all((1, 2)) if seen.product is None else seen.product.total <= self.tolerance
