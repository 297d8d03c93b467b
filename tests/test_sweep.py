"""`memenv sweep`: points are rows of comparisons, whoever judges them; what is whole is kept."""

import csv
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agents import sweeping as command
from agents.comparison import CompareConfig, compare
from agents.sweeping import Point, SweepConfig, sweep, work_of
from memenv.__main__ import main
from memenv.experiments.parallel import workers

pytest.importorskip("matplotlib")
NAMES = ("revealed", "oracle")  # not compiled for any tuning


def config(out: Path, **changes: Any) -> SweepConfig:
    """A small sweep."""
    own: dict[str, Any] = {"device": ("ideal",), "tolerance": (0.02, 0.05), "controllers": NAMES, "trials": 1}
    return SweepConfig(cells=20, out=out, **(own | changes))


def test_a_point_is_the_row_of_a_comparison(tmp_path: Path) -> None:
    rows = sweep(config(tmp_path / "sweep"))
    assert [(row["tolerance"], row["controller"]) for row in rows] == [(t, n) for t in (0.02, 0.05) for n in NAMES]
    own = CompareConfig(device=("ideal",), tolerance=0.05, controllers=NAMES, cells=20, trials=1, out=tmp_path / "one")
    for row, other in zip(rows[2:], compare(own), strict=True):
        assert {name: row[name] for name in other} == other
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        assert [float(line["return_mean"]) for line in csv.DictReader(file)] == [row["return_mean"] for row in rows]
    assert (tmp_path / "sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "**ideal: tolerance 0.05 of the range, 20 cells**" in (tmp_path / "sweep" / "sweep.md").read_text()


def test_a_resumed_sweep_judges_what_is_missing_or_was_cut_short_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = sweep(config(tmp_path))
    first, second, third, last = sorted((tmp_path / "points").iterdir())
    kept = third.stat().st_mtime_ns
    first.write_text(first.read_text()[:200])
    second.unlink()
    last.write_text(third.read_text())
    (tmp_path / "sweep.csv").unlink()
    done: list[str] = []
    judge = command.judge
    monkeypatch.setattr(command, "judge", lambda *given: done.append(given[1]) or judge(*given))  # type: ignore[func-returns-value]
    capsys.readouterr()
    assert sweep(replace(config(tmp_path), resume=True)) == whole
    said = capsys.readouterr().err
    assert done == ["revealed", "oracle", "oracle"] and third.stat().st_mtime_ns == kept
    assert f"{first} is no file of this point" in said and f"{last} is no file of this point: it has" in said
    assert "made anew" in said and "4 points, 1 of them finished" in said and (tmp_path / "sweep.csv").exists()


def test_a_point_without_a_figure_is_named_and_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = sweep(config(tmp_path, tolerance=(0.02,)))
    first, _ = sorted((tmp_path / "points").iterdir())
    first.write_text(first.read_text().replace('"return_mean"', '"return"'))
    assert sweep(replace(config(tmp_path, tolerance=(0.02,)), resume=True)) == whole
    assert f"{first} is no file of this point: it has no return_mean: made anew" in capsys.readouterr().err


def test_every_search_is_a_point_and_the_table_has_their_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(task: Any, name: str, policy: Any, own: Any, seed: int | None) -> dict[str, Any]:
        pulses = 5.0 if seed is None else 5.0 + seed
        return {"figures": dict.fromkeys(command.FIGURES, pulses), "run": {}}

    monkeypatch.setattr(command, "judge", judge)
    monkeypatch.setattr(command, "_contents", lambda *_: ("", "", "", ""))
    rows = sweep(config(tmp_path, tolerance=(0.02,), controllers=("ispp", "revealed"), seeds=(1, 3)))
    assert [(row["controller"], row["tuning_seed"]) for row in rows] == [("ispp", 1), ("ispp", 3), ("revealed", None)]
    ispp, revealed = command.over_searches(rows)
    assert ispp["pulses_mean"] == 7.0 and ispp["pulses_over_tunings"] == pytest.approx(np.sqrt(2))
    assert revealed["pulses_mean"] == 5.0 and "pulses_over_tunings" not in revealed


def test_what_cannot_be_swept_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "MOST_POINTS", 3)
    for words, said in (
        (["--tolerance", "0.1,0.2", "--controllers", "ispp,secant"], "4 points, allowed are 3: name fewer of --device"),
        (["--tolerance", "0.05"], " points, allowed are 3"),
        (["--tolerance", "0.1,0.10"], "tolerance has 0.1 2 times, once is allowed"),
        (["--device", "ideal,ideal"], "device has 'ideal' 2 times"),
        (["--tolerance", "2"], "tolerance is 2.0"),
        (["--tolerance", ""], "tolerance is empty: at least one is needed"),
        (["--controllers", "nobody", "--tolerance", "0.1"], "unknown controller or policy 'nobody'"),
    ):
        assert main(["sweep", "--device", "ideal", *words, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_points_of_one_name_have_files_of_their_own(tmp_path: Path) -> None:
    own = config(tmp_path, device=("ideal",), controllers=("revealed",))
    assert [point.file(number) for number, point in enumerate(work_of(own))] == [
        "points/00000-ideal-0.02-revealed.json",
        "points/00001-ideal-0.05-revealed.json",
    ]
    assert Point("a/b", 1e-3, "../x y.npz", 7).file(2) == "points/00002-a_b-0.001-x_y-7.json"


def test_a_worker_that_is_killed_ends_the_work_in_one_line() -> None:
    with pytest.raises(ChildProcessError, match="take fewer at a time"), workers(2) as finished:
        assert dict(finished({"one": partial(abs, -1)})) == {"one": 1}
        list(finished({"end": partial(os._exit, 1)}))


def ray_of(monkeypatch: pytest.MonkeyPatch, **nodes: str) -> None:
    """A cluster in the place of Ray's, whose nodes have such versions of memenv."""

    class Remote:
        def __init__(self, function: Any) -> None:
            self.function, self.node = function, ""

        def options(self, scheduling_strategy: Any) -> "Remote":
            self.node = scheduling_strategy
            return self

        def remote(self) -> Any:
            return {"memenv": nodes[self.node]}

    known = [{"NodeID": name, "NodeManagerAddress": f"at {name}", "Alive": True} for name in nodes]
    fake = SimpleNamespace(
        init=lambda *_, **__: None,
        shutdown=lambda: None,
        nodes=lambda: known,
        get=lambda found: found,
        remote=lambda function=None, **_: Remote if function is None else Remote(function),
        exceptions=SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=ZeroDivisionError),
        util=SimpleNamespace(
            scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        ),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]


def test_nodes_with_other_versions_are_named_before_they_get_work(monkeypatch: pytest.MonkeyPatch) -> None:
    own = importlib.metadata.version("memenv")
    ray_of(monkeypatch, first=own, second="0.0.1", third="none")
    expected = f"node at second has memenv 0.0.1; node at third has memenv none: install memenv {own}, as here"
    with pytest.raises(ValueError, match=expected), workers(cluster="auto", packages=("memenv",)):
        pytest.fail("it began")


def test_a_cluster_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "--device", "ideal", "--controllers", "revealed", "--out", str(tmp_path / "out")]
    ray_of(monkeypatch)
    assert main([*words, "--cluster", "127.0.0.1:1"]) == 2
    assert "cluster 127.0.0.1:1 cannot be reached (" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]
    assert main([*words, "--cluster", "auto"]) == 2
    assert "pip install 'memenv[ray]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


ON_TWO_NODES = """
import sys
from ray.cluster_utils import Cluster
from memenv.__main__ import main

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
print(main([*sys.argv[1:], "--cluster", cluster.address]))
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: extra ray")
def test_two_nodes_of_ray_make_the_same_table_to_the_digit(tmp_path: Path) -> None:
    sweep(config(tmp_path / "here"))
    words = ["sweep", "--device", "ideal", "--tolerance", "0.02,0.05", "--controllers", ",".join(NAMES)]
    words += ["--trials", "1", "--cells", "20", "--out", str(tmp_path / "there")]
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", ON_TWO_NODES, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "RAY_AUTH_MODE": "disabled"},  # nobody else can reach it
    )
    assert run.stdout.endswith("\n0\n"), run.stderr
    assert (tmp_path / "there" / "sweep.csv").read_bytes() == (tmp_path / "here" / "sweep.csv").read_bytes()
