"""The README's code runs, prints what the README says, and its commands exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gatewise.cli.__main__  # noqa: F401  (adds the commands)
from gatewise import CELLS
from gatewise.cli.app import app
from gatewise.graph import equations

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]


@pytest.fixture(autouse=True)
def _the_cells_of_the_house():
    """What a page registers is gone afterwards."""
    cells = dict(CELLS)
    yield
    CELLS.clear()
    CELLS.update(cells)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_the_page_runs_and_prints_what_it_says(page, capsys, why_no_kernels):
    names: dict = {}
    compared = 0
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
        for expression, shown in re.findall(r"^print\((.*)\)  # (.*)$", block, re.MULTILINE):
            if why_no_kernels is None:  # without a compiler, other engines run
                assert repr(eval(expression, names)) == shown
            compared += 1
    assert compared == 2
    printed = capsys.readouterr().out
    shown = next(text for text in blocks(page, "text") if "da_n" in text)
    assert shown in printed
    assert shown in equations(names["MinimalGate"]) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_cell_file_of_the_page_is_one(page, tmp_path, monkeypatch, gatewise_):
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks(page, "python") if "@gatewise.register" in block)
    Path("mine.py").write_text(block)
    answer = gatewise_("explain", "mine", "--cell-file", "mine.py")
    assert answer.code == 0, answer
    assert answer.out.splitlines()[:2] == ["mine: A GRU without its reset gate.", "nobody's yet"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_is_understood(page):
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("gatewise ")]
    assert len(commands) >= 8
    for command in commands:
        app.parse_args(command[1:], exit_on_error=False, print_error=False)


def test_both_pages_show_the_same_code_commands_and_files():
    def skeleton(page: Path) -> list[str]:
        code = [b for language in ("python", "sh", "text") for b in blocks(page, language)]
        return [re.sub(r"\s*#.*", "", line) for block in code for line in block.splitlines()]

    assert skeleton(PAGES[0]) == skeleton(PAGES[1])


def test_the_file_tree_is_complete():
    tree = next(b for b in blocks(PAGES[0], "text") if b.startswith("src/gatewise/"))
    named = tree.split()
    for path in (ROOT / "src" / "gatewise").rglob("*.*"):
        if path.suffix in (".py", ".h") and path.name not in ("__init__.py", "__main__.py") and "cli" not in path.parts:
            assert {path.name, f"{path.parent.name}/{path.name}"} & set(named), path


def test_numbers_of_both_pages_agree():
    def figures(page: Path) -> list[str]:
        rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        return re.findall(r"\d+\.\d+", "\n".join(rows))

    assert figures(PAGES[0]) == figures(PAGES[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page):
    assert re.findall("@@|TODO|FIGURE", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_of_the_page_is_read(page):
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    for variable in re.findall(r"`(GATEWISE_\w+)`", page.read_text(encoding="utf-8")):
        assert re.search(rf'environ.*"{variable}"|_split\("{variable}"\)', code), variable


@pytest.mark.usefixtures("native")
def test_the_first_use_says_what_the_page_says(tmp_path):
    use = "import torch, gatewise; gatewise.GRU(2, 3)(torch.zeros(2, 1, 2))"
    environment = os.environ | {"GATEWISE_CACHE": str(tmp_path), "GATEWISE_CXXFLAGS": "-O0"}
    done = subprocess.run([sys.executable, "-c", use], env=environment, capture_output=True, text=True, check=True)
    page = next(block for block in blocks(PAGES[0], "text") if block.startswith("gatewise: "))
    assert re.sub(r"[\d.]+ s\)", "", done.stderr) == re.sub(r"[\d.]+ s\)", "", page)
