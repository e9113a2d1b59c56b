"""The data folder: made once and whole, and used by one server at a time."""

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bandit.store.postgres.lifeline.owner import Owner, Refused

ROLE = "bandit"
DATABASE = "postgres"
LOCK_FILE = "postmaster.pid"  # Postgres's own; line 1 is its process id, line 8 its state
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}

_COMPLETE = "bandit-router"  # written after `initdb`, which may be cut short
_INITDB_TIMEOUT_S = 120
_PREDECESSOR_TIMEOUT_S = 3  # a supervisor restarted at once meets a server that is still stopping


@contextmanager
def held(data_dir: Path, owner: Owner) -> Iterator[None]:
    """Hold the data folder; refuse while another process does, or another Postgres serves it."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        patience = time.monotonic() + _PREDECESSOR_TIMEOUT_S
        while not _try_lock(descriptor) or _has_live_server(data_dir):
            if time.monotonic() > patience:
                raise Refused(f"another Postgres is running on {data_dir}: stop it first")
            owner.pause()
        _disown_lock_file(data_dir)
        yield
    finally:
        os.close(descriptor)


def initialise(initdb: Path, data_dir: Path, *, synced: bool) -> None:
    """
    Make an empty folder a cluster; leave a cluster of ours as it is; refuse anything else.

    `initdb` is not interrupted: it takes a second, and killed it would leave shared memory behind.
    """
    if (data_dir / _COMPLETE).exists():
        return
    if any(data_dir.iterdir()):
        raise Refused(
            f"{data_dir} is neither empty nor a complete data folder of this program (a first "
            "start may have been cut short by a power cut): empty it, or name another"
        )
    command: list[str | Path] = [
        *(initdb, "--pgdata", data_dir, "--username", ROLE),
        *("--encoding", "UTF8", "--locale", "C"),
        *("--auth-local", "peer", "--auth-host", "reject", "--no-instructions"),
        *([] if synced else ["--no-sync"]),
    ]
    try:
        made = subprocess.run(  # noqa: S603 - the wheel's own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            timeout=_INITDB_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"initdb took longer than {_INITDB_TIMEOUT_S} s") from None
    if made.returncode != 0:
        raise Refused(f"initdb failed:\n{made.stdout.decode(errors='replace').strip()}")
    _mark_complete(data_dir, synced=synced)


def _mark_complete(data_dir: Path, *, synced: bool) -> None:
    with (data_dir / _COMPLETE).open("w") as mark:
        mark.write("initdb was run to its end for Bandit Router\n")
        mark.flush()
        if synced:
            os.fsync(mark.fileno())
    if synced:
        folder = os.open(data_dir, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_live_server(data_dir: Path) -> bool:
    """
    Whether the process named in the lock file works in this folder, as a server does.

    Where that cannot be seen (another group's process; macOS) the answer is no, and Postgres itself
    refuses if the process is one of its own user's.
    """
    with suppress(OSError):
        return os.path.samefile(_working_folder(data_dir), data_dir)
    return False


def _disown_lock_file(data_dir: Path) -> None:
    """
    If the dead server's process id is by now another program's, write our own in its place.

    After a restart of a container it usually is.  Postgres would refuse, but takes the id of its
    parent for stale; without the file it would not look for processes left of the dead server.
    """
    with suppress(OSError):
        _working_folder(data_dir).stat()
        lock_file = data_dir / LOCK_FILE
        _, _, rest = lock_file.read_text().partition("\n")
        lock_file.write_text(f"{os.getpid()}\n{rest}")


def _working_folder(data_dir: Path) -> Path:
    """Where the process named in the lock file works, if there is one that we may look at."""
    pid, _, _ = (data_dir / LOCK_FILE).read_text().partition("\n")
    return Path("/proc", pid.strip(), "cwd")
