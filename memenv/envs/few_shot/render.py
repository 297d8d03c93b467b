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
    axes.set(xlabel="step", ylabel="right [%]", ylim=(0, 103), xlim=(-0.3, task.max_steps + 0.3))
    axes.legend(loc="lower right", fontsize=8)
    _draw_cells(right, [trace[0].layers[-1], episode.layers[-1]])
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _action(task: Any, episode: Any) -> np.ndarray:
    """The last action, of its gains alone."""
    signal = episode.last.signal[:1]
    return np.column_stack((signal, np.zeros((1, 3))))


def _draw_examples(figure: Any, task: Any, episode: Any) -> None:
    """A row a class: the support, and queries framed green or red, in red with the class that they are taken for."""
    queries, images = min(task.queries, SHOWN), task.drawings.images
    answers = episode.seen.answers[0].reshape(task.queries, task.ways)
    panels = figure.subplots(task.ways, task.shots + queries, squeeze=False)
    for way, row in enumerate(panels):
        for column, axes in enumerate(row):
            axes.imshow(images[episode.kind[0, way], episode.instance[0, way, column]], cmap="gray_r")
            axes.set(xticks=[], yticks=[])
            if column >= task.shots:
                taken = answers[column - task.shots, way]
                colour = "tab:green" if taken == way else "tab:red"
                axes.spines[:].set(color=colour, linewidth=2)
                if taken != way:
                    axes.text(1, 8, str(taken + 1), fontsize=7, color=colour)
        row[0].set_ylabel(str(way + 1), fontsize=8)
    panels[0, 0].set_title("support", fontsize=8)
    panels[0, task.shots].set_title("queries", fontsize=8)


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
