"""`memenv train`: learns, resumes, saves what loads and answers, and says clearly what it cannot use."""

import base64
import csv
import json
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memenv import WriteVerify, load_device
from memenv.__main__ import main
from memenv.archives import load_card, save_archive
from memenv.envs import TaskVectorEnv

pytest.importorskip("stable_baselines3")

import stable_baselines3
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.logger import Logger

import agents
from agents import training
from agents.evaluation import TUNING, evaluate
from agents.predictor.policy import load_pulse_predictor
from agents.sb3.files import resume_model
from agents.sb3.policy import RECIPES, make_model
from agents.sb3.vec_env import GymVecEnv
from agents.training import TrainConfig, train
from memenv.experiments.runs import Curve

TINY = {"steps": 400, "envs": 8, "evaluations": 2, "evaluation_cells": 40, "max_pulses": 6}


def config(out: Path, **changes) -> TrainConfig:
    return TrainConfig(**{"out": out, **TINY, **changes})


def rows(out: Path) -> list[dict[str, float]]:
    with (out / "eval.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(autouse=True)
def small_networks_and_buffers(monkeypatch):
    """Recipes whose off-policy algorithms begin to learn within a few hundred steps."""
    for name, recipe in RECIPES.items():
        if "buffer_size" in recipe.settings:
            small = {"buffer_size": 1000, "learning_starts": 100, "batch_size": 32, "gradient_steps": 1}
            monkeypatch.setitem(RECIPES, name, replace(recipe, settings=recipe.settings | small))


@pytest.fixture(scope="module")
def ppo(tmp_path_factory) -> Path:
    """The folder of a short PPO run."""
    out = tmp_path_factory.mktemp("ppo") / "run"
    train(config(out), "memenv train --out run")
    return out


@pytest.mark.parametrize("algo", [*RECIPES, "pulse"])
def test_what_is_trained_loads_with_one_call_and_programs_as_it_was_judged(algo, tmp_path):
    steps = 6 if algo == "pulse" else 400
    best = train(config(tmp_path, algo=algo, steps=steps))
    chosen = RECIPES.get(algo)
    task = WriteVerify(
        max_pulses=6,
        history=chosen.history if chosen else 1,
        action=chosen.action if chosen else "continuous",
        give_up=True,
    )
    path = tmp_path / "policy.npz"
    outcomes = evaluate(agents.load_policy(path, task), task, 40, 0, purpose=TUNING)
    assert outcomes.pulses.mean() == pytest.approx(best["pulses"], abs=0.06 if algo == "pulse" else 1e-9)
    if algo != "pulse":  # and where the task shows one step and asks for another kind of action, it finds its way
        other = WriteVerify(max_pulses=6, give_up=True)
        again = evaluate(agents.load_policy(path, other), other, 40, 0, purpose=TUNING)
        np.testing.assert_array_equal(again.pulses, outcomes.pulses)


@pytest.mark.parametrize("seed", range(3))
def test_ppo_learns_to_program_whatever_the_seed(seed, tmp_path):
    task = {"device": ("alox-hfo2",), "max_pulses": 20, "tolerance": 0.05}
    best = train(config(tmp_path, **task, steps=50_000, envs=256, seed=seed))
    assert best["cost"] < 0.4 * rows(tmp_path)[0]["cost"]


def test_equal_seeds_train_equal_policies(ppo, tmp_path):
    train(config(tmp_path / "same"))
    train(config(tmp_path / "other", seed=1))

    def figures(out):
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows(out)]

    assert figures(ppo) == figures(tmp_path / "same") != figures(tmp_path / "other")


def test_the_record_holds_command_versions_configuration_and_result(ppo):
    record = json.loads((ppo / "run.json").read_text())
    assert record["command"] == "memenv train --out run"
    assert {"memenv", "torch", "stable-baselines3"} < record["versions"].keys()
    assert record["config"]["steps"] == 400 and record["config"]["history"] == RECIPES["ppo"].history
    assert record["last"] == rows(ppo)[-1] and record["last"]["steps"] >= 400


@pytest.mark.parametrize("algo", ["ppo", "dqn", "pulse"])
def test_an_interrupted_run_resumes_from_its_last_checkpoint(algo, tmp_path, monkeypatch, capsys):
    steps = 10 if algo == "pulse" else 1200
    words = ["train", "--algo", algo, "--steps", str(steps), "--envs", "8", "--evaluations", "4", "--max-pulses", "6"]
    words += ["--evaluation-cells", "40", "--out", str(tmp_path)]
    judge = training.Judge.__call__

    def interrupted(self, *arguments):
        judge(self, *arguments)
        if len(self.curve.rows) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Judge, "__call__", interrupted)
    assert main(words) == 130
    assert f"continue with: memenv {' '.join(words)} --resume" in capsys.readouterr().err
    before = rows(tmp_path)
    assert 0 < before[-1]["steps"] < steps
    monkeypatch.setattr(training.Judge, "__call__", judge)
    assert main([*words, "--resume"]) == 0
    after = rows(tmp_path)
    assert after[:3] == before and after[-1]["steps"] >= steps
    assert after[3]["seconds"] >= before[-1]["seconds"]
    assert main([*words, "--resume"]) == 0 and rows(tmp_path) == after  # nothing is left to do


def test_of_policies_that_judging_cannot_tell_apart_the_latest_is_kept():
    rows = [{"cost": cost} for cost in (10.0, 9.0, 9.05, 9.5)]
    assert training.Judge(TrainConfig(), None, Logger(None, []), Curve(rows)).best() is rows[2]


def test_several_devices_are_mixed(tmp_path):
    train(config(tmp_path, device=("threshold", "alox-hfo2")))
    card = load_card(tmp_path / "policy.npz", "policy")
    assert [device["name"] for device in card["devices"]] == ["threshold", "alox-hfo2"]


def test_a_device_or_a_tolerance_outside_the_training_is_warned_of(ppo):
    task = WriteVerify(max_pulses=6, history=4)
    agents.load_policy(ppo / "policy.npz", task)  # warnings are errors
    with pytest.warns(UserWarning, match="trained on threshold, not on this alox-hfo2"):
        agents.load_policy(ppo / "policy.npz", replace(task, device="alox-hfo2"))
    other = load_device("threshold").replace(g_max=2e-4)
    with pytest.warns(UserWarning, match="not on this threshold"):
        agents.load_policy(ppo / "policy.npz", replace(task, device=other))
    with pytest.warns(UserWarning, match=r"tolerance 0.02, the task has 0.1"):
        agents.load_policy(ppo / "policy.npz", replace(task, tolerance=0.1))


def test_a_policy_of_another_layout_is_refused(ppo, tmp_path):
    agents.load_policy(ppo / "policy.npz", WriteVerify(rounds=3))  # told more than it was trained with
    train(config(tmp_path, rounds=2))
    with pytest.raises(ValueError, match="rounds > 1"):
        agents.load_policy(tmp_path / "policy.npz", WriteVerify())


def changed(card: dict, arrays: dict, damage: str) -> None:
    """Damage the content of a policy's file."""
    weights = "policy/action_net.weight"
    if damage == "NaN":
        arrays[weights] = np.full_like(arrays[weights], np.nan)
    if damage == "complex":
        arrays[weights] = arrays[weights].astype(complex)
    if damage == "transposed":
        arrays[weights] = arrays[weights].T
    if damage == "less":
        del arrays[weights]
    if damage == "more":
        arrays["policy/more"] = np.ones(3)
    if damage == "moments":
        arrays["policy.optimizer/0/exp_avg"] = np.ones(7, np.float32)
    if damage == "class":
        card["network"]["activation_fn"] = "os.system"
    if damage == "units":
        card["network"]["net_arch"] = [10**9]
    if damage == "history":
        card["history"] = 10**9
    if damage == "layout":
        card["history"] = True
    if damage == "algorithm":
        card["algorithm"] = "a2c"
    if damage == "unknown":
        card["policy_class"] = "os.system"
    if damage == "format":
        card["format"] = "memenv stable-baselines3 policy 9"


DAMAGES = {
    "missing": "there is no such file",
    "truncated": "not an .npz archive, or a truncated one",
    "NaN": "are NaN or beyond",
    "complex": "is of type complex128, f4 is needed",
    "transposed": "has the shape",
    "less": "it lacks policy/action_net.weight",
    "more": "it has 'policy/more'",
    "moments": "policy.optimizer/0/exp_avg has the shape (7,)",
    "class": "activation_fn is 'os.system', known are ReLU, Tanh",
    "units": "whole numbers of 1 to 1000 are needed",
    "history": "history is 1000000000 in its card, whole numbers of 1 to 1000 are needed",
    "layout": "history is True in its card; a value of type int is needed",
    "algorithm": "unknown algorithm 'a2c'",
    "unknown": "its card has 'policy_class'",
    "format": "its format is 'memenv stable-baselines3 policy 9'",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_missing_or_damaged_file_is_refused(ppo, tmp_path, damage):
    # the policy that was kept may be that of before the first step, which has no moments yet
    whole, path = ppo / ("checkpoint.npz" if damage == "moments" else "policy.npz"), tmp_path / "policy.npz"
    if damage == "truncated":
        path.write_bytes(whole.read_bytes()[:1000])
    elif damage != "missing":
        card = load_card(whole, "policy")
        with np.load(whole) as file:
            arrays = {name: file[name] for name in file.files if name != "card"}
        changed(card, arrays, damage)
        save_archive(path, card, arrays)
    with pytest.raises(ValueError) as error:
        agents.load_policy(path, WriteVerify())
    assert str(error.value).startswith(f"{path} is no ") and DAMAGES[damage] in str(error.value)


class Runs:
    """An object whose pickle makes a folder when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def hostile_zip(path: Path, folder: Path) -> None:
    """An archive of stable-baselines3 with its head, all of whose parts make a folder when they are unpickled."""
    content = pickle.dumps(Runs(folder))
    data = {"policy_class": {":type:": "type", ":serialized:": base64.b64encode(content).decode()}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", json.dumps(data))
        for name in ("policy.pth", "policy.optimizer.pth", "pytorch_variables.pth"):
            file.writestr(name, content)


def test_a_strangers_policy_runs_nothing(ppo, tmp_path, capsys):
    ran = tmp_path / "ran"
    hostile_zip(tmp_path / "x.zip", ran)
    np.savez(tmp_path / "x.npz", **{"policy/a": np.array([Runs(ran)], object)}, card=np.array([Runs(ran)], object))
    (tmp_path / "y.npz").write_bytes((tmp_path / "x.zip").read_bytes())
    np.save(tmp_path / "w.npy", np.eye(3))
    out = str(tmp_path / "out")
    for name in ("x.zip", "x.npz", "y.npz"):
        path = str(tmp_path / name)
        with pytest.raises(ValueError, match="run any code when it is opened" if name == "x.zip" else "is no policy"):
            agents.load_policy(path, WriteVerify())
        assert main(["compare", "--controllers", path, "--out", out]) == 2
        assert main(["program", "--weights", str(tmp_path / "w.npy"), "--controller", path, "--out", out]) == 2
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "eval.csv"):
        (run / name).write_bytes((ppo / name).read_bytes())
    (run / "checkpoint.zip").write_bytes((tmp_path / "x.zip").read_bytes())
    for words in (["--resume"], []):
        with pytest.raises(ValueError, match=r"checkpoint\.zip: of an earlier version.*choose another --out"):
            train(config(run, resume=bool(words)))
    (run / "checkpoint.npz").write_bytes((tmp_path / "x.npz").read_bytes())
    with pytest.raises(ValueError, match=r"checkpoint\.npz is no policy"):
        train(config(run, resume=True))
    assert main(["import-policy", str(tmp_path / "x.zip")]) == 2
    assert "add --trust" in capsys.readouterr().err
    assert not ran.exists() and not Path(out).exists()
    words = ["import-policy", str(tmp_path / "x.zip"), "--trust", "--out", str(tmp_path / "new.npz")]
    assert main(words) == 2 and ran.exists()  # it was a real one


@pytest.mark.parametrize("algo", ["ppo", "recurrent_ppo", "sac"])
def test_a_zip_that_is_trusted_becomes_the_arrays_of_its_training(algo, tmp_path, capsys):
    train(config(tmp_path / "run", algo=algo))
    task = training._tasks(training._completed(config(tmp_path, algo=algo)))[0]
    env = GymVecEnv(TaskVectorEnv(task, 8, AutoresetMode.SAME_STEP))
    model = make_model(algo, env, 1)
    resume_model(tmp_path / "run" / "checkpoint.npz", model, algo)
    zipped = tmp_path / "old.zip"
    model.save(zipped)
    words = ["import-policy", str(zipped), "--trust", "--algo", algo, "--history", str(task.history)]
    assert main(words) == 0
    assert f"{zipped} is trusted: whatever code its pickles hold runs now" in capsys.readouterr().err
    with np.load(tmp_path / "old.npz") as new, np.load(tmp_path / "run" / "checkpoint.npz") as own:
        assert sorted({*new.files} ^ {*own.files}) == []
        for name in own.files:
            np.testing.assert_array_equal(new[name], own[name])
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--history", "3"], ["--rounds", "2"], ["--give-up"], ["--algo", "sac"]])
def test_what_users_train_by_id_can_be_compared_if_they_say_for_what_it_was_trained(more, tmp_path, capsys):
    stable_baselines3.PPO("MlpPolicy", "memenv/WriteVerify-v0", n_steps=64, seed=0).save(tmp_path / "mine.zip")
    words = ["import-policy", str(tmp_path / "mine.zip"), "--trust", *more]
    assert main(words) == (2 if more else 0)
    if more:
        return
    task = WriteVerify(give_up=True)
    assert len(agents.evaluate(agents.load_policy(tmp_path / "mine.npz", task), task, 50, 0).pulses) == 50


def test_to_load_a_policy_leaves_the_random_numbers_alone(ppo):
    torch.manual_seed(3)
    first = torch.rand(3)
    torch.manual_seed(3)
    agents.load_policy(ppo / "policy.npz", WriteVerify(max_pulses=6))
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume"], "there is no run to resume"),
        (["--device", "unobtainium"], "unobtainium"),
        (["--steps", "-1"], "steps is -1"),
        (["--evaluations", "0"], "evaluations is 0"),
        (["--threads", "0"], "threads is 0, allowed is a whole number from 1 to"),
        (["--threads", "99999"], "threads is 99999, allowed is a whole number from 1 to"),
        (["--algo", "pulse", "--correlation", "0.9"], "--rounds of at least 2"),
        (["--correlation", "0.9", "--rounds", "2"], "needs --algo pulse"),
        (["--init", "policy.npz"], "needs --algo pulse"),
        (["--algo", "ars"], "invalid choice: 'ars'"),
    ],
)
def test_unusable_options_end_with_one_line_and_status_2(words, message, tmp_path, capsys):
    try:
        status = main(["train", "--out", str(tmp_path), *words])
    except SystemExit as end:
        status = end.code
    assert status == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("memenv train: ") and message in last
    assert not list(tmp_path.iterdir())


def test_an_unknown_algorithm_is_refused_from_python_too(tmp_path):
    with pytest.raises(ValueError, match="unknown algorithm 'ars'; known are ppo"):
        train(config(tmp_path, algo="ars"))


def test_a_run_is_neither_overwritten_nor_resumed_as_another(ppo):
    with pytest.raises(ValueError, match="already holds a run"):
        train(config(ppo, seed=1))
    with pytest.raises(ValueError, match=r"tolerance is 0.03, the run that is there has 0.02"):
        train(config(ppo, resume=True, tolerance=0.03))


def test_a_damaged_checkpoint_is_refused(ppo, tmp_path):
    for name in ("run.json", "eval.csv"):
        (tmp_path / name).write_bytes((ppo / name).read_bytes())
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"checkpoint\.npz is no policy of stable-baselines3"):
        train(config(tmp_path, resume=True))


def test_importing_agents_imports_no_torch():
    code = "import sys, agents; assert callable(agents.load_policy); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_memoryless_predictor_is_trained_for_the_first_pulse_and_keeps_no_memory(tmp_path):
    train(config(tmp_path / "run", algo="pulse", memoryless=True, steps=30, envs=64, evaluations=1))
    policy = agents.load_policy(tmp_path / "run" / "policy.npz", WriteVerify(device="threshold"))
    _, state = policy.predict(np.full((3, 7), 0.5, np.float32))
    assert not policy.memory and state.hidden is None


def test_a_training_begins_with_the_weights_of_another_policy(tmp_path):
    first, second = (config(tmp_path / name, algo="pulse", steps=1, envs=16, evaluations=1) for name in ("a", "b"))
    train(replace(first, hidden=8))
    train(replace(second, init=tmp_path / "a" / "policy.npz"))
    before, after = (load_pulse_predictor(tmp_path / name / "policy.npz", WriteVerify()).weights for name in ("a", "b"))
    moved = [np.abs(new - old).max() for new, old in zip(after, before, strict=True)]
    assert len(after.b_in) == 8 and 0 < max(moved) < 0.005
