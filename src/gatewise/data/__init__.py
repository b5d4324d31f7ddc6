"""The door for foreign input: text to tokens to minibatches."""

from gatewise.data.lines import Bunches, Padded, lines_of, padded, part_lines
from gatewise.data.partition import Partition, random_offset, random_partition, sequential_partition
from gatewise.data.series import Standardiser, part_series, read_series
from gatewise.data.text import clean_like_the_book, python_reference, read_text
from gatewise.data.tokenizer import UNKNOWN, Decoder, Tokenizer
from gatewise.data.tokenizers import KINDS, fit_tokenizer, tokenizer_from_config

__all__ = [
    "KINDS",
    "UNKNOWN",
    "Bunches",
    "Decoder",
    "Padded",
    "Partition",
    "Standardiser",
    "Tokenizer",
    "clean_like_the_book",
    "fit_tokenizer",
    "lines_of",
    "padded",
    "part_lines",
    "part_series",
    "python_reference",
    "random_offset",
    "random_partition",
    "read_series",
    "read_text",
    "sequential_partition",
    "tokenizer_from_config",
]
