"""`memenv sines`: sine waves from ten points, regression on chips whose every layer learns by pulses.

A network 1-40-40-1 is pretrained by MAML on numbers, five steps with learned rates (Finn et al., arXiv 1703.03400).
`numbers` is that; on each device learns what left them, and what then went on learning through the device.
"""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from memenv.arrays import constant, tree_map
from memenv.bounds import MANY, MOST, MOST_SEED
from memenv.devices.catalogue import load_device
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import markdown, mean_and_half_width
from memenv.experiments.runs import RECORD, RunOptions, begun, command_line
from memenv.few_shot.chips import MOST_DEVICES, Draws, Hardware, chip_outputs, fresh_chip, write
from memenv.learning.backprop import squared_error
from metalearn.adaptation import ideal, ideal_outputs, on_chip

SIZES, STEPS, POINTS, TASKS = (1, 40, 40, 1), 5, 10, 25
RATE, ROOM = 0.02, 1.5  # of learning, to begin with; largest weight that a device can hold, of the largest there is
OUTER_RATE = 1e-3  # of Adam, to begin with
NUMBERS, FILE = "numbers", "sines.md"
PACKAGES = ("memenv", "numpy", "torch")


@dataclass(frozen=True, kw_only=True)
class SinesConfig(RunOptions):
    """Learn sine waves from ten points each, on numbers and on chips; mean square errors before and after.

    Example: memenv sines --device pcm --steps 300 --aware 0 --waves 100 --out pcm-sines
    """

    device: tuple[str, ...] = option(
        ("pcm", "alox-hfo2", "hfo2-array-om"), distinct=True, help="names or .json records"
    )
    devices_per_weight: int = option(
        1, bounds=(1, MOST_DEVICES), help="plus devices of a weight, and as many minus devices"
    )
    steps: int = option(5000, bounds=(1, MOST), help="outer steps on numbers, of 25 waves each")
    aware: int = option(300, bounds=(0, MOST), help="outer steps that follow through each device")
    waves: int = option(
        600, bounds=(2, MANY), help="to judge by, of amplitudes from 0.1 to 5, each on a chip of its own"
    )
    seed: int = option(0, bounds=(0, MOST_SEED), help="of weights, waves, chips and noise")
    out: Path = option(Path("sines"), help="folder of sines.md, run.json and a journal")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(SinesConfig, arguments, "memenv sines")
    print(learn_sines(config, command_line("memenv sines", arguments)))
    print(f"in {config.out}: {FILE}, {RECORD}")


def learn_sines(config: SinesConfig, command: str = "") -> str:
    """Pretrain and judge what is missing, and write the table into `config.out`; the table.

    Raises:
        ValueError: unusable devices, a folder that holds another run, or nothing to resume.
    """
    chips = {
        name: Hardware(device=load_device(name), devices_per_weight=config.devices_per_weight) for name in config.device
    }
    for name, chip in chips.items():
        if config.aware and chip.device.polarity_only:
            raise ValueError(f"{name}: measured tables have no derivatives: give --aware 0")
    with begun(config.out / RECORD, config, command=command, packages=PACKAGES, files=(FILE,)) as run:
        rows = rows_of(config, chips, run.once)
        names, lines = list(rows[-1])[1:], []
        for row in rows:
            means = {name: mean_and_half_width(np.asarray(row[name])) for name in names if name in row}
            cells = ("{:.3f} ± {:.3f}".format(*means[name]) if name in means else "–" for name in names)
            lines.append([row["device"], *cells])
        text = f"`{command}`\n\n{markdown(['device', *names], lines)}"
        if not run.again:
            run.write({FILE: text}, complete=True)
    return text


def waves(rng: np.random.Generator, tasks: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (tasks, points, 2), in units of 5 and with a one for the bias, and heights (tasks, points, 1) of waves."""
    amplitude, phase = rng.uniform(0.1, 5.0, (tasks, 1, 1)), rng.uniform(0.0, np.pi, (tasks, 1, 1))
    x = rng.uniform(-5.0, 5.0, (tasks, points, 1))
    return np.concatenate((x / 5.0, np.ones_like(x)), -1), amplitude * np.sin(x - phase)


class Network(torch.nn.Module):
    """All that the outer loop learns."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList(
            torch.cat((torch.randn(rows, outputs) * (2.0 / rows) ** 0.5, 0.1 * torch.randn(1, outputs)))
            for rows, outputs in pairwise(SIZES)
        )
        self.log_rates = torch.nn.Parameter(torch.full((STEPS, len(SIZES) - 1), RATE).log())

    def parts(self) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Weights and rates."""
        return list(self.weights), self.log_rates.exp()


def predicted(
    parts: tuple[Any, Any], hardware: Hardware | None, x: Any, y: Any, asked: Any, draws: Draws, seed: int
) -> list[Any]:
    """Heights (tasks, m, 1) at `asked` (tasks, m, 2) before learning from x and y and after it; NumPy or torch."""
    weights, rates = parts
    steps = [list(step) for step in rates]
    if hardware is None:
        layers = tuple(w + 0.0 * x[..., :1, :1] for w in weights)
        learning, outputs = ideal(layers, x, y, steps, loss_of=squared_error), ideal_outputs
    else:
        chip = fresh_chip(hardware, np.random.default_rng(seed), SIZES, len(x))
        if isinstance(x, torch.Tensor):
            chip = tree_map(
                lambda leaf: torch.tensor(leaf, dtype=x.dtype) if isinstance(leaf, np.ndarray) else leaf, chip
            )
        ranges = [ROOM * float(abs(constant(w)).max()) for w in weights]
        layers, _ = write(hardware, chip, [w + 0.0 * x[..., :1, :1] for w in weights], ranges, draws)
        learning = on_chip(hardware, layers, x, y, steps, draws, loss_of=squared_error)
        outputs = partial(chip_outputs, hardware, draws=draws)
    before = outputs(layers, asked)
    for step in learning:
        layers = step.layers
    return [before, outputs(layers, asked)]


def pretrain(network: Network, hardware: Hardware | None, steps: int, seed: int) -> None:
    """Outer steps of Adam, whose rate falls to zero, on numbers or through chips."""
    torch.manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), OUTER_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for number in tqdm(range(steps), unit="step", disable=None, file=sys.stderr):
        rng = np.random.default_rng([seed, number, 1])
        x, y = (torch.tensor(part, dtype=torch.float32) for part in waves(rng, TASKS, 2 * POINTS))
        (shown, asked), (told, answer) = x.split(POINTS, 1), y.split(POINTS, 1)
        ends = predicted(network.parts(), hardware, shown, told, asked, Draws(torch.randn, torch.rand), number)
        optimiser.zero_grad()
        (ends[-1] - answer).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        schedule.step()


def judged(network: Network, hardware: Hardware | None, config: SinesConfig) -> list[np.ndarray]:
    """Mean squares (waves,) of errors before and after learning."""
    rng = np.random.default_rng([config.seed, 0, 0])
    x, y = waves(rng, config.waves, POINTS + 100)
    (shown, asked), (told, answer) = (np.split(part, [POINTS], 1) for part in (x, y))
    weights, rates = network.parts()
    parts = [w.detach().numpy().astype(float) for w in weights], rates.detach().numpy().astype(float)
    draws = Draws(rng.standard_normal, rng.random)
    ends = predicted(parts, hardware, shown, told, asked, draws, config.seed)
    return [((end - answer) ** 2).mean((1, 2)) for end in ends]


def rows_of(config: SinesConfig, chips: dict[str, Hardware], once: Callable[..., Any]) -> list[dict[str, Any]]:
    """The lines of the table."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    network = Network()

    def done(place: str, hardware: Hardware | None, steps: int, begin: Network) -> tuple[Network, Any]:
        own = copy.deepcopy(begin)

        def work() -> list[Any]:
            pretrain(own, hardware, steps, config.seed)
            return [p.detach().numpy() for p in own.parameters()]

        for mine, kept in zip(own.parameters(), once(("pretrained", place), work), strict=True):
            mine.data = torch.tensor(np.asarray(kept))
        return own, once(("judged", place), lambda: judged(own, hardware, config))

    network, (before, after) = done(NUMBERS, None, config.steps, network)
    rows = [{"device": NUMBERS, "before": before, "as numbers left it": after}]
    for name, chip in chips.items():
        before, left = once(("left", name), lambda chip=chip: judged(network, chip, config))
        rows.append({"device": name, "before": before, "as numbers left it": left})
        if config.aware:
            rows[-1]["through the device"] = done(name, chip, config.aware, network)[1][1]
    return rows
