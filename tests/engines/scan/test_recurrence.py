"""The linear recurrence by itself: against a loop in NumPy, finite differences, closed forms."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gatewise.engines.scan.recurrence import FEW, WIDE, _doubling, _in_chunks, recurrence

STEPS = (1, 2, 3, 17, FEW - 1, FEW, FEW + 1, 63, 64, 127, 1000)


def by_loop(a, b, initial, reverse=False):
    """In float64, one step after the other."""
    a, b, s = (value.detach().double().numpy() for value in (a, b, initial))
    found = np.empty(b.shape)
    for t in reversed(range(len(b))) if reverse else range(len(b)):
        s = a[t] * s + b[t]
        found[t] = s
    return torch.from_numpy(found)


def given(steps, *shape, dtype=torch.float64, seed=0):
    """a in (0, 1), with exact 0 and 1 among it."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(steps, *shape, generator=generator, dtype=torch.float64)
    a = torch.where(a < 0.1, 0.0, torch.where(a > 0.9, 1.0, a))
    b, initial = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((steps, *shape), shape))
    return a.to(dtype), b.to(dtype), initial.to(dtype)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", STEPS)
def test_every_step_is_that_of_the_loop(steps, reverse):
    a, b, initial = given(steps, 3, 5)
    torch.testing.assert_close(recurrence(a, b, initial, reverse), by_loop(a, b, initial, reverse), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 33])
@pytest.mark.parametrize("steps", [66, 67, 71, 72])
def test_chunks_of_any_length(steps, n, reverse):
    values = given(steps, 5)
    found = _in_chunks(*values, reverse, n)
    torch.testing.assert_close(found, by_loop(*values, reverse), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 17, 64, 65])
def test_doubling_is_the_same(steps, reverse):
    """What runs where the calls are traced."""
    values = given(steps, 5)
    found = _doubling(*values, reverse)
    torch.testing.assert_close(found, by_loop(*values, reverse), rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [3, WIDE + 1])
@pytest.mark.parametrize("low", [0.0, 0.9, 0.999], ids=str)
def test_float32_keeps_its_digits_over_many_steps(low, width):
    """Neither a quotient nor a logarithm of a product of gates: nothing overflows, and 0 is as good as any number."""
    a, b, initial = given(4096 if width < 9 else 200, width, dtype=torch.float32)
    a = low + (1 - low) * a
    found, exact = recurrence(a, b, initial), by_loop(a, b, initial)
    assert (found - exact).abs().max() <= 1e-6 * exact.abs().max()


def test_a_forgetting_step_forgets_everything():
    a, b, initial = given(200, 4)
    a[100] = 0.0
    b[:100] = 1e300
    torch.testing.assert_close(recurrence(a, b, initial)[100:], by_loop(a[100:], b[100:], initial), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [10, 33])
def test_products_that_overflow_leave_a_state_as_it_is(reverse, n):
    """A state of 0, or so small that it stays finite: ∞ · 0 is NaN, the loop's answer is not."""
    a, b = torch.full((100, 2), 1e50, dtype=torch.float64), torch.zeros(100, 2, dtype=torch.float64)
    nothing = torch.zeros(2, dtype=torch.float64)
    assert _in_chunks(a, b, nothing, reverse, n).eq(0).all()
    assert recurrence(a, b, nothing, reverse).eq(0).all()
    a[10:90] = 1e-10
    a[:3] = a[-3:] = 1e-50
    a[3:10] = a[-10:-3] = 1e47
    small = torch.tensor([1e-100, -1e-150], dtype=torch.float64)
    expected = by_loop(a, b, small, reverse)
    assert expected.isfinite().all()
    torch.testing.assert_close(_in_chunks(a, b, small, reverse, n), expected, rtol=1e-12, atol=0)


def test_factors_beyond_one_and_below_zero():
    a, b, initial = given(70, 4)
    a = 2.4 * a - 1.2
    torch.testing.assert_close(recurrence(a, b, initial), by_loop(a, b, initial), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5, FEW + 2])
def test_derivatives_are_finite_differences(steps, reverse):
    values = [value.requires_grad_() for value in given(steps, 1 if steps > 9 else 2)]

    def run(a, b, initial):
        return recurrence(a, b, initial, reverse)

    assert gradcheck(run, values, check_forward_ad=True)
    assert gradgradcheck(run, values, atol=1e-6, fast_mode=steps > 9)


def test_the_derivative_by_a_is_the_state_before():
    """s_2 = a_2 (a_1 s_0 + b_1) + b_2, so ds_2/da_2 = s_1, ds_2/da_1 = a_2 s_0, ds_2/ds_0 = a_1 a_2."""
    a, b, initial = (value.requires_grad_() for value in given(2, 1, seed=5))
    s = recurrence(a, b, initial)
    da, db, d_initial = torch.autograd.grad(s[1, 0], (a, b, initial))
    torch.testing.assert_close(da[:, 0], torch.stack([a[1, 0] * initial[0], s[0, 0]]))
    torch.testing.assert_close(db[:, 0], torch.stack([a[1, 0], torch.ones_like(a[1, 0])]))
    torch.testing.assert_close(d_initial, a[0] * a[1])


@pytest.mark.parametrize("in_dims", [(1, 0, 0), (None, 1, None), (0, None, 1)])
def test_it_may_be_mapped(in_dims):
    count = 3
    shapes = [(6, 4), (6, 4), (4,)]
    values = []
    for shape, dim in zip(shapes, in_dims, strict=True):
        size = list(shape)
        if dim is not None:
            size.insert(dim, count)
        values.append(torch.randn(size, dtype=torch.float64))
    found: torch.Tensor = torch.func.vmap(lambda a, b, s: recurrence(a, b, s, True), in_dims)(*values)
    for k in range(count):
        one = [v if d is None else v.select(d, k) for v, d in zip(values, in_dims, strict=True)]
        torch.testing.assert_close(found[k], by_loop(one[0], one[1], one[2], True), rtol=0, atol=1e-12)


def test_what_is_given_stays_as_it_was():
    values = given(100, 3)
    kept = [value.clone() for value in values]
    for reverse in (False, True):
        recurrence(*values, reverse)
    assert all(map(torch.equal, values, kept))
