"""Every cell as it starts, without a setting, learns to remember one token over five others."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise import CELLS, Recurrent
from gatewise.tasks.memory import draw_recall

H, T, CLASSES, TOKENS, STEPS = 32, 5, 8, 17, 400


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_learns_to_recall_the_first_token(name):
    """Chance is 1/8; what stays there has a start from which no gradient leads."""
    torch.manual_seed(0)
    layer, head = Recurrent(name, TOKENS, H, engine="eager"), nn.Linear(H, CLASSES)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer, generator = torch.optim.Adam(parameters, 0.01), torch.Generator().manual_seed(0)

    def said(tokens: Tensor) -> Tensor:
        return head(layer(tokens)[0][-1])

    for _ in range(STEPS):
        examples = draw_recall(T, 32, generator)
        loss = F.cross_entropy(said(examples.inputs), examples.answers[0])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if loss < 0.02:
            break
    examples = draw_recall(T, 500, generator)
    assert (said(examples.inputs).argmax(-1) == examples.answers[0]).float().mean() > 0.95
