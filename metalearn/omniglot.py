"""Omniglot (Lake, Salakhutdinov, Tenenbaum, Science 350, 2015, 10.1126/science.aab3050) at 28 x 28, and its splits.

A folder is read that holds, each part in the first of these forms that is there, the official archives
(`images_background.zip`), the folders unpacked from them (`images_background/<alphabet>/characterNN/<CCCC>_<SS>.png`),
or arrays (`images_background.npz` with `images` bool (characters, 20, 105, 105), True = paper, in the order of the
official numbers CCCC). Pillow is needed for the first two. Nothing is unpacked, and small PNG alone is decoded.
"""

import io
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memenv.archives import TRUTH, WHOLE, Entry, load_archive
from memenv.few_shot.characters import SIDE, Characters, Split
from memenv.files import UNREADABLE, read_regular

VARIABLE = "MEMENV_OMNIGLOT"  # the folder, where none is passed
INSTANCES, SOURCE_SIDE = 20, 105
FORM = f"{SOURCE_SIDE} x {SOURCE_SIDE} pixels of mode 1"  # black and white, of each drawing
DRAWING = re.compile(r"((?:.*/)?[^/]+/character\d+)/(\d{4})_(\d\d)\.png", re.ASCII)  # place, character, instance
MOST_BYTES = 1 << 16  # of a drawing's file; published ones take some 250
SPLITS = ("random", "original", "small1")
SPLIT_SEED = 1  # of the random split
TRAINING_CHARACTERS = 1200  # of the random split; the other 423 are for evaluation


class Part(NamedTuple):
    """One of the archives in which Omniglot is published."""

    name: str
    numbers: tuple[int, ...]  # official numbers of its characters


BACKGROUND = Part("images_background", tuple(range(1, 965)))
EVALUATION = Part("images_evaluation", tuple(range(965, 1624)))
SMALL1 = Part("images_background_small1", (*range(108, 132), *range(251, 273), *range(394, 418), *range(643, 709)))
EVERYTHING = "images_background.zip and images_evaluation.zip"


def load_omniglot(folder: str | Path | None = None, split: str = "random") -> Split:
    """Omniglot's characters, those to train on and those to evaluate on, uint8 with 255 = ink.

    Args:
        folder: where the data are; None: where the environment variable MEMENV_OMNIGLOT says.
        split: "original": the 964 characters of the background and the 659 of the evaluation alphabets. "random": 1,200
            and 423 characters of the 1,623 irrespective of alphabets, as in MAML and most few-shot literature; which
            ones depends on SPLIT_SEED alone (papers differ, too). "small1": the 136 characters of the five alphabets of
            the first small background set, and the 659.

    Raises:
        ValueError: an unknown split, no folder, or data that are missing, damaged or incomplete; the message says what
            to download and where to put it.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    folder = folder or os.environ.get(VARIABLE)
    if not folder:
        raise ValueError(
            f"no folder with Omniglot: pass one or name it in {VARIABLE}. {_advice(EVERYTHING, 'that folder')}"
        )
    train, test = (load_part(Path(folder), part) for part in (SMALL1 if split == "small1" else BACKGROUND, EVALUATION))
    if split != "random":
        return Split(train, test)
    both = Characters(
        images=np.concatenate([train.images, test.images]),
        names=train.names + test.names,
        alphabets=train.alphabets + test.alphabets,
    )
    order = np.random.RandomState(SPLIT_SEED).permutation(len(both))  # NumPy never changes what this class draws
    return Split(both.select(order[:TRAINING_CHARACTERS]), both.select(order[TRAINING_CHARACTERS:]))


def load_part(folder: Path, part: Part) -> Characters:
    """All characters of one archive in the order of their official numbers, which are their names.

    Alphabets are named as the archive names them; arrays do not name them.

    Raises:
        ValueError: missing, damaged or incomplete data.
    """
    archive = f"{part.name}.zip"
    readers: dict[str, Callable[[Path, Part], Characters]] = {".zip": _read_zip, "": _read_folder, ".npz": _read_arrays}
    for suffix, read in readers.items():
        path = folder / f"{part.name}{suffix}"
        try:
            if path.exists():
                return read(path, part)
        except UNREADABLE as error:
            raise ValueError(f"{path} is damaged or incomplete ({error}). {_advice(archive, folder)}") from error
    raise ValueError(f"{folder} has no {archive}, {part.name}/ or {part.name}.npz. {_advice(archive, folder)}")


def _advice(archives: str, folder: Path | str) -> str:
    """Advice to a user about missing data."""
    source = "https://github.com/brendenlake/omniglot (folder python)"
    return f"Download {archives} from {source} into {folder}"


def _read_zip(path: Path, part: Part) -> Characters:
    with _opened(path) as archive:
        members = archive.infolist()
        return _read_drawings(((member.filename, partial(_content, archive, member)) for member in members), part)


def _opened(path: Path) -> zipfile.ZipFile:
    """A zip archive, if it is a file: a pipe would be waited for."""
    if not path.is_file():
        raise ValueError("it is no regular file")
    return zipfile.ZipFile(path)


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, at most MOST_BYTES of them unpacked, which methods other than deflate cannot do."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename!r} is packed by method {member.compress_type}, allowed is deflate")
    if member.file_size > MOST_BYTES:
        raise ValueError(f"{member.filename!r} has {member.file_size:,} bytes, allowed are {MOST_BYTES:,}")
    with archive.open(member) as file:
        return file.read(MOST_BYTES)


def _read_folder(path: Path, part: Part) -> Characters:
    if not path.is_dir():
        raise ValueError("it is no folder")
    drawings = path.rglob("*.png")
    files = ((file.relative_to(path).as_posix(), partial(read_regular, file, MOST_BYTES)) for file in drawings)
    return _read_drawings(files, part)


def _read_drawings(files: Iterable[tuple[str, Callable[[], bytes]]], part: Part) -> Characters:
    """Characters from PNG files in any order, among others: the name of each, and what reads it.

    Raises:
        ValueError: drawings of other characters, two of one name, too few, or one that `_drawing` refuses.
    """
    wanted = [(number, instance) for number in part.numbers for instance in range(1, INSTANCES + 1)]
    missing = {*wanted}
    names: dict[tuple[int, int], str] = {}
    places: dict[int, str] = {}
    drawings: dict[tuple[int, int], np.ndarray] = {}
    for name, read in files:
        match = DRAWING.fullmatch(name)
        if match is None:
            continue
        place, key = match[1], (int(match[2]), int(match[3]))
        if {"", ".", ".."} & {*name.split("/")}:
            raise ValueError(f"{name!r} leads out of the archive")
        if key in names:
            raise ValueError(f"{names[key]!r} and {name!r} are the same drawing, remove one")
        if key not in missing:
            raise ValueError(f"{name!r} is no drawing of {part.name}, remove it")
        if places.setdefault(key[0], place) != place:
            raise ValueError(f"character {match[2]} is in {places[key[0]]!r} and in {place!r}, remove one")
        names[key], drawings[key] = name, _drawing(name, read())
        missing.remove(key)
    if missing:
        counts = f"{len(part.numbers)} characters with {INSTANCES} drawings each"
        raise ValueError(f"{len(drawings)} drawings of {len(places)} characters instead of {counts}")
    paper = np.stack([drawings[key] for key in wanted]).reshape(-1, INSTANCES, SOURCE_SIDE, SOURCE_SIDE)
    return _characters(paper, part, tuple(places[number].split("/")[-2] for number in part.numbers))


def _drawing(name: str, content: bytes) -> np.ndarray:
    """A published drawing, bool (105, 105), True = paper.

    Raises:
        ValueError: no PNG, another size or mode, damage.
    """
    from PIL.PngImagePlugin import PngImageFile  # here alone: arrays do not need Pillow

    try:
        with PngImageFile(io.BytesIO(content)) as image:  # Image.open would try every decoder that there is
            form = f"{image.width} x {image.height} pixels of mode {image.mode}"  # its header's: nothing is decoded yet
            if form != FORM:
                raise ValueError(f"{form} instead of {FORM}")
            return np.asarray(image)
    except Exception as error:  # zlib, struct and the readers of PNG's parts each have their own
        raise ValueError(f"{name!r}: {error}") from error


def _read_arrays(path: Path, part: Part) -> Characters:
    characters = len(part.numbers)
    entries = {
        "images": Entry((characters, INSTANCES, SOURCE_SIDE, SOURCE_SIDE), TRUTH),
        "labels": Entry((characters, INSTANCES), WHOLE, optional=True),
    }
    _, arrays = load_archive(path, "part of Omniglot", entries)
    return _characters(arrays["images"], part, ("",) * characters)


def _characters(paper: np.ndarray, part: Part, alphabets: tuple[str, ...]) -> Characters:
    images = np.stack([shrink(drawings) for drawings in paper])
    return Characters(images=images, names=tuple(f"{number:04d}" for number in part.numbers), alphabets=alphabets)


def shrink(paper: np.ndarray) -> np.ndarray:
    """The share of ink in each of 28 x 28 equal areas, in units of 1/255; from bool (n, 105, 105), True = paper."""
    ink = (~paper).astype(np.float32)
    return np.rint(255 * (AREAS @ ink @ AREAS.T)).astype(np.uint8)


def _areas() -> np.ndarray:
    """Share of each of 28 equal intervals that lies in each of 105 source pixels; float32 (28, 105), rows sum to 1."""
    ends = np.linspace(0, SOURCE_SIDE, SIDE + 1)[:, None]
    covered = np.clip(ends - np.arange(SOURCE_SIDE), 0, 1)  # of a source pixel, up to each end
    return (np.diff(covered, axis=0) * SIDE / SOURCE_SIDE).astype(np.float32)


AREAS = _areas()
