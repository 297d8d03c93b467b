"""The family of devices for domain randomisation."""

import numpy as np

from agents.predictor.device_family import HELD_OUT, QUIET, family
from memenv.devices.catalogue import presets
from memenv.devices.device import Mismatch
from memenv.devices.records import validate


def test_the_family_holds_valid_devices_of_every_preset_that_is_not_held_out():
    draw, rng = family(), np.random.default_rng(0)
    names = {validate(draw(rng)).name for _ in range(300)}
    assert names == set(presets()) - set(HELD_OUT)


def test_a_share_of_the_family_has_no_mismatch():
    draw, rng = family(), np.random.default_rng(1)
    alike = np.mean([draw(rng).mismatch == Mismatch() for _ in range(400)])
    assert abs(alike - QUIET) < 0.07
