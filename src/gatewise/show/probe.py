"""What cells remember as a picture: the longest T of each task above, the gates at the decisive moments below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatewise.show.picture import dress, save_both
from gatewise.training.probe import Finding

COLOURS = (
    "#4269d0", "#d1495b", "#3ca951", "#efb118", "#a463f2", "#6cc5b0", "#9c6b4e", "#97bbf5", "#ff8ab7", "#9498a0",
    "#1b2a6b", "#7a1f2b", "#14532d", "#8a5a00", "#4c1d95", "#0f5c55", "#3f2a1d", "#5b8def", "#b8336a", "#3d4148",
)  # fmt: skip
_MARKERS = "os^Dv<>Px*"


def draw_probe(findings: Sequence[Finding], folder: Path) -> list[Path]:
    """Draw ``probe.svg`` and ``probe.png`` in a folder; each is replaced whole.

    Args:
        findings: what was found, by task and cell.
        folder: where the pictures go.

    Returns:
        The pictures.
    """
    with_gates = [task for task in _tasks(findings) if any(f.gates for f in findings if f.task == task)]
    entries = [sum(len(f.gates) for f in findings if f.task == task) for task in with_gates]
    cells = list(dict.fromkeys(f.cell for f in findings))
    colours = {cell: COLOURS[i % len(COLOURS)] for i, cell in enumerate(cells)}
    heights = [
        max(3.6, 0.24 * len(cells) + 0.6),
        *(max(2.8, 0.2 * count + 0.6) for count in entries),
    ]  # room for the legends
    figure = Figure(figsize=(max(8.0, 3 + 0.36 * len(findings)), sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_lengths(axes[0], findings, colours)
    for below, task in zip(axes[1:], with_gates, strict=True):
        _draw_gates(below, [f for f in findings if f.task == task and f.gates], colours)
    return save_both(figure, folder, "probe")


def _tasks(findings: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys(f.task for f in findings))


def _draw_lengths(axes: Axes, findings: Sequence[Finding], colours: Mapping[str, str]) -> None:
    tasks, cells = _tasks(findings), list(colours)
    width, floor = 0.8 / len(cells), min(rung.T for f in findings for rung in f.rungs) / 2
    for i, cell in enumerate(cells):
        own = [f for f in findings if f.cell == cell]
        places = [tasks.index(f.task) + (i - (len(cells) - 1) / 2) * width for f in own]
        heights = [max(f.longest, floor) for f in own]
        label = f"{cell}, chrono" if any(f.chrono for f in own) else cell
        axes.bar(places, [h - floor for h in heights], width * 0.9, bottom=floor, color=colours[cell], label=label)
        for place, height, finding in zip(places, heights, own, strict=True):
            said = finding.said().replace(">=", "≥")
            axes.annotate(said, (place, height), (0, 2), textcoords="offset points", ha="center", fontsize=8)
    lengths = sorted({rung.T for f in findings for rung in f.rungs})
    axes.set_yscale("log")
    axes.set_yticks(lengths, [str(T) for T in lengths])
    axes.minorticks_off()
    axes.set_ylim(bottom=floor)
    axes.margins(y=0.15)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_ylabel("longest T solved")
    dress(axes, "What a cell remembers (synthetic tasks, equal budget)", grid="")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _draw_gates(axes: Axes, findings: Sequence[Finding], colours: Mapping[str, str]) -> None:
    moments: list[str] = list(dict.fromkeys(m for f in findings for gate in f.gates.values() for m in gate))
    series = [(f, gate, means) for f in findings for gate, means in f.gates.items()]
    for i, (finding, gate, means) in enumerate(series):
        shift = 0.6 * ((i + 0.5) / len(series) - 0.5)
        places = [moments.index(moment) + shift for moment in means]
        axes.plot(
            places,
            list(means.values()),
            _MARKERS[list(finding.gates).index(gate) % len(_MARKERS)],
            color=colours[finding.cell],
            label=f"{finding.cell} {gate}, T {finding.longest}",
        )
    axes.set_ylim(0, 1)
    axes.set_xlim(-0.5, len(moments) - 0.5)
    axes.set_xticks(range(len(moments)), moments)
    axes.set_ylabel("mean opening")
    dress(axes, f"{findings[0].task}: gates at the decisive moments")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
