"""A stack of torch.nn's layers put on each other by hand, and ours with its weights."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatewise import Recurrent

T, B, I = 6, 3, 4
LENGTHS = [6, 2, 5]


def by_hand(sizes=(5, 4), both=False):
    """An LSTM and a GRU of torch.nn, the second fed with the first."""
    lstm = nn.LSTM(I, sizes[0], bidirectional=both, dtype=torch.float64)
    gru = nn.GRU(sizes[0] * (1 + both), sizes[1], bidirectional=both, dtype=torch.float64)
    return lstm, gru


def with_weights_of(modules, engine, **options):
    """Our stack with the weights of torch's layers."""
    sizes = [module.hidden_size for module in modules]
    layer = Recurrent(["lstm", "gru"], I, sizes, dtype=torch.float64, engine=engine, **options)
    state = {
        name.replace("_l0", f"_l{k}"): value for k, m in enumerate(modules) for name, value in m.state_dict().items()
    }
    layer.load_state_dict(state)
    return layer


def run_by_hand(modules, x, hx, lengths=None):
    """Output and the state of each layer."""
    if lengths is not None:
        x = pack_padded_sequence(x, lengths, enforce_sorted=False)
    finals = []
    for module, state in zip(modules, hx, strict=True):
        x, final = module(x, state)
        finals.append(final)
    return (x if lengths is None else pad_packed_sequence(x)[0]), finals


def flat(states):
    return [states] if isinstance(states, torch.Tensor) else [t for state in states for t in flat(state)]


def random_states(sizes, directions=1, batch=B):
    h, c, top = (torch.randn(directions, batch, s, dtype=torch.float64) for s in (sizes[0], sizes[0], sizes[1]))
    return ((h, c), top)


def gradients(outputs, leaves):
    generator = torch.Generator().manual_seed(3)
    loss = torch.stack([(o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in outputs]).sum()
    return torch.autograd.grad(loss, leaves)
