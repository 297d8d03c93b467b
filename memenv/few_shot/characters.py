"""Images of characters, each drawn several times: what few-shot tasks are made of."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

SIDE = 28  # [pixels] side of an image


@dataclass(frozen=True, kw_only=True)
class Characters:
    """Images of characters, each drawn several times: what episodes of classification are drawn from."""

    images: np.ndarray  # (classes, instances, 28, 28), 1 = ink and 0 = paper: float32, or uint8 in units of 1/255
    names: tuple[str, ...]  # (classes,) unique
    alphabets: tuple[str, ...]  # (classes,) the writing system of each, empty where the source does not name it

    def __post_init__(self) -> None:
        """Raises ValueError for images of another shape or type, or a number of names that differs from theirs."""
        images = self.images
        if images.ndim != 4 or images.shape[2:] != (SIDE, SIDE) or images.dtype not in (np.uint8, np.float32):
            wanted = f"uint8 or float32 (classes, instances, {SIDE}, {SIDE})"
            raise ValueError(f"images must be {wanted}, got {images.dtype} {images.shape}")
        if not len(self.names) == len(self.alphabets) == len(images):
            raise ValueError(f"{len(images)} classes with {len(self.names)} names and {len(self.alphabets)} alphabets")

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.images)

    def select(self, classes: np.ndarray) -> Self:
        """Some of the classes, by their indices (n,), in that order."""
        names, alphabets = ([texts[k] for k in classes] for texts in (self.names, self.alphabets))
        return type(self)(images=self.images[classes], names=tuple(names), alphabets=tuple(alphabets))


def check_counts(classes: int, instances: int) -> None:
    """Refuse sets without classes, or classes without instances.

    Raises:
        ValueError: fewer than one.
    """
    if min(classes, instances) < 1:
        raise ValueError(f"classes and instances must be >= 1, got {classes} and {instances}")


class Split(NamedTuple):
    """Characters to learn to learn from, and others to be judged on."""

    train: Characters
    test: Characters
