"""Settings and fixtures that all tests share: fixed seeds, one thread, no window."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # batches are small: further threads only wait; read when NumPy is loaded
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from memenv.devices.device import Device, Mismatch, Response
from memenv.devices.reads import Read, Retention

settings.register_profile("fixed", derandomize=True, deadline=None, database=None, max_examples=200)
settings.load_profile("fixed")


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run."""
    return np.random.default_rng(20260)


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published data, which the repository does not hold; tests that ask for it are skipped without."""
    folder = Path(os.environ.get("MEMENV_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("published data: neither ../shared/data nor a folder in MEMENV_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def everything() -> Device:
    """A device that uses every term of the model, SET and RESET unlike each other."""
    return Device(
        g_min=2e-6,
        g_max=6e-5,
        set=Response(gamma=1.3, margin=0.1, kappa=0.2, dose=0.2, cycle_noise=0.3, additive_noise=0.01),
        reset=Response(
            amplitude=1.2,
            width=2e-6,
            threshold=0.6,
            slope=0.15,
            gamma=0.7,
            margin=0.05,
            growing=True,
            dose=0.1,
            cycle_noise=0.2,
        ),
        mismatch=Mismatch(
            rate=0.3,
            asymmetry=0.2,
            gamma=0.1,
            slope=0.1,
            cycle_noise=0.2,
            threshold=0.05,
            x_lo=0.05,
            x_hi=0.1,
            stuck_low=0.05,
            stuck_high=0.05,
            stuck_anywhere=0.05,
            collapsed=0.1,
        ),
        read=Read(
            noise=0.01,
            noise_exponent=0.5,
            noise_log_time=2.5e-7,
            telegraph=0.03,
            telegraph_occupancy=0.3,
            adc_bits=8,
        ),
        retention=Retention(
            late=86400.0,
            shift_late=-0.01,
            sigma_early=(0.01, 0.02, -0.01, 0.0, 0.0),
            sigma_late=(0.02, 0.04, -0.03, 0.0, 0.0),
            drift_mean=(0.0244, -0.0155, 0.049, 0.1),
            drift_spread=(-0.0059, -0.0125, 0.008, 0.045),
        ),
    )
