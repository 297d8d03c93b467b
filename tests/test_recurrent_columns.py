"""The network on columns: what it answers and remembers is what the text of `agents.predictor.gru` does."""

import numpy as np
import pytest

from agents.predictor.gru import Weights, forward, initial_weights
from agents.predictor.gru_columns import BLOCK, ColumnNetwork

FEATURES, HIDDEN, OUTPUTS = 5, 12, 3


@pytest.fixture
def weights(rng) -> Weights:
    """Random ones, of which the outputs are not small and the biases not zero."""
    drawn = initial_weights(rng, FEATURES, HIDDEN, OUTPUTS)
    drawn = drawn._replace(w_out=10 * drawn.w_out)
    return Weights(*(part + 0.3 * rng.standard_normal(part.shape) for part in drawn))


@pytest.mark.parametrize("cells", [1, BLOCK, 2 * BLOCK + 7])
def test_three_steps_are_those_of_the_text(rng, weights, cells):
    network, memory = ColumnNetwork.of(weights), np.zeros((HIDDEN, cells), np.float32)
    outputs, expected_memory = np.full((OUTPUTS, cells), np.nan, np.float32), np.zeros((cells, HIDDEN))
    for number in range(3):
        features = rng.standard_normal((FEATURES, cells)).astype(np.float32)
        network.forward(features, memory, outputs, empty=number == 0)
        expected, expected_memory = forward(weights, features.T.astype(float), expected_memory)
        np.testing.assert_allclose(outputs, expected.T, atol=2e-5)
        np.testing.assert_allclose(memory, expected_memory.T, atol=5e-6)


def test_the_memoryless_network_is_that_of_the_text(rng, weights):
    features = rng.standard_normal((FEATURES, BLOCK + 3)).astype(np.float32)
    outputs = np.empty((OUTPUTS, BLOCK + 3), np.float32)
    ColumnNetwork.of(weights).forward(features, None, outputs, empty=False)
    np.testing.assert_allclose(outputs, forward(weights, features.T.astype(float), None)[0].T, atol=2e-5)


def test_gates_that_are_shut_or_open_wide_do_not_overflow(rng, weights):
    features = (1e4 * rng.standard_normal((FEATURES, 50))).astype(np.float32)
    wide = ColumnNetwork.of(weights._replace(w_gates=1e6 * weights.w_gates))
    memory, outputs = np.zeros((HIDDEN, 50), np.float32), np.empty((OUTPUTS, 50), np.float32)
    for number in range(2):
        wide.forward(features, memory, outputs, empty=number == 0)
    assert np.isfinite(outputs).all() and (np.abs(memory) <= 1).all()
