"""Shipped parameters: they hold for exactly what they were tuned for, and are what a comparison shows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents import tuned as module
from agents.classical.write_verify import ISPP
from agents.comparison import CompareConfig, compare, text_table
from agents.library import controllers, known_policies, load_policy
from agents.tuned import Card, as_shipped, cards, folder, identity, shipped_or_tuned
from agents.tuning import Tuned, cost, priced, tunable, tune
from memenv import WriteVerify, load_device
from memenv.__main__ import main

TASK = priced(WriteVerify(device="threshold", give_up=True), None)
POLICY = ISPP(task=TASK)


@pytest.mark.parametrize("device", CompareConfig.device)
def test_the_first_command_finds_all_its_parameters_shipped(device: str) -> None:
    task = priced(replace(TASK, device=load_device(device)), None)
    policies = {name: load_policy(name, task) for name in known_policies(task)}
    missing = [name for name, policy in policies.items() if tunable(policy) and not as_shipped(policy)]
    assert not missing  # a record or a policy has changed: python benchmarks/tuned_parameters.py


@pytest.mark.filterwarnings("ignore:.*hands every cell over to secant")
def test_parameters_are_of_the_controller_and_inside_its_ranges() -> None:
    for file in folder().iterdir():
        for card in cards(file.name.removesuffix(".json")):
            policy = load_policy(card.controller, replace(TASK, device=load_device(file.name.removesuffix(".json"))))
            ranges = {f.name: f.metadata["range"] for f in tunable(policy)}
            assert card.parameters.keys() == ranges.keys()
            assert all(low <= card.parameters[name] <= high for name, (low, high) in ranges.items())
            assert len(card.costs) == len(card.pulses) >= 1


def test_parameters_of_controllers_are_for_the_records_of_today() -> None:
    for file in folder().iterdir():
        device = load_device(file.name.removesuffix(".json"))
        for card in cards(device.name):
            if card.controller in controllers():  # learned policies are tuned anew after a training
                task = priced(replace(TASK, device=device, tolerance=card.tolerance), None)
                assert identity(load_policy(card.controller, task)) == card.identity  # else: tuned_parameters.py


def test_what_is_shipped_is_better_than_what_stands_in_the_code() -> None:
    found = as_shipped(POLICY)
    assert found is not None and found.policy.task is TASK
    assert cost(found.policy, TASK, 2000, 1) < 0.95 * cost(POLICY, TASK, 2000, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"tolerance": 0.021},
        {"max_pulses": 49},
        {"rounds": 2},
        {"weight_latency": 0.0},
        {"device": load_device("threshold").replace(x_hi=0.99)},
    ],
)
def test_another_task_or_record_has_no_shipped_parameters(change: dict) -> None:
    assert as_shipped(POLICY) and not as_shipped(ISPP(task=replace(TASK, **change)))


def test_remarks_and_parameters_do_not_make_another_task() -> None:
    noted = ISPP(task=replace(TASK, device=load_device("threshold").replace(source="elsewhere")), step=0.1)
    assert identity(noted) == identity(POLICY) != identity(load_policy("vipi", TASK))


def test_a_network_that_was_trained_again_is_another_policy() -> None:
    policy = load_policy("specialist", TASK)
    again = replace(policy, weights=policy.weights._replace(b_in=policy.weights.b_in + 1e-3))
    assert identity(again) != identity(policy) == identity(replace(policy, card="of another day"))


def test_a_number_of_trials_asks_for_a_search() -> None:
    assert shipped_or_tuned(POLICY, trials=1) == tune(POLICY, trials=1) != shipped_or_tuned(POLICY)


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "threshold.json").write_text(json.dumps({"format": "another"}))
    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    cards.cache_clear()
    with pytest.raises(ValueError, match=r"threshold\.json.*'another'"):
        as_shipped(POLICY)
    cards.cache_clear()


def test_a_comparison_shows_the_spread_over_tunings_of_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {f.name: getattr(POLICY, f.name) for f in tunable(POLICY)}
    card = Card("ispp", 0.02, identity(POLICY), parameters, 9, [8.0, 8.1], [7.0, 7.5])
    monkeypatch.setattr(module, "cards", lambda _: (card,))
    options = {"device": ("threshold",), "controllers": ("ispp", "vipi"), "cells": 20, "max_pulses": 50}
    monkeypatch.setattr(module, "tune", lambda policy, *_: Tuned(policy=policy, cost=1.0, trials=1))
    rows = compare(CompareConfig(**options, out=tmp_path))
    assert rows[0]["pulses_over_tunings"] == pytest.approx(np.std([7.0, 7.5], ddof=1))
    assert "pulses_over_tunings" not in rows[1]
    ispp, vipi = text_table(rows).splitlines()[3:]
    assert "± 0.35" in ispp and "–" in vipi
    assert rows[0]["reads_mean"] == rows[0]["pulses_mean"] + 1.0


def test_processes_make_the_same_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--device", "ideal", "--controllers", "nominal,ispp", "--cells", "10", "--trials", "1"]
    for jobs in ("1", "2"):
        assert main([*words, "--jobs", jobs, "--out", str(tmp_path / jobs)]) == 0
    one, two = ((tmp_path / jobs / "comparison.csv").read_text() for jobs in ("1", "2"))
    assert one == two


@pytest.mark.parametrize("words", [["--trials", "0"], ["--weight-latency", "-1"], ["--weight-energy", "-0.5"]])
@pytest.mark.parametrize("command", ["compare", "tune"])
def test_no_trials_and_negative_prices_are_refused(
    command: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *words, "--out", str(tmp_path / "out")]) == 2
    name, value = words[0][2:].replace("-", "_"), float(words[1])
    assert f"{name} is {value:g}" in capsys.readouterr().err.replace(".0", "") and not list(tmp_path.iterdir())


def test_time_costs_a_hundredth_of_a_pulse_for_a_pulse_of_medium_width_on_every_device() -> None:
    for device in ("threshold", "alox-hfo2", "pcm"):
        task = priced(WriteVerify(device=device), None)
        medium = np.sqrt(task.device.driver.width_min * task.device.driver.width_max)
        assert task.weight_latency * medium == pytest.approx(0.01 * task.weight_pulses, rel=1e-2)
    assert priced(TASK, 7.0).weight_latency == 7.0


def test_a_search_of_no_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="trials is 0, allowed is a whole number >= 1"):
        tune(POLICY, trials=0)
