"""Convolutional recurrent layers: the same cells on videos and on rows of points, with convolutions for products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from gatewise.cells import CellLike
from gatewise.engines import States
from gatewise.engines.convolution import Convolution
from gatewise.errors import UserError, nearest
from gatewise.layers.base import FORM_DEFAULTS, OPTION_DEFAULTS, CellLayer, Form
from gatewise.layers.options import Given, Options
from gatewise.layers.shapes import LayerShape, depth

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class ConvRecurrent(CellLayer):
    """Any cell over time on pictures: every product of its equations is a convolution.

    W x_t + b becomes W * x_t + b, and U h_{t-1} + b' becomes U * h_{t-1} + b'; all else, the elementwise products
    included, is the cell's (``gatewise.explain(cell)`` prints it), at every pixel alike. A state has as many pixels as
    a frame. ``*`` is torch's convolution, which does not flip the kernel.

    ``"gru-before"`` is the convolutional GRU of Ballas et al. 2015 (arXiv:1511.06432) up to z ↦ 1 − z, ``"gru"`` the
    one of Shi et al. 2017 (arXiv:1706.03458) up to the nonlinearity, ``"lstm-peephole"`` the convolutional LSTM of Shi
    et al. 2015 (arXiv:1506.04214). Diagonal weights (peepholes) and learned vectors are one number a channel; Shi et
    al. 2015 have one for every channel and pixel, which ties the layer to one size of frame.

    Args:
        cell: a name (``gatewise cells`` lists them), a class derived from :class:`gatewise.Cell`, or an instance; or a
            list of them, one a layer, from the lowest up.
        in_channels: channels of a frame, C.
        hidden_channels: channels of a state, H; or a list, one a layer.
        kernel_size: pixels of a kernel along each axis, one number or one an axis; odd, so that a kernel has a middle
            and a state exactly as many pixels as a frame.
        num_layers: layers, each fed with the output of the one below; by default as many as are listed, or 1.
        dims: axes of a frame: 2 (height, width) or 1 (length).
        bias: whether the products have their biases.
        batch_first: input and output are (B, T, ·) instead of (T, B, ·); states are not affected.
        dropout: probability of dropout on the output of every layer but the last, while training.
        bidirectional: a second run from the end of each sequence to its start; the outputs stand side by side.
        padding_mode: what stands around a frame: "zeros", "reflect", "replicate" or "circular".
        device: where the weights are made.
        dtype: of the weights.
        options: as :class:`gatewise.Recurrent` has them. ``zoneout`` and ``recurrent_dropout`` draw for every channel
            and pixel; ``layer_norm`` takes its means over the channels of a pixel; ``learned_state`` is one number a
            channel; ``engine`` is "auto" or "eager".

    Shapes:
        ``layer(input, hx=None, lengths=None) -> (output, state)`` with D = 2 if bidirectional else 1, and the frame's
        pixels P = (height, width), or (length,)

        - input: (T, B, C, *P), or (B, T, C, *P) if ``batch_first``, or (T, C, *P);
        - hx: the initial state, (num_layers D, B, H, *P) for a cell with one state, a tuple with one such tensor per
          state otherwise; None is zero, or what was learned; layers that differ as :class:`gatewise.Recurrent` has it;
        - lengths: (B,) whole numbers in 1..T, the steps of each sequence of a padded input;
        - output: (T, B, D H, *P), zero after a sequence's end; state: as hx.

    Weights:
        As :class:`gatewise.Recurrent` names and orders them, with the kernel's sizes behind: ``weight_ih_l{k}``
        (gates H, C, *kernel), ``weight_hh_l{k}`` (gates H, H, *kernel). Drawn from U(-1/√n, 1/√n), n the numbers that
        enter a product: C or H times the kernel's pixels (as ``torch.nn.Conv2d``); biases as their kernels.

    Raises:
        UserError: an unknown cell, an even kernel, an input or a state of the wrong shape, bad ``lengths``.

    Example:
        >>> import torch, gatewise
        >>> layer = gatewise.ConvRecurrent("gru-before", in_channels=1, hidden_channels=8, kernel_size=3)
        >>> output, h = layer(torch.zeros(10, 2, 1, 16, 24))
        >>> output.shape, h.shape
        (torch.Size([10, 2, 8, 16, 24]), torch.Size([1, 2, 8, 16, 24]))
    """

    _defaults = FORM_DEFAULTS | {"padding_mode": "zeros"} | OPTION_DEFAULTS

    def __init__(
        self,
        cell: CellLike | Sequence[CellLike],
        in_channels: int,
        hidden_channels: int | Sequence[int],
        kernel_size: int | Sequence[int],
        num_layers: int | None = None,
        dims: int = 2,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        self.num_layers = depth(cell, hidden_channels, num_layers)
        _check_counts(in_channels, hidden_channels, self.num_layers)
        if dims not in (1, 2):
            raise UserError(f"dims: want 1 (rows of points) or 2 (pictures), got {dims!r}")
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise UserError(f"dropout: want a probability from 0 to 1, got {dropout!r}")
        if padding_mode not in PADDING_MODES:
            raise UserError(f"padding_mode '{padding_mode}': {nearest(str(padding_mode), PADDING_MODES)}")
        self.dropout, self.dims, self.padding_mode = float(dropout), dims, padding_mode
        self.kernel_size = check_kernel(kernel_size, dims)
        self.convolution = Convolution(dims, padding_mode)
        form = Form(bias, batch_first, bidirectional, kernel=self.kernel_size)
        self._set_up(cell, in_channels, hidden_channels, form, Given.of(options))
        self._make_weights(device, dtype)

    @property
    def in_channels(self) -> int:
        """Channels of a frame."""
        return self.input_size

    @property
    def hidden_channels(self) -> int | tuple[int, ...]:
        """Channels of a state; where they differ, one number a layer."""
        return self.hidden_size

    def _bound(self, name: str, layer: LayerShape) -> float:
        below = layer.input_size if "_ih_" in name else layer.state_sizes[0]
        is_product = name.startswith(("weight_ih", "weight_hh", "bias"))
        return (below * math.prod(self.kernel_size if is_product else ())) ** -0.5

    def extra_repr(self) -> str:
        text = f"{self.names()}, " if type(self) is ConvRecurrent else ""
        return self._described(f"{text}{self.in_channels}, {self.hidden_channels}, kernel_size={self.kernel_size}")

    def forward(
        self, input: Tensor, hx: Any = None, *, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, Any]:
        """Run the layer; see the class for shapes."""
        batched = self._check_input(input)
        return self._unify(input, batched, None if hx is None else self.layout.given(hx), lengths, self._run)

    def _run(self, x: Tensor, lengths: Tensor | None, states: States | None) -> tuple[Tensor, States]:
        """Cells take a pixel's channels last."""
        if states is not None:
            self._check_states(states, x)
            states = tuple(state.movedim(2, -1) for state in states)
        output, final = self._run_cells(x.movedim(2, -1), lengths, states)
        return output.movedim(-1, 2), tuple(state.movedim(-1, 2) for state in final)

    def _check_input(self, input: Tensor) -> bool:
        """Whether the input is a batch."""
        pixels = ("height", "width") if self.dims == 2 else ("length",)
        axes = ", ".join([*(("B", "T") if self.batch_first else ("T", "B")), str(self.in_channels), *pixels])
        missing = self.dims + 3 - input.dim()
        if missing not in (0, 1) or input.shape[-self.dims - 1] != self.in_channels or 0 in input.shape:
            raise UserError(f"the input has the shape {tuple(input.shape)}: want ({axes}), or one sequence without B")
        weight = self._some_weight(input)
        if input.dtype != weight.dtype and not torch.is_autocast_enabled(input.device.type):
            raise UserError(f"the input is {input.dtype}, the weights are {weight.dtype}: use input.to({weight.dtype})")
        most = {"reflect": lambda n: n - 1, "circular": lambda n: n}.get(self.padding_mode)
        for size, side in zip(self.kernel_size, input.shape[-self.dims :], strict=True):
            if most is not None and size // 2 > most(side):
                raise UserError(
                    f"a frame of {side} pixels is too small for padding_mode '{self.padding_mode}' with a kernel of "
                    f"{size}: use 'zeros' or 'replicate'"
                )
        return missing == 0

    def _check_states(self, states: States, x: Tensor) -> None:
        for (label, rows, channels), state in zip(self.layout.rows, states, strict=True):
            wanted = (rows, x.shape[1], channels, *x.shape[3:])
            if state.shape != wanted:
                raise UserError(f"hx: {label} has the shape {tuple(state.shape)}, want {wanted}")


def _check_counts(in_channels: Any, hidden_channels: Any, num_layers: Any) -> None:
    listed = isinstance(hidden_channels, list | tuple)
    hidden = [("hidden_channels", channels) for channels in (hidden_channels if listed else [hidden_channels])]
    for name, value in (("in_channels", in_channels), *hidden, ("num_layers", num_layers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name}: want a whole number above 0, got {value!r}")


def check_kernel(kernel_size: Any, dims: int) -> tuple[int, ...]:
    """The kernel's size along each axis.

    Raises:
        UserError: not whole numbers, not one an axis, or even: an even kernel has no middle, so that a state could not
            have the frame's pixels with as much padding on either side.

    >>> check_kernel(3, 2)
    (3, 3)
    """
    sizes = tuple(kernel_size) if isinstance(kernel_size, Sequence) else (kernel_size,) * dims
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
    if not whole or len(sizes) != dims:
        raise UserError(f"kernel_size: want a whole number above 0, or {dims} of them, got {kernel_size!r}")
    for size in sizes:
        if size % 2 == 0:
            raise UserError(
                f"kernel_size {kernel_size}: an even kernel has no middle, and the states would not have the frames' "
                f"size; use {max(1, size - 1)} or {size + 1}"
            )
    return sizes


class ConvGRU(ConvRecurrent):
    """Convolutional gated recurrent unit.

    r = σ(W_r * x_t + b_r + U_r * h_{t-1} + b'_r); z likewise; h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}, with

    - n = tanh(W_n * x_t + b_n + U_n * (r ⊙ h_{t-1}) + b'_n) where ``reset`` is "before" the product (Ballas et al.
      2015, arXiv:1511.06432);
    - n = tanh(W_n * x_t + b_n + r ⊙ (U_n * h_{t-1} + b'_n)) where it is "after" (Shi et al. 2017, arXiv:1706.03458,
      who have a leaky rectifier in the place of the tanh): all three recurrent convolutions are one, and faster.

    The z of Ballas et al. is our 1 − z. Arguments and shapes as in :class:`ConvRecurrent`.

    Example:
        >>> import torch, gatewise
        >>> gatewise.ConvGRU(1, 8, kernel_size=3)(torch.zeros(4, 2, 1, 6, 6))[1].shape
        torch.Size([1, 2, 8, 6, 6])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        kernel_size: int | Sequence[int],
        num_layers: int | None = None,
        *arguments: Any,
        reset: str = "before",
        **options: Any,
    ) -> None:
        cells = {"before": "gru-before", "after": "gru"}
        if reset not in cells:
            raise UserError(f"reset '{reset}': {nearest(str(reset), cells)}")
        super().__init__(cells[reset], in_channels, hidden_channels, kernel_size, num_layers, *arguments, **options)


class ConvLSTM(ConvRecurrent):
    """Convolutional long short-term memory (Shi et al. 2015, arXiv:1506.04214).

    i = σ(W_i * x_t + b_i + U_i * h_{t-1} + b'_i + p_i ⊙ c_{t-1}); f likewise
    g = tanh(W_g * x_t + b_g + U_g * h_{t-1} + b'_g)
    c_t = f ⊙ c_{t-1} + i ⊙ g
    o = σ(W_o * x_t + b_o + U_o * h_{t-1} + b'_o + p_o ⊙ c_t)
    h_t = o ⊙ tanh(c_t)

    p is one number a channel, in the paper one a channel and pixel; ``peepholes=False`` leaves it out. Arguments and
    shapes as in :class:`ConvRecurrent`.

    Example:
        >>> import torch, gatewise
        >>> output, (h, c) = gatewise.ConvLSTM(1, 8, kernel_size=3)(torch.zeros(4, 2, 1, 6, 6))
        >>> output.shape, c.shape
        (torch.Size([4, 2, 8, 6, 6]), torch.Size([1, 2, 8, 6, 6]))
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        kernel_size: int | Sequence[int],
        num_layers: int | None = None,
        *arguments: Any,
        peepholes: bool = True,
        **options: Any,
    ) -> None:
        cell = "lstm-peephole" if peepholes else "lstm"
        super().__init__(cell, in_channels, hidden_channels, kernel_size, num_layers, *arguments, **options)
