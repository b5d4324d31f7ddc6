"""The settings of ``train frames``: what it has beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from gatewise.errors import UserError
from gatewise.layers.conv import check_kernel
from gatewise.training.settings import HeldOutSettings, setting


@dataclass(frozen=True)
class FramesSettings(HeldOutSettings):
    """Everything that decides a run of ``gatewise train frames``, besides the videos themselves."""

    batch: int = setting(8, "Sequences of a batch", positive=True)
    lr: float = setting(0.006, "Peak learning rate", positive=True)
    weight_decay: float = setting(0.0, "Of AdamW")
    heldout: float = setting(
        0.2, "Share of the videos, or of the only one's frames, that is held out", "Data", positive=True, share=True
    )
    layers: int = setting(
        2, "Recurrent layers of the encoder, and of the forecaster", "Model", positive=True, most=100,
        default="2, or as many as cells or channels are listed",
    )  # fmt: skip
    hidden: int | str = setting(
        32, "Channels of a layer, or `48,32`: one number a layer", "Model", positive=True, most=1 << 16, listed=True
    )
    dropout: float = setting(0.0, "Dropout between layers and before the last convolution", "Model", share=True)
    residual: bool = setting(False, "Refused: the layers of this model are joined another way", "Model")
    engine: str = setting("auto", "`auto` or `eager`; other engines do not convolve", "Model")
    precision: str = setting(
        "float32", "`float32`; no engine convolves faster in another", "Model", choices=("float32",)
    )
    kernel: int = setting(3, "Patches of a kernel's side; odd", "Model", positive=True, most=99)
    patch: int = setting(4, "Pixels of a patch's side", "Model", positive=True, most=1 << 10)
    inputs: int = setting(10, "Given frames", "Data", positive=True, most=10_000)
    outputs: int = setting(10, "Frames to predict", "Data", positive=True, most=10_000)
    size: int = setting(
        0, "Pixels of a frame's shorter side; longer ones are reduced", "Data", most=1 << 14,
        default="32 for moving digits; a video's own",
    )  # fmt: skip
    digits: int = setting(1, "Moving digits in a frame, where no videos are given", "Data", positive=True, most=9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.residual:
            raise UserError("--residual: this model's layers are joined another way; leave it out")
        try:
            check_kernel(self.kernel, 2)
        except UserError as error:
            raise UserError(f"--kernel: {error}") from None
