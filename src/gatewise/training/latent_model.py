"""A latent model from its configuration, as the file of its weights records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.data import Standardiser, Tokenizer
from gatewise.layers import VRNN, Emission, LatentModel, SequenceDecoder, SequenceVAE, SeriesEmission, TokenEmission
from gatewise.training.autoencode_settings import AutoencodeSettings
from gatewise.training.text_settings import AUTO, suited_embedding

_EMISSIONS: dict[str, type[Emission]] = {"tokens": TokenEmission, "series": SeriesEmission}
_MODELS: dict[str, Any] = {"vae": SequenceVAE, "vrnn": VRNN}
UNCONDITIONAL = {"vae": "the same decoder without a latent", "vrnn": "a recurrent model without a latent"}
"""What :func:`build_unconditional` gives, by the model that it is compared with."""

_NOT_A_DECODERS = ("kind", "emission", "latent_size", "bidirectional")


def model_config(settings: AutoencodeSettings, codec: Tokenizer | Standardiser) -> dict[str, Any]:
    """What :func:`build` makes a model of."""
    if isinstance(codec, Standardiser):
        emission: dict[str, Any] = {"kind": "series", "features": codec.size, "variance": settings.variance}
    else:
        embedding = suited_embedding(codec.size) if settings.embedding == AUTO else settings.embedding
        emission = {
            "kind": "tokens", "vocabulary_size": codec.size, "embedding_size": embedding,
            "never": codec.unk_id,
        }  # fmt: skip
    only_vae = {"bidirectional": settings.encoder == "both"} if settings.model == "vae" else {}
    return {
        "kind": settings.model,
        "emission": emission,
        **settings.stack(),
        "latent_size": settings.latent,
        "dropout": settings.dropout,
        **only_vae,
        **settings.noise(),
    }


def build(config: Mapping[str, Any], **options: Any) -> LatentModel:
    """The model that a configuration describes, with fresh weights; ``options`` of its layers beside it."""
    rest = dict(config)
    model, emission = _MODELS[rest.pop("kind")], dict(rest.pop("emission"))
    return model(_EMISSIONS[emission.pop("kind")](**emission), **rest, **options)


def build_unconditional(config: Mapping[str, Any], **options: Any) -> SequenceDecoder:
    """A decoder without a latent, of the same cells and sizes; a vae's own but for what hears the latent."""
    emission = dict(config["emission"])
    own = {name: value for name, value in config.items() if name not in _NOT_A_DECODERS}
    return SequenceDecoder(_EMISSIONS[emission.pop("kind")](**emission), latent_size=0, **own, **options)
