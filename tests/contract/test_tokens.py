"""Whole numbers as input: each stands for its one-hot vector, or for its row of an embedding."""

import pytest
import torch
import torch.nn.functional as F
from comparison import DISTINCT, assert_agree, one_or_all, random_layer, random_states, run
from made_up_cells import MADE_UP  # type: ignore

import gatewise
from gatewise import UserError

T, B, I, H = 7, 4, 6, 17
LENGTHS = (7, 2, 5, 1)

everywhere = pytest.mark.parametrize(("cell", "engine"), DISTINCT)


def tokens_below(vocabulary, *shape, seed=7):
    return torch.randint(vocabulary, shape or (T, B), generator=torch.Generator().manual_seed(seed))


def embedding_of(vocabulary, dtype=torch.float64):
    generator = torch.Generator().manual_seed(8)
    return torch.randn(vocabulary, I, generator=generator, dtype=torch.float64).to(dtype)


def gradients(layer, states, returned, **others):
    """What was returned, and the gradients of a random sum of it by states, weights and others."""
    generator = torch.Generator().manual_seed(9)
    loss = torch.zeros((), dtype=returned[0].dtype)
    for value in returned:
        loss = loss + (value * torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)).sum()
    leaves = dict(zip(layer.cell.states, states, strict=True)) | dict(layer.named_parameters()) | others
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    found = {str(i): value.detach() for i, value in enumerate(returned)}
    return found | {
        f"d {name}": grad for (name, _), grad in zip(leaves.items(), grads, strict=True) if grad is not None
    }


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@everywhere
def test_tokens_are_one_hot_vectors(cell, engine, dtype, options):
    layer = random_layer(cell, engine, H, dtype, I, **options)
    states = tuple(state.requires_grad_() for state in random_states(layer, B))
    tokens = tokens_below(I)
    for lengths in (None, LENGTHS):
        found = gradients(layer, states, run(layer, tokens, states, lengths=lengths))
        expected = gradients(layer, states, run(layer, F.one_hot(tokens, I).to(dtype), states, lengths=lengths))
        assert_agree(found, expected, 1e-10 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("vocabulary", [1, 3, 28, 29, 500], ids="{} tokens".format)
@everywhere
def test_tokens_are_rows_of_an_embedding(cell, engine, vocabulary):
    """Fewer tokens than places, as many, one more, and so many that most do not occur."""
    layer = random_layer(cell, engine, H, features=I, bidirectional=True)
    states = tuple(state.requires_grad_() for state in random_states(layer, B))
    tokens, embedding = tokens_below(vocabulary), embedding_of(vocabulary).requires_grad_()
    for lengths in (None, LENGTHS):
        found = run(layer, tokens, states, embedding=embedding, lengths=lengths)
        expected = run(layer, F.embedding(tokens, embedding), states, lengths=lengths)
        assert_agree(
            gradients(layer, states, found, embedding=embedding),
            gradients(layer, states, expected, embedding=embedding),
            1e-10,
        )


@everywhere
def test_more_one_hot_features_than_places(cell, engine):
    layer = random_layer(cell, engine, H, features=300)
    states = tuple(state.requires_grad_() for state in random_states(layer, B))
    tokens = tokens_below(300)
    expected = run(layer, F.one_hot(tokens, 300).double(), states)
    found = run(layer, tokens, states)
    assert_agree(gradients(layer, states, found), gradients(layer, states, expected), 1e-10)


@everywhere
def test_many_steps(cell, engine):
    """More rows than one chunk of the gradient by the table."""
    layer = random_layer(cell, engine, 5, features=I)
    tokens = tokens_below(I, 50, 40)
    states = tuple(state.requires_grad_() for state in random_states(layer, 40))
    expected = run(layer, F.one_hot(tokens, I).double(), states)
    assert_agree(gradients(layer, states, run(layer, tokens, states)), gradients(layer, states, expected), 1e-10)


@everywhere
def test_every_layout_of_tokens(cell, engine):
    layer = random_layer(cell, engine, H, features=I)
    first = random_layer(cell, engine, H, features=I, batch_first=True)
    tokens, states = tokens_below(I), random_states(layer, B)
    output, *finals = run(layer, tokens, states)
    wide = torch.full((2 * T, 3 * B), -(2**62))
    wide[::2, ::3] = tokens
    layouts = [tokens.int(), tokens.t().contiguous().t(), wide[::2, ::3]]
    for same in layouts:
        for value, expected in zip(run(layer, same, states), (output, *finals), strict=True):
            assert torch.equal(value, expected)
    for same in (tokens.t(), tokens.t().contiguous()):
        assert torch.equal(run(first, same, states)[0].transpose(0, 1), output)
    repeated = run(layer, tokens[:1].expand(T, B), states)
    assert torch.equal(repeated[0], run(layer, tokens[:1].repeat(T, 1), states)[0])
    alone = run(layer, tokens[:, 0], tuple(state[:, 0] for state in states))
    torch.testing.assert_close(alone[0], output[:, 0], rtol=1e-12, atol=1e-12)


@everywhere
def test_nothing_is_said_of_tokens_in_the_padding(cell, engine):
    layer = random_layer(cell, engine, H, features=I)
    tokens, states = tokens_below(I), random_states(layer, B)
    outside = torch.arange(T).unsqueeze(1) >= torch.tensor(LENGTHS)
    found = run(layer, tokens.masked_fill(outside, 0), states, lengths=LENGTHS)
    expected = run(layer, tokens.masked_fill(outside, I - 1), states, lengths=LENGTHS)
    for value, same in zip(found, expected, strict=True):
        assert torch.equal(value, same)


@pytest.mark.parametrize("wanted", ["embedding", "weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "state"])
@everywhere
def test_one_gradient_alone(cell, engine, wanted):
    layer, states = random_layer(cell, engine, H, features=I), random_states(random_layer(cell, engine, H), B)
    leaves = dict(layer.named_parameters()) | {"embedding": embedding_of(9), "state": states[-1]}
    if wanted not in leaves:
        pytest.skip(f"'{cell}' has no {wanted}")

    def gradient():
        output, *_ = run(layer, tokens_below(9), states, embedding=leaves["embedding"])
        return torch.autograd.grad(output.square().sum(), leaves[wanted])[0]

    for leaf in leaves.values():
        leaf.requires_grad_()
    expected = gradient()
    for name, leaf in leaves.items():
        leaf.requires_grad_(name == wanted)
    assert_agree({wanted: gradient()}, {wanted: expected}, 1e-12)


@pytest.mark.parametrize("name", ["NoProduct", "NoWeights", "Vectors", "ThreeStates", "Awkward"])
@pytest.mark.parametrize("engine", ["native", "eager"])
def test_made_up_cells(name, engine, native):
    layer, reference = (random_layer(MADE_UP[name], e, 5, features=I) for e in (engine, "eager"))
    states = random_states(layer, B)
    for embedding in (None, embedding_of(9)):
        tokens = tokens_below(I)
        for value, same in zip(
            run(layer, tokens, states, embedding=embedding),
            run(reference, tokens, states, embedding=embedding),
            strict=True,
        ):
            torch.testing.assert_close(value, same, rtol=1e-10, atol=1e-10)


BAD_TOKENS = [
    (torch.tensor([[0, 6]]), None, IndexError, r"a token is outside 0 \.\.\. 5: the tokens run from 0 to 6"),
    (torch.tensor([[0, -1]]), None, IndexError, r"a token is outside 0 \.\.\. 5: the tokens run from -1 to 0"),
    (torch.tensor([[2**62, 0]]), None, IndexError, r"outside 0 \.\.\. 5: the tokens run from 0 to 4611686018427387904"),
    (torch.tensor([[0, 9]]), torch.zeros(9, I), IndexError, r"a token is outside 0 \.\.\. 8"),
    (torch.tensor([[0, 0]]), torch.zeros(9, I + 1), UserError, r"embedding: want \(tokens, 6\).*got \(9, 7\)"),
    (torch.tensor([[0, 0]]), torch.zeros(I), UserError, r"embedding: want \(tokens, 6\).*got \(6,\)"),
    (torch.tensor([[0, 0]]), torch.zeros(0, I), IndexError, r"a token is outside"),
    (
        torch.zeros(1, 2, I),
        torch.zeros(9, I),
        UserError,
        r"an embedding belongs to tokens, whole numbers; the input is",
    ),
    (torch.zeros(1, 2, dtype=torch.bool), torch.zeros(9, I), UserError, r"whole numbers; the input is torch\.bool"),
    (torch.tensor([[0, 0]]), torch.zeros(9, I, dtype=torch.float64), RuntimeError, r"[Ff]loat64|Double"),
]


@pytest.mark.parametrize(("tokens", "embedding", "error", "message"), BAD_TOKENS)
@pytest.mark.parametrize("engine", ["native", "torch", "eager"])
def test_bad_tokens_and_embeddings_are_refused(engine, tokens, embedding, error, message):
    layer = gatewise.GRU(I, H, engine=engine)
    with pytest.raises(error, match=message):
        layer(tokens, embedding=embedding)


@pytest.mark.parametrize("embedding_size", [0, I])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@everywhere
def test_a_language_model(cell, engine, embedding_size, dropout):
    """The model on an engine against the model on the reference, in training, dropout included."""
    values = []
    for each in (engine, "eager"):
        torch.manual_seed(0)
        model = gatewise.LanguageModel(11, cell, H, 2, embedding_size, dropout, engine=each).double()
        torch.manual_seed(1)
        logits, state = model(tokens_below(11))
        grads = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        names = [name for name, _ in model.named_parameters()]
        values.append({"logits": logits.detach()} | dict(zip(names, grads, strict=True)))
        assert one_or_all(state) is not None
    assert_agree(*values, 1e-10)  # type: ignore
