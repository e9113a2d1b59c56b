"""
The folder in which the processes of one service keep their counts, as their supervisor reads them.

Each process writes under its place, such as `router-2`: whoever is started in the place of one that
died goes on from its counts, so that they never go back, and there are as many files as places.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

SHARE = "BANDIT_METRICS_SHARE"
_PREFIX = "bandit-metrics-"
_MADE_S = 60.0  # in which the owner of a new folder has surely locked it
# In memory where it can be: a page that waits for a disk would hold up whoever counts.
_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is private, and of a fresh name


class SharedFolder:
    """A private folder that is gone with its owner; what killed owners left is swept away."""

    def __init__(self) -> None:
        parent = self.parent()
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    @staticmethod
    def parent() -> Path:
        """Where such folders are."""
        return _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())

    def environment(self, place: str) -> Mapping[str, str]:
        """What the process in that place has to be told."""
        return {SHARE: str(self.path / place)}

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def place() -> Path | None:
    """Where this process is to keep its counts; None: it has no supervisor that reads them."""
    told = os.environ.get(SHARE)
    return Path(told) if told else None


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody else's, or being removed
            if time.time() - left.stat().st_mtime < _MADE_S:
                continue
            lock = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
