"""Heads of class means: what a prototypical network (Snell et al., arXiv 1703.05175) has in place of learning.

A query is of the class whose mean points most nearly where its features point. Means are scaled to equal length, so
that no biases are needed, and taken from their own mean: classes are told apart by the same differences, with smaller
weights. Cells that a head was written to are off by more than its biases could make up for: what their columns are off
in the mean of the support is subtracted in digital, as a converter's offset is. NumPy or torch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memenv.arrays import Array, namespace, relu
from memenv.learning.backprop import cross_entropy

HEADS = ("zeros", "digital", "written")  # before learning: nothing; class means, multiplied in digital or on the chip
LEAST = 1e-12  # mean square of a class without any feature


def head_inputs(outputs: Callable[[Any, Array], Array], hidden: Sequence[Any], x: Array) -> Array:
    """(..., n, rows) that the head gets of examples x (..., n, inputs), the last of which is one.

    `outputs` takes hidden layers and examples to what the last of these layers shows.
    """
    signal = relu(outputs(hidden, x)) if hidden else x
    xp = namespace(signal)
    return xp.concatenate((signal, xp.ones_like(signal[..., :1])), -1)


def class_means(features: Array, targets: Array, gain: Array) -> Array:
    """The head (..., rows, classes) that names the class of the nearest mean; its last row, the biases, is zero.

    Args:
        features: (..., n, rows) of the support as the head gets them, the last of which is one.
        targets: (..., n, classes) one-hot.
        gain: root mean square of the weights before they are taken from their mean.

    Raises:
        ValueError: a class without an example (in NumPy).
    """
    xp, counts = namespace(features), targets.sum(-2)
    if xp is np and not counts.all():
        raise ValueError(
            f"class {int(np.argwhere(counts == 0)[0, -1])} has no example: class means take one at least of each class"
        )
    means = targets.swapaxes(-1, -2) @ features[..., :-1] / counts[..., None]  # (..., classes, rows)
    means = means / xp.sqrt((means**2).mean(-1) + LEAST)[..., None]
    head = gain * (means - means.mean(-2)[..., None, :]).swapaxes(-1, -2)
    return xp.concatenate((head, 0.0 * head[..., :1, :]), -2)


def column_offsets(seen: Array, features: Array, head: Array) -> Array:
    """Offsets (..., 1, classes) of the columns of a written head, in the mean of the support.

    Args:
        seen: (..., n, classes) what they make of the support's features.
        features: (..., n, rows) as the head gets them.
        head: (..., rows, classes) that was to be written.
    """
    return (seen - features @ head).mean(-2)[..., None, :]


def less_offsets(offsets: Array) -> Callable[[Array, Array], tuple[Array, Array]]:
    """The cross-entropy of outputs from which offsets (..., 1, classes) are subtracted, for `Adaptation`."""
    return lambda outputs, targets: cross_entropy(outputs - offsets, targets)
