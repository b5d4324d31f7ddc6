"""What is made of means over the units alone is computed once a row, and takes no room unit by unit."""

import re

import pytest
import torch

import gatewise
from gatewise.engines.native.build import source
from gatewise.engines.native.emit import Emitter
from gatewise.graph import trace


def functions(text: str) -> dict[str, str]:
    """The emitted functions by their names."""
    return {found[1]: found[2] for found in re.finditer(r"static void (\w+)\((.*?)^  }$", text, re.S | re.M)}


def test_a_row_s_deviation_is_taken_once_a_row():
    cell = gatewise.GRU(3, 5, layer_norm=True).cell
    found = functions(source(cell))
    assert found["of_means"].count("sqrt(") == 6  # one for each projection of each gate
    passes = [body for name, body in found.items() if re.fullmatch(r"(forward|backward)_\d+", name)]
    assert len(passes) == 7
    assert not any("sqrt(" in body or " / " in body for body in passes)


def test_no_plane_is_kept_for_it():
    plan = Emitter(trace(gatewise.GRU(3, 5, layer_norm=True).cell)).backward
    assert plan.derived
    assert not set(plan.kept) & plan.row_values
    assert not set(plan.temporaries) & plan.row_values


class Means(gatewise.Cell):
    """Means everywhere: as a divisor, a summand, an argument, an operand, of each other, and as what is put out."""

    gates = ("a", "b")
    states = ("h", "m")

    def step(self, x, u, h, m):
        seen = x.a
        mean = seen.mean(-1, keepdim=True)
        size = torch.sqrt((seen * seen).mean(-1, keepdim=True) + 0.5)
        of_means = torch.tanh(mean / size) * size.mean(-1, keepdim=True) + 1.0
        n = torch.tanh(u.b(h * of_means) + seen / size + mean * m)
        return n + of_means / (1.0 + n * n), n * 0.5 + of_means * 0.0 * n + mean


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_means_in_every_place(dtype):
    native, eager = (gatewise.Recurrent(Means, 4, 21, engine=engine, dtype=dtype) for engine in ("native", "eager"))
    eager.load_state_dict(native.state_dict())
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 19, 4, generator=generator, dtype=torch.float64).to(dtype)
    found = []
    for layer in (native, eager):
        given = x.clone().requires_grad_()
        output, states = layer(given, lengths=[6, 1] + [4] * 17)
        (output.sin().sum() + sum(state.square().sum() for state in states)).backward()
        found.append([output, *states, given.grad, *(p.grad for p in layer.parameters())])
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= tolerance * max(1.0, other.abs().max())
