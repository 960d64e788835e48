"""Tables and fixed data sets that need no download."""

import random

import numpy as np

from regimes.data import mnist1d, tables


def test_tables_have_their_documented_sizes():
    assert tables.digits().x.shape == (1797, 64)
    assert set(tables.digits().target) == set(range(10))
    assert tables.wine().x.shape == (178, 13) and set(tables.wine().target) == {0, 1, 2}
    assert tables.diabetes().x.shape == (442, 10) and tables.diabetes().target.max() > 300


def test_the_fixed_set_is_always_the_same_and_disturbs_no_random_stream():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - what the package would change
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    made, again = mnist1d.fixed_set(), mnist1d.fixed_set()
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    np.testing.assert_array_equal(made.x, again.x)
    assert made.x.shape == (4000, 40) and made.test_x.shape == (1000, 40)
    assert abs(np.r_[made.x, made.test_x].std() - 1) < 1e-9
    assert np.bincount(made.label).min() > 350
