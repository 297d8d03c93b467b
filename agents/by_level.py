"""Tasks by levels: their options, each level's own figures, and the bits that reading back gets wrong."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from agents.evaluation import Outcomes
from memenv.envs.write_verify.levels import BANDS, bit_errors, level_of, read_levels
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments import reporting
from memenv.experiments.options import Options, option

BIT_ERRORS = "bit_error_rate"
HEAD = ("controller", "level", "target S", "band S", "cells", "pulses", "success %", "read as another %")


@dataclass(frozen=True, kw_only=True)
class LevelOptions(Options):
    """The levels of a task, alike for every command that programs to them."""

    group: ClassVar[str] = "levels"

    target_levels: str | None = option(
        None, help="targets are so many levels, or these, as 0.1,0.5,0.9 or, with bands, :0.1:0.2,0.4:0.5:0.6 [any]"
    )
    bands: str | None = option(
        None, choices=BANDS, help="of levels without bands: tolerance is of conductances, resistances or the target"
    )

    def level_arguments(self) -> dict[str, Any]:
        """Arguments of `WriteVerify`.

        Raises:
            ValueError: no levels.
        """
        return {"target_levels": read_levels(self.target_levels), "bands": self.bands or BANDS[0]}


def wrong_bits(task: WriteVerify, outcomes: Outcomes) -> np.ndarray:
    """Share of wrong bits (cells,) in a read without noise at the end, accepted or not; neighbours differ in one."""
    wanted, held = _levels(task, outcomes)
    return bit_errors(wanted, held, len(task.target_bands))


def level_rows(task: WriteVerify, name: str, outcomes: Outcomes) -> list[dict[str, Any]]:
    """A row for each level that a cell had."""
    wanted, held = _levels(task, outcomes)
    rows = []
    for number, level in enumerate(task.target_bands):
        here = wanted == number
        if here.any():
            row = {"controller": name, "device": task.device.name, "level": number, "cells": int(here.sum())}
            row |= {f"{end}_S": task.siemens(task.device, x) for end, x in level._asdict().items()}
            rows.append(
                row
                | {
                    "pulses_mean": outcomes.pulses[here].mean(),
                    "success_rate": outcomes.accepted[here].mean(),
                    "false_acceptances": outcomes.false_acceptances[here].sum(),
                    "level_error_rate": (held != wanted)[here].mean(),
                }
            )
    return rows


def level_table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, a table for each device."""
    text = ""
    for device in dict.fromkeys(row["device"] for row in rows):
        lines = [
            [
                row["controller"],
                str(row["level"]),
                f"{row['target_S']:.4g}",
                f"{row['low_S']:.4g} to {row['high_S']:.4g}",
                str(row["cells"]),
                f"{row['pulses_mean']:.2f}",
                f"{100 * row['success_rate']:.1f}",
                f"{100 * row['level_error_rate']:.2f}",
            ]
            for row in rows
            if row["device"] == device
        ]
        text += f"\n**{device}, by level**\n\n{reporting.markdown(HEAD, lines)}"
    return text


def _levels(task: WriteVerify, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (cells,) of the levels that were wanted, and of those that cells hold."""
    assert outcomes.target is not None
    wanted, held = (level_of(task.target_bands, x) for x in (outcomes.target, outcomes.target + outcomes.error))
    return wanted, held
