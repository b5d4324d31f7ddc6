"""Principal components: what --pca may say, what is refused, what is recorded."""

import numpy as np
import pytest

from gatewise import UserError
from gatewise.data.table.projection import Projection, parse_components


@pytest.mark.parametrize("text", ["1.0", "0", "-1", "x", "0.0", "2.5", "nan", "inf", "1e3"])
def test_neither_a_share_nor_a_number(text):
    with pytest.raises(UserError, match=f"--pca {text}: want a share"):
        parse_components(text)


@pytest.mark.parametrize("rows", [20, 500])  # by singular values, and by the covariance
def test_components_are_the_eigenvectors_of_the_covariance(rows):
    draw = np.random.default_rng(0)
    values = draw.normal(size=(rows, 4)) * [3.0, 2.0, 1.0, 0.5] + [5.0, 0, 0, 1]
    found = Projection.fitted(values, 2)
    variances, directions = np.linalg.eigh(np.cov(values.T))
    expected = (values - values.mean(0)) @ directions[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(found.encode(values)), np.abs(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.shares, variances[::-1][:2] / variances.sum(), rtol=1e-10)
    enough = Projection.fitted(values, 0.9)
    assert sum(enough.shares) >= 0.9 > sum(enough.shares[:-1])
    assert Projection.from_config(found.to_config()) == found


def test_what_cannot_be_projected_is_refused():
    values = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(UserError, match="--pca 4: the inputs have 3 columns and 20 training rows; want fewer"):
        Projection.fitted(values, 4)
    for rows in (np.ones((20, 3)), values[:1], values[:0]):
        with pytest.raises(UserError, match="--pca"):
            Projection.fitted(rows, 0.5)
