"""The gate of a 1T1R cell: records, the law of a gated pulse, actions and observations, controllers."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from agents.arrays.pulse_list import header, pulse_lines
from agents.classical.gated import GateISPP, Radar
from agents.evaluation import evaluate
from agents.library import GATED as GATED_CONTROLLERS
from agents.library import load_policy
from agents.predictor.gru import initial_weights
from agents.predictor.policy import FEATURES, PulsePredictor, Sight, gates, outputs_of
from memenv import TaskError, WriteVerify
from memenv.devices import Device, DeviceError, Gate, Mixture, from_json, load_device, to_json
from memenv.devices.command import card
from memenv.envs.shells import TaskVectorEnv
from memenv.envs.write_verify.observation import View

VOLTS, STOPS = (1.5, 1.8, 2.2, 2.6), (0.0, 0.7, 0.82, 0.9)
GATE = Gate(low=1.0, high=4.0, volts=VOLTS, stops=STOPS, loss=1.5)
BARE = load_device("threshold").record
assert BARE is not None
GATED = BARE.replace(gate=GATE)
CELLS = 2000


def pulsed(device: Device, x: float, amplitude: float, width: float = 1e-6, cells: int = CELLS, seed: int = 0) -> Any:
    """States (cells,) of a chip after one pulse from `x`."""
    rng = np.random.default_rng(seed)
    chip = device.fabricate(rng, cells)
    state = chip.fresh(np.full(cells, x), rng.standard_normal((2, cells)))
    return chip.pulse(state, np.full(cells, amplitude), np.full(cells, width), rng.standard_normal((3, cells))).x


def gated(**changes: Any) -> Device:
    """The device with another gate."""
    return GATED.replace(gate=dataclasses.replace(GATE, **changes))


# -- the law -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("volts", "stop"), [*zip(VOLTS, STOPS, strict=True), (2.0, 0.76), (1.0, 0.0), (4.0, 0.9)])
def test_a_strong_set_ends_where_the_gate_stops_it(volts: float, stop: float) -> None:
    """The table at its voltages, linear in between, constant outside; a SET never lowers a state."""
    nominal = GATED.replace(mismatch=dataclasses.replace(BARE.mismatch, x_hi=0.0, x_lo=0.0))
    x = pulsed(nominal.at_gate(volts), 0.05, 1.8, 1e-5)
    np.testing.assert_allclose(x, max(stop, 0.05), atol=1e-2 if stop else 1e-12)
    assert (x <= max(stop, 0.05)).all()
    np.testing.assert_array_equal(pulsed(nominal.at_gate(volts), 0.95, 1.8), np.maximum(0.95, x.max()))


def test_where_a_set_stops_spreads_from_cell_to_cell_and_from_pulse_to_pulse() -> None:
    """Both standard deviations are those of the table; that of the cell is the same at the next pulse."""
    device = gated(mismatch=(0.0, 0.03, 0.03, 0.03), cycle_noise=(0.0, 0.02, 0.02, 0.02)).at_gate(1.8)
    device = device.replace(mismatch=dataclasses.replace(BARE.mismatch, x_hi=0.0, x_lo=0.0, rate=0.0, threshold=0.0))
    chip = device.fabricate(np.random.default_rng(1), CELLS)
    state = chip.fresh(np.full(CELLS, 0.05), np.zeros((2, CELLS)))
    pulse = np.full(CELLS, 1.8), np.full(CELLS, 1e-5)
    one, other = (
        chip.pulse(state, *pulse, np.random.default_rng(seed).standard_normal((3, CELLS))).x for seed in (2, 3)
    )
    np.testing.assert_allclose(one.std(), np.hypot(0.03, 0.02), rtol=0.05)
    np.testing.assert_allclose((one - other).std(), 0.02 * np.sqrt(2), rtol=0.05)


def test_where_a_set_stops_is_independent_of_what_its_write_adds() -> None:
    """Its draw is that of the dose, which a SET that has arrived does not feel."""
    chip = gated(cycle_noise=(0.0, 0.02, 0.02, 0.02)).at_gate(1.8)
    state = chip.fresh(np.full(3, 0.05), np.zeros((2, 3)))
    x = chip.replace(set=dataclasses.replace(BARE.set, additive_noise=0.0)).pulse(
        state, np.full(3, 1.8), np.full(3, 1e-5), np.eye(3)
    )
    np.testing.assert_allclose(x.x - x.x[1], [0.02, 0.0, 0.0], rtol=0.05)


def test_a_reset_acts_with_the_gate_voltage_less_the_loss_at_most() -> None:
    """3 V of gate let 1.5 V through: more on the source line changes nothing, as much of gate shuts the cell off."""
    np.testing.assert_array_equal(pulsed(GATED.at_gate(3.0), 0.9, -1.8), pulsed(BARE.replace(gate=GATE), 0.9, -1.5))
    np.testing.assert_array_equal(pulsed(GATED.at_gate(1.5), 0.5, -1.8), 0.5)


def test_a_short_pulse_ends_before_the_word_line_is_up() -> None:
    """After one time constant the gate is at 1 - 1/e of its voltage."""
    slow = gated(rise=1e-6).at_gate(3.0)
    np.testing.assert_allclose(
        pulsed(slow, 0.05, 1.8, 1e-6), pulsed(GATED.at_gate(3.0 * (1 - np.exp(-1.0))), 0.05, 1.8, 1e-6), rtol=1e-9
    )


def test_a_stretched_word_line_creeps_on() -> None:
    """1 - exp(-(t / rise)^stretch) of the gate voltage: sooner before one time constant, later after it."""
    slow = gated(rise=1e-6, stretch=0.5).at_gate(3.0)
    for width in (4e-7, 4e-6):
        reached = 3.0 * (1 - np.exp(-np.sqrt(width / 1e-6)))
        np.testing.assert_allclose(
            pulsed(slow, 0.0, 1.8, width), pulsed(GATED.at_gate(reached), 0.0, 1.8, width), rtol=1e-9
        )


def test_a_gate_that_limits_nothing_changes_nothing() -> None:
    """To the bit, chip by chip but for the draw of the cell's own stop."""
    open_gate = gated(stops=(9.0,) * 4, loss=0.0)
    rng = np.random.default_rng(5)
    chip = open_gate.fabricate(rng, 100)
    state, noise = chip.fresh(rng.random(100), rng.standard_normal((2, 100))), rng.standard_normal((3, 100))
    pulse = rng.uniform(-1.8, 1.8, 100), rng.uniform(1e-7, 1e-5, 100), noise
    np.testing.assert_array_equal(chip.pulse(state, *pulse).x, chip.replace(gate=None).pulse(state, *pulse).x)


# -- the record --------------------------------------------------------------------------------------------------------


def test_records_keep_their_gate_and_those_without_one_do_not_mention_it() -> None:
    """JSON in and out."""
    assert from_json(to_json(GATED)) == GATED
    assert '"gate"' not in to_json(BARE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volts": ()}, r"gate.volts is \(\): 2 to 256 are needed, which ascend"),
        ({"volts": (1.0, 1.0, 2.0, 3.0)}, "which ascend"),
        ({"stops": (0.1,)}, "gate.stops is .*: one for each of the 4 gate.volts"),
        ({"mismatch": (0.1,)}, "gate.mismatch is .*: one for each"),
        ({"low": 5.0}, "gate.low is 5.0 and gate.high is 4.0"),
        ({"step": 5.0}, "gate.step is 5.0: it must not be larger than gate.high - gate.low"),
        ({"rise": -1.0}, "gate.rise is -1.0, allowed is 0 to 1000"),
        ({"stretch": 0.0}, "gate.stretch is 0.0, allowed is 0.01 to 1"),
        ({"stops": (0.0, 0.1, 0.2, "x")}, "gate.stops is 'x', a number is needed"),
    ],
)
def test_an_impossible_gate_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    """Each with the field, the value and what is allowed."""
    with pytest.raises(DeviceError, match=message):
        load_device(gated(**changes))


def test_a_voltage_beyond_the_gate_is_refused() -> None:
    """So is one of a device that has none, and a gated device in a mixture."""
    with pytest.raises(ValueError, match="allowed is 1 to 4 V"):
        GATED.at_gate(5.0)
    with pytest.raises(ValueError, match="threshold: it has no gate"):
        BARE.at_gate(2.0)
    with pytest.raises(DeviceError, match="a mixture takes devices without"):
        Mixture(devices=(GATED, BARE))


@pytest.mark.parametrize(("volts", "mean", "spread"), [(1.8, 179, 15), (2.2, 209, 14), (2.6, 220, 11)])
def test_the_radar_chip_sets_a_fresh_cell_as_far_as_was_measured(volts: float, mean: float, spread: float) -> None:
    """Pulses of 2 V and 1 us from 8 uS [uS]; its card names the gate."""
    device = load_device("hfo2-radar")
    g = 2.0 + 248.0 * pulsed(device.at_gate(volts), 0.025, 2.0)
    assert abs(g.mean() - mean) < 4 and 0.5 * spread < g.std() < 1.2 * spread
    assert "gate       low=1.4, high=4" in card(device)


# -- the task ----------------------------------------------------------------------------------------------------------

TASK = WriteVerify(device=GATED, give_up=True)


def episode_after(task: WriteVerify, action: np.ndarray) -> Any:
    """Episodes (cells,) that began at 5 % of the range, after one action."""
    rng, cells = np.random.default_rng(0), len(action)
    chip = task.fabricate(rng, cells)

    def noise(draws: Any) -> tuple[np.ndarray, ...]:
        return tuple(np.zeros((*draw.shape, cells)) for draw in draws)

    start = {"start": chip.g_min + 0.05 * (chip.g_max - chip.g_min), "target": 6e-5}
    return task.transition(task.initial(chip, noise(task.initial_draws), start), action, noise(task.step_draws))


def test_the_gate_is_a_component_of_actions_and_the_last_number_of_observations() -> None:
    """Polarity, amplitude, width, gate, giving up; a held gate and a menu have none."""
    assert TASK.action_space.shape == (5,) and TASK.observation_space.shape == (8,)
    for other in (WriteVerify(device=GATED.at_gate(2.0)), WriteVerify(device=BARE)):
        assert other.action_space.shape == (3,) and other.observation_space.shape == (7,)
    assert WriteVerify(device=GATED, action="discrete").observation_space.shape == (7,)


@pytest.mark.parametrize("task", [TASK, WriteVerify(device=GATED, rounds=2), WriteVerify(device=GATED, history=3)])
def test_the_gate_that_was_encoded_is_decoded_driven_and_seen(task: WriteVerify) -> None:
    """What is out of the driver's reach is clipped; one that is not given is fully open."""
    asked, cells = np.array([1.0, 1.7, 2.2, 9.0]), 4
    action = task.encode(np.full(cells, 1.8), np.full(cells, 1e-5), gate=asked)
    *_, volts = task.decode(action)
    np.testing.assert_allclose(volts, [1.0, 1.7, 2.2, 4.0], rtol=1e-6)
    episode = episode_after(task, action)
    np.testing.assert_allclose(task.view(task.observe(episode)).gate, volts, rtol=1e-6)
    np.testing.assert_allclose(task.view_of(episode).gate, volts, rtol=1e-6)
    held = [
        episode_after(WriteVerify(device=GATED.at_gate(one)), np.array([[1.0, 1.0, 1.0]])).true_conductance
        for one in volts.tolist()
    ]
    assert held[0] < held[1] < held[2]
    np.testing.assert_allclose(task.decode(task.encode(np.ones(1), np.ones(1)))[-1], 4.0)


def test_a_driver_with_steps_of_the_gate_rounds_to_them_and_the_observation_tells_so() -> None:
    """From the least voltage on, as far as steps go, in decoding, on cells and in what is seen."""
    task = WriteVerify(device=gated(step=0.4), give_up=True)
    action = task.encode(np.full(4, 1.8), np.full(4, 1e-5), gate=np.array([1.0, 1.79, 1.81, 4.0]))
    rounded = [1.0, 1.8, 1.8, 3.8]
    np.testing.assert_allclose(task.decode(action)[-1], rounded, rtol=1e-6)
    episode = episode_after(task, action)
    np.testing.assert_allclose(task.view(task.observe(episode)).gate, rounded, rtol=1e-6)
    assert episode.true_conductance[1] == episode.true_conductance[2]


def test_signals_of_a_menu_that_has_no_gate_are_pulses_at_full_gate() -> None:
    """As policies that were trained on a menu answer on continuous actions."""
    action = TASK.actions.of_signals(np.array([0.5, -0.5]), np.zeros(2), np.array([False, True]))
    assert action.shape == (2, *TASK.action_space.shape)
    _, _, gave_up, volts = TASK.decode(action)
    assert gave_up.tolist() == [False, True] and volts.tolist() == [4.0, 4.0]


def test_giving_up_leaves_the_gate_that_was_seen() -> None:
    """As it leaves amplitude and width."""
    action = TASK.encode(np.full(3, 1.8), np.full(3, 1e-6), np.full(3, True), gate=np.full(3, 2.0))
    assert TASK.view(TASK.observe(episode_after(TASK, action))).gate.tolist() == [0.0] * 3


def test_engines_agree_on_a_gated_device() -> None:
    """Observation and reward, step by step."""
    pytest.importorskip("numba")
    seen = []
    for engine in ("numpy", "numba"):
        env = gymnasium.make_vec("memenv/WriteVerify-v0", num_envs=4, device=GATED, engine=engine)
        env.reset(seed=1)
        rng = np.random.default_rng(0)
        steps = [env.step(rng.uniform(-1, 1, (4, 4)).astype(np.float32))[:2] for _ in range(4)]
        seen.append(np.concatenate([np.column_stack(step) for step in steps]))
    np.testing.assert_allclose(*seen, atol=1e-4)


# -- who decides -------------------------------------------------------------------------------------------------------


def test_rising_gate_climbs_at_a_fixed_bit_line_and_restarts_where_the_polarity_turns() -> None:
    """SETs by the gate, RESETs by the source line at full gate."""
    policy = GateISPP(task=TASK, gate_start=0.2, gate_step=0.1, bit_level=1.0, reset_start=0.5, reset_step=0.25)
    view = View(*np.array([[0.1], [0.5], *[[0.0]] * 5]), gate=np.zeros(1))
    memory, found = policy.unknown(view), []
    for read in (0.1, 0.2, 0.3, 0.7, 0.65, 0.3):
        (amplitude, width, _, gate), memory = policy.act(view._replace(read=np.array([read])), memory)
        view = view._replace(amplitude=amplitude, width=width)
        found.append((amplitude[0], gate[0]))
    np.testing.assert_allclose(
        found, [(1.8, 1.6), (1.8, 1.9), (1.8, 2.2), (-1.15, 4.0), (-1.475, 4.0), (1.8, 1.6)], rtol=1e-5
    )


def test_radar_stays_fine_once_it_has_passed_its_target() -> None:
    """Each polarity climbs by its own step, however far the read is; another target begins with coarse pulses."""
    fine = {"fine_set": 0.0, "fine_set_step": 0.1, "fine_reset": 0.0, "fine_reset_step": 0.2}
    policy = Radar(task=TASK, near=0.0, **fine)
    view = View(*np.array([[0.1], [0.5], *[[0.0]] * 5]), gate=np.zeros(1))
    memory, found = policy.unknown(view), []
    for read, target in ((0.1, 0.5), (0.9, 0.5), (0.8, 0.5), (0.1, 0.5), (0.2, 0.5), (0.2, 0.4)):
        view = view._replace(read=np.array([read]), target=np.array([target]))
        (amplitude, width, _, gate), memory = policy.act(view, memory)
        view = view._replace(amplitude=amplitude, width=width)
        found.append((amplitude[0], gate[0] == 4.0))
    np.testing.assert_allclose(found[1:5], [(-0.5, True), (-0.76, True), (0.5, True), (0.63, True)])
    assert found[0] == found[5] and not found[0][1]


def test_radar_goes_over_to_weak_pulses_at_full_gate_near_the_target() -> None:
    """Near is a distance to the target, on both sides."""
    policy = Radar(task=TASK, near=0.1, fine_set=0.0, fine_reset=0.0)
    view = View(*np.array([[0.2, 0.45, 0.55, 0.9], [0.5] * 4, *[[0.0] * 4] * 5]), gate=np.zeros(4))
    (amplitude, _, _, gate), _ = policy.act(view, policy.unknown(view))
    assert gate[0] < 4.0 and (gate[1:] == 4.0).all()
    np.testing.assert_allclose(amplitude[1:3], [0.5, -0.5])
    assert amplitude[0] > 0.5 and amplitude[3] < -0.5


@pytest.mark.parametrize("name", [*GATED_CONTROLLERS, "secant", "history"])
def test_controllers_program_a_gated_device(name: str) -> None:
    """Those that know no gate leave it fully open."""
    outcomes = evaluate(load_policy(name, TASK), TASK, 60, 0)
    assert outcomes.accepted.mean() > 0.6


def test_an_evaluation_begins_and_aims_where_its_options_say() -> None:
    """As published runs begin, from a reset; else anywhere."""
    options = {"start": 3e-5, "target": 7e-5}
    outcomes = evaluate(load_policy("secant", TASK), TASK, 5, 0, options=options, examples=5)
    np.testing.assert_allclose(outcomes.target, TASK.fraction(TASK.device, 7e-5))
    assert np.ptp([reads[0] for reads, *_ in outcomes.examples]) < 5e-6


def test_policies_without_a_gate_are_refused_by_name_and_those_with_one_need_it() -> None:
    """The message says how to hold the gate."""
    message = r"a gate of 1 to 4 V, which .* does not drive; hold it at a voltage: device.at_gate\(4\), or gate.low"
    with pytest.raises(TaskError, match=message):
        load_policy("generalist", TASK)
    load_policy("generalist", WriteVerify(device=GATED.at_gate(4.0)))
    for task in (WriteVerify(device=BARE), WriteVerify(device=GATED.at_gate(2.0))):
        with pytest.raises(TaskError, match="drives a gate: a record with `gate` is needed, not held"):
            load_policy("radar", task)


def test_a_list_of_pulses_says_where_the_gate_is_held() -> None:
    """In a last column, which lists of other devices have not."""
    steps = [(np.array([1]), np.array([1.5]), np.array([1e-6]))]
    assert header(2.5) + pulse_lines((0, 0), 2, steps, 2.5) == header(None)[:-1] + ",gate_V\n0,0,0,1,0,1.5,1e-06,2.5\n"
    assert pulse_lines((0, 0), 2, steps) == "0,0,0,1,0,1.5,1e-06\n"


@pytest.mark.parametrize("volts", [0.5, np.float32(9.0), np.array([2.0, 9.0]), "2", None, float("nan")])
def test_a_voltage_that_the_gate_cannot_have_is_refused(volts) -> None:
    with pytest.raises(ValueError, match=r"the gate is .* V, of .* allowed is 1 to 4 V"):
        GATED.at_gate(volts)


def test_a_mean_reset_does_nothing_where_the_gate_lets_nothing_pass() -> None:
    chip = load_device("hfo2-radar")
    middle, down = np.array([0.5 * (chip.g_min + chip.g_max)]), np.array([False])
    assert chip.at_gate(1.4).mean_step(middle, down) == 0 < chip.at_gate(4.0).mean_step(middle, down)


def test_a_model_that_drives_a_gate_is_loaded_where_one_is_chosen_and_nowhere_else(tmp_path: Path) -> None:
    """And the other way round, whether the model met no gate or one that was held; the message says what to do."""
    pytest.importorskip("stable_baselines3")
    from agents.sb3 import GymVecEnv, files
    from agents.sb3.policy import make_model

    held = WriteVerify(device=GATED.at_gate(2.0))
    for name, device in (("driven", GATED), ("held", GATED.at_gate(2.0)), ("bare", BARE)):
        task = WriteVerify(device=device)
        model = make_model("ppo", GymVecEnv(TaskVectorEnv(task, 2, gymnasium.vector.AutoresetMode.SAME_STEP)), 0)
        files.save_model(tmp_path / f"{name}.npz", model, files.head_of("ppo", task))
    files.load_sb3(tmp_path / "driven.npz", WriteVerify(device=GATED))
    files.load_sb3(tmp_path / "held.npz", held)
    with pytest.raises(TaskError, match=r"driven.npz was trained to drive a gate, and there is none to choose"):
        files.load_sb3(tmp_path / "driven.npz", held)
    for name in ("held", "bare"):
        with pytest.raises(TaskError, match=rf"which .*{name}.npz does not drive; hold it"):
            files.load_sb3(tmp_path / f"{name}.npz", WriteVerify(device=GATED))


def test_a_predictor_makes_sets_stop_about_their_targets_and_is_loaded_where_a_gate_is_chosen(tmp_path: Path) -> None:
    """By its fourth output; RESETs are at full gate. A held gate is none to choose, and such a network is refused."""
    device = gated(rise=1e-6, stretch=0.5)
    weights = initial_weights(np.random.default_rng(0), FEATURES, 8, outputs_of(device))
    task = WriteVerify(device=device, give_up=True)
    PulsePredictor(weights=weights, device=device, task=task).save(tmp_path / "driven.npz")
    policy = load_policy(tmp_path / "driven.npz", task)
    read, target, width = np.array([0.1, 0.1, 0.9]), np.array([0.5, 0.75, 0.5]), np.full(3, 3e-6)
    sight = Sight(read, target, read, 0.0 * read, width, 0.02 + 0.0 * read)
    outputs = np.zeros((3, 4))
    (volts,) = gates(device, sight, width, outputs)
    stops = [
        device.at_gate(v).gate.limits(True, 1.8, 3e-6, np.array([0.1]), 1.0, 0.0)[1][0] for v in volts[:2].tolist()
    ]
    np.testing.assert_allclose(stops, target[:2], rtol=1e-6)
    assert volts[2] == 4.0 and gates(device.at_gate(2.0), sight, width, outputs) == ()
    (above,) = gates(device, sight, width, outputs + 1.0)
    assert (above[:2] > volts[:2]).all() and above[2] == 4.0
    action, _ = policy.predict(task.observe(episode_after(task, task.encode(np.ones(3), np.full(3, 1e-6)))))
    assert len(set(task.decode(action)[-1].tolist())) > 1
    with pytest.raises(TaskError, match=r"driven.npz was trained to drive a gate"):
        load_policy(tmp_path / "driven.npz", WriteVerify(device=device.at_gate(2.0)))
    dataclasses.replace(policy, device=BARE).save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="its network has 4 outputs, its device threshold needs 3"):
        load_policy(tmp_path / "other.npz", TASK)


def test_gradients_through_the_device_reach_the_gate() -> None:
    """The column of weights that chooses it moves in the first step."""
    pytest.importorskip("torch")
    from agents.predictor.training import PulseTrainingConfig, train

    device = gated(cycle_noise=(0.0, 0.02, 0.02, 0.02), rise=1e-6, stretch=0.5)
    one, other = (
        train([device], PulseTrainingConfig(hidden=4, iterations=1, streams=64, steps=3, learning_rate=rate))
        for rate in (1e-9, 1e-2)
    )
    assert one.w_out.shape == (4, 4) and (np.abs(one.w_out - other.w_out)[:, 3] > 1e-3).all()
