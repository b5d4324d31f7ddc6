"""What a user did wrong, said in one line: what is wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake the user can mend.

    The message is one line that names the thing, its place and the remedy. The command line prints it without a
    traceback and exits with code 2.

    >>> raise UserError("no such cell 'gruu': did you mean 'gru'?")
    Traceback (most recent call last):
    gatewise.errors.UserError: no such cell 'gruu': did you mean 'gru'?
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UnsupportedOperationError(UserError):
    """A cell uses an operation that the graph does not know; the reference engine still runs the cell."""


def nearest(name: str, known: Iterable[str], least: float = 0.5) -> str:
    """A hint for a message: the nearest known name, or all of them.

    A number is near to none but the same number.

    Args:
        name: that is not known.
        known: the names that are.
        least: likeness from which on a name is near, of at most 1.

    >>> nearest("gruu", ["rnn", "gru"])
    "did you mean 'gru'?"
    >>> nearest("transformer", ["rnn", "gru"])
    'known: rnn, gru'
    >>> nearest("1", ["00", "01", "21"])
    "did you mean '01'?"
    """
    known = list(known)
    if name.isdecimal():
        close = [one for one in known if one.isdecimal() and int(one) == int(name)]
    else:
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=least)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
