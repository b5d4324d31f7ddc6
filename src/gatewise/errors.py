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


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the nearest known name, or all of them.

    >>> nearest("gruu", ["rnn", "gru"])
    "did you mean 'gru'?"
    >>> nearest("transformer", ["rnn", "gru"])
    'known: rnn, gru'
    """
    known = list(known)
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
