"""What the process does from its first moment to its last."""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from bandit.store.postgres.lifeline.account import (
    become,
    check_access,
    own_name,
    server_account,
)
from bandit.store.postgres.lifeline.cluster import held, initialise
from bandit.store.postgres.lifeline.folders import (
    copy_server,
    hand_over,
    private_folder,
    programs,
    sweep,
)
from bandit.store.postgres.lifeline.owner import Order, Owner, OwnerGone, Refused, reply
from bandit.store.postgres.lifeline.postmaster import Postmaster, command_line


def main() -> None:
    """Serve the order given as the last argument until the owner has gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The owner decides when; a handler, unlike SIG_IGN, is not inherited by Postgres.
        signal.signal(number, lambda *_: None)
    os.umask(0o022)
    order = Order(**json.loads(sys.argv[-1]))
    owner = Owner(sys.stdin.fileno(), order.owner_pid)
    with suppress(OwnerGone):
        try:
            _serve(order, owner)
        except (Refused, OSError) as error:
            reply(error=str(error))


def _serve(order: Order, owner: Owner) -> None:
    account = server_account()
    owner_name = own_name()
    temporary = Path(order.temporary)
    kept = Path(order.data_dir) if order.data_dir is not None else None
    check_access(account, temporary=temporary, data_dir=kept)
    sweep(temporary)
    with private_folder(temporary) as folder:
        packages = Path(order.packages)
        data_dir = kept or folder / "data"
        with suppress(FileExistsError):
            data_dir.mkdir(mode=0o700)
            if account is not None:
                os.chown(data_dir, account.pw_uid, account.pw_gid, follow_symlinks=False)
        if account is not None:
            packages = copy_server(packages, folder / "server")
            hand_over(folder, account)
            become(account)
        owner.pause()
        with held(data_dir, owner):
            initialise(
                programs(packages) / "initdb", data_dir, synced=order.durable and kept is not None
            )
            owner.pause()
            command = command_line(
                programs(packages) / "postgres",
                data_dir,
                folder=folder,
                owner_name=owner_name,
                durable=order.durable,
            )
            postmaster = Postmaster(command, data_dir, owner)
            try:
                postmaster.start()
                reply(folder=str(folder))
                _obey(postmaster, owner)
            finally:
                postmaster.stop()


def _obey(postmaster: Postmaster, owner: Owner) -> None:
    for command in owner.commands():
        try:
            if command in ("kill", "restart"):
                postmaster.crash()
            if command == "restart":
                postmaster.start()
            reply(is_running=postmaster.is_running())
        except Refused as refusal:
            reply(error=str(refusal))


if __name__ == "__main__":
    main()
