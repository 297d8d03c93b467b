"""The protocol of few-shot learning: which characters, chips and noise train, tune and judge, and what is learned."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import metalearn.evaluation as judging
import metalearn.few_shot as command
from agents.evaluation import EVALUATION, TRAINING, TUNING, noise_of, seeded
from agents.few_shot.schedules import ConstantRate, Learnt, learn
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device
from memenv.envs import FewShot
from memenv.envs.few_shot.chips import Chips
from memenv.few_shot import bank, chips
from memenv.few_shot.characters import Split
from memenv.few_shot.chips import Hardware
from memenv.few_shot.episodes import draw
from memenv.few_shot.initialisations import Initialisation, load_initialisation
from memenv.few_shot.strokes import TEST_GLYPHS, TRAINING_GLYPHS, glyphs
from memenv.learning.step import (
    Adaptation,
    adapt_step,
    draw_noise,
    fabricate_layer,
    forward,
    matrix,
    program,
    squared_error,
    whole,
)
from memenv.learning.writing import UNCOUNTED
from metalearn import learners, omniglot
from metalearn.datasets import learned_before, learned_from
from metalearn.evaluation import BATCH, evaluate, tune
from metalearn.few_shot import FewshotConfig, fewshot

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
START = Initialisation(rates=np.array([[0.3], [0.2]]), ranges=np.array([0.3]))
CHIP = Hardware(device=load_device("threshold"))


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    """What a front made of characters: (classes, instances, features)."""
    return np.random.default_rng(0).standard_normal((12, 20, 196)).astype(np.float32)


@pytest.fixture
def doses(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Those of all chips that are fabricated from now on; imaginary parts tell cells of equal doses apart.

    Normals of environments are of single precision: of a hundred thousand cells some have a dose in common.
    """
    seen: list[np.ndarray] = []
    fabricate = Device.fabricate

    def noted(*arguments: Any) -> Any:
        chip = fabricate(*arguments)
        if np.size(chip.set.dose) > 1:  # one cell is asked what a chip takes
            seen.append(identities(chip))
        return chip

    monkeypatch.setattr(Device, "fabricate", noted)
    return seen


@pytest.fixture
def doses_of_agents(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """As `doses`, of the layers of all chips that agents get from now on, by whichever engine."""
    seen: list[np.ndarray] = []
    fabricate = Chips.fabricate

    def noted(*arguments: Any) -> Any:
        layers = fabricate(*arguments)
        seen.extend(map(identities, layers))
        return layers

    monkeypatch.setattr(Chips, "fabricate", noted)
    return seen


def identities(chip: Any) -> np.ndarray:
    """A number of each cell that no other has."""
    return (chip.set.dose + 1j * chip.set.shift).ravel()


def noted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any], Any]]:
    """Arguments and results of a function from now on."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
    function: Callable[..., Any] = getattr(module, name)

    def called(*arguments: Any, **more: Any) -> Any:
        calls.append((arguments, more, function(*arguments, **more)))
        return calls[-1][-1]

    monkeypatch.setattr(module, name, called)
    return calls


def apart(parts: list[np.ndarray]) -> bool:
    """Whether no number is there twice."""
    return len(np.unique(np.concatenate(parts))) == sum(map(len, parts)) > 0


# -- whose chips, noise and tasks --------------------------------------------------------------------------------------


def test_every_batch_of_an_evaluation_has_chips_noise_and_tasks_of_its_own(
    inputs: np.ndarray, doses: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, writes = noted(monkeypatch, judging, "draw"), noted(monkeypatch, chips, "write")
    outcomes = evaluate(START, CHIP, inputs, episodes=2 * BATCH + 5, queries=2)
    assert outcomes.by_step.shape == (3, 2 * BATCH + 5) and outcomes.later.shape == (3, 2 * BATCH + 5)
    assert [len(chip) / len(doses[-1]) for chip in doses] == [BATCH / 5, BATCH / 5, 1]
    assert apart(doses)
    assert apart([arguments[-1].normal((7,)) for arguments, *_ in writes])
    assert not np.array_equal(tasks[0][-1].support_x, tasks[1][-1].support_x)


def test_every_batch_of_compiled_chips_has_chips_of_its_own(
    inputs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    seeds: list[int] = []

    class Chips:
        def __init__(self, hardware: Hardware, seed: int) -> None:
            seeds.append(seed)

        def written(self, weights: Any, ranges: Any) -> Any:
            return weights, UNCOUNTED

        def steps(self, *_: Any, loss: Any) -> Any:
            return iter(())

        def rested(self, layer: Any, seconds: float) -> Any:
            return layer

        def outputs(self, layers: Any, x: np.ndarray, draws: Any) -> np.ndarray:
            return np.zeros((*x.shape[:2], 5))

    monkeypatch.setattr(learners, "Chips", Chips)
    for purpose in (judging.EVALUATION, judging.TUNING):
        evaluate(START, CHIP, inputs, episodes=3 * BATCH, queries=2, purpose=purpose, engine="numba")
    assert len(set(seeds)) == 6


def test_tuning_sees_neither_chips_nor_noise_nor_tasks_of_the_evaluation(
    inputs: np.ndarray, doses: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, tasks = noted(monkeypatch, chips, "write"), noted(monkeypatch, judging, "draw")
    evaluate(START, CHIP, inputs, episodes=BATCH, queries=2)
    count = len(doses)
    tune(START, CHIP, inputs, episodes=BATCH, queries=2)
    assert len(doses) > count
    assert not np.isin(np.concatenate(doses[count:]), np.concatenate(doses[:count])).any()
    first, *others = (arguments[-1].normal((7,)) for arguments, *_ in writes)
    assert not np.isin(others, first).any()
    assert not np.array_equal(tasks[0][-1].support_x, tasks[1][-1].support_x)


def test_the_command_tunes_on_training_characters_and_judges_on_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Split(glyphs(0, 6, 20), glyphs(1, 7, 20))
    monkeypatch.setattr(command, "load", lambda source, split: data)
    monkeypatch.setattr("metalearn.plots.episode", lambda *_, **__: Figure())
    monkeypatch.setattr("metalearn.plots.by_step", lambda _: Figure())
    tunes, judges = noted(monkeypatch, command, "tune"), noted(monkeypatch, command, "evaluate")
    START.save(tmp_path / "mine.npz")
    options = {"device": ("threshold",), "episodes": 3, "tune": 2, "seed": 5, "shots": 2, "queries": 4}
    fewshot(FewshotConfig(init=(str(tmp_path / "mine.npz"),), **options, out=tmp_path / "out"))
    ((start, chip, seen), how, tuned), (judged, given, _) = tunes[0], judges[-1]
    np.testing.assert_array_equal(seen, start.front(data.train.images))
    np.testing.assert_array_equal(judged[2], start.front(data.test.images))
    np.testing.assert_array_equal(judged[0].rates, tuned.rates * start.rates)
    assert judged[1] == chip and given["episodes"] == 3 and how["episodes"] == 2
    for options in (how, given):
        assert (options["seed"], options["shots"], options["queries"]) == (5, 2, 4)


def test_pretraining_is_judged_on_characters_chips_and_noise_that_do_not_train_it(
    tmp_path: Path, doses: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from metalearn import pretraining as training

    data = Split(glyphs(0, 12, 20), glyphs(1, 6, 20))
    monkeypatch.setattr(training, "load", lambda source, split: data)
    monkeypatch.setattr(training, "VALIDATION", 5)
    monkeypatch.setattr(training, "JUDGED", 6)
    losses, drawn = noted(monkeypatch, training, "outer_loss"), noted(monkeypatch, training, "classification")
    judges = noted(monkeypatch, training, "evaluate")
    train = training.PretrainConfig(
        data="glyphs", network="mlp", hidden=(6,), steps=3, tasks=2, ways=3, queries=2, inner_steps=1, evaluations=1
    )
    training.pretrain(replace(train, device=("threshold",), out=tmp_path))
    (characters, *_), *_ = drawn[0]
    assert characters.names == data.train.names[:-5]
    (start, hardware, seen), how, _ = judges[0]
    np.testing.assert_array_equal(seen, start.front(data.train.images[-5:]))
    assert len(losses) == 3 and apart(doses)  # every step has chips of its own, and so have those who judge
    assert len({arguments[-1] for arguments, *_ in losses}) == 3
    evaluate(start, hardware, seen, **{**how, "purpose": judging.EVALUATION})
    assert apart(doses)
    first, second, _ = (result.support_x for *_, result in drawn)
    assert not np.array_equal(first, second)


@pytest.fixture(scope="module")
def task() -> FewShot:
    """A small one, for which an encoder takes no time."""
    few = bank.glyph_split("train").select(np.arange(8))
    made = FewShot(init="random", ways=3, queries=2, max_steps=2, characters=few, device="threshold")
    assert made.initial_draws and made.step_draws  # found out on a chip, once
    return made


def test_agents_meet_other_chips_in_each_batch_and_for_each_purpose(
    task: FewShot, doses_of_agents: list[np.ndarray]
) -> None:
    doses = doses_of_agents

    def met(purpose: int) -> np.ndarray:
        before = len(doses)
        learn(ConstantRate(task=task, steps=1.0), task, 9, 1, purpose, batch=3)
        assert apart(doses[before:])
        return np.concatenate(doses[before:])

    seen = [met(purpose) for purpose in (EVALUATION, TUNING, TRAINING)]
    assert apart([*map(np.unique, seen)])
    before = len(doses)
    learn(ConstantRate(task=task, steps=1.0), task, 9, 1, batch=3)
    np.testing.assert_array_equal(np.concatenate(doses[before:]), seen[0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agents_learn_on_chips_that_do_not_judge_them(
    seed: int, task: FewShot, doses_of_agents: list[np.ndarray]
) -> None:
    pytest.importorskip("stable_baselines3")
    from agents.few_shot import training as few_shot_training

    learn(ConstantRate(task=task, steps=1.0), task, few_shot_training.ENVS, 0)
    learn(ConstantRate(task=task, steps=1.0), task, few_shot_training.ENVS, 0, TUNING)
    judged = np.concatenate(doses_of_agents)
    before = len(doses_of_agents)
    few_shot_training.ppo(task, seed).env.reset()
    assert len(doses_of_agents) > before and not np.isin(np.concatenate(doses_of_agents[before:]), judged).any()


def test_the_benchmark_tunes_agents_on_the_split_and_the_seeds_that_its_table_does_not_see(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import few_shot_agents

    met: list[tuple[str, int]] = []

    def learnt(policy: Any, task: FewShot, episodes: int, seed: int, purpose: int) -> Learnt:
        met.append((task.split, purpose))
        return Learnt(*np.random.default_rng(len(met)).random((5, episodes)))

    monkeypatch.setattr(few_shot_agents, "learn", learnt)
    words = ["few_shot_agents.py", "--agent", "shipped", "--trials", "2", "--episodes", "8"]
    monkeypatch.setattr(sys, "argv", words)
    few_shot_agents.main()
    assert "own" in capsys.readouterr().out
    table = [call for call in met if call == ("test", EVALUATION)]
    assert len(table) == 2 + 2 * len(few_shot_agents.CONTROLLERS)
    assert set(met) == {("train", TUNING), ("test", EVALUATION)} and met[-len(table) :] == table


# -- which characters --------------------------------------------------------------------------------------------------


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with unpacked archives as Omniglot's are, but of few characters with two drawings each."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    parts = {"BACKGROUND": range(1, 13), "EVALUATION": range(13, 21), "SMALL1": range(4, 8)}
    drawings = {(n, k): rng.random((105, 105)) > 0.1 for n in range(1, 21) for k in (1, 2)}
    for name, numbers in parts.items():
        part = getattr(omniglot, name)._replace(numbers=tuple(numbers))
        monkeypatch.setattr(omniglot, name, part)
        for number in numbers:
            place = tmp_path / part.name / f"Alphabet_{number % 3}" / f"character{number:02d}"
            place.mkdir(parents=True)
            for k in (1, 2):
                image.fromarray(drawings[number, k]).save(place / f"{number:04d}_{k:02d}.png")
    monkeypatch.setattr(omniglot, "INSTANCES", 2)
    monkeypatch.setattr(omniglot, "TRAINING_CHARACTERS", 15)
    return tmp_path


@pytest.mark.parametrize(("split", "sizes"), [("random", (15, 5)), ("original", (12, 8)), ("small1", (4, 8))])
def test_no_character_of_omniglot_trains_and_judges(split: str, sizes: tuple[int, int], official: Path) -> None:
    train, test = omniglot.load_omniglot(official, split)
    assert (len(train), len(test)) == sizes
    assert not {*train.names} & {*test.names} and len({*train.names, *test.names}) == sum(sizes)
    images = np.concatenate([part.images.reshape(2 * len(part), -1) for part in (train, test)])
    assert len(np.unique(images, axis=0)) == 2 * sum(sizes)  # nor a drawing under another name


@pytest.mark.parametrize(
    ("config", "split", "known"),
    [
        ({"split": "random"}, "random", False),
        ({"split": "random"}, "original", True),
        ({"split": "original"}, "random", True),
        ({"split": "original"}, "small1", False),
        ({"split": "original", "init": "omniglot-mlp-maml"}, "original", True),
        ({"split": "random", "data": "glyphs"}, "original", False),
    ],
)
def test_an_initialisation_that_knows_what_it_is_asked_is_told_of(
    config: dict[str, str], split: str, known: bool, official: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(omniglot.VARIABLE, str(official))
    init = replace(START, card=json.dumps({"config": {"data": "omniglot"} | config}))
    own, asked = (omniglot.load_omniglot(official, name) for name in (config["split"], split))
    shared = {*own.train.names} & {*asked.test.names}
    number = learned_before(init, split, asked.test)
    assert bool(number) == known and (not known or "init" in config or number == len(shared))
    text = command._not_new(FewshotConfig(data="omniglot", split=split), {"mine": init}, asked)
    assert (f"mine has learned from {number} of these {len(asked.test)} characters" in text) == known


@pytest.mark.parametrize("config", [None, "omniglot", {"data": "omniglot"}, {"data": "omniglot", "split": [1]}])
def test_a_card_that_names_no_split_of_omniglot_says_that_nothing_was_learned_from_it(config: object) -> None:
    assert learned_from(replace(START, card=json.dumps({"config": config}))) == set()


def test_a_split_depends_on_nothing_but_its_own_seed(official: Path) -> None:
    first = omniglot.load_omniglot(official).train.names
    np.random.seed(7)
    assert omniglot.load_omniglot(official).train.names == first
    assert len({int(name) > 12 for name in first}) == 2  # irrespective of alphabets


def test_glyphs_to_train_and_to_judge_are_drawn_from_different_seeds() -> None:
    seeds = [TRAINING_GLYPHS[0], TEST_GLYPHS[0], bank.SPLITS["train"][0]]
    assert len(set(seeds)) == 3 and bank.SPLITS["test"][0] == TEST_GLYPHS[0]


# -- what is learned, and asked ----------------------------------------------------------------------------------------


def test_no_drawing_is_learned_from_and_asked_and_labels_mean_the_same_class() -> None:
    names = np.arange(12 * 20).reshape(12, 20, 1)
    drawn = draw(names, np.random.default_rng(0), 50, ways=5, shots=2, queries=18)
    for support, query in zip(drawn.support_x[..., 0], drawn.query_x[..., 0], strict=True):
        assert not set(support) & set(query) and len(set(support)) == 10 and len(set(query)) == 90
    for label in range(5):
        learnt, asked = (
            np.unique(x[y == label].reshape(50, -1) // 20, axis=1)
            for x, y in ((drawn.support_x[..., 0], drawn.support_y), (drawn.query_x[..., 0], drawn.query_y))
        )
        assert learnt.shape == (50, 1)
        np.testing.assert_array_equal(learnt, asked)


def test_what_the_front_makes_of_an_image_does_not_depend_on_others() -> None:
    images = glyphs(3, 4, 5).images
    for name in ("glyphs-conv-maml", "glyphs-mlp-maml"):
        start = load_initialisation(name)
        whole_set = start.front(images)
        np.testing.assert_allclose(start.front(images[2:3, 1:2]), whole_set[2:3, 1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hardware", [None, CHIP])
def test_an_answer_does_not_depend_on_what_else_is_asked(
    hardware: Hardware | None, inputs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    alike = inputs + np.float32(0.3) * rng.standard_normal((12, 1, 196)).astype(np.float32)
    drawn = draw(alike, rng, BATCH, queries=8)
    others = drawn.query_x.copy()
    others[:, 20:] = 5.0 + 3.0 * rng.standard_normal(others[:, 20:].shape)
    labels = np.where(np.arange(40) < 20, drawn.query_y, -1)  # of what else is asked nothing is right
    shares = []
    for asked in (drawn.query_x, others):
        task = drawn._replace(query_x=asked, query_y=labels)
        monkeypatch.setattr(judging, "draw", lambda *_, task=task, **__: task)
        shares.append(evaluate(START, hardware, inputs, episodes=BATCH).by_step)
    np.testing.assert_array_equal(*shares)
    assert 0.12 < shares[0][-1].mean() < 0.48  # better than a guess, and not always right


def test_pretraining_does_not_learn_a_task_from_its_queries() -> None:
    torch = pytest.importorskip("torch")
    from metalearn.models import Network, Pixels
    from metalearn.outer import InnerLoop, outer_loss

    torch.manual_seed(0)
    network = Network(Pixels(), (6,), 2)
    shown = np.random.default_rng(2).standard_normal((9, 10, 196)).astype(np.float32)
    drawn = draw(shown, np.random.default_rng(3), 2, ways=3, queries=4)
    support, query = torch.tensor(drawn.support_x), torch.tensor(drawn.query_x)
    losses = []
    for part in (slice(0, 12), slice(0, 6), slice(6, 12)):
        episodes = drawn._replace(query_x=drawn.query_x[:, part], query_y=drawn.query_y[:, part])
        loss, _ = outer_loss(network, support, query[:, part], episodes, InnerLoop(), 0)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.5 * (losses[1] + losses[2]), rel=1e-5)


def test_delays_count_from_the_last_step(inputs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = noted(monkeypatch, learners, "rest")
    hardware = Hardware(device=load_device("pcm"))
    evaluate(START, hardware, inputs, episodes=2, queries=2, delays=(10.0, 100.0))
    assert [arguments[1] for arguments, *_ in waits] == [10.0, 100.0]
    assert waits[0][0][0] is waits[1][0][0]


def test_mixed_precision_owes_what_a_limit_of_pulses_cuts_off(rng: np.random.Generator) -> None:
    config = Adaptation(rates=(5.0,), rounding=whole, accumulate=True, loss=squared_error, max_pulses=1)
    layer = fabricate_layer(load_device("ideal"), rng, 4, 3, w_max=4.0)
    layers = (program(layer, 0.1 * rng.standard_normal((5, 3))),)
    x, targets = rng.standard_normal((6, 4)), rng.standard_normal((6, 3))
    given, wanted = layers, 0.0
    for _ in range(3):
        passed = forward([matrix(given[0])], x)
        wanted = wanted - 5.0 * passed.inputs[0].T @ squared_error(passed.outputs, targets)[1]
        noise = draw_noise(given, 6, config, rng.standard_normal, rng.random)
        given, _, (counters,) = adapt_step(given, x, targets, noise, config)
        assert counters.limited > 0.3 and counters.pulses <= layer.state.x.size
    changed = matrix(given[0]).weights - matrix(layers[0]).weights
    residual = given[0].scale * given[0].fan_in(given[0].residual)
    np.testing.assert_allclose(changed + residual, wanted, atol=1e-9)


def test_evaluation_tuning_and_training_have_noise_of_their_own(task: FewShot) -> None:
    named = [(seed, purpose) for seed in range(3) for purpose in range(3)]
    assert apart([seeded(*names).random(5) for names in named])
    keys = [noise_of(task, range(2), *names) for names in named]
    assert apart([np.ravel(noise.key.astype(np.uint64) << np.uint64(32) | noise.other_key) for noise in keys])
