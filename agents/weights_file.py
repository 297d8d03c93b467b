"""Matrices from files that a user gave: weights (.npy, or a torch file with a tensor or a state dict), and inputs."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from memenv.memory import check_room

ROOM = 9  # [byte] of a number in double precision and the check of it


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
    _check_file(path)
    if path.suffix == ".npy":
        if key is not None:
            raise ValueError(f"key is {key!r}: only the state dict of a .pt file has keys")
        found = _from_numpy(path)
    else:
        found = _from_torch(path, key)
    weights = _checked(found, path, "weights", "(rows, outputs)")
    if not weights.any():
        raise ValueError(f"{path}: all weights are zero; there is nothing to program")
    return weights


def load_inputs(path: Path, rows: int) -> np.ndarray:
    """Inputs (samples, rows) float64 of an .npy file, for a matrix of that many rows.

    Raises:
        ValueError: no readable file, another number of columns, or numbers that are not real and finite, or all zero.
    """
    if path.suffix != ".npy":
        raise ValueError(f"{path}: inputs are read from .npy files")
    _check_file(path)
    inputs = _checked(_from_numpy(path), path, "inputs", f"(samples, {rows})")
    if inputs.shape[1] != rows:
        raise ValueError(f"{path}: has the shape {inputs.shape}, but the weights take {rows} inputs: (samples, {rows})")
    if not inputs.any():
        raise ValueError(f"{path}: all inputs are zero; so are all products, whatever the weights are")
    return inputs


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")


def _from_numpy(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise ValueError(f"{path}: holds pickled objects, which are not loaded; save an array of numbers") from None
        raise ValueError(f"{path}: not a readable .npy file ({error})") from None


def _from_torch(path: Path, key: str | None) -> Any:
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # pickle, zipfile and torch each have their own, some of many lines
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: torch does not load it as plain weights ({reason})") from None
    if isinstance(found, dict):
        found = _entry(found, path, key)
    elif key is not None:
        raise ValueError(f"key is {key!r}, but {path} holds no state dict")
    if not isinstance(found, torch.Tensor):
        raise ValueError(f"{path}: holds a {type(found).__name__}; a tensor or a state dict is needed")
    known = found.is_complex() or found.dtype in (torch.float64, torch.float32, torch.float16)
    return found.detach().numpy() if known else found.detach().double().numpy()


def _entry(entries: dict[str, Any], path: Path, key: str | None) -> Any:
    """The matrix of a state dict."""
    matrices = [name for name, value in entries.items() if getattr(value, "ndim", 0) == 2]
    if key is None and len(matrices) == 1:
        return entries[matrices[0]]
    if key in entries:
        return entries[key]
    asked = "several matrices" if key is None else f"no entry {key!r}"
    asked = "no matrix" if key is None and not matrices else asked
    raise ValueError(f"{path}: the state dict has {asked}; its matrices are {', '.join(map(str, matrices)) or 'none'}")


def _checked(found: Any, path: Path, what: str, shape: str) -> np.ndarray:
    if found.ndim != 2 or 0 in found.shape:
        raise ValueError(f"{path}: has the shape {tuple(found.shape)}, a matrix {shape} is needed")
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{path}: is of type {found.dtype}, real numbers are needed")
    check_room(ROOM * found.size, f"{path}: {found.size:,} {what}", "take parts of the matrix")
    values = found.astype(np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(f"{path}: {bad} of {values.size} {what} are NaN or infinite; all must be finite")
    return values
