"""One protocol for whatever is written: who answers it, what is refused, and a device of a user's own everywhere."""

import dataclasses
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agents.arrays.noise import ArrayNoise
from agents.arrays.writing import at, fresh_array, write_array
from agents.classical.bayes import Bayesian
from agents.classical.inverse import HistoryInverse, NominalInverse
from agents.classical.particles import Oracle
from agents.classical.write_verify import ISPP, ConstantPulse
from agents.comparison import CompareConfig, compare
from agents.evaluation import evaluate
from agents.library import known_policies, load_policy
from memenv import Crossbar, CrossbarError, DeviceError, Driver, Mixture, Read, State, WriteVerify, load_device
from memenv.arrays import numbers
from memenv.compiler.counter_rng import Key
from memenv.devices.device import Device
from memenv.devices.measured import TableDevice, Tables
from memenv.devices.mixture import compact, whole
from memenv.devices.protocol import CellModel, LearningModel, members, missing, parametric
from memenv.devices.reads import ReadMoments
from memenv.devices.uncertainty import of_chips
from memenv.engine import Engine, load_engine
from memenv.envs import CrossbarProgram, CrossbarProgramEnv, FewShotEnv, WriteVerifyEnv, WriteVerifyVectorEnv
from memenv.envs.compiled_runner import CompiledRunner
from memenv.envs.task import TaskError
from memenv.experiments.runs import described

PAGE = Path(__file__).parents[1] / "docs/architecture.md"


@dataclass(frozen=True, kw_only=True)
class Drifting:
    """Linear drift: a pulse moves the state by mobility x voltage x time, times a log-normal, between hard bounds."""

    name: str = "drifting"
    g_min: float = 1e-6
    g_max: float = 1e-4
    x_lo: float = 0.0
    x_hi: float = 1.0
    mobility: float | np.ndarray = 2e4  # [1/(V s)]
    driver: Driver = dataclasses.field(default_factory=Driver)
    read: Read = dataclasses.field(default_factory=lambda: Read(noise=0.003))

    polarity_only, pulse_channels, read_channels = False, 1, 1
    not_compiled, record, devices = "the physics of a test", None, ()

    def fabricate(self, rng, cells):
        return dataclasses.replace(self, mobility=self.mobility * np.exp(0.3 * rng.standard_normal((1, cells))[0]))

    def fresh(self, x, noise):
        return State(x=x, age=0.0 * x)

    def pulse(self, state, amplitude, width, noise, count=1.0):
        moved = self.mobility * amplitude * width * count * np.exp(0.1 * noise[0])
        return state._replace(x=np.clip(state.x + moved, self.x_lo, self.x_hi))

    def rest(self, state, seconds):
        return state._replace(age=state.age + seconds)

    def conductance(self, state):
        return self.g_min + state.x * (self.g_max - self.g_min)

    def sense(self, state, noise):
        return self.conductance(state) + self.read.noise * (self.g_max - self.g_min) * noise[0], state

    def read_moments(self, state):
        return ReadMoments(self.conductance(state), (self.read.noise * (self.g_max - self.g_min)) ** 2 + 0.0 * state.x)

    def pulse_energy(self, before, after, amplitude, width):
        return 0.5 * (before + after) * amplitude**2 * width

    def read_energy(self, g):
        return g * self.read.voltage**2 * self.read.duration


@dataclass(frozen=True, kw_only=True)
class Compiled(Drifting):
    """The same; its text is element-wise, so that engines can make a loop of it."""

    not_compiled = ""


MINE = Drifting()
TABLE = TableDevice(name="t", g_min=1e-6, g_max=1e-4, tables=None)


# -- who answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Device(), load_device(["threshold", "pcm"]), TABLE, MINE], ids=lambda m: m.name)
def test_every_kind_of_device_answers_the_protocol(model):
    assert missing(model, CellModel) == []


@pytest.mark.parametrize("kind", [Device, Mixture, TableDevice])
def test_methods_take_what_the_protocol_says(kind):
    for protocol in (CellModel, LearningModel):
        for name in members(protocol):
            if inspect.isfunction(asked := vars(protocol)[name]) and kind.__module__ == getattr(kind, name).__module__:
                assert list(inspect.signature(getattr(kind, name)).parameters) == [*inspect.signature(asked).parameters]


def test_a_mixture_answers_with_a_cell_of_each_device():
    devices = [load_device(name) for name in ("threshold", "pcm", "enode-sandia")]
    mixture, x = Mixture(devices=tuple(devices)), np.array([0.3, 0.5, 0.6])
    noise = np.random.default_rng(0).standard_normal((3, 3))
    after = mixture.pulse(mixture.fresh(x, noise[:2]), np.full(3, 1.0), np.full(3, 1e-6), noise)
    g, (reading, _) = mixture.conductance(after), mixture.sense(after, noise[:2])
    for i, device in enumerate(devices):
        own = slice(i, i + 1)
        state = device.fresh(x[own], noise[:2, own])
        state = device.pulse(state, np.full(1, 1.0), np.full(1, 1e-6), noise[:, own])
        np.testing.assert_allclose(g[own], device.conductance(state))
        np.testing.assert_allclose(reading[own], device.sense(state, noise[:2, own])[0])
        assert (mixture.g_min + 0 * x)[i] == device.g_min


@pytest.mark.parametrize("names", [["threshold", "pcm", "taox-sandia"], ["pcm", "pcm"]], ids=str)
def test_a_compact_chip_of_a_mixture_leaves_out_what_follows_from_the_device_of_a_cell(names):
    mixture = load_device(names)
    chip = mixture.fabricate(of_chips(np.random.default_rng(0), 60), 60)
    less = compact(mixture.devices, chip)
    if len(set(names)) == 1:
        assert less.own == chip
    else:
        assert len(numbers(less.own)) < len(numbers(chip)) / 2
    for name, found in numbers(whole(mixture.devices, less)).items():
        np.testing.assert_array_equal(found, numbers(chip)[name], err_msg=name)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_class_that_lacks_members_is_told_which():
    own = {name: value for name, value in vars(Drifting).items() if name in members(CellModel)}
    lacking = dataclass(frozen=True)(type("Lacking", (), {k: v for k, v in own.items() if k not in ("rest", "name")}))
    with pytest.raises(DeviceError, match="device Lacking lacks name, driver, read, rest: the members of CellModel"):
        WriteVerify(device=lacking())


def test_a_class_in_place_of_its_instance_is_refused():
    with pytest.raises(DeviceError, match=r"device is the class Drifting: an instance is needed, such as Drifting\(\)"):
        load_device(Drifting)


def test_a_class_from_whose_arrays_no_rows_can_be_taken_is_refused():
    plain = type("Plain", (), {name: None for name in members(CellModel)})
    with pytest.raises(DeviceError, match="device Plain is no frozen dataclass: write"):
        load_device(plain())


@pytest.mark.parametrize("controller", [NominalInverse, HistoryInverse, Bayesian, Oracle])
def test_controllers_that_need_the_law_of_a_record_say_so(controller):
    with pytest.raises(DeviceError, match=f"device is drifting: {controller.__name__} needs a parametric device"):
        controller(task=WriteVerify(device=MINE))


def test_the_generalist_and_pulse_training_ask_for_a_record(tmp_path):
    training = pytest.importorskip("agents.training")
    with pytest.raises(DeviceError, match="device is drifting: the generalist needs a parametric device"):
        load_policy("generalist", WriteVerify(device=MINE))
    with pytest.raises(DeviceError, match="device is drifting: --algo pulse, to differentiate through it"):
        training.train(training.TrainConfig(device=(MINE,), algo="pulse", out=tmp_path))


def test_a_chip_that_learns_names_what_it_would_need():
    with pytest.raises(DeviceError, match="Drifting needs retention, reference_pulse, mean_step"):
        FewShotEnv(device=MINE)


def test_half_selected_cells_are_of_parametric_devices():
    with pytest.raises(CrossbarError, match="scheme is 'V/2', but drifting, no parametric device"):
        Crossbar(device=MINE, scheme="V/2")


def test_a_record_is_its_own_and_a_table_has_none():
    device = load_device("pcm")
    assert parametric(device, "a test") is device
    with pytest.raises(DeviceError, match="device is t: a test needs a parametric device, a preset or a record"):
        parametric(TABLE, "a test")


def test_what_cannot_be_compiled_says_so_in_one_place():
    for asked in (WriteVerify(device=MINE), Crossbar(device=MINE), CrossbarProgram(device=MINE)):
        assert asked.not_compiled == "the physics of a test"
    with pytest.raises(TaskError, match='"numba" does not run the physics of a test: use'):
        CompiledRunner(WriteVerify(device=MINE), 4, Engine("numba"))


# -- a device of a user's own ------------------------------------------------------------------------------------------


def test_a_single_environment_equals_the_first_row_of_a_batch_of_one():
    single, batch = WriteVerifyEnv(device=MINE), WriteVerifyVectorEnv(1, device=MINE)
    a, b = single.reset(seed=3)[0], batch.reset(seed=3)[0][0]
    np.testing.assert_array_equal(a, b)
    action = np.array([1.0, -0.2, 0.2], np.float32)
    np.testing.assert_array_equal(single.step(action)[0], batch.step(action[None])[0][0])


def test_as_much_noise_is_drawn_as_the_device_takes():
    task = WriteVerify(device=MINE, confirm_reads=2)
    assert [draw.shape for draw in (*task.initial_draws, *task.step_draws)] == [(2,), (2,), (1,), (1,), (3, 1)]
    assert Crossbar(device=MINE).write_channels == 1


def test_gymnasium_makes_the_environment_of_an_object():
    env = gym.make("memenv/WriteVerify-v0", device=MINE)
    before = env.reset(seed=0)[0]
    after = env.step(np.array([1.0, 0.0, 0.5], np.float32))[0]
    assert after[0] > before[0]  # a SET pulse raises the read
    env.close()


def test_an_array_of_such_cells_is_programmed():
    env = CrossbarProgramEnv(device=MINE, rows=3, cols=2)
    env.reset(seed=0)
    assert np.isfinite(env.step(env.action_space.sample())[1])
    crossbar, task = Crossbar(device=MINE, rows=4, cols=4), WriteVerify(device=MINE)
    noise, goal = ArrayNoise.of(0), at(np.full((4, 4), 5e-5))
    written = write_array(crossbar, task, ISPP(task=task), fresh_array(crossbar, noise), goal, noise)
    assert written.accepted.mean() > 0.9


def test_what_is_compared_are_the_controllers_that_need_no_law(tmp_path):
    task = WriteVerify(device=MINE)
    assert known_policies(task) == ("constant", "ispp", "ispp-shrinking", "vipi", "secant")
    rows = compare(CompareConfig(device=(MINE,), cells=60, trials=1, out=tmp_path))
    assert [row["device"] for row in rows] == ["drifting"] * 5
    assert all(row["success_rate"] > 0.9 for row in rows[1:])


def test_a_run_is_of_the_devices_that_it_was_given(tmp_path):
    ends, steps = np.array([0.0, 1.0]), np.zeros((2, 1, 2, 2))
    tables = [Tables(ends[:1], ends[None], ends, dg) for dg in (steps, steps + 1)]
    table, other = (dataclasses.replace(TABLE, tables=one) for one in tables)
    runs = [described(CompareConfig(device=(device,))) for device in (table, other, MINE, Compiled(), Device())]
    assert len({str(run) for run in runs}) == len(runs)
    assert described(CompareConfig(device=(dataclasses.replace(MINE),))) == runs[2]
    config = CompareConfig(device=(MINE,), controllers=("ispp",), cells=20, trials=1, out=tmp_path)
    assert compare(config) == compare(config)  # shown again
    with pytest.raises(ValueError, match="already holds a run"):
        compare(dataclasses.replace(config, device=(Drifting(mobility=1e4),)))


def test_a_policy_is_trained_for_it_by_reinforcement_learning(tmp_path):
    pytest.importorskip("stable_baselines3")
    training = pytest.importorskip("agents.training")
    config = training.TrainConfig(
        device=(MINE,), algo="ppo", steps=64, envs=8, evaluations=1, evaluation_cells=20, out=tmp_path / "run"
    )
    training.train(config)
    task = WriteVerify(device=MINE)
    policy = load_policy(training.policy_file(config), task)
    assert evaluate(policy, task, 5, seed=0).pulses.shape == (5,)


def test_element_wise_physics_is_compiled_and_gives_the_same_numbers():
    pytest.importorskip("numba")
    device, x = Compiled(), np.linspace(0.2, 0.8, 50)
    results = []
    for name in ("numpy", "numba"):
        engine = load_engine(name)
        chip = engine.fabricate(device, Key(1), len(x))
        state = engine.fresh(chip, x, Key(2))
        results.append(engine.pulse_and_read(chip, state, 0.8, 2e-6, Key(3))[0])
    np.testing.assert_allclose(*results, rtol=1e-5)
    assert ConstantPulse(task=WriteVerify(device=device)).task.not_compiled == ""


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_has_a_line_for_each_member_in_order():
    section = PAGE.read_text(encoding="utf-8").partition("## The protocol of a device")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)", section, re.MULTILINE) == [*members(CellModel), *members(LearningModel)]
