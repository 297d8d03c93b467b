"""Programming arrays for their product: what feedback between rows saves over programming without it.

    python benchmarks/product_feedback.py --device threshold hfo2-array-om --controller specialist

The same policy for single cells programs every array, rows at a time, behind transistors, weights on pairs: `cells`,
every cell to its own target, all with one tolerance, or with the methods of `agents.arrays.product_feedback`, of which
`product` is feedback and the others are its opponents.

Inputs and weights: `digits`, the first layer of a network trained on scikit-learn's digits with its real inputs;
`correlated`, random weights and normal inputs that resemble their neighbours' and have different sizes; `white`, random
weights and independent normal inputs, where nothing can be passed on. Second moments come from `samples` inputs,
product errors from others: r.m.s. error of the products of the true conductances, read noise apart, in % of the
products' r.m.s., and the same with the gain of each output that the last reads and the first inputs tell, which every
method is free to use. Intervals are 95 % bootstrap intervals over chips.

The second table gives the costs of `product` as parts of those of the opponents at the same product error, gains
included, which lies on the (logarithmic) line between two tolerances; "-" where the errors of an opponent do not
enclose that error, or not in every resample: where stuck cells rule, tolerances hardly matter to it.

With `--trials` the settings of the feedback are learned first, on other chips, on smaller
arrays with random weights and correlated inputs, so that `price` times the pulses of a cell plus the product error is
least. Without, those of `agents.arrays.product_feedback.Feedback` are used, which were found so.
"""

import dataclasses
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.arrays.noise import ArrayNoise
from agents.arrays.product_feedback import METHODS, Feedback, write_product
from agents.arrays.report import relative
from agents.arrays.tiles import CELLS_ALONE, best_gain
from agents.arrays.writing import for_weights, fresh_array, write_array
from agents.comparison import Row
from agents.evaluation import EVALUATION, TUNING
from agents.library import load_policy
from agents.tuning import one_by_one, tune
from memenv.crossbars.crossbar import Crossbar
from memenv.crossbars.encoding import Encoding
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments.options import option, parse
from memenv.experiments.reporting import Interval, columns, csv_text, interval, markdown, rendered, shown
from memenv.experiments.runs import RECORD, Run, RunOptions, begun, command_line

WORKLOADS = ("digits", "correlated", "white")
FEEDBACK, OPPONENTS = METHODS[0], (CELLS_ALONE, *METHODS[1:])
JUDGED = 800  # inputs, at least, of which some are judged on
FILES = ("product_feedback.csv", "product_feedback.md", "product_feedback.png")
ERRORS = ("error", "error_gain")
COSTS = ("pulses", "reads", "latency_ms", "sequential_ms", "energy_nJ")
CELLS_AN_ARRAY = 256  # of tuning's effort


@dataclass(frozen=True, kw_only=True)
class ProductFeedbackConfig(RunOptions):
    """Program arrays with feedback between rows and without, and compare their products."""

    device: tuple[str, ...] = option(("threshold", "hfo2-array-om"), help="names or .json records")
    controller: str = option("specialist", help="policy for single cells")
    workloads: tuple[str, ...] = option(WORKLOADS, help="digits, correlated, white")
    methods: tuple[str, ...] = option((*OPPONENTS, FEEDBACK), help="ways of programming")
    initial: str = option("anywhere", choices=("anywhere", "erased"), help="cells before: in their range, or reset")
    tolerances: tuple[float, ...] = option((0.01, 0.02, 0.04, 0.08), help="points of each curve [range]")
    rows: int = option(64, help="rows of an array (digits have 64)")
    outputs: int = option(32, help="outputs of an array, a pair of columns each")
    chips: int = option(8, help="arrays for each figure")
    samples: int = option(800, help="inputs that the second moment is taken from")
    trials: int = option(1, help="parameter sets that the learning of the feedback tries; 1 = those of the package")
    price: float = option(0.05, help="of a pulse a cell, in units of the relative product error, while learning")
    seed: int = option(0, help="of chips, weights, inputs and noise")
    out: Path = option(Path("product-feedback"), help="folder of product_feedback.csv, .md and .png")


class Workload(NamedTuple):
    """A matrix and the inputs that an array is to multiply with it."""

    weights: np.ndarray  # (rows, outputs)
    known: np.ndarray  # (n, rows) inputs for the second moment
    held: np.ndarray  # (n, rows) inputs to judge on


def workload(name: str, rng: np.random.Generator, rows: int, outputs: int, samples: int) -> Workload:
    """One of WORKLOADS, random where it is random."""
    if name == "digits":
        return digits(rng, outputs, samples)
    weights, normals = 0.3 * rng.standard_normal((rows, outputs)), rng.standard_normal((2, samples, rows))
    if name == "correlated":
        place, reach = np.arange(rows), np.exp(rng.uniform(np.log(3.0), np.log(12.0)))
        root = np.linalg.cholesky(np.exp(-np.abs(place[:, None] - place) / reach))
        normals = normals @ (np.exp(0.5 * rng.standard_normal(rows))[:, None] * root).T
    return Workload(weights, *normals)


def digits(rng: np.random.Generator, outputs: int, samples: int) -> Workload:
    """The first layer of a small network, trained on the inputs that the second moment comes from."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    pixels, labels = load_digits(return_X_y=True)
    known, held = np.split(rng.permutation(len(pixels))[: 2 * samples], 2)
    network = MLPClassifier((outputs,), alpha=0.01, max_iter=60, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could be trained further
        network.fit(pixels[known] / 16, labels[known])
    return Workload(network.coefs_[0], pixels[known] / 16, pixels[held] / 16)


def program(
    method: str,
    work: Workload,
    device: Any,
    controller: str,
    feedback: Feedback,
    initial: str,
    seed: tuple[int, ...],
) -> dict[str, float]:
    """Product error and costs of one fresh array, programmed in one way."""
    rows, outputs = work.weights.shape
    task = WriteVerify(device=device, tolerance=feedback.tolerance, give_up=True)
    policy, encoding = load_policy(controller, task), Encoding.of(work.weights, task.device)
    crossbar = Crossbar(device=task.device, rows=rows, cols=encoding.columns(outputs), writing="rows")
    noise = ArrayNoise.of(*seed)
    state = fresh_array(crossbar, noise)
    if initial == "erased":
        state = crossbar.fresh(state.chip, state.chip.x_lo + 0.0 * state.cell.x, np.zeros((2, *crossbar.shape)))
    given = crossbar, task, policy, state
    if method == CELLS_ALONE:
        written = write_array(*given, for_weights(work.weights, encoding), noise)
    else:
        written = write_product(*given, work.weights, encoding, work.known, noise, feedback=feedback, method=method)
    state, held = written.state, encoding.decode(written.reading)
    gain = best_gain(work.known @ work.weights, work.known @ held)
    true, wanted = encoding.decode(crossbar.conductance(state)), work.held @ work.weights
    return {
        "error": relative(work.held @ true - wanted, wanted),
        "error_gain": relative(work.held @ (gain * true) - wanted, wanted),
        "pulses": float(state.pulses.mean()),
        "reads": float(state.reads.mean()),
        "latency_ms": 1e3 * float(state.latency),
        "sequential_ms": 1e3 * float(state.sequential),
        "energy_nJ": 1e9 * float(state.energy.sum()),
    }


def learned(device: str, config: ProductFeedbackConfig) -> Feedback:
    """The settings of least cost on chips and matrices that are used for nothing else."""

    def judged(feedback: Feedback, cells: int, seed: int) -> float:
        total, arrays = 0.0, max(cells // CELLS_AN_ARRAY, 1)
        for number in range(arrays):
            work = workload("correlated", np.random.default_rng((TUNING, seed, number)), 32, 16, config.samples)
            found = program(FEEDBACK, work, device, config.controller, feedback, "anywhere", (TUNING, seed, number, 1))
            total += found["error"] + config.price * found["pulses"]
        return total / arrays

    return tune(Feedback(), config.trials, config.seed, one_by_one(judged)).policy if config.trials > 1 else Feedback()


Found = dict[tuple[str, str, str], dict[str, np.ndarray]]  # device, workload, method: (tolerances, chips) each


def measure(config: ProductFeedbackConfig, settings: dict[str, Feedback], run: Run | None = None) -> Found:
    """Errors and costs of all arrays; every method meets the same chips, weights and inputs; `run` keeps them."""
    results: Found = {}
    for number, name in enumerate(config.workloads):
        works = []
        for chip in range(config.chips):
            rng = np.random.default_rng((EVALUATION, config.seed, number, chip))
            work = workload(name, rng, config.rows, config.outputs, max(config.samples, JUDGED))
            works.append(work._replace(known=work.known[: config.samples]))
        for device in config.device:
            for method in config.methods:

                def found(device: str = device, method: str = method, works: list[Workload] = works) -> list[Row]:
                    return [
                        program(
                            method,
                            work,
                            device,
                            config.controller,
                            dataclasses.replace(settings[device], tolerance=tolerance),
                            config.initial,
                            (EVALUATION, config.seed, chip, 1),
                        )
                        for tolerance in config.tolerances
                        for chip, work in enumerate(works)
                    ]

                rows = run.once((device, name, method), found) if run else found()
                shape = len(config.tolerances), config.chips
                results[device, name, method] = {
                    key: np.reshape([row[key] for row in rows], shape) for key in (*ERRORS, *COSTS)
                }
                print(device, name, method, file=sys.stderr, flush=True)
    return results


def at_equal_error(feedback: dict, other: dict, point: int, cost: str, seed: int) -> Interval:
    """Cost of `feedback` at a tolerance (its number) over an opponent's at the same product error."""

    def ratio(rows: np.ndarray) -> np.ndarray:
        def logs(found: dict, key: str, chosen: np.ndarray) -> np.ndarray:
            return np.log(found[key][:, chosen].mean(1))

        out = []
        for chosen in rows:
            errors, costs = logs(other, "error_gain", chosen), logs(other, cost, chosen)
            order = np.argsort(errors)
            here = logs(feedback, "error_gain", chosen)[point]
            there = np.interp(here, errors[order], costs[order], left=np.nan, right=np.nan)
            out.append(np.exp(logs(feedback, cost, chosen)[point] - there))
        return np.array(out)

    return interval(ratio, feedback["error"].shape[1], seed)


def picture(results: Found, config: ProductFeedbackConfig) -> bytes:
    """PNG: product error against pulses and latency, a panel a device and workload."""
    from matplotlib.figure import Figure

    size = len(config.device) * 2, len(config.workloads)
    figure = Figure(figsize=(3.4 * size[1] + 1, 2.6 * size[0]), dpi=110, layout="constrained")
    panels = figure.subplots(*size, squeeze=False, sharey=False)
    for (device, name, method), found in results.items():
        for half, (cost, label) in enumerate((("pulses", "pulses per cell"), ("latency_ms", "latency [ms]"))):
            axes = panels[2 * config.device.index(device) + half, config.workloads.index(name)]
            error = 100 * found["error_gain"]
            axes.errorbar(
                found[cost].mean(1),
                error.mean(1),
                yerr=1.96 * error.std(1) / np.sqrt(error.shape[1]),
                marker="o",
                markersize=3,
                label=method,
                color=f"C{config.methods.index(method)}",
            )
            axes.set(title=f"{device}, {name}", xlabel=label, yscale="log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
    for line in panels:
        line[0].set_ylabel("product error with gains [%]")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    return rendered(figure)


def tables(results: Found, config: ProductFeedbackConfig) -> tuple[str, list[Row]]:
    """Both tables as Markdown, and the rows of the CSV."""
    lines, rows, equal = [], [], []
    for (device, name, method), found in results.items():
        for point, tolerance in enumerate(config.tolerances):
            percent = {key: 100 * found[key] for key in ERRORS}
            figures = {
                key: interval(lambda r, m=values[point]: m[r].mean(1), config.chips, config.seed)
                for key, values in (found | percent).items()
            }
            about = Row(device=device, inputs=name, method=method, tolerance=tolerance)
            rows.append(
                about | {key: part for name, one in figures.items() for key, part in columns(name, one).items()}
            )
            written = [shown(figures[key]) for key in (*ERRORS, "pulses")]
            written += [f"{figures[key][0]:.3g}" for key in COSTS[1:]]
            lines.append([device, name, method, f"{tolerance:g}", *written])
            for other in OPPONENTS if method == FEEDBACK else ():
                if (device, name, other) in results:
                    against = results[device, name, other]
                    ratios = [at_equal_error(found, against, point, cost, config.seed) for cost in COSTS]
                    equal.append(
                        [device, name, f"{tolerance:g}", shown(figures["error_gain"]), other]
                        + [shown(ratio) if np.isfinite(ratio).all() else "-" for ratio in ratios]
                    )
    head = ["device", "inputs", "method", "tolerance", "product error, %", "with gains, %", "pulses / cell"]
    head += ["reads / cell", "latency, ms", "one by one, ms", "energy, nJ"]
    other = ["device", "inputs", "tolerance", "with gains, %", "opponent", *(f"{name} / its" for name in COSTS)]
    return markdown(head, lines) + "\n" + markdown(other, equal), rows


def main() -> None:
    """Run, print and write."""
    config = parse(ProductFeedbackConfig, sys.argv[1:], "product_feedback.py")
    command = command_line("python benchmarks/product_feedback.py", sys.argv[1:])
    with begun(config.out / RECORD, config, command=command, packages=("memenv", "numpy"), files=FILES) as run:
        settings = {device: learned(device, config) for device in config.device}
        text = f"`{command}`\n\n"
        for device, feedback in settings.items():
            values = ", ".join(f"{key} {value:.3g}" for key, value in dataclasses.asdict(feedback).items())
            text += f"{device}: {values} (the tolerance varies below)\n\n"
        results = measure(config, settings, run)
        body, rows = tables(results, config)
        if not run.again:
            contents = csv_text(rows), text + body, picture(results, config)
            run.write(dict(zip(FILES, contents, strict=True)), complete=True)
    print(text + body)


if __name__ == "__main__":
    main()
