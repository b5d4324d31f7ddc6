"""What an engine remembers of a cell: made again for another number wherever that stands, and not made again else."""

import math
from types import SimpleNamespace

import pytest
import torch

import gatewise
from gatewise.cells import CELLS, Cell, layer_norm, zoneout
from gatewise.engines.native import build
from gatewise.engines.remembered import Remembered
from gatewise.graph import recurrent_dropout

CFG = SimpleNamespace(rate=0.5)
TABLE = {"rate": 0.5}
ONE = 0.5


class Elsewhere:
    rate = 0.5


def helper() -> float:
    return ONE


def set_one(value):
    global ONE
    ONE = value


def by_object():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            return CFG.rate * h + (1 - CFG.rate) * x.n

    return Reads, lambda value: setattr(CFG, "rate", value)


def by_table():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            return TABLE["rate"] * h + (1 - TABLE["rate"]) * x.n

    return Reads, lambda value: TABLE.update(rate=value)


def by_function():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            return helper() * h + (1 - helper()) * x.n

    return Reads, set_one


def by_lambda():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            keep = lambda: ONE  # noqa: E731
            return keep() * h + (1 - keep()) * x.n

    return Reads, set_one


def by_hidden_attribute():
    class Reads(Cell):
        gates, name = ("n",), "leaky"
        _rate = 0.5

        def step(self, x, u, h):
            return self._rate * h + (1 - self._rate) * x.n

    return Reads, lambda value: setattr(Reads, "_rate", value)


def by_property():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        @property
        def rate(self):
            return ONE

        def step(self, x, u, h):
            return self.rate * h + (1 - self.rate) * x.n

    return Reads, set_one


def by_method():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def keep(self, h):
            return ONE * h

        def step(self, x, u, h):
            return self.keep(h) + (x.n - self.keep(x.n))

    return Reads, set_one


def by_other_class():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            return Elsewhere.rate * h + (1 - Elsewhere.rate) * x.n

    return Reads, lambda value: setattr(Elsewhere, "rate", value)


def by_mixed_in_class():
    class Rate:
        rate = 0.5

    class Reads(Rate, Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            return self.rate * h + (1 - self.rate) * x.n

    return Reads, lambda value: setattr(Rate, "rate", value)


def by_inherited_step():
    class Base(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            return CFG.rate * h + (1 - CFG.rate) * x.n

    class Reads(Base):
        name = "leaky"

        def step(self, x, u, h):
            return super().step(x, u, h)

    return Reads, lambda value: setattr(CFG, "rate", value)


def by_default():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h, rate=0.5):
            return rate * h + (1 - rate) * x.n

    return Reads, lambda value: setattr(Reads.step, "__defaults__", (value,))


def by_import():
    class Reads(Cell):
        gates, name = ("n",), "leaky"

        def step(self, x, u, h):
            import math as config

            return config.rate * h + (1 - config.rate) * x.n  # type: ignore[attr-defined]

    return Reads, lambda value: setattr(math, "rate", value)


CASES = {
    "an object": by_object, "a table": by_table, "a function": by_function, "a lambda": by_lambda,
    "a hidden attribute": by_hidden_attribute, "a property": by_property, "a method": by_method,
    "another class": by_other_class, "a class beside": by_mixed_in_class, "a step above": by_inherited_step,
    "a default": by_default, "an import": by_import,
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    """The class of a leaky mean that reads its rate, 0.5, from somewhere, and what makes it another."""
    kind, change = CASES[request.param]()
    change(0.5)
    yield kind, change
    change(0.5)
    if hasattr(math, "rate"):
        delattr(math, "rate")


def test_a_changed_number_changes_what_scan_computes(case):
    kind, change = case
    torch.manual_seed(0)
    layer = gatewise.Recurrent(kind(), 3, 4, engine="scan", dtype=torch.float64)
    reference = gatewise.Recurrent(layer.cell, 3, 4, engine="eager", dtype=torch.float64)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    before, _ = layer(x)
    torch.testing.assert_close(before, reference(x)[0], rtol=0, atol=1e-12)
    change(0.25)
    after, _ = layer(x)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, reference(x)[0], rtol=0, atol=1e-12)


def test_a_changed_number_changes_the_source_of_the_native_kernel(case):
    kind, change = case
    cell = kind()
    before = build.source(cell)
    change(0.25)
    assert build.source(cell) != before
    assert "0.25" in build.source(cell)


def transformed() -> dict[str, Cell]:
    return {
        "zoneout": zoneout("lstm", 0.1),
        "layer norm": layer_norm("gru"),
        "both": zoneout(layer_norm("gru"), {"h": 0.2}),
        "recurrent dropout": recurrent_dropout("lstm", 0.3),
    }


@pytest.mark.parametrize("name", [*CELLS, "zoneout", "layer norm", "both", "recurrent dropout"])
def test_what_gatewise_brings_is_made_once(name):
    cell, made = CELLS[name]() if name in CELLS else transformed()[name], []
    remembered = Remembered(lambda cell, held: made.append(cell))
    remembered(cell)
    remembered(cell)
    assert len(made) == 1


def test_a_cell_of_plain_numbers_and_functions_of_torch_is_made_once():
    class Plain(Cell):
        gates = ("n", "z")
        rate, squash = 0.5, torch.tanh

        def __init__(self):
            self.slope = 2.0

        def step(self, x, u, h):
            z = torch.nn.functional.softplus(x.z + float(math.pi))
            return self.rate * ONE * z * h + sum([self.slope]) * torch.tanh(x.n + u.n(h))

    cell, made = Plain(), []
    remembered = Remembered(lambda cell, held: made.append(cell))
    remembered(cell)
    remembered(cell)
    assert len(made) == 1
    Plain.rate = 0.25
    remembered(cell)
    cell.slope = 3.0
    remembered(cell)
    remembered(cell)
    assert len(made) == 3
