"""Networks as the outer loop learns them: front, hidden layers, inner rates, weights' ranges; and images in motion."""

import contextlib
import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from memenv.arrays import floor_at
from memenv.few_shot.initialisations import (
    CHANNELS,
    HEAD_RANGE,
    HEAD_RATE,
    HIDDEN_RANGE,
    HIDDEN_RATE,
    LEAST,
    MEANS_FILL,
    PIXELS,
    Block,
    Initialisation,
)

BLOCKS = 4  # Vinyals et al., NeurIPS 2016 (arXiv 1606.04080), with strides as MAML has on Omniglot


class Encoder(nn.Module):
    """Images to features: blocks of 3 x 3 convolution with stride 2, batch norm and, between them, ReLU.

    28 x 28 pixels become 14, 7, 4, 2 on a side: 256 features, or the 64 channels' means. Features are of both signs
    and have a mean square of one. A ReLU after the last block, which is usual, costs half a point of accuracy.
    """

    def __init__(self, pooled: bool = False) -> None:
        """`pooled`: 64 features, else 256."""
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(*pair, 3, stride=2, padding=1, bias=False) for pair in pairwise([1] + [CHANNELS] * BLOCKS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(BLOCKS))
        self.pooled = pooled
        for convolution, _ in self.pairs():  # channels last are twice as fast on CPUs
            convolution.weight = nn.Parameter(convolution.weight.contiguous(memory_format=torch.channels_last))

    def forward(self, images: torch.Tensor, fast: bool = False) -> torch.Tensor:
        """images (n, 28, 28) in [0, 1] to float32 (n, features); `fast`: convolutions in bfloat16."""
        signal = images[:, None].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16) if fast else contextlib.nullcontext():
            for number, (convolution, norm) in enumerate(self.pairs()):
                signal = norm(convolution(torch.relu(signal) if number else signal))
        signal = signal.float()
        return unit(signal.mean((-2, -1)) if self.pooled else signal.flatten(1))

    def pairs(self) -> list[tuple[Any, Any]]:
        """Each block's convolution and batch norm."""
        return list(zip(self.convolutions, self.norms, strict=True))

    def take(self, blocks: tuple[Block, ...]) -> None:
        """Become deployed blocks: batch norms keep their biases and, as long as they do not train, nothing else."""
        with torch.no_grad():
            for (convolution, norm), block in zip(self.pairs(), blocks, strict=True):
                convolution.weight.copy_(torch.tensor(block.weight))
                norm.bias.copy_(torch.tensor(block.bias))
                norm.running_var.fill_(1.0 - norm.eps)

    def deployed(self) -> tuple[Block, ...]:
        """The blocks, of whose weights and biases the batch norms' running statistics are part."""
        blocks = []
        with torch.no_grad():
            for convolution, norm in self.pairs():
                gain = norm.weight / (norm.running_var + norm.eps).sqrt()
                weight = (convolution.weight * gain[:, None, None, None]).contiguous()
                blocks.append(Block(weight.numpy(), (norm.bias - gain * norm.running_mean).numpy()))
        return tuple(blocks)


class Pixels(nn.Module):
    """The front of a network without encoder: images to their means over 2 x 2 pixels, with a mean square of one."""

    def forward(self, images: torch.Tensor, fast: bool = False) -> torch.Tensor:
        """images (n, 28, 28) to (n, 196)."""
        return unit(nn.functional.avg_pool2d(images[:, None], 2).flatten(1))

    def deployed(self) -> tuple[Block, ...]:
        """No blocks."""
        return ()


def unit(signal: torch.Tensor) -> torch.Tensor:
    """(..., n) scaled to a mean square of one."""
    return signal / (signal.square().mean(-1, keepdim=True) + LEAST**2).sqrt()


class Network(nn.Module):
    """All that the outer loop can learn; rates and ranges as logarithms."""

    def __init__(self, front: Encoder | Pixels, sizes: tuple[int, ...], steps: int, means: bool = False) -> None:
        """`sizes` are the outputs of the hidden layers, `steps` those of the inner loop; `means`: heads of those."""
        super().__init__()
        self.front = front
        inputs = PIXELS**2 if isinstance(front, Pixels) else CHANNELS * (1 if front.pooled else 4)
        self.hidden = nn.ParameterList(
            torch.cat((torch.randn(rows, outputs) * (2.0 / rows) ** 0.5, torch.zeros(1, outputs)))
            for rows, outputs in pairwise((inputs, *sizes))
        )
        rates = [HIDDEN_RATE] * len(sizes) + [HEAD_RATE]
        ranges = [HIDDEN_RANGE * w.abs().max().item() for w in self.hidden] + [HEAD_RANGE]
        self.log_rates = nn.Parameter(torch.tensor(rates).log().repeat(steps, 1))
        self.log_ranges = nn.Parameter(torch.tensor(ranges).log())
        self.log_means = nn.Parameter(torch.tensor(MEANS_FILL * HEAD_RANGE).log()) if means else None
        self.log_gain = nn.Parameter(torch.zeros(()))  # of outputs in the outer loss: no class depends on it

    @classmethod
    def of(cls, init: Initialisation, steps: int, means: bool = False) -> "Network":
        """The network of an initialisation; further inner steps have the rates of its last one."""
        front = Encoder(init.pooled) if init.blocks else Pixels()
        if isinstance(front, Encoder):
            front.take(init.blocks)
        network = cls(front, tuple(w.shape[1] for w in init.hidden), steps, means)
        rates = init.rates[np.minimum(np.arange(steps), len(init.rates) - 1)]
        with torch.no_grad():
            if init.rates.any():
                network.log_rates.copy_(floor_at(torch.tensor(rates), 1e-6).log())
            for mine, given in zip(network.hidden, init.hidden, strict=True):
                mine.copy_(torch.tensor(given))
            network.log_ranges.copy_(torch.tensor(init.ranges).log())
            if network.log_means is not None:
                network.log_means.copy_(torch.tensor(init.means_gain).log())
        return network

    def fit_ranges(self) -> None:
        """Give the hidden weights, and class means, room again."""
        with torch.no_grad():
            for number, w in enumerate(self.hidden):
                self.log_ranges[number] = (HIDDEN_RANGE * w.abs().max()).log()
            if self.log_means is not None:
                self.log_ranges[-1] = self.log_means - math.log(MEANS_FILL)

    def initialisation(self, card: str = "{}", head_only: bool = False) -> Initialisation:
        """The network as it is deployed."""
        rates, ranges = (part.detach().double().exp().numpy() for part in (self.log_rates, self.log_ranges))
        gain = 0.0 if self.log_means is None else self.log_means.exp().item()
        if not len(rates):  # the outer loss's temperature is that of what may learn later
            rates, temperature = np.zeros((1, rates.shape[1])), self.log_gain.exp().item()
            gain, ranges[-1] = gain * temperature, ranges[-1] * temperature
        return Initialisation(
            blocks=self.front.deployed(),
            pooled=isinstance(self.front, Encoder) and self.front.pooled,
            hidden=tuple(w.detach().numpy().copy() for w in self.hidden),
            rates=np.where(np.arange(rates.shape[1]) < rates.shape[1] - 1, 0.0, rates) if head_only else rates,
            ranges=ranges,
            head="zeros" if self.log_means is None else "written",
            gain=gain,
            card=card,
        )


def random_move(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """images (n, 28, 28), each turned, sheared, scaled and shifted at random, by about a tenth at `strength` one."""
    count = len(images)
    turn, scale, shear, down, right = strength * torch.randn(5, count, generator=generator)
    cosine, sine = torch.cos(0.12 * turn), torch.sin(0.12 * turn)
    scale = torch.exp(0.08 * scale)
    rows = [
        torch.stack((scale * cosine, -sine + 0.1 * shear, 0.08 * down), -1),
        torch.stack((sine, scale * cosine, 0.08 * right), -1),
    ]
    size = [count, 1, *images.shape[1:]]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), size, align_corners=False)
    return nn.functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
