"""Policies by name: the shipped ones are small, plain, carry their command, and beat tuned ISPP where they belong."""

import dataclasses
import itertools
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from agents.classical.write_verify import ISPP
from agents.evaluation import evaluate
from agents.library import known_policies, load_policy, shipped
from agents.predictor.policy import PulsePredictor
from agents.tuned import shipped_or_tuned
from agents.tuning import priced
from memenv import WriteVerify, load_device, presets
from memenv.devices.protocol import parametric

SPECIALISTS = [name for name in shipped() if name in presets()]


def test_a_generalist_and_specialists_are_shipped() -> None:
    assert "generalist" in shipped() and len(SPECIALISTS) >= 5


@pytest.mark.parametrize("name", shipped())
def test_shipped_policies_are_small_and_say_how_they_were_made(name: str) -> None:
    file = resources.files("agents") / "shipped" / f"{name}.npz"
    assert Path(str(file)).stat().st_size < 1_000_000
    policy = load_policy(Path(str(file)), WriteVerify(give_up=True, device=name if name in presets() else "threshold"))
    card = json.loads(policy.card)
    assert card["command"].startswith("memenv train --device") and card["seed"] == 0


@pytest.mark.parametrize("name", SPECIALISTS)
def test_each_specialist_needs_fewer_pulses_than_tuned_ispp(name: str) -> None:
    device = parametric(load_device(name), "the test")
    shares = (0.9, 0.9) if device.retention else (0.6, 0.65)  # the noise of a write leaves less to be won
    ispp = shipped_or_tuned(ISPP(task=priced(WriteVerify(give_up=True, device=device), None))).policy
    for known, share in zip((device.replace(uncertainty=None), device), shares, strict=True):
        task = WriteVerify(give_up=True, device=known)
        mine = evaluate(load_policy("specialist", task), task, 1000, 3)
        other = evaluate(dataclasses.replace(ispp, task=task), task, 1000, 3)
        assert mine.pulses.sum() / mine.accepted.sum() < share * other.pulses.sum() / other.accepted.sum()
        assert mine.accepted.mean() > other.accepted.mean() - 0.02


def test_the_generalist_programs_a_device_it_never_saw() -> None:
    unknown = parametric(load_device("fefet"), "the test")
    for device, most in ((unknown.replace(uncertainty=None), 2.0), (unknown, 3.5)):
        task = WriteVerify(give_up=True, device=device)
        result = evaluate(load_policy("generalist", task), task, 1000, 0)
        assert result.pulses.mean() < most and result.accepted.mean() > 0.99


def test_a_memory_makes_rewriting_cheaper_round_by_round() -> None:
    task = WriteVerify(give_up=True, device="threshold", rounds=6)
    pulses = np.nanmean(evaluate(load_policy("specialist", task), task, 2000, 0).round_pulses, axis=0)
    assert pulses[-1] < 0.7 * pulses[0]


def test_all_controllers_and_what_was_learnt_for_the_device_are_compared_by_default() -> None:
    names = known_policies(WriteVerify(give_up=True, device="threshold"))
    assert names[0] == "constant" and names[-1] == "oracle" and {"specialist", "generalist"} < set(names)
    assert "specialist" not in known_policies(WriteVerify(give_up=True, device="ideal"))


def test_a_policy_for_another_device_warns() -> None:
    with pytest.warns(UserWarning, match="trained for threshold"):
        load_policy("threshold", WriteVerify(give_up=True, device="alox-hfo2"))


def test_an_unknown_policy_is_refused_with_what_is_known() -> None:
    with pytest.raises(ValueError, match="ispp"):
        load_policy("gpt", WriteVerify(give_up=True))


def test_programming_with_a_shipped_policy_needs_no_torch() -> None:
    code = (
        "import sys; from memenv import WriteVerify; from agents.evaluation import evaluate; "
        "from agents.library import load_policy; task = WriteVerify(give_up=True); "
        "evaluate(load_policy('generalist', task), task, 10, 0); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_network_of_a_policy_is_finite_everywhere() -> None:
    """Reads far outside the range, and cells at the target, still give possible pulses."""
    task = WriteVerify(give_up=True, device="threshold")
    policy = load_policy("specialist", task)
    assert isinstance(policy, PulsePredictor)
    ends = (-1, -0.5, 0, 1), (-0.8, 0), (0,), (-1, 0, 1), (-1, 0, 1), (-1, 1), (0,)
    action, _ = policy.predict(np.array([*itertools.product(*ends)], np.float32))
    assert np.isfinite(action).all() and np.abs(action).max() <= 1
