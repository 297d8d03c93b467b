"""Bootstrap intervals over cells, for the benchmarks whose figures are not those of `memenv compare`."""

from collections.abc import Callable

import numpy as np

from agents.comparison import RESAMPLES

Interval = tuple[float, float, float]  # value, low and high of 95 %


def interval(statistic: Callable[[np.ndarray], np.ndarray], cells: int, seed: int = 0) -> Interval:
    """A figure of `cells` cells; `statistic` takes rows (resamples, cells) and answers (resamples,)."""
    rng = np.random.default_rng((9, seed))
    draws = [statistic(rng.integers(cells, size=(50, cells))) for _ in range(RESAMPLES // 50)]
    low, high = np.percentile(np.concatenate(draws), [2.5, 97.5])
    return float(statistic(np.arange(cells)[None])[0]), float(low), float(high)


def mean_interval(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean of `values` (cells,)."""
    return interval(lambda rows: values[rows].mean(axis=1), len(values), seed)


def ratio_interval(total: np.ndarray, count: np.ndarray, seed: int = 0) -> Interval:
    """Sum of `total` (cells,) over sum of `count` (cells,)."""
    return interval(lambda rows: total[rows].sum(axis=1) / count[rows].sum(axis=1), len(total), seed)


def shown(figure: Interval, form: str = "{:.2f}") -> str:
    """A figure with its interval in brackets."""
    value, low, high = map(form.format, figure)
    return f"{value} [{low}, {high}]"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines]) + "\n"
