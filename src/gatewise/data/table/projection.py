"""Principal components of the inputs: fewer features that keep most of their variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gatewise.errors import UserError

_MOST_ROWS = 1_000_000
"""Of which components are computed; of more rows so many, evenly spread."""


def parse_components(text: str) -> float | int | None:
    """What ``--pca`` says: a share of the variance, a number of components, or nothing.

    Raises:
        UserError: neither.

    >>> parse_components("0.95"), parse_components("3"), parse_components("")
    (0.95, 3, None)
    """
    if not text:
        return None
    try:
        wanted = int(text) if text.isdecimal() else float(text)
    except ValueError:
        wanted = 0
    if not (wanted >= 1 if isinstance(wanted, int) else 0 < wanted < 1):
        raise UserError(f"--pca {text}: want a share of the variance below 1, as 0.95, or a number of components, as 3")
    return wanted


@dataclass(frozen=True)
class Projection:
    """(x − mean) Wᵀ, with the first principal components of the training rows as the rows of W (Pearson 1901).

    Attributes:
        mean: (d,).
        components: (p, d), orthonormal rows.
        shares: (p,) of the variance each keeps.

    >>> rows = np.outer(np.arange(9.0), [3.0, 4.0])
    >>> projection = Projection.fitted(rows, 0.95)
    >>> projection.size, projection.encode(np.float32([[12.0, 16.0], [15.0, 20.0]])).round(3).tolist()
    (1, [[0.0], [5.0]])
    """

    mean: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    shares: tuple[float, ...]

    @classmethod
    def fitted(cls, rows: np.ndarray, wanted: float | int) -> Projection:
        """To (n, d) standardised training rows, and nothing else.

        Args:
            rows: of the training part.
            wanted: a share of the variance, below 1, or a number of components.

        Raises:
            UserError: more components than columns or rows; rows that do not vary.
        """
        from sklearn.decomposition import PCA

        count, columns = rows.shape
        if wanted >= 1 and wanted > min(count, columns):
            raise UserError(f"--pca {wanted}: the inputs have {columns} columns and {count} training rows; want fewer")
        rows = rows[np.linspace(0, count - 1, min(count, _MOST_ROWS)).astype(np.int64)].astype(np.float64)
        if count < 2 or not (np.ptp(rows, axis=0) > 0).any():
            raise UserError("--pca: the inputs do not vary in the training rows; leave it out")
        pca = PCA(n_components=wanted, svd_solver="full" if count < 10 * columns else "covariance_eigh").fit(rows)
        mean, shares = (tuple(np.asarray(part).tolist()) for part in (pca.mean_, pca.explained_variance_ratio_))
        return cls(mean, tuple(map(tuple, np.asarray(pca.components_).tolist())), shares)

    @property
    def size(self) -> int:
        """Components, p."""
        return len(self.components)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(..., d) to float32 (..., p)."""
        mean, components = self._arrays
        return (values - mean) @ components.T

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.mean, np.float32), np.array(self.components, np.float32)

    def to_config(self) -> dict[str, Any]:
        components = [list(row) for row in self.components]
        return {"mean": list(self.mean), "components": components, "shares": list(self.shares)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Projection:
        """The inverse of :meth:`to_config`.

        Raises:
            UserError: the description is malformed.
        """
        malformed = UserError("malformed projection: it wants components of as many numbers as there are means")
        try:
            mean, shares = (_numbers(config[name]) for name in ("mean", "shares"))
            components = tuple(map(_numbers, config["components"]))
        except (KeyError, TypeError, ValueError):
            raise malformed from None
        if {len(row) for row in components} != {len(mean)} or len(shares) != len(components):
            raise malformed
        return cls(mean, components, shares)


def _numbers(given: Any) -> tuple[float, ...]:
    numbers = tuple(map(float, given))
    if not np.isfinite(numbers).all():
        raise ValueError("not finite")
    return numbers
