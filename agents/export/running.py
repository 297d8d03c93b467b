"""Exports on this machine: C compiled by its compiler `cc`, ONNX in onnxruntime, asked what they decide."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agents.export.recording import Steps

COMPILER = "cc"
KEPT = ("cell", np.float64), ("hidden", np.float32)  # of a cell, by an ONNX model


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


def answered(model: bytes, steps: Steps) -> Steps:
    """The decisions of an ONNX model about the reads of `steps`, by onnxruntime: of all cells at a time.

    Raises:
        ImportError: onnxruntime is missing (extra `onnx`).
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    widths = {one.name: one.shape[1] for one in session.get_inputs() if len(one.shape) > 1}
    cell, hidden = (np.zeros((steps.cell.max() + 1, widths[name]), kind) for name, kind in KEPT)
    found, place = np.empty((len(steps.cell), 3)), np.arange(len(steps.cell))
    place -= np.searchsorted(steps.cell, steps.cell)  # of a step in its episode
    for step in range(place.max() + 1):
        rows = np.flatnonzero(place == step)
        own = steps.cell[rows]
        asked = {"conductance": steps.read[rows], "goal": steps.target[rows], "cell": cell[own], "hidden": hidden[own]}
        *given, cell[own], hidden[own] = session.run(None, asked)
        found[rows] = np.stack(given, 1)
    return steps._replace(amplitude=found[:, 0], width=found[:, 1], give_up=found[:, 2] > 0)


def microseconds(program: Path, times: int) -> float:
    """Time of a decision [us], over so many repetitions of the test vector."""
    said = subprocess.run([program, str(times)], capture_output=True, text=True, check=True).stdout
    return float(said.split()[0])


def size(folder: Path) -> int:
    """Bytes of code and constants of policy.c, translated for size."""
    words = ("-std=c99", "-Os", "-fno-asynchronous-unwind-tables", "-c", "policy.c")  # which controllers do not have
    subprocess.run([COMPILER, *words], cwd=folder, check=True)
    said = subprocess.run(["size", "policy.o"], cwd=folder, capture_output=True, text=True, check=True).stdout
    (text, data) = re.findall(r"^\s*(\d+)\s+(\d+)", said, re.MULTILINE)[0]
    return int(text) + int(data)
