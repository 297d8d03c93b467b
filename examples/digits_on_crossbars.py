"""A network on crossbars: trained on handwritten digits, programmed, left alone for a day, programmed again.

The cells are phase-change memory, which drifts. What a day costs in accuracy, and what it costs to bring it back in
pulses, energy and time, is compared for incremental step pulses (ISPP), the best classical controller and the policy
that comes with memenv, each on the same chips. Needs scikit-learn: pip install 'memenv[digits]'.
"""

import importlib.util
import os
import sys

import numpy as np

from agents import load_policy
from agents.arrays.noise import ArrayNoise
from agents.arrays.writing import for_weights, fresh_array, write_array
from agents.policy import Policy
from agents.tuning import tune
from memenv import WriteVerify
from memenv.crossbars.crossbar import Crossbar
from memenv.crossbars.encoding import Encoding

if importlib.util.find_spec("sklearn") is None:
    print("skipped: scikit-learn is missing; pip install 'memenv[digits]'")
    sys.exit()

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

QUICK = "MEMENV_QUICK" in os.environ
CHIPS = 1 if QUICK else 10
DAY = 86400.0  # [s]

images, labels = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(images / 16.0, labels, test_size=0.4, random_state=0)
network = MLPClassifier((16 if QUICK else 48,), learning_rate_init=0.01, tol=1e-3, max_iter=400, random_state=0)
network.fit(x_train, y_train)
task = WriteVerify(device="pcm", tolerance=0.03, give_up=True)


class Layer:
    """A matrix as pairs of cells on an array of its own; the last row, driven by one, holds the biases."""

    def __init__(self, weights: np.ndarray, biases: np.ndarray, noise: ArrayNoise) -> None:
        self.weights, self.noise = np.vstack([weights, biases]), noise
        self.encoding = Encoding.of(self.weights, task.device)
        columns = self.encoding.columns(len(biases))
        self.array = Crossbar(device=task.device, rows=len(self.weights), cols=columns, writing="rows")
        self.state = fresh_array(self.array, noise)

    def program(self, policy: Policy) -> None:
        aim = for_weights(self.weights, self.encoding)
        written = write_array(self.array, task, policy, self.state, aim, self.noise)
        self.state, self.order = written.state, written.mapping.order

    def rest(self, seconds: float) -> None:
        self.state = self.array.rest(self.state, seconds)

    def product(self, x: np.ndarray) -> np.ndarray:
        inputs = np.hstack([x, np.ones((len(x), 1))])
        volts = task.device.read.voltage / inputs.max()  # [V] of an input of one
        noise = (
            self.noise.read.standard_normal(inputs.shape),
            self.noise.read.standard_normal((len(x), self.array.cols)),
        )
        return self.encoding.decode(self.array.product(self.state, volts * inputs, noise), self.order) / volts


def accuracy(hidden: Layer, outputs: Layer) -> float:
    return float(np.mean(outputs.product(np.maximum(hidden.product(x_test), 0.0)).argmax(axis=1) == y_test))


def spent(layers: list[Layer]) -> np.ndarray:
    """Pulses and energy [J] per cell, time cell by cell and a row at a time [s] so far."""
    cells = sum(layer.state.pulses.size for layer in layers)
    states = [layer.state for layer in layers]
    return np.sum([(s.pulses.sum() / cells, s.energy.sum() / cells, s.sequential, s.latency) for s in states], axis=0)


def life(policy: Policy, chip: int) -> list[np.ndarray]:
    """Accuracy, pulses, energy and times of each step in the life of a chip."""
    noises = [ArrayNoise.of(chip, number) for number in range(2)]
    layers = list(map(Layer, network.coefs_, network.intercepts_, noises))
    steps, before = [], spent(layers)
    for reprogram in (True, False, True, False):
        for layer in layers:
            if reprogram:
                layer.program(policy)
            else:
                layer.rest(DAY)
        steps.append(np.array([accuracy(*layers), *(spent(layers) - before)]))
        before = spent(layers)
    return steps


print(f"accuracy of the ideal network: {network.score(x_test, y_test):.1%}\n")
print(
    "| policy | step | accuracy [%] | pulses/cell | energy/cell [pJ] | time, cell by cell [ms] | a row at a time [ms] |"
)
print("| --- | --- | --- | --- | --- | --- | --- |")
for name in ("ispp", "history", "generalist"):
    policy = tune(load_policy(name, task), trials=2 if QUICK else 60).policy
    lives = np.array([life(policy, chip) for chip in range(CHIPS)])  # (chips, steps, figures)
    for step, means, spread in zip(
        ("programmed", "a day later", "reprogrammed", "a day later"), lives.mean(axis=0), lives.std(axis=0), strict=True
    ):
        share, pulses, energy, alone, rows = means
        costs = f"{pulses:.2f} | {energy * 1e12:.2f} | {alone * 1e3:.1f} | {rows * 1e3:.2f}" if pulses else " | | |"
        print(f"| {name} | {step} | {100 * share:.1f} ± {100 * spread[0]:.1f} | {costs} |")
