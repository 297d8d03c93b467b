"""Whole arrays: what programming real weights costs with each controller, and what the products are worth after it.

    python benchmarks/array_programming.py --device threshold hfo2-array-om --size 64

The weights are layers of networks trained on scikit-learn's digits (64 x 32 of 64-32-10, 256 x 128 of 64-256-128-10),
as pairs of cells on one array of `size` x `size`, and products are judged on what the digits are there; or, with
--weights and --inputs, a layer of one's own. Each controller, with shipped parameters if there are any, else tuned,
writes the same chip three times: cell by cell; a row at a time, where cells of a row that are alike share a pulse; and
so for the products with the other half of the inputs (`memenv program --objective product`). Energies and latencies are
those of all pulses and reads. Brackets: 95 % bootstrap interval over cells, of product errors over inputs. `of ispp` is
the ratio of the latencies, for products to that of ISPP a row at a time.
"""

import shlex
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.arrays.matrix_files import load_inputs, load_weights
from agents.arrays.programming import ProgramConfig, build
from agents.arrays.report import figures
from agents.arrays.tiles import Programmer, TileResult
from agents.comparison import Row
from agents.tuned import shipped_or_tuned
from agents.tuning import TRIALS_HELP
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import Interval, columns, csv_text, figure, interval, markdown, mean_interval, shown
from memenv.files import write_whole

REFERENCE = "ispp"
CONTROLLERS = (REFERENCE, "vipi", "secant", "specialist", "generalist")
LAYERS = {64: ((32,), 0), 256: ((256, 128), 1)}  # hidden sizes of the network, and which of its layers
WAYS = {  # heading, cells that are written together, what is aimed at, and with which way ISPP's latency is compared
    "cells": ("cell by cell", "cells", "cells", "cells"),
    "rows": ("a row at a time", "rows", "cells", "rows"),
    "product": ("a row at a time, for the product", "rows", "product", "rows"),
}


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """Program arrays with real weights by every controller."""

    device: tuple[str, ...] = option(("threshold", "hfo2-array-om"), help="names or .json records")
    size: tuple[int, ...] = option((64,), help="rows and columns of the array")
    controllers: tuple[str, ...] = option(CONTROLLERS, help="controllers, shipped policies or paths of policies")
    weights: Path | None = option(None, help="a matrix (.npy, .pt) instead of the digits networks' ...")
    inputs: Path | None = option(None, help="... and what it is to multiply (samples, inputs), .npy")
    scheme: str = option("1T1R", help="what cells see that are not written")
    levels: tuple[int, int] = option((8, 3), help="amplitudes of a polarity, and widths, that a row distinguishes")
    tolerance: float = option(0.02, help="half-width of the target band, fraction of the range")
    trials: int | None = option(None, help=TRIALS_HELP)
    seed: int = option(0, help="of chips, noise, tuning and inputs")
    out: Path = option(Path("array-programming"), help="folder of array_programming.csv and .md")


class Run(NamedTuple):
    """A controller's array, written in one way."""

    programmer: Programmer
    results: list[TileResult]
    seconds: float  # of this machine


def digits_layer(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size / 2) weights of a layer of a network trained on scikit-learn's digits, and its inputs for them."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    if size not in LAYERS:
        raise ValueError(f"size is {size}: the digits networks have layers for {', '.join(map(str, LAYERS))}")
    hidden, layer = LAYERS[size]
    images, labels = load_digits(return_X_y=True)
    signal = images / 16.0
    network = MLPClassifier(hidden, alpha=1e-3, max_iter=60, early_stopping=True, random_state=0).fit(signal, labels)
    for weights, biases in zip(network.coefs_[:layer], network.intercepts_[:layer], strict=True):
        signal = np.maximum(signal @ weights + biases, 0.0)
    return np.asarray(network.coefs_[layer]), np.random.default_rng(0).permutation(signal)


def layer(config: ArrayConfig, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The weights and inputs of the files, or of the digits network with an array of `size`."""
    if config.weights is None and config.inputs is None:
        return digits_layer(size)
    if config.weights is None or config.inputs is None:
        raise ValueError("--weights and --inputs are of one layer: give both, or none for the digits networks'")
    weights = load_weights(config.weights)
    return weights, load_inputs(config.inputs, len(weights))


def programmed(
    config: ArrayConfig, weights: np.ndarray, inputs: np.ndarray, device: str, size: int, controller: str
) -> dict[str, Run]:
    """The array written in each of WAYS; products are judged on every other input."""
    settings = ProgramConfig(
        weights=Path(),
        device=device,
        rows=size,
        cols=size,
        scheme=config.scheme,
        levels=config.levels,
        controller=controller,
        tolerance=config.tolerance,
        seed=config.seed,
    )
    runs, policy = {}, None
    for way, (_, writing, objective, _) in WAYS.items():
        aim = replace(settings, writing=writing, objective=objective)
        programmer = build(aim, weights, inputs if objective == "product" else inputs[1::2])
        policy = policy or shipped_or_tuned(programmer.policy, config.trials, config.seed).policy
        programmer = replace(programmer, policy=policy)
        began = time.perf_counter()
        results = [programmer.program(tile) for tile in programmer.tiles]
        runs[way] = Run(programmer, results, time.perf_counter() - began)
    return runs


def product_error(run: Run, seed: int) -> Interval:
    """Root mean square error of the products, of their root mean square."""
    exact = run.programmer.voltages @ run.programmer.weights
    seen = np.zeros(exact.shape)
    for tile, result in zip(run.programmer.tiles, run.results, strict=True):
        seen[:, tile.outputs] += result.product
    wrong, right = ((values**2).sum(axis=1) for values in (seen - exact, exact))
    return interval(lambda rows: np.sqrt(wrong[rows].sum(axis=1) / right[rows].sum(axis=1)), len(wrong), seed)


def row_of(run: Run, seed: int) -> Row:
    """The figures of a run."""
    found: dict[str, Any] = figures(run.programmer, run.results)
    rows, outputs = found["weights"]
    row = Row(weights=rows * outputs, cells=found["cells"], seconds=run.seconds)
    for name, one in (
        ("pulses", mean_interval(np.concatenate([result.pulses.ravel() for result in run.results]), seed)),
        ("energy", mean_interval(np.concatenate([result.energy.ravel() for result in run.results]), seed)),
        ("product_error", product_error(run, seed)),
    ):
        row |= columns(name, one)
    kept = ("success", "failed", "missed_weights", "cell_error", "weight_error")
    row |= {name: found[name] for name in kept}
    row["latency"] = found["latency_s"]
    row["false_acceptance_rate"] = found["false_acceptances"] / max(found["accepted"], 1)
    return row


def table(rows: list[Row]) -> str:
    """Markdown of one device and size."""
    head = ["controller", "pulses", "success %", "false %", "missed weights %", "energy pJ", "latency ms", "of ispp"]
    head += ["cell error %", "product error %"]
    lines = []
    for way, (heading, *_, compared) in WAYS.items():
        own = [row for row in rows if row["way"] == way]
        of_it = (row["latency"] for row in rows if (row["controller"], row["way"]) == (REFERENCE, compared))
        reference = next(of_it, np.nan)
        lines.append([f"*{heading}*", *[""] * (len(head) - 1)])
        for row in own:
            pulses, energy, product = (
                figure(row, name, scale)
                for name, scale in (("pulses", 1.0), ("energy", 1e12), ("product_error", 100.0))
            )
            line = [row["controller"], shown(pulses), f"{100 * row['success']:.1f}"]
            line += [f"{100 * row['false_acceptance_rate']:.1f}", f"{100 * row['missed_weights'] / row['weights']:.1f}"]
            line += [shown(energy, "{:.3g}"), f"{1e3 * row['latency']:.3g}", f"{row['latency'] / reference:.2f}"]
            lines.append([*line, f"{100 * row['cell_error']:.2f}", shown(product, "{:.1f}")])
    return markdown(head, lines)


def main() -> None:
    """Run, print and write."""
    config = parse(ArrayConfig, sys.argv[1:], "array_programming.py")
    rows: list[Row] = []
    command = "python benchmarks/array_programming.py " + shlex.join(sys.argv[1:])
    text = [f"`{command}`"]
    for device in config.device:
        for size in config.size:
            weights, inputs = layer(config, size)
            here = []
            for controller in config.controllers:
                for way, run in programmed(config, weights, inputs, device, size, controller).items():
                    about = {"device": device, "size": size, "controller": controller, "way": way}
                    here.append(Row(about | row_of(run, config.seed)))
                print(f"{device} {size} {controller}: {here[-1]['seconds']:.1f} s", file=sys.stderr)
            rows += here
            text += ["", f"**{device}, {size} x {size} cells, {config.scheme}**", "", table(here)]
    write_whole(config.out / "array_programming.csv", csv_text(rows))
    write_whole(config.out / "array_programming.md", "\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
