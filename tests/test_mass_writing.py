"""Bulk programming: what a policy does to many cells is what it does in `agents.evaluation`, in whatever chunks."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from agents.bulk.writer import mass_writer
from agents.classical.bayes import Bayesian
from agents.classical.inverse import HistoryInverse, NominalInverse
from agents.classical.secant import Secant
from agents.classical.write_verify import ISPP, ShrinkingISPP, VoltageIncrementalPI
from agents.evaluation import evaluate
from agents.library import load_policy
from memenv.compiler.counter_rng import Key
from memenv.compiler.elementary import tanh
from memenv.compiler.runtime import prepare
from memenv.crossbars import memory_budget as memory
from memenv.devices.catalogue import load_device
from memenv.envs.write_verify.task import WriteVerify

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")

TASK = WriteVerify(give_up=True)
POLICIES = {
    "ispp": ISPP(task=TASK, set_start=0.35),
    "specialist": load_policy("specialist", TASK),
}
WRITERS = {name: mass_writer(policy) for name, policy in POLICIES.items()} if importlib.util.find_spec("numba") else {}


def arrays(result):
    """The arrays of a result that there are."""
    return {name: part for name, part in result._asdict().items() if part is not None}


def assert_alike(result, outcomes):
    """Means of one within four standard errors of the other's."""
    for name in ("pulses", "accepted", "false_acceptances", "energy", "latency"):
        one, other = (np.asarray(getattr(part, name), float) for part in (result, outcomes))
        error = np.sqrt(one.var() / len(one) + other.var() / len(other))
        assert abs(one.mean() - other.mean()) < 4 * error, name


@pytest.mark.parametrize("name", POLICIES)
def test_figures_are_those_of_evaluate(name):
    assert_alike(WRITERS[name](20_000, seed=1, chunk=8192), evaluate(POLICIES[name], TASK, 4000, seed=1))


@pytest.mark.parametrize(
    "kind", [ISPP, ShrinkingISPP, VoltageIncrementalPI, Secant, NominalInverse, HistoryInverse, "specialist"]
)
def test_loops_decide_as_policies_predict(kind):
    """Step by step and cell by cell, over a change of target."""
    task, cells = dataclasses.replace(TASK, rounds=2), 1000
    policy = load_policy(kind, task) if kind == "specialist" else kind(task=task, patience=4.0)
    writer, state, key = mass_writer(policy), None, Key(0)
    start = prepare(writer.start, cells, (np.arange(cells, dtype=np.uint32),))
    start.launch(key, 1)
    episode, done = start.result(), np.zeros(cells, bool)
    memory = writer.policy.initial_memory(writer.view(episode), [])
    hidden = np.zeros((writer.policy.hidden, cells), np.float32)
    step, pulses = writer._stepping(np.arange(cells, dtype=np.uint32), episode, memory, hidden, done), 0
    for number in range(12):
        action, state = policy.predict(np.stack(task.observation_parts(episode), axis=1).astype(np.float32), state)
        wanted = np.array(task.actions.signals(action))
        key, going = key.next(), ~done
        step(key, number == 0)
        pulsed = going & (wanted[2] == 0)
        np.testing.assert_allclose(episode.signal[pulsed], wanted[0, pulsed], atol=2e-3)
        np.testing.assert_allclose(episode.log_width[pulsed], wanted[1, pulsed], atol=2e-3)
        assert done[going & ~pulsed].all()
        pulses += pulsed.sum()
    assert episode.pulses.sum() == pulses
    assert (episode.rounds_left < 1).mean() > 0.1


@pytest.mark.parametrize(("name", "chunks"), [("specialist", (2048, 2048)), ("ispp", (2048, 999))])
def test_neither_workers_nor_chunks_change_the_result(name, chunks):
    one, two = (
        WRITERS[name](10_000, seed=3, chunk=chunk, workers=number) for chunk, number in zip(chunks, (1, 3), strict=True)
    )
    for key, part in arrays(one).items():
        np.testing.assert_array_equal(part, getattr(two, key))


def test_variants_program_the_same_cells_as_each_of_them_alone():
    starts = np.array([0.2, 0.35, 0.5])
    both = mass_writer(ISPP(task=TASK), ["set_start"])(1000, seed=3, variants={"set_start": starts}, chunk=512)
    for variant, start in enumerate(starts):
        alone = mass_writer(ISPP(task=TASK, set_start=start))(1000, seed=3)
        np.testing.assert_array_equal(both.pulses.reshape(1000, 3)[:, variant], alone.pulses)
        np.testing.assert_allclose(both.energy.reshape(1000, 3)[:, variant], alone.energy, rtol=1e-5)


def test_more_workers_than_any_processor_has_threads_are_refused():
    with pytest.raises(ValueError, match="workers is 99999, allowed is a whole number from 1 to"):
        WRITERS["ispp"](1000, seed=0, workers=99_999)


def test_the_first_chunk_does_not_depend_on_the_number_of_cells():
    few, many = (WRITERS["ispp"](cells, seed=3, chunk=1024) for cells in (1024, 3000))
    np.testing.assert_array_equal(few.pulses, many.pulses[:1024])
    assert (few.pulses != WRITERS["ispp"](1024, seed=4, chunk=1024).pulses).mean() > 0.5


def test_accepted_cells_are_at_their_targets():
    device = load_device("threshold")
    targets = np.random.default_rng(0).uniform(0.2, 0.8, 5000) * (device.g_max - device.g_min) + device.g_min
    result = WRITERS["specialist"](5000, seed=0, targets=targets, conductances=True)
    missed = np.abs(result.conductance - targets) > 0.02 * (device.g_max - device.g_min)
    np.testing.assert_array_equal(missed[result.accepted], result.false_acceptances[result.accepted] > 0)
    assert result.accepted.mean() > 0.98
    assert missed[result.accepted].mean() < 0.1


def test_several_targets_and_other_devices_are_alike_too():
    task = WriteVerify(device="hfo2-array-om", rounds=2, tolerance=0.03, give_up=True)
    policy = ISPP(task=task, step=0.1)
    assert_alike(mass_writer(policy)(8000, seed=0), evaluate(policy, task, 3000, seed=0))


def test_every_chunk_is_reported():
    seen = []
    WRITERS["ispp"](2500, seed=0, chunk=1024, on_chunk=seen.append)
    assert sorted(seen) == [452, 1024, 1024]


def test_hyperbolic_tangent_is_exact_to_single_precision():
    x = np.concatenate([np.linspace(-100, 100, 10_001), np.geomspace(1e-12, 10, 1000)]).astype(np.float32)
    np.testing.assert_allclose(tanh(x), np.tanh(x.astype(float)), rtol=1e-6)


@pytest.mark.parametrize("change", [{"history": 4}, {"confirm_reads": 1}, {"action": "discrete"}])
def test_tasks_that_are_not_compiled_are_named(change):
    (name,) = change
    with pytest.raises(ValueError, match=name):
        mass_writer(ISPP(task=dataclasses.replace(TASK, **change)))


def test_policies_that_are_not_compiled_are_named():
    with pytest.raises(ValueError, match="Bayesian cannot be compiled"):
        mass_writer(Bayesian(task=TASK))


def test_targets_out_of_range_are_refused():
    for value in (np.nan, 1.0, -1e-6):
        with pytest.raises(ValueError, match="the range is"):
            WRITERS["ispp"](3, seed=0, targets=np.array([2e-5, value, 2e-5]))
    with pytest.raises(ValueError, match="shape"):
        WRITERS["ispp"](3, seed=0, targets=np.full(2, 2e-5))


def test_too_many_cells_are_refused_with_the_figure(monkeypatch):
    monkeypatch.setattr(memory, "memory_free", lambda: 10**9)
    with pytest.raises(ValueError, match=r"100,000,000 cells need 1\.\d+ GB, 1 GB are free"):
        WRITERS["ispp"](10**8, seed=0)
