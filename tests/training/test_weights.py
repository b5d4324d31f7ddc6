"""What a file of weights says of the equations that they were trained with."""

import pytest
import torch

import gatewise
from gatewise import UserError
from gatewise.layers import SequenceVAE, TokenEmission
from gatewise.training.checkpoint import write_tensors
from gatewise.training.weights import check_equations, fingerprint


def model_of(share):
    """Of a cell that has always the same name, and equations with the share of the old state in them."""

    class Mixed(gatewise.Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return share * h + (1 - share) * torch.tanh(x.n + u.n(h))

    return gatewise.LanguageModel(5, Mixed, 3)


@pytest.fixture
def written(tmp_path):
    """Writes a file for a model's weights, as a run does; ``about`` in place of what is there."""

    def written(trained, **about):
        path = tmp_path / "weights.safetensors"
        there = {"model": {"cell": trained.recurrent.cell.name}, "equations": fingerprint(trained)}
        write_tensors(path, {}, there | about)
        return path

    return written


def test_other_equations_under_the_same_name_are_refused(written):
    path = written(model_of(0.5))
    check_equations(path, model_of(0.5))
    with pytest.raises(UserError, match=r"weights\.safetensors: .*other equations of 'Mixed'.*--cell-file"):
        check_equations(path, model_of(0.25))


@pytest.mark.parametrize("equations", [None, ""], ids=["from before", "not traceable"])
def test_a_file_without_a_mark_is_taken(written, equations):
    check_equations(written(model_of(0.5), equations=equations), model_of(0.25))


@pytest.mark.parametrize("named", [{"cell": "gru"}, {}, None], ids=str)
def test_a_file_of_another_cell_is_another_mistake(written, named):
    check_equations(written(model_of(0.5), model=named), model_of(0.25))


def test_a_stack_that_a_model_has_twice_is_checked_too(tmp_path):
    """The encoder's and the decoder's layers: their names are the list, and the list again."""

    def vae(share):
        mixed = type(model_of(share).recurrent.cell)
        return SequenceVAE(TokenEmission(5, 2), [mixed, "gru"], 3, 2)

    path = tmp_path / "weights.safetensors"
    write_tensors(path, {}, {"model": {"cell": ["Mixed", "gru"]}, "equations": fingerprint(vae(0.5))})
    check_equations(path, vae(0.5))
    with pytest.raises(UserError, match="other equations of 'Mixed, gru'"):
        check_equations(path, vae(0.25))


def test_a_cell_that_cannot_be_traced_has_no_mark(written):
    class Branching(gatewise.Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return torch.sin(x.n + u.n(h))

    model = gatewise.LanguageModel(5, Branching, 3)
    assert fingerprint(model) == ""
    check_equations(written(model, equations="0123456789abcdef"), model)
