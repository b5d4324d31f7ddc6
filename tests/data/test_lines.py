"""Lines, and batches of sequences of like length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise import UserError
from gatewise.data import Bunches, lines_of, padded, part_lines


def sequences(lengths):
    return [torch.full((n,), i) for i, n in enumerate(lengths)]


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=120), batch=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_every_sequence_stands_in_one_batch_of_the_epoch(lengths, batch, seed):
    bunches = Bunches.drawn(sequences(lengths), batch, torch.Generator().manual_seed(seed))
    assert len(bunches) == -(-len(lengths) // batch)
    seen = []
    for values, found in bunches:
        for row, length in enumerate(found.tolist()):
            seen.append(int(values[0, row]))
            assert length == lengths[seen[-1]]
            assert values[:length, row].tolist() == [seen[-1]] * length
            assert not values[length:, row].any()
    assert sorted(seen) == list(range(len(lengths)))


def test_neighbours_are_of_like_length_and_epochs_differ():
    lengths = torch.randint(1, 100, (640,), generator=torch.Generator().manual_seed(0)).tolist()
    drawn = [Bunches.drawn(sequences(lengths), 16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    waste = [1 - float(found.sum()) / values.numel() for values, found in drawn[0]]
    assert sum(waste) / len(waste) < 0.1
    assert drawn[0].groups == drawn[1].groups
    assert drawn[0].groups != drawn[2].groups
    assert drawn[0][3:5].groups == drawn[0].groups[3:5]
    order = [int(found.max()) for _, found in drawn[0]]
    assert order != sorted(order)  # a network that saw the short ones first would forget them


def test_lines_are_what_is_not_blank():
    assert lines_of(" a b \n\n\t\nc\r\n") == ["a b", "c"]


def test_no_held_out_line_is_one_that_was_learned():
    said = []
    text = "\n".join([*(f"line {i}" for i in range(8)), "line 3", "fresh"])
    train, heldout = part_lines(text, 0.2, said.append)
    assert train == [f"line {i}" for i in range(8)]
    assert heldout == ["fresh"]
    assert said == ["1 of 2 held-out lines stand among those to learn, and are left out"]
    with pytest.raises(UserError, match="fewer than two lines"):
        part_lines("alone\n\n", 0.1)


def test_padded_series():
    values, lengths = padded([torch.ones(2, 3), torch.ones(4, 3)])
    assert values.shape == (4, 2, 3)
    assert lengths.tolist() == [2, 4]
    assert values[2:, 0].abs().sum() == 0
