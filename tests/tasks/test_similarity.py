"""The structural similarity against scikit-image's."""

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from gatewise.data.moving_digits import moving_digits
from gatewise.tasks.similarity import ssim


@pytest.mark.parametrize("shape", [(1, 16, 23), (3, 11, 11), (2, 40, 12)])
def test_is_that_of_scikit_image(shape):
    one = torch.rand(shape, dtype=torch.float64)
    other = (one + 0.3 * torch.randn(shape, dtype=torch.float64)).clamp(0, 1)
    expected: Any = structural_similarity(
        one.numpy(), other.numpy(), channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert abs(ssim(one, other).item() - expected) < 1e-12


def test_every_frame_by_itself():
    frames = moving_digits(3, 4, part="test")
    alike = ssim(frames[1:], frames[:-1])
    assert alike.shape == (3, 3)
    expected = [[ssim(frames[t + 1, b], frames[t, b]).item() for b in range(3)] for t in range(3)]
    np.testing.assert_allclose(alike.numpy(), expected, atol=1e-6)


def test_a_frame_smaller_than_the_window_has_none():
    assert ssim(torch.zeros(5, 1, 10, 30), torch.zeros(5, 1, 10, 30)).isnan().all()
