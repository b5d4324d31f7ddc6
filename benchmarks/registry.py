"""The cases. To add one, add it to ``CASES``; every peer that takes it joins in by itself."""

from __future__ import annotations

from fnmatch import fnmatch

from benchmarks.case import Case, Sizes, What
from benchmarks.cells import MinimalGate, SoftLeak

BOOK = Sizes(35, 32, 28, 256)
"""The textbook's language model of characters."""
LARGE = Sizes(100, 64, 128, 512)
SMALL = Sizes(24, 64, 8, 64)
LONG, LONG_AND_WIDE = Sizes(1000, 1, 64, 64), Sizes(1000, 1, 512, 512)
"""One sequence of many steps, where a linear cell may be run by a scan."""
DEFAULT_LENGTH = 300
"""Of ``gatewise generate``, with the opening of the stream in the time; with 50 tokens that is half of it."""

CASES = [
    Case("gru", What.TRAIN, BOOK, targets={"torch.nn": 2.7}),
    Case("gru", What.TRAIN, LARGE, targets={"torch.nn": 1.8}),
    Case("gru", What.TRAIN, SMALL, targets={"torch.nn": 5.0}),
    Case("gru", What.TRAIN_INPUT, BOOK),
    Case("gru", What.TRAIN_INPUT, LARGE),
    Case("gru", What.TRAIN_INPUT, SMALL),
    Case("gru", What.INFER, BOOK, targets={"torch.nn": 2.4}),
    Case("gru", What.INFER, LARGE, targets={"torch.nn": 1.9}),
    Case("gru", What.INFER, SMALL, targets={"torch.nn": 5.0}),
    Case("lstm", What.TRAIN, BOOK, targets={"torch.nn": 1.15}),
    Case("lstm", What.TRAIN_INPUT, BOOK),
    Case("lstm", What.INFER, BOOK),
    Case("rnn", What.TRAIN, BOOK),
    Case("gru-before", What.TRAIN, BOOK, targets={"loop": 3.0}),
    Case("lstm-peephole", What.TRAIN, BOOK, targets={"loop": 3.0, "torchrecurrent": 3.0}),
    Case(MinimalGate, What.TRAIN, BOOK, targets={"loop": 3.0, "torchrecurrent": 3.0}),
    Case(SoftLeak, What.TRAIN, BOOK, targets={"loop": 3.0}),
    Case("min-gru", What.TRAIN, BOOK),
    Case("min-gru", What.TRAIN, LONG),
    Case("min-gru", What.INFER, LONG_AND_WIDE),
    Case("min-gru", What.TRAIN, LONG_AND_WIDE),
    Case("gru", What.TRAIN, BOOK, "bf16", targets={"torch.nn": 3.5}),
    Case("gru", What.TRAIN, LARGE, "bf16", targets={"torch.nn": 3.5}),
    Case("gru", What.STEP, Sizes(1, 1, 28, 256), targets={"loop": 4.0}),
    Case("gru", What.GENERATE, Sizes(DEFAULT_LENGTH, 1, 28, 256), targets={"loop": 7.0}),
    Case("gru", What.GENERATE, Sizes(DEFAULT_LENGTH, 1, 28, 512), targets={"loop": 4.0}),
    Case("gru", What.GENERATE, Sizes(50, 1, 28, 256)),
    Case("gru", What.TEXT, BOOK, targets={"torch.nn": 2.3}),
]


def select(pattern: str | None) -> list[Case]:
    """The cases whose name has the pattern in it, or matches it where it has a wildcard.

    >>> [case.name for case in select("gru/infer/*256")]
    ['gru/infer/35,32,28,256']
    """
    if pattern is None:
        return CASES
    wild = any(sign in pattern for sign in "*?[")
    return [case for case in CASES if (fnmatch(case.name, pattern) if wild else pattern in case.name)]
