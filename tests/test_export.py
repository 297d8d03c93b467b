"""Exported policies decide as they do in Python."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from agents.classical import ISPP, NominalInverse, Secant
from agents.evaluation import evaluate
from agents.export.c_code import c_files, rounded
from agents.export.c_text import commented
from agents.export.recording import difference, recorded_steps
from agents.export.running import COMPILER, answered, compiled, decided
from agents.library import load_policy
from agents.predictor.gru import initial_weights
from agents.predictor.handover import Domain
from agents.predictor.policy import FEATURES, OUTPUTS, PulsePredictor
from memenv import WriteVerify, load_device
from memenv.__main__ import main

needs_cc = pytest.mark.skipif(not shutil.which(COMPILER), reason="no C compiler cc on this machine")
TASK = WriteVerify(device="threshold", give_up=True)
ENODE = WriteVerify(device="enode-sandia", give_up=True)


def small(task=TASK, **changes):
    """A predictor with random weights."""
    weights = initial_weights(np.random.default_rng(1), FEATURES, 8, OUTPUTS)
    weights = weights._replace(w_out=30 * weights.w_out)  # of very different pulses
    return PulsePredictor(weights=weights, device=load_device(task.device), task=task, **changes)


@needs_cc
@pytest.mark.parametrize(
    "policy",
    [
        ISPP(task=TASK),
        Secant(task=TASK),
        NominalInverse(task=ENODE),
        load_policy("specialist", TASK),
        load_policy("generalist", ENODE),
        load_policy("specialist", WriteVerify(device="taox-sandia", give_up=True)),
        small(),
        small(memory=False),
    ],
    ids=lambda policy: f"{type(policy).__name__}-{policy.task.device.name}",
)
def test_c_decides_as_python_on_recorded_episodes(policy, tmp_path):
    steps = recorded_steps(policy, policy.task, 300, 5)
    program = compiled(c_files(policy, type(steps)(*(part[:30] for part in steps))), tmp_path)
    assert steps.give_up.any() and len(steps.cell) > 600
    assert difference(steps, decided(program, steps), policy.task.device.driver).max() < 1e-5


@needs_cc
@pytest.mark.parametrize("alarm", [-1.0, 1.0])
def test_c_hands_cells_over_to_secant_as_python_does(alarm, tmp_path):
    policy = small(domain=Domain(alarm=alarm))
    steps = recorded_steps(policy, TASK, 100, 5)
    assert evaluate(policy, TASK, 100, 5).handed_over.any()
    program = compiled(c_files(policy, steps), tmp_path)
    assert difference(steps, decided(program, steps), TASK.device.driver).max() < 1e-5


@needs_cc
@pytest.mark.parametrize("bits", [8, 6])
def test_packed_weights_decide_as_the_rounded_weights_do(bits, tmp_path):
    policy = rounded(small(), bits)
    steps = recorded_steps(policy, TASK, 100, 5)
    program = compiled(c_files(policy, steps, bits=bits), tmp_path)
    assert difference(steps, decided(program, steps), TASK.device.driver).max() < 1e-5
    inputs, hidden = 2 * 8 + 1, 8  # of the gates and a one, whose weights are the wide ones; bytes are read in twos
    assert f"uint8_t w_gates[{inputs * 2 * hidden * bits // 8 + 1}]" in (tmp_path / "policy.c").read_text()


def test_rounding_weights_again_changes_nothing():
    once = rounded(small(), 6)
    assert all(np.allclose(a, b, rtol=1e-12) for a, b in zip(once.weights, rounded(once, 6).weights, strict=True))
    assert not np.allclose(once.weights.w_in, small().weights.w_in, rtol=1e-6)


@needs_cc
def test_the_exported_program_checks_its_vector_and_programs_a_simulated_cell(tmp_path):
    out = tmp_path / "exported"
    assert main(["export", "secant", "--out", str(out), "--cells", "5"]) == 0
    files = {name: (out / name).read_text() for name in ("policy.c", "policy.h", "main.c", "vector.h")}
    assert "memenv export secant" in files["policy.h"]
    said = subprocess.run([compiled(files, out)], capture_output=True, text=True, check=True).stdout
    assert said.startswith("test vector: ") and said.count(" S: accepted after ") == 2
    wrong = files | {"main.c": files["main.c"].replace("vector_target[i])", "vector_target[0])")}
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([compiled(wrong, out)], capture_output=True, check=True)


def test_a_header_says_whether_the_hand_over_is_exported():
    policy = small()
    steps = recorded_steps(policy, TASK, 2, 5)
    assert "Hand-over to secant" in c_files(policy, steps)["policy.h"]
    assert "without a network" in c_files(Secant(task=TASK), steps)["policy.h"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["bayes"], "Bayesian cannot be compiled; pulse predictors can, and controllers but bayes and the bounds"),
        (["secant", "--bits", "8"], "bits are of a network's weights, Secant has none: leave out --bits"),
        (["secant", "--device", "physics/vteam"], "memenv export needs a parametric device"),
    ],
)
def test_what_cannot_be_exported_ends_in_one_line(words, message, tmp_path, capsys):
    assert main(["export", *words, "--trials", "1", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err and not list((tmp_path / "out").glob("policy.*"))


def test_a_task_by_levels_is_not_exported():
    task = WriteVerify(device="threshold", give_up=True, target_levels=4)
    with pytest.raises(ValueError, match="target_levels is 4: exported is a task with one tolerance"):
        c_files(Secant(task=task), recorded_steps(Secant(task=task), task, 2, 5))


def test_c_rounds_pulses_to_the_grid_of_the_driver():
    driver = replace(TASK.device.driver, amplitude_step=0.1, widths=(1e-7, 1e-6))
    task = WriteVerify(device=TASK.device.replace(driver=driver), give_up=True)
    policy = Secant(task=task)
    steps = recorded_steps(policy, task, 2, 5)
    np.testing.assert_allclose(steps.amplitude / 0.1, np.rint(steps.amplitude / 0.1), rtol=1e-9)
    assert (
        "floor(" in c_files(policy, steps)["policy.c"] and "floor(" not in c_files(Secant(task=TASK), steps)["policy.c"]
    )


def test_an_onnx_model_decides_as_python_on_recorded_episodes_and_hands_cells_over():
    pytest.importorskip("onnxscript", reason="extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from agents.export.onnx_model import onnx_bytes

    policy = small(domain=Domain(alarm=1.0))
    steps = recorded_steps(policy, TASK, 300, 5)
    assert 0 < evaluate(policy, TASK, 300, 5).handed_over.mean() < 1 and steps.give_up.any()
    assert difference(steps, answered(onnx_bytes(policy), steps), TASK.device.driver).max() < 1e-5


def test_tensors_decide_as_python_at_the_first_pulse():
    torch = pytest.importorskip("torch")
    from agents.export.onnx_model import Decides

    for policy in (small(memory=False), Secant(task=ENODE)):
        steps = recorded_steps(policy, policy.task, 50, 5)
        first = np.append(True, np.diff(steps.cell) > 0)
        model = Decides(policy)
        cell, hidden = (torch.zeros(first.sum(), size) for size in model.sizes)
        seen = (torch.tensor(part[first]) for part in (steps.read, steps.target))
        found = model(*seen, cell.double(), hidden)[:3]
        for one, expected in zip(found, (steps.amplitude, steps.width, steps.give_up), strict=True):
            np.testing.assert_allclose(one, expected[first], rtol=1e-5)


def test_names_and_commands_stay_within_the_comment_that_they_stand_in():
    for text in ("a*/b", "a/*b", "a*/*/b", "a*\\\n/b", "C:\\\n"):
        made = commented(text).replace("\\\n", "")  # lines are joined before comments are found
        assert "*/" not in made and "/*" not in made and made.replace(" ", "") == text
