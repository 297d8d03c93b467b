"""Handwritten-like characters of our own: invented strokes, drawn again and again with jitter; no download, no torch.

A character is one to four strokes. A stroke is a walk of the pen that starts rightwards or down, mostly, and goes
straight on or turns steadily, the other way halfway in an S, and now and then breaks off into a corner; most strokes
start on an earlier one or cross it. Habits (how round, how broken, how many strokes) are those of an alphabet. An
instance moves each stroke and its points, then the whole, and changes the pen. Sizes of jitter and pen are chosen such
that ink, place, spread and the accuracy of nearest neighbours come out near those of Omniglot at 28 x 28.
"""

from typing import NamedTuple

import numpy as np

from memenv.few_shot.characters import SIDE, Characters, check_counts

TRAINING_GLYPHS, TEST_GLYPHS = (0, 1200), (1, 423)  # seed and number
STROKES, POINTS = 4, 9  # most strokes of a character; control points of a stroke
ALPHABET = 25  # characters of an alphabet
HEADINGS = np.pi / 4 * np.array([0, 0, 0, 2, 2, 2, 1, -1, 3])  # [rad] that a stroke starts with, from x towards y
SAMPLES = 64  # pieces that a stroke is rendered in
BATCH = 100  # glyphs rendered at once: few, to stay in the cache
PIXELS = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2  # [pixels] their middles, from the middle of the image


class Strokes(NamedTuple):
    """Characters as the pen draws them; points are (x to the right, y down) [pixels] from the middle of the image."""

    points: np.ndarray  # (characters, STROKES, POINTS, 2) control points
    drawn: np.ndarray  # (characters, STROKES) whether the stroke is there; if not, its points do not matter


def glyphs(seed: int, classes: int = 1000, instances: int = 20) -> Characters:
    """A set of invented characters; fewer classes of the same seed are the first ones of more, another seed has others.

    Args:
        seed: >= 0, determines everything.
        classes: number of characters.
        instances: drawings of each.

    Raises:
        ValueError: fewer than one class or instance.
    """
    check_counts(classes, instances)
    parts = []
    for alphabet in range(-(-classes // ALPHABET)):
        rng = np.random.default_rng([seed, alphabet])
        parts.append(draw(rng, invent(rng), instances))
    return Characters(
        images=np.concatenate(parts)[:classes],
        names=tuple(f"glyph{k:04d}" for k in range(classes)),
        alphabets=tuple(f"alphabet{k // ALPHABET:02d}" for k in range(classes)),
    )


def invent(rng: np.random.Generator, characters: int = ALPHABET) -> Strokes:
    """The characters of a new alphabet."""
    drawn = np.arange(STROKES) <= rng.binomial(STROKES - 1, rng.uniform(0.3, 0.75), characters)[:, None]
    points = _walks(rng, lone=~drawn[:, 1:2])
    everyone = np.arange(characters)
    for k in range(1, STROKES):
        earlier, place = rng.integers(k, size=characters), rng.integers(POINTS, size=characters)
        own = rng.choice([0, POINTS // 2, POINTS - 1], size=characters, p=[0.6, 0.3, 0.1])
        apart = (rng.random((characters, 1)) < 0.35) * rng.normal(0.0, 0.3, (characters, 2))
        points[:, k] += (points[everyone, earlier, place] + apart - points[everyone, k, own])[:, None]
    return Strokes(_fitted(rng, points, drawn), drawn)


def _walks(rng: np.random.Generator, lone: np.ndarray) -> np.ndarray:
    """Control points (characters, STROKES, POINTS, 2) of strokes about one unit long that start at the origin.

    Args:
        rng: source of everything.
        lone: (characters, 1) whether the character has but one stroke: that one is never straight.
    """
    strokes = (len(lone), STROKES)
    steps = (*strokes, POINTS - 1)
    straight = (rng.random(strokes) < rng.uniform(0.2, 0.6)) & ~lone
    least, most = np.where(lone, 0.8, 0.2), rng.uniform(1.0, 2.0)
    turn = ~straight * rng.choice([-np.pi, np.pi], strokes) * rng.uniform(least, most, strokes)  # [rad] in all
    back = (
        np.arange(POINTS - 1) >= rng.integers(3, 3 * POINTS, strokes)[..., None]
    )  # the other way from here, if at all
    corner = rng.choice([-1.0, 1.0], steps) * rng.uniform(1.2, 2.4, steps)  # [rad]
    often = ~straight * np.where(lone, 2.0, 1.0) * rng.uniform(0.02, 0.12)
    change = np.where(back, -1.5, 1.0) * turn[..., None] / (POINTS - 1) + corner * (
        rng.random(steps) < often[..., None]
    )
    start = rng.permuted(np.tile(HEADINGS, (len(lone), 1)), axis=1)[:, :STROKES] + rng.normal(0.0, 0.1, strokes)
    heading = (start - 0.35 * turn)[..., None] + np.cumsum(change, axis=-1)
    length = rng.uniform(0.5, 1.0, strokes) * np.where(straight, 1.0, 1.2 + 0.15 * np.abs(turn))
    step = length[..., None] / (POINTS - 1) * rng.uniform(0.8, 1.2, steps)
    moves = step[..., None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    return np.concatenate([np.zeros((*strokes, 1, 2)), np.cumsum(moves, axis=2)], axis=2)


def _fitted(rng: np.random.Generator, points: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The points moved to the middle of the image and scaled to about 18 pixels; flat characters are made less flat."""
    there = drawn[..., None, None]
    low = np.where(there, points, np.inf).min(axis=(1, 2), keepdims=True)
    high = np.where(there, points, -np.inf).max(axis=(1, 2), keepdims=True)
    mean = points.mean(axis=(1, 2), keepdims=True, where=there)
    longer = (high - low).max(axis=-1, keepdims=True)
    size = rng.normal(17.5, 2.5, (len(points), 1, 1, 1)).clip(10.0, 23.0)
    scale = size / longer * np.maximum((high - low) / longer, 0.2) ** -0.4
    return (points - 0.25 * (low + high) - 0.5 * mean) * scale + rng.normal(-0.9, 0.5, (len(points), 1, 1, 2))


def draw(rng: np.random.Generator, strokes: Strokes, instances: int) -> np.ndarray:
    """Each character drawn `instances` times by unsteady hands; uint8 (characters, instances, 28, 28), 255 = ink."""
    shape = (len(strokes.points), instances)
    points = strokes.points[:, None]  # (characters, instances, STROKES, POINTS, 2)
    middle = points.mean(axis=3, keepdims=True)
    deform = np.eye(2) + rng.normal(0.0, 0.15, (*shape, STROKES, 2, 2))
    points = middle + (points - middle) @ deform + rng.normal(0.0, 0.8, (*shape, STROKES, 1, 2))
    points = points + rng.normal(0.0, 0.25, (*shape, STROKES, POINTS, 2))
    turn, shear = rng.normal(0.0, 0.08, shape), rng.normal(0.0, 0.1, shape)
    wide, tall = np.exp(rng.normal(0.0, 0.13, (2, *shape)))
    to_x = np.stack([wide * np.cos(turn), wide * (shear - np.sin(turn))], axis=-1)
    to_y = np.stack([tall * np.sin(turn), tall * np.cos(turn)], axis=-1)
    points = points @ np.stack([to_x, to_y], axis=-1)[:, :, None] + rng.normal(0.0, 1.3, (*shape, 1, 1, 2))
    points = points.reshape(-1, STROKES, POINTS, 2).astype(np.float32)
    drawn = np.repeat(strokes.drawn, instances, axis=0)
    pen = 0.71 * np.exp(rng.normal(0.0, 0.08, len(points))).astype(np.float32)
    images = [render(*(part[k : k + BATCH] for part in (points, drawn, pen))) for k in range(0, len(points), BATCH)]
    return np.concatenate(images).reshape(*shape, SIDE, SIDE)


def render(points: np.ndarray, drawn: np.ndarray, pen: np.ndarray) -> np.ndarray:
    """Images of strokes; uint8 (n, 28, 28), 255 = ink.

    A Gaussian pen is led along the strokes; a pixel sums it up over their length, 1 on a long straight line, and a ramp
    makes that ink with soft edges. The Gaussian is a product of one in x and one in y, which makes a glyph one matrix
    product, 28 x pieces by pieces x 28.

    Args:
        points: (n, STROKES, POINTS, 2) float32 [pixels] from the middle of the image.
        drawn: (n, STROKES) bool, whether the stroke is there.
        pen: (n,) float32 [pixels] standard deviation of the pen.
    """
    line = SPLINE @ points  # (n, STROKES, SAMPLES + 1, 2)
    middle = 0.5 * (line[:, :, 1:] + line[:, :, :-1]).reshape(len(points), -1, 2, 1)
    moves = np.diff(line, axis=2)
    length = (np.hypot(moves[..., 0], moves[..., 1]) * drawn[..., None]).reshape(len(points), -1, 1)
    pen = pen[:, None, None]
    profile = np.exp(-0.5 * np.square((middle - PIXELS) / pen[..., None]))  # (n, pieces, 2, 28)
    weight = length / (np.float32(np.sqrt(2 * np.pi)) * pen)
    total = (weight * profile[:, :, 1]).swapaxes(1, 2) @ profile[:, :, 0]
    return np.rint(255 * np.clip(1.25 * total - 0.2, 0.0, 1.0)).astype(np.uint8)


def _spline() -> np.ndarray:
    """Places on a quadratic B-spline from its first to its last point; float32 (SAMPLES + 1, POINTS), rows sum to 1."""
    pieces = POINTS - 2
    knots = np.concatenate([np.zeros(2), np.arange(pieces + 1.0), np.full(2, pieces)])
    share = np.linspace(0.0, 1.0, SAMPLES + 1)
    share = share - np.sin(2 * np.pi * share) / (6 * np.pi)  # denser at the ends, where the spline runs faster
    at = np.minimum(pieces * share, pieces * (1 - 1e-12))[:, None]
    basis = ((knots[:-1] <= at) & (at < knots[1:])).astype(float)
    for degree in (1, 2):
        span = np.maximum(knots[degree:] - knots[:-degree], 1e-12)
        rise = (at - knots[:-degree]) / span
        basis = rise[:, :-1] * basis[:, :-1] + (1 - rise[:, 1:]) * basis[:, 1:]
    return basis.astype(np.float32)


SPLINE = _spline()
