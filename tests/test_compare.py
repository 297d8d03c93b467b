"""Evaluation, tuning and comparison: everyone on the same cells, tuned on others, figures as defined, files whole."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import comparison, tuning
from agents.classical.inverse import HistoryInverse, NominalInverse
from agents.classical.write_verify import ISPP
from agents.comparison import CompareConfig, Row, compare, markdown_table, metrics, summary, text_table
from agents.evaluation import EVALUATION, TUNING, Outcomes, evaluate, seeded
from agents.tuning import cost, one_by_one, tune
from memenv import WriteVerify
from memenv.__main__ import main

pytest.importorskip("matplotlib")


@dataclass(frozen=True)
class Resigned:
    """Gives every cell up at once."""

    task: WriteVerify

    def begin(self, chip: Any, cells: int) -> None:
        """Nothing to remember."""

    def predict(self, observation: np.ndarray, state: Any = None, *_: Any) -> tuple[np.ndarray, None]:
        """Give up."""
        return self.task.encode(
            np.ones(len(observation)), np.ones(len(observation)), np.ones(len(observation), bool)
        ), None


def outcomes(pulses: list[float], accepted: list[bool], false: list[float], error: list[float]) -> Outcomes:
    """Outcomes of a few cells, made by hand."""
    zero = np.zeros(len(pulses))
    wins = np.array(accepted, bool)
    return Outcomes(
        pulses=np.array(pulses),
        reads=np.array(pulses) + 1.0,
        accepted=wins,
        acceptances=wins.astype(int),
        false_acceptances=np.array(false),
        error=np.array(error),
        energy=zero + 1e-12,
        latency=zero + 1e-6,
        returns=wins - 0.02 * np.array(pulses),
        round_pulses=np.where(wins, pulses, np.nan)[:, None],
        error_by_pulse=np.zeros(51),
        handed_over=np.zeros_like(wins),
        examples=(),
    )


def test_every_controller_meets_the_same_cells_starts_and_targets() -> None:
    task = WriteVerify(device="threshold")
    first, second = (
        evaluate(policy, task, 3, 5, examples=3) for policy in (ISPP(task=task), HistoryInverse(task=task))
    )
    for mine, other in zip(first.examples, second.examples, strict=True):
        assert mine[0][0] == other[0][0]
        assert mine[2] == other[2]


def test_an_evaluation_repeats_itself() -> None:
    task = WriteVerify(device="alox-hfo2")
    first, second = (evaluate(ISPP(task=task), task, 50, 1) for _ in range(2))
    np.testing.assert_array_equal(first.pulses, second.pulses)
    np.testing.assert_array_equal(first.energy, second.energy)


def test_tuning_chips_are_never_evaluation_chips() -> None:
    chips = [WriteVerify(device="threshold").fabricate(seeded(0, purpose), 100) for purpose in (EVALUATION, TUNING)]
    assert not np.intersect1d(chips[0].set.dose, chips[1].set.dose).size


def test_outcomes_agree_with_the_environment() -> None:
    """One cell, ideal device: the nominal inverse needs one pulse, and its energy and latency are that pulse's."""
    task = WriteVerify(device="ideal")
    result = evaluate(NominalInverse(task=task, gain=1.0), task, 20, 0)
    assert (result.pulses == 1).all() and result.accepted.all()
    assert (np.abs(result.error) <= task.tolerance).all()
    assert (result.latency > task.device.read.duration).all()


def test_rounds_are_counted_one_by_one() -> None:
    task = WriteVerify(device="threshold", rounds=3)
    result = evaluate(HistoryInverse(task=task), task, 200, 0)
    whole = result.accepted
    np.testing.assert_array_equal(np.nansum(result.round_pulses, axis=1)[whole], result.pulses[whole])
    assert (result.acceptances[whole] == 3).all()


def test_metrics_are_what_their_names_say() -> None:
    figures = summary(outcomes([2, 4, 50, 4], [True, True, False, True], [0, 1, 0, 0], [0.01, 0.03, 0.5, -0.01]))
    assert figures["pulses_mean"] == 15
    assert figures["pulses_per_accepted"] == 20
    assert figures["pulses_median"] == 4
    assert figures["success_rate"] == 0.75
    assert figures["false_acceptance_rate"] == pytest.approx(1 / 3)
    assert figures["error_rms"] == pytest.approx(np.sqrt((1e-4 + 9e-4 + 1e-4) / 3))


def test_intervals_hold_the_figure_and_shrink_with_more_cells() -> None:
    rng = np.random.default_rng(0)
    few, many = ([float(n) for n in rng.poisson(5, cells)] for cells in (50, 5000))
    wide, narrow = (metrics(outcomes(p, [True] * len(p), [0] * len(p), [0] * len(p)), 0) for p in (few, many))
    for figures in (wide, narrow):
        assert figures["pulses_mean_low"] < figures["pulses_mean"] < figures["pulses_mean_high"]
    assert narrow["pulses_mean_high"] - narrow["pulses_mean_low"] < 0.2 * (
        wide["pulses_mean_high"] - wide["pulses_mean_low"]
    )


def test_figures_of_a_controller_that_accepts_nothing_are_stated_without_a_warning() -> None:
    task = WriteVerify(device="ideal", give_up=True)
    figures = metrics(evaluate(Resigned(task), task, 10, 0), 0)
    assert figures["success_rate"] == 0 and figures["pulses_mean"] == 0
    assert np.isnan(figures["false_acceptance_rate"])
    row = Row(figures | {"controller": "resigned", "device": "ideal", "tolerance": 0.02, "cells": 10})
    assert "nan" not in text_table([row]) and "inf" not in text_table([row])


def test_tuning_improves_a_bad_controller() -> None:
    task = WriteVerify(device="threshold")
    bad = ISPP(task=task, set_start=0.0, reset_start=0.0, step=0.006)
    tuned = tune(bad, trials=30, seed=0)
    assert tuned.cost < 0.6 * cost(bad, task, 500, 0)
    assert tuned.parameters.keys() >= {"set_start", "step"} and tuned.trials == 30  # six generations of five


def test_a_tuning_repeats_itself_and_another_seed_searches_elsewhere() -> None:
    met: list[float] = []

    def judged(policy: ISPP, cells: int, seed: int) -> float:
        met.append(policy.step)
        return abs(np.log(policy.step / 0.2))

    tuned = [tune(ISPP(task=WriteVerify()), 100, seed, one_by_one(judged)).policy for seed in (1, 1, 2)]
    assert tuned[0] == tuned[1] != tuned[2]
    first, second, other = np.split(np.array(met), 3)
    np.testing.assert_array_equal(first, second)
    assert first[0] == other[0] and (first[1:] != other[1:]).mean() > 0.9
    assert all(abs(np.log(policy.step / 0.2)) < 0.2 for policy in tuned)


def test_parameters_stay_in_their_ranges_even_if_the_best_lie_beyond_and_the_first_were_outside() -> None:
    met: list[float] = []

    def judged(policy: ISPP, cells: int, seed: int) -> float:
        met.append(policy.set_start)
        return -policy.set_start

    tune(ISPP(task=WriteVerify(), set_start=-1.0), 60, 0, one_by_one(judged))
    searched = [start for start in met if start != -1.0]
    assert met[0] == -1.0 and min(searched) >= 0.0 and max(met) <= 1.0 and max(met) > 0.9


def test_a_tuning_that_goes_on_repeats_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def on_cells(policies: list[Any], cells: int, seed: int) -> np.ndarray:
        if len(done) == 3:
            done.append(-1)
            raise KeyboardInterrupt
        done.append(cells)
        return np.array([abs(np.log(policy.step / 0.2)) for policy in policies])

    monkeypatch.setattr(tuning, "on_cells", on_cells)
    words = ["tune", "--controllers", "ispp", "--trials", "30", "--out", str(tmp_path / "tuned.json")]
    assert main(words) != 0
    assert main([*words, "--resume"]) == 0
    assert len(done) == 6 + 1 + 1  # generations, the last judgement, and the one that was interrupted


def test_what_has_nothing_to_tune_is_left_as_it_is() -> None:
    policy = Resigned(WriteVerify(device="ideal"))
    assert tune(policy).policy is policy


def test_compare_writes_table_picture_and_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "compare",
        "--device",
        "ideal,alox-hfo2",
        "--controllers",
        "nominal,ispp",
        "--cells",
        "40",
        "--trials",
        "2",
    ]
    assert main([*words, "--out", str(tmp_path)]) == 0
    with (tmp_path / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["device"], row["controller"]) for row in rows] == [
        (device, name) for device in ("ideal", "alox-hfo2") for name in ("nominal", "ispp")
    ]
    for name in ("pulses_mean", "pulses_per_accepted", "pulses_p99", "success_rate", "error_rms", "latency_mean"):
        assert all(float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"]) for row in rows)
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "| nominal |" in (tmp_path / "comparison.md").read_text()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["command"].startswith("memenv compare") and record["versions"]["memenv"]
    assert record["config"]["seed"] == 0 and "ispp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "unobtainium"], "unobtainium"),
        (["--controllers", "nobody"], "nobody"),
        (["--cells", "0"], "cells is 0"),
        (["--tolerance", "-1"], "tolerance is -1"),
        (["--against", "nobody"], "against is 'nobody': on threshold allowed is constant, ispp"),
        (["--device", "nowhere/device.json"], "nowhere/device.json"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert said in message and "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_differences_to_a_rival_are_those_of_the_same_cells_and_can_be_asked_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CompareConfig(
        device=("threshold", "ideal"), controllers=("ispp", "history"), cells=30, trials=1, out=tmp_path
    )
    assert not any("pulses_against" in row for row in compare(config))
    monkeypatch.setattr(comparison, "evaluate", lambda *_, **__: pytest.fail("judged again"))
    rows = compare(replace(config, against="ispp", resume=True))
    for ispp, history in zip(rows[::2], rows[1::2], strict=True):
        assert "pulses_against" not in ispp
        assert history["pulses_against"] == pytest.approx(history["pulses_mean"] - ispp["pulses_mean"])
        assert history["pulses_against_low"] <= history["pulses_against"] <= history["pulses_against_high"]
    with (tmp_path / "comparison.csv").open() as file:
        assert [bool(row["pulses_against_low"]) for row in csv.DictReader(file)] == [False, True] * 2
    for table in (text_table(rows, "ispp"), markdown_table(rows, "", "ispp")):
        lines = [line for line in table.splitlines() if "ispp" in line or "history" in line]
        assert table.count("against ispp") >= 2 and sum(line.rstrip("| ").endswith("–") for line in lines) == 2
    assert "against" not in text_table(rows)


def test_an_interrupted_comparison_keeps_the_controllers_that_were_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(task: WriteVerify, name: str, *rest: Any) -> Any:
        if name == "ispp":
            raise KeyboardInterrupt
        return whole(task, name, *rest)

    whole = comparison.judge
    monkeypatch.setattr(comparison, "judge", judge)
    words = ["compare", "--device", "ideal", "--controllers", "nominal,ispp", "--cells", "10", "--trials", "1"]
    assert main([*words, "--out", str(tmp_path)]) == 130
    assert not json.loads((tmp_path / "run.json").read_text())["complete"]
    with (tmp_path / "comparison.csv").open() as file:
        assert [row["controller"] for row in csv.DictReader(file)] == ["nominal"]


def test_of_a_comparison_that_fails_in_the_end_no_part_appears_and_all_that_was_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bytes:
        raise OSError("no room for the picture")

    config = CompareConfig(device=("ideal",), controllers=("nominal",), cells=10, trials=1, out=tmp_path / "out")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no room"):
        patch.setattr(comparison, "picture", fail)
        compare(config)
    assert not list((tmp_path / "out").glob("comparison.*"))
    monkeypatch.setattr(comparison, "evaluate", lambda *_, **__: pytest.fail("judged again"))
    assert compare(replace(config, resume=True))
    assert (tmp_path / "out" / "comparison.png").exists()


def test_the_return_of_an_evaluation_is_that_of_its_episodes() -> None:
    task = WriteVerify(device="ideal", weight_shaping=0.0)
    one = evaluate(NominalInverse(task=task), task, 20, 0)
    np.testing.assert_allclose(one.returns, 1.0 - 0.02 * one.pulses)
    task = WriteVerify(device="ideal", weight_shaping=0.0, give_up=True)
    none = evaluate(Resigned(task), task, 20, 0)
    assert np.all((none.returns < -1.0) & (none.returns > -2.0))
