"""Backpropagation over what crossbars show: forward and transposed reads, and losses with gradients in closed form.

Nothing here differentiates by machine, so NumPy learns as torch does; and as a chip does: products are noisy reads of
the cells, the rest is done in digital.
"""

from collections.abc import Sequence
from typing import NamedTuple

from memenv.arrays import Array, namespace, relu
from memenv.learning.layers import Matrix, product, transposed


class Forward(NamedTuple):
    """A pass through all layers."""

    inputs: tuple[Array, ...]  # (..., n, rows) of every layer; the last entry of each is one, the biases' line
    outputs: Array  # (..., n, outputs) of the last layer, without activation


def forward(matrices: Sequence[Matrix], x: Array, noise: Sequence[Array | None] | None = None) -> Forward:
    """Examples x (..., n, inputs) through all layers, with a ReLU between them.

    Args:
        matrices: what the layers show.
        x: examples, with or without the one of the biases' line.
        noise: of each layer (..., n, outputs) standard normal, or None: a read without noise.

    Raises:
        ValueError: layers that do not fit each other or the examples.
    """
    inputs, signal = [], x
    for number, seen in enumerate(matrices):
        if number:
            signal = relu(signal)
        lines = seen.weights.shape[-2]
        if signal.shape[-1] + 1 == lines:
            xp = namespace(signal)
            signal = xp.concatenate((signal, xp.ones_like(signal[..., :1])), -1)
        elif number or signal.shape[-1] != lines:
            raise ValueError(
                f"layer {number} takes {lines - 1} inputs (and a one for its biases), {signal.shape[-1]} are given"
            )
        inputs.append(signal)
        signal = product(seen, inputs[-1], None if noise is None else noise[number])
    return Forward(tuple(inputs), signal)


def backward(
    matrices: Sequence[Matrix],
    passed: Forward,
    error: Array,
    noise: Sequence[Array | None] | None = None,
    lowest: int = 0,
) -> tuple[Array | None, ...]:
    """The loss's derivative with respect to every layer's outputs, (..., n, outputs) each.

    Args:
        matrices: what the layers show to the transposed read.
        passed: the forward pass.
        error: (..., n, outputs) derivative with respect to the last layer's outputs.
        noise: of each layer (..., n, rows) standard normal (layers up to `lowest` are not read), or None.
        lowest: layers below this one need no error and get None.
    """
    errors: list[Array | None] = [None] * len(matrices)
    errors[-1] = error
    for number in range(len(matrices) - 1, lowest, -1):
        back = transposed(matrices[number], error, None if noise is None else noise[number])
        error = back[..., :-1] * (passed.inputs[number][..., :-1] > 0)
        errors[number - 1] = error
    return tuple(errors)


def weight_gradient(inputs: Array, errors: Array) -> Array:
    """The sum of the examples' outer products: inputs (..., n, rows), errors (..., n, outputs) to (..., rows, outputs).

    Losses are means over the examples, and so is this.
    """
    return inputs.swapaxes(-1, -2) @ errors


def cross_entropy(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Softmax cross-entropy, mean over n (...,), and its derivative (..., n, classes); targets' rows sum to one."""
    xp = namespace(outputs)
    shifted = outputs - xp.amax(outputs, -1)[..., None]
    log_share = shifted - xp.log(xp.exp(shifted).sum(-1))[..., None]
    return -(targets * log_share).sum(-1).mean(-1), (xp.exp(log_share) - targets) / outputs.shape[-2]


def squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Squared error, mean over n and outputs (...,), and its derivative (..., n, outputs)."""
    away = outputs - targets
    return (away**2).mean(-1).mean(-1), 2.0 * away / (away.shape[-1] * away.shape[-2])
