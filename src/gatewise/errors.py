"""What a user did wrong, said in one line: what is wrong, where, and what to do."""


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
