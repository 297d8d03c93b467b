"""Few-shot accuracy: what it is by definition, what chips do to it, and what the command writes."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import metalearn.few_shot as command
from memenv.__main__ import main
from memenv.devices.catalogue import load_device
from memenv.devices.device import Device
from memenv.few_shot.characters import Split
from memenv.few_shot.chips import Hardware
from memenv.few_shot.episodes import draw
from memenv.few_shot.initialisations import Initialisation
from memenv.few_shot.strokes import glyphs
from metalearn.evaluation import (
    BATCH,
    DRIFT_TIME,
    NON_IDEALITIES,
    evaluate,
    tune,
    with_non_ideality,
)
from metalearn.few_shot import FewshotConfig, fewshot

START = Initialisation(rates=np.array([[0.3], [0.2]]), ranges=np.array([0.3]))
CLASSES, NOISE = 30, 0.7


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    """Classes as noisy copies of random vectors: (classes, instances, features)."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((CLASSES, 1, 196)) + 3 * NOISE * rng.standard_normal((CLASSES, 20, 196))
    return (drawn / np.sqrt((drawn**2).mean(-1, keepdims=True))).astype(np.float32)


def on(name, **changes):
    return Hardware(device=load_device(name), **changes)


def test_one_ideal_step_from_zero_finds_the_nearest_prototype(inputs):
    start = replace(START, rates=np.array([[0.3]]))
    got = evaluate(start, None, inputs, episodes=BATCH, shots=3, queries=4).later[0]
    drawn = draw(inputs, np.random.default_rng([0, 0, 0]), BATCH, shots=3, queries=4)
    prototypes = drawn.support_x.reshape(BATCH, 3, 5, -1).mean(1)
    guess = np.einsum("tqf,tcf->tqc", drawn.query_x, prototypes).argmax(-1)
    np.testing.assert_allclose(got, (guess == drawn.query_y).mean(-1))
    assert 0.6 < got.mean() < 0.999


def test_before_learning_one_guesses(inputs):
    for hardware in (None, on("alox-hfo2")):
        outcomes = evaluate(START, hardware, inputs, episodes=100)
        assert abs(outcomes.by_step[0].mean() - 0.2) < 0.02 and outcomes.by_step.shape == (3, 100)


def test_an_ideal_device_with_small_pulses_learns_as_numbers_do(inputs):
    device = load_device("ideal")
    device = device.replace(set=replace(device.set, dose=1e-4), reset=replace(device.reset, dose=1e-4))
    hardware = Hardware(device=device, max_pulses=10_000, write_error=0.0)
    numbers, chip = (evaluate(START, one, inputs, episodes=40) for one in (None, hardware))
    assert np.abs(numbers.by_step[1:] - chip.by_step[1:]).max() < 0.05
    assert abs(numbers.later.mean() - chip.later.mean()) < 0.003


def test_pulses_and_energy_are_counted_and_come_from_pulses(inputs):
    outcomes = evaluate(START, on("alox-hfo2"), inputs, episodes=20)
    assert (outcomes.pulses > 0).all() and (outcomes.pulses == np.round(outcomes.pulses)).all()
    assert (outcomes.energy > 0).all() and (outcomes.read_energy > 0).all()
    none = evaluate(replace(START, rates=np.zeros((2, 1))), on("alox-hfo2"), inputs, episodes=20)
    assert not none.pulses.any() and not none.energy.any()


def test_corrupt_cells_cost_accuracy_and_knowing_them_helps(inputs):
    known, unknown, none = (
        evaluate(START, hardware, inputs, episodes=100).later[0].mean()
        for hardware in (on("hfo2-array-om"), on("hfo2-array-om", know_stuck=False), on("ideal"))
    )
    assert none > known + 0.05 and known > unknown


def test_drift_changes_what_is_seen_later_but_not_the_episodes(inputs):
    outcomes = evaluate(START, on("pcm"), inputs, episodes=100, delays=(0.0, 86400.0))
    assert outcomes.later.shape == (2, 100) and (outcomes.later[0] != outcomes.later[1]).any()


def test_a_stream_begins_as_a_task_alone_and_goes_on_with_the_chip_as_it_was_left(inputs):
    how = {"episodes": 10, "delays": (0.0,)}
    alone, stream, rested = (
        evaluate(START, on("pcm", tolerance=0.02), inputs, **how, stream=n, interval=t)
        for n, t in ((1, 0.0), (3, 0.0), (3, 1e6))
    )
    for name, part in vars(alone).items():
        np.testing.assert_array_equal(getattr(stream, name)[0], part)
        np.testing.assert_array_equal(getattr(rested, name)[0], part)
    assert stream.initial_pulses[0].all() and not stream.initial_pulses[1:].any() and stream.pulses[1:].all()
    assert np.isnan(stream.kept[0]).all() and ((stream.kept[1:] >= 0) & (stream.kept[1:] <= 1)).all()
    assert (stream.by_step[1] != rested.by_step[1]).any()
    np.testing.assert_allclose(stream.of_tasks(np.array([1, 2])).later, stream.later[1:].mean(0))


def test_tuning_finds_rates_and_ranges_that_were_far_off(inputs):
    far = replace(START, rates=100 * START.rates, ranges=30 * START.ranges)
    hardware = on("alox-hfo2")
    tuned = tune(far, hardware, inputs, episodes=30, delays=(0.0,), queries=5)
    before, after = (
        evaluate(start, hardware, inputs, episodes=100, seed=9).later[0].mean() for start in (far, tuned.of(far))
    )
    assert after > before + 0.05 and tuned.rates < 1 and tuned.ranges < 1


def test_equal_seeds_give_equal_outcomes_and_others_do_not(inputs):
    first, again, other = (evaluate(START, on("pcm"), inputs, episodes=30, seed=seed).later for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("what", [what for what in NON_IDEALITIES if what != DRIFT_TIME])
def test_each_non_ideality_changes_one_thing_and_can_be_learnt_with(inputs, what):
    device = load_device("alox-hfo2")
    amounts = NON_IDEALITIES[what][1]
    least, most = (with_non_ideality(device, what, amount) for amount in (amounts[0], amounts[-1]))
    assert isinstance(most, Device) and least != most
    accuracy = evaluate(START, Hardware(device=most), inputs, episodes=20).later[0].mean()
    assert 0.2 < accuracy <= 1


def test_unknown_non_idealities_and_tables_are_refused():
    with pytest.raises(ValueError, match="unknown non-ideality 'dust'"):
        with_non_ideality(load_device("pcm"), "dust", 1.0)
    with pytest.raises(ValueError, match="--vary needs a parametric device"):
        with_non_ideality(load_device(["pcm", "threshold"]), "stuck", 0.1)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A file with an initialisation, and few glyphs to try it on."""
    monkeypatch.setattr(command, "load", lambda source, split: Split(glyphs(0, 6, 20), glyphs(1, 12, 20)))
    replace(START, card=json.dumps({"command": "memenv pretrain", "config": {}})).save(tmp_path / "mine.npz")
    return str(tmp_path / "mine.npz")


def test_the_command_writes_table_csv_and_pictures(start, tmp_path, capsys):
    words = [
        start,
        "--device",
        "float,pcm",
        "--episodes",
        "10",
        "--vary",
        "stuck",
        "--tune",
        "4",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["fewshot", *words]) == 0
    shown = capsys.readouterr().out
    assert "5-way 1-shot accuracy of 10 episodes" in shown and "mine" in shown and "float" in shown
    with (tmp_path / "out" / "fewshot.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["device"] for row in rows] == ["float", "pcm"] + ["pcm"] * 5
    assert rows[0]["accuracy_0s"] == rows[0]["accuracy_86400s"] and float(rows[1]["pulses"]) > 0
    assert "| mine | pcm |" in (tmp_path / "out" / "fewshot.md").read_text()
    assert 0 < float(rows[1]["half_width_step1"]) < 0.2
    for name in ("episode.png", "robustness.png", "steps.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["cards"]["mine"]["command"] == "memenv pretrain" and record["command"].startswith("memenv fewshot")


def test_heads_are_judged_side_by_side_with_what_they_cost(start, tmp_path, capsys):
    words = [start, "--device", "pcm", "--head", "zeros", "written", "digital", "--episodes", "4", "--delays", "0"]
    assert main(["fewshot", *words, "--out", str(tmp_path / "out")]) == 0
    assert "initial pulses" in capsys.readouterr().out
    with (tmp_path / "out" / "fewshot.csv").open(newline="") as file:
        zeros, written, digital = csv.DictReader(file)
    assert [row["init"] for row in (zeros, written, digital)] == ["mine, zeros", "mine, written", "mine, digital"]
    assert float(zeros["reads"]) > float(written["reads"]) > 0 and float(written["pulses"]) > 0
    assert float(zeros["initial_reads"]) > 0 and float(digital["pulses"]) == float(digital["initial_pulses"]) == 0


def test_a_stream_has_lines_for_its_first_task_and_for_parts_of_the_others(start, tmp_path, capsys):
    words = [start, "--device", "pcm", "--stream", "7", "--interval", "60", "--episodes", "4", "--delays", "0"]
    assert main(["fewshot", *words, "--out", str(tmp_path / "out")]) == 0
    assert "4 streams of tasks" in capsys.readouterr().out
    with (tmp_path / "out" / "fewshot.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    places = [(int(row["first_task"]), int(row["last_task"])) for row in rows]
    assert places == [(1, 1), (2, 3), (4, 5), (6, 6), (7, 7)]
    assert rows[0]["kept"] == "nan" and all(0 <= float(row["kept"]) <= 1 for row in rows[1:])


def test_time_to_drift_moves_all_queries(start, tmp_path):
    options = {"init": (start,), "device": ("pcm",), "episodes": 10}
    rows = fewshot(FewshotConfig(vary=(DRIFT_TIME,), delays=(0.0, 9e5), out=tmp_path / "varied", **options))
    later = fewshot(FewshotConfig(delays=(1e6, 1.9e6), out=tmp_path / "later", **options))[0]
    row = next(row for row in rows if row["amount"] == 1e6)
    assert row["accuracy_0s"] == later["accuracy_1e+06s"] and row["accuracy_900000s"] == later["accuracy_1.9e+06s"]
    assert rows[0]["accuracy_0s"] == rows[1]["accuracy_0s"] and rows[1]["amount"] == 0
    assert with_non_ideality(load_device("pcm"), DRIFT_TIME, 1e6) == load_device("pcm")


def test_a_picture_needs_no_chip(start, tmp_path):
    rows = fewshot(FewshotConfig(init=(start,), device=("float",), episodes=4, out=tmp_path / "out"))
    assert len(rows) == 1 and rows[0]["pulses"] == 0 and (tmp_path / "out" / "episode.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ways", "13"], "13 ways"),
        (["--shots", "6"], "6 shots"),
        (["--ways", "1"], "ways is 1"),
        (["--vary", "dust"], "unknown non-ideality 'dust'"),
        (["--device", "nothing"], "unknown device 'nothing'"),
        (["--delays", "-1"], "delays is -1.0, allowed is a number >= 0"),
        (["--tune", "1"], "tune is 1"),
        (["--vary", "stuck", "--device", "float"], "--vary needs a --device"),
        (["--head", "gone"], "head is 'gone': choose from zeros, digital, written, learning"),
        (["--devices-per-weight", "1,2"], "devices_per_weight is 1,2: one number, or one for each of the 1 layers"),
        (["--tolerance", "-1"], "tolerance is -1.0, allowed is"),
        (["--interval", "60"], "interval is 60, but one task has none"),
    ],
)
def test_the_command_refuses_what_cannot_work(start, tmp_path, capsys, words, message):
    assert main(["fewshot", start, *words, "--episodes", "4", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_needs_no_torch(start, tmp_path, monkeypatch):
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import metalearn.few_shot, metalearn.evaluation, memenv.few_shot.initialisations, metalearn.plots"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
