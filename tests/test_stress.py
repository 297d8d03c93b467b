"""`memenv stress`: truths that differ from the record in what they say, and controllers that are told the record."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import stress as command
from agents.stress import BEST, MATCHED, USUAL, StressConfig, case, under_stress
from memenv.__main__ import main
from memenv.devices.device import Device
from memenv.envs.write_verify.task import WriteVerify

TASK = WriteVerify(device="threshold", give_up=True)


def config(out: Path, **changes: Any) -> StressConfig:
    """A small stress test."""
    own: dict[str, Any] = {"controllers": ("ispp", "secant"), "truths": (MATCHED, "slope=0.5", "tolerance=0.05")}
    return StressConfig(cells=40, trials=2, out=out, **(own | changes))


def leaves(record: Any, path: str = "") -> dict[str, Any]:
    """Every number of a record by its place."""
    if not dataclasses.is_dataclass(record):
        return {path: record}
    parts = (leaves(getattr(record, f.name), f"{path}.{f.name}") for f in dataclasses.fields(record))
    return {name: value for part in parts for name, value in part.items()}


@pytest.mark.filterwarnings("ignore:tolerance 0.001 .range. is below the read noise")
@pytest.mark.parametrize("text", [text for text in USUAL if text != MATCHED])
def test_a_truth_differs_from_its_record_in_what_its_name_says_and_in_nothing_else(text: str) -> None:
    way, amount = text.split("=")
    one = case(TASK, text)
    record, truth = TASK.device.record, one.true.device.record
    assert isinstance(record, Device) and isinstance(truth, Device)
    before, after = leaves(record), leaves(truth)
    changed = {name for name in before if before[name] != after[name]}
    places = {
        "slope": {".set.slope", ".reset.slope"},
        "gamma": {".set.gamma", ".reset.gamma"},
        "threshold": {".set.shift", ".reset.shift"},
        "cycle-noise": {".set.cycle_noise", ".reset.cycle_noise"},  # this record has no other
        "write-noise": {".set.additive_noise", ".reset.additive_noise"},
        "read-noise": {".read.noise"},
        "window": {".x_lo", ".x_hi"},
        "tolerance": set(),
    }
    assert changed == places[way]
    assert one.true.tolerance == (float(amount) if way == "tolerance" else TASK.tolerance)
    assert one.told == dataclasses.replace(TASK, tolerance=one.true.tolerance)


def test_amounts_are_factors_and_what_is_added() -> None:
    def truth(text: str) -> Device:
        record = case(TASK, text).true.device.record
        assert record is not None
        return record

    assert truth("slope=0.25").set.slope == pytest.approx(0.025)
    assert truth("threshold=-0.2").reset.shift == pytest.approx(-0.2)
    assert truth("write-noise=0.01").set.additive_noise == 0.01
    assert (truth("window=0.1").x_lo, truth("window=0.1").x_hi) == (0.1, 1.1)


def test_what_no_record_describes_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, why in (
        ("slope=1e-3", "truth slope=1e-3 is no device of the law: set.slope is 0.0001: amplitudes up to 1.8 V"),
        ("slope=-1", "allowed is 1e-06 to 1e+06"),
        ("slope", "truth is 'slope'; known are record and, each with =NUMBER, slope"),
        ("colour=2", "truth is 'colour=2'; known are"),
        ("tolerance=0", "tolerance is 0.0, allowed is a number > 0"),
    ):
        assert main(["stress", "threshold", "--truths", text, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_controllers_are_told_the_record_and_tuned_on_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned, judged, tune, evaluate = [], [], command.shipped_or_tuned, command.evaluate

    def watched_tune(policy: Any, *arguments: Any) -> Any:
        tuned.append(policy.task)
        return tune(policy, *arguments)

    def watched_evaluate(policy: Any, task: WriteVerify, *arguments: Any) -> Any:
        judged.append((policy.task, task))
        return evaluate(policy, task, *arguments)

    monkeypatch.setattr(command, "shipped_or_tuned", watched_tune)
    monkeypatch.setattr(command, "evaluate", watched_evaluate)
    under_stress(config(tmp_path))
    assert {task.device.record for task in tuned} == {TASK.device.record} and len(tuned) == 4  # of two tolerances
    assert [told.device.record for told, _ in judged] == [TASK.device.record] * 6
    assert [true.device.record == TASK.device.record for _, true in judged] == [True, True, False, False, True, True]


def test_the_ratio_is_to_the_classical_controller_of_the_least_cost_and_policies_do_not_count(tmp_path: Path) -> None:
    rows = under_stress(config(tmp_path, controllers=("ispp", "secant", "specialist", "oracle")))
    for truth in {row["truth"] for row in rows}:
        own = {row["controller"]: row for row in rows if row["truth"] == truth}
        assert {row["best"] for row in own.values()} == {"secant"}
        for row in own.values():
            assert row[BEST] == pytest.approx(row["pulses_mean"] / own["secant"]["pulses_mean"])


def test_a_resumed_run_is_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = under_stress(config(tmp_path / "whole"))
    done, evaluate = [], command.evaluate

    def stopped(*arguments: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(arguments)
        return evaluate(*arguments)

    monkeypatch.setattr(command, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt):
        under_stress(config(tmp_path / "cut"))
    assert (tmp_path / "cut" / "stress.csv").read_text().count("\n") == 4
    monkeypatch.setattr(command, "evaluate", evaluate)
    resumed = under_stress(config(tmp_path / "cut", resume=True))
    assert resumed == whole
    assert (tmp_path / "cut" / "stress.csv").read_bytes() == (tmp_path / "whole" / "stress.csv").read_bytes()
    assert np.isfinite([row["pulses_mean"] for row in whole]).all()
