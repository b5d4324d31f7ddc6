"""The compiled stack that goes on step by step: every cell, size, precision and number of threads; who shares what."""

import concurrent.futures
import gc
import os
import pickle
import threading
import traceback
import weakref
from types import SimpleNamespace

import pytest
import torch
from made_up_cells import MADE_UP  # type: ignore[import-not-found]

import gatewise
from gatewise import CELLS, LanguageModel, Recurrent, stream
from gatewise.engines.native import stream as native_stream

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture(autouse=True, params=[1, 2, 4], ids="{} threads".format)
def threads(request, monkeypatch):
    """However small the work, so many threads do it."""
    monkeypatch.setattr(native_stream, "_SHARE", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    torch.manual_seed(5)
    yield request.param
    torch.set_num_threads(before)


def random_layer(cell, inputs, hidden, layers=1, dtype=torch.float64, engine="native", **options):
    layer = Recurrent(cell, inputs, hidden, layers, dtype=dtype, engine=engine, **options)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(0, weight.shape[-1] ** -0.5 if weight.dim() > 1 else 0.5)
    return layer


def by_eager(layer, x, state=None):
    """The whole sequence by the reference."""
    layer.engine = "eager"
    with torch.no_grad():
        output, final = layer(x, state)
    layer.engine = "native"
    return output, final


def steps(session, x):
    return torch.stack([session.step(x_t) for x_t in x])


def error(got, wanted):
    return (got - wanted).abs().max().item()


@pytest.mark.parametrize("name", [*CELLS, *MADE_UP])
def test_every_cell(name):
    cell = MADE_UP.get(name, name)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        layer = random_layer(cell, 5, 33, 2, dtype)
        x = torch.randn(6, 3, 5, dtype=dtype)
        state = tuple(torch.rand(2, 3, 33, dtype=dtype) for _ in layer.cell.states)
        state = state[0] if len(state) == 1 else state
        session = stream(layer)
        session.state = state
        wanted, final = by_eager(layer, x, state)
        assert session.engine == "native"
        assert error(steps(session, x), wanted) < tolerance * max(1, wanted.abs().max().item())
        finals = zip(*((s,) if isinstance(s, torch.Tensor) else s for s in (session.state, final)), strict=True)
        assert all(error(a, b) < tolerance * max(1, b.abs().max().item()) for a, b in finals)


@pytest.mark.parametrize("hidden", [1, 7, 16, 17, 33, 64, 100])
@pytest.mark.parametrize("inputs", [1, 15, 16, 40])
def test_sizes(inputs, hidden):
    for batch in (1, 2, 3, 9, 31, 33, 40):
        layer = random_layer("gru-before", inputs, hidden, 3)
        x = torch.randn(4, batch, inputs, dtype=torch.float64)
        assert error(steps(stream(layer), x), by_eager(layer, x)[0]) < 1e-12


@pytest.mark.parametrize("options", [{"bias": False}, {"num_layers": 1}, {"num_layers": 5}])
def test_options(options):
    layer = Recurrent("lstm-peephole", 3, 17, dtype=torch.float64, engine="native", **options)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    assert error(steps(stream(layer), x), by_eager(layer, x)[0]) < 1e-12


def test_the_number_of_threads_does_not_change_a_bit(threads):
    layer = random_layer("lstm", 12, 300, 2, torch.float32)
    x = torch.randn(80, 12)  # enough of them for one thread, several, one again
    got = steps(stream(layer), x)
    torch.set_num_threads(1)
    assert torch.equal(got, steps(stream(layer), x))


@pytest.mark.parametrize("embedding", [0, 6])
@pytest.mark.parametrize("largest", [0, 1 << 26], ids=["rows", "table"])
def test_tokens_by_their_rows_or_by_a_table(monkeypatch, embedding, largest):
    monkeypatch.setattr(native_stream, "_LARGEST_TABLE", largest)
    for batch in ((), (1,), (3,), (40,)):
        model = LanguageModel(45, "gru", 33, 2, embedding, engine="native").double()
        tokens = torch.randint(0, 45, (6, *batch))
        session = stream(model)
        got = steps(session, tokens)
        model.recurrent.engine = "eager"
        assert error(got, model(tokens)[0]) < 1e-12


def test_a_head_without_a_bias():
    model = LanguageModel(45, "gru", 33, engine="native").double()
    model.head = torch.nn.Linear(33, 45, bias=False, dtype=torch.float64)
    tokens = torch.randint(0, 45, (6,))
    assert error(steps(stream(model), tokens), model(tokens)[0]) < 1e-12


class Clock(gatewise.Cell):
    """No input, no weights but one: what a layer's size is known from."""

    vectors = ("w",)

    def step(self, x, u, h):
        return torch.tanh(h + u.vector.w)


class Nothing(gatewise.Cell):
    """No weights at all."""

    def step(self, x, u, h):
        return 0.5 * h + 1


def test_cells_without_an_input():
    for cell in (Clock, Nothing):
        layer, x = Recurrent(cell, 3, 17, engine="native", num_layers=2), torch.randn(5, 2, 3)
        assert error(steps(stream(layer), x), by_eager(layer, x)[0]) < 1e-6
    model = LanguageModel(45, Clock, 17, engine="native")
    tokens = torch.randint(0, 45, (6,))
    assert error(steps(stream(model), tokens), model(tokens)[0]) < 1e-6
    with pytest.raises(IndexError, match="outside"):
        stream(model).step(45)


def test_sessions_of_several_threads_at_once():
    layers = [random_layer(cell, 8, hidden, 2) for cell in ("gru", "lstm") for hidden in (17, 130)]
    x = torch.randn(200, 8, dtype=torch.float64)
    wanted = [steps(stream(layer), x) for layer in layers]
    with concurrent.futures.ThreadPoolExecutor(len(layers)) as pool:
        got = pool.map(lambda layer: steps(stream(layer), x), layers)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_a_session_that_several_threads_use_refuses_all_but_one_at_a_time():
    layer, x = random_layer("gru", 8, 600, 2, torch.float32), torch.randn(8)
    session, said, done = stream(layer), set(), []
    session.step(x)

    def use():
        for _ in range(100):
            try:
                done.append(session.step(x))
                session.state.sum()
            except RuntimeError as refusal:
                said.add(str(refusal))

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert said <= {"this stream is in use by another thread; every thread needs one of its own"}
    wanted = steps(stream(layer), x.expand(1 + len(done), 8))[1:]
    assert {tuple(y.tolist()) for y in done} == {tuple(y.tolist()) for y in wanted}  # every step happened once


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_session_goes_on_in_a_forked_process():
    layer = random_layer("gru", 8, 130, 2)
    x, session = torch.randn(40, 8, dtype=torch.float64), stream(layer)
    steps(session, x[:20])  # with the threads that the child will not have
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, pickle.dumps(steps(session, x[20:]).numpy()))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(writing)
    wanted = steps(session, x[20:])
    with os.fdopen(reading, "rb") as pipe:
        got = pickle.loads(pipe.read())  # noqa: S301  (our own child's)
    os.waitpid(child, 0)
    assert torch.equal(torch.from_numpy(got), wanted)


def test_a_session_that_is_gone_gives_its_memory_back(monkeypatch):
    opened, closed = [], []

    def finalize(owner, close, handle):
        opened.append(handle)
        weakref.finalize(owner, lambda: (closed.append(handle), close(handle)))

    monkeypatch.setattr(native_stream, "weakref", SimpleNamespace(finalize=finalize))
    session = stream(random_layer("gru", 3, 17))
    session.step(torch.zeros(3, dtype=torch.float64))
    session.refresh()
    assert closed == opened[:1]
    del session
    gc.collect()
    assert closed == opened
    assert len(closed) == 2
