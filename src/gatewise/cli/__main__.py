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

__all__ = ["main"]

if __name__ == "__main__":
    main()
