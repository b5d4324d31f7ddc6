"""Calls that meet: layers in turn, Python threads, forked processes, data loaders, threads within threads."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

import gatewise

pytestmark = pytest.mark.usefixtures("native")

SIZES = [(5, 3, 4, 7), (9, 40, 12, 33), (3, 1, 2, 70), (30, 17, 3, 64), (2, 200, 5, 16), (45, 40, 3, 20)]
"""(T, B, I, H)"""


@contextlib.contextmanager
def thread_count(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    with thread_count(request.param):
        yield request.param


class Job:
    """A layer with its input; ``bits()`` is all it gives, forward and backward."""

    def __init__(self, size: tuple[int, ...], cell: str = "gru", dtype: torch.dtype = torch.float32, **options) -> None:
        steps, self.batch, features, hidden = size
        torch.manual_seed(sum(size))
        self.layer = gatewise.Recurrent(cell, features, hidden, dtype=dtype, engine="native", **options)
        self.x = torch.randn(steps, self.batch, features, dtype=dtype)

    def bits(self) -> bytes:
        x = self.x.clone().requires_grad_()
        output, state = self.layer(x)
        finals = state if isinstance(state, tuple) else (state,)
        loss = torch.stack([value.square().sum() for value in (output, *finals)]).sum()
        grads = torch.autograd.grad(loss, [x, *self.layer.parameters()])
        return b"".join(value.detach().numpy().tobytes() for value in (output, *finals, *grads))


def jobs() -> list[Job]:
    several = [Job(size) for size in SIZES]
    several += [Job((7, 9, 3, 33), cell, dtype) for cell in gatewise.CELLS for dtype in (torch.float32, torch.float64)]
    return [*several, Job((6, 5, 4, 16), "lstm", num_layers=2, bidirectional=True)]


@pytest.fixture
def alone(threads):
    """Jobs, and what each gives when nothing else runs."""
    several = jobs()
    return several, [job.bits() for job in several]


def test_repeated_calls_give_the_same_bits(alone):
    for job, expected in zip(*alone, strict=True):
        for _ in range(3):
            assert job.bits() == expected


def test_layers_in_turn(alone):
    several, expected = alone
    for _ in range(2):
        assert [job.bits() for job in several] == expected
        assert [job.bits() for job in reversed(several)] == expected[::-1]


def test_forward_passes_first_and_backward_passes_in_another_order(alone):
    several, _ = alone

    def gradients(order):
        losses = {i: several[i].layer(several[i].x)[0].square().sum() for i in range(len(several))}
        return {i: torch.autograd.grad(losses[i], list(several[i].layer.parameters())) for i in order}

    first, second = gradients(range(len(several))), gradients(reversed(range(len(several))))
    for i in range(len(several)):
        assert all(torch.equal(one, other) for one, other in zip(first[i], second[i], strict=True))


def test_python_threads_at_once(alone, threads):
    several, expected = alone
    start = threading.Barrier(4)

    def work(worker):
        torch.set_num_threads(threads)  # a setting of each thread
        start.wait()
        answers = []
        for i in range(len(several)):
            k = (i + worker * 5) % len(several)
            answers.append((k, several[k].bits()))
        return answers

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for answers in pool.map(work, range(4)):
            for k, bits in answers:
                assert bits == expected[k]


def test_threads_that_come_and_go(alone, threads):
    """A thread's workspace goes with it."""
    several, expected = alone
    found = []

    def work():
        torch.set_num_threads(threads)
        found.append(several[1].bits() == expected[1])

    for _ in range(20):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [True] * 20


class Rows(torch.utils.data.Dataset):
    """A data set that runs a layer to make its rows."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.layer = gatewise.GRU(3, 20, engine="native")

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> torch.Tensor:
        x = torch.full((5, 2, 3), float(i), requires_grad=True)
        output, _ = self.layer(x)
        (grad,) = torch.autograd.grad(output.square().sum(), x)
        return torch.cat([output.detach().flatten(), grad.flatten()])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers(context):
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {context}")
    rows = Rows()
    with thread_count(1):  # as in a worker
        expected = torch.stack([rows[i] for i in range(len(rows))])
    with thread_count(2):
        rows[0]  # the parent's threads are running
        options = {"num_workers": 2, "multiprocessing_context": context, "timeout": 120}
        loader = torch.utils.data.DataLoader(rows, batch_size=3, **options)
        assert torch.equal(torch.cat(list(loader)), expected)


def in_a_child(work) -> int:
    """The exit code of a forked process that does some work; 1 if it raises, -14 if it hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout has its own
            signal.alarm(30)
            code = work() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def small(several: list[Job]) -> list[Job]:
    """Those whose work outside the engine PyTorch does on one thread: its own threads hang in a forked process."""
    return [job for job in several if job.x.numel() < 1000]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_call_in_a_forked_process(alone):
    """The parent's threads do not exist in the child; one thread computes there."""
    several = small(alone[0])
    expected = [job.bits() for job in several]
    with thread_count(1):
        one_thread = [job.bits() for job in several]
    alone[0][1].bits()

    def work():
        return 0 if [job.bits() for job in several] == one_thread else 2

    assert in_a_child(work) == 0
    assert [job.bits() for job in several] == expected  # the parent has lost nothing
    assert in_a_child(lambda: in_a_child(work)) == 0


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_forked_while_another_thread_computes(alone):
    several, expected = alone
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            several[3].bits()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        codes = [in_a_child(lambda: several[0].bits() and 0) for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    assert codes == [0] * 5
    assert several[0].bits() == expected[0]


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_large_results_are_not_shared_with_a_forked_process():
    """Their memory is kept for later calls; a child that writes to its own must not reach the parent's."""
    layer = gatewise.GRU(2, 60, engine="native")
    x = torch.randn(80, 512, 2)
    with torch.no_grad(), thread_count(2):
        output, _ = layer(x)
        expected = output.clone()
        layer(x)  # and memory that waits for the next call

        def work():
            output.numpy()[:] = 7.0  # by NumPy: the threads of PyTorch hang in a forked process
            for _ in range(3):
                layer(x)[0].numpy()[:] = 8.0
            return 0

        assert in_a_child(work) == 0
        assert torch.equal(output, expected)
        assert torch.equal(layer(x)[0], expected)


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_kernel_is_built_in_a_forked_process():
    class Fresh(gatewise.Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return 0.625 * h + 0.375 * torch.tanh(x.n + u.n(h))

    def work():
        return 0 if gatewise.Recurrent(Fresh, 2, 3, engine="native")(torch.zeros(2, 1, 2))[0].shape == (2, 1, 3) else 2

    assert in_a_child(work) == 0


def test_inside_a_backward_pass_of_something_else(alone):
    """Autograd may run a backward pass within another's, and on a thread of its own."""
    several, expected = alone
    answers = []

    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):  # type: ignore[override]
            with torch.enable_grad():
                answers.append(several[1].bits() == expected[1])
            return gradient

    leaf = torch.ones(3, requires_grad=True)
    Inner.apply(leaf).sum().backward()
    assert answers == [True]


NESTED = """
import torch, gatewise
from concurrent.futures import ThreadPoolExecutor

torch.set_num_threads(4)
torch.manual_seed(0)
layer = gatewise.GRU(3, 70, engine="native")
x = torch.randn(6, 3, 3)
expected = gatewise.GRU(3, 70, engine="eager")
expected.load_state_dict(layer.state_dict())
expected = expected(x)[0].detach()

def work(_):
    return layer(x)[0].detach()

with ThreadPoolExecutor(8) as pool:
    for value in pool.map(work, range(64)):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
print("well")
"""


@pytest.mark.parametrize(
    "environment",
    [{"OMP_DYNAMIC": "true", "OMP_WAIT_POLICY": "passive"}, {"OMP_THREAD_LIMIT": "2"}, {"OMP_MAX_ACTIVE_LEVELS": "3"}],
    ids=str,
)
def test_fewer_threads_than_asked_for(environment):
    """OpenMP may give fewer threads than a call asked for; those that came do all the work."""
    done = subprocess.run(
        [sys.executable, "-c", NESTED], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr
