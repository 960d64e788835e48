"""Tables and fixed data sets: those that need no download, and one that is read from a file."""

import random

import numpy as np
import pytest

from regimes.config import ConfigError
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


HEAD = [*(f"property_{i}" for i in range(81)), "critical_temp"]


@pytest.fixture
def superconductors(tmp_path, monkeypatch):
    """Write a table of eight rows, with lines replaced; return its path."""
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    monkeypatch.setattr(tables, "ROWS", 8)
    values = np.random.default_rng(0).random((8, 82)).round(6)
    lines = [",".join(HEAD), *(",".join(map(str, row)) for row in values)]
    (tmp_path / "superconductivity").mkdir()

    def write(changes=(), cut=None):
        changed = [dict(changes).get(i, line) for i, line in enumerate(lines)]
        path = tmp_path / "superconductivity" / "train.csv"
        path.write_text("\n".join(changed)[:cut])
        return values

    return write


def test_superconductivity_is_read_as_it_stands(superconductors):
    values = superconductors()
    found = tables.superconductivity()
    np.testing.assert_array_equal(found.x, values[:, :-1])
    np.testing.assert_array_equal(found.target, values[:, -1])


def test_superconductivity_as_the_study_sees_it(superconductors):
    from regimes.studies.exact_gauss_newton import data_sets

    superconductors()
    found = data_sets._LOADERS["superconductivity"]()
    assert found.x.shape == (6, 82) and found.test_x.shape == (2, 82)
    assert (found.x[:, 81] == 0).all() and (found.test_x[:, 81] == 0).all()
    for values in (found.x[:, :81], found.targets):
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(values.std(0), 1)


ROW = ",".join(["0.5"] * 82)


@pytest.mark.parametrize(
    ("changes", "cut", "expected"),
    [
        ({0: ",".join(HEAD[:-1] + ["material"])}, None, "82 columns, the last one 'material'"),
        ({i: ROW.rpartition(",")[0] for i in range(9)}, None, "has 81 columns"),
        ({3: ROW + ",1"}, None, "cannot be read .*line 4"),
        ({3: ROW.replace("0.5", "none", 1)}, None, "csv:4: 'property_0' is none"),
        ({3: ROW.rpartition(",")[0]}, None, "csv:4: 'critical_temp' is nan"),
        ({}, 3500, "csv:[0-9]: '.*' is nan"),
        ({8: ""}, None, "has 7 rows, expected 8"),
        ({}, 0, "cannot be read .*No columns"),
    ],
)
def test_wrong_tables_are_refused_with_what_to_do(superconductors, changes, cut, expected):
    superconductors(changes, cut)
    with pytest.raises(ConfigError, match=rf"train\.csv.*{expected}|{expected}.*UCI"):
        tables.superconductivity()


def test_a_missing_table_is_refused_with_where_it_belongs(tmp_path, monkeypatch):
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=f"no table in {tmp_path}/superconductivity/train.csv"):
        tables.superconductivity()
