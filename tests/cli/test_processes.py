"""What only a process of its own can show: pipes, encodings, exit codes, the installed command."""

import os
import subprocess
import sys

import pytest


def shell(command, **environment):
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"} | environment
    pipes = {"capture_output": True, "text": True, "errors": "replace"}
    return subprocess.run(["bash", "-c", command], env=environment, check=False, **pipes)


GATEWISE = f"{sys.executable} -m gatewise"


@pytest.mark.parametrize("command", ["generate {} --length 5000", "doctor", "cells"])
def test_a_reader_that_goes_away(command, trained):
    """`| head -c 10`, and one that never reads at all."""
    command = command.format(trained)
    reader = "head -c 10" if command.startswith("generate") else "true"
    answer = shell(f"{GATEWISE} {command} | {reader}; echo ${{PIPESTATUS[0]}} >&2")
    assert answer.stderr.splitlines()[-1] in ("0", "1", "141"), answer.stderr  # 1 where rich writes
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    assert len(answer.stdout) == (10 if reader != "true" else 0)


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("gbk", marks=pytest.mark.slow)])
def test_a_terminal_that_cannot_show_everything(encoding):
    answer = shell(f"{GATEWISE} explain gru", PYTHONIOENCODING=encoding)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""


def test_python_m_and_the_exit_codes():
    answer = shell(f"{GATEWISE} explain gruu; echo $?; {sys.executable} -m gatewise.cli --version; echo $?")
    assert answer.stdout.splitlines()[0] == "2"
    assert answer.stdout.splitlines()[-1] == "0"
    assert answer.stderr.startswith("gatewise: no cell is called 'gruu': did you mean 'gru'? ")
    assert answer.stderr.count("\n") == 1
