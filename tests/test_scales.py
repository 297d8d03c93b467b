"""The scale of observed errors."""

import numpy as np
import pytest

from memenv.envs.scales import symlog, symlog_inverse

VALUES = np.array([-200.0, -150.0, -3.0, -1e-3, 0.0, 0.5, 40.0, 150.0])


def test_errors_come_back_from_a_scale_that_ends_at_the_farthest():
    scaled = symlog(VALUES, 150.0)
    np.testing.assert_allclose(symlog_inverse(scaled, 150.0), np.clip(VALUES, -150, 150), rtol=1e-12)
    np.testing.assert_allclose(scaled[[0, 1, 4, -1]], [-1, -1, 0, 1])
    assert scaled[5] == pytest.approx(np.log(1.5) / np.log(151))


def test_a_loop_has_the_same_scale():
    pytest.importorskip("numba")
    from memenv.compiler.counter_rng import Key
    from memenv.compiler.runtime import prepare

    def both(_, __, value):
        scaled = symlog(value, 150.0)
        return scaled, symlog_inverse(scaled, 150.0)

    call = prepare(both, len(VALUES), (VALUES.astype(np.float32),))
    call.launch(Key(0), 1)
    scaled, values = call.result()
    np.testing.assert_allclose(scaled, symlog(VALUES, 150.0), rtol=1e-6)
    np.testing.assert_allclose(values, np.clip(VALUES, -150, 150), rtol=1e-5)
