import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "graph")]  # for the helper modules that stand beside the tests


@pytest.fixture(autouse=True)
def _needs_a_compiler(request):
    """A test of the engine "native" is skipped, with the reason, where no kernel can be built."""
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    if parameters.get("engine") == "native":
        request.getfixturevalue("native")


@pytest.fixture(autouse=True)
def _poison():
    """What ``torch.empty`` makes is filled with NaN, as the kernels' own memory is (see tests/conftest.py)."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore
    yield
    torch.use_deterministic_algorithms(False)
