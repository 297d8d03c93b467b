"""`memenv score`: a policy on standard tasks, with chips that nothing else sees, as a card that others can check."""

import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.comparison import PACKAGES, metrics
from agents.evaluation import evaluate
from agents.library import load_policy
from agents.policy import Policy
from agents.stress import MATCHED, Case, case
from agents.tuned import shipped_or_tuned
from agents.tuning import priced
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments import reporting
from memenv.experiments.options import option, parse
from memenv.experiments.runs import OutputOptions, command_line, new_file, versions
from memenv.files import load_json, named, write_whole

FORMAT = "memenv score 1"
SCORING = 3  # beside EVALUATION, TUNING and TRAINING: chips that no comparison, search or training sees
SEED, CELLS, FEW = 19, 1000, 100
FIGURES = ("return_mean", "pulses_mean", "success_rate", "false_acceptance_rate", "energy_mean", "latency_mean")
Make = Callable[[WriteVerify], Policy]

# Name: what it asks for, arguments of WriteVerify, how the truth differs from the record (as of memenv stress).
TASKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "program": ("cells of `threshold` to 2 %", {"device": "threshold"}, MATCHED),
    "measured": ("cells of `enode-sandia`, a fit to measurements, to 2 %", {"device": "enode-sandia"}, MATCHED),
    "fine": ("cells of `threshold` to 0.5 %", {"device": "threshold", "tolerance": 0.005}, MATCHED),
    "array": ("cells of `hfo2-array-om`, many of them stuck, to 2 %", {"device": "hfo2-array-om"}, MATCHED),
    "rewrite": ("five targets for each cell of `threshold`", {"device": "threshold", "rounds": 5}, MATCHED),
    "stress": ("`threshold`, whose true slope is half of the record's", {"device": "threshold"}, "slope=0.5"),
    "relax": ("cells of `hfo2-neurram`, which relax, to 2 %", {"device": "hfo2-neurram"}, MATCHED),
}


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(OutputOptions):
    """Judge a policy on the standard tasks and write a card, or check a card; a minute or two.

    Example: memenv score generalist --out generalist.json
    """

    policy: str = option(
        positional=True,
        help="a controller, a shipped policy, the path of a .npz, or MODULE:OBJECT, which makes a policy of a task",
    )
    quick: bool = option(False, help=f"{FEW} cells instead of {CELLS} and no search: to try it, not to enter")
    check: Path | None = option(None, help="judge again, and compare with this card")
    out: Path = option(Path("card.json"), help="the card")


def run(arguments: Sequence[str]) -> None:
    """The subcommand."""
    config = parse(ScoreConfig, arguments, "memenv score")
    if config.check is not None:
        check(read_card(config.check), config.policy)
        print(f"{config.check} belongs to {config.policy}, and its figures are found again")
        return
    with new_file(config.out, config.overwrite):
        card = score(config.policy, config.quick, command_line("memenv score", arguments))
        write_whole(config.out, json.dumps(card, indent=1) + "\n")
    print(table([card]))
    print(f"in {config.out}")


def score(policy: str, quick: bool = False, command: str = "") -> dict[str, Any]:
    """The card of a policy.

    Raises:
        ValueError: an unknown policy, or one that can play none of the tasks.
    """
    make, told = maker(policy)
    played: dict[str, Any] = {}
    for name in (bar := tqdm(TASKS, unit="task", disable=None, file=sys.stderr)):
        bar.set_description(name)
        one = standard(name)
        try:
            own = make(one.told)
        except ValueError as error:  # a policy for other tasks
            played[name] = {"refused": str(error)}
            continue
        played[name] = _judged(own, one, quick)
    if all("refused" in found for found in played.values()):
        raise ValueError(f"{policy} plays none of the tasks: {played['program']['refused']}")
    judged = {"cells": FEW if quick else CELLS, "seed": SEED, "versions": versions(*PACKAGES)}
    return {"format": FORMAT, "command": command, "policy": told, **judged, "tasks": played}


def standard(name: str) -> Case:
    """A standard task: what policies are told, and the cells."""
    _, own, truth = TASKS[name]
    return case(priced(WriteVerify(**own, give_up=True), None), truth)


def _judged(policy: Policy, one: Case, quick: bool) -> dict[str, Any]:
    """Figures of a policy, after a search of what can be tuned on the record that it is told."""
    tuned = shipped_or_tuned(policy, 1 if quick else None, SEED)
    outcomes = evaluate(tuned.policy, one.true, FEW if quick else CELLS, SEED, purpose=SCORING)
    found = metrics(outcomes, SEED)
    figures = {name: [reporting.finite(value) for value in reporting.figure(found, name)] for name in FIGURES}
    return {"trials": tuned.trials, "parameters": tuned.parameters, **figures}


def maker(policy: str) -> tuple[Make, dict[str, Any]]:
    """A function of a task that makes the policy, and its entry in the card: name, kind, SHA-256 of its file.

    A file is data (`agents.load_policy`); code runs only by an import path, of what the user has installed.

    Raises:
        ValueError: there is no such module or object.
    """
    module, colon, name = policy.partition(":")
    if policy.endswith(".npz") or not colon:
        digest = hashlib.sha256(Path(policy).read_bytes()).hexdigest() if Path(policy).is_file() else None
        kind = "file" if digest else "shipped"
        return lambda task: load_policy(policy, task), {"name": Path(policy).stem, "kind": kind, "sha256": digest}
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two of no name of a module
        raise ValueError(f"{policy} cannot be imported ({error}): put its folder into PYTHONPATH") from None
    try:
        inspect.signature(found).bind(task=None)
    except (TypeError, ValueError) as error:  # nothing that can be called, or a call that cannot be known
        raise ValueError(f"{policy} makes no policy of a task ({error}): it is called as {name}(task=...)") from None
    spec = importlib.util.find_spec(module)
    source = Path(spec.origin) if spec and spec.origin else None
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if source and source.is_file() else None
    return lambda task: found(task=task), {"name": name, "kind": "code", "sha256": digest}


# -- cards -------------------------------------------------------------------------------------------------------------


def read_card(path: Path) -> dict[str, Any]:
    """A card whose parts are all there.

    Raises:
        ValueError: another file, or a damaged one.
    """
    with named(path, "card of memenv score"):
        card: dict[str, Any] = load_json(path)
        if card["format"] != FORMAT:
            raise ValueError(f"its format is {card['format']!r}, {FORMAT!r} is needed")
        if card["tasks"].keys() != TASKS.keys() or card["seed"] != SEED or card["cells"] not in (FEW, CELLS):
            raise ValueError("it is not of the standard tasks")
        for name, found in card["tasks"].items():
            for figure in () if "refused" in found else FIGURES:
                if not _agree(found[figure], found[figure]):
                    raise ValueError(f"{figure} of {name} is {found[figure][0]}, outside its interval")
        for key in ("name", "kind", "sha256"):
            card["policy"][key]
        return card


def check(card: dict[str, Any], policy: str) -> None:
    """Judge the policy of a card again.

    Raises:
        ValueError: the card is of another policy or file, or a figure lies outside the interval of the other.
    """
    _, told = maker(policy)
    for key, said in card["policy"].items():
        if told.get(key) != said:
            raise ValueError(f"the card is of another policy: its {key} is {said}, that of {policy} is {told.get(key)}")
    found = score(policy, card["cells"] == FEW)
    for name, one in found["tasks"].items():
        there = card["tasks"][name]
        if ("refused" in one) != ("refused" in there):
            raise ValueError(f"the card does not hold: {name} is {'not ' if 'refused' in one else ''}played")
        for figure in () if "refused" in one else FIGURES:
            if not _agree(one[figure], there[figure]):
                here, said = (", ".join(map(str, found)) for found in (one[figure], there[figure]))
                raise ValueError(f"the card does not hold: {figure} of {name} is {here}, it has {said}")


def _agree(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """True where each of two figures lies in the other's interval: a card states its own, as wide as it likes."""
    if None in one or None in other:
        return list(one) == list(other)
    (here, *ends), (there, *others) = np.array(one, float), np.array(other, float)
    return bool(ends[0] <= there <= ends[1] and others[0] <= here <= others[1])


def overall(card: dict[str, Any]) -> float:
    """Mean return of a target over the tasks; that of a failure, -1, where a task is refused."""
    each = [
        -1.0 if "refused" in found else found["return_mean"][0] / standard(name).told.rounds
        for name, found in card["tasks"].items()
    ]
    return sum(each) / len(each)


def table(cards: Sequence[dict[str, Any]]) -> str:
    """Cards as a Markdown table, the best first: pulses with their interval / success of each task."""
    lines = [
        [card["policy"]["name"], f"{overall(card):.3f}", *(_cell(card["tasks"][name]) for name in TASKS)]
        for card in sorted(cards, key=overall, reverse=True)
    ]
    return reporting.markdown(["policy", "score", *TASKS], lines)


def _cell(found: dict[str, Any]) -> str:
    if "refused" in found:
        return "–"
    return f"{reporting.shown(found['pulses_mean'])} / {100 * found['success_rate'][0]:.1f} %"
