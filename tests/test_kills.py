"""Killed at any moment, a command goes on with --resume to the same result, or says that there is nothing to resume."""

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_runs import COMMANDS, OTHERS, ROOT, contents, shrink

from memenv.__main__ import main

WATCHED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
LONGER = "--steps 4 --evaluations 4"
WORDS = {
    **COMMANDS,
    "train": OTHERS["train"].replace("--steps 1", LONGER).replace("--evaluations 1 ", ""),
    "pretrain": OTHERS["pretrain"].replace("--steps 1", LONGER),
}
KILLS = 2 * int(os.environ.get("MEMENV_FUZZ", "1"))
NOTHING = "there is no run to resume"


def child(words: list[str], moment: int = -1, delay: float = 0.0) -> tuple[int, str, int]:
    """The status of a command, minus the signal that killed it; what it said; its file operations.

    Args:
        words: of the command, which runs in a process forked from this one.
        moment: the file operation before which it is killed.
        delay: [s] by which that is late.
    """
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        count, said = 0, io.StringIO()

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event in WATCHED and "run" in Path(str(arguments[0])).name + Path(str(arguments[0])).parent.name:
                if count == moment and not delay:
                    os.kill(os.getpid(), signal.SIGKILL)
                if count == moment:
                    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
                count += 1

        sys.addaudithook(watch)
        with redirect_stderr(said):
            code = main(words)
        os.write(writer, f"{count} {said.getvalue()[-2000:]}".encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        count, _, said = pipe.read().partition(" ")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said, int(count or 0)


def result(command: str) -> Any:
    """What a run has to have written, whether it was killed or not: but for times, everything."""
    found = contents(Path("run"))
    if command not in OTHERS:
        return found
    rows = [line.split(",") for line in found["eval.csv"].decode().splitlines()]
    steps, seconds = rows[0].index("steps"), rows[0].index("seconds")
    if command == "train":  # goes on with fresh chips
        return rows[-1][steps], {"policy.npz", "checkpoint.npz", "run.json"} <= found.keys()
    with np.load("run/initialisation.npz") as file:
        arrays = {name: file[name].tobytes() for name in file.files}
    return arrays, [row[:seconds] + row[seconds + 1 :] for row in rows]


def drive(command: str, kills: int) -> Counter[str]:
    """Kill and resume a command so often, in this folder; how often it went on and how often it began anew."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(Path.cwd(), patch)
        words, rng, outcomes = WORDS[command].split(), random.Random(command), Counter()
        code, said, operations = child(words)
        assert code == 0 and operations > 10, (code, said)
        whole = result(command)
        for _ in range(kills):
            for place in Path().glob("*run*"):
                shutil.rmtree(place) if place.is_dir() else place.unlink()
            moment, delay = rng.randrange(operations), rng.choice((0.0, 0.0, 0.001, 0.02))
            killed, said, _ = child(words, moment, delay)
            assert killed in (-signal.SIGKILL, 0), (moment, delay, said)
            code, said, _ = child([*words, "--resume"])
            outcomes["finished before" if not killed else "resumed" if code == 0 else "begun anew"] += 1
            if code:
                assert code == 2 and NOTHING in said and len(said.splitlines()) == 1, (moment, delay, said)
                code, said, _ = child(words)
            assert code == 0, (moment, delay, said)
            assert result(command) == whole, (moment, delay)
            left = [*Path().glob(".*"), *Path().glob("run/**/.*")]
            assert not left, (moment, delay, left)
    return outcomes


@pytest.mark.parametrize("command", WORDS)
def test_killed_at_random_a_command_resumes_to_the_same_result(command, tmp_path):
    call = [sys.executable, __file__, command, str(KILLS)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        call, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300 * KILLS
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    print(done.stdout)


if __name__ == "__main__":
    began = time.perf_counter()
    print(dict(drive(sys.argv[1], int(sys.argv[2]))), f"in {time.perf_counter() - began:.1f} s")
