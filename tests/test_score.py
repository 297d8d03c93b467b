"""`memenv score`: standard tasks on chips of their own, and cards that belong to their policy."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import scoring
from agents.classical.secant import Secant
from agents.evaluation import EVALUATION, TRAINING, TUNING, evaluate, seeded
from agents.library import load_policy
from agents.scoring import (
    DAY,
    LEAGUES,
    PROGRAMMING,
    SCORING,
    TASKS,
    check,
    overall,
    programming,
    read_card,
    score,
    table,
)
from agents.tuning import Tuned
from memenv.__main__ import main

ROOT = Path(__file__).parents[1]
CARDS = sorted((ROOT / "docs/leaderboard").glob("*.json"))
SHIPPED = ROOT / "agents/shipped"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the tasks, few cells, as `--quick` without a search."""
    own = LEAGUES["cells"]._replace(tasks={name: TASKS[name] for name in ("program", "stress")})
    monkeypatch.setitem(LEAGUES, "cells", own)
    monkeypatch.setattr(scoring, "FEW", 20)
    monkeypatch.setattr(scoring, "shipped_or_tuned", lambda policy, *_: Tuned(policy=policy, cost=0.0, trials=0))


def test_chips_of_a_score_are_those_of_no_evaluation_search_or_training() -> None:
    device = programming(TASKS["program"]).told.device
    doses = [
        np.asarray(device.fabricate(seeded(0, purpose), 50).set.dose)
        for purpose in (EVALUATION, TUNING, TRAINING, SCORING)
    ]
    assert len(np.unique(np.concatenate(doses))) == sum(len(np.unique(one)) for one in doses)


@pytest.mark.parametrize("name", TASKS)
def test_a_standard_task_is_played_by_the_generalist(name: str) -> None:
    one = programming(TASKS[name])
    assert one.told.give_up and load_policy("generalist", one.told).begin(one.told.fabricate(seeded(0, 0), 2), 2)


def test_a_card_has_every_figure_with_its_interval_and_its_policy_can_be_imported(
    few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", "agents.classical.secant:Secant", "--quick", "--out", str(tmp_path / "card.json")]
    assert main(words) == 0
    card = read_card(tmp_path / "card.json")
    assert card["policy"]["kind"] == "code" and len(card["policy"]["sha256"]) == 64 and card["versions"]["memenv"]
    for found in card["tasks"].values():
        assert all(low <= value <= high for value, low, high in (found[figure] for figure in PROGRAMMING))
    assert card["score"][0] == pytest.approx(overall(card)) and card["score"][1] < card["score"][0] < card["score"][2]
    assert "| Secant | {:.3f} [{:.3f}, {:.3f}] | ".format(*card["score"]) in table([card])
    named = score("secant", quick=True)
    assert named["policy"]["kind"] == "shipped" and named["tasks"] == json.loads(json.dumps(card["tasks"]))
    assert "| Secant | " in table([card]) and "| Secant | " in capsys.readouterr().out
    assert main(words) == 2 and "is there already" in capsys.readouterr().err


def test_a_card_that_is_of_another_policy_or_promises_other_figures_is_refused(few: None) -> None:
    card = score("secant", quick=True)
    check(card, "secant")
    with pytest.raises(ValueError, match="its name is secant, that of history is history"):
        check(card, "history")
    with pytest.raises(ValueError, match="its kind is shipped"):
        check(card | {"policy": card["policy"] | {"name": "Secant"}}, "agents.classical.secant:Secant")
    card["tasks"]["stress"]["pulses_mean"] = [1.0, 0.9, 1.1]
    with pytest.raises(ValueError, match=r"the card does not hold: pulses_mean of stress is .*, it has 1.0, 0.9, 1.1"):
        check(card, "secant")


@pytest.mark.parametrize("said", [[1e6, -1e9, 1e9], [None, None, None]])
def test_a_card_whose_own_intervals_are_of_any_width_or_empty_is_refused(few: None, said: list[float | None]) -> None:
    card = score("secant", quick=True)
    card["tasks"]["stress"]["return_mean"] = said
    with pytest.raises(ValueError, match="the card does not hold: return_mean of stress is"):
        check(card, "secant")


def test_a_score_that_is_not_the_mean_of_its_tasks_is_refused_and_one_without_interval_is_read(
    few: None, tmp_path: Path
) -> None:
    card, path = score("secant", quick=True), tmp_path / "card.json"
    path.write_text(json.dumps(card | {"score": [0.9, 0.8, 1.0]}))
    with pytest.raises(ValueError, match=r"score is 0\.9, the mean return of its tasks is"):
        read_card(path)
    path.write_text(json.dumps({name: value for name, value in card.items() if name != "score"}))
    old = read_card(path)
    check(old, "secant")
    assert f"| secant | {overall(card):.3f} | " in table([old])


@pytest.mark.parametrize("path", ["os:getcwd", "json:__name__", "..:Secant", ":Secant"])
def test_an_import_path_that_makes_no_policy_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(ValueError, match=r"makes no policy of a task|cannot be imported"):
        score(path, quick=True)


def test_a_card_of_another_file_is_refused(few: None, tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "threshold.npz", tmp_path / "mine.npz")
    card = score(str(tmp_path / "mine.npz"), quick=True)
    assert card["policy"]["kind"] == "file"
    shutil.copy(SHIPPED / "generalist.npz", tmp_path / "mine.npz")
    with pytest.raises(ValueError, match="its sha256 is"):
        check(card, str(tmp_path / "mine.npz"))


class OnlyOneTolerance:
    """A policy that refuses all tolerances but one."""

    def __new__(cls, task: Any) -> Any:
        if task.tolerance == 0.005:
            raise ValueError("not for me")
        return Secant(task=task)


def test_where_a_policy_refuses_a_task_ispp_stands_in_for_it(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    own = LEAGUES["cells"]._replace(tasks={name: TASKS[name] for name in ("program", "fine")})
    monkeypatch.setitem(LEAGUES, "cells", own)
    monkeypatch.setattr("agents.classical.secant.Other", OnlyOneTolerance, raising=False)
    card, ramp, whole = (score(one, quick=True) for one in ("agents.classical.secant:Other", "ispp", "secant"))
    assert card["tasks"]["fine"] == {"refused": "not for me"} | ramp["tasks"]["fine"]
    assert card["tasks"]["program"] == whole["tasks"]["program"]
    assert overall(ramp) < overall(card) < overall(whole)
    assert "| refused: ispp |" in table([card])


def test_a_cell_that_leaves_its_band_within_a_day_is_a_false_acceptance() -> None:
    one = programming(TASKS["retention"])
    policy = Secant(task=one.told)
    now, later = (evaluate(policy, one.true, 100, 0, rest=seconds) for seconds in (0.0, DAY))
    assert np.array_equal(now.pulses, later.pulses) and np.array_equal(now.accepted, later.accepted)
    out = later.accepted & (np.abs(later.error) > one.true.tolerance)
    assert np.array_equal(later.false_acceptances, out) and out.sum() > 3 * now.false_acceptances.sum() > 0
    assert later.returns == pytest.approx(now.returns - (later.false_acceptances - now.false_acceptances))


def test_an_agent_of_few_shot_learning_is_judged_in_its_own_league(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "FEW", 4)
    card = score("agents.few_shot:shipped_agent", "learning", quick=True)
    assert "refused" in card["tasks"]["layers"] and 0.0 < card["tasks"]["head"]["accuracy"][0] <= 1.0
    assert "| refused: own_schedule |" in table([card])
    with pytest.raises(ValueError, match="secant plays none of the tasks"):
        score("secant", "learning", quick=True)


def test_a_card_whose_record_has_changed_since_is_refused(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.json").write_text(json.dumps(score("secant", quick=True)))
    read_card(tmp_path / "card.json")
    other = TASKS["stress"]._replace(truth="slope=0.6")
    monkeypatch.setitem(LEAGUES["cells"].tasks, "stress", other)
    with pytest.raises(ValueError, match="the record or the task of stress has changed since: score"):
        read_card(tmp_path / "card.json")


def test_what_is_no_policy_or_no_card_is_one_line(
    few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.json").write_text('{"format": "memenv score 2", "tasks": {')
    for words, said in (
        (["nobody"], "nobody plays none of the tasks: unknown controller"),
        (["nowhere:Policy"], "nowhere:Policy cannot be imported"),
        (["secant", "--check", str(tmp_path / "card.json")], "is no card of memenv score"),
        (["secant", "--check", str(tmp_path / "none.json")], "there is no such file"),
    ):
        assert main(["score", *words, "--quick", "--out", str(tmp_path / "out.json")]) == 2
        error = capsys.readouterr().err
        assert said in error and not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_of_the_leaderboard_is_whole_and_not_a_quick_one(path: Path) -> None:
    card = read_card(path)
    assert card["cells"] == scoring.CELLS and card["command"].startswith("memenv score ")
