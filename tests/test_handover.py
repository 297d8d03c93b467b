"""Policies that hand a cell over: on a wrong record, hardly ever on the right one, and always outside their domain."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from agents.evaluation import evaluate
from agents.library import load_policy
from agents.predictor.handover import Domain, standby
from agents.predictor.policy import PulsePredictor, load_pulse_predictor
from agents.stress import case
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device
from memenv.devices.law import Response
from memenv.devices.uncertainty import Uncertainty
from memenv.envs.write_verify.task import WriteVerify

TASK = WriteVerify(device="enode-sandia", give_up=True)


def specialist(task: WriteVerify) -> PulsePredictor:
    """The shipped one."""
    policy = load_policy("specialist", task)
    assert isinstance(policy, PulsePredictor)
    return policy


@pytest.mark.parametrize("device", ["threshold", "hfo2-array-om", "alox-hfo2", "enode-sandia"])
def test_on_the_right_record_less_than_a_hundredth_of_the_cells_that_can_be_programmed_is_handed_over(
    device: str,
) -> None:
    task = WriteVerify(device=device, give_up=True)
    for name in ("specialist", "generalist"):
        outcomes = evaluate(load_policy(name, task), task, 1000, 1)
        assert outcomes.handed_over[outcomes.accepted].mean() < 0.01


def test_on_a_wrong_record_cells_are_handed_over_and_programmed() -> None:
    one = case(TASK, "threshold=-0.2")
    policies = specialist(one.told), load_policy("oracle", one.true)
    outcomes, best = (evaluate(policy, one.true, 200, 0) for policy in policies)
    assert outcomes.handed_over[outcomes.accepted].mean() > 0.9
    assert outcomes.accepted.mean() > 0.97 * best.accepted.mean() > 0.5  # all others are out of reach


def test_outside_its_domain_a_policy_says_so_once_and_is_secant_from_the_first_pulse() -> None:
    task = dataclasses.replace(TASK, tolerance=0.0002)
    with pytest.warns(UserWarning, match="specialist: tolerance is 0.0002, it was made for 0.0035 to 0.06") as said:
        policy = specialist(task)
        outcomes = evaluate(policy, task, 100, 0)
    assert len(said) == 1 and outcomes.handed_over.all()
    alone = evaluate(policy.standby, task, 100, 0)
    np.testing.assert_array_equal(outcomes.pulses, alone.pulses)


def test_the_standby_controller_has_the_lines_of_its_record() -> None:
    for device, most in (("threshold", 2.9), ("enode-sandia", 1.6)):
        record = load_device(device).record
        assert record is not None
        aligned = dataclasses.replace(record.mismatch, x_shift=0.0)  # else half of the targets are out of reach
        record = record.replace(uncertainty=None, mismatch=aligned)
        task = WriteVerify(device=record, give_up=True)
        assert evaluate(standby(task, record), task, 500, 0).pulses.mean() < most


def _both(record: Device, **factors: float) -> Device:
    """A record with parameters of both polarities times these factors."""

    def changed(one: Response) -> Response:
        return dataclasses.replace(one, **{name: factor * getattr(one, name) for name, factor in factors.items()})

    return record.replace(set=changed(record.set), reset=changed(record.reset))


def test_where_a_rate_is_linear_in_the_voltage_the_standby_controller_programs() -> None:
    record = _both(load_device("threshold").record, slope=100.0)  # of 20 V: lines of 15 ranges an e-fold otherwise
    task = WriteVerify(device=record, give_up=True)
    assert evaluate(standby(task, record), task, 200, 0).accepted.mean() > 0.9


def test_where_a_record_does_not_tell_the_dose_cells_that_go_too_far_are_handed_over_early() -> None:
    record = load_device("threshold").record
    unknown = Uncertainty(parameters=("set.dose", "reset.dose"), deviations=(3.0, 3.0))
    told = WriteVerify(device=record.replace(uncertainty=unknown), give_up=True)
    outcomes = evaluate(
        load_policy("generalist", told), dataclasses.replace(told, device=_both(record, dose=30)), 200, 0
    )
    assert outcomes.handed_over.mean() > 0.8 and outcomes.accepted.mean() > 0.98
    assert outcomes.pulses.mean() < 16  # 25 where nothing but half of the pulses spent hands them over


def test_a_driver_of_one_width_has_a_standby_controller_that_gives_it() -> None:
    device = load_device("hfo2-neurram")
    task = WriteVerify(device=device, give_up=True)
    assert device.driver.width_min == device.driver.width_max
    assert 0 <= standby(task, device).width_level <= 1
    assert evaluate(load_policy("generalist", task), task, 20, 0).accepted.mean() > 0.9


def test_domains_are_kept_in_the_card_and_files_without_one_load(tmp_path: Path) -> None:
    policy = dataclasses.replace(specialist(TASK), domain=Domain(tolerance=(0.01, 0.04), alarm=33.0))
    policy.save(tmp_path / "policy.npz")
    assert load_pulse_predictor(tmp_path / "policy.npz", TASK).domain == policy.domain


def test_a_table_and_a_mixture_have_nobody_standing_by() -> None:
    mixed = dataclasses.replace(specialist(TASK), task=WriteVerify(device=["threshold", "alox-hfo2"], give_up=True))
    assert mixed.standby is None and mixed.begin(None, 3).handed is False


def test_on_a_device_louder_than_those_of_its_training_a_policy_hands_over() -> None:
    task = WriteVerify(device="taox-sandia", give_up=True)
    with pytest.warns(UserWarning, match="generalist: cycle_noise is 2.24, it was made for 0 to 2"):
        policy = load_policy("generalist", task)
    assert evaluate(policy, task, 50, 0).handed_over.all()
