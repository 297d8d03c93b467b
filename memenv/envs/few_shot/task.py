"""The few-shot task: teach a network on an unknown chip new classes from a few examples, with few pulses."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from gymnasium import spaces

from memenv.arrays import put, take
from memenv.bounds import MANY, flag, is_word, real, whole
from memenv.crossbars.memory_budget import check_room, memory_needed
from memenv.devices.catalogue import Loaded
from memenv.devices.protocol import learning
from memenv.engine import EngineError, load_engine
from memenv.envs.few_shot.actions import Float, LearningActions, of_the_worst
from memenv.envs.few_shot.chips import Chips
from memenv.envs.few_shot.episode import OF_LAYERS, Chip, LearningEpisode, Seen, Step, Stream
from memenv.envs.few_shot.observation import LearningObservation, LearningView
from memenv.envs.few_shot.programs import MOST_STEPS, STEP_BITS, uniforms
from memenv.envs.noise import CellNoise
from memenv.envs.task import Draw, OwnDraw, TaskError, check, weights_of
from memenv.few_shot import bank
from memenv.few_shot.characters import Characters
from memenv.few_shot.chips import MOST_DEVICES, Hardware, total
from memenv.few_shot.initialisations import Initialisation
from memenv.learning.backprop import cross_entropy

DEVICES = ("alox-hfo2", "hfo2-array-om", "crosssim-sandia", "threshold")  # a pulse changes from 0.5 to 70 % of the way
KIND, CLASSES, DRAWINGS = 8000, 8001, 8002  # of uniform numbers; three for each layer lie below
TOLERANCE = 0.02  # [range] class means are written to it, or more coarsely
FURTHER = 1000  # lanes between those of a step's looks at one task and at the next
MOST_INTERVAL = 1e12  # [s]
OF_HARDWARE = ("devices_per_weight", "pulsed", "max_pulses", "reads", "know_stuck")


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Chips that learn new classes as a Markov decision process, pure and batched over tasks; each has its own chip.

    Raises:
        TaskError: an argument outside its range (the message names it).
        DeviceError: an unknown or impossible device.
        ValueError: an unknown initialisation, or one that is missing or damaged.
    """

    device: Loaded = Loaded(DEVICES)  # name, path, record, or a list of those: each chip is of one of them
    init: str = "device-aware"  # "maml", "random" or the path of a .npz that memenv pretrain wrote
    network: str = "conv"  # a fixed encoder and a head that learns, or "mlp": all layers learn; of a path what it holds
    split: str = "train"  # glyphs to train agents on, or "test": others, to judge them
    characters: Any = None  # Characters in place of the glyphs
    ways: int = 10  # classes of a task
    shots: int = 1  # examples of a class to learn from
    queries: int = 15  # examples of a class to be judged by
    max_steps: int = 5  # of a task
    stream: int = 1  # tasks of an episode, one after the other on the same chip
    interval: float = 0.0  # [s] without a pulse between two tasks
    devices_per_weight: int = 1  # plus devices of a weight, and as many minus devices
    pulsed: str = "both"  # devices that learn: "both", "set", "reset" or "plus"
    max_pulses: int = 10  # at most per device and step
    reads: int = 4  # averaged in each product
    know_stuck: bool = True  # whether a test has found the cells that do not move
    engine: str = "auto"  # "numpy", "numba"; or compiled where numba is installed and takes the device
    weight_accuracy: float = 1.0  # reward for queries that are right: this times the gain of their share
    weight_pulses: float = 0.02  # reward for a pulse on every device: minus this
    weight_energy: float = 0.0  # [1/J] reward for energy: minus this times it

    def __post_init__(self) -> None:
        learning(self.device)
        for name, words in (("split", bank.SPLITS), ("network", bank.NETWORKS)):
            check(self, name, is_word(getattr(self, name), words), " or ".join(f'"{word}"' for word in words))
        good = self.characters is None or isinstance(self.characters, Characters)
        check(self, "characters", good, "None or memenv.few_shot.characters.Characters")
        check(self, "init", isinstance(self.init, str), "a name, or a path")
        for name in ("ways", "shots", "queries", "max_steps", "stream", "max_pulses", "reads", "devices_per_weight"):
            most = {"devices_per_weight": MOST_DEVICES, "max_steps": MOST_STEPS}.get(name, MANY)
            number = whole(name, getattr(self, name), 2 if name == "ways" else 1, most, TaskError)
            object.__setattr__(self, name, number)
        check(self, "stream", self.episode_steps <= MOST_STEPS, f"at most {MOST_STEPS:,} / max_steps")
        object.__setattr__(self, "interval", real("interval", self.interval, 0, MOST_INTERVAL, TaskError))
        object.__setattr__(self, "know_stuck", flag("know_stuck", self.know_stuck, TaskError))
        for name, weight in weights_of(self).items():
            object.__setattr__(self, name, weight)
        check(self, "init", bool(self.start.rates.any()), "one with rates to learn by: pretrain it with --inner-steps")
        self._engine()
        classes, instances = self._shape
        check(self, "ways", self.ways <= classes, f"at most the {classes} classes that there are")
        room = self.shots + self.queries <= instances
        check(self, "queries", room, f"with the shots at most the {instances} drawings of a class")
        try:
            self.hardware.adaptation((1.0,))
        except (ValueError, TypeError) as error:
            raise TaskError(str(error)) from None
        self.check_memory(1)

    def check_memory(self, tasks: int) -> None:
        """Refuses more chips than fit into the memory that is free, before anything is allocated."""
        needed = memory_needed(self.device, tasks * self.cells, self.device.pulse_channels)
        what, advice = f"{tasks:,} chips of {self.cells:,} cells", "take fewer at a time, or fewer devices"
        check_room(needed, what, advice, TaskError)

    # -- what it consists of -------------------------------------------------------------------------------------------

    @cached_property
    def start(self) -> Initialisation:
        """The network before it has seen a task."""
        return bank.initialisation(self.init, self.network)

    @cached_property
    def hardware(self) -> Hardware:
        """The chips and the circuits around them."""
        return Hardware(device=self.device, **{name: getattr(self, name) for name in OF_HARDWARE})

    def sized(self, tasks: int) -> Self:
        """The same task with the engine that so many at a time are worth."""
        return replace(self, engine=self._engine(tasks * self.cells))

    def _engine(self, cells: int | None = None) -> str:
        """The engine of chips, of so many cells at a time (None: many); the same episodes, to single precision.

        Raises:
            TaskError: an unknown engine, or numba where it is not installed or cannot compile the device.
        """
        try:
            name = load_engine(self.engine, cells=cells).name
        except EngineError as error:
            raise TaskError(str(error)) from None
        if name == "numpy" or not self.device.not_compiled:
            return name
        if self.engine == "numba":
            raise TaskError(f'engine "numba" does not compile {self.device.name!r}: choose "numpy" or "auto"')
        return "numpy"

    @cached_property
    def drawings(self) -> Characters:
        """The characters of which tasks are made."""
        return bank.glyph_split(self.split) if self.characters is None else self.characters

    @cached_property
    def features(self) -> np.ndarray:
        """(classes, instances, features) float32 that the network's front makes of them."""
        if self.characters is None:
            return bank.features(self.init, self.network, self.split)
        return self.start.front(self.characters.images)

    @property
    def episode_steps(self) -> int:
        """The most steps of an episode."""
        return self.max_steps * self.stream

    @property
    def _shape(self) -> tuple[int, int]:
        """Classes and drawings of each."""
        return self.drawings.images.shape[:2]

    @cached_property
    def weights(self) -> tuple[np.ndarray, ...]:
        """(rows, outputs) of every layer."""
        return self.start.weights(self.ways)

    @cached_property
    def base_rates(self) -> np.ndarray:
        """(layers,) of gain one: the means over the initialisation's own steps."""
        rates: np.ndarray = self.start.rates.mean(0)
        return rates

    @cached_property
    def cells(self) -> int:
        """Devices of the adapting layers on a chip."""
        return 2 * self.devices_per_weight * sum(w.size for w in self.weights)

    @cached_property
    def targets(self) -> np.ndarray:
        """(support, ways) one-hot; supports have their classes in turn, and so have queries."""
        return np.tile(np.eye(self.ways), (self.shots, 1))

    @cached_property
    def actions(self) -> LearningActions:
        """The meaning of actions."""
        return LearningActions(layers=len(self.weights))

    @property
    def action_space(self) -> spaces.Box:
        """Box (layers + 4,) float32 in [-1, 1]."""
        return self.actions.space

    @cached_property
    def observations(self) -> LearningObservation:
        """The layout of observations."""
        return LearningObservation(layers=len(self.weights))

    @property
    def observation_space(self) -> spaces.Box:
        """Box (7 + 4 layers,) float32; see the environment's docstring."""
        return self.observations.space

    def view(self, observation: np.ndarray) -> LearningView:
        """Observations (tasks, 7 + 4 layers) in plain units."""
        return self.observations.view(observation)

    def encode(
        self, gain: np.ndarray, threshold: Any = 0.0, share: Any = 1.0, stop: Any = False, means: Any = False
    ) -> np.ndarray:
        """Actions (tasks, layers + 4) of gains (tasks, layers) and of what else is chosen; see `LearningActions`."""
        return self.actions.encode(gain, threshold, share, stop, means)

    # -- the process ---------------------------------------------------------------------------------------------------

    @property
    def initial_draws(self) -> tuple[Draw, ...]:
        """Noise of a start: what `memenv.envs.few_shot.chips` draws from it."""
        return (OwnDraw(),)

    @property
    def step_draws(self) -> tuple[Draw, ...]:
        """Noise of a step, likewise."""
        return (OwnDraw(),)

    @cached_property
    def chips(self) -> Chips:
        """Everything that is done to chips."""
        return Chips(
            self.hardware, (self.start.features, *(w.shape[1] for w in self.weights)), self._engine() == "numba"
        )

    def fabricate(self, rng: Any, tasks: int) -> Chip:
        """A fresh chip for each task; of several devices all cells of a chip are of the same."""
        if isinstance(rng, np.random.Generator):
            key, other_key = rng.integers(2**32, size=(2, tasks, 1), dtype=np.uint32)
            noise = CellNoise(key, other_key, np.zeros(tasks, np.uint32))
        else:
            noise = rng.noise.noise
        kinds, count = None, len(self.device.devices)
        if count:
            kinds = (uniforms(noise, KIND, 1)[:, 0] * count).astype(np.uint32)
        return Chip(self.chips.fabricate(noise, kinds), kinds)

    def initial(self, chip: Chip, noise: tuple[Any, ...], options: dict[str, Any]) -> LearningEpisode:
        """Fresh episodes on chips, with the network's weights written to them.

        Raises:
            TaskError: the options start and target, which other tasks have.
        """
        for name in ("start", "target"):
            if options.get(name) is not None:
                raise TaskError(f"reset option {name} is for the programming of cells; known here is chip_seed")
        (now,) = noise
        tasks, (kind, instance) = len(now.step), self._drawn(now)
        written = self.chips.write(chip.cells, chip.kinds, self.weights, self.start.ranges.tolist(), now)
        seen, count = self._look(written, self._examples(kind, instance), now), (tasks, len(written))
        zero, never = np.zeros(tasks), np.zeros(tasks, bool)
        last = Step(zero, zero, zero, zero, np.zeros(count), never, np.zeros((tasks, len(OF_LAYERS), count[1])))
        stream = Stream(np.zeros(tasks, int), kind, instance, zero, zero)
        return LearningEpisode(written, kind, instance, seen, zero, never, zero, zero, last, stream)

    def _drawn(self, now: CellNoise) -> tuple[np.ndarray, np.ndarray]:
        """Classes (tasks, ways) of new tasks, and drawings of them (tasks, ways, shots + queries)."""
        classes, instances = self._shape
        kind = uniforms(now, CLASSES, classes).argsort(-1)[:, : self.ways]
        instance = uniforms(now, DRAWINGS, self.ways * instances).reshape(-1, self.ways, instances)
        return kind, instance.argsort(-1)[..., : self.shots + self.queries]

    def transition(self, episode: LearningEpisode, action: np.ndarray, noise: tuple[Any, ...]) -> LearningEpisode:
        """One step of learning, or the decision to stop; a chip whose episode has ended learns no more."""
        (now,), choice = noise, self.actions.decoded(action)
        examples = self._examples(episode.kind, episode.instance)
        support, targets = examples[:, : len(self.targets)], np.tile(self.targets, (len(action), 1, 1))
        goes_on = ~(choice.stop | self.terminated(episode))
        gain = choice.gain * goes_on[:, None]
        rates = self.base_rates * gain * ~choice.means[:, None]
        size = self.start.means_gain * gain[:, -1] * choice.means
        tolerance = np.maximum(choice.threshold * size, TOLERANCE * self.start.ranges[-1])
        config = replace(
            self.hardware.adaptation([column[:, None, None] for column in rates.T]),
            threshold=choice.threshold[:, None, None, None],
            loss=of_the_worst(choice.share),
        )
        step = self.chips.step(episode.written, support, targets, now, config)
        step = self.chips.with_means(step, episode.written, support, targets, now, size, tolerance)
        seen = self._look(step.layers, examples, now)
        pulses, energy = total(step.counters, "pulses") / self.cells, total(step.counters, "energy")
        energy = energy + total(step.counters, "read_energy") * goes_on
        counted = [np.stack([getattr(one, name) for one in step.counters], -1) for name in OF_LAYERS]
        last = Step(
            fall=episode.seen.loss - seen.loss,
            accuracy=seen.accuracy - episode.seen.accuracy,
            pulses=pulses,
            energy=energy,
            signal=self.encode(gain)[:, : gain.shape[1]].astype(np.float64),
            means=size > 0,
            layers=np.stack(counted, 1),
        )
        episode = episode._replace(
            written=step.layers,
            seen=seen,
            steps=episode.steps + 1,
            stopped=choice.stop | episode.stopped,
            pulses=episode.pulses + pulses,
            energy=episode.energy + energy,
            last=last,
        )
        rows = np.flatnonzero(self.terminated(episode) & (episode.stream.number < self.stream - 1))
        return put(episode, rows, self._next_task(*take((episode, now), rows))) if len(rows) else episode

    def _next_task(self, episode: LearningEpisode, now: CellNoise) -> LearningEpisode:
        """The episodes with the next task of the stream, on chips as the last one has left them."""
        (kind, instance), (number, *before, _, _) = self._drawn(now), episode.stream
        later = [now._replace(step=now.step + np.uint32(k * FURTHER << STEP_BITS)) for k in (1, 2)]
        kept = self._look(episode.written, self._examples(*before), later[0]).accuracy
        written = self.chips.rested(episode.written, self.interval, now) if self.interval else episode.written
        return episode._replace(
            written=written,
            kind=kind,
            instance=instance,
            seen=self._look(written, self._examples(kind, instance), later[1]),
            steps=np.zeros_like(episode.steps),
            stopped=np.zeros_like(episode.stopped),
            stream=Stream(number + 1, episode.kind, episode.instance, episode.seen.accuracy, kept * (number > 0)),
        )

    def _examples(self, kind: np.ndarray, instance: np.ndarray) -> np.ndarray:
        """Features and a one (tasks, examples, features + 1) of the support, then of the queries, classes in turn."""
        place = kind[:, None] * self._shape[1] + instance.swapaxes(1, 2)
        drawn: np.ndarray = self._table.take(place.reshape(len(kind), -1), 0)
        return drawn

    @cached_property
    def _table(self) -> np.ndarray:
        """(classes times instances, features + 1) float32."""
        flat = self.features.reshape(-1, self.features.shape[-1])
        return np.column_stack((flat, np.ones_like(flat[:, :1])))

    def _look(self, written: Any, examples: np.ndarray, now: CellNoise) -> Seen:
        """A read of the support, which is what the learner sees, and one of the queries."""
        outputs = self.chips.outputs(written, examples, now)
        support, asked = np.split(outputs, [len(self.targets)], 1)
        loss, _ = cross_entropy(support[:, :, None], self.targets[:, None])
        answers = asked.argmax(-1)
        label = np.arange(self.ways)
        return Seen(
            loss=loss.mean(-1),
            worst=loss.max(-1),
            support=(support.argmax(-1) == np.tile(label, self.shots)).mean(-1),
            accuracy=(answers == np.tile(label, self.queries)).mean(-1),
            answers=answers,
        )

    def terminated(self, episode: LearningEpisode) -> np.ndarray:
        """(tasks,) bool: the agent stopped, or the steps are spent."""
        return episode.stopped | (episode.steps >= self.max_steps)

    def reward(self, episode: LearningEpisode) -> dict[str, Float]:
        """The named reward terms of the last step, each (tasks,); their sum is the reward."""
        last = episode.last
        terms = {"accuracy": self.weight_accuracy * last.accuracy, "pulses": -self.weight_pulses * last.pulses}
        if self.weight_energy:
            terms["energy"] = -self.weight_energy * last.energy
        return terms

    def observe(self, episode: LearningEpisode) -> np.ndarray:
        """Observations (tasks, 7 + 4 layers) float32."""
        seen, last, unit = episode.seen, episode.last, np.log(self.ways)
        view = LearningView(
            budget=1.0 - episode.steps / self.max_steps,
            loss=seen.loss / unit,
            fall=last.fall / unit,
            support=seen.support,
            worst=seen.worst / unit,
            pulses=episode.pulses,
            last_pulses=last.pulses,
            signal=last.signal,
            **dict(zip(OF_LAYERS, last.layers.swapaxes(0, 1), strict=True)),
        )
        return self.observations.observed(view)

    def info(self, episode: LearningEpisode) -> dict[str, np.ndarray]:
        """Everything that the agent does not see, arrays (tasks,)."""
        told = {
            "accuracy": episode.seen.accuracy,
            "support_loss": episode.seen.loss,
            "pulses": episode.pulses,
            "energy": episode.energy,
        }
        if self.stream > 1:
            told |= {name: getattr(episode.stream, name) for name in ("number", "newest", "kept")}
        return told
