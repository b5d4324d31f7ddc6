"""The native engine at the edges of its vectors, blocks and chunks, however its threads share the work."""

import pytest
import torch
from comparison import NATIVE, Setting, assert_engine_agrees_with_reference, random_input, random_layer
from made_up_cells import MADE_UP  # type: ignore

from gatewise.engines.native import arguments
from gatewise.engines.native.kernel import Kernel

pytestmark = pytest.mark.parametrize("engine", ["native"])

CELLS = [cell for cell, _ in NATIVE]
PRECISIONS = [torch.float64, torch.float32]
LENGTHS = (2, 3, 1)


@pytest.fixture(params=[False, True], ids=["rows", "units"])
def shared(request, monkeypatch):
    """What the threads share: the rows of the batch, or the hidden units."""
    monkeypatch.setattr(arguments, "_split_units", lambda *_: request.param)
    return request.param


def lengths_of(batch: int, steps: int) -> tuple[int, ...]:
    return tuple(1 + (5 * b + 2) % steps for b in range(batch))


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("hidden", [1, 3, 16, 17, 33])
@pytest.mark.parametrize("cell", CELLS)
def test_odd_sizes(cell, engine, hidden, dtype):
    for features in (1, 40):
        for batch in (1, 3, 9, 40):
            setting = Setting(hidden, dtype, steps=3, batch=batch, features=features)
            assert_engine_agrees_with_reference(cell, engine, setting)


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_share_rows_or_units(cell, engine, threads, shared):
    for dtype in PRECISIONS:
        # Fewer rows than threads, fewer panels than threads, several blocks of rows, an odd number of panels.
        for hidden, batch in ((1, 1), (17, 3), (33, 40), (70, 3)):
            for lengths in (None, lengths_of(batch, 3)):
                setting = Setting(hidden, dtype, threads, lengths, steps=3, batch=batch, features=5)
                assert_engine_agrees_with_reference(cell, engine, setting)


@pytest.mark.parametrize("cell", CELLS)
def test_stacked_in_both_directions_on_several_threads(cell, engine, shared):
    for dtype in PRECISIONS:
        for lengths in (None, lengths_of(9, 4)):
            setting = Setting(33, dtype, 2, lengths, 2, True, steps=4, batch=9)
            assert_engine_agrees_with_reference(cell, engine, setting)


@pytest.mark.parametrize("cell", CELLS)
def test_no_bias(cell, engine):
    for bidirectional in (False, True):
        setting = Setting(17, bidirectional=bidirectional, layers=2, bias=False)
        assert_engine_agrees_with_reference(cell, engine, setting)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_more_steps_than_a_chunk_of_the_weights_gradient(cell, engine, dtype):
    """768 rows are one chunk (backward.h): 19 steps of 40 rows and a rest, several whole chunks, one step a chunk."""
    for steps, batch in ((45, 40), (24, 64), (5, 400), (3, 900)):
        for threads, lengths in ((1, None), (2, lengths_of(batch, steps))):
            setting = Setting(9, dtype, threads, lengths, bidirectional=True, steps=steps, batch=batch)
            assert_engine_agrees_with_reference(cell, engine, setting)


@pytest.mark.parametrize("cell", ["gru-before", "lstm"])
def test_more_steps_than_a_chunk_where_threads_share_units(cell, engine, shared):
    setting = Setting(70, torch.float64, 2, lengths_of(40, 45), steps=45, batch=40)
    assert_engine_agrees_with_reference(cell, engine, setting)


@pytest.mark.parametrize("name", MADE_UP)
def test_every_operation_connection_and_spelling(name, engine, native):
    """The cells that stand for all that the graph can express."""
    for setting in (Setting(17), Setting(3, lengths=(4, 7, 1, 7, 2), bidirectional=True), Setting(33, threads=2)):
        assert_engine_agrees_with_reference(MADE_UP[name], engine, setting)


def test_a_batch_without_rows(engine):
    for threads in (1, 2):
        setting = Setting(5, threads=threads, layers=2, batch=0, bidirectional=True)
        assert_engine_agrees_with_reference("gru", engine, setting)


def test_few_rows_share_units_and_many_share_rows(engine, monkeypatch):
    """Both ways of sharing are chosen by themselves somewhere, so that both are worth testing."""
    chosen = []
    forward = Kernel.forward

    def watched(self, values):
        chosen.append((values["threads"], bool(values["split_units"])))
        return forward(self, values)

    monkeypatch.setattr(Kernel, "forward", watched)
    torch.set_num_threads(2)
    for hidden, batch in ((512, 1), (64, 64), (16, 1)):
        random_layer("gru", engine, hidden, torch.float32)(random_input(2, batch, torch.float32))
    assert chosen == [(2, True), (2, False), (2, False)]
