"""The door for foreign input: text to tokens to minibatches; videos; tables."""

from gatewise.data.frames import Clip, read_frames, split_clips
from gatewise.data.lines import Bunches, Padded, lines_of, padded, part_lines
from gatewise.data.moving_digits import moving_digits
from gatewise.data.partition import Partition, random_offset, random_partition, sequential_partition
from gatewise.data.series import Standardiser, part_series, read_series
from gatewise.data.table.schema import Choice, Schema
from gatewise.data.table.tables import Table, read_table, table_of
from gatewise.data.text import clean_like_the_book, python_reference, read_text
from gatewise.data.tokenizer import UNKNOWN, Decoder, Tokenizer
from gatewise.data.tokenizers import KINDS, fit_tokenizer, tokenizer_from_config

__all__ = [
    "KINDS",
    "UNKNOWN",
    "Bunches",
    "Choice",
    "Clip",
    "Decoder",
    "Padded",
    "Partition",
    "Schema",
    "Standardiser",
    "Table",
    "Tokenizer",
    "clean_like_the_book",
    "fit_tokenizer",
    "lines_of",
    "moving_digits",
    "padded",
    "part_lines",
    "part_series",
    "python_reference",
    "random_offset",
    "random_partition",
    "read_frames",
    "read_series",
    "read_table",
    "read_text",
    "sequential_partition",
    "split_clips",
    "table_of",
    "tokenizer_from_config",
]
