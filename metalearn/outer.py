"""The outer loop's loss: what an initialisation makes of new tasks after the inner loop, ideal or on chips."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, one_hot

from memenv.arrays import tree_map
from memenv.few_shot.chips import Draws, Hardware, chip_outputs, fresh_chip, rewrite, write
from memenv.few_shot.compiled_chips import fits
from memenv.few_shot.episodes import Episodes
from memenv.few_shot.heads import class_means, column_offsets, head_inputs, less_offsets
from memenv.learning.step import matrix, rest
from metalearn.adaptation import ideal, ideal_outputs, on_chip
from metalearn.compiled_chips import chips_of, learning
from metalearn.models import Network

PROTO = "proto"
METHODS = ("maml", "fomaml", "anil", "reptile", PROTO)


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """The outer loop's way to let a network learn a task."""

    method: str = "maml"  # derivatives through all of it; fomaml: with constant gradients; anil: the head alone learns;
    # reptile: no derivatives, the initialisation follows where learning went; proto: the head is written with the
    # support's class means and learns, as all layers do, if there are inner steps
    hardware: Hardware | None = None  # None: ideal updates
    rest: float = 0.0  # [s] from the last step to the queries
    engine: str = "auto"  # "numpy", "numba", or where `memenv.few_shot.compiled_chips.fits` says so

    @property
    def first_order(self) -> bool:
        """True if derivatives regard the inner gradients as constant."""
        return self.method == "fomaml"


def outer_loss(
    network: Network, support: torch.Tensor, query: torch.Tensor, episodes: Episodes, loop: InnerLoop, seed: int
) -> tuple[torch.Tensor, float]:
    """The loss whose gradient the outer loop follows, and the accuracy on the queries.

    Args:
        network: what learns.
        support: (tasks, n, features) what its front makes of the support.
        query: (tasks, m, features).
        episodes: their labels.
        loop: the inner loop.
        seed: of chips and noise.
    """
    ways = int(episodes.support_y.max()) + 1
    labels, answers = torch.tensor(episodes.support_y), torch.tensor(episodes.query_y)
    if loop.method == "reptile":  # it has no queries: learns from all examples
        shown, labels = torch.cat((support, query), 1).detach(), torch.cat((labels, answers), 1)
    else:
        shown = support
    targets = one_hot(labels, ways).to(support.dtype)
    with torch.set_grad_enabled(loop.method != "reptile"):
        learn = _on_ideal if loop.hardware is None else _on_chips
        weights, outputs = learn(network, shown, targets, query, loop, seed)
    accuracy = (outputs.argmax(-1) == answers).float().mean().item()
    if loop.method == "reptile":
        squares = [
            (w - end.detach()).square().sum((-2, -1)).mean() for w, end in zip(network.hidden, weights, strict=False)
        ]
        return 0.5 * torch.stack(squares).sum(), accuracy
    return cross_entropy(network.log_gain.exp() * outputs.flatten(0, 1), answers.flatten()), accuracy


def _initial(network: Network, tasks: int, ways: int, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Every task's weights (tasks, rows, outputs): those of the hidden layers, and a head of zeros."""
    rows = network.hidden[-1].shape[1] if len(network.hidden) else like.shape[-1]
    weights = (*network.hidden, torch.zeros(rows + 1, ways, dtype=like.dtype))
    return tuple(w.to(like.dtype).expand(tasks, *w.shape) for w in weights)


def _rates(network: Network, loop: InnerLoop) -> list[list[torch.Tensor | float]]:
    kept = len(network.hidden) if loop.method == "anil" else 0
    return [[*[0.0] * kept, *step.exp()[kept:].unbind()] for step in network.log_rates]


Learned = tuple[tuple[torch.Tensor, ...], torch.Tensor]  # weights after learning, and what they make of the queries


def _on_ideal(
    network: Network, x: torch.Tensor, targets: torch.Tensor, query: torch.Tensor, loop: InnerLoop, seed: int
) -> Learned:
    init = _initial(network, len(x), targets.shape[-1], x)
    init, _ = _with_means(network, init, x, targets, ideal_outputs, lambda _, means: (means, None))
    end = last(init, ideal(init, x, targets, _rates(network, loop), loop.first_order))
    return end, ideal_outputs(end, query)


def _on_chips(
    network: Network, x: torch.Tensor, targets: torch.Tensor, query: torch.Tensor, loop: InnerLoop, seed: int
) -> Learned:
    hardware, dtype = loop.hardware, x.dtype
    assert hardware is not None
    generator = torch.Generator().manual_seed(seed)
    draws = Draws(_drawing(torch.randn, generator, dtype), _drawing(torch.rand, generator, dtype))
    init, ranges = _initial(network, len(x), targets.shape[-1], x), network.log_ranges.exp().to(dtype).unbind()
    possible = dtype == torch.float32 and not loop.first_order
    if possible and fits(hardware, len(x), sum(w[0].numel() for w in init), loop.engine):
        chips, rates = chips_of(hardware, seed), _rates(network, loop)
        written, _ = chips.written(init, ranges)
        outputs = partial(chips.outputs, draws=draws)
        written, offsets = _with_means(network, written, x, targets, outputs, chips.rewritten)
        weights = last(written, learning(chips, written, x, targets, rates, draws, less_offsets(offsets)))
        used = [chips.rested(layer, loop.rest) for layer in weights] if loop.rest else weights
        return tuple(layer.read(1).weights for layer in weights), chips.outputs(used, query, draws) - offsets
    sizes = (x.shape[-1], *(w.shape[-1] for w in init))
    chip = fresh_chip(hardware, np.random.default_rng(seed), sizes, len(x))
    chip = tree_map(lambda leaf: torch.tensor(leaf, dtype=dtype) if isinstance(leaf, np.ndarray) else leaf, chip)
    layers, _ = write(hardware, chip, init, ranges, draws)
    outputs = partial(chip_outputs, hardware, draws=draws)
    layers, offsets = _with_means(network, layers, x, targets, outputs, partial(rewrite, hardware, draws=draws))
    how = loop.first_order, less_offsets(offsets)
    end = last(layers, on_chip(hardware, layers, x, targets, _rates(network, loop), draws, *how))
    used = rest(end, loop.rest) if loop.rest else end
    return tuple(matrix(layer).weights for layer in end), chip_outputs(hardware, used, query, draws) - offsets


def _with_means(
    network: Network,
    layers: tuple[Any, ...],
    x: torch.Tensor,
    targets: torch.Tensor,
    outputs: Callable[..., torch.Tensor],
    rewritten: Callable[..., tuple[Any, Any]],
) -> tuple[tuple[Any, ...], Any]:
    """The layers, with the support's class means for a head if the network has such heads, and that head's offsets."""
    if network.log_means is None:
        return layers, 0.0
    features = head_inputs(outputs, layers[:-1], x)
    means = class_means(features, targets, network.log_means.exp())
    head, _ = rewritten(layers[-1], means)
    return (*layers[:-1], head), column_offsets(outputs((head,), features), features, means)


def last(layers: tuple[Any, ...], steps: Iterable[Any]) -> tuple[Any, ...]:
    """The layers after the last step, if there is one."""
    for step in steps:
        layers = step.layers
    return layers


def _drawing(
    function: Callable[..., torch.Tensor], generator: torch.Generator, dtype: torch.dtype
) -> Callable[[tuple[int, ...]], torch.Tensor]:
    return lambda shape: function(shape, generator=generator, dtype=dtype)
