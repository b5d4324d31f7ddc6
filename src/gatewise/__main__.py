"""``python -m gatewise``: the command line."""

from gatewise.cli.__main__ import main

if __name__ == "__main__":
    main()
