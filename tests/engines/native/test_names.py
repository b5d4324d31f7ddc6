"""A cell's author may call values as C++, its macros or the emitted code call theirs."""

import pytest
import torch

from gatewise import Cell, Recurrent

pytestmark = pytest.mark.usefixtures("native")


class Keywords(Cell):
    """Words of C++, names of its library, of the headers' functions and of the emitted functions' variables."""

    gates = ("int", "long", "const")
    states = ("double", "W", "c")
    vectors = ("delete", "x")

    def step(self, x, u, f, b, c):
        new = torch.sigmoid(x.int + u.int(f))
        this = torch.tanh(x.long + u.long(new * b))
        template = new * this + u.vector.delete
        panel = template * f - u.vector.x
        real = torch.tanh(panel + u.const(b) * panel)
        load = real * template
        std = torch.exp(-load * load)
        nan = std + real * std
        errno = nan * torch.tanh(nan)
        NULL = errno + nan * errno
        EOF = torch.tanh(NULL * NULL + errno)
        INFINITY = EOF * NULL
        vec = torch.tanh(INFINITY * EOF + INFINITY)
        return vec * real, torch.tanh(vec + EOF), torch.tanh(c + INFINITY)


class Emitted(Cell):
    """Names that the emitted code makes itself, for other values."""

    gates = ("n", "bias_n", "r")
    states = ("v4", "next_v4")

    def step(self, x, u, h, c):
        x_bias_n = torch.tanh(x.bias_n + u.bias_n(h)) * h
        u_bias_n = x_bias_n * x_bias_n + h
        diag_n = u.diag.n(u_bias_n) * u_bias_n
        u0 = torch.tanh(diag_n + x.n + u.n(h))
        v6 = u0 * u0 + diag_n
        v7 = v6 * u0 + v6
        back0 = torch.tanh(v7 * v6 + u.r(x_bias_n * c))
        sum_0 = back0 * back0
        entry = sum_0 * back0 + sum_0
        d_n = entry * sum_0
        d_x_n = torch.tanh(d_n * entry + x.r)
        kept_0 = d_x_n * d_n + d_x_n
        panel = kept_0 * d_x_n
        previous_0 = torch.tanh(panel + kept_0)
        d_next_v4 = previous_0 * panel + previous_0
        out = d_next_v4 * torch.tanh(d_next_v4)
        gradients_0 = out * out + c
        _x = torch.tanh(gradients_0 * out)
        return torch.tanh(_x + gradients_0 * _x), torch.tanh(previous_0 + u0 * out)


class Letters(Cell):
    """Names that are not ASCII, and ones that differ by an underscore."""

    gates = ("α", "n", "n_")
    states = ("ħ", "ħ_")
    vectors = ("ω",)

    def step(self, x, u, ħ, ħ_):
        β = torch.sigmoid(x.α + u.α(ħ) * u.vector.ω)
        größe = torch.tanh(x.n + u.n(β * ħ_)) * β
        größe_ = torch.tanh(größe + u.n_(ħ) + x.n_)
        return größe_ * β + größe, torch.tanh(größe_ * größe_)


class OfMeans(Cell):
    """Names of what computes values of means alone."""

    gates = ("n",)
    states = ("h",)

    def step(self, x, u, h):
        means = x.n.mean(-1, keepdim=True)
        last = torch.sqrt((x.n * x.n).mean(-1, keepdim=True) + 0.5)
        stage = torch.tanh(last * means)
        row = last * stage + means
        return torch.tanh(u.n(h) + x.n / last + stage * h) + row * h


@pytest.mark.parametrize("cell", [Keywords, Emitted, Letters, OfMeans])
def test_names_do_not_meet(cell):
    torch.manual_seed(0)
    layer, reference = (Recurrent(cell, 3, 5, dtype=torch.float64, engine=engine) for engine in ("native", "eager"))
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    states = tuple(torch.randn(1, 4, 5, dtype=torch.float64) for _ in layer.cell.states)
    found = []
    for each in (layer, reference):
        output, finals = each(x, states)
        loss = torch.stack([value.square().sum() for value in (output, *finals)]).sum()
        found.append([output, *finals, *torch.autograd.grad(loss, list(each.parameters()))])
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


NUMBERS = (float("inf"), float("-inf"), float("nan"), 1e300, 1e-300, -0.0, 10**15, 0.1)


class Numbers(Cell):
    """Every kind of number, a state each."""

    gates = ("n",)
    states = tuple(f"s{k}" for k in range(len(NUMBERS)))

    def step(self, x, u, *states):
        n = torch.tanh(x.n + u.n(states[0]))
        return tuple(torch.tanh(state * number + n) for state, number in zip(states, NUMBERS, strict=True))


def test_every_number_is_spelled():
    layer, reference = (Recurrent(Numbers, 3, 5, dtype=torch.float64, engine=engine) for engine in ("native", "eager"))
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(3, 4, 3, dtype=torch.float64)
    states = tuple(torch.randn(1, 4, 5, dtype=torch.float64) for _ in NUMBERS)
    for value, expected in zip(layer(x, states)[1], reference(x, states)[1], strict=True):
        torch.testing.assert_close(value, expected, equal_nan=True)
