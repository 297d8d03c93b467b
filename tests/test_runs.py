"""Interruptions and rivals: what is finished is kept, a place is one run's alone, and sets of files appear whole."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import metalearn.few_shot as fewshot_command
from agents import comparison as compare_command
from agents import tuning
from agents.arrays import programming as program_command
from memenv import load_device
from memenv.__main__ import main
from memenv.experiments import kept, locks, renamed, runs
from memenv.experiments.options import option
from memenv.experiments.runs import RECORD, RunOptions, begun, journal_file, new_file
from memenv.few_shot.characters import Split
from memenv.few_shot.initialisations import Initialisation
from memenv.few_shot.strokes import glyphs
from memenv.fitting import command as fit_command
from memenv.fitting import plots as fit_plot

pytest.importorskip("matplotlib")
pytest.importorskip("stable_baselines3")

import metalearn.pretraining as pretraining

ROOT = Path(__file__).parents[1]
SIZES = {name: getattr(tuning, name) for name in ("CELLS", "FINAL_CELLS")}


@dataclass(frozen=True, kw_only=True)
class Config(RunOptions):
    """Options of a run that does nothing."""

    size: int = option(1, help="of it")
    data: Path | None = option(None, help="that it depends on")
    threads: int = option(1, help="that nothing depends on")
    out: Path = option(Path("out"), help="folder")


def opened(config, **more):
    return begun(config.out / RECORD, config, files=("result.*",), **more)


def refused(config, message, **more):
    with pytest.raises(ValueError, match=message), opened(config, **more):
        pytest.fail("it began")


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(out=tmp_path / "out")


@pytest.fixture
def interrupted(config) -> Config:
    """A run that has finished one piece of two."""
    with pytest.raises(KeyboardInterrupt), opened(config) as run:
        run.once(("first", 1), lambda: {"x": np.arange(3.0)})
        raise KeyboardInterrupt
    return config


# -- what is finished is kept ------------------------------------------------------------------------------------------


def test_a_finished_piece_is_not_done_again_and_yields_the_same(config):
    value = {"x": np.array([[0.1, np.nan], [np.inf, -0.0]]), "few": np.arange(3, dtype=np.int8), "one": (1, 0.1, "a")}
    with pytest.raises(KeyboardInterrupt), opened(config) as run:
        first = run.once(("piece", 0.5), lambda: value)
        raise KeyboardInterrupt
    with opened(replace(config, resume=True)) as run:
        again = run.once(("piece", 0.5), lambda: pytest.fail("done again"))
        assert run.once(("piece", 1.5), lambda: 7) == 7
    for found in (first, again):
        for name in ("x", "few"):
            np.testing.assert_array_equal(found[name], value[name])
            assert found[name].dtype == value[name].dtype
        assert np.signbit(found["x"][1, 1]) and found["one"] == [1, 0.1, "a"]


def test_a_line_without_its_end_does_not_count(interrupted):
    journal = journal_file(interrupted.out / RECORD)
    whole = journal.read_bytes()
    for cut in (whole + whole[:-1], whole + b"[", whole + b"\xff"):
        journal.write_bytes(cut)
        with pytest.raises(KeyboardInterrupt), opened(replace(interrupted, resume=True)) as run:
            assert run.once(("first", 1), lambda: pytest.fail("done again"))["x"].sum() == 3
            raise KeyboardInterrupt
        assert journal.read_bytes() == whole


DAMAGED = (b"{}", b"[1]", b"not json", b'[[1], {"npy": "AAAA"}]', b'[[1], {"npy": 1}]', b"[" * 9999)


@pytest.mark.parametrize("text", DAMAGED)
@pytest.mark.parametrize("checked", [True, False])
def test_a_damaged_journal_is_refused_with_its_name_and_line(interrupted, text, checked):
    with journal_file(interrupted.out / RECORD).open("ab") as file:
        file.write((b"%08x " % zlib.crc32(text) if checked else b"") + text + b"\n")
    refused(replace(interrupted, resume=True), r"run\.json\.journal: line 2 cannot be read .* anew with --overwrite")


def test_a_changed_digit_of_a_journal_is_seen(interrupted):
    journal = journal_file(interrupted.out / RECORD)
    journal.write_bytes(journal.read_bytes().replace(b'"first", 1', b'"first", 2'))
    refused(replace(interrupted, resume=True), "line 1 cannot be read")


def test_an_interrupted_run_goes_on_only_if_that_is_asked_for(interrupted):
    refused(interrupted, "already holds this run, interrupted: go on with --resume")
    with opened(replace(interrupted, resume=True)) as run:
        assert run.resumed and run.once(("first", 1), lambda: None)


def test_a_run_is_resumed_with_the_options_and_file_contents_that_it_began_with(config, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("1\n")
    config = replace(config, data=data)
    with pytest.raises(KeyboardInterrupt), opened(config) as run:
        run.once((), lambda: 1)
        raise KeyboardInterrupt
    resumed = replace(config, resume=True)
    refused(replace(resumed, size=2), "size is 2, the run that is there has 1: resume it as it was")
    refused(replace(resumed, threads=2), "threads is 2")
    data.write_text("2\n")
    refused(resumed, r"data\.csv: not the data of the run that is there, its content has changed")
    data.write_text("1\n")
    with opened(replace(resumed, threads=2), continuable=("threads",)) as run:
        assert run.resumed and run.record["config"]["threads"] == 2


@dataclass(frozen=True, kw_only=True)
class Later(Config):
    """Options that had other names."""

    controllers: tuple[str, ...] = option(("ispp", "oracle"), help="to compare")
    correlation: float = option(0.5, help="of cells")
    unknown_faults: bool = option(True, help="of chips")
    init: Path | None = option(None, help="a file")


def test_a_run_with_the_names_of_earlier_versions_goes_on(tmp_path):
    (tmp_path / "init.npz").write_bytes(b"weights")
    config = Later(out=tmp_path / "out", init=tmp_path / "init.npz")
    words = "3: oracle on pcm"
    with pytest.raises(KeyboardInterrupt), opened(config) as run:
        run.once((3, "oracle", "pcm"), lambda: 1)
        run.once((words, "trial", 0), lambda: 2)
        raise KeyboardInterrupt
    record, journal = run.path, journal_file(run.path)
    text = record.read_text()
    for old, new in (renamed.OPTIONS | renamed.CONTROLLERS).items():
        assert f'"{new}"' in text
        text = text.replace(f'"{new}"', f'"{old}"')
    record.write_text(text)
    earlier = (3, "clairvoyant", "pcm"), ("3: clairvoyant on pcm", "trial", 0)
    journal.write_bytes(b"".join(kept._line(key, value) + b"\n" for value, key in enumerate(earlier, 1)))
    refused(replace(config, resume=True, correlation=0.7), r"correlation is 0\.7, the run that is there has 0\.5")
    with opened(replace(config, resume=True)) as run:
        done = [run.once(key, lambda: pytest.fail("again")) for key in ((3, "oracle", "pcm"), (words, "trial", 0))]
        assert done == [1, 2]


def test_what_ends_before_anything_is_finished_leaves_nothing(config):
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), opened(config) as run:
            run.write({"result.csv": "half"})
            raise error
        assert not config.out.exists()


def test_nothing_is_resumed_where_there_is_nothing(config):
    refused(replace(config, resume=True), "there is no run to resume; leave out --resume")
    config.out.mkdir()
    (config.out / RECORD).write_text("{")
    refused(replace(config, resume=True), r"run\.json is there already, and no record of a run")
    refused(replace(config, resume=True, overwrite=True), "give one of them")


def test_a_run_that_was_killed_before_its_first_piece_begins_again(config):
    with opened(config):
        record = (config.out / RECORD).read_bytes()
    for resume in (False, True):
        (config.out / RECORD).write_bytes(record)
        with opened(replace(config, resume=resume)) as run:
            assert not run.resumed and not run.again


# -- nothing is overwritten --------------------------------------------------------------------------------------------


def complete(config, text="text"):
    with opened(config) as run:
        run.once(("piece",), lambda: 1)
        run.write({"result.txt": text}, complete=True)


def test_a_complete_run_is_shown_again_and_its_files_are_not_touched(config, capsys):
    complete(config)
    with opened(config) as run:
        assert run.again and run.record["complete"]
    assert "holds this very run: shown again; --overwrite computes it anew" in capsys.readouterr().err
    refused(replace(config, size=2), r"already holds a run \(size is 2, the run that is there has 1\): choose another")
    assert (config.out / "result.txt").read_text() == "text"


def test_a_run_of_other_versions_is_not_shown_as_if_it_were_new(config, monkeypatch):
    complete(config)
    monkeypatch.setattr(runs, "versions", lambda *_: {"python": "9"})
    refused(config, r"already holds a run \(of other versions\)")


def test_even_a_complete_run_whose_journal_is_gone_survives_an_interruption(config):
    complete(config)
    journal_file(config.out / RECORD).unlink()
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt), opened(replace(config, resume=resume)):
            raise KeyboardInterrupt
        assert (config.out / "result.txt").read_text() == "text" and (config.out / RECORD).exists()


def test_files_of_nobody_knows_what_are_not_overwritten(config):
    config.out.mkdir()
    for name in ("result.txt", f"{RECORD}.journal", RECORD):
        (config.out / name).write_text("mine")
        refused(config, rf"{name} is there already")
        assert (config.out / name).read_text() == "mine"
        (config.out / name).unlink()


def test_overwrite_replaces_the_run_and_nothing_else(config):
    complete(config, "old")
    (config.out / "notes.md").write_text("mine")
    (config.out / "result.csv").write_text("stale")
    new = replace(config, overwrite=True, size=2)
    with opened(new) as run:
        assert not run.kept and not (config.out / "result.csv").exists()
        run.write({"result.txt": "new"}, complete=True)
    assert sorted(path.name for path in config.out.iterdir()) == ["notes.md", "result.txt", RECORD]
    assert (config.out / "result.txt").read_text() == "new"


def test_overwrite_removes_also_what_other_options_had_asked_for_and_nothing_elsewhere(config):
    with opened(config) as run:
        run.write({"asked.dat": "old"}, complete=True)
    outside = config.out.parent / "outside.dat"
    outside.write_text("mine")
    record = json.loads((config.out / RECORD).read_text())
    assert record["files"] == ["asked.dat"]
    (config.out / RECORD).write_text(json.dumps(record | {"files": ["asked.dat", "../outside.dat"]}))
    with opened(replace(config, overwrite=True)) as run:
        run.write({"result.txt": "new"}, complete=True)
    assert sorted(path.name for path in config.out.iterdir()) == ["result.txt", RECORD] and outside.exists()


def test_a_file_is_not_overwritten_unasked(tmp_path):
    path = tmp_path / "new" / "mine.json"
    with new_file(path, overwrite=False):
        path.write_text("mine")
    with pytest.raises(ValueError, match=r"mine\.json is there already: .* --overwrite"), new_file(path, False):
        pytest.fail("it began")
    with new_file(path, overwrite=True):
        pass
    with pytest.raises(ValueError, match="is a folder"), new_file(tmp_path, overwrite=True):
        pytest.fail("it began")
    assert sorted(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_found_out_before_the_work(config):
    config.out.write_text("a file")
    refused(config, "nothing can be written there")
    refused(replace(config, out=config.out / "below"), "nothing can be written there")
    assert config.out.read_text() == "a file"


def test_a_full_disk_is_found_out_before_the_work_and_leaves_no_trace(config):
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom memenv.experiments.locks import locked\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"  # as good as full: no file grows beyond this
        "try:\n    with locked(Path(sys.argv[1])): pass\nexcept ValueError as error: print(error)\n"
    )
    call = [sys.executable, "-c", program, str(config.out / RECORD)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "nothing can be written there (File too large)" in done.stdout and not config.out.exists()


# -- sets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", range(3))
def test_a_set_appears_whole_or_not_at_all(config, monkeypatch, failing):
    moves = []

    def move(source, target):
        if len(moves) == failing:
            raise OSError(5, "broken", str(target))
        moves.append(target)
        os.rename(source, target)

    with opened(config) as run:
        run.once((), lambda: 1)
        with monkeypatch.context() as patch, pytest.raises(OSError, match="broken"):
            patch.setattr(os, "replace", move)
            run.write({"result.csv": "a", "result.md": "b"}, complete=True)
        assert not list(config.out.glob("result.*"))
        assert "complete" not in json.loads((config.out / RECORD).read_text())
        run.write({"result.csv": "a", "result.md": "b"}, complete=True)
    assert {path.name for path in config.out.iterdir()} == {RECORD, f"{RECORD}.journal", "result.csv", "result.md"}


def test_what_a_killed_run_had_half_written_is_gone_with_the_next(interrupted):
    staged, mine = interrupted.out / f".{RECORD}.staged", interrupted.out / ".result.notes"
    staged.mkdir()
    (staged / "result.csv").write_text("half")
    for name in (".result.csv.abcd1234", ".result.notes"):
        (interrupted.out / name).write_text("half")
    with opened(replace(interrupted, resume=True)):
        assert {path.name for path in interrupted.out.glob(".*")} == {mine.name, f".{RECORD}.lock"}


def test_a_full_disk_is_named_with_the_file_that_did_not_fit(config, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    with opened(config) as run:
        run.once((), lambda: 1)
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*result\.csv'"):
            run.write({"result.csv": "a"})


# -- rivals ------------------------------------------------------------------------------------------------------------


def test_the_second_of_two_runs_in_one_place_is_refused_at_once(config):
    with opened(config) as run:
        run.once((), lambda: 1)
        for rival in (config, replace(config, overwrite=True), replace(config, resume=True)):
            refused(rival, "another run is writing .*out: wait for its end, or choose another --out")
        with opened(replace(config, out=config.out / "below")):
            pass
        assert run.once((), lambda: 2) == 1


def test_a_lock_is_not_left_behind_by_a_run_that_is_killed(config):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom memenv.experiments.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    call = [sys.executable, "-c", program, str(config.out / RECORD)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout.readline() == b"locked\n"
        refused(config, "another run is writing")
        holder.kill()
    complete(config)
    assert not list(config.out.glob(".*"))


def test_a_lock_that_its_last_user_removed_meanwhile_is_not_taken_for_one(tmp_path, monkeypatch):
    path, lock = tmp_path / ".lock", locks._lock

    def late(file):  # the last user ends just now
        path.unlink()
        monkeypatch.setattr(locks, "_lock", lock)
        lock(file)

    monkeypatch.setattr(locks, "_lock", late)
    with locks._lock_file(path) as file:
        assert os.path.samestat(os.fstat(file.fileno()), path.stat())


# -- the commands ------------------------------------------------------------------------------------------------------


def shrink(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Little to tune on, by NumPy, few glyphs, no pictures, and a folder with what the commands are given."""
    patch.chdir(place)
    for name in SIZES:
        patch.setattr(tuning, name, 20)
    patch.setattr(tuning, "compiled", lambda _: False)  # takes seconds
    for module in (fewshot_command, pretraining):
        patch.setattr(module, "load", lambda source, split: Split(glyphs(0, 12, 20), glyphs(1, 12, 20)))
    patch.setattr(pretraining, "VALIDATION", 6)
    patch.setattr(pretraining, "JUDGED", 6)
    patch.setattr(fewshot_command, "_pictures", lambda *_: {"steps": Figure(), "episode": Figure()})
    patch.setattr(compare_command, "picture", lambda _: Figure())
    patch.setattr(program_command, "maps", lambda *_: Figure())
    Initialisation(rates=np.array([[0.3], [0.2]]), ranges=np.array([0.3]), card="{}").save(place / "init.npz")
    np.save(place / "w.npy", np.random.default_rng(0).standard_normal((8, 3)))


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Every test here is of small sizes, in a folder of its own."""
    shrink(tmp_path, monkeypatch)


COMMANDS = {
    "compare": "compare --device ideal alox-hfo2 --controllers nominal ispp --cells 20 --trials 2 --out run",
    "tune": "tune --device alox-hfo2 --controllers nominal ispp --trials 8 --out run",
    "fewshot": "fewshot init.npz --device float pcm --episodes 30 --tune 2 --out run",
    "program": "program --weights w.npy --rows 4 --cols 4 --controller history --trials 12 --out run",
}
OTHERS = {
    "train": "train --algo pulse --steps 1 --envs 8 --evaluations 1 --evaluation-cells 20 --out run",
    "pretrain": "pretrain --data glyphs --network mlp --hidden 4 --steps 1 --tasks 2 --ways 3 --out run",
}


def contents(place: Path) -> dict[str, bytes]:
    """What a run wrote; of times, journal and places in archives nothing."""
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    found = {str(path.relative_to(place)): path.read_bytes() for path in files if path.suffix != ".journal"}
    for name in [name for name in found if name.endswith("run.json")]:
        record = json.loads(found[name])
        for one in record.get("runs", []):
            del one["seconds"], one["seconds_per_pulse"]
        found[name] = json.dumps(record).encode()
    return found


def stopped_at(monkeypatch, piece: int, words: str) -> int:
    """The status of a command that is interrupted when it is about to keep its piece of work of this number."""
    append, done = kept._append, []

    def counted(path, key, value):
        if len(done) == piece:
            raise KeyboardInterrupt
        done.append(key)
        return append(path, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "_append", counted)
        return main(words.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_interrupted_anywhere_goes_on_to_the_files_of_an_uninterrupted_one(command, monkeypatch, capsys):
    words, place = COMMANDS[command], Path("run")
    assert main(words.split()) == 0
    whole, journal = contents(place), journal_file(place / RECORD if place.is_dir() else place)
    pieces = journal.read_bytes().count(b"\n")
    assert pieces >= 4
    for number in (1, pieces // 2, pieces - 1):
        assert stopped_at(monkeypatch, number, f"{words} --overwrite") == 130
        assert f"continue with: memenv {words} --resume" in capsys.readouterr().err
        assert stopped_at(monkeypatch, 1, f"{words} --resume") == (130 if pieces - number > 1 else 0)
        assert main([*words.split(), "--resume"]) == 0
        assert contents(place) == whole, number


@pytest.mark.parametrize("command", [*COMMANDS, *OTHERS])
def test_a_command_given_twice_shows_its_result_again_and_another_is_refused(command, capsys):
    words, place = (COMMANDS | OTHERS)[command].split(), Path("run")
    assert main(words) == 0
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (place, *place.rglob("*")) if path.is_file()}
    assert main(words) == 0
    assert "holds this very run" in capsys.readouterr().err
    assert main([*words, "--seed", "1"]) == 2
    said = capsys.readouterr().err
    assert "seed is 1, the run that is there has 0): choose another --out, or replace it with --overwrite" in said
    assert {path: path.stat().st_mtime_ns for path in (place, *place.rglob("*")) if path.is_file()} == before
    assert main([*words, "--seed", "1", "--overwrite"]) == 0
    record = json.loads((place / RECORD if place.is_dir() else place).read_text())
    assert record["config"]["seed"] == 1 and "--overwrite" not in record["command"]


@pytest.mark.parametrize("command", [*COMMANDS, *OTHERS])
def test_a_command_is_refused_where_another_is_at_work(command, capsys):
    words = (COMMANDS | OTHERS)[command]
    with locks.locked(Path("run") if command == "tune" else Path("run") / RECORD):
        assert main(words.split()) == 2
    assert "another run is writing run: wait for its end" in capsys.readouterr().err
    assert not Path("run").exists()


def test_tuning_that_writes_nothing_has_nothing_to_resume(capsys):
    assert main(["tune", "--controllers", "nominal", "--trials", "1", "--resume"]) == 2
    assert "--resume needs --out" in capsys.readouterr().err


# -- signals -----------------------------------------------------------------------------------------------------------

LONG = "compare --device alox-hfo2 --controllers constant nominal ispp vipi --cells 40 --trials 1 --out run"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, bytes]:
    """What LONG writes, but for the picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("uninterrupted"))
        patch.setattr(compare_command, "picture", lambda _: Figure())
        assert main(LONG.split()) == 0
        return contents(Path("run"))


def started(words: str) -> subprocess.Popen:
    """A command in a process of its own, as soon as its journal has some lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "memenv", *words.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = journal_file(Path("run") / RECORD)
    for _ in range(1200):
        if journal.exists() and journal.read_bytes().count(b"\n") > 3:
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_process_that_is_ended_keeps_what_is_finished_and_goes_on(uninterrupted, number, status, monkeypatch, capsys):
    with started(LONG) as process:
        assert main(LONG.split()) == 2
        assert "another run is writing run: wait for its end" in capsys.readouterr().err
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == status and "Traceback" not in said
    if number == signal.SIGTERM:
        assert "memenv compare: interrupted\n" in said and f"continue with: memenv {LONG} --resume" in said
    for name, size in SIZES.items():
        monkeypatch.setattr(tuning, name, size)
    journal = journal_file(Path("run") / RECORD)
    before = journal.read_bytes()
    assert main([*LONG.split(), "--resume"]) == 0
    assert journal.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert contents(Path("run")) == uninterrupted


def test_a_command_that_keeps_nothing_does_not_say_that_anything_is_kept(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("memenv.devices.command.run", interrupted)
    assert main(["devices"]) == 130 and capsys.readouterr().err == "memenv devices: interrupted\n"


def test_sigterm_means_what_it_did_after_a_command():
    before = signal.getsignal(signal.SIGTERM)
    assert main(["devices"]) == 0 and signal.getsignal(signal.SIGTERM) is before


# -- outputs are checked before the work -------------------------------------------------------------------------------


class Found:
    """What a fit of data would have found."""

    device = load_device("pcm")

    def report(self) -> str:
        """Say so."""
        return "found"


@pytest.fixture
def pulses(monkeypatch):
    """Data that can be read."""
    monkeypatch.setattr(fit_command, "read_pulses", lambda *_, **__: None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--plot f.xyz", "f.xyz: pictures are written as"),
        ("--plot mine.png -o mine.png", "name two files"),
        ("-o there.json", "there.json is there already"),
        ("--plot there.png", "there.png is there already"),
        ("-o there.json/below.json", "nothing can be written there"),
        ("-o .", "is a folder"),
    ],
)
def test_fit_checks_its_outputs_before_it_fits(pulses, monkeypatch, capsys, words, said):
    monkeypatch.setattr(fit_command, "fit", lambda *_, **__: pytest.fail("fitted before the outputs were checked"))
    for name in ("there.json", "there.png"):
        Path(name).write_text("mine")
    assert main(["fit", "pulses.csv", *words.split()]) == 2
    assert said in capsys.readouterr().err
    assert Path("there.json").read_text() == Path("there.png").read_text() == "mine"


@pytest.mark.parametrize("command", ["fit", "devices", "compare", "fewshot", "program"])
def test_a_picture_that_is_asked_for_needs_matplotlib_at_once(pulses, monkeypatch, capsys, command):
    words = (COMMANDS | {"fit": "fit pulses.csv --plot f.png", "devices": "devices plot pcm"})[command]
    before = set(Path().iterdir())
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(words.split()) == 2
    assert "matplotlib is missing" in capsys.readouterr().err and set(Path().iterdir()) == before


def test_a_fit_whose_picture_fails_keeps_the_record(pulses, monkeypatch, capsys):
    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fit_plot, "plot", fails)
    monkeypatch.setattr(fit_command, "fit", lambda *_, **__: Found())
    assert main(["fit", "pulses.csv", "-o", "mine.json", "--plot", "fit.png"]) == 2
    assert load_device("mine.json") == Found.device and not Path("fit.png").exists()


def test_a_device_is_drawn_over_an_earlier_picture_only_if_asked(capsys):
    Path("pcm.png").write_text("mine")
    assert main(["devices", "plot", "pcm"]) == 2 and "pcm.png is there already" in capsys.readouterr().err
    assert Path("pcm.png").read_text() == "mine"
    assert main(["devices", "plot", "pcm", "--overwrite"]) == 0
    assert Path("pcm.png").read_bytes().startswith(b"\x89PNG")
