"""`memenv pretrain`: meta-train a network so that a few examples teach it new classes, on a chip too; resumable."""

import io
import json
import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from memenv.archives import FLOATS, WHOLE, Entry, check_arrays, check_card
from memenv.bounds import MANY, MOST, MOST_SEED
from memenv.crossbars.memory_budget import check_room
from memenv.devices.catalogue import load_device
from memenv.engine import check_threads
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import csv_text, mean_and_half_width
from memenv.experiments.runs import RECORD, Curve, Run, RunOptions, begun, command_line
from memenv.few_shot.bank import NETWORKS
from memenv.few_shot.characters import Characters
from memenv.few_shot.chips import Hardware
from memenv.few_shot.episodes import draw
from memenv.few_shot.initialisations import HEAD_RATE, Initialisation, load_initialisation, rotations
from memenv.files import named, regular_file, write_whole
from metalearn.chip_options import ChipOptions
from metalearn.datasets import SOURCES, load
from metalearn.evaluation import TUNING, evaluate
from metalearn.models import Encoder, Network, Pixels, random_move
from metalearn.omniglot import SPLITS
from metalearn.outer import METHODS, PROTO, InnerLoop, outer_loss
from metalearn.tasks import classification

CONVENTIONAL = "conventional"
VALIDATION = 50  # training classes set aside, on which progress is judged ...
JUDGED = 300  # ... by so many 5-way episodes ...
QUERIES = 15  # ... with at most so many queries a class
WARM_UP = 100  # steps in which the learning rate rises
PIXELS = 28 * 28
CLIP = 1.0  # largest norm of the outer gradient
CONTINUABLE = ("threads", "evaluations")  # options that a resumed run may change
CHECKPOINT = "checkpoint.pt"
FILES = (CHECKPOINT, "initialisation.npz", "eval.csv")
PACKAGES = ("memenv", "numpy", "torch")
COLUMNS = ("steps", "seconds", "loss", "training_accuracy", "accuracy", "half_width", "pulses")  # of eval.csv
ROW = {name: Entry((), (*FLOATS, *WHOLE)) for name in COLUMNS}


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(ChipOptions, RunOptions):
    """Pretrain a network such that a few examples teach it new classes: ideally, or learning by pulses on chips.

    Example: memenv pretrain --data glyphs --steps 100 --out my-init
    """

    data: str = option("omniglot", help="to learn from; odours: of simulated sensors", choices=SOURCES)
    split: str = option("random", help="of Omniglot's characters", choices=SPLITS)
    network: str = option(
        "", help="conv: encoder and a head; mlp: every layer on the chip [that of --init, else conv]", choices=NETWORKS
    )
    hidden: tuple[int, ...] = option((128, 64), bounds=(1, 100_000), help="mlp: outputs of its layers before the head")
    pooled: bool = option(False, help="conv: 64 features, the channels' means, instead of 256")
    init: str = option("", help="begin with this initialisation: its name or .npz")
    method: str = option("maml", help="how the outer loop learns", choices=(*METHODS, CONVENTIONAL))
    train: str = option(
        "all", help="rates: only those, and ranges, of --init or of a random network", choices=("all", "rates")
    )
    device: tuple[str, ...] = option(
        (), help="learn by pulses on fresh chips, in each step of one of these devices; without it ideally"
    )
    tolerance: float = option(
        0.0, bounds=(0.0, 0.5), help="to which weights are written by pulses [of their range; slower]; 0: as if so"
    )
    rest: float = option(
        0.0, bounds=(0.0, 1e12), help="drift between learning and use, up to so long and as often of each decade [s]"
    )
    steps: int = option(20000, bounds=(1, MOST), help="outer steps")
    tasks: int = option(0, bounds=(0, 100_000), help="in an outer step [conv 1, else 32]")
    ways: int = option(
        0, bounds=(0, 10_000), help="classes of a task [conv 60, which makes better features than fewer; else 5]"
    )
    shots: int = option(1, bounds=(1, 10_000), help="support examples of a class")
    queries: int = option(5, bounds=(1, 10_000), help="query examples of a class")
    inner_steps: int = option(
        0, bounds=(0, 10_000), help="steps of learning from the support [proto none, conv 1, else 5]"
    )
    augment: float = option(1.0, bounds=(0.0, 1e3), help="strength of random moves of training images")
    learning_rate: float = option(2e-3, bounds=(1e-300, 1e6), help="of Adam; falls to zero along a cosine")
    rates_learning_rate: float = option(5e-2, bounds=(1e-300, 1e6), help="the same for logarithms of rates and ranges")
    float32: bool = option(False, help="convolutions in float32 even where the CPU multiplies in bfloat16")
    seed: int = option(0, bounds=(0, MOST_SEED), help="of weights, tasks, chips and noise")
    evaluations: int = option(40, bounds=(1, MANY), help="how often the network is judged and a checkpoint written")
    threads: int = option(1, help="of torch")
    out: Path = option(Path("pretrained"), help="folder of initialisation.npz, checkpoint.pt, eval.csv, run.json")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(PretrainConfig, arguments, "memenv pretrain")
    row = pretrain(config, command_line("memenv pretrain", arguments))
    print(f"{row['accuracy']:.2%} on classes set aside, after {row['steps']:.0f} steps")
    print(f"in {config.out}: initialisation.npz, eval.csv, {RECORD}")


def pretrain(config: PretrainConfig, command: str = "") -> dict[str, float]:
    """Run, or continue, a pretraining and write its files into `config.out`; the last row of eval.csv.

    Raises:
        ValueError: unusable options or data, a folder that already holds a run, nothing to resume, or divergence, which
            leaves the last checkpoint as it was.
    """
    config = completed(config)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    place, fixed = config.out / RECORD, {"packages": PACKAGES, "files": FILES, "continuable": CONTINUABLE}
    with begun(place, config, command=command, checkpoint=CHECKPOINT, **fixed) as run:
        if not run.again:
            run.write({}, last=_learn(config, run), complete=True)
        return run.record["last"]


def _learn(config: PretrainConfig, run: Run) -> dict[str, float]:
    """Train from the beginning or the last checkpoint to the end; the last row of eval.csv."""
    characters = load(config.data, config.split).train
    order = np.arange(len(characters))
    data, aside = (characters.select(part) for part in (order[:-VALIDATION], order[-VALIDATION:]))
    learner = Learner(config, data)
    judge = Judge(config, learner, aside, run.record)
    if run.resumed:
        judge.resume()
    curve = judge.curve
    with tqdm(total=config.steps, initial=curve.done, unit="step", disable=None, file=sys.stderr) as bar:
        bar.set_description(f"{config.method} on {', '.join(config.device) or 'ideal weights'}")
        for step in range(curve.done, config.steps):
            share = step / config.steps
            loss, accuracy = learner.step(step, min((step + 1) / WARM_UP, 1.0) * 0.5 * (1 + math.cos(math.pi * share)))
            if not math.isfinite(loss):
                raise ValueError(
                    f"the loss is {loss} in step {step}: lower --learning-rate; "
                    f"{config.out} keeps what was there after {curve.done} steps"
                )
            judge.note(loss, accuracy)
            bar.update()
            if (step + 1) % max(config.steps // config.evaluations, 1) == 0 or step + 1 == config.steps:
                row = judge(step + 1)
                bar.set_postfix_str(f"loss {row['loss']:.3f}, accuracy {row['accuracy']:.2%}")
    return curve.rows[-1]


def completed(config: PretrainConfig) -> PretrainConfig:
    """The configuration with the usual numbers where none were given, and what the initialisation fixes.

    Raises:
        ValueError: options that exclude each other or are out of range.
    """
    init = load_initialisation(config.init) if config.init else None
    if init is not None:
        network, hidden = "conv" if init.blocks else "mlp", tuple(w.shape[1] for w in init.hidden)
        if config.network not in ("", network):
            raise ValueError(f"network is {config.network!r}, but {config.init} holds one of the kind {network!r}")
        config = replace(config, network=network, hidden=hidden, pooled=init.pooled)
    elif config.network != "mlp":
        config = replace(config, network="conv", hidden=())
    plain = config.network == "conv" and not config.device and config.train == "all"
    usual = {
        "tasks": 1 if plain else 32,
        "ways": 60 if plain else 5,
        "inner_steps": 0 if config.method == PROTO else 1 if plain else 5,
    }
    check_threads(config.threads)
    given: dict[str, Any] = {name: getattr(config, name) or number for name, number in usual.items()}
    config = replace(config, **given)
    if config.train == "rates" and config.method in ("reptile", CONVENTIONAL):
        raise ValueError(f"--train rates needs a method that learns rates, {config.method} does not")
    if config.method == "reptile" and config.network == "conv":
        raise ValueError("--method reptile needs layers before the head that adapt: --network mlp")
    if config.method == CONVENTIONAL and config.device:
        raise ValueError(f"--method {CONVENTIONAL} has no inner loop that a device could learn in")
    if config.rest and not config.device:
        raise ValueError("--rest needs a --device that drifts")
    _check_memory(config)
    return config


def _check_memory(config: PretrainConfig) -> None:
    """Refuses networks and tasks that do not fit: weights, their gradient and Adam's two moments; a task's own; images.

    Raises:
        ValueError: with what is needed and what is free.
    """
    weights = sum(a * b for a, b in pairwise((PIXELS, *config.hidden, config.ways)))
    images = config.tasks * config.ways * (config.shots + config.queries) * PIXELS
    what = f"{weights:,} weights and {config.tasks:,} tasks of {config.ways:,} ways"
    check_room(4 * (weights * (4 + config.tasks) + images), what, "take smaller --hidden, or fewer --tasks or --ways")


def hardware_of(config: PretrainConfig) -> tuple[Hardware, ...]:
    """The chips of a configuration, a kind for each of its devices.

    Raises:
        ValueError: an unknown device, or one that has no derivatives.
    """
    devices = [load_device(name) for name in config.device]
    for name, device in zip(config.device, devices, strict=True):
        if device.polarity_only:
            raise ValueError(f"{name}: measured tables have no derivatives; fit a record to them with memenv fit")
    return tuple(map(config.hardware, devices))


def checkpoint_file(config: PretrainConfig) -> Path:
    """From where a run is resumed."""
    return config.out / CHECKPOINT


# -- what learns -------------------------------------------------------------------------------------------------------


class Learner:
    """A network, its optimiser, and the data that it sees."""

    def __init__(self, config: PretrainConfig, data: Characters) -> None:
        self.config, self.data = config, data
        self.fast = not config.float32 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        method = "maml" if config.method == CONVENTIONAL else config.method
        self.loops = [  # in each step one of them
            InnerLoop(method=method, hardware=hardware, rest=config.rest, engine=config.engine)
            for hardware in hardware_of(config) or (None,)
        ]
        if config.init:
            init = load_initialisation(config.init)
            self.network = Network.of(init, config.inner_steps, method == PROTO)
        else:
            front = Encoder(config.pooled) if config.network == "conv" else Pixels()
            self.network = Network(front, config.hidden, config.inner_steps, method == PROTO)
        self.network.train(not config.init and config.train == "all")  # else batch norms stay as they are
        self.classifier: torch.nn.Linear | None = None
        if config.method == CONVENTIONAL:
            head = self.network.initialisation().weights(4 * len(data))[-1]
            self.classifier = torch.nn.Linear(len(head) - 1, head.shape[1])
        network = self.network
        rates = [network.log_rates, network.log_ranges, network.log_gain]
        rates += [] if network.log_means is None else [network.log_means]
        weights = [*self.network.front.parameters(), *self.network.hidden]
        weights += [] if self.classifier is None else self.classifier.parameters()
        moving = config.train == "all" and (config.augment > 0 or isinstance(self.network.front, Encoder))
        self.bank = None if moving else rotations(self.network.initialisation(), data)
        groups: list[dict[str, Any]] = [{"params": rates, "base": config.rates_learning_rate}]
        if config.train == "all":
            groups.append({"params": weights, "base": config.learning_rate})
        self.optimiser = torch.optim.Adam(groups)

    def step(self, number: int, share: float) -> tuple[float, float]:
        """An outer step with `share` of the learning rates: loss and accuracy before it.

        Nothing moves, and the loss is NaN, if it or its gradient is not finite.
        """
        rng = np.random.default_rng([self.config.seed, number])
        for group in self.optimiser.param_groups:
            group["lr"] = share * group["base"]
        self.optimiser.zero_grad()
        loss, accuracy = self._classify(rng) if self.classifier is not None else self._adapt(rng)
        if torch.isfinite(loss):
            loss.backward()
            moving = [p for group in self.optimiser.param_groups for p in group["params"]]
            if not torch.isfinite(torch.nn.utils.clip_grad_norm_(moving, CLIP)):
                return math.nan, accuracy
            self.optimiser.step()
        return loss.item(), accuracy

    def initialisation(self, card: str) -> Initialisation:
        """The initialisation as it would be deployed now."""
        free = not self.config.device and self.config.train == "all"
        if free:
            self.network.fit_ranges()
        init = self.network.initialisation(card, head_only=self.config.method == "anil")
        if (
            free and init.rates.size == 1 and self.config.method != PROTO
        ):  # one step from a head of zeros: the classes are alike at any rate
            init = replace(init, rates=np.full_like(init.rates, HEAD_RATE))
        return init

    def _adapt(self, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
        config = self.config
        numbers = {"ways": config.ways, "shots": config.shots, "queries": config.queries}
        supports = config.ways * config.shots
        if self.bank is not None:
            episodes = draw(self.bank, rng, config.tasks, **numbers)
            features = torch.cat((torch.from_numpy(episodes.support_x), torch.from_numpy(episodes.query_x)), 1)
        else:
            episodes = classification(self.data, rng, config.tasks, rotations=True, **numbers)
            images = torch.from_numpy(np.concatenate((episodes.support_x, episodes.query_x), 1))
            features = self._front(images.flatten(0, 1), rng).unflatten(0, images.shape[:2])
        seed, loop = int(rng.integers(2**62)), self.loops[rng.integers(len(self.loops))]
        if config.rest > 1.0:
            loop = replace(loop, rest=config.rest ** rng.random())
        return outer_loss(self.network, features[:, :supports], features[:, supports:], episodes, loop, seed)

    def _front(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """All images of all tasks at once; what a fixed front does needs no derivative."""
        if self.config.augment:
            images = random_move(images, self.config.augment, torch.Generator().manual_seed(int(rng.integers(2**62))))
        return self.network.front(images, self.fast)

    def _classify(self, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
        """Cross-entropy of a classifier of all training characters, on as many images as tasks would have."""
        assert self.classifier is not None
        config, images = self.config, self.data.images
        count = config.tasks * config.ways * (config.shots + config.queries)
        kind, turn = rng.integers(len(images), size=count), rng.integers(4, size=count)
        drawn = images[kind, rng.integers(images.shape[1], size=count)]
        for quarter in range(1, 4):
            drawn[turn == quarter] = np.rot90(drawn[turn == quarter], quarter, axes=(1, 2))
        signal = self._front(torch.from_numpy(drawn).float() / 255, rng)
        for w in self.network.hidden:
            signal = torch.relu(signal @ w[:-1] + w[-1])
        outputs = self.classifier(signal)
        answers = torch.from_numpy(turn * len(images) + kind)
        return cross_entropy(outputs, answers), (outputs.argmax(-1) == answers).float().mean().item()


# -- what is written as the training goes ------------------------------------------------------------------------------


@dataclass
class Judge:
    """Judges the network now and then; writes checkpoints, the initialisation, and eval.csv."""

    config: PretrainConfig
    learner: Learner
    aside: Characters
    record: dict[str, Any]
    curve: Curve = field(default_factory=Curve)
    noted: list[tuple[float, float]] = field(default_factory=list)

    def note(self, loss: float, accuracy: float) -> None:
        """A step's figures."""
        self.noted.append((loss, accuracy))

    def __call__(self, steps: int) -> dict[str, float]:
        """Evaluate on the classes set aside; a row, a checkpoint, the initialisation."""
        learner, config = self.learner, self.config
        init = learner.initialisation(json.dumps({**self.record, "steps": steps}))
        inputs, episodes = init.front(self.aside.images), JUDGED // len(learner.loops)
        how: dict[str, Any] = {"shots": config.shots, "delays": (config.rest,), "engine": config.engine}
        how |= {"queries": min(QUERIES, self.aside.images.shape[1] - config.shots), "purpose": TUNING}
        outcomes = [evaluate(init, loop.hardware, inputs, episodes=episodes, **how) for loop in learner.loops]
        loss, accuracy = np.mean(self.noted, axis=0)
        mean, half_width = mean_and_half_width(np.concatenate([one.later[0] for one in outcomes]))
        figures = {
            "loss": float(loss),
            "training_accuracy": float(accuracy),
            "accuracy": mean,
            "half_width": half_width,
            "pulses": float(np.mean([one.pulses.mean() for one in outcomes])),
        }
        row = self.curve.add(steps, figures)
        self.noted.clear()
        write_whole(config.out / "eval.csv", csv_text(self.curve.rows))
        init.save(config.out / "initialisation.npz")
        buffer = io.BytesIO()
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save(parts | {"rows": self.curve.rows}, buffer)
        write_whole(checkpoint_file(config), buffer.getvalue())
        return row

    def resume(self) -> None:
        """Take up the run where its last checkpoint left it.

        Raises:
            ValueError: a damaged checkpoint.
        """
        path, parts = checkpoint_file(self.config), self._parts()
        with named(path, "checkpoint from which this run can be resumed"):
            with regular_file(path):  # nothing else is opened by its name
                pass
            saved = torch.load(path, weights_only=True)
            check_card(saved, {**dict.fromkeys(parts, (dict, OrderedDict)), "rows": list})
            optimiser = parts.pop("optimiser")
            for name, part in parts.items():
                own, state = part.state_dict(), saved[name]
                check_arrays(_numbers(state), {key: _entry(tensor) for key, tensor in own.items()})
                part.load_state_dict(state)
            moments, groups = saved["optimiser"]["state"], optimiser.state_dict()["param_groups"]
            weights = dict(enumerate(p for group in optimiser.param_groups for p in group["params"]))
            for number, state in moments.items():
                own = dict.fromkeys(("exp_avg", "exp_avg_sq"), _entry(weights[number]))
                check_arrays(_numbers(state), own | {"step": Entry(())})
            optimiser.load_state_dict({"state": moments, "param_groups": groups})
            for row in saved["rows"]:
                check_arrays({name: np.array(value) for name, value in row.items()}, ROW)
            self.curve.resume(saved["rows"])

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"network": self.learner.network, "optimiser": self.learner.optimiser}
        return parts if self.learner.classifier is None else parts | {"classifier": self.learner.classifier}


def _entry(tensor: torch.Tensor) -> Entry:
    """The entry of a file in place of a tensor."""
    return Entry(tuple(tensor.shape), (tensor.detach().numpy().dtype.str[1:],))


def _numbers(state: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in state.items()}
