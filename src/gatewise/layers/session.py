"""A layer or a language model that goes on one step at a time, its state kept between the calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from gatewise.engines.streaming import Stream
from gatewise.errors import UserError
from gatewise.layers.checks import check_features, check_tokens
from gatewise.layers.language_model import LanguageModel
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.stepping import CompiledStepper, Model, ModuleStepper, Stepper, layer_of, route, start_of

_empty_like = torch.empty_like
_Fast = tuple[torch.Size, torch.dtype, Tensor, Callable[[int, int], int], Stream]
"""What a compiled step needs: the input's shape and type, a tensor like the output, the call, and its stream."""


def stream(model: Model) -> Session:
    """A session that runs ``model`` one step at a time: for control, sound, games, text as it is typed.

    y_t, state_t = model(x_t, state_{t-1}), without a gradient, as in ``eval()``: no dropout.

    Args:
        model: a :class:`gatewise.Recurrent` (``GRU``, ``LSTM``, ``RNN``, any cell) in one direction, or a
            :class:`gatewise.LanguageModel`.

    Raises:
        UserError: a bidirectional layer, whose second direction starts at the end of the sequence; another model.

    Example:
        >>> import torch, gatewise
        >>> layer = gatewise.GRU(3, 5)
        >>> session = gatewise.stream(layer)
        >>> x = torch.randn(7, 3)
        >>> outputs = torch.stack([session.step(x_t) for x_t in x])
        >>> torch.allclose(outputs, layer(x)[0], atol=1e-6)
        True
        >>> session.state.shape
        torch.Size([1, 5])
    """
    return Session(model)


class Session:
    """What :func:`stream` returns.

    The weights are packed once. A change that PyTorch records (by most optimisers, ``load_state_dict``, one in place
    under ``no_grad``), and one of all the model's weights (``to``, ``vector_to_parameters``), is seen by the next
    step. After any other (an optimiser with ``fused=True``; by way of one weight's ``.data``; a parameter in the place
    of another, as by ``load_state_dict(assign=True)``; a number in the cell; a hook) call :meth:`refresh`.

    With ``precision="bf16"`` a compiled session still multiplies in float32.

    A session is for one thread at a time; sessions of several threads do not wait for each other.

    Attributes:
        engine: what runs a step: with "native" the whole stack is one call of the compiled kernel.
        reason: why that one.
    """

    def __init__(self, model: Model) -> None:
        layer = layer_of(model)
        if not isinstance(layer, Recurrent):
            hint = "stream its layer, and apply the rest of the model to each output"
            if isinstance(getattr(model, "model", None), LanguageModel):
                hint = "stream its .model; tokens come from its .tokenizer"
            raise UserError(f"stream() takes a gatewise layer or a LanguageModel, not {type(model).__name__}: {hint}")
        if layer.bidirectional:
            raise UserError(
                "a bidirectional layer cannot be streamed: its second direction starts at the last input of the "
                "sequence, which has not come yet"
            )
        self._model, self._layer = model, layer
        self._item_dims = 0 if isinstance(model, LanguageModel) else 1
        self._stepper: Stepper | None = None
        self._shape: torch.Size | None = None  # of every input, from the first step on
        self._versions: list[tuple[Tensor, int]] = []
        self._fast: _Fast | None = None
        self.refresh()

    def step(self, x: Any) -> Any:
        """One step on from the present state.

        Args:
            x: (I,) or (B, I); for a language model a token, or (B,) of them. All steps have the first one's shape.
                A tensor; or a NumPy array, or a number, whose type then does not matter.

        Returns:
            The last layer's output (H,) or (B, H), or the language model's scores (V,) or (B, V). New memory at every
            step; an array if ``x`` is one.

        Raises:
            UserError: another shape than the first step's; :meth:`reset` comes before another batch.
            ValueError, RuntimeError: a wrong size or type, as the layer says it.
            IndexError: a token outside the vocabulary.
        """
        if self._fast is not None:
            shape, dtype, like, step, stream = self._fast
            if (
                type(x) is Tensor
                and x.shape == shape
                and x.dtype is dtype
                and x.is_cpu
                and x.is_contiguous()
                and not x.is_neg()
                and self._first.data_ptr() == self._address
            ):
                for weight, version in self._versions:
                    if weight._version != version:
                        break
                else:
                    output = _empty_like(like)
                    outcome = step(x.data_ptr(), output.data_ptr())
                    if outcome:
                        stream.fail(outcome)
                    return output
        return self._step_with_care(x)

    @property
    def state(self) -> Any:
        """The present state in the layer's own form, a copy: (layers, H) or (layers, B, H), a tuple where the cell has
        several, one entry a layer where the layers differ; None, which means the start, before the first step. May be
        set to such a value, or to None.
        """
        if self._stepper is None or self._shape is None:
            return None
        batched = len(self._shape) > self._item_dims
        parts = tuple((part if batched else part.squeeze(1)).clone() for part in self._stepper.read())
        return self._layer.layout.returned(parts)

    @state.setter
    def state(self, value: Any) -> None:
        if value is None:
            return self.reset()
        layout = self._layer.layout
        wanted = " and ".join(f"({count}, {size}) or ({count}, B, {size})" for _, count, size in layout.rows)
        try:
            parts = tuple(torch.as_tensor(part).detach() for part in layout.given(value))
        except RuntimeError as error:
            raise UserError(f"state: want {wanted}; {error}") from None
        batch = parts[0].shape[1:2] if parts[0].dim() == 3 else torch.Size([])
        if [part.shape for part in parts] != [torch.Size([count, *batch, size]) for _, count, size in layout.rows]:
            raise UserError(f"state: want {wanted}, got {' and '.join(str(tuple(part.shape)) for part in parts)}")
        self.reset()
        items = torch.Size([self._layer.input_size] * self._item_dims)
        self._begin(batch + items).write(parts if batch else tuple(part.unsqueeze(1) for part in parts))
        return None

    def reset(self) -> None:
        """Forget the state: the next step starts from zero, or from the learned state, with any batch."""
        self._shape, self._fast = None, None

    def refresh(self) -> None:
        """Take the model's weights as they now are, and keep the state."""
        states = None if self._stepper is None or self._shape is None else self._stepper.read()
        self._stepper, self._fast = None, None
        self._route = route(self._model)
        self.engine, self.reason = self._route.engine, self._route.reason
        weights = [] if self._route.compiled is None else self._model.parameters()
        self._versions = [(weight, weight._version) for weight in weights if not weight.is_inference()]
        self._first = next(self._model.parameters(), torch.empty(0))
        self._address, self._held = self._first.data_ptr(), self._first.detach()  # held: no other gets its address
        if states is not None and self._shape is not None:
            self._begin(self._shape).write(states)

    def __repr__(self) -> str:
        at = "before the first step" if self._shape is None else f"inputs of shape {tuple(self._shape)}"
        return f"Session({type(self._model).__name__}, engine {self.engine!r}, {at})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session cannot be copied or pickled: make another with stream(model), and set its state")

    def _begin(self, shape: torch.Size) -> Stepper:
        """Get ready for inputs of this shape, from the state in which the layer starts."""
        lead = shape[: len(shape) - self._item_dims]
        batch = lead.numel()
        if self._stepper is not None and self._stepper.batch == batch:
            self._stepper.write(None)
        elif self._route.compiled is None:
            self._stepper = ModuleStepper(self._model, batch)
        else:
            start = start_of(self._model, batch)
            self._stepper = CompiledStepper(self._route.compiled(batch), batch, self._output((batch,)), start)
        if isinstance(self._stepper, CompiledStepper):
            like, stream = self._output(lead), self._stepper.stream
            self._fast = (shape, like.dtype if self._item_dims else torch.int64, like, stream.step, stream)
        self._shape = shape
        return self._stepper

    def _output(self, lead: Sequence[int]) -> Tensor:
        """A tensor like a step's output."""
        model = self._model
        size = model.vocabulary_size if isinstance(model, LanguageModel) else self._layer.output_size
        return next(model.parameters()).detach().new_empty(*lead, size)

    def _step_with_care(self, x: Any) -> Any:
        changed = any(weight._version != version for weight, version in self._versions)
        if self._route.compiled is not None and (changed or self._first.data_ptr() != self._address):
            self.refresh()
        values = self._checked(x)
        if self._shape is None:
            self._begin(values.shape)
        elif values.shape != self._shape:
            raise UserError(
                f"step: this session goes on with inputs of shape {tuple(self._shape)}, got {tuple(values.shape)}; "
                "reset() it before another batch"
            )
        assert self._stepper is not None
        batched = values.dim() > self._item_dims
        output = self._stepper.step(values if batched else values.unsqueeze(0))
        output = output if batched else output.squeeze(0)
        return output.cpu().numpy() if isinstance(x, np.ndarray) else output

    def _checked(self, x: Any) -> Tensor:
        """The input as a tensor of the right type and size."""
        weight = next(self._model.parameters(), torch.empty(0))
        if isinstance(x, str):
            raise UserError("step takes tokens, whole numbers, not text: give tokenizer.encode(text) one by one")
        if not isinstance(x, Tensor):  # a copy: the array may be read-only
            x = torch.tensor(x, dtype=weight.dtype if self._item_dims else None, device=weight.device)
        if x.dim() - self._item_dims not in (0, 1):
            form = "a token, or (B,) tokens" if self._item_dims == 0 else "(I,) or (B, I)"
            raise UserError(f"step takes {form}; the input has the shape {tuple(x.shape)}")
        if self._item_dims:
            check_features(x, x.dim(), self._layer._some_weight(x), self._layer.input_size)
        if isinstance(self._model, LanguageModel):
            embedding = self._model.embedding
            check_tokens(x, None if embedding is None else embedding.weight, self._layer.input_size)
            x = x.long()
        if x.device != weight.device:
            raise UserError(f"step: the input is on {x.device}, the weights are on {weight.device}")
        return x.detach().resolve_neg()
