import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules that stand beside the tests


@pytest.fixture(params=["native", "torch", "eager"])
def engine(request):
    if request.param == "native":
        request.getfixturevalue("native")
    return request.param
