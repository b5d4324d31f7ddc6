"""``python -m gatewise.cli`` and the ``gatewise`` command."""

from gatewise.cli import (  # noqa: F401  (each import adds its commands)
    autoencode,
    classify,
    compare,
    doctor,
    forecast,
    frames,
    inspect,
    predict,
    probe,
    regress,
    text,
)
from gatewise.cli.app import main
from gatewise.cli.tune import add_commands

add_commands()  # one for each of the others' trainings

__all__ = ["main"]

if __name__ == "__main__":
    main()
