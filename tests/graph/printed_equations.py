"""Reads what ``explain`` prints and computes with it: columns for vectors, one sample after the other."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from back_propagation import Problem, Values, split

from gatewise.graph import equations

Rows = list[tuple[str, str, str]]


def _bracket(*values):
    """[a > b] or [low ≤ a ≤ high]: 1 where it holds, 0 elsewhere."""
    if len(values) == 2:
        return (values[0] > values[1]).astype(float)
    low, value, high = values
    return ((value >= low) & (value <= high)).astype(float)


FUNCTIONS = {
    "σ": lambda a: 1 / (1 + np.exp(-a)),
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sign": np.sign,
    "mean": lambda a: np.full_like(a, a.mean()),
    "min": np.minimum,
    "max": np.maximum,
    "softplus": lambda a: np.log1p(np.exp(a)),
    "leaky_relu": lambda a, slope: np.where(a > 0, a, slope * a),
    "clamp": np.clip,
    "bracket": _bracket,
    "abs": np.abs,
}

_TOKEN = re.compile(
    r"(?P<number>\(-[\d.]+(?:e[+-]?\d+)?\)|[\d.]+(?:e[+-]?\d+)?|∞)"
    r"|(?P<name>σ|[A-Za-z](?:[A-Za-z0-9_']|\{t-1\})*)"
    r"|(?P<postfix>[ᵀ²³])"
    r"|(?P<other>[()\[\]|⊙/+−,≤>^-])"
    r"|(?P<blank>\s+)"
)
_WRITTEN = {"⊙": "*", "−": "-", "^": "**", "≤": ",", ">": ",", "ᵀ": ".T", "²": "**2", "³": "**3"}
_WRITTEN |= {"[": "bracket(", "]": ")"}


def to_python(formula: str) -> str:
    """A printed formula as Python: names become ``v["name"]``; what stands side by side is multiplied."""
    source, position, previous = "", 0, ""  # previous: "number" or "value" where an operand has just ended
    while position < len(formula):
        token = _TOKEN.match(formula, position)
        assert token, f"cannot read {formula[position:]!r} in {formula!r}"
        position, kind, text = token.end(), token.lastgroup, token.group()
        if kind == "blank":
            continue
        function = kind == "name" and text in FUNCTIONS and formula[position : position + 1] == "("
        opens = kind in ("number", "name") or text in ("(", "[") or (text == "|" and not previous)
        if opens and previous and source[-1] != "#":
            source += " * " if previous == "number" else " @ "
        source = source.removesuffix("#")
        match kind:
            case "number":
                source, previous = source + text.replace("∞", "inf"), "number"
            case "name" if function:
                source, previous = source + text + "#", "value"  # the mark: the parenthesis that follows is a call's
            case "name":
                source, previous = source + f'v["{text}"]', "value"
            case _ if text == "|":
                source, previous = (source + ")", "value") if previous else (source + "abs(", "")
            case _:
                source += _WRITTEN.get(text, text)
                previous = "value" if kind == "postfix" or text in (")", "]") else ""
    return source


def sections(text: str) -> list[Rows]:
    """The forward, the backward and the weights' equations, and a linear cell's coefficients: (left, sign, right)."""
    found: list[Rows] = []
    for line in text.splitlines()[2:]:
        if line and not line.startswith(" "):
            found.append([])
        row = re.fullmatch(r"  (\S+) +([=←]) (.+)", line)
        if row:
            found[-1].append((row[1], row[2], row[3]))
    assert len(found) in (3, 4)
    return found


@dataclass(frozen=True)
class _Sections:
    """The printed rows, compiled: (left, sign, right)."""

    forward: list[Any]
    backward: list[Any]
    weights: list[Any]
    coefficients: list[list[Any]]


def by_printed_text(p: Problem) -> Values:
    """Outputs, final states and every gradient of a layer, from the printed text and nothing else of its graph."""
    forward, backward, weights, *coefficients = (
        [(left, sign, compile(to_python(right.removeprefix("Σ_t ")), right, "eval")) for left, sign, right in rows]
        for rows in sections(equations(p.layer.cell))
    )
    names = p.layer.cell.states
    known = {n: w.detach().numpy() for n, w in split(p.layer, dict(p.layer.named_parameters())).items()}
    known = {name: value if value.ndim == 2 else value[:, None] for name, value in known.items()}
    taken = set(known) | {"x_t", *(f"{s}_{{t-1}}" for s in names), *(f"d{s}_t" for s in names)}
    for left, sign, _ in (*forward, *backward, *weights):
        assert left not in taken or sign == "←", f"{left} means two things"
        taken.add(left)

    printed = _Sections(forward, backward, weights, coefficients)
    samples = [_of_sequence(p, printed, known, b) for b in range(p.d_output.shape[1])]

    def gathered(name: str) -> np.ndarray:
        values = [sample[name] for sample in samples]
        if name in known_gradients:
            total = np.broadcast_to(sum(values), known[name[1:]].shape)
            return total if name[1] in "WU" and total.shape[1] > 1 else total[:, 0]
        return np.stack(values, axis=1 if name in ("output", "dx") else 0)

    known_gradients = {f"d{name}" for name in known}
    assert known_gradients == {left for left, _, _ in weights}
    return {name: torch.from_numpy(gathered(name).copy()) for name in samples[0]}


def _of_sequence(p: Problem, printed: _Sections, known: dict[str, np.ndarray], b: int) -> dict[str, np.ndarray]:
    """The sequence ``b`` by itself, forward and back."""
    names, (steps, _, hidden) = p.layer.cell.states, p.d_output.shape
    state = {s: value[0, b, :, None].numpy() for s, value in zip(names, p.states, strict=True)}
    scopes, outputs = [], []
    for t in range(steps):
        v = known | {"x_t": p.x[t, b, :, None].numpy()} | {f"{s}_{{t-1}}": value for s, value in state.items()}
        _run(printed.forward, v)
        for coefficients in printed.coefficients:
            _check_again(coefficients, v)
        state = {s: v[f"{s}_t"] for s in names}
        scopes.append(v)
        outputs.append(v[f"{names[0]}_t"])
    sums = {left: np.zeros(1) for left, _, _ in printed.weights}
    given = {s: value[0, b, :, None].numpy() for s, value in zip(names, p.d_finals, strict=True)}
    for t in reversed(range(steps)):
        v = scopes[t] | {f"d{s}_t": value for s, value in given.items()}
        v[f"d{names[0]}_t"] = v[f"d{names[0]}_t"] + p.d_output[t, b, :, None].numpy()
        _run(printed.backward, v)
        given = {s: v[f"d{s}_{{t-1}}"] for s in names}
        for left, _, right in printed.weights:
            sums[left] = sums[left] + _value(right, v)
        scopes[t] = v
    found = {f"d{s}_0": _full(value, hidden) for s, value in given.items()}
    found |= {s: _full(value, hidden) for s, value in state.items()}
    found |= {"output": np.stack([_full(h, hidden) for h in outputs])}
    found |= {"dx": np.stack([_full(v.get("dx_t", 0.0), p.x.shape[2]) for v in scopes])}
    return found | sums


def _value(code, v: dict[str, np.ndarray]):
    return eval(code, {"v": v, "inf": np.inf, "__builtins__": {}, **FUNCTIONS})


def _run(rows, v: dict[str, np.ndarray]) -> None:
    for left, _, right in rows:
        v[left] = _value(right, v)


def _check_again(rows, v: dict[str, np.ndarray]) -> None:
    """A linear cell's coefficients give the next states once more; their own names mean nothing else."""
    again = dict(v)
    for left, _, right in rows:
        value = _value(right, again)
        assert left not in v or left.endswith("_t"), f"{left} means two things"
        if left in v:
            np.testing.assert_allclose(value, v[left], rtol=1e-10, atol=1e-12)
        again[left] = value


def _full(value, size: int) -> np.ndarray:
    return np.broadcast_to(value, (size, 1))[:, 0]
