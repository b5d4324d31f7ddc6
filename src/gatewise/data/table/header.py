"""The names of a table's columns, as its first row gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gatewise.errors import UserError

_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*")
_TIME = re.compile(r"\s*\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([ T]\d{1,2}:\d\d.*)?\s*")
_PLAIN = re.compile(r"\s*\d+\s*")


def column_names(
    fields: Sequence[str], missing: Sequence[str], place: str, say: Callable[[str], None]
) -> tuple[str, ...]:
    """The names in a row of fields; blanks around them are taken off.

    The first alone may be empty, as it is where another program wrote its row numbers: it is called "column 1".

    Args:
        fields: of the row.
        missing: the words for a missing value.
        place: the file and its row, for messages.
        say: is told of the name made up.

    Raises:
        UserError: the row holds values and not names; a name is empty or stands twice.

    >>> column_names(["", " a"], [], "x.csv: row 1", print)
    x.csv: row 1: the first column has no name; it is called 'column 1'
    ('column 1', 'a')
    """
    values = [field for field in fields if _NUMBER.fullmatch(field) or _TIME.fullmatch(field) or field in missing]
    odd = [field for field in values if field.strip() and not _PLAIN.fullmatch(field)]
    if any(field.strip() for field in fields) and (
        len(values) == len(fields) or (2 * len(values) > len(fields) and (odd or len(set(values)) < len(values)))
    ):
        raise UserError(f"{place}: values ({shown(values[0])}) where the names of the columns belong; put names there")
    names = [field.strip() for field in fields]
    if not names[0] and len(names) > 1:
        names[0] = "column 1"
        say(f"{place}: the first column has no name; it is called 'column 1'")
    for number, name in enumerate(names):
        if not name:
            raise UserError(f"{place}: column {number + 1} has no name; give it one, or take the column out")
        if name in names[:number]:
            first = names.index(name) + 1
            raise UserError(f"{place}: columns {first} and {number + 1} are both called {shown(name)}; rename one")
    return tuple(names)


def shown(value: object, most: int = 40) -> str:
    """A value in quotes, cut where it is long.

    >>> shown("x" * 50)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'"
    """
    text = " ".join(str(value).split())
    return f"'{text[:most]}...'" if len(text) > most else f"'{text}'"
