import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # the benchmarks are no part of the package


@pytest.fixture(autouse=True)
def _one_thread(one_thread): ...
