"""The network of `agents.predictor.gru` for bulk programming: single precision, in place, a column for each cell.

The time should go into matrix products, which the BLAS of NumPy does near the processor's limit. So what lies between
them is taken by blocks of cells that the second cache holds; inputs, a one and the memory lie under each other, so that
no product has anything to join or a bias to add; sigmoids are (1 + tanh(z / 2)) / 2, with their factors in the weights;
and cells that have no memory yet skip what would be multiplied with it.
"""

from dataclasses import dataclass

import numpy as np

from agents.predictor.gru import Weights

BLOCK = 512  # cells that go through the layers together


@dataclass(frozen=True, eq=False)
class ColumnNetwork:
    """The weights, transposed; those of the gates and of the rest of the memory are from [input, 1, memory]."""

    w_in: np.ndarray  # (hidden, features)
    b_in: np.ndarray  # (hidden, 1)
    w_gates: np.ndarray  # (2 hidden, 2 hidden + 1), halved
    w_new: np.ndarray  # (hidden, 2 hidden + 1), those of the memory halved
    w_mix: np.ndarray  # (hidden, 2 hidden + 1)
    w_out: np.ndarray  # (outputs, hidden)
    b_out: np.ndarray  # (outputs, 1)

    @staticmethod
    def of(weights: Weights) -> "ColumnNetwork":
        """Weights in this form."""
        hidden = len(weights.b_in)

        def single(matrix: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(matrix.T, np.float32)

        def joined(matrix: np.ndarray, bias: np.ndarray, of_memory: float = 1.0) -> np.ndarray:
            return single(np.concatenate([matrix[:hidden], bias[None], of_memory * matrix[hidden:]]))

        return ColumnNetwork(
            w_in=single(weights.w_in),
            b_in=single(weights.b_in[None]),
            w_gates=joined(0.5 * weights.w_gates, 0.5 * weights.b_gates),
            w_new=joined(weights.w_new, weights.b_new, 0.5),
            w_mix=joined(weights.w_mix, weights.b_mix),
            w_out=single(weights.w_out),
            b_out=single(weights.b_out[None]),
        )

    def forward(self, features: np.ndarray, memory: np.ndarray | None, outputs: np.ndarray, empty: bool) -> None:
        """From `features` (features, cells) fills `outputs` (outputs, cells) and renews `memory` (hidden, cells).

        All are float32. A `memory` of None runs the memoryless network; what an `empty` one holds does not matter.
        """
        hidden = len(self.b_in)
        work = np.empty((5 * hidden + 1, BLOCK), np.float32)
        for begin in range(0, features.shape[1], BLOCK):
            rows = slice(begin, begin + BLOCK)
            inputs = features[:, rows]
            joined, gates, new = np.split(work[:, : inputs.shape[1]], (2 * hidden + 1, 4 * hidden + 1))
            x, joined[hidden] = joined[:hidden], 1.0
            _layer(self.w_in, inputs, x, self.b_in)
            if memory is None:
                joined = joined[: hidden + 1]
            else:
                self._remember(joined, memory[:, rows], gates, new, empty)
            _layer(self.w_mix[:, : len(joined)], joined, new)
            np.add(self.w_out @ new, self.b_out, out=outputs[:, rows])

    def _remember(
        self, joined: np.ndarray, memory: np.ndarray, gates: np.ndarray, new: np.ndarray, empty: bool
    ) -> None:
        """Renews the memory (hidden, cells), and copies it into its place in `joined` (2 hidden + 1, cells).

        What `gates` (2 hidden, cells) and `new` (hidden, cells) hold does not matter.
        """
        hidden = len(new)
        update, reset, known, carried = gates[:hidden], gates[hidden:], joined, joined[hidden + 1 :]
        if empty:
            gates, known = update, joined[: hidden + 1]
        else:
            carried[:] = memory
        _layer(self.w_gates[: len(gates), : len(known)], known, gates)
        gates += 1.0
        if not empty:
            carried *= reset
        _layer(self.w_new[:, : len(known)], known, new)
        if not empty:
            new -= memory
        new *= update
        new *= 0.5
        if empty:
            memory[:] = new
        else:
            memory += new
        carried[:] = memory


def _layer(weights: np.ndarray, inputs: np.ndarray, out: np.ndarray, bias: np.ndarray | None = None) -> None:
    """tanh(weights @ inputs + bias)."""
    np.matmul(weights, inputs, out=out)
    if bias is not None:
        out += bias
    np.tanh(out, out=out)
