"""What every writer of files needs."""

import contextlib
import os
from pathlib import Path


def sync_names(folder: Path) -> None:
    """Make new names in a folder last through a power cut, where folders can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
