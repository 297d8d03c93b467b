"""Learned policies against the best controller that learns nothing, from the tables of `memenv compare`.

    python benchmarks/learned_against_simple.py comparison/comparison.csv

Takes the comparison.csv of any number of comparisons, with `specialist` and `generalist` among the controllers.
Printed: a row for each device and tolerance, pulses of an accepted cell / success [%]. The best is that of the least
price: pulses, and the budget of `memenv compare` more for a cell that is not accepted, as everybody is tuned.
"""

import csv
import sys
from collections.abc import Sequence

from agents.comparison import CompareConfig
from agents.library import fair_controllers
from memenv.experiments.reporting import markdown

RAMPS = ("ispp", "ispp-shrinking", "vipi")
FAILURE = CompareConfig().max_pulses  # [pulses]
HEAD = ("device", "tolerance", "specialist", "generalist", "best without learning", "price of specialist, of the best")
Row = dict[str, str]


def price(row: Row) -> float:
    """Mean price of a cell [pulses]."""
    return float(row["pulses_mean"]) + FAILURE * (1 - float(row["success_rate"]))


def figures(row: Row) -> str:
    """Pulses of an accepted cell / success [%]."""
    return f"{float(row['pulses_per_accepted']):.2f} / {100 * float(row['success_rate']):.1f}"


def line(own: dict[str, Row]) -> list[str]:
    """The line of a device at a tolerance, from its rows by controller."""
    best, ramp = (min((own[name] for name in names if name in own), key=price) for names in (fair_controllers(), RAMPS))
    mine = own["specialist"]
    return [
        mine["device"],
        f"{100 * float(mine['tolerance']):g} %",
        figures(mine),
        figures(own["generalist"]),
        f"`{best['controller']}` {figures(best)}",
        f"{price(mine) / price(best):.2f}",
        f"`{ramp['controller']}` {price(mine) / price(ramp):.2f}",
    ]


def main(paths: Sequence[str]) -> None:
    """Print the table."""
    tables: dict[tuple[str, str], dict[str, Row]] = {}
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                tables.setdefault((row["tolerance"], row["device"]), {})[row["controller"]] = row
    print(markdown([*HEAD, "of the best ramp"], [line(own) for own in tables.values()]))


if __name__ == "__main__":
    main(sys.argv[1:])
