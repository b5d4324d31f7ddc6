"""The printed equations: their text, their LaTeX, and, read back and computed with, their truth."""

import io
import re

import pytest
import torch
from back_propagation import assert_agree, by_autograd, problem
from hypothesis import given, settings, strategies
from linear_cells import LINEAR
from made_up_cells import MADE_UP
from matplotlib.mathtext import MathTextParser
from printed_equations import by_printed_text, sections
from random_cells import random_cells

from gatewise import CELLS, Cell, UserError, explain
from gatewise.graph import equations

EVERY_CELL = [pytest.param(cell, id=name) for name, cell in (CELLS | MADE_UP | LINEAR).items()]


@pytest.mark.parametrize("cell", EVERY_CELL)
def test_the_printed_text_is_true(cell):
    p = problem(cell, steps=5, hidden=5)
    assert_agree(by_printed_text(p), by_autograd(p))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cell=random_cells(), seed=strategies.integers(0, 99))
def test_the_printed_text_of_random_cells_is_true(cell, seed):
    p = problem(cell, seed, steps=3, batch=2, hidden=3)
    assert_agree(by_printed_text(p), by_autograd(p), 1e-9)


def test_the_textbooks_gru_is_derived_as_a_student_would():
    forward, backward, weights = ([" ".join(row) for row in rows] for rows in sections(equations("gru-before")))
    assert forward == [
        "r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)",
        "z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)",
        "n = tanh(W_n x_t + b_n + U_n (r ⊙ h_{t-1}) + b'_n)",
        "h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}",
    ]
    assert backward == [
        "dn = dh_t ⊙ (1 − z)",
        "da_n = dn ⊙ (1 − n²)",
        "dz = dh_t ⊙ (h_{t-1} − n)",
        "da_z = dz ⊙ z ⊙ (1 − z)",
        "dr = (U_nᵀ da_n) ⊙ h_{t-1}",
        "da_r = dr ⊙ r ⊙ (1 − r)",
        "dh_{t-1} = dh_t ⊙ z + (U_nᵀ da_n) ⊙ r + U_zᵀ da_z + U_rᵀ da_r",
        "dx_t = W_rᵀ da_r + W_zᵀ da_z + W_nᵀ da_n",
    ]
    assert weights == [
        *(line for g in "rzn" for line in (f"dW_{g} = Σ_t da_{g} x_tᵀ", f"db_{g} = Σ_t da_{g}")),
        *(line for g in "rz" for line in (f"dU_{g} = Σ_t da_{g} h_{{t-1}}ᵀ", f"db'_{g} = Σ_t da_{g}")),
        "dU_n = Σ_t da_n (r ⊙ h_{t-1})ᵀ",
        "db'_n = Σ_t da_n",
    ]


def test_a_cell_says_what_it_is_and_where_it_is_from():
    class Mine(Cell):
        """Half of the old, half of the new.

        Not shown.
        """

        gates = ("n",)

        def step(self, x, u, h):
            return 0.5 * h + 0.5 * torch.tanh(x.n + u.n(h))

    title, source, *_ = equations(Mine).splitlines()
    assert (title, source) == (
        "Mine: Half of the old, half of the new.", "(no source named: the class attribute `paper` is for it)"
    )  # fmt: skip
    Mine.paper = "Mine 2026"
    assert equations(Mine).splitlines()[1] == "Mine 2026"


def test_what_is_shared_gets_a_name_and_is_written_once():
    text = equations(MADE_UP["Unnamed"])
    gate = "σ(W_z x_t + b_z + (U_z h_{t-1} + b'_z) ⊙ h_{t-1})"
    assert text.count("= " + gate) == text.count(gate) == 1
    name = re.search(rf"(s_\d+) += {re.escape(gate)}", text)
    assert name
    assert f"{name[1]} ⊙ h_{{t-1}}" in text


def test_numbers_stand_before_what_they_multiply():
    forward, *_ = sections(equations(MADE_UP["Unnamed"]))
    assert "2 (1 / (3 − (h_{t-1} − s_1)))" in forward[-1][2]
    forward, *_ = sections(equations(MADE_UP["Vanishing"]))
    assert forward[-1][2].endswith("(h_{t-1} + h_{t-1}) / 4")


@pytest.mark.parametrize("cell", EVERY_CELL)
def test_latex_is_balanced_and_renders(cell):
    latex = equations(cell, latex=True)
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", latex):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"\\left\b", latex)) == len(re.findall(r"\\right\b", latex))
    assert not re.search(r"[^\x00-\x7f]", latex)
    parser = MathTextParser("path")
    for block in re.findall(r"\\begin\{aligned\}\n(.*?)\n\\end\{aligned\}", latex, re.DOTALL):
        for line in block.split(" \\\\\n"):
            parser.parse(f"${line.replace('&', '')}$")  # raises on a double subscript, an unknown command, ...


def test_latex_keeps_the_parts_of_a_name_in_one_subscript():
    latex = equations(MADE_UP["Awkward"], latex=True)
    assert r"U_{n,2} c_{slow,t-1} + b'_{n,2}" in latex
    assert r"\mathrm{d}c_{slow,t-1} &= " in latex


@pytest.mark.parametrize("name", CELLS)
def test_latex_says_what_the_text_says(name):
    text = equations(name, latex=True)
    for pattern, replacement in {
        r"\\mathrm\{d\}": "d",
        r"\\left\b|\\right\b": "",
        r"\\odot": "⊙",
        r"\\leftarrow": "←",
        r"\\sigma": "σ",
        r"\\sum_t": "Σ_t",
        r"\\(tanh|max)": r"\1",
        r"\^\{\\top\}": "ᵀ",
        r"\^\{2\}": "²",
        r"_\{(\w)\}": r"_\1",
        r"\\frac\{([^{}]*)\}\{([^{}]*)\}": r"\1 / (\2)",
        r"(?<!t)-| -(?=\d)": "−",
        r"&(=|←)": r"\1",
        r" \\\\": "",
    }.items():
        text = re.sub(pattern, replacement, text)
    lines = [line for line in text.splitlines() if line and "aligned" not in line and line not in ("\\[", "\\]")]
    assert lines == [" ".join(row) for rows in sections(equations(name)) for row in rows]


def test_explain_prints_the_equations(capsys):
    explain("lstm")
    assert capsys.readouterr().out == equations("lstm") + "\n"
    file = io.StringIO()
    explain("lstm", latex=True, file=file)
    assert file.getvalue() == equations("lstm", latex=True) + "\n"
    assert capsys.readouterr().out == ""


def test_explain_names_cell_summary_and_paper():
    title, paper, *_ = equations("gru").splitlines()
    assert title == f"gru: {(CELLS['gru'].__doc__ or '').splitlines()[0]}"
    assert paper == CELLS["gru"].paper
    with pytest.raises(UserError, match="did you mean 'gru'"):
        explain("grru")
