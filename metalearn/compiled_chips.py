"""Compiled chips for torch: the derivatives of what happens to the cells of a layer are a loop, too.

From the same text as `adapt.on_chip` with tensors: some hundred passes over all cells become one, and neither noise nor
intermediate results are kept for the derivatives.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from memenv.compiler.counter_rng import Key
from memenv.compiler.runtime import run
from memenv.few_shot.chips import Draws, Hardware
from memenv.few_shot.compiled_chips import Chips, Weights
from memenv.learning.kernels import Kept, Program, Shown, vector_jacobian_product
from memenv.learning.step import Step
from metalearn.adaptation import Loss, Rates, by_marginal_pulse, straight_through


class _Run(torch.autograd.Function):
    """A program on tensors; what it keeps is NumPy's."""

    @staticmethod
    def forward(ctx: Any, program: Program, key: Key, rest: Any, *moving: torch.Tensor) -> tuple[Any, ...]:
        """The parts that it shows, and that it keeps."""
        ctx.program, ctx.key, ctx.rest = program, key, rest
        ctx.save_for_backward(*moving)
        shown, kept = _run(program, key, moving, rest)
        return *(torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in shown), kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *towards: torch.Tensor | None) -> tuple[Any, ...]:
        """Derivatives of what moves, by the same noise."""
        slopes = tuple(0.0 if part is None else part.contiguous().numpy() for part in towards[:-1])
        moved = _run(vector_jacobian_product(ctx.program), ctx.key, ctx.saved_tensors, ctx.rest, slopes)
        return None, None, None, *map(torch.from_numpy, moved)


def _run(program: Any, key: Key, moving: tuple[torch.Tensor, ...], *rest: Any) -> Any:
    arrays = tuple(part.detach().contiguous().numpy() for part in moving)
    return run(program, key, (len(arrays[0]),), (arrays, *rest), None, torch.get_num_threads(), False)


def _by_torch(program: Program, key: Key, rest: Any, moving: tuple[torch.Tensor, ...]) -> tuple[Shown, Kept]:
    *shown, kept = _Run.apply(program, key, rest, *moving)
    return Shown(*shown), kept


def chips_of(hardware: Hardware, seed: int) -> Chips:
    """Chips that take tensors."""
    return Chips(hardware, seed, _by_torch, torch.get_num_threads())


def learning(
    chips: Chips,
    weights: tuple[Weights, ...],
    x: torch.Tensor,
    targets: torch.Tensor,
    rates: Rates,
    draws: Draws,
    loss_of: Loss,
) -> Iterator[Step]:
    """The steps of the inner loop; arguments and derivatives as of `adapt.on_chip`."""
    how = {"rounding": straight_through, "give": by_marginal_pulse, "loss": loss_of}
    return chips.steps(weights, x, targets, rates, draws, **how)
