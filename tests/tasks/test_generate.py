"""Choosing the next token, writing on, and finding what was copied."""

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewise import LanguageModel
from gatewise.data import fit_tokenizer
from gatewise.errors import UserError
from gatewise.tasks import Sampling, generate, longest_copy
from gatewise.tasks.generate import generate_tokens
from gatewise.tasks.sampling import choose, weigh

scores = st.lists(st.integers(-1280, 1280).map(lambda n: n / 64), min_size=2, max_size=12)  # equal, or clearly not


def drawn(logits, **how):
    """The probabilities that the token is drawn from."""
    weights = weigh(torch.tensor(logits), Sampling(**how))
    return (weights / weights.sum()).tolist()


def softmax(logits, temperature):
    top = max(logits)
    weights = [math.exp((x - top) / temperature) for x in logits]
    return [w / sum(weights) for w in weights]


@given(scores, st.floats(0.05, 20))
def test_temperature(logits, temperature):
    assert drawn(logits, temperature=temperature) == pytest.approx(softmax(logits, temperature), abs=1e-9)


@given(scores, st.integers(1, 12))
def test_top_k_keeps_k_of_the_largest(logits, k):
    kept = [i for i, p in enumerate(drawn(logits, top_k=k)) if p > 0]
    rest = [i for i in range(len(logits)) if i not in kept]
    assert len(kept) == min(k, len(logits))
    assert min(logits[i] for i in kept) >= max((logits[i] for i in rest), default=-math.inf)


@given(scores, st.floats(0.01, 0.999), st.floats(0.2, 5))
@example([1.0, 1.0, 1.0, 1.0], 0.5, 1.0)
def test_top_p_keeps_the_smallest_set_that_is_likely_enough(logits, top_p, temperature):
    probabilities = softmax(logits, temperature)
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    totals = list(itertools.accumulate(probabilities[i] for i in order))
    if any(abs(total - top_p) < 1e-9 for total in totals):
        return  # rounding decides
    count = next((n for n, total in enumerate(totals, 1) if total >= top_p), len(logits))
    got = drawn(logits, temperature=temperature, top_p=top_p)
    kept = order[:count]
    assert sum(p > 0 for p in got) == count
    mass = sum(probabilities[i] for i in kept)
    for i, p in enumerate(got):
        tied = logits[i] == logits[kept[-1]]  # which of equals stays is free
        if not tied:
            assert p == pytest.approx(probabilities[i] / mass if i in kept else 0.0, abs=1e-6)


@given(scores)
def test_four_ways_to_be_greedy(logits):
    top = max(logits)
    greedy, cold, icy = Sampling(greedy=True), Sampling(temperature=0), Sampling(temperature=1e-320)
    for sampling in (greedy, cold, icy, Sampling(top_k=1), Sampling(top_p=1e-9)):
        token = choose(torch.tensor(logits), sampling, torch.Generator())
        assert logits[token] == top


@pytest.mark.parametrize(
    "how", [{}, {"temperature": 0.5}, {"temperature": 2.0, "top_k": 4}, {"top_p": 0.8}, {"top_k": 5, "top_p": 0.9}]
)
def test_frequencies_fit_the_probabilities(how):
    """Pearson's chi-square on 4,000 draws; a wrong temperature is off by hundreds."""
    logits = [0.3, -1.0, 1.2, 0.0, 2.0, -0.4, 0.9]
    wanted = drawn(logits, **how)
    generator, draws = torch.Generator().manual_seed(5), 4000
    tokens = [choose(torch.tensor(logits), Sampling(**how), generator) for _ in range(draws)]
    possible = [i for i, p in enumerate(wanted) if p > 0]
    assert set(tokens) <= set(possible)
    square = sum((tokens.count(i) - draws * wanted[i]) ** 2 / (draws * wanted[i]) for i in possible)
    assert square < 25  # 6 degrees of freedom at most: exceeded once in 3,000


def test_scores_that_are_no_numbers():
    for how in ({}, {"greedy": True}):
        with pytest.raises(UserError, match="went astray"):
            choose(torch.tensor([1.0, math.nan]), Sampling(**how), torch.Generator())
    for scores in ([1.0, math.inf], [-math.inf, -math.inf]):
        with pytest.raises(UserError, match="went astray"):
            choose(torch.tensor(scores), Sampling(), torch.Generator())


def test_a_number_of_the_generator_is_a_token():
    """The first k whose cumulative probability exceeds the number: the next number of the generator, and only that."""
    logits = torch.tensor([0.3, -1.0, 1.2, -math.inf, 2.0, -0.4, 0.9])
    borders = logits.double().softmax(0).cumsum(0)
    numbers = torch.rand(300, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    for number in numbers:
        assert choose(logits, Sampling(), generator) == int((borders <= number).sum())


def test_the_ends_of_the_unit_interval(monkeypatch):
    logits = torch.tensor([-math.inf, 1.0, -5.0, 0.7, -math.inf])
    for number, token in ((0.0, 1), (math.nextafter(1, 0), 3)):
        monkeypatch.setattr(torch, "rand", lambda *a, number=number, **k: torch.tensor(number, dtype=torch.float64))
        for temperature in (0.1, 0.5, 1.0, 1.7, 3.0):
            assert choose(logits, Sampling(temperature), torch.Generator()) == token


@pytest.mark.parametrize(
    ("how", "option"),
    [
        ({"temperature": -1.0}, "--temperature"), ({"temperature": math.nan}, "--temperature"),
        ({"temperature": math.inf}, "--temperature"), ({"top_k": -1}, "--top-k"), ({"top_p": 0.0}, "--top-p"),
        ({"top_p": 1.5}, "--top-p"), ({"top_p": math.nan}, "--top-p"), ({"seed": 2**64}, "--seed"),
    ],
)  # fmt: skip
def test_bad_sampling(how, option):
    with pytest.raises(UserError, match=option):
        Sampling(**how)


@pytest.fixture(params=["native", "torch"])
def engine(request):
    """With the compiled loop, and without."""
    if request.param == "native":
        request.getfixturevalue("native")
    return request.param


@pytest.fixture(params=["gru", "lstm"])
def model(request, engine):
    torch.manual_seed(4)
    model = LanguageModel(20, request.param, 7, 2, dropout=0.5, engine=engine)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 1)
    return model


@pytest.mark.parametrize("engine", ["torch"], indirect=True)
def test_each_token_costs_one_step(model, monkeypatch):
    seen, forward = [], LanguageModel.forward
    monkeypatch.setattr(LanguageModel, "forward", lambda self, x, s=None: seen.append(x.shape) or forward(self, x, s))
    list(generate_tokens(model, torch.tensor([1, 2, 3, 4]), 30, Sampling()))
    assert seen == [(4, 1)] + 29 * [(1, 1)]


def test_the_carried_state_is_the_whole_past(model):
    """Each token is the likeliest after all before it, read anew from the beginning."""
    prompt = [3, 1, 4]
    tokens = list(generate_tokens(model, torch.tensor(prompt), 25, Sampling(greedy=True)))
    model.eval()
    for n, token in enumerate(tokens):
        with torch.no_grad():
            logits, _ = model(torch.tensor(prompt + tokens[:n]).unsqueeze(1))
        assert int(logits[-1, 0].argmax()) == token


def test_a_seed_is_a_text_and_global_draws_do_not_matter(model):
    def text(seed):
        torch.rand(3)
        return list(generate_tokens(model, torch.tensor([1]), 40, Sampling(seed=seed)))

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_a_token_that_is_never_written(model):
    with torch.no_grad():
        model.head.bias[0] = 50.0
    assert 0 in set(generate_tokens(model, torch.tensor([1]), 20, Sampling()))
    assert 0 not in set(generate_tokens(model, torch.tensor([1]), 200, Sampling(temperature=5.0), never=0))


def test_the_model_is_left_as_it_was(model):
    model.train()
    tokens = generate_tokens(model, torch.tensor([1]), 5, Sampling())
    next(tokens)
    del tokens  # stopped in the middle
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("kind", ["char", "word", "byte", "bpe"])
def test_streamed_pieces_joined_are_the_decoded_tokens(kind):
    tokenizer = fit_tokenizer(
        kind, "日本語 text, naïve 文本 and 🙂 more. " * 3, **({"vocabulary_size": 260} if kind == "bpe" else {})
    )
    torch.manual_seed(0)
    model = LanguageModel(tokenizer.size, "gru", 6)
    sampling = Sampling(seed=3, temperature=2.0)
    pieces = list(generate(model, tokenizer, "日本", 60, sampling))
    tokens = list(generate_tokens(model, tokenizer.encode("日本"), 60, sampling, tokenizer.unk_id))
    assert "".join(pieces) == tokenizer.decode(tokens)
    assert all(pieces)


def test_what_cannot_be_read_is_refused_before_the_first_piece():
    tokenizer = fit_tokenizer("char", "to be or not to be")
    model = LanguageModel(tokenizer.size, "gru", 4)
    for prompt, said in (("tx", "position 1: 'x'"), ("", "empty")):
        with pytest.raises(UserError, match=said):
            generate(model, tokenizer, prompt, 5)
    with pytest.raises(UserError, match="--length -1"):
        generate(model, tokenizer, "t", -1)
    assert list(generate(model, tokenizer, "t", 0)) == []


@given(st.text("ab ", max_size=25), st.text("ab ", max_size=25))
@settings(max_examples=300)
def test_longest_copy_against_brute_force(text, source):
    pieces = {text[i:j] for i in range(len(text) + 1) for j in range(i, len(text) + 1)}
    longest = max(len(piece) for piece in pieces if piece in source)
    found = longest_copy(text, source)
    assert len(found) == longest
    assert found in text
    assert found in source
