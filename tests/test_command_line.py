"""The command line never shows a traceback: one line on what was given, and 2."""

import dataclasses
import errno
import importlib
import re
import typing

import numpy as np
import pytest
from odd import WORDS

from memenv.__main__ import COMMANDS, TRACEBACK, main
from memenv.experiments.options import Options, option, parse
from memenv.files import write_whole

NEEDED = {"program": ["--weights", "w.npy"], "fit": ["data.csv"], "import-policy": ["model.zip"], "export": ["secant"]}


def configurations():
    """The options of each command."""
    for command, (module, _) in COMMANDS.items():
        loaded = importlib.import_module(module)
        kinds = [kind for name, kind in vars(loaded).items() if name.endswith("Config") and kind.__module__ == module]
        yield command, next(kind for kind in kinds if issubclass(kind, Options))


CONFIGURATIONS = dict(configurations())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Few(Options):
    """An example."""

    cells: int = option(3, bounds=(1, 10), help="cells")
    shares: tuple[float, ...] = option((0.5,), bounds=(0.0, 1.0), distinct=True, help="shares")
    seed: int | None = option(None, help="of noise")


def one_line(capsys, *words: str) -> str:
    """What is said when these words are refused."""
    capsys.readouterr()
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2 and line.startswith(f"memenv {words[0]}: ")
    return line


def test_numbers_of_options_have_bounds_that_help_shows(capsys):
    with pytest.raises(SystemExit):
        parse(Few, ["--help"], "few")
    assert "cells [3] (1 to 10)" in capsys.readouterr().out
    assert parse(Few, ["--cells", "10", "--shares", "0", "1"], "few") == Few(cells=10, shares=(0.0, 1.0))
    assert Few(cells=np.int64(4)).cells == 4 and type(Few(cells=np.int64(4)).cells) is int
    for arguments, message in (
        (["--cells", "0"], "cells is 0, allowed is a whole number >= 1 and <= 10"),
        (["--shares", "0.2,7"], "shares is 7.0, allowed is a number >= 0 and <= 1"),
        (["--shares", "0.5,1,.5"], "shares has 0.5 2 times, once is allowed"),
        (["--seed", "-1"], "seed is -1, allowed is a whole number >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            parse(Few, arguments, "few")


@pytest.mark.parametrize("command", CONFIGURATIONS)
def test_every_option_of_a_whole_number_is_bounded(command):
    for f in dataclasses.fields(CONFIGURATIONS[command]):
        hint = typing.get_type_hints(CONFIGURATIONS[command])[f.name]
        if hint is int or int in typing.get_args(hint):
            most = f.metadata.get("bounds", (0, 10**9))[1]
            with pytest.raises(ValueError, match=f"{f.name} is .*, allowed is"):
                value = most + 1
                needed = {"weights": "w", "data": ("d",), "file": "m", "policy": "p"}
                given = {
                    n.name: needed[n.name] for n in dataclasses.fields(CONFIGURATIONS[command]) if n.name in needed
                }
                CONFIGURATIONS[command](**given | {f.name: (value,) if typing.get_origin(hint) is tuple else value})


@pytest.mark.parametrize("command", CONFIGURATIONS)
@pytest.mark.parametrize(
    "word", [word for word in WORDS if word not in ("0", "1,2")], ids=lambda word: word[:20] or "empty"
)
def test_an_odd_number_ends_in_one_line(command, word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hints = typing.get_type_hints(CONFIGURATIONS[command])
    for f in dataclasses.fields(CONFIGURATIONS[command]):
        if hints[f.name] is int and not (word == "9999999999999" and "seed" in f.name):
            line = one_line(capsys, command, *NEEDED.get(command, []), f"--{f.name.replace('_', '-')}={word}")
            assert f.name in line.replace("-", "_")


@pytest.mark.parametrize("command", ["compare", "tune", "program", "pretrain", "fewshot", "devices"])
def test_a_device_that_cannot_be_read_ends_in_one_line(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "digits.json").write_text('{"g_min": ' + "9" * 5000 + "}")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "trash.npz").write_bytes(b"PK\x03\x04" + bytes(range(200)))
    np.save("w.npy", np.ones((4, 2)))
    for name in ("deep.json", "digits.json", "bytes.json", "folder.json", "trash.npz", "gone.json", "", "a\0.json"):
        device = ["show", name] if command == "devices" else [*NEEDED.get(command, []), f"--device={name}"]
        if name or command not in ("compare", "pretrain", "fewshot"):  # of several devices none is a choice
            assert "report" not in one_line(capsys, command, *device)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("cells is 0"), "cells is 0"),
        (ValueError("two\nlines"), "two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), "No space left on device: 'x/y'"),
        (MemoryError(), "out of memory: ask for fewer cells"),
        (RecursionError("maximum"), "a file is nested too deeply"),
        (OverflowError("too large"), "OverflowError: too large; .* please report it, with what MEMENV_TRACEBACK=1"),
        (AssertionError(), "AssertionError: without words; .* please report it"),
        (KeyError("weights"), "KeyError: 'weights'; .* please report it"),
    ],
)
def test_whatever_is_raised_ends_in_one_line_unless_a_traceback_is_asked_for(error, said, capsys, monkeypatch):
    def run(_):
        raise error

    monkeypatch.setattr("memenv.devices.command.run", run)
    monkeypatch.delenv(TRACEBACK, raising=False)
    line = one_line(capsys, "devices")
    assert re.search(said, line), line
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(type(error)):
        main(["devices"])


def test_a_full_disk_is_said_with_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*table.csv'"):
        write_whole(tmp_path / "table.csv", "a,b")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "--cells", "1000000000", "--controllers", "constant", "--trials", "1"),
        ("program", "--weights", "w.npy", "--products", "1000000000"),
        ("pretrain", "--network", "mlp", "--hidden", "100000,100000,100000"),
    ],
)
def test_more_than_the_memory_holds_is_refused_before_it_is_asked_for(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("memenv.crossbars.memory_budget.memory_free", lambda: 16 * 10**9)
    np.save("w.npy", np.ones((4, 2)))
    assert "GB, 16 GB are free: " in one_line(capsys, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["w.npy"]


def test_what_is_compared_is_named_once(capsys):
    assert "controllers has 'ispp' 2 times" in one_line(capsys, "compare", "--controllers", "ispp,ispp")
    assert "device has 'threshold' 2 times" in one_line(capsys, "compare", "--device", "threshold,threshold")


def test_an_unknown_option_ends_in_one_line(capsys):
    assert "unrecognized arguments: --cell; see memenv compare --help" in one_line(capsys, "compare", "--cell")
    assert "unrecognized arguments: --a b; see memenv compare --help" in one_line(capsys, "compare", "--a\nb")
