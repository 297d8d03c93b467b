"""Simulated answers of an array of gas sensors to invented odours: a task with sensors that needs no download.

An odour is a mixture of up to three of forty substances. It is led over the array for a third of the time and then
purged. A substance gathers on sensors and leaves them at a rate of its own (first order), and each sensor answers the
sum of what is on it, weighted by its own sensitivities, by a power law, as resistances of metal oxides do (Clifford and
Tuma, Sensors and Actuators 3, 1982). Measurements of one odour differ in its concentration, a little in its mixture, in
when it begins, in the sensors' gains, which humidity moves together, in their slow drift, and by noise.
"""

import numpy as np

from memenv.few_shot.characters import SIDE, Characters, check_counts

TRAINING_ODOURS, TEST_ODOURS = (0, 800), (1, 200)  # seed and number
SUBSTANCES, MIXED = 40, 3
TIME = np.linspace(0.0, 1.0, SIDE)  # [measurements], 28 samples
BEGIN, EXPOSED = 0.1, 0.33  # [measurements] when the odour comes, and for how long
FULL = 3.0  # logarithm of a resistance's ratio that is shown as 1


def odours(seed: int, classes: int, instances: int = 20) -> Characters:
    """A set of odours, all by one array of 28 sensors; an image has a row for each sensor and a column for each sample.

    Fewer classes of the same seed are the first ones of more, another seed has others.

    Args:
        seed: >= 0, determines which odours, and their measurements.
        classes: number of odours.
        instances: measurements of each.

    Raises:
        ValueError: fewer than one class or instance.
    """
    check_counts(classes, instances)
    array = np.random.default_rng(0)
    sensitivity = np.exp(array.normal(0.0, 1.0, (SIDE, SUBSTANCES)))
    power = array.uniform(0.3, 0.8, (SIDE, 1))
    delay = np.exp(array.uniform(np.log(0.03), np.log(0.5), SUBSTANCES))  # [measurements]
    images = [_measured(np.random.default_rng([seed, k]), instances, sensitivity, power, delay) for k in range(classes)]
    return Characters(
        images=np.stack(images), names=tuple(f"odour{k:04d}" for k in range(classes)), alphabets=("",) * classes
    )


def _measured(
    rng: np.random.Generator, instances: int, sensitivity: np.ndarray, power: np.ndarray, delay: np.ndarray
) -> np.ndarray:
    """Measurements uint8 (instances, 28, 28) of a new odour."""
    parts = rng.choice(SUBSTANCES, MIXED, replace=False)
    share = rng.dirichlet(np.ones(MIXED))
    each = (instances, 1, 1)
    amount = share[:, None] * np.exp(rng.normal(0.0, 0.5, each) + rng.normal(0.0, 0.3, (instances, MIXED, 1)))
    since = TIME - BEGIN - rng.normal(0.0, 0.03, each)  # (instances, 1, samples) [measurements]
    tau = delay[parts, None]
    gathered = -np.expm1(-np.clip(since, 0.0, EXPOSED) / tau) * np.exp(-np.maximum(since - EXPOSED, 0.0) / tau)
    answer = np.log1p((3.0 * sensitivity[:, parts] @ (amount * gathered)) ** power)  # (instances, sensors, samples)
    gain = np.exp(rng.normal(0.0, 0.1, each) + rng.normal(0.0, 0.15, (instances, SIDE, 1)))
    drift = rng.normal(0.0, 0.2, (instances, SIDE, 1)) * TIME
    seen = gain * answer + drift + rng.normal(0.0, 0.05, (instances, SIDE, SIDE))
    shown: np.ndarray = np.rint(255 * np.clip(seen / FULL, 0.0, 1.0)).astype(np.uint8)
    return shown
