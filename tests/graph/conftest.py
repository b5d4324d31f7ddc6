import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules that stand beside the tests


@pytest.fixture(autouse=True)
def _one_thread(one_thread): ...
