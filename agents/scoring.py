"""`memenv score`: a policy on standard tasks, with chips that nothing else sees, as a card that others can check."""

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from agents.comparison import PACKAGES, metrics
from agents.evaluation import evaluate
from agents.few_shot.agent import FewShotAgent
from agents.few_shot.schedules import learn, own_schedule
from agents.library import controller, load_policy
from agents.policy import Policy
from agents.stress import MATCHED, case
from agents.tuned import identity, shipped_or_tuned
from agents.tuning import priced
from memenv.bounds import is_number
from memenv.envs.few_shot.task import FewShot
from memenv.envs.write_verify.task import WriteVerify
from memenv.experiments import reporting
from memenv.experiments.options import option, parse
from memenv.experiments.runs import OutputOptions, command_line, file_digest, new_file, versions
from memenv.files import load_json, named, write_whole

FORMAT = "memenv score 2"  # 1: without retention, learning and digests of the tasks
SCORING = 3  # beside EVALUATION, TUNING and TRAINING: chips that no comparison, search or training sees
SEED, CELLS, FEW = 19, 1000, 100
DAY = 86_400.0  # [s]
Make = Callable[[Any], Policy]  # of a task


class Standard(NamedTuple):
    """A standard task."""

    text: str  # what it asks for
    arguments: dict[str, Any]  # of WriteVerify or FewShot
    truth: str = MATCHED  # how the cells differ from the record, as of memenv stress
    rest: float = 0.0  # [s] after which a cell is judged


class Match(NamedTuple):
    """What a policy is told, and what it meets."""

    told: Any  # task
    true: Any  # task


TASKS = {
    "program": Standard("cells of `threshold` to 2 %", {"device": "threshold"}),
    "measured": Standard("cells of `enode-sandia`, a fit to measurements, to 2 %", {"device": "enode-sandia"}),
    "fine": Standard("cells of `threshold` to 0.5 %", {"device": "threshold", "tolerance": 0.005}),
    "array": Standard("cells of `hfo2-array-om`, many of them stuck, to 2 %", {"device": "hfo2-array-om"}),
    "rewrite": Standard("five targets for each cell of `threshold`", {"device": "threshold", "rounds": 5}),
    "stress": Standard(
        "`threshold`, whose true slope is half of the record's", {"device": "threshold"}, truth="slope=0.5"
    ),
    "relax": Standard("cells of `hfo2-neurram`, which relax, to 2 %", {"device": "hfo2-neurram"}),
    "retention": Standard(
        "the same to 5 %, judged a day later: what has left its band by then counts as a false acceptance",
        {"device": "hfo2-neurram", "tolerance": 0.05},
        rest=DAY,
    ),
}
LESSONS = {
    "head": Standard("ten new characters, one example each, by the head behind a fixed encoder", {"split": "test"}),
    "layers": Standard("the same by every layer of an MLP", {"split": "test", "network": "mlp"}),
}


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(OutputOptions):
    """Judge a policy on the standard tasks of a league and write a card, or check a card; a minute or two.

    Example: memenv score generalist --out generalist.json
    """

    policy: str = option(
        positional=True,
        help="a controller, a shipped policy, the path of a .npz, or MODULE:OBJECT, which makes a policy of a task",
    )
    league: str = option("cells", choices=("cells", "learning"), help="cells are programmed, or chips learn few-shot")
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
        card = score(config.policy, config.league, config.quick, command_line("memenv score", arguments))
        write_whole(config.out, json.dumps(card, indent=1) + "\n")
    print(table([card]))
    print(f"in {config.out}")


def score(policy: str, league: str = "cells", quick: bool = False, command: str = "") -> dict[str, Any]:
    """The card of a policy.

    Where it refuses a task, the league's simplest stands in for it, as its user would have to let it.

    Raises:
        ValueError: an unknown policy, or one that can play none of the tasks.
    """
    (make, told), own = maker(policy), LEAGUES[league]
    cases = {name: own.case(task) for name, task in own.tasks.items()}
    players, refused, played = dict[str, Policy](), dict[str, dict[str, str]](), dict[str, Any]()
    for name, one in cases.items():
        try:
            players[name] = make(one.told)
        except ValueError as error:  # a policy for other tasks
            players[name], refused[name] = own.stand_in(one.told), {"refused": str(error)}
    if refused.keys() == cases.keys():
        raise ValueError(f"{policy} plays none of the tasks: {next(iter(refused.values()))['refused']}")
    returns = []
    for name in (bar := tqdm(cases, unit="task", disable=None, file=sys.stderr)):
        bar.set_description(name)
        figures, each = own.judge(players[name], cases[name], own.tasks[name], quick)
        played[name] = {"digest": digest(cases[name]), **refused.get(name, {}), **figures}
        returns.append(each / _rounds(own.tasks[name]))
    judged = {"cells": FEW if quick else CELLS, "seed": SEED, "versions": versions(*PACKAGES)}
    judged["score"] = reporting.mean_interval(np.mean(returns, axis=0), SEED)  # a cell is the same one in several tasks
    return {"format": FORMAT, "command": command, "policy": told, "league": league, **judged, "tasks": played}


def digest(one: Match) -> str:
    """SHA-256 of a task, of the records that policies are told and cells are of, and of the network that learns."""
    devices = [one.told.device, one.true.device]
    return identity((one.told, *devices, getattr(one.told, "start", None)))


def programming(one: Standard) -> Match:
    """A task of cells: what policies are told, and the cells."""
    found = case(priced(WriteVerify(**one.arguments, give_up=True), None), one.truth)
    return Match(found.told, found.true)


def lesson(one: Standard) -> Match:
    """A task of chips that learn."""
    task = FewShot(**one.arguments)
    return Match(task, task)


Played = tuple[dict[str, Any], np.ndarray]  # figures of a policy in a task, and the return of each cell or chip


def _programmed(policy: Policy, one: Match, task: Standard, quick: bool) -> Played:
    """A policy after a search of what can be tuned on the record that it is told."""
    tuned = shipped_or_tuned(policy, 1 if quick else None, SEED)
    outcomes = evaluate(tuned.policy, one.true, FEW if quick else CELLS, SEED, purpose=SCORING, rest=task.rest)
    found = metrics(outcomes, SEED)
    figures = {name: [reporting.finite(value) for value in reporting.figure(found, name)] for name in PROGRAMMING}
    return {"trials": tuned.trials, "parameters": tuned.parameters, **figures}, outcomes.returns


def _learnt(policy: Policy, one: Match, task: Standard, quick: bool) -> Played:
    """A policy as it is; nothing is searched for."""
    met = learn(policy, one.true, FEW if quick else CELLS, SEED, purpose=SCORING)
    values = (met.reward, met.pulses, met.accuracy, met.energy)
    figures = {name: reporting.mean_interval(each, SEED) for name, each in zip(LEARNING, values, strict=True)}
    return figures, met.reward


class League(NamedTuple):
    """Tasks that one policy can play."""

    tasks: dict[str, Standard]
    case: Callable[[Standard], Match]
    judge: Callable[[Policy, Match, Standard, bool], Played]
    figures: tuple[str, ...]  # of a task; the first three are return, pulses and share of what succeeded
    stand_in: Make
    substitute: str  # its name


PROGRAMMING = ("return_mean", "pulses_mean", "success_rate", "false_acceptance_rate", "energy_mean", "latency_mean")
LEARNING = ("return_mean", "pulses_mean", "accuracy", "energy_mean")
LEAGUES = {
    "cells": League(TASKS, programming, _programmed, PROGRAMMING, partial(controller, "ispp"), "ispp"),
    "learning": League(LESSONS, lesson, _learnt, LEARNING, own_schedule, "own_schedule"),
}


def maker(policy: str) -> tuple[Make, dict[str, Any]]:
    """A function of a task that makes the policy, and its entry in the card: name, kind, SHA-256 of its file.

    A file is data (`agents.load_policy`); code runs only by an import path, of what the user has installed.

    Raises:
        ValueError: there is no such module or object.
    """
    module, colon, name = policy.partition(":")
    if policy.endswith(".npz") or not colon:
        own = file_digest(policy)
        kind = "file" if own else "shipped"

        def made(task: Any) -> Policy:
            return load_policy(policy, task) if isinstance(task, WriteVerify) else FewShotAgent.load(policy).fits(task)

        return made, {"name": Path(policy).stem, "kind": kind, "sha256": own}
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two of no name of a module
        raise ValueError(f"{policy} cannot be imported ({error}): put its folder into PYTHONPATH") from None
    try:
        inspect.signature(found).bind(task=None)
    except (TypeError, ValueError) as error:  # nothing that can be called, or a call that cannot be known
        raise ValueError(f"{policy} makes no policy of a task ({error}): it is called as {name}(task=...)") from None
    spec = importlib.util.find_spec(module)
    return lambda task: found(task=task), {"name": name, "kind": "code", "sha256": file_digest(spec and spec.origin)}


# -- cards -------------------------------------------------------------------------------------------------------------


def read_card(path: Path) -> dict[str, Any]:
    """A card whose parts are all there.

    Raises:
        ValueError: another file, a damaged one, or one of a record that has changed since.
    """
    with named(path, "card of memenv score"):
        card: dict[str, Any] = load_json(path)
        if card["format"] != FORMAT:
            raise ValueError(f"its format is {card['format']!r}, {FORMAT!r} is needed")
        league = LEAGUES[card["league"]]
        if card["tasks"].keys() != league.tasks.keys() or card["seed"] != SEED or card["cells"] not in (FEW, CELLS):
            raise ValueError("it is not of the standard tasks")
        for figure, found in _figures(card).items():
            if len(found) != 3 or not all(value is None or is_number(value) for value in found):
                raise ValueError(f"{figure} is {found!r:.80}, three numbers are needed")
            if not _agree(found, found):
                raise ValueError(f"{figure} is {found[0]}, outside its interval")
        card.setdefault("score", [overall(card), None, None])  # of cards before there was its interval
        if not np.isclose(card["score"][0], overall(card), rtol=0, atol=1e-9):
            raise ValueError(f"score is {card['score'][0]}, the mean return of its tasks is {overall(card)}")
        card["policy"]["sha256"]
        for key in ("name", "kind"):
            if not isinstance(card["policy"][key], str) or set(card["policy"][key]) & set("|<>\n"):
                raise ValueError(f"{key} of its policy is {card['policy'][key]!r:.80}, a word is needed")
        digests = {name: found["digest"] for name, found in card["tasks"].items()}
    for name, task in league.tasks.items():
        if digests[name] != digest(league.case(task)):
            raise ValueError(f"{path}: the record or the task of {name} has changed since: score the policy again")
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
    found = score(policy, card["league"], card["cells"] == FEW)
    for name, one in found["tasks"].items():
        if ("refused" in one) != ("refused" in card["tasks"][name]):
            raise ValueError(f"the card does not hold: {name} is {'not ' if 'refused' in one else ''}played")
    here = _figures(found)
    for figure, there in _figures(card).items():
        if not _agree(here[figure], there):
            ours, said = (", ".join(map(str, one)) for one in (here[figure], there))
            raise ValueError(f"the card does not hold: {figure} is {ours}, it has {said}")


def _figures(card: dict[str, Any]) -> dict[str, Any]:
    """The figures of a card by what they are called in messages; its score, where the card states an interval of it."""
    names = LEAGUES[card["league"]].figures
    found = {f"{name} of {task}": one[name] for task, one in card["tasks"].items() for name in names}
    return found | ({} if None in card.get("score", (None,)) else {"score": card["score"]})


def _agree(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """True where each of two figures lies in the other's interval: a card states its own, as wide as it likes."""
    if None in one or None in other:
        return list(one) == list(other)
    (here, *ends), (there, *others) = np.array(one, float), np.array(other, float)
    return bool(ends[0] <= there <= ends[1] and others[0] <= here <= others[1])


def overall(card: dict[str, Any]) -> float:
    """Mean return of a target over the tasks; of whoever stood in where one was refused."""
    tasks = LEAGUES[card["league"]].tasks
    return float(np.mean([found["return_mean"][0] / _rounds(tasks[name]) for name, found in card["tasks"].items()]))


def _rounds(task: Standard) -> int:
    """Targets of an episode."""
    return int(task.arguments.get("rounds", 1))


def table(cards: Sequence[dict[str, Any]]) -> str:
    """Cards of a league as a Markdown table, the best first: score and pulses with intervals / success of each."""
    league = LEAGUES[cards[0]["league"]]
    lines = [
        [card["policy"]["name"], _score(card), *(_cell(league, card["tasks"][name]) for name in league.tasks)]
        for card in sorted(cards, key=overall, reverse=True)
    ]
    return reporting.markdown(["policy", "score", *league.tasks], lines)


def _score(card: dict[str, Any]) -> str:
    value, *ends = card["score"]
    return f"{value:.3f}" if None in ends else reporting.shown(card["score"], "{:.3f}")


def _cell(league: League, found: dict[str, Any]) -> str:
    if "refused" in found:
        return f"refused: {league.substitute}"
    _, pulses, share, *_ = league.figures
    return f"{reporting.shown(found[pulses])} / {100 * found[share][0]:.1f} %"
