"""What the native engine is given and cannot run: it says so, and engine="auto" runs another one."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import gatewise
from gatewise import Cell, Recurrent, UserError
from gatewise.engines.native import build, cache

pytestmark = pytest.mark.usefixtures("native")

_made = iter(range(1_000_000))


def fresh_cell() -> type[Cell]:
    """A cell that no kernel was built for."""
    number = 0.1 + next(_made) * 1e-6 + os.getpid() * 1e-12

    class Fresh(Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return number * h + torch.tanh(x.n + u.n(h))

    return Fresh


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


class TestCompilerThatFails:
    @pytest.fixture(autouse=True)
    def failing(self, cache_root, script):
        script("echo 'Fresh.cpp:7:1: error: flux capacitor missing' >&2; exit 1")

    def test_asked_for_it_raises_with_the_first_error_and_the_source(self, cache_root):
        layer = Recurrent(fresh_cell(), 3, 5, engine="native")
        for attempt in (lambda: layer(torch.zeros(4, 2, 3)), lambda: gatewise.which(layer)):
            with pytest.raises(UserError) as caught:
                attempt()
            text = one_line(caught)
            assert text.startswith("engine 'native' cannot run this: native: the native kernel could not be compiled: ")
            assert "Fresh.cpp:7:1: error: flux capacitor missing" in text
            path = next(cache_root.glob("Fresh-*.failed/Fresh.cpp"))
            assert f"its source is kept in {path}" in text
            assert "struct Cell" in path.read_text()

    def test_auto_runs_another_engine_and_says_why(self):
        layer = Recurrent(fresh_cell(), 3, 5)
        reference = Recurrent(type(layer.cell), 3, 5, engine="eager")
        reference.load_state_dict(layer.state_dict())
        x = torch.randn(4, 2, 3)
        assert torch.equal(layer(x)[0], reference(x)[0])
        choice = gatewise.which(layer)
        assert choice.engine == "eager"
        assert "error: flux capacitor missing" in choice.reason

    def test_the_compiler_is_asked_once(self, builds):
        layer = Recurrent(fresh_cell(), 3, 5)
        for _ in range(5):
            layer(torch.zeros(4, 2, 3))
        assert builds() == 1


def test_a_compiler_that_breaks_off(cache_root, script):
    script("kill -9 $$")
    layer = Recurrent(fresh_cell(), 3, 5)
    assert layer(torch.zeros(4, 2, 3))[0].shape == (4, 2, 5)
    assert "ended by signal" in gatewise.which(layer).reason


def test_a_compiler_that_makes_something_else(cache_root, script):
    """The library loads and lacks our functions."""
    script('for last; do :; done; echo "int x;" > empty.cpp; exec c++ -shared -fPIC empty.cpp -o "$last"')
    layer = Recurrent(fresh_cell(), 3, 5)
    assert gatewise.which(layer).engine == "eager"
    assert "native: the compiled kernel does not load: " in gatewise.which(layer).reason


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(cache, "find_compiler", lambda: None)
    layer = Recurrent(fresh_cell(), 3, 5)
    assert layer(torch.zeros(4, 2, 3))[0].shape == (4, 2, 5)
    assert "native: no C++ compiler that works" in gatewise.which(layer).reason
    layer.engine = "native"
    with pytest.raises(UserError, match=r"engine 'native' cannot run this: native: no C\+\+ compiler that works"):
        layer(torch.zeros(4, 2, 3))


def test_a_cache_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("GATEWISE_CACHE", str(tmp_path / "file"))
    layer = Recurrent(fresh_cell(), 3, 5)
    assert layer(torch.zeros(4, 2, 3))[0].shape == (4, 2, 5)
    reason = gatewise.which(layer).reason
    assert f"native: {tmp_path / 'file'}: the cache folder for compiled kernels cannot be written to" in reason
    assert "set GATEWISE_CACHE to another" in reason
    layer.engine = "native"
    with pytest.raises(UserError, match="the cache folder for compiled kernels cannot be written to"):
        layer(torch.zeros(4, 2, 3))


def test_a_kernel_in_the_cache_runs_where_nothing_can_be_written(cache_root, monkeypatch):
    cell = fresh_cell()
    x = torch.randn(4, 2, 3)
    first = Recurrent(cell, 3, 5, engine="native")
    expected = first(x)[0]

    def refused(*_):
        raise UserError("nothing can be written here")

    for function in ("make", "temporary_folder", "why_not_writable"):
        monkeypatch.setattr(cache.folders, function, refused)
    monkeypatch.setattr(build, "_kernels", {})
    again = Recurrent(cell, 3, 5, engine="native")
    again.load_state_dict(first.state_dict())
    assert torch.equal(again(x)[0], expected)


def test_a_call_costs_no_look_at_the_disk(monkeypatch):
    layer = gatewise.GRU(3, 5, engine="native")
    x = torch.zeros(4, 2, 3)
    layer(x)
    monkeypatch.setattr(cache.folders, "why_not_writable", None)
    monkeypatch.setattr(build, "library", None)
    layer(x)


def test_an_operation_that_the_graph_does_not_have():
    class Sine(Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return torch.sin(x.n + u.n(h))

    layer = Recurrent(Sine, 3, 5)
    assert layer(torch.zeros(4, 2, 3))[0].shape == (4, 2, 5)
    choice = gatewise.which(layer)
    assert choice.engine == "eager"
    assert "native: cell 'Sine' uses torch's sin, which the graph does not have" in choice.reason
    layer.engine = "native"
    with pytest.raises(UserError) as caught:
        layer(torch.zeros(4, 2, 3))
    assert one_line(caught).startswith("engine 'native' cannot run this: native: cell 'Sine' uses torch's sin")


class TestNumbersOfAnotherType:
    """A kernel sees addresses alone: what is not of the weights' type would be read as something else."""

    def states(self, cell, dtype, **options):
        states = tuple(torch.zeros(1, 2, 5, dtype=dtype, **options) for _ in gatewise.CELLS[cell].states)
        return states[0] if len(states) == 1 else states

    @pytest.mark.parametrize("engine", ["native", "torch", "eager"])
    @pytest.mark.parametrize("other", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_states(self, dtype, other, engine):
        for cell in ("gru", "lstm"):
            layer = Recurrent(cell, 3, 5, dtype=dtype, engine=engine)
            x = torch.zeros(4, 2, 3, dtype=dtype)
            if other == dtype:
                assert layer(x, self.states(cell, other))[0].dtype == dtype
            else:
                with pytest.raises(RuntimeError, match="has the type" if engine == "native" else None):
                    layer(x, self.states(cell, other))

    def test_states_elsewhere(self):
        layer = gatewise.GRU(3, 5, engine="native")
        with pytest.raises(RuntimeError, match="native: the initial state is on meta, the weights are on the CPU"):
            layer(torch.zeros(4, 2, 3), self.states("gru", torch.float32, device="meta"))
        with pytest.raises(RuntimeError, match="is on meta"):
            layer(torch.zeros(4, 2, 3, device="meta"))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_weights(self, dtype):
        layer = gatewise.GRU(3, 5, dtype=dtype)
        x = torch.zeros(4, 2, 3, dtype=dtype)
        name = str(dtype).removeprefix("torch.")
        assert layer(x)[0].dtype == dtype
        assert f"native has float32 and float64, not {name}" in gatewise.which(layer).reason
        layer.engine = "native"
        with pytest.raises(UserError, match=f"native has float32 and float64, not {name}"):
            layer(x)


HUGE = """
import resource, sys, torch, gatewise
torch.set_num_threads(int(sys.argv[1]))
layer = gatewise.GRU(4, 256, engine="native")
small, large = torch.randn(3, 2, 4), torch.randn(1, 1, 4).expand(100, 256, 4)
expected = layer(small)[0].detach()
answer = layer(small)[0]
answer.backward(torch.ones(1).expand(answer.shape))  # as below: what PyTorch imports for it needs memory too
del answer
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for extra in (0, 10, 40, 80, 120, 160):  # MiB: another allocation fails each time
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (extra << 20), resource.RLIM_INFINITY))
    for train in (False, True):
        try:
            with torch.set_grad_enabled(train):
                output, state = layer(large)
            if train:
                output.backward(torch.ones(1).expand(output.shape))
            del output, state
        except (MemoryError, RuntimeError) as error:
            assert "memory" in str(error).lower() or isinstance(error, MemoryError), error
            print(type(error).__name__)
        with torch.no_grad():
            assert torch.equal(layer(small)[0], expected)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_too_little_memory_is_an_error_and_not_the_end(threads, monkeypatch):
    monkeypatch.setenv("GATEWISE_CXXFLAGS", "-DGATEWISE_POISON")
    done = subprocess.run([sys.executable, "-c", HUGE, str(threads)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"MemoryError", "RuntimeError"}
    assert len(done.stdout.split()) >= 3


@pytest.mark.parametrize("shape", [(2**45, 1, 3), (2**20, 2**30, 3), (2**61, 1, 3), (2**40, 2**22, 3)], ids=str)
@pytest.mark.parametrize("wanted", [False, True])
def test_sizes_that_no_memory_holds(shape, wanted):
    layer = gatewise.GRU(3, 5, engine="native").requires_grad_(wanted)
    state = torch.zeros(1, 1, 1).expand(1, shape[1], 5)
    with pytest.raises((MemoryError, RuntimeError)):
        layer(torch.zeros(1, 1, 3).expand(shape), state)


@dataclass
class Scaled(Cell):
    """Comparable by its values, and so without a hash."""

    scale: Any = 2.0
    gates = ("n",)

    def step(self, x, u, h):
        return torch.tanh(x.n + u.n(h) * self.scale)


class TestCellsThatChange:
    """The equations may hold numbers of the cell; the kernel is always that of the numbers at hand."""

    def test_the_kernel_is_that_of_the_attributes(self):
        cell = Scaled()
        layer, reference = (Recurrent(cell, 3, 5, engine=engine) for engine in ("native", "eager"))
        reference.load_state_dict(layer.state_dict())
        x = torch.randn(4, 2, 3)
        for scale in (2.0, 0.25, 2.0):
            cell.scale = scale
            torch.testing.assert_close(layer(x)[0], reference(x)[0], rtol=1e-5, atol=1e-5)

    def test_the_source_is_that_of_the_attributes(self):
        cell = Scaled()
        for scale in (2.0, 0.25, torch.tensor(0.5), np.float32(1.5), 3, 0.25):
            cell.scale = scale
            assert f"real({float(scale)!r})" in build.source(cell)
        cell.scale = torch.tensor(0.5)
        assert "real(0.5)" in build.source(cell)
        cell.scale.fill_(0.125)
        assert "real(0.125)" in build.source(cell)
        cell.scale = torch.ones(5)
        assert "a Tensor among its values" in gatewise.which(Recurrent(cell, 3, 5)).reason

    def test_cells_with_one_name_and_other_equations(self):
        layers = []
        for number in (0.5, 0.75):

            class Same(Cell):
                gates = ("n",)

                def step(self, x, u, h, number=number):
                    return torch.tanh(x.n + u.n(h)) * number

            layers.append(Recurrent(Same, 3, 5, engine="native"))
        layers[1].load_state_dict(layers[0].state_dict())
        x = torch.randn(1, 2, 3)
        torch.testing.assert_close(layers[0](x)[0] * 1.5, layers[1](x)[0])

    def test_a_cell_that_is_gone_leaves_nothing(self):
        before = len(build._known._held)
        for _ in range(3):
            gatewise.GRU(3, 5, engine="native")(torch.zeros(2, 1, 3))
        assert len(build._known._held) <= before + 1
