"""The classical controllers: what they send, what they learn, when they give up."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.classical.bayes import Bayesian
from agents.classical.inverse import HistoryInverse, NominalInverse, Overshooting
from agents.classical.particles import Oracle
from agents.classical.secant import Secant
from agents.classical.write_verify import (
    ISPP,
    ConstantPulse,
    Controller,
    ShrinkingISPP,
    VoltageIncrementalPI,
    pulse_for,
)
from agents.evaluation import Outcomes, evaluate
from memenv.arrays import take
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device, Mismatch
from memenv.devices.law import equivalent_pulses
from memenv.envs.write_verify.task import WriteVerify

FEEDBACK = (ISPP, ShrinkingISPP, VoltageIncrementalPI, Secant, NominalInverse, HistoryInverse, Overshooting)
ALL = (ConstantPulse, *FEEDBACK)
IDEAL = WriteVerify(give_up=True, device="ideal", max_pulses=200)
THRESHOLD = WriteVerify(give_up=True, device="threshold")


def run(policy: Any, cells: int = 200, seed: int = 0) -> Outcomes:
    """The policy on `cells` fresh cells of its own task."""
    return evaluate(policy, policy.task, cells, seed)


def observe(task: WriteVerify, read: Any, target: Any, amplitude: Any, width: Any) -> np.ndarray:
    """The observation of cells whose last pulse was `amplitude` (0: none yet) [V] and `width` [s]."""
    read, target, amplitude, width = np.broadcast_arrays(*map(np.atleast_1d, (read, target, amplitude, width)))
    spent = np.full(len(read), 0.1 * task.max_pulses)
    pulse = amplitude, width
    return task.observations.show(read, target, task.tolerance_x, 0.0 * read, pulse, spent, task.device.driver)


def amplitudes(policy: Controller, reads: list[float], target: float) -> list[float]:
    """Signed amplitudes [V] that a controller answers to a sequence of reads of one cell."""
    state, sent, width = policy.begin(None, 1), [], 1e-6
    for read in reads:
        last = sent[-1] if sent else 0.0
        action, state = policy.predict(observe(policy.task, read, target, last, width), state)
        amplitude, pulse_width, _ = policy.task.decode(action)
        sent.append(float(amplitude[0]))
        width = float(pulse_width[0])
    return sent


@pytest.mark.parametrize("controller", FEEDBACK)
def test_every_feedback_controller_programs_an_ideal_device(controller: type[Controller]) -> None:
    assert run(controller(task=IDEAL)).accepted.all()


def test_constant_pulses_program_an_ideal_device_when_a_step_is_within_the_tolerance() -> None:
    policy = ConstantPulse(task=IDEAL, set_level=0.6, reset_level=0.6)
    assert run(policy).accepted.all()


@pytest.mark.parametrize("controller", [NominalInverse, HistoryInverse])
def test_the_inverse_hits_an_ideal_device_with_one_pulse(controller: type[Controller]) -> None:
    policy = controller(task=IDEAL) if controller is NominalInverse else HistoryInverse(task=IDEAL, caution=0.0)
    assert (run(policy).pulses == 1).all()


def test_a_pulse_for_a_count_is_worth_that_count_wherever_the_driver_can_send_it() -> None:
    device = load_device("threshold")
    up = np.arange(12) % 2 == 0
    count = np.geomspace(1e-3, 100.0, 12)
    for width in (1e-7, 1e-6, 1e-5):
        amplitude, chosen = pulse_for(device.law(up), device.driver, up, count, width)
        np.testing.assert_allclose(equivalent_pulses(device.law(up), amplitude, chosen), count, rtol=1e-9)
        assert (amplitude >= 0.5).all() and (amplitude <= 1.8).all()
        assert (chosen >= 1e-7).all() and (chosen <= 1e-5).all()


def test_ispp_climbs_by_its_step_and_restarts_at_a_polarity_change() -> None:
    sent = amplitudes(ISPP(task=THRESHOLD, set_start=0.3, reset_start=0.4, step=0.1), [0.2, 0.2, 0.3, 0.6, 0.58], 0.5)
    volts = 0.5 + 1.3 * np.array([0.3, 0.4, 0.5, 0.4, 0.5])
    np.testing.assert_allclose(sent, volts * [1, 1, 1, -1, -1], rtol=1e-6)


def test_shrinking_ispp_climbs_in_smaller_steps_after_an_overshoot() -> None:
    policy = ShrinkingISPP(task=THRESHOLD, step=0.1, shrink=0.5, resume=0.0)
    sent = np.abs(amplitudes(policy, [0.2, 0.2, 0.6, 0.58, 0.4, 0.42], 0.5))
    np.testing.assert_allclose(np.diff(sent)[[0, 2, 4]] / 1.3, [0.1, 0.05, 0.025], rtol=1e-5)


def test_vipi_climbs_faster_far_from_the_target() -> None:
    far = amplitudes(VoltageIncrementalPI(task=THRESHOLD), [0.1, 0.1, 0.1], 0.9)
    near = amplitudes(VoltageIncrementalPI(task=THRESHOLD), [0.8, 0.8, 0.8], 0.9)
    assert far[1] - far[0] > near[1] - near[0] > 0
    assert far[2] - far[1] > far[1] - far[0]  # the integral part


def secant(**changes: Any) -> Secant:
    """A secant of round numbers on the driver 0.5 to 1.8 V: bounds at 1.25 and -0.25."""
    numbers = {"set_base": 0.6, "reset_base": 0.7, "set_slope": 0.1, "reset_slope": 0.2, "gain": 0.5, "share": 0.4}
    return Secant(task=THRESHOLD, **numbers | {"set_room": 0.25, "reset_room": 0.25, "caution": 0.0} | changes)


def test_secant_moves_both_bases_after_one_response() -> None:
    policy = secant()
    wanted, seen, left = (1.25 * np.log(ratio) for ratio in (1.0 / 0.5, 1.0 / 0.75, 0.75 / 0.5))  # 0.25 to 0.75, to 0.5
    first, second = amplitudes(policy, [0.25, 0.5], 0.75)
    assert first == pytest.approx(0.5 + 1.3 * (0.6 + 0.1 * np.log(wanted)), rel=1e-6)
    base = 0.6 + 0.5 * 0.1 * np.log(wanted / seen)
    assert second == pytest.approx(0.5 + 1.3 * (base + 0.1 * np.log(left)), rel=1e-5)
    turn = amplitudes(policy, [0.25, 0.9], 0.75)[1]  # it saw more than it wanted
    base = 0.7 + 0.4 * 0.5 * 0.1 * np.log(wanted / (1.25 * np.log(1.0 / 0.35)))
    assert turn == pytest.approx(-(0.5 + 1.3 * (base + 0.2 * np.log(1.25 * np.log(1.15 / 1.0)))), rel=1e-5)


def test_secant_is_cautious_at_the_start_and_after_a_turn_of_polarity_only() -> None:
    bold, careful = (amplitudes(secant(gain=0.0, caution=c), [0.2, 0.4, 0.6, 0.55], 0.5) for c in (0.0, 0.3))
    np.testing.assert_allclose(np.abs(bold) - np.abs(careful), 1.3 * 0.3 * np.array([0.1, 0.0, 0.2, 0.0]), atol=1e-6)


def test_secant_sends_more_to_a_cell_that_does_not_move() -> None:
    sent = amplitudes(secant(), [0.3, 0.3, 0.29, 0.31], 0.8)
    assert sent[0] < sent[1] < sent[2] == pytest.approx(1.8)


def test_secant_pays_for_later_targets_of_the_same_cell() -> None:
    task = WriteVerify(give_up=True, device="threshold", rounds=4)
    by_round = np.nanmean(evaluate(Secant(task=task), task, 400, 0).round_pulses, axis=0)
    assert by_round[3] < 0.8 * by_round[0]


def test_history_learns_the_dose_of_a_cell_from_one_response() -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(rate=0.5))
    task = WriteVerify(give_up=True, device=device)
    policy = HistoryInverse(task=task)
    weak = dataclasses.replace(device.set, dose=device.set.dose * 0.3)
    cell = device.replace(set=weak)
    start, state = np.array([0.2]), policy.begin(None, 1)
    action, state = policy.predict(observe(task, 0.2, 0.8, 0.0, 1e-6), state)
    amplitude, width, _ = task.decode(action)
    after = cell.pulse(cell.fresh(start, np.zeros((2, 1))), amplitude, width, np.zeros((3, 1))).x
    _, state = policy.predict(observe(task, after, 0.8, amplitude, width), state)
    assert np.exp(state.own.excess.set[0]) == pytest.approx(0.3, rel=0.2)


def test_history_pays_for_later_targets_of_the_same_cell() -> None:
    task = WriteVerify(give_up=True, device="threshold", rounds=4)
    outcomes = evaluate(HistoryInverse(task=task), task, 400, 0)
    by_round = np.nanmean(outcomes.round_pulses, axis=0)
    assert by_round[3] < by_round[1] < by_round[0]


@pytest.mark.parametrize("controller", ALL)
def test_a_stuck_cell_is_given_up(controller: type[Controller]) -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(stuck_anywhere=1.0))
    outcomes = run(controller(task=WriteVerify(give_up=True, device=device), patience=5.0), cells=50)
    assert not outcomes.accepted.any()
    assert (outcomes.pulses < 40).all()


def test_infinite_patience_never_gives_up() -> None:
    device = load_device("threshold").replace(mismatch=Mismatch(stuck_anywhere=1.0))
    task = WriteVerify(give_up=True, device=device, max_pulses=20)
    assert (run(NominalInverse(task=task, patience=float("inf")), cells=20).pulses == 20).all()


@pytest.mark.parametrize("controller", [*ALL, Bayesian, Oracle])
@pytest.mark.parametrize("action", ["continuous", "discrete"])
def test_a_batch_equals_batches_of_one(
    controller: type[Any], action: str, everything: Device, rng: np.random.Generator
) -> None:
    task = WriteVerify(give_up=True, device=everything, tolerance=0.05, action=action)
    policy, cells = controller(task=task), 5
    chip, target = task.fabricate(rng, cells), np.linspace(0.2, 0.8, cells)
    rows = [slice(i, i + 1) for i in range(cells)]
    whole, alone = policy.begin(chip, cells), [policy.begin(take(chip, row), 1) for row in rows]
    amplitude, width = np.zeros(cells), np.full(cells, 1e-6)
    for read in rng.random((4, cells)):
        seen = observe(task, read, target, amplitude, width)
        actions, whole = policy.predict(seen, whole)
        for i, row in enumerate(rows):
            action_alone, alone[i] = policy.predict(seen[row], alone[i])
            np.testing.assert_array_equal(action_alone, actions[row])
        amplitude, width, _ = task.decode(actions)


@pytest.mark.parametrize("controller", [*ALL, Bayesian, Oracle])
def test_every_controller_copes_with_every_term_of_the_model(controller: type[Any], everything: Device) -> None:
    task = WriteVerify(give_up=True, device=everything, tolerance=0.1, rounds=2)
    assert run(controller(task=task), cells=40).accepted.mean() > 0.2


@pytest.mark.parametrize("controller", [*ALL, Bayesian, Oracle])
def test_where_polarity_is_all_the_sign_of_the_error_decides(controller: type[Any], tmp_path: Path) -> None:
    grid, cdf = np.linspace([1e-6, 1e-6], [9e-5, 1e-4], 5, axis=1), np.linspace(0.0, 1.0, 11)
    step = np.broadcast_to(1e-6 + 1e-6 * cdf[None, :, None], (2, 11, 5))
    np.savez(tmp_path / "two.npz", device=np.arange(2), conductance=grid, cdf=cdf, dg_set=step, dg_reset=-step)
    outcomes = run(
        controller(task=WriteVerify(give_up=True, device=str(tmp_path / "two.npz"), max_pulses=99)), cells=60
    )
    assert outcomes.accepted.all()


def test_a_mixture_of_devices_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        ISPP(task=WriteVerify(give_up=True, device=["threshold", "ideal"]))


def test_the_nominal_device_is_all_that_a_controller_sees() -> None:
    assert isinstance(THRESHOLD.device, Device)
    policy = HistoryInverse(task=THRESHOLD)
    chip = THRESHOLD.fabricate(np.random.default_rng(1), 3)
    np.testing.assert_array_equal(policy.begin(chip, 3).own.variance, policy.begin(None, 3).own.variance)


def test_overshooting_goes_past_the_target_with_the_coarse_polarity() -> None:
    device = load_device("ideal")
    task = WriteVerify(give_up=True, device=device)
    policy = Overshooting(task=task, set_aim=2.0, reset_aim=0.5, caution=0.0)
    landed = []
    for read, target in ((0.2, 0.4), (0.8, 0.6)):
        action, _ = policy.predict(observe(task, read, target, 0.0, 1e-6), policy.begin(None, 1))
        amplitude, width, _ = task.decode(action)
        landed.append(
            device.pulse(device.fresh(np.array([read]), np.zeros((2, 1))), amplitude, width, np.zeros((3, 1))).x[0]
        )
    assert landed == pytest.approx([0.6, 0.7], abs=0.01)
