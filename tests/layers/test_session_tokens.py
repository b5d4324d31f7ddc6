"""``gatewise.stream`` of a language model: a token at a time gives what the whole text gives."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from torch import nn

from gatewise import LanguageModel, UserError, stream


def language_model(embedding, layers=2, cell="gru", engine="auto", **options):
    torch.manual_seed(3)
    model = LanguageModel(11, cell, 17, layers, embedding, engine=engine, **options).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5)
    return model


@pytest.mark.parametrize("batch", [(), (1,), (4,)], ids=str)
@pytest.mark.parametrize("embedding", [0, 6])
def test_a_language_model_step_by_step(engine, embedding, batch):
    model = language_model(embedding, engine=engine, dropout=0.5)
    tokens = torch.randint(0, 11, (7, *batch))
    session = stream(model)
    got = torch.stack([session.step(token) for token in tokens])
    logits, state = model.eval()(tokens)
    assert_close(got, logits)
    assert_close(session.state, state)


def test_tokens_of_other_kinds(engine):
    model = language_model(0, engine=engine)
    wanted = model(torch.tensor([3, 1, 4, 1, 5]))[0]
    session = stream(model)
    kinds = (3, torch.tensor(1), np.int64(4), torch.tensor(1, dtype=torch.int32), np.array(5))
    for token, row in zip(kinds, wanted, strict=True):
        assert_close(torch.as_tensor(session.step(token)), row)


def test_tokens_outside_the_vocabulary(engine):
    session = stream(language_model(6, engine=engine))
    for _ in range(2):
        for token in (11, -1, torch.tensor(11), torch.tensor(-1)):
            with pytest.raises(IndexError, match=r"outside 0 \.\.\. 10"):
                session.step(token)
        session.step(3)
    with pytest.raises(UserError, match="whole numbers"):
        session.step(torch.tensor(1.5))
    with pytest.raises(UserError, match="a token, or"):
        session.step(torch.zeros(1, 1, dtype=torch.long))


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("part", ["model", "head"])
def test_a_language_model_with_more_than_its_weights_runs_as_a_module(part):
    model = language_model(6)
    module = model if part == "model" else model.head
    if part == "model":
        model.register_forward_hook(lambda module, given, result: (2 * result[0], result[1]))
    else:
        model.head = nn.Sequential(module, nn.Tanh())  # type: ignore[assignment]
    session, tokens = stream(model), torch.randint(0, 11, (5, 2))
    assert "module's own call" in session.reason
    assert_close(torch.stack([session.step(token) for token in tokens]), model(tokens)[0])
