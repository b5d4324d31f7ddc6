"""What is true of any recurrent layer, for every cell on every engine that takes it."""

import pytest
import torch
from comparison import (
    DISTINCT,
    assert_agree,
    everything,
    one_or_all,
    random_input,
    random_layer,
    random_states,
    run,
)
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

T, B = 7, 4
LENGTHS = (5, 2, 7, 1)
DEEP = {"num_layers": 2, "bidirectional": True}

pytestmark = pytest.mark.parametrize(("cell", "engine"), DISTINCT)


def assert_same(actual, expected, tolerance=1e-12):
    assert len(actual) == len(expected)
    for value, same in zip(actual, expected, strict=True):
        assert value.shape == same.shape
        assert (value - same).abs().max().item() <= tolerance


def test_chunks_with_carried_state_are_the_whole(cell, engine):
    layer = random_layer(cell, engine, num_layers=2)
    x, states = random_input(T, B), random_states(layer, B)
    whole = run(layer, x, states)
    outputs = []
    for chunk in x.split([3, 1, 3]):
        output, *states = run(layer, chunk, tuple(states))
        outputs.append(output)
    assert_same((torch.cat(outputs), *states), whole)


def test_a_padded_batch_is_each_sequence_alone(cell, engine):
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)
    output, *finals = run(layer, x, states, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        alone = run(layer, x[:length, b : b + 1], tuple(state[:, b : b + 1] for state in states))
        assert_same((output[:length, b : b + 1], *(final[:, b : b + 1] for final in finals)), alone)
        assert not output[length:, b].any()


def test_two_directions_are_two_one_way_runs(cell, engine):
    layer = random_layer(cell, engine, bidirectional=True)
    x, states = random_input(T, B), random_states(layer, B)
    reversed_x = x.clone()
    for b, length in enumerate(LENGTHS):
        reversed_x[:length, b] = x[:length, b].flip(0)
    output, *finals = run(layer, x, states, lengths=LENGTHS)
    weights = layer.state_dict()
    for direction, (suffix, given) in enumerate([("", x), ("_reverse", reversed_x)]):
        one_way = random_layer(cell, engine)
        one_way.load_state_dict({name: weights[name + suffix] for name in one_way.state_dict()})
        here = slice(direction, direction + 1)
        expected, *expected_finals = run(one_way, given, tuple(state[here] for state in states), lengths=LENGTHS)
        if suffix:
            for b, length in enumerate(LENGTHS):
                expected[:length, b] = expected[:length, b].flip(0)
        actual = output.chunk(2, dim=-1)[direction], *(final[here] for final in finals)
        assert_same(actual, (expected, *expected_finals))


def test_no_state_is_the_zero_state(cell, engine):
    layer = random_layer(cell, engine, **DEEP)
    x = random_input(T, B)
    zero = tuple(torch.zeros_like(state) for state in random_states(layer, B))
    assert_same(run(layer, x), run(layer, x, zero), 0.0)
    assert (run(layer, x)[0] - run(layer, x, random_states(layer, B))[0]).abs().max() > 1e-3


def test_the_future_cannot_change_the_past(cell, engine):
    layer = random_layer(cell, engine, num_layers=2)
    x, states = random_input(T, B), random_states(layer, B)
    other = torch.cat([x[:4], random_input(T - 4, B, seed=9)])
    before, after = run(layer, x, states)[0], run(layer, other, states)[0]
    assert_same([after[:4]], [before[:4]])
    assert ((after[4:] - before[4:]).abs().amax(dim=(1, 2)) > 1e-6).all()
    x = x.requires_grad_()
    (grad,) = torch.autograd.grad(run(layer, x, states)[0][3].sum(), x)
    assert not grad[4:].any()
    assert grad[:4].abs().amax(dim=(1, 2)).gt(0).all()


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=str)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf], ids=str)
def test_rows_are_independent(cell, engine, bad, lengths):
    """What is not a number in one row stays there: in outputs, final states, gradients by input and initial states."""
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)
    spoilt = x.clone()
    spoilt[3, 0] = bad
    clean, dirty = (everything(layer, given, states, lengths=lengths) for given in (x, spoilt))
    names = ["output", "d x", *layer.cell.states, *(f"d {state}" for state in layer.cell.states)]
    assert_same([dirty[name][:, 1:] for name in names], [clean[name][:, 1:] for name in names])
    if bad != bad:
        assert dirty["output"][: 5 if lengths else T, 0].isnan().all()


def test_a_state_that_is_not_a_number_stays_in_its_row(cell, engine):
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)
    spoilt = tuple(state.clone() for state in states)
    for state in spoilt:
        state[:, 2] = torch.nan
    clean, dirty = (everything(layer, x, given, lengths=LENGTHS) for given in (states, spoilt))
    others = torch.tensor([0, 1, 3])
    names = ["output", "d x", *layer.cell.states, *(f"d {state}" for state in layer.cell.states)]
    assert_same([dirty[name][:, others] for name in names], [clean[name][:, others] for name in names])
    assert dirty["output"][:, 2].isnan().all()


def test_rows_may_be_permuted(cell, engine):
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)
    order = torch.tensor([2, 0, 3, 1])
    permuted = run(layer, x[:, order], tuple(s[:, order] for s in states), lengths=torch.tensor(LENGTHS)[order])
    assert_same(permuted, [value[:, order] for value in run(layer, x, states, lengths=LENGTHS)])


def test_batch_first_changes_the_order_of_axes_alone(cell, engine):
    layer, first = (random_layer(cell, engine, batch_first=flag, **DEEP) for flag in (False, True))
    x, states = random_input(T, B), random_states(layer, B)
    output, *finals = run(first, x.transpose(0, 1), states, lengths=LENGTHS)
    assert_same((output.transpose(0, 1), *finals), run(layer, x, states, lengths=LENGTHS))


@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_is_a_batch_of_one(cell, engine, batch_first):
    layer = random_layer(cell, engine, batch_first=batch_first, **DEEP)
    x, states = random_input(T, 1), random_states(layer, 1)
    output, *finals = run(layer, x[:, 0], tuple(state[:, 0] for state in states))
    batch = run(layer, x.transpose(0, 1) if batch_first else x, states)
    assert_same((output, *finals), (batch[0].reshape(T, -1), *(final[:, 0] for final in batch[1:])))
    assert_same(run(layer, x[:, 0]), run(layer, x[:, 0], tuple(torch.zeros_like(state[:, 0]) for state in states)))


@pytest.mark.parametrize("padding", [torch.nan, torch.inf, 1e30], ids=str)
def test_padding_changes_nothing(cell, engine, padding):
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)
    outside = torch.arange(T).unsqueeze(1) >= torch.tensor(LENGTHS)
    clean = everything(layer, x.masked_fill(outside.unsqueeze(2), 0.0), states, lengths=LENGTHS)
    dirty = everything(layer, x.masked_fill(outside.unsqueeze(2), padding), states, lengths=LENGTHS)
    assert_agree(dirty, clean, 0.0)
    assert not dirty["d x"][outside].any()
    assert dirty["d x"][~outside].all()


@pytest.mark.parametrize("lengths", [LENGTHS, list(LENGTHS), torch.tensor(LENGTHS, dtype=torch.int32)], ids=type)
def test_lengths_are_a_packed_sequence(cell, engine, lengths):
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)

    def packed(x):
        return pack_padded_sequence(x, torch.tensor(LENGTHS), enforce_sorted=False)

    assert isinstance(layer(packed(x))[0], PackedSequence)
    assert_agree(everything(layer, x, states, packed), everything(layer, x, states, lengths=lengths), 1e-12)


def test_a_sorted_packed_sequence_keeps_its_order(cell, engine):
    layer = random_layer(cell, engine, **DEEP)
    lengths = sorted(LENGTHS, reverse=True)
    x, states = random_input(T, B), random_states(layer, B)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=True)
    assert packed.sorted_indices is None
    output, _ = layer(packed, one_or_all(states))
    assert output.sorted_indices is None
    assert output.unsorted_indices is None
    assert torch.equal(output.batch_sizes, packed.batch_sizes)
    expected = run(layer, x, states, lengths=lengths)
    assert_same(run(layer, packed, states)[1:], expected[1:], 0.0)
    assert_same([pad_packed_sequence(output)[0]], [expected[0]], 0.0)


def test_full_lengths_are_no_lengths(cell, engine):
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)
    assert_agree(everything(layer, x, states, lengths=[T] * B), everything(layer, x, states), 1e-12)


def test_a_run_leaves_its_inputs_as_they_were(cell, engine):
    layer = random_layer(cell, engine, **DEEP)
    x, states = random_input(T, B), random_states(layer, B)
    kept = [value.clone() for value in (x, *states, *layer.parameters())]
    run(layer, x, states, lengths=LENGTHS)
    assert_same([x, *states, *layer.parameters()], kept, 0.0)


def test_the_same_call_gives_the_same_bits(cell, engine):
    layer = random_layer(cell, engine, 33, **DEEP)
    x, states = random_input(T, 9), random_states(layer, 9)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            first = everything(layer, x, states, lengths=(5, 2, 7, 1, 1, 7, 3, 4, 6))
            for _ in range(3):
                again = everything(layer, x, states, lengths=(5, 2, 7, 1, 1, 7, 3, 4, 6))
                assert all(torch.equal(again[name], value) for name, value in first.items())
    finally:
        torch.set_num_threads(before)
