"""Figures with 95 % intervals, tables and pictures of them: the one home of resampling and of printing."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 1000  # of a bootstrap ...
TOGETHER = 50  # ... so many of which are drawn at once
Z = 1.96  # half-width of an interval in standard errors

Interval = tuple[float, float, float]  # value, low and high of 95 %


def bootstrap(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]], cells: int, seed: int = 0
) -> dict[str, Interval]:
    """Figures of `cells` cells, or of whatever was drawn independently, with bootstrap intervals over them.

    `statistics` makes figures (resamples,), by name, of numbers (resamples, cells) of cells; those that are not finite
    do not count. Equal seeds resample alike.
    """
    rng = np.random.default_rng((9, seed))
    parts = [statistics(rng.integers(cells, size=(TOGETHER, cells))) for _ in range(RESAMPLES // TOGETHER)]
    found = {}
    for name, (value,) in statistics(np.arange(cells)[None]).items():
        draws = np.concatenate([part[name] for part in parts])
        draws = draws[np.isfinite(draws)]
        low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
        found[name] = float(value), float(low), float(high)
    return found


def interval(statistic: Callable[[np.ndarray], np.ndarray], cells: int, seed: int = 0) -> Interval:
    """One figure, as of `bootstrap`."""
    return bootstrap(lambda rows: {"": statistic(rows)}, cells, seed)[""]


def mean_interval(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean of `values` (cells,)."""
    return interval(lambda rows: values[rows].mean(-1), len(values), seed)


def ratio_interval(total: np.ndarray, count: np.ndarray, seed: int = 0) -> Interval:
    """Sum of `total` (cells,) over sum of `count` (cells,)."""
    return interval(lambda rows: total[rows].sum(-1) / count[rows].sum(-1), len(total), seed)


def paired_interval(values: np.ndarray, rival: np.ndarray, seed: int = 0) -> Interval:
    """Mean of `values` (cells,) less those of a rival on the same cells: what cells have in common cancels."""
    return mean_interval(np.subtract(values, rival, dtype=float), seed)


def mean_and_half_width(values: np.ndarray) -> tuple[float, float]:
    """Mean of values (n,), and the half-width of its interval; normal, for many of them."""
    return float(values.mean()), float(Z * values.std(ddof=min(1, len(values) - 1)) / np.sqrt(len(values)))


# -- tables and pictures -----------------------------------------------------------------------------------------------


def columns(name: str, figure: Interval) -> dict[str, float]:
    """An interval as columns of a row ..."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), figure, strict=True))


def figure(row: Mapping[str, Any], name: str, scale: float = 1.0) -> Interval:
    """... and back, in another unit."""
    return scale * row[name], scale * row[f"{name}_low"], scale * row[f"{name}_high"]


def number(value: float, form: str = "{:.2f}") -> str:
    """A figure, or a dash for what is not finite, as a ratio to nothing."""
    return form.format(value) if np.isfinite(value) else "–"


def finite(value: float) -> float | None:
    """A figure for JSON, None for what is not finite."""
    return value if np.isfinite(value) else None


def shown(figure: Interval, form: str = "{:.2f}") -> str:
    """A figure with its interval in brackets, unless it is a dash."""
    value, low, high = (number(one, form) for one in figure)
    return f"{value} [{low}, {high}]" if np.isfinite(figure[0]) else value


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table for the terminal; so many columns are aligned on the left, the others on the right."""
    lines = [head, *lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    return "\n".join(
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)) for line in lines
    )


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "".join("| " + " | ".join(line) + " |\n" for line in [head, ["---"] * len(head), *lines])


def uncertain(models: Iterable[Any]) -> str:
    """Lines for below a table: what is not known of its devices (of a mixture, of each), and what of it is assumed."""
    each = [device for model in models for device in (model.devices or (model,))]
    unknown = {one.name: one.record.uncertainty for one in each if one.record and one.record.uncertainty}
    return "".join(f"\n{name}, standard deviations of a chip: {of.described()}.\n" for name, of in unknown.items())


def rendered(figure: Any, kind: str = "png", **settings: Any) -> bytes:
    """A picture of matplotlib as a file of a kind; `settings` as of its `savefig`."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, **settings)
    return file.getvalue()


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows with all columns; a row that lacks one leaves it empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
