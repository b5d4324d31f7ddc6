import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "graph")]  # for the helper modules that stand beside the tests

from comparison import STRUCTURES  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread(one_thread): ...


@pytest.fixture(autouse=True)
def _needs_a_compiler(request):
    """A test of the engine "native" is skipped, with the reason, where no kernel can be built.

    The compiler works hard for cells of every kind of connection, and in a hurry for their relatives.
    """
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    if parameters.get("engine") == "native":
        request.getfixturevalue("native" if parameters.get("cell") in STRUCTURES else "quick_compiling")


@pytest.fixture(autouse=True)
def _poison():
    """What ``torch.empty`` makes is filled with NaN, as the kernels' own memory is (see tests/conftest.py)."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore
    yield
    torch.use_deterministic_algorithms(False)
