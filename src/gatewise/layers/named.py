"""GRU, LSTM and RNN: drop-in replacements for those of ``torch.nn``.

What goes by torch's own classes does not know them: ``isinstance(layer, nn.RNNBase)``, ``torch.jit.script``,
``quantize_dynamic``.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch

from gatewise.layers.options import Options
from gatewise.layers.recurrent import Recurrent


class GRU(Recurrent):
    """Gated recurrent unit: ``torch.nn.GRU`` without a change, on the best engine for the machine.

    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r); z likewise; n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t-1} + b'_n));
    h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}  (Cho et al. 2014, arXiv:1406.1078). Arguments, shapes, weights and errors as in
    ``torch.nn.GRU`` and :class:`Recurrent`.

    Example:
        >>> import torch, gatewise
        >>> reference = torch.nn.GRU(3, 5, num_layers=2)
        >>> layer = gatewise.GRU(3, 5, num_layers=2)
        >>> layer.load_state_dict(reference.state_dict())
        <All keys matched successfully>
        >>> x = torch.randn(7, 2, 3)
        >>> torch.allclose(layer(x)[0], reference(x)[0], atol=1e-6)
        True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        _refuse_projection(options)
        _refuse_none(num_layers)
        super().__init__(
            "gru", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype,
            **options,
        )  # fmt: skip


class LSTM(Recurrent):
    """Long short-term memory: ``torch.nn.LSTM`` without a change, ``proj_size`` included.

    i, f, o = σ(W x_t + b + U h_{t-1} + b'); g = tanh(...); c_t = f ⊙ c_{t-1} + i ⊙ g; h_t = o ⊙ tanh(c_t)
    (Hochreiter and Schmidhuber 1997; Gers et al. 2000). Arguments, shapes, weights and errors as in ``torch.nn.LSTM``.

    Example:
        >>> import torch, gatewise
        >>> output, (h, c) = gatewise.LSTM(3, 5, proj_size=2)(torch.zeros(7, 4, 3))
        >>> output.shape, h.shape, c.shape
        (torch.Size([7, 4, 2]), torch.Size([1, 4, 2]), torch.Size([1, 4, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        _refuse_none(num_layers)
        super().__init__(
            "lstm", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype, **options,
        )  # fmt: skip


class RNN(Recurrent):
    """Simple recurrent network: ``torch.nn.RNN`` without a change.

    h_t = tanh(W x_t + b + U h_{t-1} + b'), or max(0, ·) with ``nonlinearity="relu"`` (Elman 1990). Arguments,
    shapes, weights and errors as in ``torch.nn.RNN``.

    Example:
        >>> import torch, gatewise
        >>> gatewise.RNN(3, 5, nonlinearity="relu")(torch.zeros(7, 4, 3))[1].shape
        torch.Size([1, 4, 5])
    """

    _dims_noun = " tensor"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        _refuse_projection(options)
        cells = {"tanh": "rnn", "relu": "rnn-relu"}
        if nonlinearity not in tuple(cells):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        _refuse_none(num_layers)
        super().__init__(
            cells[nonlinearity], input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
            device, dtype, **options,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


def _refuse_projection(options: Any) -> None:
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


def _refuse_none(num_layers: Any) -> None:
    """None, to :class:`Recurrent` "as many as are listed", is here what it is to torch.nn."""
    if num_layers is None:
        raise TypeError("'<=' not supported between instances of 'NoneType' and 'int'")
