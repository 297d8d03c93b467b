"""A stream of tasks on one ageing chip, in `memenv/FewShot-v0`: accuracy on the newest task and on the one before.

    python benchmarks/few_shot_stream.py --network mlp --device hfo2-array-om pcm

The head is one for all tasks, so that a new task takes the place of the one before; the rule that learns has the same
gain in all steps. Means over chips and tasks, by the place of the task in the stream; intervals are over chips.
"""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.few_shot.schedules import ConstantRate
from memenv.devices.catalogue import load_device
from memenv.envs import FewShotVectorEnv
from memenv.experiments.options import Options, option, parse
from memenv.experiments.reporting import markdown, mean_and_half_width
from memenv.experiments.runs import command_line

PARTS = 4  # of the stream, besides its first task


@dataclass(frozen=True, kw_only=True)
class StreamConfig(Options):
    """Let chips learn one task after another."""

    device: tuple[str, ...] = option(("hfo2-array-om", "pcm"), help="names or .json records")
    network: str = option("conv", help="conv: the head learns on the chip; mlp: every layer", choices=("conv", "mlp"))
    tasks: int = option(100, bounds=(PARTS, 10_000), help="of a stream")
    chips: int = option(20, bounds=(2, 100_000), help="each with a stream of its own")
    ways: int = option(5, bounds=(2, 10_000), help="classes of a task")
    steps: int = option(3, bounds=(1, 100), help="of learning a task")
    gain: float = option(1.0, bounds=(0.0, 30.0), help="of the initialisation's rates")
    interval: float = option(3600.0, bounds=(0.0, 1e12), help="between two tasks [s]")
    seed: int = option(0, help="of chips, tasks and noise")


def streamed(config: StreamConfig, device: str) -> dict[str, np.ndarray]:
    """Of tasks but the last two: `newest`, `kept` and `pulses` (tasks, chips)."""
    env = FewShotVectorEnv(
        config.chips,
        device=load_device(device),
        network=config.network,
        split="test",
        ways=config.ways,
        max_steps=config.steps,
        stream=config.tasks,
        interval=config.interval,
    )
    rule = ConstantRate(task=env.task, gain=config.gain, steps=config.steps)
    observation, info = env.reset(seed=config.seed)
    newest, kept, pulses = [], [], [info["pulses"]]
    for step in range(1, config.steps * (config.tasks - 1) + 1):
        observation, _, _, _, info = env.step(rule.predict(observation)[0])
        if step % config.steps == 0:
            newest.append(info["newest"])
            kept.append(info["kept"])
            pulses.append(info["pulses"])
    return {"newest": np.array(newest[:-1]), "kept": np.array(kept[1:]), "pulses": np.diff(pulses, axis=0)[:-1]}


def main() -> None:
    """Run the streams and print the table."""
    config = parse(StreamConfig, sys.argv[1:], "benchmarks/few_shot_stream.py")
    lines: list[list[str]] = []
    for device in config.device:
        told = streamed(config, device)
        numbers = np.arange(len(told["newest"]))
        for place in (numbers[:1], *np.array_split(numbers, PARTS)):
            cells: list[Any] = [device, " to ".join(str(k + 1) for k in dict.fromkeys((place[0], place[-1])))]
            for name, unit in (("newest", 100.0), ("kept", 100.0), ("pulses", 1.0)):
                mean, half = mean_and_half_width(told[name][place].mean(0))
                cells.append(f"{unit * mean:.2f} ± {unit * half:.2f}")
            lines.append(cells)
    print(f"`{command_line('python benchmarks/few_shot_stream.py', sys.argv[1:])}`\n")
    print(markdown(["device", "tasks", "newest [%]", "kept after one more [%]", "pulses a device and task"], lines))


if __name__ == "__main__":
    main()
