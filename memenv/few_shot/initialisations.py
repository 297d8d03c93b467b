"""The yield of meta-learning: a fixed front, layers for crossbars, inner rates; saved, loaded, shipped; no torch.

An image goes through the front, which turns it into numbers with a mean square of one: the blocks of a convolutional
encoder, or without blocks 14 x 14 pixels. Layers of crossbar cells follow, of which the last, the head, starts at zero:
classes are shuffled from task to task, so that no class is worth one of its own, and heads that differ by the same
column are one head. Or the head is made of each task's class means. So an initialisation serves any number of ways.
"""

import json
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from memenv.archives import WHOLE, Entry, load_archive, save_archive
from memenv.few_shot.characters import SIDE, Characters
from memenv.few_shot.heads import HEADS
from memenv.files import named, parse_json

CHANNELS = 64
PIXELS = SIDE // 2  # on a side, of what a network without encoder sees
LEAST = 1e-6  # length of a vector of numbers that is scaled to unit mean square
BATCH = 50  # images that go through the blocks at once
BLOCKS = 4  # of an encoder: 28 x 28 become 14, 7, 4, 2 on a side
FORMATS = (1, 2)  # without class means, and with them
WHAT = "initialisation that memenv pretrain wrote"
ENTRIES = {
    "counts": Entry((4,), WHOLE),
    "block*_weight": Entry((CHANNELS, "", 3, 3), most=1e6),
    "block*_bias": Entry((CHANNELS,), most=1e6),
    "hidden*": Entry(("", ""), most=1e6),
    "rates": Entry(("steps", "layers")),
    "ranges": Entry(("layers",)),
    "gain": Entry((), optional=True),
}
HEAD_RATE, HIDDEN_RATE = 0.2, 0.1  # to begin with
HEAD_RANGE, HIDDEN_RANGE = 0.3, 1.5  # to begin with; of hidden layers in units of the largest weight
MEANS_FILL = 0.4  # root mean square of class means in units of the head's range, where none was learned


class Block(NamedTuple):
    """3 x 3 convolution with stride 2; a ReLU precedes all but the first one."""

    weight: np.ndarray  # float32 (channels, channels in, 3, 3)
    bias: np.ndarray  # float32 (channels,)


@dataclass(frozen=True, kw_only=True)
class Initialisation:
    """A network before it has seen a task, and how it learns from one."""

    blocks: tuple[Block, ...] = ()  # of the encoder
    pooled: bool = False  # whether features are the channels' means instead of everything that the last block shows
    hidden: tuple[np.ndarray, ...] = ()  # float32 (rows, outputs) of the layers before the head; last rows are biases
    rates: np.ndarray  # (steps, layers) of learning; the last column is the head's
    ranges: np.ndarray  # (layers,) largest magnitude of a weight that nominal devices can hold
    head: str = "zeros"  # before it learns: one of HEADS
    gain: float = 0.0  # root mean square of class means in the head; 0: such that they fill its range
    card: str = "{}"  # JSON: command, seed, figures

    def __post_init__(self) -> None:
        """Raises ValueError: parts that do not fit each other, or numbers that are not finite."""
        layers, rows = len(self.hidden) + 1, self.features
        if self.rates.ndim != 2 or self.rates.shape[1] != layers or self.ranges.shape != (layers,):
            raise ValueError(f"rates {self.rates.shape} and ranges {self.ranges.shape} do not fit {layers} layers")
        for number, block in enumerate(self.blocks):
            if block.weight.shape != (CHANNELS, CHANNELS if number else 1, 3, 3) or block.bias.shape != (CHANNELS,):
                raise ValueError(f"block {number} of the encoder has weights {block.weight.shape}")
        if len(self.blocks) not in (0, BLOCKS):
            raise ValueError(f"the encoder has {len(self.blocks)} blocks, {BLOCKS} are needed")
        for number, weights in enumerate(self.hidden):
            if weights.ndim != 2 or len(weights) != rows + 1:
                raise ValueError(f"layer {number} has weights {weights.shape}, its inputs are {rows} and a one")
            rows = weights.shape[1]
        parts = (self.rates, self.ranges, *self.hidden, *(part for block in self.blocks for part in block))
        if self.head not in HEADS or not 0 <= self.gain < np.inf:
            raise ValueError(f"head is {self.head!r} with gain {self.gain!r}: {', '.join(HEADS)}, and a gain >= 0")
        if not all(np.isfinite(part).all() for part in parts) or (self.rates < 0).any() or (self.ranges <= 0).any():
            raise ValueError("not all numbers are finite, or rates are negative, or ranges not positive")

    @property
    def features(self) -> int:
        """Numbers that the front makes of an image."""
        return (CHANNELS if self.pooled else 4 * CHANNELS) if self.blocks else PIXELS**2

    @property
    def means_gain(self) -> float:
        """`gain`, or the usual one."""
        return self.gain or MEANS_FILL * float(self.ranges[-1])

    def weights(self, ways: int) -> tuple[np.ndarray, ...]:
        """(rows, outputs) of every layer, with a head for `ways` classes."""
        rows = self.hidden[-1].shape[1] if self.hidden else self.features
        return (*self.hidden, np.zeros((rows + 1, ways), np.float32))

    def front(self, images: np.ndarray) -> np.ndarray:
        """images (..., 28, 28), uint8 in units of 1/255 or float in [0, 1], to float32 (..., features)."""
        flat = images.reshape(-1, SIDE, SIDE)
        parts = [self._front(flat[start : start + BATCH]) for start in range(0, len(flat), BATCH)]
        return np.concatenate(parts).reshape(*images.shape[:-2], self.features)

    def _front(self, images: np.ndarray) -> np.ndarray:
        signal = images * np.float32(1 / 255) if images.dtype == np.uint8 else images.astype(np.float32)
        if not self.blocks:
            return unit(signal.reshape(-1, PIXELS, 2, PIXELS, 2).mean((2, 4)).reshape(len(images), -1))
        signal = signal[..., None]  # channels last
        for number, block in enumerate(self.blocks):
            around = np.pad(np.maximum(signal, 0) if number else signal, ((0, 0), (1, 1), (1, 1), (0, 0)))
            patches = np.moveaxis(sliding_window_view(around, (3, 3), axis=(1, 2))[:, ::2, ::2], 3, 5)
            weight = block.weight.transpose(2, 3, 1, 0).reshape(-1, CHANNELS)
            signal = patches.reshape(-1, len(weight)) @ weight + block.bias
            signal = signal.reshape(*patches.shape[:3], CHANNELS)
        return unit(signal.mean((1, 2)) if self.pooled else np.moveaxis(signal, 3, 1).reshape(len(images), -1))

    def save(self, path: Path) -> None:
        """Write as .npz, whole or not at all; a head in digital as one that is written."""
        arrays: dict[str, Any] = {
            f"block{k}_{name}": part
            for k, block in enumerate(self.blocks)
            for name, part in zip(Block._fields, block, strict=True)
        }
        arrays |= {f"hidden{k}": part for k, part in enumerate(self.hidden)}
        arrays = {name: part.astype(np.float32) for name, part in arrays.items()}
        written = self.head != "zeros"
        if written:
            arrays["gain"] = np.array(self.gain)
        arrays["counts"] = np.array([FORMATS[written], len(self.blocks), self.pooled, len(self.hidden)])
        save_archive(path, parse_json(self.card), arrays | {"rates": self.rates, "ranges": self.ranges})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """An initialisation that `save` wrote.

        Raises:
            ValueError: no such file, or not such a file.
        """
        card, arrays = load_archive(path, WHAT, ENTRIES)
        with named(path, WHAT):
            version, *counts = arrays["counts"].tolist()
            if version not in FORMATS:
                raise ValueError(f"it has the format {version}, this program reads {' and '.join(map(str, FORMATS))}")
            if (version == FORMATS[1]) != ("gain" in arrays):
                raise ValueError("class means have a gain, and nothing else has one")
            blocks, hidden = (sum(name.startswith(part) for name in arrays) for part in ("block", "hidden"))
            pooled = counts[1] == 1
            if counts != [blocks // 2, pooled, hidden]:
                raise ValueError(
                    f"its counts {counts} are not those of {blocks // 2} blocks and {hidden} hidden layers"
                )
            return cls(
                blocks=tuple(Block(arrays[f"block{k}_weight"], arrays[f"block{k}_bias"]) for k in range(blocks // 2)),
                pooled=pooled,
                hidden=tuple(arrays[f"hidden{k}"] for k in range(hidden)),
                rates=arrays["rates"],
                ranges=arrays["ranges"],
                head=HEADS[-1] if "gain" in arrays else HEADS[0],
                gain=float(arrays.get("gain", 0.0)),
                card=json.dumps(card),
            )


def unit(signal: np.ndarray) -> np.ndarray:
    """(..., n) scaled to a mean square of one."""
    return signal / np.sqrt((signal**2).mean(-1, keepdims=True) + LEAST**2)


def untrained(network: str, hidden: tuple[int, ...] = (32,), steps: int = 5) -> Initialisation:
    """Random weights, always the same: an encoder with pooled features ("conv"), or layers on pixels ("mlp")."""
    rng, blocks, layers = np.random.default_rng(0), [], []
    if network == "conv":
        for channels in (1, CHANNELS, CHANNELS, CHANNELS):
            weight = rng.standard_normal((CHANNELS, channels, 3, 3)) * (2.0 / (9 * channels)) ** 0.5
            blocks.append(Block(weight.astype(np.float32), np.zeros(CHANNELS, np.float32)))
    else:
        for rows, outputs in pairwise((PIXELS**2, *hidden)):
            weight = rng.standard_normal((rows, outputs)) * (2.0 / rows) ** 0.5
            layers.append(np.concatenate((weight, np.zeros((1, outputs)))).astype(np.float32))
    return Initialisation(
        blocks=tuple(blocks),
        pooled=True,
        hidden=tuple(layers),
        rates=np.tile([*[HIDDEN_RATE] * len(layers), HEAD_RATE], (steps, 1)),
        ranges=np.array([*[HIDDEN_RANGE * float(np.abs(w).max()) for w in layers], HEAD_RANGE]),
    )


def shipped() -> tuple[str, ...]:
    """The names of the initialisations that come with the package."""
    files = _folder().iterdir() if _folder().is_dir() else ()
    return tuple(sorted(part.name.removesuffix(".npz") for part in files if part.name.endswith(".npz")))


def load_initialisation(name: str | Path) -> Initialisation:
    """A shipped initialisation by its name, or the file of a path.

    Raises:
        ValueError: an unknown name, a missing or a damaged file.
    """
    if str(name) in shipped():
        return Initialisation.load(Path(str(_folder() / f"{name}.npz")))
    if not str(name).endswith(".npz"):
        raise ValueError(f"unknown initialisation {str(name)!r}; shipped are {', '.join(shipped())}; or give a .npz")
    return Initialisation.load(name)


def _folder() -> Any:
    return resources.files("memenv.few_shot") / "shipped"


def rotations(init: Initialisation, data: Characters) -> np.ndarray:
    """Features of the characters and of those turned by 90, 180 and 270 degrees, further classes."""
    return np.concatenate([init.front(np.rot90(data.images, turn, axes=(2, 3))) for turn in range(4)])
