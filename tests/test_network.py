"""Initialisations and the networks that yield them: the same front twice, files, and what is asked of bad ones."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from memenv.few_shot.characters import Characters
from memenv.few_shot.episodes import draw
from memenv.few_shot.initialisations import Block, Initialisation, load_initialisation, rotations, shipped
from metalearn.models import Encoder, Network, Pixels, random_move
from metalearn.tasks import classification


@pytest.fixture
def encoder() -> Encoder:
    """Batch norms that have seen something."""
    torch.manual_seed(0)
    encoder = Encoder()
    with torch.no_grad():
        for _, norm in encoder.pairs():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.uniform_(0.5, 2.0)
            norm.bias.normal_()
    return encoder.eval()


def images(rng, *shape):
    return rng.integers(256, size=(*shape, 28, 28), dtype=np.uint8)


def characters(rng, classes=6):
    return Characters(images=images(rng, classes, 20), names=tuple(map(str, range(classes))), alphabets=("",) * classes)


def init_of(front, sizes=(), steps=2) -> Initialisation:
    torch.manual_seed(0)
    return Network(front, sizes, steps).initialisation()


@pytest.mark.parametrize("pooled", [False, True])
def test_deployed_blocks_in_numpy_show_what_the_trained_encoder_shows(rng, encoder, pooled):
    encoder.pooled = pooled
    drawn = images(rng, 3, 5)
    with torch.no_grad():
        theirs = encoder(torch.from_numpy(drawn.reshape(-1, 28, 28)).float() / 255)
    ours = init_of(encoder).front(drawn)
    assert ours.shape == (3, 5, 64 if pooled else 256) and ours.dtype == np.float32
    np.testing.assert_allclose(ours.reshape(15, -1), theirs, atol=1e-4)


def test_pixels_in_numpy_are_those_in_torch(rng):
    drawn = images(rng, 7)
    theirs = Pixels()(torch.from_numpy(drawn).float() / 255)
    np.testing.assert_allclose(init_of(Pixels()).front(drawn), theirs, atol=1e-5)


def test_features_have_a_mean_square_of_one_and_blank_paper_is_harmless(rng, encoder):
    init = init_of(encoder)
    np.testing.assert_allclose((init.front(images(rng, 4)) ** 2).mean(-1), 1, rtol=1e-4)
    assert np.isfinite(init_of(Pixels()).front(np.zeros((2, 28, 28), np.uint8))).all()


def test_a_deployed_encoder_is_taken_up_again_unchanged(rng, encoder):
    init = init_of(encoder)
    again = Network.of(init, 2).eval().initialisation()
    drawn = images(rng, 4)
    np.testing.assert_allclose(again.front(drawn), init.front(drawn), atol=1e-4)


def test_a_network_takes_up_rates_and_gives_further_steps_those_of_the_last(rng):
    init = replace(init_of(Pixels(), (9, 8)), rates=np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
    again = Network.of(init, 3).initialisation()
    np.testing.assert_allclose(again.rates, init.rates[[0, 1, 1]], rtol=1e-6)
    np.testing.assert_allclose(again.ranges, init.ranges, rtol=1e-6)
    for mine, theirs in zip(again.hidden, init.hidden, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_head_starts_at_zero_for_any_number_of_ways():
    init = init_of(Pixels(), (9, 8))
    assert [w.shape for w in init.weights(5)] == [(197, 9), (10, 8), (9, 5)]
    assert init.weights(20)[-1].shape == (9, 20) and not init.weights(20)[-1].any()


def test_only_the_head_has_rates_where_only_it_learns():
    rates = Network(Pixels(), (9, 8), 2).initialisation(head_only=True).rates
    assert not rates[:, :2].any() and (rates[:, 2] > 0).all()


def test_random_moves_are_none_at_strength_zero_and_small_at_one(rng):
    drawn = torch.zeros(50, 28, 28)
    drawn[:, 12:16, 12:16] = 1.0
    generator = torch.Generator().manual_seed(0)
    torch.testing.assert_close(random_move(drawn, 0.0, generator), drawn)
    moved = random_move(drawn, 1.0, generator)
    assert 0.5 < (moved - drawn).abs().sum((1, 2)).mean() < 16 and moved.sum((1, 2)).min() > 8


# -- episodes of features ----------------------------------------------------------------------------------------------


def test_episodes_of_features_are_those_of_images(rng):
    data = characters(rng)
    numbers = {"ways": 4, "shots": 2, "queries": 3}
    pixels = classification(data, np.random.default_rng(1), 5, **numbers)
    features = draw(data.images.reshape(6, 20, -1), np.random.default_rng(1), 5, **numbers)
    np.testing.assert_array_equal(features.query_y, pixels.query_y)
    np.testing.assert_allclose(features.query_x / 255, pixels.query_x.reshape(5, 12, -1), atol=1e-6)
    np.testing.assert_allclose(features.support_x / 255, pixels.support_x.reshape(5, 8, -1), atol=1e-6)


@pytest.mark.parametrize("numbers", [{"ways": 7}, {"shots": 10, "queries": 11}])
def test_more_than_the_data_have_is_refused(rng, numbers):
    with pytest.raises(ValueError, match="more than the 6 classes of 20 instances"):
        draw(np.zeros((6, 20, 3)), rng, 2, **numbers)


def test_characters_turned_by_quarters_are_further_classes(rng):
    data = characters(rng)
    turned = rotations(init_of(Pixels()), data)
    assert turned.shape == (24, 20, 196)
    expected = init_of(Pixels()).front(np.rot90(data.images[2, 3], 3))
    np.testing.assert_allclose(turned[18 + 2, 3], expected, rtol=1e-5)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", [Encoder, Pixels])
def test_what_is_saved_is_loaded_and_small(rng, tmp_path, front):
    init = replace(init_of(front(), () if front is Encoder else (9, 8)), card=json.dumps({"seed": 3}))
    init.save(tmp_path / "one.npz")
    again = load_initialisation(tmp_path / "one.npz")
    assert again.card == init.card and len(again.hidden) == len(init.hidden)
    drawn = images(rng, 3)
    np.testing.assert_array_equal(again.front(drawn), init.front(drawn))
    assert (tmp_path / "one.npz").stat().st_size < 2e6


def test_shipped_initialisations_load_are_small_and_say_where_they_come_from():
    for name in shipped():
        card = json.loads(load_initialisation(name).card)
        assert {"command", "config"} <= card.keys()


def test_unusable_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown initialisation 'nothing'; shipped are"):
        load_initialisation("nothing")
    with pytest.raises(ValueError, match="no initialisation that memenv pretrain wrote"):
        load_initialisation(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz is no initialisation.*counts"):
        load_initialisation(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.npz is no initialisation"):
        load_initialisation(tmp_path / "text.npz")
    for name, array, message in (
        ("hidden0", np.full((197, 9), np.nan, np.float32), "NaN"),
        ("hidden0", np.ones((197, 9), complex), "complex128"),
        ("counts", np.array([1, 0, 3, 1]), r"its counts \[0, 3, 1\]"),
        ("counts", np.array([1, 0, 0, 2]), r"its counts \[0, 0, 2\]"),
        ("rates", np.ones((5, 3)), r"ranges has the shape \(2,\), \(3\) is needed"),
        ("card", np.array("[]"), "its card is a list"),
    ):
        init_of(Pixels(), (9,)).save(tmp_path / "whole.npz")
        with np.load(tmp_path / "whole.npz") as file:
            arrays = dict(file)
        np.savez(tmp_path / "changed.npz", **arrays | {name: array})
        with pytest.raises(
            ValueError, match=rf"changed\.npz is no initialisation that memenv pretrain wrote: .*{message}"
        ):
            load_initialisation(tmp_path / "changed.npz")
    init_of(Pixels(), (9,)).save(tmp_path / "whole.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.npz is no initialisation"):
        load_initialisation(tmp_path / "cut.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": np.ones((2, 3))}, "do not fit 2 layers"),
        ({"ranges": np.ones(3)}, "do not fit 2 layers"),
        ({"hidden": (np.zeros((100, 9)),)}, "its inputs are 196 and a one"),
        ({"hidden": (np.full((197, 9), np.nan),)}, "not all numbers are finite"),
        ({"ranges": np.zeros(2)}, "ranges not positive"),
        ({"blocks": (Block(np.zeros((3, 3)), np.zeros(3)),)}, "block 0 of the encoder"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(init_of(Pixels(), (9,)), **changes)
