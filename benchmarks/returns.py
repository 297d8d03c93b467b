"""Mean return of tuned controllers on every id of write-verify: where `reward_threshold` comes from.

    python benchmarks/returns.py

Each controller is tuned on cells of its own and judged on others, in the id's own task (giving up is no action there).
Printed: a table of returns with 95 % intervals over cells, the best classical one of each id last.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from agents.evaluation import evaluate
from agents.library import controller
from agents.tuning import tune
from memenv import WriteVerify
from memenv.envs.variants import VARIANTS
from memenv.experiments import reporting
from memenv.experiments.options import option, parse

CLASSICAL = ("constant", "ispp", "ispp-shrinking", "vipi", "secant", "nominal", "history", "bayes")


@dataclass(frozen=True, kw_only=True)
class ReturnsConfig:
    """Returns of controllers by id."""

    cells: int = option(4000, help="on which a controller is judged")
    trials: int | None = option(None, help="of tuning [2000 where loops are compiled, else 200]")
    seed: int = option(0, help="of tuning and cells")


def main(arguments: Sequence[str]) -> None:
    """Tune, judge, print."""
    config = parse(ReturnsConfig, arguments, "returns.py")
    lines = []
    for name, variant in VARIANTS.items():
        if variant.base != "WriteVerify":
            continue
        means: dict[str, float] = {}
        seen = WriteVerify(**{own: value for own, value in variant.fixed.items() if own != "goal"})  # by all alike
        for own in CLASSICAL:
            policy = tune(controller(own, seen), config.trials, config.seed).policy
            returns = evaluate(policy, seen, config.cells, config.seed).returns
            means[own], half = reporting.mean_and_half_width(returns)
            lines.append([f"memenv/{name}-v0", own, f"{means[own]:.3f} +- {half:.3f}"])
        best = max(means, key=means.__getitem__)
        lines.append(
            [f"memenv/{name}-v0", f"best: {best}", f"{means[best]:.3f} (threshold {variant.reward_threshold})"]
        )
    print(reporting.markdown(["id", "controller", "return"], lines))


if __name__ == "__main__":
    main(sys.argv[1:])
