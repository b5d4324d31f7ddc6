"""The compiled loop that writes text: the same tokens as step by step in PyTorch."""

import itertools
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise import LanguageModel
from gatewise.cells import resolve
from gatewise.engines.native import build
from gatewise.engines.native import stream as native_stream
from gatewise.engines.streaming import Manner
from gatewise.errors import UserError
from gatewise.tasks import Sampling, sampling
from gatewise.tasks.generate import generate_tokens

generating = sys.modules["gatewise.tasks.generate"]  # gatewise.tasks has a function of that name

pytestmark = pytest.mark.usefixtures("native")

WAYS = [
    {}, {"temperature": 0.6}, {"temperature": 3.0, "top_k": 4}, {"top_p": 0.8}, {"top_k": 9, "top_p": 0.9},
    {"temperature": 0.7, "top_k": 1}, {"greedy": True}, {"temperature": 0.0}, {"temperature": 1e-300, "top_p": 0.5},
]  # fmt: skip
"""All kinds of ``Sampling``."""


def manner(how: Sampling, never=None):
    return Manner(how.temperature, how.top_k, how.top_p, how.is_greedy, never)


def native_choice(logits, how, uniform, never=None):
    kernel = build.kernel_named(build.kernel(resolve("gru"), logits.dtype))
    return native_stream.choose(kernel, logits, manner(how, never), uniform)


def choice(logits, how, seed, never=None):
    """By PyTorch, and the number that was drawn."""
    logits = logits.clone()
    if never is not None:
        logits[never] = -torch.inf
    token = sampling.choose(logits, how, torch.Generator().manual_seed(seed))
    return token, torch.rand((), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).item()


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 28, 257, 5000])
def test_the_same_scores_give_the_same_token(size, way):
    how, seen = Sampling(**way), set()
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        for dtype in (torch.float32, torch.float64):
            logits = 3 * torch.randn(size, generator=generator, dtype=dtype)
            never = seed % size if seed % 3 == 0 and size > 1 else None
            token, uniform = choice(logits, how, seed, never)
            assert native_choice(logits, how, uniform, never) == token
            assert token != never
            seen.add(token)
    assert len(seen) > 1 or size == 1


@given(
    st.lists(st.sampled_from([-math.inf, -3.0, -1.0, 0.0, 1.0, 1.0 + 2**-20, 2.0]), min_size=1, max_size=40),
    st.integers(0, 2**40), st.sampled_from([0.0, 1e-320, 0.3, 1.0, 2.0, 1e9]), st.integers(0, 42),
    st.sampled_from([1e-300, 0.1, 0.25, 0.5, 0.75, 1 - 1e-16, 1.0]),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_ties_and_extremes(logits, seed, temperature, top_k, top_p):
    """Equal scores, of which the first come first; scores and settings at the ends of what numbers can say."""
    how, scores = Sampling(temperature, top_k, top_p), torch.tensor(logits)
    try:
        token, uniform = choice(scores, how, seed)
    except UserError:
        assert native_choice(scores, how, 0.5) is None
    else:
        assert native_choice(scores, how, uniform) == token


@pytest.mark.parametrize("uniform", [0.0, 0.5, math.nextafter(1, 0)])
@pytest.mark.parametrize("size", [3, 28, 5000])
def test_the_ends_of_the_unit_interval(size, uniform, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *a, **k: torch.tensor(uniform, dtype=torch.float64))
    for seed in range(20):
        logits = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        logits[[0, -1]] = -torch.inf
        for way in WAYS:
            how = Sampling(**way)
            assert native_choice(logits, how, uniform) == sampling.choose(logits, how, torch.Generator())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers(bad):
    scores = torch.tensor([0.0, bad, 1.0])
    assert native_choice(scores, Sampling(), 0.5) is None
    assert native_choice(scores, Sampling(), 0.5, never=1) in (0, 2)
    assert native_choice(scores, Sampling(greedy=True), 0.5) == (None if math.isnan(bad) else 1)


def random_model(size, cell, layers, embedding, dtype=torch.float64, hidden=33):
    torch.manual_seed(size + layers)
    model = LanguageModel(size, cell, hidden, layers, embedding).to(dtype)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 1.5 * weight.shape[-1] ** -0.5 if weight.dim() > 1 else 0.5)
    return model


def written(model, engine, prompt, length, how, never=None):
    model.recurrent.engine = engine
    return list(generate_tokens(model, torch.tensor(prompt), length, how, never))


@pytest.mark.parametrize("size", [28, 5000])
@pytest.mark.parametrize(("cell", "layers"), [("gru", 1), ("lstm", 3), ("gru-before", 1), ("gru", 3), ("lstm", 1)])
def test_the_same_seed_gives_the_same_text(size, cell, layers):
    """In float64, where scores agree to 1e-13: a draw that close to a border does not happen."""
    for embedding, (seed, way) in itertools.product((0, 16), enumerate(WAYS)):
        model, how = random_model(size, cell, layers, embedding), Sampling(seed=seed, **way)
        for engine in ("eager", "torch") if cell != "gru-before" else ("eager",):
            wanted = written(model, engine, [1, 7, 3], 70, how, never=2)
            assert written(model, "native", [1, 7, 3], 70, how, never=2) == wanted
            assert 2 not in wanted


@pytest.mark.parametrize("seed", range(10))
def test_the_same_text_in_float32(seed):
    """Scores agree to 1e-6: of some thousand draws none falls between two borders that far apart."""
    model, how = random_model(28, "gru", 2, 16, torch.float32, hidden=64), Sampling(seed=seed)
    assert written(model, "native", [3], 300, how) == written(model, "torch", [3], 300, how)


def test_a_number_of_threads_and_chunks_of_any_length(monkeypatch):
    monkeypatch.setattr(native_stream, "_SHARE", 1)
    model, how = random_model(28, "lstm", 2, 16), Sampling(seed=3)
    prompt = torch.randint(0, 28, (50,)).tolist()
    wanted = written(model, "eager", prompt, 200, how)
    for threads, first, longest in itertools.product((1, 2, 4), (1, 7, 1000), (1, 3, 5000)):
        torch.set_num_threads(threads)
        monkeypatch.setattr(generating, "_FIRST_CHUNK", first)
        monkeypatch.setattr(generating, "_LONGEST_CHUNK", longest)
        assert written(model, "native", prompt, 200, how) == wanted


def test_the_loop_runs_and_not_the_module(monkeypatch):
    model = random_model(28, "gru", 1, 0)
    monkeypatch.setattr(LanguageModel, "forward", lambda *a, **k: pytest.fail("the module was called"))
    assert len(written(model, "native", [1], 20, Sampling())) == 20


def test_a_hook_is_heard():
    """What the compiled loop cannot do is done by the module's own call."""
    model, heard = random_model(28, "gru", 1, 0), []
    model.head.register_forward_hook(lambda *a: heard.append(1))
    assert len(written(model, "native", [1], 20, Sampling())) == 20
    assert len(heard) == 20


def test_a_model_that_goes_astray_ends_where_it_does():
    """h doubles at every step; when it leaves the numbers, so do the scores: the tokens before it are given."""
    for dtype in (torch.float32, torch.float64):
        model = LanguageModel(5, "rnn-relu", 3).to(dtype)
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(0.5)
            model.recurrent.get_parameter("weight_hh_l0").fill_(4.0)
        ends = {}
        for engine in ("native", "torch"):
            model.recurrent.engine = engine
            ends[engine] = []
            with pytest.raises(UserError, match="went astray"):
                ends[engine].extend(generate_tokens(model, torch.tensor([1]), 1000, Sampling()))
        assert ends["native"] == ends["torch"]
        assert len(ends["native"]) > 20


def test_what_is_not_asked_for_is_not_written():
    model = random_model(28, "gru", 1, 0)
    tokens = generate_tokens(model, torch.tensor([1]), 10**12, Sampling())
    assert len(list(itertools.islice(tokens, 100))) == 100
    assert written(model, "native", [1], 0, Sampling()) == []


def test_a_prompt_outside_the_vocabulary():
    with pytest.raises(IndexError, match=r"outside 0 \.\.\. 27"):
        written(random_model(28, "gru", 1, 0), "native", [1, 28], 5, Sampling())


def test_two_texts_at_once():
    model, hows = random_model(28, "gru", 2, 16), [Sampling(seed=1), Sampling(seed=2, top_k=5)]
    wanted = [written(model, "native", [3], 90, how) for how in hows]
    pairs = zip(*(generate_tokens(model, torch.tensor([3]), 90, how) for how in hows), strict=True)
    assert [list(text) for text in zip(*pairs, strict=True)] == wanted


def test_prompts_of_any_make():
    """With gaps in memory, empty, of numbers that are no tokens; and a top_k beyond 64 bits."""
    model, with_gaps = random_model(20, "gru", 1, 0), torch.arange(20)[::3]

    def text(prompt, **way):
        return list(generate_tokens(model, prompt, 15, Sampling(seed=1, **way)))

    expected = written(model, "native", with_gaps.tolist(), 15, Sampling(seed=1))
    assert text(with_gaps) == expected
    assert text(with_gaps, top_k=2**64 + 1) == expected
    for wrong in (torch.zeros(0, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long), torch.zeros(2)):
        with pytest.raises(UserError, match="a prompt is one token or more"):
            text(wrong)
