"""Compiled loops on the disk: kept by one process for the next, never taken from strangers, never in the way."""

import errno
import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from memenv.compiler import cache as disk

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: memenv[numba]"
)
TEXT = """
from memenv.compiler.jit import loop

SIGNATURE = "void(float32[::1])"

@loop(cache=False)
def cells(x):
    x[0] = 7.0
"""
KEPT, NOT_KEPT, ANEW = "they are kept in", "compiled loops are not kept", "is made anew"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of loops, which is not there yet."""
    monkeypatch.setenv("MEMENV_CACHE", str(tmp_path / "cache"))
    disk._not_kept.cache_clear()
    disk.compiled.cache_clear()
    yield tmp_path / "cache" / "loops"
    disk.compiled.cache_clear()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """Runs the loop as a new process would, and returns what memenv has said."""

    def run(text: str = TEXT, value: float = 7.0) -> str:
        caplog.clear()
        disk.compiled.cache_clear()
        disk._takes_seconds.cache_clear()
        x = np.zeros(1, np.float32)
        disk.compiled(text, "test")(x)
        assert x[0] == value
        assert all("\n" not in record.getMessage() for record in caplog.records)
        return caplog.text

    return run


def kept(folder: Path) -> Path:
    """The file of the one loop in a folder."""
    (file,) = folder.iterdir()
    return file


def test_the_first_process_says_that_it_compiles_and_the_next_need_not(folder, said):
    first = said()
    assert "compiling loops takes seconds" in first and KEPT in first
    assert said() == ""
    assert TEXT.encode() in kept(folder).read_bytes()


def test_of_many_loops_that_are_compiled_one_notice_is_given(folder, said, caplog):
    said()
    disk.compiled(TEXT.replace("7.0", "8.0"), "test")
    assert len([*folder.iterdir()]) == 2 and caplog.text.count("takes seconds") == 1


def test_the_folder_and_its_files_are_closed_to_others(folder, said):
    said()
    assert folder.stat().st_mode & 0o777 == 0o700 and kept(folder).stat().st_mode & 0o777 == 0o600


def test_a_file_serves_no_other_text_whatever_its_name(folder, said, monkeypatch):
    monkeypatch.setattr(disk, "_file", lambda folder, head: folder / "same.loop")
    said()
    assert ANEW in said(TEXT.replace("7.0", "8.0"), 8.0)
    assert said(TEXT.replace("7.0", "8.0"), 8.0) == ""


def test_another_compiler_has_files_of_its_own(folder, said, monkeypatch):
    import numba

    said()
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert "compiling" in said() and len([*folder.iterdir()]) == 2


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    """One bit of the machine code, which would crash or give other numbers."""
    return content[:-2000] + bytes([content[-2000] ^ 1]) + content[-1999:]


def lengthened(content: bytes) -> bytes:
    return content + b"x"


def random(content: bytes) -> bytes:
    return np.random.default_rng(0).bytes(5000)


class Shell:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {os.environ['MEMENV_CACHE']}/ran",)


def pickled(content: bytes) -> bytes:
    return pickle.dumps(Shell())


def pickled_behind_the_text(content: bytes) -> bytes:
    return content[: content.index(b"# machine code\n") + 15] + pickle.dumps(Shell())


@pytest.mark.parametrize(
    "damage", [cut, emptied, flipped, lengthened, random, pickled, pickled_behind_the_text], ids=lambda f: f.__name__
)
def test_a_damaged_file_is_made_anew_with_a_notice(folder, said, damage):
    said()
    file = kept(folder)
    content = file.read_bytes()
    file.write_bytes(damage(content))
    again = said()
    assert f"{file} {ANEW}: it is damaged" in again and again.count(ANEW) == 1 and KEPT in again
    assert not (folder.parent / "ran").exists()
    assert file.read_bytes().split(b"# machine code\n")[0][70:] == content.split(b"# machine code\n")[0][70:]
    assert said() == ""


def test_a_whole_file_that_numba_cannot_use_is_made_anew(folder, said):
    said()
    file = kept(folder)
    head = file.read_bytes().split(b"\n", 1)[1].partition(b"# machine code\n")
    content = head[0] + head[1] + pickle.dumps((1, 2))
    file.write_bytes(disk._digest(content) + content)
    assert ANEW in said() and said() == ""


def test_a_file_that_others_may_write_is_made_anew(folder, said):
    said()
    kept(folder).chmod(0o666)
    assert f"{ANEW}: it is not yours, or others may use it" in said()
    assert kept(folder).stat().st_mode & 0o777 == 0o600 and said() == ""


def test_a_link_is_replaced_by_a_file(folder, said, tmp_path):
    said()
    file = kept(folder)
    file.symlink_to(file.rename(tmp_path / "elsewhere"))
    assert ANEW in said() and not file.is_symlink() and said() == ""


def test_a_pipe_is_replaced_by_a_file(folder, said):
    said()
    file = kept(folder)
    file.unlink()
    os.mkfifo(file, 0o600)
    assert f"{file} {ANEW}: {str(file)!r} is no regular file" in said() and said() == ""


def test_a_folder_in_the_place_of_a_file_is_left_alone(folder, said):
    said()
    file = kept(folder)
    file.unlink()
    file.mkdir(0o700)
    assert NOT_KEPT in said() and file.is_dir()


def test_the_folder_of_another_user_is_not_used(folder, said, monkeypatch):
    said()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    again = said()
    assert f"{NOT_KEPT}: {folder} is not yours, or others may use it: remove it, or set MEMENV_CACHE" in again
    assert KEPT not in again
    assert NOT_KEPT not in said()  # once


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_made_anew(folder, said):
    said()
    os.chown(kept(folder), 12345, 12345)
    assert f"{ANEW}: it is not yours" in said()
    assert kept(folder).stat().st_uid == 0 and said() == ""


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755])
def test_a_folder_that_is_open_to_others_is_not_used(folder, said, mode):
    folder.mkdir(parents=True)
    folder.chmod(mode)
    assert NOT_KEPT in said() and not [*folder.iterdir()]
    assert folder.stat().st_mode & 0o777 == mode  # which the user may want


def test_a_link_to_a_folder_is_not_followed(folder, said, tmp_path):
    (tmp_path / "elsewhere").mkdir(0o700)
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert NOT_KEPT in said() and not [*(tmp_path / "elsewhere").iterdir()]


def as_a_file(place: Path) -> str:
    place.write_bytes(b"")
    return str(place)


def under_a_file(place: Path) -> str:
    place.write_bytes(b"")
    return str(place / "below")


def as_a_link_to_nowhere(place: Path) -> str:
    place.symlink_to(place.parent / "nowhere" / "at" / "all")
    return str(place)


def in_the_system(place: Path) -> str:
    return "/proc/memenv"  # not even root can write there


def as_a_long_name(place: Path) -> str:
    return str(place / ("x" * 300))


@pytest.mark.parametrize("variable", ["MEMENV_CACHE", "XDG_CACHE_HOME", "HOME"])
@pytest.mark.parametrize("made", [as_a_file, under_a_file, as_a_link_to_nowhere, in_the_system, as_a_long_name])
def test_without_a_place_loops_are_compiled_in_memory(folder, said, monkeypatch, tmp_path, made, variable):
    for name in ("MEMENV_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, made(tmp_path / "place"))
    again = said()
    assert again.count(NOT_KEPT) == 1 and "takes seconds" in again and KEPT not in again


def test_without_a_home_loops_are_compiled_in_memory(folder, said, monkeypatch):
    for name in ("MEMENV_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # as for a user that a container makes up
    assert f"{NOT_KEPT}: there is no home, set" in said()


def test_the_folder_of_memenv_is_in_the_home(folder, said, monkeypatch, tmp_path):
    for name in ("MEMENV_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    said()
    assert kept(tmp_path / ".cache" / "memenv" / "loops").suffix == ".loop"


def test_a_full_disk_leaves_nothing_behind(folder, said, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        again = said()
    assert f"{NOT_KEPT}: {folder}: No space left on device" in again and "Traceback" not in again
    assert not [*folder.iterdir()]
    assert KEPT in said()


def test_a_folder_that_is_deleted_meanwhile_is_made_again(folder, said):
    said()
    kept(folder).unlink()
    folder.rmdir()
    assert KEPT in said() and folder.stat().st_mode & 0o777 == 0o700


def test_two_processes_may_compile_the_same_loop_at_once(folder):
    code = "from memenv.compiler import cache; import numpy as np, sys; x = np.zeros(1, np.float32)"
    command = [sys.executable, "-c", f"{code}; cache.compiled(sys.argv[1], '')(x); print(x[0])", TEXT]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [out for out, _ in said] == ["7.0\n", "7.0\n"]
    assert not any(ANEW in error or NOT_KEPT in error or "Traceback" in error for _, error in said)
    assert kept(folder).suffix == ".loop"
