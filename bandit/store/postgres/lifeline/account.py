"""Whom Postgres runs as, which is not root, and which folders that user can use."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandit.store.postgres.lifeline.owner import Refused


def server_account() -> pwd.struct_passwd | None:
    """The user to change to when root starts the server; none for an ordinary user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise Refused(
            "Postgres does not run as root, and there is no user nobody to run it as: "
            "start it as an ordinary user"
        ) from None


def own_name() -> str:
    """The name of this process's user, by which Postgres will know the owner."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Refused(
            f"user id {os.geteuid()} has no name, and Postgres needs one: add it to /etc/passwd"
        ) from None


def become(account: pwd.struct_passwd) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def check_access(
    account: pwd.struct_passwd | None, *, temporary: Path, data_dir: Path | None
) -> None:
    """Refuse, before anything is made, folders that the server's user could not use."""
    with _acting_as(account):
        user = own_name()
        _check_entrances(temporary, user)
        if not os.access(temporary, os.W_OK | os.X_OK, effective_ids=True):
            raise Refused(f"user {user} may not write to {temporary}: set TMPDIR to another folder")
        if data_dir is not None:
            _check_entrances(data_dir, user)
            _check_data_dir(data_dir, user)


def _check_entrances(folder: Path, user: str) -> None:
    for parent in reversed(folder.parents):
        if parent.is_dir() and not os.access(parent, os.X_OK, effective_ids=True):
            raise Refused(
                f"Postgres would run as user {user}, who may not enter {parent}: use a folder "
                f"elsewhere, run as the owner of that one, or allow it with `chmod o+x {parent}`"
            )


def _check_data_dir(data_dir: Path, user: str) -> None:
    if not data_dir.parent.is_dir():
        raise Refused(f"{data_dir.parent} is not a folder: create it first")
    if not data_dir.exists():
        return
    if not data_dir.is_dir():
        raise Refused(f"{data_dir} is not a folder: name one, or a path that does not exist yet")
    if data_dir.stat().st_uid != os.geteuid():
        raise Refused(
            f"{data_dir} does not belong to user {user}, as whom Postgres would run: name a "
            f"path that does not exist yet, or give it away with `chown -R {user} {data_dir}`"
        )


@contextmanager
def _acting_as(account: pwd.struct_passwd | None) -> Iterator[None]:
    if account is None:
        yield
        return
    os.setgroups([])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
