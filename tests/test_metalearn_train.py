"""Pretraining: every way of it runs and improves, resumes exactly, and refuses what cannot work."""

import csv
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from memenv.__main__ import main
from memenv.devices.catalogue import load_device
from memenv.few_shot.characters import Split
from memenv.few_shot.initialisations import HEAD_RATE, load_initialisation
from memenv.few_shot.strokes import glyphs
from metalearn import pretraining
from metalearn.evaluation import evaluate
from metalearn.pretraining import PretrainConfig, pretrain

TINY = PretrainConfig(
    data="glyphs", network="mlp", hidden=(12, 8), steps=4, tasks=2, ways=3, queries=2, inner_steps=2, evaluations=2
)


@pytest.fixture(autouse=True)
def few_glyphs(monkeypatch):
    """A set that is drawn in no time, and short judgements."""
    data = Split(glyphs(0, 12, 20), glyphs(1, 6, 20))
    monkeypatch.setattr(pretraining, "load", lambda source, split: data)
    monkeypatch.setattr(pretraining, "VALIDATION", 6)
    monkeypatch.setattr(pretraining, "JUDGED", 6)
    monkeypatch.setattr(pretraining, "WARM_UP", 1)


def weights_of(folder):
    init = load_initialisation(folder / "initialisation.npz")
    return [*init.hidden, *(part for block in init.blocks for part in block), init.rates, init.ranges]


def rows_of(folder):
    with (folder / "eval.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": "conv", "ways": 6},
        {"network": "conv", "pooled": True, "method": "conventional"},
        {"method": "conventional"},
        {"method": "fomaml", "augment": 0.0},
        {"method": "anil"},
        {"method": "reptile"},
        {"device": ("pcm",), "rest": 3600.0, "pulsed": "set"},
        {"device": ("hfo2-array-om",), "method": "reptile"},
        {"device": ("alox-hfo2",), "train": "rates"},
        {"method": "proto", "inner_steps": 0},
        {"method": "proto", "inner_steps": 0, "device": ("hfo2-array-om",), "place_units": True},
        {"method": "proto", "device": ("alox-hfo2",), "devices_per_weight": (1, 1, 2)},
        {"method": "proto", "inner_steps": 0, "device": ("pcm",), "tolerance": 0.05, "rest": 3600.0},
        {"method": "proto", "network": "conv", "ways": 6, "inner_steps": 0},
    ],
    ids=str,
)
def test_every_way_of_pretraining_yields_an_initialisation_that_moved(tmp_path, changes):
    config = replace(TINY, out=tmp_path / "run", **changes)
    row = pretrain(config, "memenv pretrain --these")
    init = load_initialisation(tmp_path / "run" / "initialisation.npz")
    card = json.loads(init.card)
    assert card["command"] == "memenv pretrain --these" and card["steps"] == 4 and card["config"]["seed"] == 0
    assert [float(one["steps"]) for one in rows_of(tmp_path / "run")] == [2, 4] and 0 <= row["accuracy"] <= 1
    torch.manual_seed(0)
    before = pretraining.Learner(pretraining.completed(config), glyphs(0, 6, 20)).initialisation("{}")
    moved = [not np.array_equal(a, b) for a, b in zip(init.hidden, before.hidden, strict=True)]
    assert all(moved) == (config.train == "all") or not moved
    learns_rates = config.method in ("maml", "fomaml", "anil") or (config.method == "proto" and config.inner_steps > 0)
    assert init.head == ("written" if config.method == "proto" else "zeros")
    assert (np.abs(init.rates - before.rates).max() > 1e-5) == learns_rates
    if config.method == "anil":
        assert not init.rates[:, :-1].any()


def test_a_short_run_learns_to_learn(tmp_path):
    config = replace(TINY, out=tmp_path / "run", network="conv", steps=40, tasks=1, ways=12, inner_steps=1)
    pretrain(config)
    inputs = [load_initialisation(tmp_path / "run" / "initialisation.npz")]
    torch.manual_seed(0)
    inputs.append(pretraining.Learner(pretraining.completed(config), glyphs(0, 12, 20)).initialisation("{}"))
    test = glyphs(1, 30, 20).images
    after, before = (evaluate(init, None, init.front(test), episodes=200, queries=5).accuracy()[0] for init in inputs)
    assert after > before + 0.1 and after > 0.6


def test_an_interrupted_run_resumes_to_where_an_uninterrupted_one_ends(tmp_path, monkeypatch):
    for name, changes in {
        "mlp": {},
        "conv": {"network": "conv", "ways": 6},
        "class": {"method": "conventional"},
    }.items():
        whole, cut = tmp_path / name, tmp_path / f"{name}-cut"
        config = replace(TINY, **changes)
        pretrain(replace(config, out=whole))
        step = pretraining.Learner.step

        def interrupted(self, number, share, step=step):
            if number == 3:
                raise KeyboardInterrupt
            return step(self, number, share)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(pretraining.Learner, "step", interrupted)
            pretrain(replace(config, out=cut))
        assert len(rows_of(cut)) == 1
        pretrain(replace(config, out=cut, resume=True))
        for mine, theirs in zip(weights_of(cut), weights_of(whole), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert len(rows_of(cut)) == 2


def test_divergence_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    out = tmp_path / "run"
    step = pretraining.Learner.step
    monkeypatch.setattr(
        pretraining.Learner, "step", lambda self, n, share: step(self, n, share) if n < 3 else (float("nan"), 0.0)
    )
    with pytest.raises(ValueError, match=r"the loss is nan in step 3: lower --learning-rate; .* after 2 steps"):
        pretrain(replace(TINY, out=out))
    assert len(rows_of(out)) == 1 and load_initialisation(out / "initialisation.npz")


def test_weights_do_not_move_by_a_loss_that_is_not_finite(monkeypatch):
    learner = pretraining.Learner(replace(TINY, augment=0.0), glyphs(0, 6, 20))
    before = [w.detach().clone() for w in learner.network.parameters()]
    monkeypatch.setattr(learner, "_adapt", lambda rng: (torch.tensor(float("nan"), requires_grad=True), 0.0))
    assert np.isnan(learner.step(0, 1.0)[0])
    for w, old in zip(learner.network.parameters(), before, strict=True):
        torch.testing.assert_close(w.detach(), old)


def test_of_an_encoder_only_the_head_is_on_the_chip(tmp_path):
    pretrain(replace(TINY, network="conv", ways=6, out=tmp_path / "run"))
    init = load_initialisation(tmp_path / "run" / "initialisation.npz")
    assert len(init.blocks) == 4 and init.hidden == () and init.rates.shape[1] == 1


def test_a_rate_that_changes_no_class_is_the_usual_one(tmp_path):
    config = replace(TINY, network="conv", ways=6, inner_steps=1)
    pretrain(replace(config, out=tmp_path / "numbers"))
    usual = load_initialisation(tmp_path / "numbers" / "initialisation.npz").rates
    np.testing.assert_allclose(usual, [[HEAD_RATE]])
    pretrain(replace(config, device=("alox-hfo2",), out=tmp_path / "chips"))
    assert abs(load_initialisation(tmp_path / "chips" / "initialisation.npz").rates[0, 0] - HEAD_RATE) > 1e-5


def test_every_step_is_on_chips_of_one_of_the_devices(tmp_path, monkeypatch):
    devices, met = ("alox-hfo2", "pcm"), []

    def noted(network, support, query, episodes, loop, seed):
        met.append(loop.hardware.device.name)
        return network.log_gain + 0.0, 0.0

    monkeypatch.setattr(pretraining, "outer_loss", noted)
    pretrain(replace(TINY, out=tmp_path / "run", device=devices, steps=12))
    names = {load_device(name).name for name in devices}
    assert set(met) == names and len(met) == 12


def test_drift_in_pretraining_is_of_every_decade_up_to_the_longest(tmp_path, monkeypatch):
    met = []

    def noted(network, support, query, episodes, loop, seed):
        met.append(loop.rest)
        return network.log_gain + 0.0, 0.0

    monkeypatch.setattr(pretraining, "outer_loss", noted)
    pretrain(replace(TINY, out=tmp_path / "run", device=("pcm",), rest=1e4, steps=40, evaluations=1))
    assert {int(np.log10(seconds)) for seconds in met} == {0, 1, 2, 3} and max(met) < 1e4


def test_a_warm_start_begins_where_the_other_run_ended(tmp_path):
    pretrain(replace(TINY, out=tmp_path / "first"))
    path = tmp_path / "first" / "initialisation.npz"
    config = replace(TINY, network="", init=str(path), device=("alox-hfo2",), train="rates")
    pretrain(replace(config, out=tmp_path / "second"))
    first, second = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    for mine, theirs in zip(second[:2], first[:2], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert np.abs(second[-2] - first[-2]).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "nothing"}, "unknown initialisation 'nothing'"),
        ({"train": "rates", "method": "reptile"}, "reptile does not"),
        ({"method": "reptile", "network": "conv"}, "needs layers before the head"),
        ({"method": "conventional", "device": ("pcm",)}, "no inner loop"),
        ({"rest": 10.0}, "--rest needs a --device"),
        ({"device": ("nothing",)}, "unknown device 'nothing'"),
        ({"steps": 0}, "steps is 0"),
        ({"tasks": -1}, "tasks is -1"),
        ({"threads": 0}, "threads is 0, allowed is a whole number from 1 to"),
        ({"threads": 99_999}, "threads is 99999, allowed is a whole number from 1 to"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"augment": -1.0}, "augment is -1.0"),
        ({"ways": 30}, "30 ways are more than the 24 classes"),
        ({"queries": 20}, "1 shots \\+ 20 queries"),
        ({"hidden": (4, 0)}, "hidden is"),
        ({"init": "glyphs-conv-maml"}, "network is 'mlp', but glyphs-conv-maml holds one of the kind 'conv'"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        pretrain(replace(TINY, out=tmp_path / "run", **changes))


def test_what_stopped_before_its_first_checkpoint_begins_anew(tmp_path):
    with pytest.raises(ValueError, match="20 queries"):
        pretrain(replace(TINY, out=tmp_path / "run", queries=20))
    assert pretrain(replace(TINY, out=tmp_path / "run"))["steps"] == TINY.steps


def test_many_shots_are_judged_on_the_instances_that_are_left(tmp_path):
    assert pretrain(replace(TINY, out=tmp_path / "run", shots=8))["accuracy"] > 0


def test_a_gradient_that_is_not_finite_moves_nothing(monkeypatch):
    learner = pretraining.Learner(replace(TINY, augment=0.0), glyphs(0, 6, 20))
    weight = learner.network.hidden[0]
    monkeypatch.setattr(learner, "_adapt", lambda rng: ((weight[0, 0] * 0.0).sqrt(), 0.0))  # zero, of infinite slope
    before = weight.detach().clone()
    assert np.isnan(learner.step(0, 1.0)[0])
    torch.testing.assert_close(weight.detach(), before)


def test_measured_tables_are_refused_with_advice(tmp_path):
    grid, cdf = np.linspace(1e-5, 3e-5, 11)[None], np.linspace(0.0, 1.0, 3)
    change = np.full((1, 3, 11), 1e-6)
    tables = {"device": np.array([1]), "conductance": grid, "cdf": cdf, "dg_set": change, "dg_reset": -change}
    np.savez(tmp_path / "one.npz", **tables)
    with pytest.raises(ValueError, match="no derivatives; fit a record"):
        pretrain(replace(TINY, out=tmp_path / "run", device=(str(tmp_path / "one.npz"),)))


def test_runs_are_neither_overwritten_nor_resumed_as_others(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="there is no run to resume"):
        pretrain(replace(TINY, out=out, resume=True))
    pretrain(replace(TINY, out=out))
    with pytest.raises(ValueError, match=r"already holds a run \(seed is 1, the run that is there has 0\)"):
        pretrain(replace(TINY, out=out, seed=1))
    with pytest.raises(ValueError, match=r"ways is 2, the run that is there has 3"):
        pretrain(replace(TINY, out=out, resume=True, ways=2))
    whole = torch.load(out / "checkpoint.pt", weights_only=True)
    for change, message in (
        ({"network": {**whole["network"], "log_gain": torch.tensor(math.nan)}}, "numbers in log_gain are NaN"),
        ({"network": {**whole["network"], "log_gain": torch.ones(3)}}, r"log_gain has the shape \(3,\)"),
        ({"network": {**whole["network"], "more": torch.ones(3)}}, "it has 'more'"),
        ({"optimiser": {"state": {0: {"step": torch.tensor(1.0)}}}}, "it lacks exp_avg"),
        ({"rows": [{"steps": "many"}]}, "it lacks seconds"),
        ({"more": 1}, "its card has 'more'"),
        ({"network": os.mkdir}, "Weights only load failed"),
    ):
        torch.save(whole | change, out / "checkpoint.pt")
        with pytest.raises(ValueError, match=rf"checkpoint\.pt is no checkpoint from which.*{message}"):
            pretrain(replace(TINY, out=out, resume=True))
    (out / "checkpoint.pt").write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is no checkpoint from which"):
        pretrain(replace(TINY, out=out, resume=True))


def test_the_command_runs_and_says_what_it_wrote(tmp_path, capsys):
    words = "pretrain --data glyphs --network mlp --hidden 8 --steps 2 --tasks 2 --inner-steps 2 --evaluations 1 --out"
    assert main([*words.split(), str(tmp_path / "run")]) == 0
    assert "initialisation.npz" in capsys.readouterr().out
    assert main([*words.split(), str(tmp_path / "run"), "--seed", "1"]) == 2
    assert "already holds a run" in capsys.readouterr().err
