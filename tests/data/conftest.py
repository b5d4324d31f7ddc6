import sys
from pathlib import Path

import pytest

from gatewise.data import fit_tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules that stand beside the tests


@pytest.fixture(scope="session")
def bpe():
    from mixed_text import MIXED

    return fit_tokenizer("bpe", MIXED * 3 + "the theme of the thesis\n" * 20, vocabulary_size=320)
