"""A gated recurrent network with one text for NumPy and torch: trained as tensors, shipped and run as arrays."""

from typing import NamedTuple

import numpy as np

from memenv.arrays import Array, namespace


class Weights(NamedTuple):
    """A GRU (Cho et al. 2014, arXiv:1406.1078) between two dense layers; without memory the gates are not used."""

    w_in: Array  # (features, hidden)
    b_in: Array  # (hidden,)
    w_gates: Array  # (2 hidden, 2 hidden) update and reset gates from [input, memory]
    b_gates: Array  # (2 hidden,)
    w_new: Array  # (2 hidden, hidden) candidate from [input, gated memory]
    b_new: Array  # (hidden,)
    w_mix: Array  # (2 hidden, hidden) from [input, memory]
    b_mix: Array  # (hidden,)
    w_out: Array  # (hidden, outputs)
    b_out: Array  # (outputs,)


def initial_weights(rng: np.random.Generator, features: int, hidden: int, outputs: int) -> Weights:
    """Random weights: Glorot's variance, zero biases, an update gate that leans to keeping, small outputs."""

    def dense(rows: int, columns: int, gain: float = 1.0) -> Array:
        return gain * rng.standard_normal((rows, columns)) * np.sqrt(2.0 / (rows + columns))

    return Weights(
        w_in=dense(features, hidden),
        b_in=np.zeros(hidden),
        w_gates=dense(2 * hidden, 2 * hidden),
        b_gates=np.concatenate([-np.ones(hidden), np.zeros(hidden)]),
        w_new=dense(2 * hidden, hidden),
        b_new=np.zeros(hidden),
        w_mix=dense(2 * hidden, hidden),
        b_mix=np.zeros(hidden),
        w_out=dense(hidden, outputs, 0.1),
        b_out=np.zeros(outputs),
    )


def forward(weights: Weights, features: Array, memory: Array | None) -> tuple[Array, Array | None]:
    """Outputs (cells, outputs) and the next memory (cells, hidden); a `memory` of None runs the memoryless network."""
    xp = namespace(features)
    join = xp.cat if hasattr(xp, "cat") else np.concatenate
    x = xp.tanh(features @ weights.w_in + weights.b_in)
    hidden = weights.b_in.shape[0]
    if memory is None:
        mixed = x @ weights.w_mix[:hidden]
    else:
        with np.errstate(over="ignore"):  # of a gate that is shut
            gates = 1.0 / (1.0 + xp.exp(-(join([x, memory], -1) @ weights.w_gates + weights.b_gates)))
        update, reset = gates[:, :hidden], gates[:, hidden:]
        candidate = xp.tanh(join([x, reset * memory], -1) @ weights.w_new + weights.b_new)
        memory = memory + update * (candidate - memory)
        mixed = join([x, memory], -1) @ weights.w_mix
    return xp.tanh(mixed + weights.b_mix) @ weights.w_out + weights.b_out, memory
