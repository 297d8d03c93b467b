"""`memenv program`: files in, files out, interruption and resumption, bad input."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from agents import tuning
from agents.arrays import programming as command
from agents.arrays import tiles
from agents.arrays.matrix_files import load_inputs
from agents.arrays.noise import ArrayNoise
from agents.arrays.programming import ProgramConfig, build, program
from agents.tuned import cards
from memenv import Mismatch, WriteVerify, load_device, to_json
from memenv.__main__ import main
from memenv.crossbars import memory_budget as memory
from memenv.crossbars.crossbar import Crossbar

FILES = ("conductances.npz", "report.json", "report.md", "maps.png")


@pytest.fixture(autouse=True, scope="module")
def fast() -> Iterator[None]:
    """Little tuning."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "CELLS", 40)
        patch.setattr(tuning, "FINAL_CELLS", 40)
        yield


@pytest.fixture(autouse=True)
def no_maps(finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn for the finished run alone."""
    monkeypatch.setattr(command, "maps", lambda *_: Figure())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """18 x 7 weights: with arrays of 8 x 8 cells, on 3 x 2 of them."""
    np.save(tmp_path / "w.npy", np.random.default_rng(0).standard_normal((18, 7)))
    return tmp_path / "w.npy"


def words(weights: Path, out: Path, *more: str) -> list[str]:
    small = ["--rows", "8", "--cols", "8", "--controller", "history", "--trials", "2", "--max-pulses", "20"]
    return ["program", "--weights", str(weights), "--out", str(out), *small, *more]


def arrays(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "conductances.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The weights and the folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    np.save(folder / "w.npy", np.random.default_rng(0).standard_normal((18, 7)))
    assert main(words(folder / "w.npy", folder / "out")) == 0
    return folder / "w.npy", folder / "out"


def test_weights_are_found_again_in_the_conductances(finished: tuple[Path, Path]) -> None:
    path, out = finished
    found, wanted = arrays(out), np.load(path)
    np.testing.assert_array_equal(found["weights"], wanted)
    assert found["conductance"].shape == (18, 14)
    signed = found["scale"] * (found["conductance"][:, 0::2] - found["conductance"][:, 1::2])
    np.testing.assert_allclose(found["realised"], signed, rtol=0, atol=1e-12)
    assert np.sqrt(np.mean((signed - wanted) ** 2)) < 0.1


def test_the_report_adds_up(finished: tuple[Path, Path]) -> None:
    _, out = finished
    found, record = arrays(out), json.loads((out / "report.json").read_text())
    report = record["report"]
    assert report["arrays"] == 6 and report["cells"] == found["pulses"].size == 18 * 14
    mean, low, high = report["pulses_per_cell"]
    assert mean == pytest.approx(found["pulses"].mean()) and low < mean < high
    assert report["energy_J"] == pytest.approx(found["energy"].sum())
    assert report["out_of_reach"] == found["outside"].sum() <= report["failed"] == found["failed"].sum()
    assert report["accepted"] == found["accepted"].sum()
    inside = np.abs(found["conductance"] - found["target"]) <= 0.02 * 9.8e-5
    assert report["success_reaimed"] == pytest.approx((inside & ~found["failed"]).mean())
    near = np.abs(found["conductance"] - found["asked"]) <= 0.02 * 9.8e-5
    assert report["success"] == pytest.approx((near & ~found["failed"]).mean())
    assert report["success"] < report["success_reaimed"] < 1 - report["failed"] / report["cells"] + 1e-9
    assert report["false_acceptances"] == (found["accepted"] & ~inside).sum()
    assert report["latency_s"] < report["latency_sequential_s"]
    parts = [tiles.load(path) for path in sorted((out / "tiles").iterdir())]
    assert report["latency_s"] == pytest.approx(sum(float(part.latency) for part in parts))
    assert record["command"].startswith("memenv program --weights") and record["versions"]["memenv"]
    assert 0 < report["product_error"] < 0.2
    assert f"| {mean:.3f} [" in (out / "report.md").read_text().replace("pulses per cell ", "")
    assert (out / "maps.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_run_resumes_to_the_same_bits(
    finished: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = finished
    save, saved = tiles.save, []

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        saved.append(arguments)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(tiles, "save", interrupted)
    call = words(path, tmp_path / "out")
    assert main(call) == 130
    assert f"continue with: memenv {' '.join(call)} --resume" in capsys.readouterr().err
    assert len(list((tmp_path / "out" / "tiles").iterdir())) == 3 and not (tmp_path / "out" / FILES[0]).exists()
    monkeypatch.setattr(tiles, "save", save)
    assert main([*call, "--resume"]) == 0
    found, expected = arrays(tmp_path / "out"), arrays(whole)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    reports = [json.loads((out / "report.json").read_text())["report"] for out in (whole, tmp_path / "out")]
    assert reports[0] == reports[1]
    assert main([*call, "--resume"]) == 0  # nothing is left to do


def test_a_tile_is_the_same_whatever_else_is_programmed(weights: Path) -> None:
    config = ProgramConfig(weights=weights, rows=8, cols=8, controller="history")
    first, second = (build(config, np.load(weights)) for _ in range(2))
    last = first.tiles[-1]
    for tile in first.tiles[:2]:
        first.program(tile)
    np.testing.assert_array_equal(first.program(last).conductance, second.program(last).conductance)


def test_tiles_together_aim_at_what_one_large_array_aims_at(weights: Path) -> None:
    results = []
    for size in (8, 64):
        config = ProgramConfig(
            weights=weights, rows=size, cols=size, controller="history", device="ideal", tolerance=0.005
        )
        programmer = build(config, np.load(weights))
        parts = [programmer.program(tile) for tile in programmer.tiles]
        results.append(
            [tiles.joined(programmer.tiles, [getattr(p, name) for p in parts]) for name in parts[0]._fields[:2]]
        )
        product = np.zeros((256, 7))
        for tile, part in zip(programmer.tiles, parts, strict=True):
            product[:, tile.outputs] += part.product
        exact = programmer.voltages @ np.load(weights)
        assert np.std(product - exact) < 0.02 * np.std(exact)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    assert np.abs(results[0][1] - results[1][1]).max() <= 2 * 0.005 * 9.9e-5


@pytest.mark.parametrize(
    "more",
    [
        ["--encoding", "reference", "--spares", "1"],
        ["--spares", "1", "--writing", "columns"],
        ["--scheme", "V/3", "--wires", "2", "--writing", "cells"],
        ["--span", "0.2,0.8", "--levels", "4,2"],
    ],
)
def test_options_reach_the_array(weights: Path, tmp_path: Path, more: list[str]) -> None:
    assert main(words(weights, tmp_path / "out", *more)) == 0
    found = arrays(tmp_path / "out")
    assert np.corrcoef(found["realised"].ravel(), found["weights"].ravel())[0, 1] > 0.95
    said = "half-selected ones see their full share" in (tmp_path / "out" / "report.md").read_text()
    assert said == ("--wires" in more)
    if "--span" in more:
        assert found["low"] == pytest.approx(2e-6 + 0.2 * 9.8e-5)
    if "reference" in more:
        assert found["conductance"].shape == (18, 7 + 2 * 2)


def test_converters_round_the_products_that_are_judged(weights: Path, tmp_path: Path) -> None:
    errors = []
    for bits in ("0", "5"):
        assert main(words(weights, tmp_path / bits, "--dac-bits", bits, "--adc-bits", bits)) == 0
        errors.append(json.loads((tmp_path / bits / "report.json").read_text())["report"])
    assert errors[1]["product_error"] > 1.2 * errors[0]["product_error"]
    assert errors[1]["weight_error"] == errors[0]["weight_error"]


def test_torch_files_are_read(tmp_path: Path) -> None:
    layer = torch.nn.Linear(5, 3)
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    torch.save(layer.weight.detach().half(), tmp_path / "t.pt")
    short = ["--products", "3"]
    assert main([*words(tmp_path / "w.pt", tmp_path / "a"), *short, "--transpose"]) == 0
    assert main([*words(tmp_path / "t.pt", tmp_path / "b"), *short]) == 0
    np.testing.assert_allclose(arrays(tmp_path / "a")["weights"], layer.weight.detach().numpy().T)
    np.testing.assert_allclose(arrays(tmp_path / "b")["weights"], layer.weight.detach().numpy(), atol=1e-3)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """300 inputs for the weights, each like its neighbours, the last two always zero."""
    normal = np.random.default_rng(1).standard_normal((300, 18))
    smooth = sum(np.roll(normal, step, axis=1) for step in range(6))
    smooth[:, 16:] = 0.0
    np.save(tmp_path / "x.npy", 7.0 * smooth)
    return tmp_path / "x.npy"


def test_products_are_judged_on_the_inputs_of_a_file(weights: Path, inputs: Path, tmp_path: Path) -> None:
    given = ["--inputs", str(inputs), "--passes", "0", "--seed", "3"]
    assert main(words(weights, tmp_path / "out", *given)) == 0
    found, report = arrays(tmp_path / "out"), json.loads((tmp_path / "out" / "report.json").read_text())["report"]
    exact, seen = (np.load(inputs) @ found[name] for name in ("weights", "realised"))
    noiseless = np.sqrt(np.mean((seen - exact) ** 2) / np.mean(exact**2))
    assert report["product_error"] == pytest.approx(noiseless, rel=0.3)
    assert f"of the inputs of {inputs}," in (tmp_path / "out" / "report.md").read_text()


def test_the_unit_of_inputs_does_not_matter(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 6))
    for name, unit in (("one", 1.0), ("huge", 2.0**1000)):
        np.save(tmp_path / f"{name}.npy", unit * values)
    np.testing.assert_array_equal(*(load_inputs(tmp_path / f"{name}.npy", 6) for name in ("one", "huge")))


def test_knowing_the_inputs_makes_products_better_and_resumes(
    weights: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors, pulses = {}, {}
    given = ["--inputs", str(inputs), "--rows", "18", "--cols", "14", "--tolerance", "0.03"]
    for objective in ("cells", "product"):
        out = tmp_path / objective
        assert main(words(weights, out, *given, "--objective", objective)) == 0
        report = json.loads((out / "report.json").read_text())["report"]
        held = np.load(inputs)[1::2]
        off = held @ (arrays(out)["realised"] - np.load(weights))
        errors[objective], pulses[objective] = np.sqrt(np.mean(off**2)), report["pulses_per_cell"][0]
        assert report["false_acceptances"] < 0.1 * report["cells"]
    assert errors["product"] < 0.8 * errors["cells"] and pulses["product"] < pulses["cells"]
    assert "for the products of the array" in (tmp_path / "product" / "report.md").read_text()
    again = words(weights, tmp_path / "product", *given, "--objective", "product", "--resume")
    assert main(again) == 0
    np.save(inputs, 2.0 * np.load(inputs))
    capsys.readouterr()
    assert main(again) == 2
    assert "not the inputs of the run that is there" in capsys.readouterr().err


def test_what_is_reported_counts_failures_and_measures_against_what_was_asked_for(tmp_path: Path) -> None:
    """On chips with stuck cells: partners take the difference, which is not what they were asked for."""
    device = load_device("threshold").replace(mismatch=Mismatch(rate=0.3, stuck_anywhere=0.15))
    (tmp_path / "stuck.json").write_text(to_json(device))
    np.save(tmp_path / "w.npy", np.random.default_rng(0).uniform(-1, 1, (16, 8)))
    sizes = ["--rows", "16", "--cols", "16", "--device", str(tmp_path / "stuck.json")]
    assert main(words(tmp_path / "w.npy", tmp_path / "out", *sizes)) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())["report"]
    found = arrays(tmp_path / "out")
    kept = np.abs(found["conductance"] - found["target"]) <= 0.02 * 9.8e-5
    assert report["failed"] > 0.1 * report["cells"] and kept[found["failed"]].mean() > 0.9
    assert report["success"] < report["success_reaimed"] - 0.03 < 1 - report["failed"] / report["cells"]


def test_partners_that_stay_on_purpose_are_not_out_of_reach(weights: Path, inputs: Path, tmp_path: Path) -> None:
    given = ["--inputs", str(inputs), "--rows", "18", "--cols", "14", "--objective", "product", "--device", "ideal"]
    assert main(words(weights, tmp_path / "out", *given)) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())["report"]
    found = arrays(tmp_path / "out")
    assert report["out_of_reach"] == 0 and (found["pulses"] == 0).mean() > 0.4
    assert report["success"] < report["success_reaimed"]  # what is passed on re-aims


def test_the_report_says_when_inputs_are_too_few(weights: Path, tmp_path: Path) -> None:
    said = []
    for samples in (20, 2000):
        np.save(tmp_path / "x.npy", np.random.default_rng(3).standard_normal((samples, 18)))
        out, given = tmp_path / str(samples), ["--inputs", str(tmp_path / "x.npy"), "--objective", "product"]
        assert main(words(weights, out, *given)) == 0
        said.append("Too few inputs" in (out / "report.md").read_text())
    assert said == [True, False]


@pytest.mark.parametrize("objective", ["inputs", "selective", "refit", "gradient"])
def test_opponents_of_feedback_are_programmed_and_reported_alike(
    weights: Path, inputs: Path, tmp_path: Path, objective: str
) -> None:
    given = ["--inputs", str(inputs), "--rows", "18", "--cols", "14", "--objective", objective]
    assert main(words(weights, tmp_path / "out", *given)) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())["report"]
    assert report["product_error"] < 0.5 and report["product_error_gain"] < 1.05 * report["product_error"]
    assert f"for the products of the array ({objective})" in (tmp_path / "out" / "report.md").read_text()


def test_an_array_that_no_input_reaches_is_left_as_it_is(weights: Path, tmp_path: Path) -> None:
    seen = np.random.default_rng(2).standard_normal((40, 18))
    seen[:, :8] = 0.0
    np.save(tmp_path / "x.npy", seen)
    assert main(words(weights, tmp_path / "out", "--inputs", str(tmp_path / "x.npy"), "--objective", "product")) == 0
    pulses = arrays(tmp_path / "out")["pulses"]
    assert not pulses[:8].any() and pulses[8:].any()


def bad_files(folder: Path) -> None:
    good = np.ones((4, 3))
    np.save(folder / "x_good.npy", np.ones((5, 4)))
    np.save(folder / "x_nan.npy", np.full((5, 4), np.nan))
    np.save(folder / "x_wide.npy", np.ones((5, 3)))
    np.save(folder / "x_zero.npy", np.zeros((5, 4)))
    np.save(folder / "x_one.npy", np.ones((1, 4)))
    np.save(folder / "x_half.npy", np.eye(4)[[3, 3, 3]] * [[1], [0], [1]])
    np.save(folder / "good.npy", good)
    np.save(folder / "nan.npy", np.where(np.eye(4, 3) > 0, np.nan, 1.0))
    np.save(folder / "vector.npy", np.ones(4))
    np.save(folder / "empty.npy", np.ones((0, 3)))
    np.save(folder / "zero.npy", np.zeros((4, 3)))
    np.save(folder / "text.npy", np.array([["a", "b"]]))
    np.save(folder / "pickled.npy", np.array([[1, {}]], dtype=object), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:90])
    (folder / "w.csv").write_text("1,2\n")
    (folder / "code.pt").write_bytes(pickle.dumps(print))
    torch.save({"a": torch.ones(2, 2), "b": torch.ones(2, 3)}, folder / "two.pt")
    torch.save({"bias": torch.ones(2)}, folder / "none.pt")


@pytest.mark.parametrize(
    ("file", "more", "said"),
    [
        ("missing.npy", [], "there is no such file"),
        ("nan.npy", [], "3 of 12 numbers in it are NaN"),
        ("vector.npy", [], "has the shape (4,)"),
        ("empty.npy", [], "has the shape (0, 3), (0, 3) is needed, none of them 0"),
        ("zero.npy", [], "all weights are zero"),
        ("text.npy", [], "it is of type <U1"),
        ("pickled.npy", [], "pickled objects, which are not loaded"),
        ("cut.npy", [], "cut.npy is no matrix of weights"),
        ("w.csv", [], "read from .npy, .pt or .pth"),
        ("code.pt", [], "code.pt is no file of plain weights"),
        ("two.pt", [], "several matrices; its matrices are a, b"),
        ("two.pt", ["--key", "c"], "no entry 'c'; its matrices are a, b"),
        ("none.pt", [], "no matrix; its matrices are none"),
        ("good.npy", ["--key", "a"], "key is 'a'"),
        ("good.npy", ["--cols", "1"], "cols is 1, at least 2 are needed"),
        ("good.npy", ["--rows", "0"], "rows is 0"),
        ("good.npy", ["--device", "unobtainium"], "unobtainium"),
        ("good.npy", ["--controller", "nobody"], "nobody"),
        ("good.npy", ["--tolerance", "-1"], "tolerance is -1"),
        ("good.npy", ["--levels", "3"], "levels is (3,)"),
        ("good.npy", ["--span", "0.9,0.1"], "span is (0.9, 0.1)"),
        ("good.npy", ["--span", "0.9"], "span is 0.9"),
        ("good.npy", ["--trials", "0"], "trials is 0"),
        ("good.npy", ["--wires", "-1"], "wires is -1"),
        ("good.npy", ["--wires", "inf"], "wires is inf"),
        ("good.npy", ["--wires", "1e10"], "wires is 10000000000.0, allowed is a number >= 0 and <= 1e+09"),
        ("good.npy", ["--dac-bits", "1"], "bits is 1"),
        ("good.npy", ["--adc-bits", "8", "--adc-range", "2"], "adc_range is 2.0"),
        ("good.npy", ["--adc-bits", "8", "--adc-range", "1e-9"], "what one cell conducts"),
        ("good.npy", ["--spares", "-1"], "spares is -1"),
        ("good.npy", ["--resume"], "there is no run to resume"),
        ("good.npy", ["--scheme", "V/4"], "invalid choice: 'V/4'"),
        ("good.npy", ["--inputs", "x_missing.npy"], "there is no such file"),
        ("good.npy", ["--inputs", "w.csv"], "inputs are read from .npy files"),
        ("good.npy", ["--inputs", "vector.npy"], "it has the shape (4,), (rows, columns) is needed"),
        ("good.npy", ["--inputs", "x_nan.npy"], "20 of 20 numbers in it are NaN"),
        ("good.npy", ["--inputs", "x_wide.npy"], "has the shape (5, 3), but the weights take 4 inputs"),
        ("good.npy", ["--inputs", "x_zero.npy"], "all inputs are zero"),
        ("good.npy", ["--inputs", "pickled.npy"], "pickled objects"),
        ("good.npy", ["--objective", "product"], "with 0 inputs: give --inputs"),
        ("good.npy", ["--objective", "product", "--inputs", "x_one.npy"], "with 1 inputs"),
        ("good.npy", ["--objective", "product", "--inputs", "x_good.npy", "--scheme", "V/2"], "scheme is 'V/2'"),
        ("good.npy", ["--objective", "product", "--inputs", "x_good.npy", "--spares", "1"], "spares is 1"),
        ("good.npy", ["--objective", "product", "--inputs", "x_half.npy"], "every other input is zero"),
    ],
)
def test_bad_input_is_one_line_with_status_2_and_nothing_is_written(
    file: str, more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_files(tmp_path)
    more = [str(tmp_path / word) if word.endswith((".npy", ".csv")) else word for word in more]
    try:
        status = main(words(tmp_path / file, tmp_path / "out", *more))
    except SystemExit as end:
        status = end.code
    message = capsys.readouterr().err
    assert status == 2 and said in message and "Traceback" not in message
    assert len(message.strip().splitlines()) == 1 or "usage:" in message
    assert not (tmp_path / "out").exists()


def test_a_matrix_too_large_for_the_memory_is_refused_before_it_is_begun(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "memory_free", lambda: 20_000)
    assert main(words(weights, tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert "18 x 7 weights on arrays of 8 x 8 cells" in said and "are free" in said
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_mixed_with_another(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = finished
    before = (out / "report.json").read_bytes()
    assert main(words(path, out, "--seed", "1")) == 2
    assert "already holds a run (seed is 1, the run that is there has 0): choose another" in capsys.readouterr().err
    assert main(words(path, out, "--resume", "--seed", "1")) == 2
    assert "seed is 1, the run that is there has 0: resume it as it was" in capsys.readouterr().err
    np.save(tmp_path / "other.npy", np.ones((3, 3)))
    config = ProgramConfig(weights=tmp_path / "other.npy", out=out, resume=True)
    with pytest.raises(ValueError, match="resume it as it was"):
        program(config)
    assert (out / "report.json").read_bytes() == before


def test_a_run_is_not_resumed_on_another_device_of_the_same_name(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "mine.json"
    record.write_text(to_json(load_device("threshold")))
    call = words(weights, tmp_path / "out", "--device", str(record))
    assert main(call) == 0
    record.write_text(to_json(load_device("alox-hfo2")))
    assert main([*call, "--resume"]) == 2
    assert "mine.json: not the device of the run that is there" in capsys.readouterr().err


def test_a_damaged_tile_is_named_and_programmed_anew(finished: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    path, whole = finished
    assert main(words(path, tmp_path / "out")) == 0
    capsys.readouterr()
    tile = tmp_path / "out" / "tiles" / "tile_0000_0001.npz"
    tile.write_bytes(tile.read_bytes()[:100])
    assert main(words(path, tmp_path / "out", "--resume")) == 0
    assert "tile_0000_0001.npz is no result of a tile" in capsys.readouterr().err
    tile.write_bytes((tile.parent / "tile_0002_0001.npz").read_bytes())  # that of another one, of another size
    assert main(words(path, tmp_path / "out", "--resume")) == 0
    assert "made anew" in capsys.readouterr().err
    assert arrays(tmp_path / "out").keys() == arrays(whole).keys()
    for name, value in arrays(whole).items():
        np.testing.assert_array_equal(arrays(tmp_path / "out")[name], value, err_msg=name)


def test_the_tuned_parameters_are_those_of_the_first_run(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = words(weights, tmp_path / "out", "--trials", "2")
    assert main(call) == 0
    monkeypatch.setattr(tuning, "on_cells", lambda *_: pytest.fail("tuned again"))
    assert main([*call, "--resume"]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["parameters"]


def test_an_array_is_a_chip_of_its_own_whose_cells_share_what_is_not_known_of_the_device() -> None:
    slopes = [
        Crossbar(device="hfo2-array-om", rows=4, cols=5).fabricate(ArrayNoise.of(seed).chip, (2,)).set.slope  # type: ignore[attr-defined]
        for seed in (0, 1)
    ]
    assert all(len(np.unique(one)) == 1 for one in slopes)
    assert slopes[0].flat[0] != slopes[1].flat[0]


def test_parameters_that_are_shipped_are_not_searched_again(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "on_cells", lambda *_: pytest.fail("tuned"))
    shape = {"rows": 8, "cols": 8, "products": 4, "passes": 0}
    program(ProgramConfig(weights=weights, **shape, controller="secant", out=tmp_path / "out"))
    card = next(one for one in cards("threshold") if (one.controller, one.tolerance) == ("secant", 0.02))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["parameters"] == card.parameters


def test_the_list_of_pulses_is_that_of_every_cell_in_order_and_survives_an_interruption(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save, saved = tmp_path / "out", tiles.save, []

    def interrupted(path: Path, result: tiles.TileResult) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        save(path, result)

    call = words(weights, out, "--pulses", "pulses.csv")
    monkeypatch.setattr(tiles, "save", interrupted)
    assert main(call) == 130
    monkeypatch.setattr(tiles, "save", save)
    assert main([*call, "--resume"]) == 0
    rows = np.genfromtxt(out / "pulses.csv", delimiter=",", names=True)
    cells, first, counts = np.unique(
        np.stack([rows[name] for name in ("array_row", "array_col", "row", "col")]),
        axis=1,
        return_index=True,
        return_counts=True,
    )
    taken = [tiles.load(file).pulses for file in sorted((out / "tiles").glob("*.npz"))]
    assert len(rows) == sum(part.sum() for part in taken) and len(first) == sum((part > 0).sum() for part in taken)
    for place, count in zip(first, counts, strict=True):
        np.testing.assert_array_equal(rows["pulse"][place : place + count], np.arange(count))
    np.testing.assert_array_equal(counts[(cells[:2] == 0).all(0)], taken[0][taken[0] > 0])
    assert (rows["width_s"] > 0).all() and (np.abs(rows["amplitude_V"]) >= 0.5).all()
    whole, parts = (out / "pulses.csv").read_bytes(), sorted((out / "tiles").glob("*.csv"))
    parts[0].unlink()
    parts[1].write_bytes(b"")
    assert main([*call, "--resume"]) == 0
    assert (out / "pulses.csv").read_bytes() == whole


@pytest.mark.parametrize(
    "more, message",
    [
        (["--pulses", "other/pulses.csv"], "the name of a .csv in the folder of --out is needed"),
        (["--pulses", "pulses.txt"], "the name of a .csv in the folder of --out is needed"),
    ],
)
def test_a_list_of_pulses_has_a_plain_name(
    more: list[str], message: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(weights, tmp_path / "out", *more)) == 2
    assert message in capsys.readouterr().err


def test_a_matrix_is_programmed_to_levels_and_judged_by_their_bands(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ["--target-levels", "4", "--bands", "relative", "--tolerance", "0.08"]
    assert main(words(weights, out, *more)) == 0
    task = WriteVerify(device="threshold", tolerance=0.08, target_levels=4, bands="relative")
    found = np.load(out / "conductances.npz")
    levels = task.siemens(task.device, np.array(task.target_bands)[:, 1])
    assert np.abs(found["asked"][..., None] - levels).min(-1).max() < 1e-12
    good = np.abs(found["conductance"] / found["asked"] - 1) <= 0.08
    report = json.loads((out / "report.json").read_text())["report"]
    assert report["success"] == pytest.approx((good & ~found["failed"]).mean()) and report["success"] > 0.8
    wrong = np.abs(found["conductance"][..., None] - levels).argmin(-1) != np.abs(
        found["asked"][..., None] - levels
    ).argmin(-1)
    assert 0 <= report["bit_errors"] <= report["level_errors"] <= wrong.mean() + 0.03
    assert "| wrong bits (Gray code), of the levels asked for | " in (out / "report.md").read_text()
