"""The libraries that come with ``gatewise[tune]``."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any

from gatewise.errors import UserError


def need(module: str) -> Any:
    """A module of ``gatewise[tune]``, imported when it is first needed.

    Raises:
        UserError: it is not installed.
    """
    library = module.split(".")[0]
    try:
        found: ModuleType = importlib.import_module(module)
    except ImportError as error:
        if library not in str(error):
            raise
        raise UserError(f"tune: {library} is not installed; run: pip install 'gatewise[tune]'") from None
    if module == "optuna":
        found.logging.set_verbosity(found.logging.WARNING)
        warnings.filterwarnings("ignore", category=found.exceptions.ExperimentalWarning)
    return found
