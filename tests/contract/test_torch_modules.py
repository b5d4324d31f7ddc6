"""PyTorch's own inputs and error inputs for its recurrent modules, against torch.nn on copied weights."""

import copy
import re
import warnings

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

import gatewise
from gatewise.engines import ENGINES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

MODULES = {info.name.removeprefix("nn."): info for info in module_db if info.name in ("nn.RNN", "nn.GRU", "nn.LSTM")}

pytestmark = pytest.mark.parametrize("name", MODULES)


def test_the_modules_are_there(name):
    assert set(MODULES) == {"RNN", "GRU", "LSTM"}
    assert MODULES[name].module_cls is getattr(torch.nn, name)


def samples(name, dtype, training):
    """PyTorch's inputs for a module; for RNN and GRU (whose generator can) with packed sequences."""
    info = MODULES[name]
    packed = {} if name == "LSTM" else {"with_packed_sequence": True}
    torch.manual_seed(0)
    return info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training, **packed)


def fresh(value, leaves: list[Tensor]):
    """A copy of a module's argument whose tensors are leaves of their own."""
    if isinstance(value, PackedSequence):
        return value._replace(data=fresh(value.data, leaves))
    if isinstance(value, tuple):
        return tuple(fresh(item, leaves) for item in value)
    leaves.append(value.detach().clone().requires_grad_())
    return leaves[-1]


def tensors(value) -> list[Tensor]:
    """The tensors of a result, one after the other."""
    if isinstance(value, Tensor):
        return [value]
    return [t for item in value if item is not None for t in tensors(item)]


def everything(module, arguments) -> list[Tensor]:
    """What a module returns, then the gradients by its inputs and weights of a random sum of it."""
    leaves: list[Tensor] = []
    returned = tensors(module(*(fresh(argument, leaves) for argument in arguments)))
    generator = torch.Generator().manual_seed(0)
    floating = [value for value in returned if value.is_floating_point()]
    loss = sum((value * torch.randn(value.shape, generator=generator, dtype=value.dtype)).sum() for value in floating)
    assert isinstance(loss, Tensor)
    return [*returned, *torch.autograd.grad(loss, [*leaves, *module.parameters()])]


@pytest.mark.parametrize("engine", ["auto", *(engine.name for engine in ENGINES)])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_outputs_and_gradients_are_those_of_torch(name, dtype, training, engine):
    compared = packed = 0
    found = samples(name, dtype, training)
    for sample in found:
        arguments, options = sample.constructor_input, sample.forward_input
        assert not options.kwargs
        reference = getattr(torch.nn, name)(*arguments.args, **arguments.kwargs, dtype=dtype).train(training)
        layer = getattr(gatewise, name)(*arguments.args, **arguments.kwargs, dtype=dtype, engine=engine).train(training)
        layer.load_state_dict(reference.state_dict())
        if engine != "auto" and next(e for e in ENGINES if e.name == engine).refuses(layer.request()):
            continue
        compared += 1
        packed += isinstance(options.args[0], PackedSequence)
        expected, actual = (everything(module, options.args) for module in (reference, layer))
        assert len(actual) == len(expected)
        for value, same in zip(actual, expected, strict=True):
            close = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]  # of inputs in -9..9
            torch.testing.assert_close(value, same, rtol=close, atol=close)
    assert len(found) == {"RNN": 64, "GRU": 32, "LSTM": 32}[name]
    if engine in ("auto", "torch", "eager"):
        assert compared == len(found)
        assert packed == {"RNN": 32, "GRU": 16, "LSTM": 0}[name]


def test_weights_load_in_both_directions(name):
    for sample in samples(name, torch.float32, training=True):
        arguments = sample.constructor_input
        layer = getattr(gatewise, name)(*arguments.args, **arguments.kwargs)
        reference = getattr(torch.nn, name)(*arguments.args, **arguments.kwargs)
        before = copy.deepcopy(reference.state_dict())
        reference.load_state_dict(layer.state_dict(), strict=True)
        torch.testing.assert_close(
            everything(reference, sample.forward_input.args), everything(layer, sample.forward_input.args)
        )
        layer.load_state_dict(before, strict=True)
        assert all(torch.equal(weight, before[key]) for key, weight in layer.state_dict().items())


def caught(module_class, error_input, **extra) -> Exception:
    """The error that PyTorch's error input raises with a module."""
    sample = error_input.module_error_input
    arguments = sample.constructor_input
    try:
        module = module_class(*arguments.args, **arguments.kwargs, **extra)
        assert error_input.error_on == ModuleErrorEnum.FORWARD_ERROR, "the constructor raised nothing"
        module(*sample.forward_input.args, **sample.forward_input.kwargs)
    except (TypeError, ValueError, RuntimeError) as error:
        return error
    return AssertionError("nothing was raised")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_errors_are_those_of_torch(name, dtype):
    info = MODULES[name]
    assert info.module_error_inputs_func
    found = info.module_error_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=False)
    assert len(found) >= 14
    for error_input in found:
        expected = caught(getattr(torch.nn, name), error_input)
        for engine in ENGINES:
            error = caught(getattr(gatewise, name), error_input, engine=engine.name)
            assert type(error) is type(expected) is error_input.error_type
            assert re.search(error_input.error_regex, str(error))
            assert str(error) == str(expected)
