"""The scale of observed errors."""

import numpy as np
import pytest

from memenv.envs.scales import scaled, symlog, symlog_inverse

VALUES = np.array([-200.0, -150.0, -3.0, -1e-3, 0.0, 0.5, 40.0, 150.0])


def test_errors_come_back_from_a_scale_that_ends_at_the_farthest():
    shown = symlog(VALUES, 150.0)
    np.testing.assert_allclose(symlog_inverse(shown, 150.0), np.clip(VALUES, -150, 150), rtol=1e-12)
    np.testing.assert_allclose(shown[[0, 1, 4, -1]], [-1, -1, 0, 1])
    assert shown[5] == pytest.approx(np.log(1.5) / np.log(151))


def test_a_loop_has_the_same_scale():
    pytest.importorskip("numba")
    from memenv.compiler.counter_rng import Key
    from memenv.compiler.runtime import prepare

    def both(_, __, value):
        shown = symlog(value, 150.0)
        return shown, symlog_inverse(shown, 150.0)

    call = prepare(both, len(VALUES), (VALUES.astype(np.float32),))
    call.launch(Key(0), 1)
    shown, values = call.result()
    np.testing.assert_allclose(shown, symlog(VALUES, 150.0), rtol=1e-6)
    np.testing.assert_allclose(values, np.clip(VALUES, -150, 150), rtol=1e-5)


@pytest.mark.parametrize("most", [7, 8, 13, 14, 15])
def test_a_loop_stays_within_the_scale_at_both_ends(most):
    pytest.importorskip("numba")
    from memenv.compiler.counter_rng import Key
    from memenv.compiler.runtime import prepare

    ends = np.array([0, most, 2 * most], np.float32)
    call = prepare(lambda _, __, value: (scaled(most - value, (0.0, most)), symlog(value, most)), 3, (ends,))
    call.launch(Key(0), 1)
    shares, errors = call.result()
    assert shares.tolist() == [1, -1, -1] and errors.tolist()[2] == 1 and np.abs(errors).max() <= 1
