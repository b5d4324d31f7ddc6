"""What a classifier is given: whole recordings, or windows over them, standardised, cut when they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.data.recordings.channel_features import PLAIN, derive, parse_features
from gatewise.data.recordings.sequences import Recording
from gatewise.data.series import Standardiser
from gatewise.data.table.filling import POLICIES as OF_WINDOWS
from gatewise.data.table.filling import Filled
from gatewise.data.table.projection import Projection
from gatewise.errors import UserError, nearest

POLICIES = tuple(policy for policy in OF_WINDOWS if policy != "drop")
"""What is done about missing values, see :data:`gatewise.data.table.filling.POLICIES`; every example gets a class."""

SCALES = ("robust", "standard")
"""``standard``: (x − mean) / deviation of all training rows. ``robust``: (x − median) / d, with d the median over the
training recordings of a recording's own interquartile range / 1.349, the deviation of a normal distribution; at most 10
either way. So a channel is measured by how much it varies within a recording, and what tells recordings apart is large;
and a fault that drives a channel far off does not make all else small."""

_LIMITS = 10.0, 5.0
"""Of robustly scaled values, and of features of them."""


@dataclass(frozen=True)
class SequencePreparation:
    """From the values of recordings to what a network is given; all of it is learned from the training part.

    Attributes:
        missing: one of :data:`POLICIES`.
        kind: of the scale, one of :data:`SCALES`.
        scale: middle and deviation of every channel.
        features: what is given of each channel, see :data:`gatewise.data.recordings.channel_features.FEATURES`.
        feature_scale: middle and deviation of every feature of every channel, where there are others than values.
        projection: onto principal components of the scaled features, which stand in the place of these; None without.
            They are not scaled again: distances are then those between the features, but for what is cut off, and no
            component is louder for being small.

    Example:
        >>> one = Recording("a", np.array([[1.0, 5.0], [3.0, 5.0]]), np.array(["on", "on"]))
        >>> preparation = SequencePreparation.fitted([one], kind="standard")
        >>> preparation.input_size, preparation.encode([one]).seen(np.array([[0], [1]])).tolist()
        (2, [[[-1.0, 0.0]], [[1.0, 0.0]]])
    """

    missing: str
    kind: str
    scale: Standardiser
    features: tuple[str, ...] = PLAIN
    feature_scale: Standardiser | None = None
    projection: Projection | None = None

    @classmethod
    def fitted(
        cls, train: Sequence[Recording], missing: str = "error", kind: str = "robust",
        features: Sequence[str] = PLAIN, pca: float | int | None = None,
    ) -> SequencePreparation:  # fmt: skip
        """To the training recordings, and nothing else.

        Args:
            train: the recordings.
            missing: one of :data:`POLICIES`.
            kind: one of :data:`SCALES`.
            features: what is given of each channel.
            pca: a share of the variance of the features, below 1, or a number of principal components; None: no PCA.

        Raises:
            UserError: a channel without a value, more components than features.
        """
        if missing not in POLICIES:
            raise UserError(f"--missing {missing}: {nearest(missing, POLICIES)}")
        made = cls(missing, kind, _fitted_scale([one.values for one in train], kind), tuple(features))
        encoded = made.encode(train)
        if made.features != PLAIN:
            made = replace(made, feature_scale=_fitted_scale(encoded.features_of_each(), kind))
        return made if pca is None else made._projected(replace(encoded, preparation=made), pca)

    def _projected(self, train: EncodedRecordings, pca: float | int) -> SequencePreparation:
        """With components of the features of those rows that have a value in every channel."""
        rows = np.concatenate(train.features_of_each())
        missing = train.filled.touched(range(self.channels))
        whole = rows if missing is None else rows[~missing]
        if not len(whole):
            raise UserError("--pca: no training row has a value in every channel; leave it out")
        return replace(self, projection=Projection.fitted(whole, pca))

    @property
    def channels(self) -> int:
        """Of a recording."""
        return self.scale.size

    @property
    def input_size(self) -> int:
        """Features that a network is given, d."""
        size = self.channels * len(self.features) if self.projection is None else self.projection.size
        return size + (2 * self.channels if self.missing == "mask" else 0)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """(T, channels) in the file's units to float32 in deviations."""
        scaled = self.scale.encode(values).numpy()
        return scaled.clip(-_LIMITS[0], _LIMITS[0]) if self.kind == "robust" else scaled

    def encode(self, recordings: Sequence[Recording]) -> EncodedRecordings:
        """Scaled, one after the other, gaps filled."""
        starts = np.cumsum([0, *map(len, recordings)]).tolist()
        values = np.empty((starts[-1], self.channels), dtype=np.float32)
        for one, start in zip(recordings, starts, strict=False):
            scaled = self.scaled(one.values)
            if np.isinf(scaled).any():
                step, channel = (int(place) + 1 for place in np.argwhere(np.isinf(scaled))[0])
                raise UserError(
                    f"{one.place}: the value of channel {channel} at step {step} is too far from the others; mend it"
                )
            values[start : start + len(one)] = scaled
        return EncodedRecordings(self, Filled.of(values, self.missing, starts), tuple(starts))

    def to_config(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "missing": self.missing, "kind": self.kind, "scale": self.scale.to_config(),
            "features": list(self.features),
            "feature_scale": self.feature_scale.to_config() if self.feature_scale else {},
            "projection": self.projection.to_config() if self.projection else {},
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SequencePreparation:
        """The inverse of :meth:`to_config`.

        Raises:
            UserError: the description is malformed.
        """
        malformed = UserError("malformed preparation of recordings; use another copy, or train anew")
        try:
            missing, kind, scale = config["missing"], config["kind"], Standardiser.from_config(config["scale"])
            features = parse_features(",".join(config["features"]))
            derived = Standardiser.from_config(config["feature_scale"]) if features != PLAIN else None
            projection = Projection.from_config(config["projection"]) if config["projection"] else None
        except (KeyError, TypeError):
            raise malformed from None
        sizes = {derived.size} if derived else set()
        sizes |= {len(projection.mean)} if projection else set()
        if missing not in POLICIES or kind not in SCALES or sizes - {scale.size * len(features)}:
            raise malformed
        if set(config) != {field.name for field in fields(cls)}:  # of a version that prepared otherwise
            raise malformed
        return cls(missing, kind, scale, features, derived, projection)


def _fitted_scale(recordings: Sequence[np.ndarray], kind: str) -> Standardiser:
    """A column at a time, of the values that are not missing."""
    if kind not in SCALES:
        raise UserError(f"--scale {kind}: {nearest(kind, SCALES)}")
    scales = []
    for channel in range(recordings[0].shape[1]):
        columns = [one[~np.isnan(one[:, channel]), channel].astype(np.float64) for one in recordings]
        seen = np.concatenate(columns)
        if not len(seen):
            raise UserError(f"channel {channel + 1} has no value in the training part; leave it out")
        scale = Standardiser.fitted(seen[:, None])
        if kind == "robust":
            ranges = [np.subtract(*np.quantile(column, (0.75, 0.25))) for column in columns if len(column)]
            middle, range_ = float(np.median(seen)), float(np.median(ranges))
            # A channel that mostly stands still has no such range, and the deviation of all serves.
            deviation = range_ / 1.349 if range_ > 1e-12 * abs(middle) else scale.deviation[0]
            scale = Standardiser((middle,), (deviation,))
        scales.append(scale)
    return Standardiser(tuple(one.mean[0] for one in scales), tuple(one.deviation[0] for one in scales))


@dataclass(frozen=True)
class EncodedRecordings:
    """Recordings as a network takes them.

    Attributes:
        preparation: what made it.
        filled: their values, one recording after the other.
        starts: (R + 1,) the row at which each begins, and the end of the last.
    """

    preparation: SequencePreparation
    filled: Filled
    starts: tuple[int, ...]

    def seen(self, rows: np.ndarray) -> np.ndarray:
        """(L, B) consecutive rows to float32 (L, B, d), without a value from after their last row."""
        made, parts = self.preparation, [self._features(rows)]
        if made.projection is not None:
            parts = [made.projection.encode(parts[0])]
        if made.missing == "mask":
            parts.append(self.filled.marks(rows, range(made.channels)))
        return np.concatenate(parts, -1) if len(parts) > 1 else parts[0]

    def features_of_each(self) -> list[np.ndarray]:
        """Those of every row, (T, channels k) a recording, as of one window over all of it."""
        places = itertools.pairwise(self.starts)
        return [self._features(np.arange(start, stop)[:, None])[:, 0] for start, stop in places]

    def _features(self, rows: np.ndarray) -> np.ndarray:
        """(L, B) to (L, B, channels k): scaled, where their scale is known."""
        made = self.preparation
        derived = derive(self.filled.as_seen(rows, range(made.channels)), made.features)
        if made.feature_scale is None:
            return derived
        return _scaled(derived, made.feature_scale).clip(-_LIMITS[1], _LIMITS[1])


def _scaled(values: np.ndarray, scale: Standardiser) -> np.ndarray:
    mean, deviation = (np.array(part, dtype=np.float32) for part in (scale.mean, scale.deviation))
    return (values - mean) / deviation


class Batch(NamedTuple):
    """Some examples side by side.

    Attributes:
        x: (T, B, d); what stands after a sequence's end is its last step again.
        lengths: (B,).
        classes: (B,) numbers of classes.
    """

    x: Tensor
    lengths: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Examples:
    """Whole recordings or windows over them, each with a class. No values are copied until a batch is cut.

    Attributes:
        encoded: the recordings.
        first: (n,) the row each begins at, in ``encoded``.
        lengths: (n,) rows.
        classes: (n,) the class at each one's last row, as a number.
        recordings: (n,) which recording each is of.
        last: (n,) the step of its recording that it ends with.
        windows: whether they are windows.
    """

    encoded: EncodedRecordings
    first: np.ndarray
    lengths: np.ndarray
    classes: np.ndarray
    recordings: np.ndarray
    last: np.ndarray
    windows: bool

    @classmethod
    def over(
        cls, recordings: Sequence[Recording], preparation: SequencePreparation, classes: Sequence[str], window: int,
        stride: int = 1,
    ) -> Examples:  # fmt: skip
        """All examples of some recordings.

        Args:
            recordings: where they are cut from.
            preparation: fitted to the training part.
            classes: the labels in the order of their numbers; a label that is not among them has the number −1.
            window: rows of a window; 0: whole recordings.
            stride: rows from one window's end to the next one's.

        Raises:
            UserError: a recording is shorter than a window.
        """
        number = {label: n for n, label in enumerate(classes)}
        encoded = preparation.encode(recordings)
        firsts, lengths, found, of, lasts = [], [], [], [], []
        for place, (one, start) in enumerate(zip(recordings, encoded.starts, strict=False)):
            if len(one) < window:
                raise UserError(
                    f"{one.place}: has {len(one)} rows, and a window has {window}; give a smaller --window, or leave "
                    "it out"
                )
            ends = np.arange(window - 1, len(one), stride) if window else np.array([len(one) - 1])
            firsts.append(start + ends - (window or len(one)) + 1)
            lengths.append(np.full(len(ends), window or len(one)))
            found.append(np.array([number.get(str(label), -1) for label in one.labels[ends]]))
            of.append(np.full(len(ends), place))
            lasts.append(ends)
        parts = (np.concatenate(each or [np.zeros(0)]).astype(np.int64) for each in (firsts, lengths, found, of, lasts))
        return cls(encoded, *parts, windows=window > 0)

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, numbers: Sequence[int] | np.ndarray) -> Batch:
        """The examples of these numbers."""
        numbers = np.asarray(numbers)
        lengths, first = self.lengths[numbers], self.first[numbers]
        steps = np.minimum(np.arange(lengths.max())[:, None], lengths - 1)
        x = torch.from_numpy(self.encoded.seen(first + steps))
        return Batch(x, torch.from_numpy(lengths), torch.from_numpy(self.classes[numbers]))
