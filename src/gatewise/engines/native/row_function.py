"""C++ for what is one number a row: computed for many rows at once, as soon as the means it is made of are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatewise.engines.native.plan import Derived
from gatewise.engines.native.spell import Body, indent

_HEAD = [
    "static void of_means([[maybe_unused]] int stage, [[maybe_unused]] const Means &means,",
    "                     [[maybe_unused]] int64_t row, [[maybe_unused]] int64_t last) {",
]


def row_function(places: Sequence[tuple[Derived, int]], body_of: Callable[[list[int]], Body]) -> list[str]:
    """The emitted function that is called at the end of a stage with finished means.

    Args:
        places: what is to be made, and the place of each among the means.
        body_of: of nodes, the lines that compute them of means.
    """
    lines = []
    for stage in sorted({one.stage for one, _ in places}):
        wanted = [(one, place) for one, place in places if one.stage == stage]
        body = body_of([one.node for one, _ in wanted])
        body.define_all()
        values = [f"{'real(1) / ' if one.inverse else ''}{body.value(one.node)}" for one, _ in wanted]
        stored = [f"means.put({place}, row, last, {v});" for (_, place), v in zip(wanted, values, strict=True)]
        lines += [f"if (stage == {stage - 1}) {{", *indent([*body.lines, *stored], 2), "}"]
    return [*_HEAD, *indent(lines, 2), "}", ""]
