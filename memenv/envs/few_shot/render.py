"""Pictures of a few-shot episode for people: a text, and an image drawn with matplotlib (extra `plot`)."""

from typing import Any

import numpy as np

SHOWN = 6  # queries of a class
MICRO = 1e6  # [uS/S]


def learning_text(task: Any, trace: list[Any]) -> str:
    """The episode as a table, a line a step: gains, loss and share of the support that is right, queries, costs."""
    head = f"{'step':>4} {'gain':>14} {'loss':>8} {'support %':>10} {'queries %':>10} {'pulses':>8} {'energy [J]':>11}"
    lines = [head]
    for step, episode in enumerate(trace):
        gains = task.actions.decoded(_action(task, episode)).gain[0]
        gain = " ".join(f"{factor:.3g}" for factor in gains) if step and not episode.stopped[0] else ""
        gain = f"means {gains[-1]:.3g}" if episode.last.means[0] else gain
        seen = episode.seen
        word = "stop" if episode.stopped[0] else gain
        line = f"{step:>4} {word:>14} {seen.loss[0]:>8.3f} {100 * seen.support[0]:>10.1f}"
        lines.append(line + f" {100 * seen.accuracy[0]:>10.1f} {episode.pulses[0]:>8.3f} {episode.energy[0]:>11.3g}")
    return "\n".join(lines) + "\n"


def learning_image(task: Any, trace: list[Any]) -> np.ndarray:
    """(480, 960, 3) uint8: support and queries with what they are taken for, accuracy per step, the head's cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    episode = trace[-1]
    figure = Figure(figsize=(9.6, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    accuracy, pulses = 100 * episode.seen.accuracy[0], episode.pulses[0]
    figure.suptitle(f"step {episode.steps[0]:.0f}: {accuracy:.0f} % of the queries right, {pulses:.2f} pulses a device")
    parts: Any = figure.subfigures(1, 3, width_ratios=(4.0, 3.0, 3.0))
    left, middle, right = parts
    _draw_examples(left, task, episode)
    axes = middle.subplots()
    axes.plot([100 * part.seen.accuracy[0] for part in trace], "o-", label="queries")
    axes.plot([100 * part.seen.support[0] for part in trace], "s--", label="support")
    axes.set(xlabel="step", ylabel="right [%]", ylim=(0, 103), xlim=(-0.3, task.episode_steps + 0.3))
    axes.legend(loc="lower right", fontsize=8)
    _draw_cells(right, [trace[0].layers[-1], episode.layers[-1]])
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _action(task: Any, episode: Any) -> np.ndarray:
    """The last action, of its gains alone."""
    signal = episode.last.signal[:1]
    return np.column_stack((signal, np.zeros((1, 4))))


def _draw_examples(figure: Any, task: Any, episode: Any) -> None:
    """A row a class: the support, and queries framed green or red, in red with the class that they are taken for."""
    from matplotlib.patches import Rectangle

    queries = min(task.queries, SHOWN)
    shown, answers = task.shots + queries, episode.seen.answers[0].reshape(task.queries, task.ways)
    tiles = task.drawings.images[episode.kind[0, :, None], episode.instance[0, :, :shown]]
    axes = figure.subplots()  # one for all, as each takes 20 ms
    axes.imshow(np.block([list(row) for row in tiles]), cmap="gray_r", extent=(0, shown, task.ways, 0))
    for way, query in np.ndindex(task.ways, queries):
        column, taken = task.shots + query, answers[query, way]
        colour = "tab:green" if taken == way else "tab:red"
        axes.add_patch(Rectangle((column + 0.04, way + 0.04), 0.92, 0.92, fill=False, color=colour, linewidth=2))
        if taken != way:
            axes.text(column + 0.1, way + 0.35, str(taken + 1), fontsize=7, color=colour)
    axes.set_xticks([0.5 * task.shots, task.shots + 0.5 * queries], ["support", "queries"], fontsize=8)
    axes.set_yticks(np.arange(task.ways) + 0.5, np.arange(task.ways) + 1, fontsize=8)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


def _draw_cells(figure: Any, heads: list[Any]) -> None:
    """Maps of the head's conductances before learning and now, rows by columns; plus devices first in each weight."""
    maps = [MICRO * head.chip.conductance(head.state)[0] for head in heads]
    low, high = (float(end(maps)) for end in (np.min, np.max))
    panels = figure.subplots(1, len(maps), sharey=True)
    for axes, g, title in zip(panels, maps, ("before", "now"), strict=True):
        flat = g.reshape(len(g), -1)
        image = axes.imshow(flat, aspect="auto", cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(f"{title} [uS]", fontsize=8)
        axes.tick_params(labelsize=6)
        figure.colorbar(image, ax=axes, orientation="horizontal").ax.tick_params(labelsize=6)
