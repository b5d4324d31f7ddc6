"""The sums of additive attention, compiled and by PyTorch, against their formulas written out in float64."""

import numpy as np
import pytest
import torch

from gatewise.engines.additive import Sums
from gatewise.engines.native import additive
from gatewise.engines.native.additive import CompiledSums, sums_of
from gatewise.errors import UserError

DTYPES = [torch.float32, torch.float64]
SIZES = [(3, 7, 5, 4), (2, 40, 20, 33), (5, 129, 64, 128), (1, 1, 1, 1)]
TIMES = 3


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


class AsWritten:
    """r = (1 − tanh(k + q)) / 2, one loop a sum."""

    def __init__(self, rows, steps, units, width):
        self.keys, self.values = drawn(rows, steps, units, seed=1), drawn(rows, steps, width, seed=2)
        self.queries = [2 * drawn(rows, units, seed=3 + time) for time in range(TIMES)]
        self.score, self.d = drawn(units, seed=9), drawn(TIMES, rows, steps, seed=10)
        self.weights, self.d_context = drawn(rows, steps, seed=11), drawn(rows, width, seed=12)

    def answers(self):
        rests = [(1 - np.tanh(self.keys + query[:, None])) / 2 for query in self.queries]
        slopes = [rest - rest**2 for rest in rests]
        return [
            np.einsum("bja,a->bj", rests[0], self.score),
            np.einsum("bja,bj->ba", slopes[0], self.d[0]),
            np.einsum("bja,bj->ba", rests[0], self.d[0]),
            sum(slope * d[..., None] for slope, d in zip(slopes, self.d, strict=True)),
            np.einsum("bj,bjs->bs", self.weights, self.values),
            np.einsum("bjs,bs->bj", self.values, self.d_context),
        ]

    def asked_of(self, make, dtype):
        tensors = {name: torch.tensor(np.array(value), dtype=dtype) for name, value in vars(self).items()}
        sums = make(tensors["keys"], tensors["values"])
        asked = [sums.asking(query) for query in tensors["queries"]]
        d = tensors["d"]
        return sums, [
            sums.by_unit(asked[0], tensors["score"]),
            *sums.by_time(asked[0], d[0]),
            sums.by_query(asked, d),
            sums.context(tensors["weights"]),
            sums.products(tensors["d_context"]),
        ]


@pytest.fixture(params=[pytest.param(Sums, id="torch"), pytest.param(sums_of, id="compiled")])
def make(request, why_no_kernels):
    if request.param is sums_of and why_no_kernels:
        pytest.skip(why_no_kernels)
    return request.param


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sums_are_what_their_formulas_say(make, sizes, dtype):
    written = AsWritten(*sizes)
    sums, found = written.asked_of(make, dtype)
    assert isinstance(sums, CompiledSums) == (make is sums_of)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    for one, wanted in zip(found, written.answers(), strict=True):
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(one.double().numpy(), wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exponentials_that_overflow_or_vanish_are_limits(make, dtype):
    keys = torch.tensor([[[39.0], [-39.0], [0.0]]], dtype=dtype)
    sums = make(keys, keys)
    for query, wanted in ((39.5, [0.0, 1 / (1 + np.exp(1.0)), 0.0]), (-39.5, [1 / (1 + np.exp(-1.0)), 1.0, 1.0])):
        found = sums.by_unit(sums.asking(torch.tensor([[query]], dtype=dtype)), torch.ones(1, dtype=dtype))
        np.testing.assert_allclose(found[0].numpy(), wanted, rtol=0, atol=1e-6)


def test_gaps_between_numbers_are_no_matter(make):
    wide = [torch.tensor(drawn(2, 9, 12, seed=place)) for place in range(2)]
    dense = make(wide[0][..., ::2].contiguous(), wide[1][..., ::3].contiguous())
    query, d = torch.tensor(drawn(2, 6)), torch.tensor(drawn(TIMES, 9, 2)).transpose(1, 2)
    asked = [dense.asking(query)] * TIMES
    one = (dense.by_query(asked, d), *dense.by_time(asked[0], d[0]), dense.context(d[1]))
    other = (dense.by_query(asked, d.contiguous()), *dense.by_time(asked[0], d[0].contiguous()))
    for found, wanted in zip(one, (*other, dense.context(d[1].contiguous())), strict=True):
        assert torch.equal(found, wanted)


def turned(values):
    """The same numbers, in another order in memory."""
    return values.transpose(0, 1).contiguous().transpose(0, 1)


def minus_twice(values):
    """The same numbers, kept with the other sign."""
    return torch._neg_view(values.neg())  # pyright: ignore[reportPrivateImportUsage]


@pytest.mark.parametrize("kept", [turned, minus_twice])
def test_how_numbers_lie_in_memory_is_no_matter(make, kept):
    keys, values = (torch.tensor(drawn(4, 9, size)) for size in (6, 5))
    query, score, d = torch.tensor(drawn(4, 6)), torch.tensor(drawn(6)), torch.tensor(drawn(TIMES, 4, 9))
    answers = []
    for each in (torch.Tensor.contiguous, kept):
        sums = make(each(keys), each(values))
        asking = sums.asking(each(query))
        answers.append([sums.by_unit(asking, score)])
        answers[-1] += [*sums.by_time(asking, each(d[0])), sums.by_query([asking] * TIMES, each(d))]
        answers[-1] += [sums.context(each(d[0])), sums.products(each(values[:, 0]))]
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("query", [torch.zeros(1, 6), torch.zeros(3, 6), torch.zeros(2, 5), torch.zeros(2, 6).double()])
def test_a_query_that_is_not_for_these_keys_is_refused(make, query):
    sums = make(torch.zeros(2, 9, 6), torch.zeros(2, 9, 4))
    with pytest.raises(RuntimeError, match=r"this memory takes torch.float32 \(2, 6\)"):
        sums.asking(query)


def test_numbers_of_another_type_are_refused(make):
    sums = make(torch.zeros(2, 9, 6), torch.zeros(2, 9, 4))
    with pytest.raises(RuntimeError, match=r"(?i)not torch.float32|dtype"):
        sums.by_unit(sums.asking(torch.zeros(2, 6)), torch.zeros(6).double())


def test_threads_do_not_change_a_bit(make):
    written = AsWritten(5, 129, 20, 33)
    before = torch.get_num_threads()
    try:
        answers = []
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            answers.append(written.asked_of(make, torch.float32)[1])
    finally:
        torch.set_num_threads(before)
    for found in answers[1:] if make is sums_of else ():
        assert all(torch.equal(one, other) for one, other in zip(found, answers[0], strict=True))


def test_a_row_that_is_no_number_stays_by_itself(make):
    keys, query = torch.tensor(drawn(3, 20, 6)), torch.tensor(drawn(3, 6))
    keys[1, 4] = float("nan")
    sums = make(keys, keys)
    found = sums.by_unit(sums.asking(query), torch.ones(6, dtype=torch.float64))
    assert found.isnan().sum() == 1
    assert found[1, 4].isnan()


def test_without_a_compiler_pytorch_does_it(monkeypatch):
    def refused(*arguments, **options):
        raise UserError("no C++ compiler")

    monkeypatch.setattr(additive, "library", refused)
    additive.compiled.cache_clear()
    try:
        assert type(sums_of(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))) is Sums
    finally:
        additive.compiled.cache_clear()
