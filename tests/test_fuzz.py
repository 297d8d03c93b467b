"""Whatever is read or given ends in the package's own error of one line, or in a valid result: many inputs at random.

`MEMENV_FUZZ=100` takes a hundred times as many.
"""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import typing
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from extremes import finite, use
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import (
    WORDS,
    changed_archives,
    changed_array,
    changed_json,
    changed_npy,
    changed_tables,
    damaged,
    signed,
    some_of,
)
from odd import VALUES
from odd import WORDS as ODD_WORDS
from test_command_line import CONFIGURATIONS
from test_runs import shrink

import memenv
from agents.arrays import tiles
from agents.arrays.matrix_files import load_inputs, load_weights
from agents.few_shot.agent import FORMAT as AGENT_FORMAT
from agents.few_shot.agent import FewShotAgent
from agents.library import CONTROLLERS, load_policy
from agents.predictor.gru import Weights
from agents.predictor.policy import CARD, FEATURES, OUTPUTS
from agents.predictor.policy import FORMAT as PREDICTOR_FORMAT
from agents.sb3 import files
from agents.sb3.policy import make_model, recipe
from agents.sb3.vec_env import GymVecEnv
from memenv import DeviceError, from_json, to_json
from memenv.__main__ import main
from memenv.devices.measured import TableDevice
from memenv.envs import FewShot, TaskError, WriteVerify
from memenv.few_shot.initialisations import Initialisation, load_initialisation, untrained
from memenv.fitting.trains import read_pulses

MANY = int(os.environ.get("MEMENV_FUZZ", "1"))
HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def fuzzed(examples: int, strategy: st.SearchStrategy[Any], attempt: Callable[[Any], str]) -> Counter[str]:
    """How often each outcome came; a wrong one is shrunk to its least example. Both outcomes have to come up."""
    outcomes: Counter[str] = Counter()

    @settings(max_examples=examples * MANY, suppress_health_check=HEALTH)
    @given(strategy)
    def run(value: Any) -> None:
        outcomes[attempt(value)] += 1

    run()
    print(dict(outcomes))
    assert min(outcomes["refused"], outcomes["valid"]) >= examples // 50, outcomes  # else the inputs tell nothing
    return outcomes


def outcome(
    make: Callable[[], Any], check: Callable[[Any], None], said: str, kind: type[ValueError] = ValueError
) -> str:
    """What came of it: refused in one line that has `said` in it, or something that `check` approves of."""
    try:
        made = make()
    except kind as error:
        text = str(error)
        assert said in text and len(text.splitlines()) == 1 and len(text) < 2000, repr(error)
        return "refused"
    check(made)
    return "valid"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("strangers")


# -- devices -----------------------------------------------------------------------------------------------------------


def test_records(place, everything):
    path = place / "one.json"

    def attempt(text: str) -> str:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return outcome(lambda: memenv.load_device(path), check, "one.json", DeviceError)

    def check(device: Any) -> None:
        assert from_json(to_json(device)) == device
        assert use(device, 3, 2) == ""

    devices = [json.loads(to_json(device)) for device in (everything, memenv.load_device("threshold"))]
    fuzzed(500, st.sampled_from([*devices, {"set": {"dose": 0.3}}]).flatmap(changed_json), attempt)


def table() -> dict[str, np.ndarray]:
    places = np.linspace(0.0, 1.0, 4)
    steps = 1e-6 * np.linspace(0.5, 1.5, 3)[None, :, None] * (1.2 - places)[None, None] * np.ones((2, 1, 1))
    return {
        "conductance": np.stack([1e-6 + 9e-6 * places, 2e-6 + 9e-6 * places]),
        "cdf": np.array([0.1, 0.5, 0.9]),
        "device": np.array([3, 7]),
        "dg_set": steps,
        "dg_reset": -steps,
    }


def test_tables(place, rng):
    path = place / "one.npz"

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        return outcome(lambda: memenv.load_device(path), check, "one.npz", DeviceError)

    def check(device: TableDevice) -> None:
        chip = device.fabricate(np.random.default_rng(0), 5)
        state = chip.fresh(np.full(5, 0.5), np.zeros((2, 5)))
        for sign in (1.0, -1.0):
            for _ in range(3):
                state = chip.pulse(state, np.full(5, sign), np.full(5, 1e-6), rng.standard_normal((3, 5)))
                seen, state = chip.sense(state, rng.standard_normal((2, 5)))
                assert finite(seen, state) and np.all((state.x >= chip.x_lo) & (state.x <= chip.x_hi))
        assert finite(device.steps())

    fuzzed(400, changed_archives(table()), attempt)


# -- what was learnt ---------------------------------------------------------------------------------------------------


def predictor(hidden: int = 3) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    rng, two = np.random.default_rng(0), 2 * hidden
    shapes = {
        "w_in": (FEATURES, hidden), "b_in": (hidden,), "w_gates": (two, two), "b_gates": (two,), "w_new": (two, hidden),
        "b_new": (hidden,), "w_mix": (two, hidden), "b_mix": (hidden,), "w_out": (hidden, OUTPUTS), "b_out": (OUTPUTS,),
    }  # fmt: skip
    arrays = {name: rng.standard_normal(shapes[name]).astype(np.float32) for name in Weights._fields}
    device = json.loads(to_json(memenv.load_device("threshold")))
    return arrays, dict(zip(CARD, (PREDICTOR_FORMAT, device, True, 0.05, {}, "{}"), strict=True))


def acts(task: WriteVerify) -> Callable[[Any], None]:
    """Whether a policy acts as the task allows: on its first steps in a batch of cells."""

    def check(policy: Any) -> None:
        env = memenv.envs.shells.TaskVectorEnv(task, 3)
        observation, _ = env.reset(seed=0)
        state, start = policy.begin(None, 3), np.ones(3, bool)
        for _ in range(3):
            action, state = policy.predict(observation, state, start)
            assert np.shape(action) == env.action_space.shape and finite(
                action, *([state] if state is not None else [])
            )
            observation, *_ = env.step(action)
            start = np.zeros(3, bool)

    return check


def policies(place: Path, task: WriteVerify) -> Callable[[bytes], str]:
    path = place / "policy.npz"

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*(was trained|outside what it has seen)", UserWarning)
            return outcome(lambda: load_policy(path, task), acts(task), "policy.npz")

    return attempt


def test_pulse_predictors(place):
    fuzzed(300, changed_archives(*predictor()), policies(place, WriteVerify()))


def contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and card of a file that the package wrote."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "card"}, json.loads(str(file["card"]))


@pytest.mark.parametrize("algorithm", ["ppo", "recurrent_ppo", "maskable_ppo", "sac", "tqc", "dqn"])
def test_policies_and_checkpoints_of_stable_baselines3(algorithm, place):
    task = WriteVerify(action=recipe(algorithm).action, history=2)
    env = GymVecEnv(memenv.envs.shells.TaskVectorEnv(task, 2, gym.vector.AutoresetMode.SAME_STEP))
    model, other = (make_model(algorithm, env, seed) for seed in (0, 1))
    for optimiser in files._all_optimisers(algorithm, model).values():
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                parameter.grad = parameter.detach() * 0 + 1
        optimiser.step()
    files.save_model(place / "whole.npz", model, files.head_of(algorithm, task))
    arrays, card = contents(place / "whole.npz")
    play = policies(place, task)

    def training() -> list[np.ndarray]:
        moments = [o.state_dict()["state"] for o in files._all_optimisers(algorithm, other).values()]
        numbers = [part.numpy() for state in moments for one in state.values() for part in one.values()]
        return [*(part.numpy().copy() for part in other.policy.state_dict().values()), *map(np.copy, numbers)]

    def attempt(content: bytes) -> str:
        found = play(content)
        before = training()
        resumed = outcome(
            lambda: files.resume_model(place / "policy.npz", other, algorithm), lambda _: None, "policy.npz"
        )
        after = training()
        assert finite(tuple(after)) and other.num_timesteps >= 0
        if resumed == "refused":
            for one, two in zip(before, after, strict=True):
                np.testing.assert_array_equal(one, two)  # nothing is taken in part
        return found

    fuzzed(40, changed_archives(arrays, card), attempt)


def test_few_shot_agents(place, rng):
    path, task = place / "agent.npz", FewShot(device="ideal", init="random", network="conv")
    rows, outputs = task.observation_space.shape[0], task.action_space.shape[0]
    weights = {"weight0": rng.standard_normal((rows + 1, 3)), "weight1": rng.standard_normal((4, outputs))}
    arrays = {name: weight.astype(np.float32) for name, weight in weights.items()} | {"format": np.array(AGENT_FORMAT)}

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        return outcome(lambda: FewShotAgent.load(path), check, "agent.npz")

    def check(agent: FewShotAgent) -> None:
        with contextlib.suppress(ValueError):
            agent.fits(task)
            action, _ = agent.predict(np.ones((2, rows)))
            assert action.shape == (2, outputs) and np.abs(action).max() <= 1

    fuzzed(300, changed_archives(arrays, {"seed": 0, "command": "memenv"}), attempt)


@pytest.mark.parametrize(("network", "examples"), [("mlp", 250), ("conv", 40)])
def test_initialisations(network, examples, place, rng):
    untrained(network, (3,)).save(place / "whole.npz")
    path, images = place / "init.npz", rng.random((2, 28, 28))

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        return outcome(lambda: load_initialisation(path), check, "init.npz")

    def check(init: Initialisation) -> None:
        features = init.front(images)
        assert features.shape == (2, init.features) and finite(features, *init.weights(5), init.rates, init.ranges)
        env = memenv.envs.FewShotEnv(
            init=str(path), network=network, device="threshold", ways=2, queries=1, max_steps=2
        )
        observation, _ = env.reset(seed=0)
        assert observation in env.observation_space
        observation, reward, *_ = env.step(np.zeros(env.action_space.shape, np.float32))
        assert observation in env.observation_space and np.isfinite(reward)

    fuzzed(examples, changed_archives(*contents(place / "whole.npz")), attempt)


def test_tiles(place):
    path, sizes = place / "tile.npz", {"rows": 3, "cols": 4, "inputs": 3, "outputs": 2, "samples": 5}
    shapes = {name: tuple(sizes[size] for size in entry.shape) for name, entry in tiles.ENTRIES.items()}
    arrays = {name: np.ones(shape, tiles.ENTRIES[name].types[-1]) for name, shape in shapes.items()}

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        return outcome(lambda: tiles.load(path, sizes), check, "tile.npz")

    def check(result: tiles.TileResult) -> None:
        assert {name: getattr(result, name).shape for name in shapes} == shapes
        assert finite(*result._replace(tolerance=0)) and not np.isnan(result.tolerance).any()

    fuzzed(200, changed_archives(arrays, {}), attempt)


# -- data and matrices -------------------------------------------------------------------------------------------------


def trains(columns: tuple[str, ...]) -> list[list[str]]:
    """The rows of a file of SET and RESET trains."""
    rows = []
    for number in range(4):
        for pulse in range(13):
            share = (pulse if number % 2 == 0 else 12 - pulse) / 12
            entry = {
                "device": f"d{number // 2}", "train": str(number), "pulse": str(pulse), "width_s": "1e-6",
                "amplitude_V": "1.2" if number % 2 == 0 else "-1.1", "conductance_S": f"{1e-6 + 9e-6 * share:.4g}",
            }  # fmt: skip
            rows.append([entry[name] for name in columns])
    return [list(columns), *rows]


def matrix() -> list[list[str]]:
    """The rows of a file with a train in each column."""
    return [
        [f"{(1 + 4 * (row if column % 2 == 0 else 25 - row)) * 1e-8:.4g}" for column in range(3)] for row in range(26)
    ]


LONG = ("device", "train", "pulse", "amplitude_V", "width_s", "conductance_S")


def test_pulse_files(place):
    path = place / "pulses.csv"

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the median", UserWarning)
            return outcome(lambda: read_pulses(path), check, "pulses.csv", DeviceError)

    def check(data: Any) -> None:
        there = np.isfinite(data.conductance)
        assert there[:2].all() and (data.conductance[there] > 0).all()
        assert not (np.diff(there.astype(int), axis=0) > 0).any()  # no train goes on after its end
        for part in (data.amplitude, data.width):
            assert part.shape == there.shape and np.isfinite(part[there]).all()
        assert (data.width[1:][there[1:] & (data.amplitude[1:] != 0)] > 0).all()
        assert data.device.shape == there.shape[1:] and data.device.max() < len(data.devices)

    fuzzed(
        600, st.sampled_from((trains(LONG), trains(LONG[1:3] + LONG[5:]), matrix())).flatmap(changed_tables), attempt
    )


def test_matrices(place, rng):
    path, wanted = place / "w.npy", rng.standard_normal((3, 2))

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        inputs = outcome(lambda: load_inputs(path, 3), lambda x: check(x) or x.shape[1] == 3, "w.npy")
        return "valid" if "valid" in (inputs, outcome(lambda: load_weights(path), check, "w.npy")) else "refused"

    def check(found: np.ndarray) -> None:
        assert found.ndim == 2 and found.size and found.dtype == np.float64 and finite(found) and found.any()

    kinds = [wanted, wanted.astype(np.float32), wanted > 0, (10 * wanted).astype(np.int8), wanted.T]
    fuzzed(300, st.sampled_from(kinds).flatmap(changed_npy), attempt)


def test_matrices_of_torch(place, rng):
    path, weights = place / "w.pt", torch.from_numpy(rng.standard_normal((3, 2)))
    kinds = ("float64", "float32", "float16", "bfloat16", "complex64", "int8", "bool", "int64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are deprecated
        quantised = torch.quantize_per_tensor(weights.float(), 0.1, 0, torch.qint8)
    odd = (
        *(weights.to(getattr(torch, kind)) for kind in kinds), weights.t(), weights[0], weights[None], weights[:0],
        weights.to_sparse(), weights.clone().requires_grad_(), weights.expand(2, 3, 2)[0], torch.nn.Parameter(weights),
        quantised, torch.empty(3, 2, device="meta"), None, 3, [1.0], {}, "a",
    )  # fmt: skip
    entries = st.dictionaries(st.sampled_from(("w", "b", "0", 3)), st.sampled_from(odd), max_size=3)
    keys = st.sampled_from((None, None, "w", "b", "gone", ""))

    @st.composite
    def given(draw: st.DrawFn) -> tuple[bytes, str | None]:
        buffer = io.BytesIO()
        what = draw(st.sampled_from(odd) | entries)
        if isinstance(what, torch.Tensor) and what.dtype.is_floating_point and what.ndim == 2 and draw(st.booleans()):
            with contextlib.suppress(RuntimeError, NotImplementedError):
                what = what.detach().clone().fill_(draw(signed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of quantised and sparse ones
            torch.save(what, buffer, _use_new_zipfile_serialization=draw(st.booleans()))
        return draw(damaged(buffer.getvalue())), draw(keys)

    def attempt(given: tuple[bytes, str | None]) -> str:
        path.write_bytes(given[0])
        return outcome(lambda: load_weights(path, given[1]), check, "w.pt")

    def check(found: np.ndarray) -> None:
        assert found.ndim == 2 and found.size and found.dtype == np.float64 and finite(found) and found.any()

    fuzzed(200, given(), attempt)


# -- environments ------------------------------------------------------------------------------------------------------

WEIGHTS = {
    f"weight_{name}": st.sampled_from((0, 0.1, 1, 1e3)) for name in ("pulses", "energy", "latency", "acceptance")
}
ACCURACY = st.sampled_from((0, 0.1, 1, 1e3))
GOOD: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "WriteVerify": WEIGHTS | {
        "device": st.sampled_from(("ideal", "threshold", "pcm", ["ideal", "threshold"], memenv.load_device("fefet"))),
        "tolerance": st.sampled_from((1e-6, 0.01, 0.1, np.float32(0.05), 1e-7)),
        "tolerance_unit": st.sampled_from(("range", "S")),
        "action": st.sampled_from(("continuous", "discrete")),
        "levels": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "give_up": st.booleans(),
        "max_pulses": st.integers(1, 4) | st.sampled_from((np.int64(3), 10**6)),
        "confirm_reads": st.integers(0, 2),
        "rounds": st.integers(1, 3),
        "history": st.integers(1, 3),
        "goal": st.sampled_from((False, False, True)),
        "privileged": st.booleans(),
        "variant": st.sampled_from((None, "WriteVerify", "WriteVerifyRewriting", "WriteVerifyGoal")),
        "target_range": st.tuples(st.floats(0, 1), st.floats(0, 1)),
        "weight_false_acceptance": st.sampled_from((0, 1)),
        "weight_failure": ACCURACY,
        "weight_shaping": ACCURACY,
        "render_mode": st.sampled_from((None, "ansi")),
    },
    "CrossbarProgram": WEIGHTS | {
        "device": st.sampled_from(("ideal", "threshold", ["ideal", "pcm"])),
        "rows": st.integers(1, 3),
        "cols": st.integers(1, 3),
        "scheme": st.sampled_from(("1T1R", "V/2", "V/3")),
        "writing": st.sampled_from(("cells", "rows", "columns")),
        "objective": st.sampled_from(("cells", "product")),
        "action": st.sampled_from(("cells", "lines")),
        "width": st.sampled_from((None, 1e-6, 1e-5, 1e-7)),
        "tolerance": st.sampled_from((1e-6, 0.01, 0.1)),
        "max_pulses": st.integers(1, 3),
        "verify": st.sampled_from(("pulsed", "all", "none")),
        "inputs": st.integers(1, 3) | st.sampled_from((np.full((2, 3), 0.1), [[0.1, 0.2]], 1e9 * np.eye(3))),
        "target_range": st.tuples(st.floats(0, 1), st.floats(0, 1)),
        "weight_shaping": ACCURACY,
        "weight_waiting": ACCURACY,
    },
    "FewShot": {
        "device": st.sampled_from(("ideal", "threshold", ["ideal", "pcm"])),
        "init": st.sampled_from(("random", "maml", "device-aware")),
        "network": st.sampled_from(("conv", "mlp")),
        "split": st.sampled_from(("train", "test")),
        "ways": st.integers(2, 4),
        "shots": st.integers(1, 2),
        "queries": st.integers(1, 2),
        "max_steps": st.integers(1, 2),
        "devices_per_weight": st.integers(1, 2),
        "pulsed": st.sampled_from(("both", "set", "reset", "plus")),
        "max_pulses": st.integers(1, 3),
        "reads": st.integers(1, 2),
        "know_stuck": st.booleans(),
        "weight_accuracy": ACCURACY,
        "weight_pulses": ACCURACY,
        "weight_energy": ACCURACY,
    },
}  # fmt: skip
BATCH = {
    "num_envs": st.integers(1, 3),
    "autoreset_mode": st.sampled_from((*gym.vector.AutoresetMode, "NextStep", "SameStep", "Disabled")),
    "max_episode_steps": st.none() | st.integers(1, 3),
    "engine": st.sampled_from(("numpy", "auto")),
}
BASE = {"WriteVerify": {}, "CrossbarProgram": {"rows": 2, "cols": 2}, "FewShot": {"init": "random", "device": "ideal"}}
odd_values = st.sampled_from([value for value in VALUES if value is not print])


def keywords(name: str, batch: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of an environment, of which at most two are odd."""
    good = {one: kind for one, kind in GOOD[name].items() if not (batch and one == "render_mode")} | (
        BATCH if batch else {}
    )
    if batch and name == "FewShot":
        del good["engine"]
    odd = {one: odd_values for one in good}
    return st.tuples(some_of(good, 5), st.just({}) | some_of(odd, 2)).map(lambda pair: BASE[name] | pair[0] | pair[1])


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(("name", "examples"), [("WriteVerify", 300), ("CrossbarProgram", 250), ("FewShot", 60)])
def test_arguments_of_environments(name, examples, batch):
    make = getattr(memenv.envs, f"{name}{'Vector' if batch else ''}Env")

    def attempt(arguments: dict[str, Any]) -> str:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", "tolerance .* is below the read noise", UserWarning)
            return outcome(lambda: make(**arguments), check, "")

    def check(env: Any) -> None:
        env.action_space.seed(0)
        assert valid(env, env.reset(seed=1))
        for _ in range(2):
            observation, reward, ended, cut, info = env.step(env.action_space.sample())
            assert valid(env, (observation, info)) and np.isfinite(reward).all()
            if np.any(ended | cut) and (not batch or env.autoreset_mode == gym.vector.AutoresetMode.DISABLED):
                break

    fuzzed(examples, keywords(name, batch), attempt)


def valid(env: Any, answer: tuple[Any, dict[str, Any]]) -> bool:
    """Whether an observation is in the space, and all numbers of info are."""
    observation, info = answer
    numbers = [
        v for v in info.values() if (isinstance(v, np.ndarray) and v.dtype.kind in "fiub") or isinstance(v, float)
    ]
    return observation in env.observation_space and finite(tuple(numbers))


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("name", GOOD)
def test_reset_options_and_actions(name, batch):
    """One environment meets them all: what was refused leaves it usable."""
    more = {"num_envs": 2, "autoreset_mode": "Disabled"} if batch else {}
    env = getattr(memenv.envs, f"{name}{'Vector' if batch else ''}Env")(**BASE[name], **more)
    env.action_space.seed(0)
    actions = [np.asarray(env.action_space.sample()) for _ in range(5)]
    shape = {"WriteVerify": (), "CrossbarProgram": (2, 2), "FewShot": ()}[name]
    siemens = np.full((2, *shape) if batch else shape, 2e-5)
    arrays = changed_array(siemens) | odd_values | st.sampled_from((siemens, siemens.tolist(), 2e-5))
    options = some_of(
        {"chip_seed": st.integers(-1, 5) | odd_values, "start": arrays, "target": arrays, "nothing": arrays}, 3
    )
    masks = st.sampled_from((None, np.ones(2, bool), np.array([True, False]), np.zeros(2, bool), np.ones(3, bool)))
    seeds = st.none() | st.integers(0, 3) | odd_values

    @st.composite
    def given_to(draw: st.DrawFn) -> tuple[str, Any, Any]:
        if draw(st.integers(0, 2)) == 0:
            chosen = draw(options)
            mask = draw(masks | odd_values) if batch and draw(st.booleans()) else None
            return "reset", draw(seeds), chosen | ({} if mask is None else {"reset_mask": mask})
        action = draw(st.sampled_from(actions))
        return (
            "step",
            None,
            draw(odd_values) if draw(st.integers(0, 4)) == 0 else draw(st.just(action) | changed_array(action)),
        )

    def attempt(given: tuple[str, Any, Any]) -> str:
        how, seed, what = given
        if how == "reset":
            return outcome(lambda: env.reset(seed=seed, options=what), check, "", TaskError)
        env.reset(seed=0)
        return outcome(lambda: env.step(what), check, "", TaskError)

    def check(answer: tuple[Any, ...]) -> None:
        assert valid(env, (answer[0], answer[-1])) and np.isfinite(answer[1] if len(answer) > 2 else 0.0).all()

    env.reset(seed=0)
    fuzzed(200 if name != "FewShot" else 80, given_to(), attempt)


# -- command lines -----------------------------------------------------------------------------------------------------


class ReachedError(Exception):
    """The work itself would begin now."""


def reached(*_: Any, **__: Any) -> Any:
    """In place of the work."""
    raise ReachedError


FIRST = {  # what a command does when it has checked its options
    "compare": "agents.comparison.begun",
    "tune": "agents.tuning.workers",
    "train": "agents.training.begun",
    "program": "agents.arrays.programming.begun",
    "pretrain": "metalearn.pretraining.begun",
    "fewshot": "metalearn.few_shot.load",
    "sines": "metalearn.sines.begun",
    "fit": "memenv.fitting.command.fit",
    "devices": "memenv.devices.command.plot",
    "import-policy": "agents.sb3.importing.named",
}
FILES = (
    *("good.json", "table.npz", "policy.npz", "init.npz", "w.npy", "x.npy", "w.pt", "pulses.csv", "old.zip"),
    *("odd.json", "odd.npz", "odd.csv", "empty", "gone.json", "gone.npz", "folder", "a\0b", "\ud800", "", "-", "é.npy"),
)
PLAIN = (
    "threshold",
    "ideal",
    "pcm",
    "ispp",
    "generalist",
    "list",
    "show",
    "plot",
    "0",
    "1",
    "2",
    "0.05",
    "1,2",
    "0.1,0.9",
)


@pytest.fixture(scope="module")
def folder(place) -> Path:
    """What command lines name."""
    home = place / "home"
    (home / "folder").mkdir(parents=True)
    device = to_json(memenv.load_device("fefet"))
    (home / "good.json").write_text(device)
    (home / "odd.json").write_text(device.replace("}", "", 1))
    np.savez(home / "table.npz", **table())
    np.savez(home / "policy.npz", **predictor()[0], card=np.array(json.dumps(predictor()[1])))
    untrained("mlp", (3,)).save(home / "init.npz")
    np.save(home / "w.npy", np.eye(3))
    np.save(home / "x.npy", np.ones((4, 3)))
    torch.save(torch.eye(3), home / "w.pt")
    for name, rows in (("pulses.csv", trains(LONG)), ("odd.csv", trains(LONG[:3]))):
        (home / name).write_text("\n".join(map(",".join, rows)))
    for name in ("odd.npz", "old.zip"):
        (home / name).write_bytes(b"PK\x03\x04" + bytes(range(200)))
    (home / "empty").write_bytes(b"")
    return home


def command_lines(command: str, kind: type) -> st.SearchStrategy[list[str]]:
    """Options of a command with what they take, and some words of other kinds."""
    odd = st.sampled_from((*FILES, *PLAIN, *WORDS, *ODD_WORDS))
    hints = typing.get_type_hints(kind)
    options, before = [], ["--weights", "w.npy"] if command == "program" else []
    places = []
    for f in dataclasses.fields(kind):
        name, hint = f"--{f.name.replace('_', '-')}", hints[f.name]
        if f.metadata["positional"]:
            places.append(fitting(f, hint) | st.sampled_from(FILES))
        elif hint is bool:
            options.append(st.just([name]))
        elif f.name != "out":
            word = fitting(f, hint) | fitting(f, hint) | fitting(f, hint) | odd
            options.append(word.map(lambda value, name=name: [f"{name}={value}"]))
            options.append(st.tuples(st.just(name), word).map(list))
    several = st.lists(st.one_of(options), max_size=4).map(lambda many: [word for part in many for word in part])
    stray = st.sampled_from((0,) * 7 + (1,)).flatmap(lambda count: st.lists(odd, min_size=count, max_size=count))
    return st.tuples(st.tuples(*places).map(list), several, stray).map(lambda parts: sum(parts, before))


def fitting(f: dataclasses.Field, hint: Any) -> st.SearchStrategy[str]:
    """What an option takes."""
    kinds = (hint, *typing.get_args(hint))
    if "choices" in f.metadata:
        return st.sampled_from([str(one) for one in f.metadata["choices"]])
    if f.name in ("device", "controllers", "controller"):
        return st.sampled_from(("ideal", "good.json", "table.npz") if f.name == "device" else ("ispp", "policy.npz"))
    if Path in kinds:
        return st.sampled_from(FILES[:9])
    if int in kinds or float in kinds:
        low, high = f.metadata.get("bounds", (0, 10))
        numbers = [number for number in (low, high, 1, 2, 0.05, 0.5) if int not in kinds or number == int(number)]
        return st.sampled_from([f"{number:.17g}" for number in numbers if low <= number <= high])
    return st.sampled_from(PLAIN)


@pytest.mark.parametrize("command", FIRST)
def test_command_lines(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MEMENV_TRACEBACK", raising=False)
    for place in FIRST.values():
        monkeypatch.setattr(place, reached)
    before = sorted(folder.rglob("*"))

    def attempt(words: list[str]) -> str:
        code, said = ran([command, *words])
        assert sorted(folder.rglob("*")) == before
        return "valid" if "ReachedError" in said else judged(command, code, said)

    fuzzed(150, command_lines(command, CONFIGURATIONS[command]), attempt)


def ran(words: list[str]) -> tuple[Any, str]:
    """The status of a command and what it said of errors."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", one) for one in ("strict", "backslashreplace"))  # as Python's
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    err.flush()
    return code, err.buffer.getvalue().decode()


def judged(command: str, code: Any, said: str) -> str:
    """What came of a command."""
    if not code:
        return "valid"
    lines = said.splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith(f"memenv {command}: "), (code, said)
    assert "please report it" not in said, said
    return "refused"


NUMBERS_OF_OPTIONS = {
    "tolerance": (1e-9, 1e-3, 0.05, 0.2, 1), "max-pulses": (1, 2, 5), "rounds": (1, 3), "confirm-reads": (0, 2),
    "seed": (0, 2**32 - 1), "trials": (1, 2), "cells": (1, 3), "rest": (0, 1e12),
}  # fmt: skip
DEVICES = ("ideal", "pcm", "fefet", "enode-sandia", "good.json", "table.npz")
SMALL: dict[str, tuple[str, dict[str, tuple[Any, ...]]]] = {  # what is always given, and further options in tiny sizes
    "compare": (
        "--cells 3 --trials 1 --max-pulses 5",
        {"device": DEVICES, "controllers": (*CONTROLLERS, "optimum", "policy.npz")},
    ),
    "tune": ("--trials 2 --max-pulses 5", {"device": DEVICES, "controllers": tuple(CONTROLLERS)}),
    "program": (
        "--weights w.npy --trials 1 --max-pulses 5 --rows 2 --cols 2 --controller ispp --products 2",
        {
            "device": DEVICES,
            "rows": (1, 3),
            "cols": (2, 3, 4),
            "scheme": ("V/2", "V/3"),
            "writing": ("cells", "columns"),
            "levels": ("1,1", "1,3"),
            "wires": (1, 1e6, 1e9),
            "dac-bits": (1, 24),
            "adc-bits": (1, 24),
            "passes": (0, 1),
            "adc-range": (1e-9, 1),
            "encoding": ("reference",),
            "span": ("0,1", "0.4,0.5"),
            "spares": (1,),
            "products": (1,),
            "controller": ("history", "nominal", "policy.npz"),
            "inputs": ("x.npy",),
            "objective": ("product",),
        },
    ),
    "train": (
        "--algo pulse --steps 1 --envs 2 --evaluations 1 --evaluation-cells 2 --max-pulses 3 --hidden 2",
        {
            "device": DEVICES,
            "envs": (1, 2),
            "correlation": (0, 0.5, 1),
            "weight-energy": (1, 1e12, 1e30),
            "weight-latency": (1, 1e6, 1e30),
            "hidden": (1, 3),
        },
    ),
}


@pytest.mark.parametrize("command", SMALL)
def test_commands_in_tiny_sizes(command, folder, tmp_path, monkeypatch):
    shrink(tmp_path, monkeypatch)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    always, more = SMALL[command]
    known = {f.name.replace("_", "-") for f in dataclasses.fields(CONFIGURATIONS[command])}
    choices = more | {name: values for name, values in NUMBERS_OF_OPTIONS.items() if name in known}
    options = some_of({name: st.sampled_from(values) for name, values in choices.items()}, 4)

    def attempt(given: dict[str, Any]) -> str:
        words = [command, *always.split(), *(f"--{name}={value}" for name, value in given.items()), "--out", "run"]
        return judged(command, *ran([*words, "--overwrite"]))

    fuzzed(6, options, attempt)
