"""Layers that add their input, and runs that start where it was learned: against torch.nn's layers, in float64."""

import pytest
import torch
from torch import nn
from torch_stack import LENGTHS, B, I, T, gradients

from gatewise import Recurrent


def residual_by_hand(layer, x, hx, dropped=lambda x: x):
    """The layers of a residual GRU, each by itself, by Wu et al.'s equation 6."""
    for k in range(layer.num_layers):
        one = nn.GRU(x.shape[-1], layer.hidden_size, bidirectional=layer.bidirectional, dtype=torch.float64)
        own = {n: v for n, v in layer.state_dict().items() if f"_l{k}" in n}
        one.load_state_dict({n.replace(f"_l{k}", "_l0"): v for n, v in own.items()})
        D = 1 + layer.bidirectional
        output, _ = one(dropped(x) if k else x, hx[k * D : (k + 1) * D])
        x = output + x if k else output
    return x


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_a_residual_layer_adds_its_input(engine, both):
    layer = Recurrent("gru", I, 5, 3, residual=True, bidirectional=both, dtype=torch.float64, engine=engine)
    x = torch.randn(T, B, I, dtype=torch.float64)
    hx = torch.randn(3 * (1 + both), B, 5, dtype=torch.float64)
    output, state = layer(x, hx)
    torch.testing.assert_close(output, residual_by_hand(layer, x, hx))
    plain = Recurrent("gru", I, 5, 3, bidirectional=both, dtype=torch.float64, engine=engine)
    plain.load_state_dict(layer.state_dict())
    assert not torch.allclose(plain(x, hx)[0], output)
    assert state.shape == hx.shape
    assert not torch.allclose(state[-1], output[0 if both else -1][..., -5:])  # the cell's own, without the input


def test_what_is_added_is_the_input_before_dropout(engine):
    """With everything dropped each upper cell sees zeros, and what is added is still whole."""
    layer = Recurrent("gru", I, 5, 3, residual=True, dropout=1.0, dtype=torch.float64, engine=engine).train()
    x, hx = torch.randn(T, B, I, dtype=torch.float64), torch.randn(3, B, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x, hx)[0], residual_by_hand(layer, x, hx, torch.zeros_like))
    torch.testing.assert_close(layer.eval()(x, hx)[0], residual_by_hand(layer, x, hx))


def test_a_sequences_end_is_zero_in_residual_stacks_too(engine):
    layer = Recurrent("gru", I, 5, 2, residual=True, dtype=torch.float64, engine=engine)
    x = torch.randn(T, B, I, dtype=torch.float64)
    output, _ = layer(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(output[:length, row], layer(x[:length, row])[0])
        assert not output[length:, row].any()


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 3}], ids=str)
def test_a_learned_state_is_where_a_run_starts(engine, options):
    layer = Recurrent("lstm", I, 5, learned_state=True, dtype=torch.float64, engine=engine, **options)
    plain = Recurrent("lstm", I, 5, dtype=torch.float64, engine=engine, **options)
    learned = {n: p for n, p in layer.named_parameters() if n.startswith("initial_")}
    assert all(p.shape == (5,) and not p.any() for p in learned.values())
    plain.load_state_dict({n: p for n, p in layer.state_dict().items() if n not in learned})
    x = torch.randn(T, B, I, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], plain(x)[0], rtol=0, atol=0)

    with torch.no_grad():
        for p in learned.values():
            p.normal_()
    suffixes = [f"_l{k}{s}" for k in range(layer.num_layers) for s in layer._suffixes()]
    hx = tuple(torch.stack([learned[f"initial_{s}{e}"] for e in suffixes]).unsqueeze(1) for s in ("h", "c"))
    given = tuple(s.detach().expand(-1, B, -1).clone().requires_grad_() for s in hx)
    found, wanted = layer(x), plain(x, given)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(layer(x, given)[0], wanted[0])  # a state that is given is taken
    ours = gradients([found[0], *found[1]], list(learned.values()))
    theirs = gradients([wanted[0], *wanted[1]], given)
    by_name = {
        f"initial_{s}{e}": g[i].sum(0) for s, g in zip("hc", theirs, strict=True) for i, e in enumerate(suffixes)
    }
    torch.testing.assert_close(ours, tuple(by_name[name] for name in learned))
