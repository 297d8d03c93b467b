"""Commands whose work is divided: the same files whoever does it, pieces and yields go through pickles."""

import json
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from memenv.__main__ import main
from memenv.experiments import parallel

pytest.importorskip("matplotlib")
FEW = "--cells 20 --trials 1"
COMMANDS = {
    "stress": (f"ideal --controllers revealed,oracle --truths record,slope=2,tolerance=0.05 {FEW}", ("stress.csv",)),
    "tune": ("--device ideal --controllers constant,nominal --trials 1", ()),
    "program": (
        "--weights W.npy --device ideal --rows 4 --cols 8 --controller revealed --pulses pulses.csv --trials 1",
        ("pulses.csv", "conductances.npz", "tiles/tile_0001_0000.npz"),
    ),
    "fewshot": ("glyphs-mlp-maml --device float ideal --episodes 12 --engine numpy", ("fewshot.csv",)),
}


class Elsewhere:
    """Processes in the place of real ones: pieces and what they yield are pickled, and the last comes first."""

    def __init__(self, jobs: int, mp_context: Any) -> None:
        self.asked: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.asked, "nothing was divided"

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        self.asked.append(work)
        future = Future[Any]()
        future.set_result(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(work))())))
        return future


def test_a_command_whose_worker_is_killed_says_what_it_keeps_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killed(Elsewhere):
        def submit(self, work: Callable[[], Any]) -> Future[Any]:
            if len(self.asked) == 2:
                raise BrokenProcessPool
            return super().submit(work)

        def shutdown(self, **_: bool) -> None:
            """Nobody is left to be told."""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Killed)
    words = f"sweep --device ideal --tolerance 0.02 --controllers constant,nominal,revealed {FEW} --jobs 2"
    monkeypatch.setattr(parallel, "islice", lambda left, _: islice(left, 1))  # so that some are finished before
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert f"sweep keeps what is finished; continue with: memenv {words} --resume\n" in said
    assert said.endswith(f"memenv sweep: {parallel.ENDED}\n")
    assert len(list(Path("sweep/points").iterdir())) == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_a_divided_command_writes_what_one_process_writes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metalearn.few_shot._pictures", lambda *_: {})
    np.save("W.npy", np.random.default_rng(0).normal(size=(6, 5)))
    words, files = COMMANDS[name]
    assert main([name, *words.split(), "--out", "one"]) == 0
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Elsewhere)
    assert main([name, *words.split(), "--out", "two", "--jobs", "2"]) == 0
    for file in files:
        assert (Path("one") / file).read_bytes() == (Path("two") / file).read_bytes()
    if name == "tune":
        assert json.loads(Path("one").read_text())["controllers"] == json.loads(Path("two").read_text())["controllers"]
