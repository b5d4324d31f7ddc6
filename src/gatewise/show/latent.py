"""Pictures of an autoencoder's run: the bound as it rose, the latents in a plane, series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from gatewise.errors import UserError
from gatewise.show.picture import HELDOUT, TRAIN, along_steps, dress, save_both
from gatewise.training import Run, load_autoencoder

_MOST_POINTS = 2000
_MOST_PANELS = 12


def draw_latent_run(run: Run) -> None:
    """Draw a run's ``curve`` and, where one latent stands for a sequence, ``latent``, as SVG and PNG."""
    title = f"{run.folder.name}: {run.read_config()['settings']['cell']}"
    draw_bound(run.read_metrics(), run.folder, title)
    trained = load_autoencoder(run.folder)
    heldout = trained.prepared().task.heldout
    try:
        means = trained.posterior(list(heldout)).mean if len(heldout) > 2 else None
    except UserError:  # a latent at every step has no one place
        return
    if means is not None:
        lengths = [len(one) for one in heldout]
        draw_plane(means.numpy(), lengths, run.folder, title)


def draw_bound(rows: Sequence[Mapping[str, str]], folder: Path, title: str) -> None:
    """Draw the held-out reconstruction, the KL and their sum, −ELBO, over the steps: ``curve.svg``, ``curve.png``."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    steps = [int(row["step"]) for row in rows]
    drawn: list[float] = []
    for column, sign, label, colour in (
        ("heldout_elbo", -1, "−ELBO", TRAIN), ("heldout_reconstruction", 1, "reconstruction", HELDOUT),
        ("heldout_kl", 1, "KL", "#3ca951"),
    ):  # fmt: skip
        points = [(step, sign * float(row[column])) for step, row in zip(steps, rows, strict=True) if row.get(column)]
        points = [(step, value) for step, value in points if math.isfinite(value)]
        drawn += [value for _, value in points]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3, linewidth=1.6, label=label)
            axes.annotate(
                f"{points[-1][1]:.1f}", points[-1], textcoords="offset points", xytext=(6, 0), va="center", color=colour
            )
    along_steps(axes)
    axes.set_ylabel("held out, nats of a sequence (estimate)")
    if all(value >= 0 for value in drawn):  # a density of numbers can be above 1, and its −log below 0
        axes.set_ylim(bottom=0)
    dress(axes, title)
    if axes.lines:
        axes.legend(frameon=False)
    save_both(figure, folder, "curve")


def draw_plane(means: np.ndarray, lengths: Sequence[int], folder: Path, title: str) -> None:
    """Draw posterior means (N, Z) on their two principal axes, coloured by the sequences' lengths: ``latent.svg`` and
    ``latent.png``.

    Two axes of many: the picture says what share of the variance they show.
    """
    stride = max(1, math.ceil(len(means) / _MOST_POINTS))
    centred = means - means.mean(0)
    _, sizes, axes_ = torch.linalg.svd(torch.from_numpy(centred), full_matrices=False)
    share = (sizes[:2] ** 2).sum() / (sizes**2).sum().clamp_min(1e-12)
    plane = centred @ axes_[:2].numpy().T
    if plane.shape[1] == 1:
        plane = np.hstack([plane, np.zeros_like(plane)])
    figure = Figure(figsize=(6.4, 5), layout="constrained")
    axes = figure.add_subplot()
    dots = axes.scatter(*plane[::stride].T, c=list(lengths)[::stride], s=7, cmap="viridis", rasterized=True)
    figure.colorbar(dots, label="steps of the sequence")
    axes.set_xlabel("first principal axis of the posteriors' means")
    axes.set_ylabel("second")
    dress(axes, f"{title}, two axes with {share:.0%} of the variance")
    save_both(figure, folder, "latent")


def draw_series(series: Sequence[np.ndarray], folder: Path, name: str, title: str) -> list[Path]:
    """Draw series, (T, d) each, or pairs (2, T, d) of an original and its reconstruction, in numbered panels.

    Returns:
        ``NAME.svg`` and ``NAME.png`` in the folder; of many series they show the first twelve.
    """
    shown = list(series)[:_MOST_PANELS]
    figure = Figure(figsize=(8, 1.3 * len(shown) + 0.6), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
    for number, (axes, one) in enumerate(zip(panels, shown, strict=True), 1):
        both = one if one.ndim == 3 else one[None]
        for values, colour, label in zip(both, (TRAIN, HELDOUT), ("original", "reconstruction"), strict=False):
            axes.plot(values, color=colour, linewidth=1.2, label=label if len(both) == 2 else None)
        dress(axes, "")
        axes.set_ylabel(f"series {number}", fontsize=8)
    if shown and shown[0].ndim == 3:
        handles = [panels[0].lines[0], panels[0].lines[-1]]
        panels[0].legend(handles, ["original", "reconstruction"], frameon=False, ncols=2, fontsize=8)
    along_steps(panels[-1], "step")
    count = f", {len(shown)} of {len(series)}" if len(series) > len(shown) else ""
    figure.suptitle(f"{title}{count}", x=0.01, ha="left", fontsize=11, parse_math=False)
    return save_both(figure, folder, name)
