"""Language models on stacks whose layers differ."""

import pytest
import torch
from torch_stack import flat

import gatewise
from gatewise import LanguageModel, Recurrent
from gatewise.errors import UserError
from gatewise.layers import detach, initialise_like_the_book
from gatewise.tasks import Sampling
from gatewise.tasks.generate import generate_tokens


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    "options", [{}, {"embedding_size": 3}, {"learned_state": True}, {"residual": True, "learned_state": True}]
)
def test_native_writes_what_the_reference_writes(options):
    model = LanguageModel(11, ["lstm", "gru"], 6, engine="native", **options).double().eval()
    for parameter in model.parameters():
        parameter.data.normal_()
    prompt, texts = torch.tensor([3, 1, 4]), []
    for engine in ("native", "eager"):
        model.recurrent.engine = engine
        sampling = Sampling(temperature=1.0, seed=5)
        texts.append(list(generate_tokens(model, prompt, 60, sampling)))
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 3


def test_the_state_is_cut_off_from_its_graph():
    model = LanguageModel(11, ["lstm", "gru"], [6, 5])
    _, state = model(torch.zeros(3, 2, dtype=torch.long))
    assert not any(part.requires_grad for part in flat(detach(state)))
    assert model.head.in_features == 5


def test_the_book_s_weights_leave_the_start_at_zero():
    model = LanguageModel(11, "gru", 6, learned_state=True)
    initialise_like_the_book(model)
    assert not model.recurrent.get_parameter("initial_h_l0").any()
    assert 0.005 < model.recurrent.get_parameter("weight_hh_l0").std() < 0.02


def test_no_second_direction():
    with pytest.raises(UserError, match="would see the tokens that are to be predicted"):
        LanguageModel(11, "gru", 6, bidirectional=True)  # type: ignore[call-arg]
    model = LanguageModel(11, "gru", 6)
    model.recurrent = Recurrent("gru", 11, 3, bidirectional=True)
    with pytest.raises(UserError, match="bidirectional layer cannot write"):
        generate_tokens(model, torch.tensor([1]), 5, Sampling())
    with pytest.raises(UserError, match="bidirectional layer cannot be streamed"):
        gatewise.stream(model)
