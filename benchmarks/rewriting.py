"""Programming again and again: what a policy with memory saves once it has met the cell, or its neighbours.

    python benchmarks/rewriting.py --device threshold --policies ispp history bayes my-policy.npz oracle

`rounds`: the same cell gets one target after another. `array`: every cell of an array is written once, along a path
from neighbour to neighbour; `kept` takes a policy's memory along, `array` starts it anew on each cell. The cells'
parameters are spatially correlated: of the variance of their normals a share `correlation` is white noise blurred by a
Gaussian of `reach` cells, the rest is each cell's own.

A policy learns of a new cell by an observation without a last pulse; `episode_start` says whether it shall forget what
it learned. Before it leaves a cell it sees the last read. Figures are means over accepted targets with their 95 %
bootstrap interval over cells, or over arrays; the share of targets that were accepted is in the CSV.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.comparison import Row
from agents.evaluation import EVALUATION, evaluate, noise_of
from agents.library import load_policy
from agents.policy import Policy
from agents.tuning import tune
from memenv.arrays import put, take
from memenv.devices.spatial import SmoothNormals
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import Interval, csv_text, interval, markdown, ratio_interval, rendered, shown
from memenv.files import write_whole

ORACLE = "oracle"
SETTLED = 2  # targets, or cells of an array, after which a policy is compared with the oracle


@dataclass(frozen=True, kw_only=True)
class RewritingConfig:
    """Pulses for each of several targets on one cell, and for each cell of an array."""

    device: str = option("threshold", help="a name or a .json record")
    policies: tuple[str, ...] = option(("ispp", "history", "bayes", ORACLE), help="names or paths of policies")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    rounds: int = option(8, help="targets written one after another to the same cell")
    cells: int = option(2000, help="cells that are rewritten")
    arrays: int = option(200, help="arrays that are written cell by cell")
    side: int = option(8, help="cells in a row and in a column of an array")
    reach: float = option(4.0, help="cells over which parameters blur")
    correlation: float = option(0.9, help="share of the variance that is spatially correlated")
    trials: int = option(60, help="parameter sets that each controller's tuning tries; 1 = no tuning")
    seed: int = option(0, help="of chips, starts, targets and noise")
    out: Path = option(Path("rewriting"), help="folder of rewriting.csv, .md and .png")


def write_arrays(policy: Policy, task: WriteVerify, config: RewritingConfig, keep: bool) -> np.ndarray:
    """Pulses (arrays, cells of an array) in the order of the path, NaN where the target was not accepted."""
    arrays, cells = config.arrays, config.side**2
    every = noise_of(task, range(arrays * cells), config.seed, EVALUATION)
    smooth = SmoothNormals(every.chip, arrays, config.side, config.side, config.reach, config.correlation)
    whole = task.device.fabricate(smooth, arrays * cells)
    path = np.arange(cells).reshape(config.side, config.side)
    path[1::2] = path[1::2, ::-1].copy()  # there and back
    pulses, state = np.full((arrays, cells), np.nan), None
    for number, place in enumerate(path.ravel()):
        here = np.arange(arrays) * cells + place
        chip, noise = take(whole, here), take(every, here).next()
        episode = task.initial(chip, noise.drawn(task.initial_draws), {})
        forget = number == 0 or not keep
        state = policy.begin(chip, arrays) if forget else state
        rows, start = np.arange(arrays), np.full(arrays, forget)
        while len(rows):
            action, after = policy.predict(task.observe(episode), take(state, rows), start)
            state = put(state, rows, after)
            noise = noise.next()
            episode = task.transition(episode, action, noise.drawn(task.step_draws))
            ended = task.terminated(episode)
            pulses[rows[ended], number] = np.where(episode.accepted, episode.pulses, np.nan)[ended]
            last = np.flatnonzero(ended & episode.pulsed)  # whose last pulse has been read, but not yet seen
            none = np.zeros(len(rows), bool)
            if keep and len(last):
                seen, known = task.observe(take(episode, last)), take(state, rows[last])
                state = put(state, rows[last], policy.predict(seen, known, none[last])[1])
            rows, start, episode, noise = rows[~ended], none[~ended], take(episode, ~ended), take(noise, ~ended)
    return pulses


def per_target(pulses: np.ndarray, seed: int) -> Interval:
    """Mean over the accepted targets of `pulses` (cells, targets)."""
    return ratio_interval(np.nansum(pulses, axis=1), np.isfinite(pulses).sum(axis=1), seed)


def compared(pulses: np.ndarray, bound: np.ndarray, seed: int) -> Interval:
    """Ratio of the means per accepted target of two policies on the same cells."""
    a, b, m, n = np.nansum(pulses, 1), np.nansum(bound, 1), np.isfinite(pulses).sum(1), np.isfinite(bound).sum(1)
    return interval(lambda r: a[r].sum(1) / m[r].sum(1) / (b[r].sum(1) / n[r].sum(1)), len(a), seed)


def picture(results: dict[str, dict[str, np.ndarray]]) -> bytes:
    """PNG: mean pulses by target and by cell."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), dpi=110, layout="constrained")
    for axes, (part, parts) in zip(figure.subplots(1, 2), results.items(), strict=True):
        for name, pulses in parts.items():
            axes.plot(np.arange(1, pulses.shape[1] + 1), np.nanmean(pulses, axis=0), "o-", markersize=3, label=name)
        axes.set(xlabel={"rounds": "target on the same cell", "array": "cell on the path"}[part], ylabel="pulses")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")
    return rendered(figure)


def main() -> None:
    """Run, print and write."""
    config = parse(RewritingConfig, sys.argv[1:], "rewriting.py")
    again = WriteVerify(device=config.device, tolerance=config.tolerance, rounds=config.rounds, give_up=True)
    once = WriteVerify(device=config.device, tolerance=config.tolerance, give_up=True)
    results: dict[str, dict[str, np.ndarray]] = {"rounds": {}, "array": {}}
    for name in config.policies:
        policy = tune(load_policy(name, again), config.trials, config.seed).policy
        results["rounds"][name] = evaluate(policy, again, config.cells, config.seed).round_pulses
        policy = tune(load_policy(name, once), config.trials, config.seed).policy
        results["array"][name] = write_arrays(policy, once, config, keep=False)
        if name != ORACLE:
            results["array"][f"{name}, kept"] = write_arrays(policy, once, config, keep=True)
    rows = [
        Row(part=part, policy=name, place=place + 1, share=float(np.isfinite(pulses[:, place]).mean()))
        | dict(zip(("pulses", "low", "high"), per_target(pulses[:, place : place + 1], config.seed), strict=True))
        for part, parts in results.items()
        for name, pulses in parts.items()
        for place in range(pulses.shape[1])
    ]
    command = "python benchmarks/rewriting.py " + shlex.join(sys.argv[1:])
    text = [f"`{command}`", ""]
    for part, parts in results.items():
        count = next(iter(parts.values())).shape[1]
        edges = list(range(config.rounds)) if part == "rounds" else [0, 1, SETTLED, count // 4]
        spans = [(a, b) for a, b in zip(edges, [*edges[1:], count], strict=True) if a < b]
        titles = [f"{a + 1}" if b == a + 1 else f"{a + 1}-{b}" for a, b in spans]
        lines = []
        for name, pulses in parts.items():
            line = [name, *(shown(per_target(pulses[:, a:b], config.seed)) for a, b in spans)]
            if ORACLE in parts:
                line.append(shown(compared(pulses[:, SETTLED:], parts[ORACLE][:, SETTLED:], config.seed)))
            lines.append(line)
        head = [part, *titles, *([f"of the {ORACLE}, from {SETTLED + 1} on"] if ORACLE in parts else [])]
        text.append(markdown(head, lines))
    write_whole(config.out / "rewriting.csv", csv_text(rows))
    write_whole(config.out / "rewriting.md", "\n".join(text))
    write_whole(config.out / "rewriting.png", picture(results))
    print("\n".join(text))


if __name__ == "__main__":
    main()
