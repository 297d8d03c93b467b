"""Exported C on this machine: compiled by its compiler `cc`, and asked what it decides."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agents.export.recording import Steps

COMPILER = "cc"


def compiled(files: Mapping[str, str], folder: Path, *options: str) -> Path:
    """The program of an export's files, which are written into a folder.

    Raises:
        subprocess.CalledProcessError: the compiler has a complaint, be it a warning.
    """
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    strict = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
    subprocess.run([COMPILER, *strict, *options, "policy.c", "main.c", "-o", "main", "-lm"], cwd=folder, check=True)
    return folder / "main"


def decided(program: Path, steps: Steps) -> Steps:
    """The program's decisions about the reads of `steps`."""
    rows = zip(steps.cell, steps.read, steps.target, strict=True)
    lines = "".join(f"{cell} {read:.17g} {target:.17g}\n" for cell, read, target in rows)
    said = subprocess.run([program, "-"], input=lines, capture_output=True, text=True, check=True).stdout
    found = np.array([line.split() for line in said.splitlines()], float)
    return steps._replace(amplitude=found[:, 1], width=found[:, 2], give_up=found[:, 3] > 0)


def microseconds(program: Path, times: int) -> float:
    """Time of a decision [us], over so many repetitions of the test vector."""
    said = subprocess.run([program, str(times)], capture_output=True, text=True, check=True).stdout
    return float(said.split()[0])


def size(folder: Path) -> int:
    """Bytes of code and constants of policy.c, translated for size."""
    subprocess.run([COMPILER, "-std=c99", "-Os", "-c", "policy.c"], cwd=folder, check=True)
    said = subprocess.run(["size", "policy.o"], cwd=folder, capture_output=True, text=True, check=True).stdout
    (text, data) = re.findall(r"^\s*(\d+)\s+(\d+)", said, re.MULTILINE)[0]
    return int(text) + int(data)
