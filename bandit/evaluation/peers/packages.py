"""The rivals' packages: optional, and imported only when a rival is made."""

import importlib
import importlib.util
from typing import Any

from bandit.domain.errors import Unavailable


def is_installed(module: str) -> bool:
    """Whether the top-level module can be imported; nothing is imported to find out."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def imported(module: str) -> Any:
    """The module; `Unavailable`, with what to install, if its package is missing."""
    if not is_installed(module):
        raise Unavailable(
            f"{module.partition('.')[0]} is not installed: pip install 'bandit-router[peers]'"
        )
    return importlib.import_module(module)
