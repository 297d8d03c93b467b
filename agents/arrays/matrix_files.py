"""Matrices from files that a user gave: weights (.npy, or a torch file with a tensor or a state dict), and inputs."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memenv.archives import ALONE, FLOATS, TRUTH, WHOLE, Entry, Header, check_arrays, load_array
from memenv.crossbars.memory_budget import check_room
from memenv.files import named, regular_file

ROOM = 9  # [byte] of a number in double precision and the check of it
MATRIX = Entry(("rows", "columns"), (*FLOATS, *WHOLE, *TRUTH))


def load_weights(path: Path, key: str | None = None) -> np.ndarray:
    """The matrix (rows, outputs) float64 of a file; nothing that is pickled is ever run.

    Args:
        path: of an .npy file, or a .pt or .pth file with a tensor or a state dict.
        key: which entry of a state dict; not needed where it has one matrix.

    Raises:
        ValueError: no readable file, no matrix, or one that is not of finite real numbers or is zero throughout.
    """
    if path.suffix not in (".npy", ".pt", ".pth"):
        raise ValueError(f"{path}: weights are read from .npy, .pt or .pth files")
    if path.suffix == ".npy":
        if key is not None:
            raise ValueError(f"key is {key!r}: only the state dict of a .pt file has keys")
        weights = _from_numpy(path, "weights")
    else:
        weights = _from_torch(path, key)
    if not weights.any():
        raise ValueError(f"{path}: all weights are zero; there is nothing to program")
    return weights


def load_inputs(path: Path, rows: int) -> np.ndarray:
    """Inputs (samples, rows) float64 of an .npy file, for a matrix of that many rows; the largest is 1 or -1.

    Raises:
        ValueError: no readable file, another number of columns, or numbers that are not real and finite, or all zero.
    """
    if path.suffix != ".npy":
        raise ValueError(f"{path}: inputs are read from .npy files")
    inputs = _from_numpy(path, "inputs")
    if inputs.shape[1] != rows:
        raise ValueError(f"{path}: has the shape {inputs.shape}, but the weights take {rows} inputs: (samples, {rows})")
    if not inputs.any():
        raise ValueError(f"{path}: all inputs are zero; so are all products, whatever the weights are")
    scaled: np.ndarray = inputs / np.abs(inputs).max()  # of any unit: squares of the largest would not be finite
    return scaled


def _check_header(header: Header) -> None:
    _check_room(header.shape)


def _check_room(shape: Sequence[int]) -> None:
    check_room(ROOM * math.prod(shape), f"its {math.prod(shape):,} numbers", "take parts of the matrix")


def _from_numpy(path: Path, what: str) -> np.ndarray:
    return load_array(path, f"matrix of {what}", MATRIX, _check_header).astype(np.float64)


def _from_torch(path: Path, key: str | None) -> np.ndarray:
    import torch

    with named(path, "file of plain weights"):
        with regular_file(path):  # nothing else is opened by its name
            pass
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        if isinstance(found, dict):
            found = _entry(found, key)
        elif key is not None:
            raise ValueError(f"key is {key!r}, but it holds no state dict")
        if not isinstance(found, torch.Tensor):
            raise ValueError(f"it holds a {type(found).__name__}; a tensor or a state dict is needed")
        _check_room(found.shape)
        known = found.is_complex() or found.dtype in (torch.float64, torch.float32, torch.float16)
        matrix = found.detach().numpy() if known else found.detach().double().numpy()
        check_arrays({ALONE: matrix}, {ALONE: MATRIX})
        return matrix.astype(np.float64)


def _entry(entries: dict[str, Any], key: str | None) -> Any:
    """The matrix of a state dict."""
    matrices = [name for name, value in entries.items() if getattr(value, "ndim", 0) == 2]
    if key is None and len(matrices) == 1:
        return entries[matrices[0]]
    if key in entries:
        return entries[key]
    asked = "several matrices" if key is None else f"no entry {key!r}"
    asked = "no matrix" if key is None and not matrices else asked
    raise ValueError(f"its state dict has {asked}; its matrices are {', '.join(map(str, matrices)) or 'none'}")
