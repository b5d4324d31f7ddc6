"""The partitions against the book's definition, written out in plain Python."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data import random_offset, random_partition, sequential_partition
from gatewise.errors import UserError


def book_sequential(corpus, batch_size, num_steps, offset):
    """The chapter's generator with its random offset as an argument; batches as lists of rows."""
    num_tokens = ((len(corpus) - offset - 1) // batch_size) * batch_size
    width = num_tokens // batch_size
    xs, ys = corpus[offset : offset + num_tokens], corpus[offset + 1 : offset + 1 + num_tokens]
    xs = [xs[row * width : (row + 1) * width] for row in range(batch_size)]
    ys = [ys[row * width : (row + 1) * width] for row in range(batch_size)]
    for i in range(0, num_steps * (width // num_steps), num_steps):
        yield [row[i : i + num_steps] for row in xs], [row[i : i + num_steps] for row in ys]


def book_random(corpus, batch_size, num_steps, offset, order):
    """The chapter's generator; `order` is its shuffle."""
    corpus = corpus[offset:]
    num_subseqs = (len(corpus) - 1) // num_steps
    initial_indices = [order[i] * num_steps for i in range(num_subseqs)]
    for i in range(0, batch_size * (num_subseqs // batch_size), batch_size):
        starts = initial_indices[i : i + batch_size]
        yield [corpus[j : j + num_steps] for j in starts], [corpus[j + 1 : j + 1 + num_steps] for j in starts]


def as_rows(batches):
    return [(inputs.T.tolist(), targets.T.tolist()) for inputs, targets in batches]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


sizes = st.integers(1, 7)


@given(batch_size=sizes, num_steps=sizes, offset=st.integers(0, 9), extra=st.integers(0, 90), data=st.data())
def test_sequential_is_the_books(batch_size, num_steps, offset, extra, data):
    length = offset + batch_size * num_steps + 1 + extra
    corpus = data.draw(st.lists(st.integers(0, 999), min_size=length, max_size=length))
    batches = sequential_partition(torch.tensor(corpus), batch_size, num_steps, offset)
    expected = list(book_sequential(corpus, batch_size, num_steps, offset))
    assert len(batches) == len(expected)
    assert as_rows(batches) == expected


@given(batch_size=sizes, num_steps=sizes, extra=st.integers(0, 90), seed=st.integers(0, 2**31))
def test_random_is_the_books(batch_size, num_steps, extra, seed):
    corpus = list(range(1000, 1000 + (batch_size + 1) * num_steps + extra))
    batches = random_partition(torch.tensor(corpus), batch_size, num_steps, seeded(seed))
    rows = as_rows(batches)
    # Every token of this corpus tells its position, so offset and order can be read off the windows.
    starts = [window[0] - 1000 for inputs, _ in rows for window in inputs]
    offset = starts[0] % num_steps
    assert {start % num_steps for start in starts} == {offset}
    order = [start // num_steps for start in starts]
    num_subseqs = (len(corpus) - offset - 1) // num_steps
    assert len(set(order)) == len(order) == num_subseqs // batch_size * batch_size
    order += sorted(set(range(num_subseqs)) - set(order))  # the incomplete batch that is dropped
    assert sorted(order) == list(range(num_subseqs))
    assert rows == list(book_random(corpus, batch_size, num_steps, offset, order))


def test_shapes_types_and_the_carried_row():
    batches = sequential_partition(torch.arange(10_000), 32, 35, 34)
    assert len(batches) == 8  # the book's first 10,000 characters
    for (inputs, targets), (following, _) in itertools.pairwise(batches):
        assert inputs.shape == targets.shape == (35, 32)
        assert inputs.dtype == targets.dtype == torch.long
        assert inputs.is_contiguous()
        assert torch.equal(following[0], targets[-1])


def test_slice_goes_on_where_a_run_stopped():
    batches = random_partition(torch.arange(200), 3, 5, seeded())
    assert as_rows(batches[4:]) == as_rows(batches)[4:]
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_random_comes_from_the_generator_alone():
    ids = torch.arange(500)
    first, again, other = (as_rows(random_partition(ids, 4, 6, seeded(seed))) for seed in (1, 1, 2))
    assert first == again != other
    generator = seeded(1)
    epochs = [as_rows(random_partition(ids, 4, 6, generator)) for _ in range(2)]
    assert epochs[0] == first
    assert epochs[1] != first
    before = torch.random.get_rng_state()
    random_partition(ids, 4, 6, generator)
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_order_is_shuffled():
    inputs, _ = random_partition(torch.arange(400), 399, 1, seeded())[0]
    steps = inputs[0].diff()
    assert 100 < int((steps > 0).sum()) < 300


def test_offsets_cover_their_range():
    generator = seeded()
    assert {random_offset(5, generator) for _ in range(200)} == {0, 1, 2, 3, 4}
    assert random_offset(1, generator) == 0


@given(batch_size=sizes, num_steps=sizes, offset=st.integers(0, 6))
def test_least_text(batch_size, num_steps, offset):
    needed = offset + batch_size * num_steps + 1
    assert len(sequential_partition(torch.arange(needed), batch_size, num_steps, offset)) == 1
    with pytest.raises(UserError, match=f"{needed - 1} tokens.* needs {needed};"):
        sequential_partition(torch.arange(needed - 1), batch_size, num_steps, offset)
    enough = (batch_size + 1) * num_steps
    assert all(len(random_partition(torch.arange(enough), batch_size, num_steps, seeded(s))) for s in range(20))
    with pytest.raises(UserError, match=f"{enough - 1} tokens.* needs {enough};"):
        random_partition(torch.arange(enough - 1), batch_size, num_steps, seeded())


@pytest.mark.parametrize(
    ("length", "remedy"),
    [
        (100, "lower --batch to at most 2 or lower --steps to at most 3"),
        (36, "lower --batch to at most 1 or lower --steps to at most 1"),
        (33, "lower --steps to at most 1"),
        (1, "lower --batch and --steps, or give a longer text"),
        (0, "lower --batch and --steps, or give a longer text"),
    ],
)
def test_remedy_for_a_short_text(length, remedy):
    with pytest.raises(UserError) as caught:
        sequential_partition(torch.arange(length), 32, 35, 0)
    assert str(caught.value).endswith(f"needs 1121; {remedy}")


@given(length=st.integers(0, 60), batch_size=sizes, num_steps=sizes, offset=st.integers(0, 3))
def test_remedies_work(length, batch_size, num_steps, offset):
    ids = torch.arange(length)
    for cut in (
        lambda b, t: sequential_partition(ids, b, t, offset),
        lambda b, t: random_partition(ids, b, t, seeded()),
    ):
        try:
            cut(batch_size, num_steps)
        except UserError as error:
            words = str(error).split("; ")[1].replace(",", "").split()
            if "--batch" in words and "most" in words:
                cut(int(words[words.index("--batch") + 4]), num_steps)
            if "--steps" in words and "most" in words:
                cut(batch_size, int(words[words.index("--steps") + 4]))


@pytest.mark.parametrize(
    ("batch_size", "num_steps", "option"), [(0, 5, "--batch"), (-1, 5, "--batch"), (5, 0, "--steps")]
)
def test_sizes_below_one(batch_size, num_steps, option):
    for cut in (
        lambda: sequential_partition(torch.arange(50), batch_size, num_steps, 0),
        lambda: random_partition(torch.arange(50), batch_size, num_steps, seeded()),
    ):
        with pytest.raises(UserError, match=f"{option} is .*: give 1 or more"):
            cut()


def test_negative_offset():
    with pytest.raises(UserError, match="offset of a partition is -1"):
        sequential_partition(torch.arange(50), 2, 2, -1)
