"""Additive attention in its limits, and against its equation written out, whatever asks and however often."""

import gc
import weakref

import pytest
import torch

from gatewise.engines import additive
from gatewise.errors import UserError
from gatewise.layers.attention import AdditiveAttention

T, B, Q, S, A, TIMES = 7, 5, 3, 4, 6, 3


def test_a_score_of_nothing_asks_for_the_mean():
    attention = AdditiveAttention(3, 4, 5).double()
    torch.nn.init.zeros_(attention.score.weight)
    values = torch.randn(7, 2, 4, dtype=torch.float64)
    context, weights = attention(torch.randn(2, 3, dtype=torch.float64), attention.memory(values))
    torch.testing.assert_close(context, values.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(weights, torch.full((7, 2), 1 / 7, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_large_score_asks_for_one_value():
    attention = AdditiveAttention(1, 2, 1).double()
    for layer, weight in ((attention.query, [[0.0]]), (attention.key, [[1.0, 0.0]]), (attention.score, [[200.0]])):
        layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    values = torch.tensor([[[0.1, 5.0]], [[0.9, 6.0]], [[0.2, 7.0]]], dtype=torch.float64)
    context, weights = attention(torch.zeros(1, 1, dtype=torch.float64), attention.memory(values))
    assert weights.argmax().item() == 1
    torch.testing.assert_close(context, values[1], rtol=0, atol=1e-12)


def asked_in_turn(attention, query, values, recall):
    """Each answer and the weights with it change what is asked next, as a decoder's do."""
    found = []
    for time in range(TIMES):
        context, weights = recall(query)
        found += [context, weights]
        query = torch.tanh(query + context[:, :Q] + (time + 1) * weights[:Q].t())
    return found


def as_written(attention, values):
    def recall(query):
        scores = torch.tanh(query @ attention.query.weight.t() + values @ attention.key.weight.t())
        weights = torch.softmax(scores @ attention.score.weight[0], 0)
        return (weights.unsqueeze(-1) * values).sum(0), weights

    return recall


def differentiated(attention, query, values, found):
    generator = torch.Generator().manual_seed(2)
    parts = [(one * torch.randn(one.shape, generator=generator, dtype=one.dtype)).sum() for one in found]
    return torch.autograd.grad(parts, [query, values, *attention.parameters()], retain_graph=True)


def operands(of_queries=1.0, of_keys=1.0, engine="auto"):
    torch.manual_seed(3)
    attention = AdditiveAttention(Q, S, A, engine).double()
    with torch.no_grad():
        attention.query.weight.mul_(of_queries)
        attention.key.weight.mul_(of_keys)
    drawn = torch.randn(B, Q, dtype=torch.float64), torch.randn(T, B, S, dtype=torch.float64)
    return attention, *(one.requires_grad_() for one in drawn)


WAYS = [("auto", 1 << 17), ("eager", 1), ("eager", 2 * T * A), ("eager", 1 << 17)]
NAMES = ["compiled where it can be", "a row at once", "two rows", "all rows"]


@pytest.mark.parametrize(("engine", "at_once"), WAYS, ids=NAMES)
@pytest.mark.parametrize("scales", [(1.0, 1.0), (900.0, 1.0), (1.0, 900.0)], ids=["small", "queries", "keys"])
def test_is_bahdanaus_with_every_gradient(scales, engine, at_once, monkeypatch):
    monkeypatch.setattr(additive, "_AT_ONCE", at_once)
    attention, query, values = operands(*scales, engine=engine)
    memory = attention.memory(values, TIMES)
    large = (
        attention.query(query).abs().max() > 400,
        memory.store.sums.keys.abs().max() > 400,
    )  # where e^{2x} is infinite
    assert large == tuple(scale > 1 for scale in scales)
    found = asked_in_turn(attention, query, values, lambda state: attention(state, memory))
    wanted = asked_in_turn(attention, query, values, as_written(attention, values))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    gradients = differentiated(attention, query, values, found)
    tolerance = 1e-10 * max(scales)
    torch.testing.assert_close(gradients, differentiated(attention, query, values, wanted), rtol=0, atol=tolerance)
    again = differentiated(attention, query, values, found)
    assert all(torch.equal(one, other) for one, other in zip(gradients, again, strict=True))


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_gradients_are_those_of_finite_differences(engine):
    attention, query, values = operands(engine=engine)

    def asked(query, values, *weights):
        memory = attention.memory(values, TIMES)
        return tuple(asked_in_turn(attention, query, values, lambda state: attention(state, memory)))

    assert torch.autograd.gradcheck(asked, (query, values, *attention.parameters()))


def test_some_gradients_alone_leave_the_others_as_they_are():
    attention, query, values = operands()
    memory = attention.memory(values, TIMES)
    found = asked_in_turn(attention, query, values, lambda state: attention(state, memory))
    wanted = differentiated(attention, query, values, found)
    torch.autograd.grad([one.sum() for one in found], query, retain_graph=True)
    assert torch.equal(differentiated(attention, query, values, found)[1], wanted[1])


def test_asking_less_often_than_announced_is_no_matter():
    attention, query, values = operands()
    many, one = (attention(query, attention.memory(values, times))[0].square().sum() for times in (9, 1))
    torch.testing.assert_close(
        torch.autograd.grad(many, [query, values]), torch.autograd.grad(one, [query, values]), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_in_float32_it_is_as_close_as_a_tanh(engine):
    attention, query, values = operands(5.0, 5.0, engine)
    wanted, _ = attention(query, attention.memory(values))
    attention = attention.float()
    found, _ = attention(query.detach().float(), attention.memory(values.detach().float()))
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-6)


def store_of_a_call(backward):
    attention, query, values = operands()
    memory = attention.memory(values, TIMES)
    found = asked_in_turn(attention, query, values, lambda state: attention(state, memory))
    if backward:
        found[-2].sum().backward()
    return weakref.ref(memory.store)


@pytest.mark.parametrize("backward", [False, True])
def test_nothing_stays_in_memory(backward):
    gc.disable()
    try:
        assert store_of_a_call(backward)() is None
    finally:
        gc.enable()


def test_without_a_gradient_nothing_is_kept():
    attention, query, values = operands()
    with torch.no_grad():
        memory = attention.memory(values)
        for _ in range(3):
            attention(query, memory)
    assert memory.store.asked == []
    assert memory.ties == ()


def test_it_takes_part_in_autocast_as_it_is():
    attention, query, values = operands()
    attention, query, values = attention.float(), query.detach().float(), values.detach().float().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attention(query, attention.memory(values))
    wanted, _ = attention(query, attention.memory(values.float()))
    assert torch.equal(found, wanted)
    found.sum().backward()
    assert all(weight.grad is not None for weight in attention.parameters())


def test_a_batch_of_none_has_no_answers():
    attention, query, values = operands()
    context, weights = attention(query[:0], attention.memory(values[:, :0]))
    assert (context.shape, weights.shape) == ((0, S), (T, 0))
    (gradient,) = torch.autograd.grad(context.sum(), attention.key.weight)
    assert not gradient.any()


def test_a_memory_without_gradient_can_be_asked_with_one():
    attention, query, values = (
        AdditiveAttention(4, 8, 5).double(),
        torch.randn(2, 4).double(),
        torch.randn(9, 2, 8).double(),
    )
    with torch.no_grad():
        memory = attention.memory(values)
    attention(query, memory)[0].square().sum().backward()
    found = [attention.query.weight.grad, attention.score.weight.grad]
    context, _ = as_written(attention, values)(query)
    wanted = torch.autograd.grad(context.square().sum(), [attention.query.weight, attention.score.weight])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_asking_more_often_than_announced_is_refused():
    attention, query = AdditiveAttention(4, 8, 5), torch.randn(2, 4)
    memory = attention.memory(torch.randn(9, 2, 8), times=2)
    for _ in range(2):
        attention(query, memory)
    with pytest.raises(RuntimeError, match="a memory for 2 times was asked once more"):
        attention(query, memory)


def test_large_keys_and_queries_of_opposite_signs_are_no_matter():
    attention = AdditiveAttention(1, 1, 1)
    with torch.no_grad():
        for layer in (attention.query, attention.key, attention.score):
            layer.weight.fill_(1.0)
    values = torch.tensor([-52.0, 55.0, 0.0]).reshape(3, 1, 1)
    _, weights = attention(torch.tensor([[50.0]]), attention.memory(values))
    wanted = torch.softmax(torch.tanh(torch.tensor([-2.0, 105.0, 50.0])), 0)
    torch.testing.assert_close(weights[:, 0], wanted)


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="no engine is called 'natve'"):
        AdditiveAttention(4, 8, 5, "natve")
