"""Series from .npy files: what is refused, windows that do not overlap, a scale of the training part alone."""

import numpy as np
import pytest
import torch

from gatewise import UserError
from gatewise.data import Standardiser, part_series, read_series


@pytest.mark.parametrize(("shape", "wanted"), [((5,), (5, 1)), ((5, 2), (5, 2)), ((3, 5, 2), (3, 5, 2))])
def test_what_is_read(tmp_path, shape, wanted):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.save(tmp_path / "a.npy", values)
    found = read_series(tmp_path / "a.npy")
    assert found.shape == wanted
    assert found.ravel().tolist() == values.ravel().tolist()


BAD = {
    "objects": (np.array([{"a": 1}], dtype=object), "not a .npy file of numbers"),
    "text": (np.array(["a"]), "not real numbers"),
    "complex": (np.array([1j]), "not real numbers"),
    "nan": (np.array([[1.0], [np.nan]]), r"\(1, 0\) is nan"),
    "one number": (np.array(3.0), "shape"),
    "empty": (np.zeros((0, 2)), "shape"),
    "four dimensions": (np.zeros((1, 1, 1, 1)), "shape"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_refused(tmp_path, kind):
    values, message = BAD[kind]
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        read_series(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"not a \.npy file"):
        read_series(tmp_path / "a.npy")
    with pytest.raises(UserError, match="does not exist"):
        read_series(tmp_path / "b.npy")
    with pytest.raises(UserError, match="cannot be read"):
        read_series(tmp_path)


def test_windows_to_learn_and_held_out_have_no_step_in_common():
    values = np.arange(200.0).reshape(100, 2)
    train, rest = part_series(values, 0.3, 12)
    assert train.shape[1:] == rest.shape[1:] == (12, 2)
    assert set(train[..., 0].ravel()).isdisjoint(rest[..., 0].ravel())
    np.testing.assert_array_equal(train[3], values[9:21])
    np.testing.assert_array_equal(rest[1], values[82:94])
    train, rest = part_series(np.zeros((10, 4, 1)), 0.2, 12)  # a window is for one long series
    assert (len(train), len(rest)) == (8, 2)
    assert part_series(values, 0.0, 12)[1].shape == (0, 12, 2)
    for shape, window in (((20, 1), 12), ((20, 1), 1), ((1, 9, 1), 4), ((5, 1, 1), 4)):
        with pytest.raises(UserError, match="want"):
            part_series(np.zeros(shape), 0.0, window)


def test_the_scale_goes_there_and_back():
    values = np.random.default_rng(0).normal(5, 3, (7, 40, 3))
    values[..., 2] = 4.0
    scale = Standardiser.fitted(values)
    inside = torch.stack([scale.encode(one) for one in values])
    np.testing.assert_allclose(inside.mean((0, 1)), [0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(inside.std((0, 1), correction=0), [1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(scale.decode(inside[0]), values[0], atol=1e-5)
    assert Standardiser.from_config(scale.to_config()) == scale
    with pytest.raises(UserError, match="3 features"):
        scale.encode(values[0, :, :2])
    for config in ({}, {"mean": [1.0], "deviation": []}, {"mean": [1.0], "deviation": [0.0]}, {"mean": ["x"]}):
        with pytest.raises(UserError, match="malformed"):
            Standardiser.from_config(config)


def test_a_feature_that_varies_by_rounding_alone_does_not_vary():
    values = np.stack([np.full(1000, 0.1), np.linspace(-1, 1, 1000) * 1e-20, np.zeros(1000)], 1)
    assert 0 < values[:, 0].std() < 1e-15  # the sum of a thousand times 0.1 is not a hundred
    scale = Standardiser.fitted(values)
    assert scale.deviation[0] == scale.deviation[2] == 1.0
    assert scale.deviation[1] == pytest.approx(values[:, 1].std())  # small, and yet all there is
    assert abs(scale.encode(values)[:, 0]).max() < 1e-12


@pytest.mark.filterwarnings("error")
def test_values_that_cannot_be_squared_are_refused():
    with pytest.raises(UserError, match=r"values of 1e\+200, whose squares overflow"):
        Standardiser.fitted(np.array([[1.0], [1e200]]))
