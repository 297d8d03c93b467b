"""The family of devices for domain randomisation."""

import numpy as np

from agents.predictor.device_family import AS_THEY_ARE, HELD_OUT, OFTEN, QUIET, family, mistaken
from memenv.devices.catalogue import load_device, presets
from memenv.devices.device import Mismatch
from memenv.devices.records import validate


def test_the_family_holds_valid_devices_of_every_preset_that_is_not_held_out():
    draw, rng = family(), np.random.default_rng(0)
    names = {validate(draw(rng)[0]).name for _ in range(300)}
    assert names == set(presets()) - set(HELD_OUT)


def test_a_share_of_the_family_has_no_mismatch():
    draw, rng = family(), np.random.default_rng(1)
    drawn = [draw(rng) for _ in range(800)]
    changed = [device for device, special in drawn if not special]
    assert abs(len(changed) / len(drawn) - (1 - AS_THEY_ARE)) < 0.06
    assert abs(np.mean([device.mismatch == Mismatch() for device in changed]) - QUIET) < 0.07


def test_presets_are_met_as_they_are_and_mistaken_only_where_they_claim_to_be_certain():
    draw, rng = family(), np.random.default_rng(3)
    met = [(device, special) for device, special in (draw(rng) for _ in range(400)) if special]
    assert all(device == load_device(device.name) for device, _ in met)
    assert {device.uncertainty for device, special in met if special["mistaken"]} == {None}


def test_a_share_of_the_cells_is_of_other_devices_than_their_record_says():
    record, rng = load_device("threshold"), np.random.default_rng(2)
    chips = [mistaken(record.fabricate(rng, 500), 500, 0.4, rng) for _ in range(40)]
    slopes = np.array([np.broadcast_to(chip.set.slope, 500) for chip in chips])
    wrong = slopes != record.set.slope
    of_chips = wrong.mean(axis=1)
    assert abs((of_chips > 0).mean() - OFTEN) < 0.2
    assert abs(of_chips[of_chips > 0].mean() - 0.4) < 0.05
    assert (slopes[wrong] / record.set.slope).min() > 0.21 and (slopes[wrong] / record.set.slope).max() < 2.21
    assert record == load_device("threshold")
