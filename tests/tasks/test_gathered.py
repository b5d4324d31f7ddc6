"""Parts put together against NumPy's concatenation."""

import numpy as np
import pytest
import torch

from gatewise.tasks.gathered import Gathered


@pytest.mark.parametrize("axis", [0, 1])
def test_is_what_the_parts_are_side_by_side(axis):
    draw = np.random.default_rng(1)
    sizes = (4, 4, 3)
    parts = [draw.normal(size=(2, size, 5) if axis else (size, 2, 5)).astype(np.float32) for size in sizes]
    gathered = Gathered(sum(sizes), axis)
    for part in parts:
        gathered.put(a=torch.from_numpy(part), b=part.astype(float) + 1)
    wanted = np.concatenate(parts, axis)
    assert gathered["a"].dtype == np.float32
    np.testing.assert_array_equal(gathered["a"], wanted)
    np.testing.assert_array_equal(gathered["b"], wanted.astype(float) + 1)
