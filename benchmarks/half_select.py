"""Half-select disturb: what an array that holds its weights suffers while the rows between are written again and again.

    python benchmarks/half_select.py --device threshold hfo2-array-om --policies ispp history

Every other row holds random targets and is never written. The cells of the rows between are programmed from random
states to random targets, `rewrites` times, by a policy for single cells behind transistors: a step is one pulse for
each open cell. Its pulses, as they fall, are applied to the whole array under each scheme, cell by cell or with the
cells of a row that share a pulse together. The disturb is the change of the state of the cells that hold, without
relaxation and drift, which time brings under every scheme.

Figures are over arrays, with 95 % bootstrap intervals: the r.m.s. change, the share of holding cells that moved by more
than the tolerance, and the energy of the whole array against that of the written cells alone (1T1R).
"""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.arrays.noise import ArrayNoise
from agents.comparison import Row
from agents.evaluation import EVALUATION, noise_of
from agents.library import load_policy
from agents.policy import Policy
from agents.tuning import tune
from memenv.arrays import put, take
from memenv.crossbars.crossbar import Crossbar, shaped
from memenv.envs.noise import CellNoise
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import Interval, columns, csv_text, interval, markdown, rendered, shown
from memenv.files import write_whole

DEVICES = ("threshold", "hfo2-array-om", "alox-hfo2", "fefet", "enode-sandia")


@dataclass(frozen=True, kw_only=True)
class HalfSelectConfig:
    """Hold targets in every other row while the others are rewritten."""

    device: tuple[str, ...] = option(DEVICES, help="names or .json records")
    policies: tuple[str, ...] = option(("ispp", "history"), help="names or paths of policies that rewrite")
    schemes: tuple[str, ...] = option(("1T1R", "V/3", "V/2"), help="write schemes")
    writing: tuple[str, ...] = option(
        ("cells", "rows"), help="cells: one by one; rows: those of a row that can, together"
    )
    rows: int = option(32, help="rows of an array")
    cols: int = option(32, help="columns of an array")
    arrays: int = option(8, help="arrays for each figure")
    rewrites: int = option(10, help="times that the rows between are written")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    trials: int = option(40, help="parameter sets that each controller's tuning tries; 1 = no tuning")
    seed: int = option(0, help="of chips, starts, targets and noise")
    out: Path = option(Path("half-select"), help="folder of half_select.csv, .md and .png")


def rewriting(
    policy: Policy, task: WriteVerify, chip: Any, cells: int, noise: CellNoise
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Amplitudes [V] and widths [s] of each step in which every cell is written once, (cells,), 0 where none."""
    noise = noise.next()
    episode = task.initial(chip, noise.drawn(task.initial_draws), {})
    state, rows, start = policy.begin(chip, cells), np.arange(cells), np.ones(cells, bool)
    while len(rows):
        action, after = policy.predict(task.observe(episode), take(state, rows), start)
        state = put(state, rows, after)
        amplitude, width, gave_up = task.decode(action)
        pulse = np.zeros((2, cells))
        pulse[:, rows] = np.where(gave_up, 0.0, [amplitude, width])
        yield pulse[0], pulse[1]
        noise = noise.next()
        episode = task.transition(episode, action, noise.drawn(task.step_draws))
        going = ~task.terminated(episode)
        rows, start = rows[going], np.zeros(going.sum(), bool)
        episode, noise = take(episode, going), take(noise, going)


def disturb(
    policy: Policy, task: WriteVerify, config: HalfSelectConfig
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """For each scheme and way of writing, arrays (arrays, rewrites): mean square change, share moved, energy [J]."""
    sources = ArrayNoise.of(EVALUATION, config.seed)
    shape = (config.arrays, config.rows, config.cols)
    ways = [(scheme, writing) for scheme in config.schemes for writing in config.writing]
    crossbars = [
        Crossbar(device=task.device, rows=config.rows, cols=config.cols, scheme=scheme, writing=writing)
        for scheme, writing in ways
    ]
    chip = crossbars[0].fabricate(sources.chip, shape[:1])
    low, high = task.target_range
    x = np.clip(low + (high - low) * sources.start.random(shape), chip.x_lo, chip.x_hi)
    states = [crossbar.fresh(chip, x, sources.cycle.standard_normal((2, *shape))) for crossbar in crossbars]
    written = np.zeros(shape, bool)
    written[:, 1::2] = True
    cells = np.flatnonzero(written)
    writers = take(shaped(chip, (-1,)), cells)
    results: dict[tuple[str, str], list[list[np.ndarray]]] = {way: [] for way in ways}
    for rewrite in range(config.rewrites):
        episodes = range(rewrite * len(cells), (rewrite + 1) * len(cells))
        fresh = noise_of(task, episodes, config.seed, EVALUATION)
        for pulse in rewriting(policy, task, writers, len(cells), fresh):
            amplitude, width = np.zeros(written.size), np.zeros(written.size)
            amplitude[cells], width[cells] = pulse
            amplitude, width = amplitude.reshape(shape), width.reshape(shape)
            noise = sources.cycle.standard_normal((9, *shape))
            for number, crossbar in enumerate(crossbars):
                operations = crossbar.plan(amplitude, width, width > 0)
                states[number] = crossbar.write(states[number], operations, noise[: crossbar.write_channels])
        for way, state in zip(ways, states, strict=True):
            change = np.abs(state.cell.x - x)[:, ::2]
            moved = change > config.tolerance
            results[way].append([(change**2).mean((1, 2)), moved.mean((1, 2)), state.energy.sum((1, 2))])
    names = ("square", "moved", "energy")
    return {way: dict(zip(names, np.array(found).transpose(1, 2, 0), strict=True)) for way, found in results.items()}


def root_mean(square: np.ndarray, seed: int) -> Interval:
    """Root of the mean over arrays of mean squares (arrays,), in % of the range."""
    return interval(lambda rows: 100 * np.sqrt(square[rows].mean(1)), len(square), seed)


def ratio(energy: np.ndarray, alone: np.ndarray, seed: int) -> Interval:
    """Ratio of sums over arrays."""
    return interval(lambda rows: energy[rows].sum(1) / alone[rows].sum(1), len(energy), seed)


def picture(results: dict[tuple[str, str], dict], config: HalfSelectConfig) -> bytes:
    """PNG: r.m.s. change against rewrites, a panel a device."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(config.device) + 1.6, 3.6), dpi=110, layout="constrained")
    colours = dict(zip(config.schemes, ("tab:green", "tab:blue", "tab:red"), strict=False))
    for axes, device in zip(
        np.atleast_1d(figure.subplots(1, len(config.device), sharey=True)), config.device, strict=True
    ):
        for (name, policy), ways in results.items():
            for (scheme, writing), found in ways.items() if name == device else ():
                line = np.array([root_mean(square, config.seed) for square in found["square"].T])
                style = ("-", "--", ":", "-.")[config.policies.index(policy) % 4]
                mark = "o" if writing == "cells" else "^"
                count = np.arange(1, config.rewrites + 1)
                axes.plot(
                    count,
                    line[:, 0],
                    style + mark,
                    color=colours[scheme],
                    markersize=3,
                    label=f"{scheme}, {policy}, {writing}",
                )
                axes.fill_between(count, line[:, 1], line[:, 2], color=colours[scheme], alpha=0.15, linewidth=0)
        axes.axhline(100 * config.tolerance, color="grey", linewidth=0.8)
        axes.set(title=device, xlabel="rewrites of the other rows")
        axes.set_yscale("symlog", linthresh=0.01)
        axes.set_ylim(bottom=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="x-small")
    figure.axes[0].set_ylabel("r.m.s. change of held cells [% of range]")
    return rendered(figure)


def main() -> None:
    """Run, print and write."""
    config = parse(HalfSelectConfig, sys.argv[1:], "half_select.py")
    results: dict[tuple[str, str], dict] = {}
    for device in config.device:
        task = WriteVerify(device=device, tolerance=config.tolerance, give_up=True)
        for name in config.policies:
            policy = tune(load_policy(name, task), config.trials, config.seed).policy
            results[device, name] = disturb(policy, task, config)
    rows, lines = [], []
    for (device, policy), ways in results.items():
        for (scheme, writing), found in ways.items():
            alone = ways.get(("1T1R", writing), found)["energy"]
            for count in range(config.rewrites):
                figures = {
                    "rms_percent": root_mean(found["square"][:, count], config.seed),
                    "moved": interval(lambda r, m=found["moved"][:, count]: m[r].mean(1), config.arrays, config.seed),
                    "energy_ratio": ratio(found["energy"][:, count], alone[:, count], config.seed),
                }
                rows.append(
                    Row(device=device, policy=policy, scheme=scheme, writing=writing, rewrites=count + 1)
                    | {name: part for key, one in figures.items() for name, part in columns(key, one).items()}
                )
                if count in (0, config.rewrites - 1):
                    form = {"rms_percent": "{:.3f}", "moved": "{:.3f}", "energy_ratio": "{:.1f}"}
                    written = [shown(figures[key], form[key]) for key in figures]
                    lines.append([device, policy, scheme, writing, str(count + 1), *written])
    command = "python benchmarks/half_select.py " + shlex.join(sys.argv[1:])
    head = [
        "device",
        "policy",
        "scheme",
        "writing",
        "rewrites",
        "r.m.s. change, % of range",
        "share moved",
        "energy / 1T1R",
    ]
    text = f"`{command}`\n\n" + markdown(head, lines)
    write_whole(config.out / "half_select.csv", csv_text(rows))
    write_whole(config.out / "half_select.md", text)
    write_whole(config.out / "half_select.png", picture(results, config))
    print(text)


if __name__ == "__main__":
    main()
