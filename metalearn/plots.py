"""Pictures of few-shot learning: an episode on a chip, and accuracy against the strength of non-idealities; figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from memenv.few_shot.characters import Characters
from memenv.few_shot.chips import Hardware
from memenv.few_shot.episodes import draw
from memenv.few_shot.initialisations import Initialisation
from memenv.learning.step import Layer
from metalearn.evaluation import DRIFT_TIME, NON_IDEALITIES
from metalearn.learners import begin, learner_of

SHOWN = 8  # queries of a class
MICRO = 1e6  # [uS/S]


def episode(
    init: Initialisation,
    hardware: Hardware | None,
    characters: Characters,
    inputs: np.ndarray,
    *,
    ways: int,
    shots: int,
    queries: int,
    seed: int,
    title: str,
) -> Any:
    """Support, queries with what they were taken for, accuracy after each step, and the head's weights on the cells.

    Args:
        init: where learning starts.
        hardware: the chip; None: numbers.
        characters: of which the images are shown.
        inputs: (classes, instances, features) that the front made of them.
        ways: classes.
        shots: support examples of a class.
        queries: query examples of a class.
        seed: of the episode and the chip.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    numbers = {"ways": ways, "shots": shots, "queries": queries}
    drawn = draw(inputs, np.random.default_rng(seed), 1, **numbers)
    flat = characters.images.reshape(*characters.images.shape[:2], -1)
    images = draw(flat, np.random.default_rng(seed), 1, **numbers)  # the same choice, as pixels
    answers, heads = _learn(init, hardware, drawn, ways, seed)
    right = answers == drawn.query_y[0]

    figure = Figure(figsize=(13, max(0.85 * ways, 3.0) + 1.0), dpi=110, layout="constrained")
    figure.suptitle(f"{title}: {ways}-way {shots}-shot, {right[-1].mean():.0%} of {right.shape[1]} queries right")
    ratios = (shots + min(queries, SHOWN), 3.5, 4.5)
    parts: Any = figure.subfigures(1, 3, width_ratios=ratios)
    left, middle, end = parts
    grid = left.subplots(ways, shots + min(queries, SHOWN), squeeze=False)
    for column, axes in enumerate(grid.T):
        for way, axis in enumerate(axes):
            shown, number = (images.support_x, column) if column < shots else (images.query_x, column - shots)
            axis.imshow(shown[0, number * ways + way].reshape(characters.images.shape[2:]), cmap="gray_r")
            axis.set(xticks=[], yticks=[])
            if column >= shots:
                given = answers[-1, number * ways + way]
                axis.set_title("" if given == way else f"{given + 1}?", fontsize=8, pad=2, color="tab:red")
                colour = "tab:green" if given == way else "tab:red"
                axis.spines[:].set(color=colour, linewidth=2)
    for way, axis in enumerate(grid[:, 0]):
        axis.set_ylabel(f"class {way + 1}")
    for column, text in ((0, "support"), (shots, "queries")):
        grid[0, column].annotate(text, (0, 1.25), xycoords="axes fraction", fontsize=10)
    axes = middle.subplots()
    axes.plot(100 * right.mean(1), "o-")
    axes.set(xlabel="step", ylabel="queries right [%]", ylim=(0, 103), xticks=range(len(right)))
    _draw_head(end, heads)
    return figure


def _learn(
    init: Initialisation, hardware: Hardware | None, drawn: Any, ways: int, seed: int
) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Answers to each query, (steps + 1, queries), and maps of the head before and after, with their titles."""
    targets, rng = np.eye(ways)[drawn.support_y], np.random.default_rng(seed)
    learner = learner_of(hardware, init, 1, rng, rng)
    begun = begin(learner, init, drawn.support_x, targets)
    stages = [begun.layers]
    stages += [step.layers for step in begun.steps(learner, drawn.support_x, targets)]
    answers = np.array([begun.outputs(learner, one, drawn.query_x)[0].argmax(-1) for one in stages])
    if begun.head is not None:
        return answers, [("digital weights", begun.head[0])]
    first, end = stages[0][-1], stages[-1][-1]
    if hardware is None:
        return answers, [("weights before", first[0]), ("weights after", end[0])]
    before, after = (MICRO * _conductances(one) for one in (first, end))
    return answers, [("G before [µS]", before), ("G after [µS]", after), ("change [µS]", after - before)]


def _conductances(layer: Layer) -> np.ndarray:
    """(rows, outputs * devices) [S] of the one chip: each weight's plus devices, then its minus devices."""
    g = layer.chip.conductance(layer.state)[0]
    return g.reshape(len(g), -1)


def _draw_head(figure: Any, maps: Sequence[tuple[str, np.ndarray]]) -> None:
    panels = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    panels[0].set_ylabel("features, and biases")
    figure.supxlabel("columns of the head", fontsize=9)
    for axes, (title, values) in zip(panels, maps, strict=True):
        signed = values.min() < 0
        most = np.abs(values).max() or 1.0
        drawn = axes.imshow(
            values, aspect="auto", cmap="RdBu_r" if signed else "viridis", vmin=-most if signed else 0.0, vmax=most
        )
        axes.set(title=title, xticks=[])
        axes.title.set_fontsize(9)
        figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.9, pad=0.02)


def by_step(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Accuracy after each step of learning, of what was not varied, with 95 % intervals; rows as of `robustness`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.0), dpi=110, layout="constrained")
    axes = figure.subplots()
    for row in rows:
        if not row["non_ideality"]:
            steps = [key.removeprefix("accuracy_step") for key in row if key.startswith("accuracy_step")]
            shares, half = ([100 * row[f"{name}_step{step}"] for step in steps] for name in ("accuracy", "half_width"))
            label = f"{row['init']}, {row['device']}" + (f", task {row['first_task']} ..." if "kept" in row else "")
            axes.errorbar(range(len(steps)), shares, half, marker="o", capsize=3, label=label)
    axes.set(xlabel="step", ylabel="accuracy [%]")
    axes.legend(fontsize=7)
    return figure


def robustness(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Accuracy right after learning against the amount of each non-ideality that was varied, with 95 % intervals.

    Args:
        rows: those of `memenv fewshot`'s table.
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(row["non_ideality"] for row in rows if row["non_ideality"]))
    figure = Figure(figsize=(4.2 * len(kinds), 4.0), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        own = [row for row in rows if row["non_ideality"] == kind]
        shown = next(key for key in own[0] if key.startswith("accuracy_"))
        for name, device in dict.fromkeys((row["init"], row["device"]) for row in own):
            line = [row for row in own if (row["init"], row["device"]) == (name, device)]
            amounts = [row["amount"] for row in line]
            shares, half = (
                [100 * row[key] for row in line] for key in (shown, shown.replace("accuracy", "half_width"))
            )
            axes.errorbar(amounts, shares, half, marker="o", capsize=3, label=f"{name}, {device}")
        if kind == DRIFT_TIME:
            axes.set_xscale("symlog", linthresh=1.0)
        axes.set(title=kind.replace("_", " "), xlabel=NON_IDEALITIES[kind][0])
        axes.xaxis.label.set_fontsize(7)
    panels[0].set_ylabel("accuracy [%]")
    panels[-1].legend(fontsize=7)
    return figure
