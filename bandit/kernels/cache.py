"""
Where compiled kernels are kept between processes: compiling takes seconds, reading them half a one.

One folder per state of the sources and of what compiles them, so that nothing in it is ever stale:
Numba itself looks at the file of a kernel, and not at the kernels that it calls.  Processes take
turns, a kernel at a time, since several that fill one cache have crashed.
"""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import llvmlite
import numba
import numpy as np

VARIABLE = "BANDIT_KERNEL_CACHE"
PATIENCE_S = 20.0  # the longest kernel compiles in two
_LOOK_S = 0.01
_HERE = Path(__file__).parent


def cache_folder() -> Path | None:
    """
    The folder for these sources, made if need be; None: nothing is kept.

    It lies in the folder that the variable names, else beside the sources, as bytecode does, where
    bytecode may be written.  What is in it is run: it must be this user's own, or root's.
    """
    named = os.environ.get(VARIABLE)
    if not named and sys.dont_write_bytecode:
        return None
    folder = Path(named) if named else _HERE / "__pycache__"
    folder = folder.absolute() / f"kernels-{_digest()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid not in (0, os.geteuid()):
            return None
        with taking_turns(folder):
            return folder
    except OSError:
        return None


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """
    No two processes are in such a block of one folder; the end of a process ends it too.

    Raises TimeoutError where another one does not leave it, such as one that is stopped.
    """
    deadline = time.monotonic() + PATIENCE_S
    with (folder / "lock").open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{folder} is locked") from None
                time.sleep(_LOOK_S)
        yield


def _digest() -> str:
    digest = hashlib.sha256()
    for made_by in (sys.version, numba.__version__, llvmlite.__version__, np.__version__):
        digest.update(made_by.encode())
    for source in sorted(_HERE.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]
