"""Converters: levels, ends, noise, and settings that no converter has."""

import numpy as np
import pytest

from memenv.crossbars.converters import Converter, CrossbarError


def test_an_ideal_converter_changes_nothing():
    values = np.array([-7.0, -0.123456789, 0.0, 1e9])
    assert Converter().convert(values, np.ones(4)) is values


@pytest.mark.parametrize(("bits", "signed", "levels"), [(3, True, 7), (3, False, 8), (8, True, 255), (1, False, 2)])
def test_a_converter_has_so_many_levels_and_zero_is_one_of_them(bits, signed, levels):
    seen = np.unique(Converter(bits=bits, full_scale=2.0, signed=signed).rounded(np.linspace(-5, 5, 200_001)))
    assert len(seen) == levels and 0.0 in seen
    assert seen[-1] == pytest.approx(2.0) and seen[0] == pytest.approx(-2.0 if signed else 0.0)
    np.testing.assert_allclose(np.diff(seen), Converter(bits=bits, full_scale=2.0, signed=signed).step)


def test_rounding_inside_the_range_is_off_by_half_a_step_at_most(rng):
    converter, values = Converter(bits=6, full_scale=0.2), rng.uniform(-0.2, 0.2, 1000)
    error = np.abs(converter.rounded(values) - values)
    assert 0.45 * converter.step < error.max() <= 0.5 * converter.step * (1 + 1e-12)


def test_noise_is_a_share_of_the_full_scale_and_is_rounded(rng):
    values, noise = np.full(100_000, 0.05), rng.standard_normal(100_000)
    assert np.std(Converter(full_scale=0.2, noise=0.01).convert(values, noise)) == pytest.approx(0.002, rel=0.02)
    rounded = Converter(bits=4, full_scale=0.2, noise=0.1)
    np.testing.assert_array_equal(rounded.convert(values, noise), rounded.rounded(values + 0.02 * noise))


def test_backends_agree(rng):
    torch = pytest.importorskip("torch")
    converter, values, noise = Converter(bits=5, full_scale=0.3, noise=0.02), rng.normal(size=99), rng.normal(size=99)
    seen = converter.convert(torch.tensor(values), torch.tensor(noise))
    np.testing.assert_allclose(seen.numpy(), converter.convert(values, noise), rtol=1e-15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 1}, r"bits is 1, allowed is 0 \(ideal\) or 2 to 24"),
        ({"bits": -3}, "bits is -3"),
        ({"bits": 40}, "bits is 40, allowed is a whole number >= 0 and <= 24"),
        ({"bits": 4.0}, "bits is 4.0"),
        ({"bits": True, "signed": False}, "bits is True"),
        ({"full_scale": 0.0}, "full_scale is 0.0, allowed is a number > 0"),
        ({"full_scale": np.nan}, "full_scale is nan"),
        ({"noise": -0.1}, "noise is -0.1, allowed is 0 to 1"),
        ({"noise": np.nan}, "noise is nan"),
    ],
)
def test_impossible_settings_say_what_is_allowed(settings, message):
    with pytest.raises(CrossbarError, match=message):
        Converter(**settings)
