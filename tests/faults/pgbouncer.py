"""A PgBouncer of a test's own, in transaction pooling."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

TOOLS = Path(__file__).resolve().parents[2] / ".cache" / "tools" / "pgbouncer"
_PACKAGES = ("pgbouncer", "libc-ares2", "libevent-2.1-7")
_DOWNLOAD_S = 60.0
_START_S = 20.0
_INI = """
[databases]
bandit = host=127.0.0.1 port={target} dbname={database} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
"""


@contextmanager
def pgbouncer(database_url: str, port: int, *, sessions: int) -> Iterator[str]:
    """
    The URL of the same database behind a pooler.

    port      of 127.0.0.1, where the server of that URL is reached without a password
    sessions  that the pooler keeps with the server, whatever the number of its clients
    Skips the test where there is neither an installed PgBouncer nor a package to be had.
    """
    url = make_url(database_url)
    with tempfile.TemporaryDirectory(prefix="bandit-pgbouncer-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        program = _copied(_installed() or _downloaded(), folder)
        own_port = _free_port()
        ini = folder / "pgbouncer.ini"
        ini.write_text(
            _INI.format(
                target=port,
                port=own_port,
                database=url.database,
                user=url.username,
                sessions=sessions,
            )
        )
        process = subprocess.Popen(
            [program, "-q", ini],
            env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
            user="nobody" if os.geteuid() == 0 else None,  # it refuses to run as root
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until_listening(own_port, process)
            yield f"postgresql://anybody@127.0.0.1:{own_port}/bandit"
        finally:
            process.terminate()
            process.wait(10)


def _installed() -> list[Path]:
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return [Path(found)] if found else []


def _downloaded() -> list[Path]:
    """The program and its libraries, unpacked from Debian's packages and kept for the next time."""
    if not (TOOLS / "usr" / "sbin" / "pgbouncer").exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            pytest.skip("there is no pgbouncer, and no apt-get to fetch one with")
        TOOLS.mkdir(parents=True, exist_ok=True)
        for package in _PACKAGES:
            with suppress(subprocess.SubprocessError):
                subprocess.run(
                    ["apt-get", "download", package],
                    cwd=TOOLS,
                    capture_output=True,
                    timeout=_DOWNLOAD_S,
                    check=False,
                )
        for archive in TOOLS.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, TOOLS], check=True)
            archive.unlink()
    program = TOOLS / "usr" / "sbin" / "pgbouncer"
    if not program.exists():
        pytest.skip("there is no pgbouncer, and apt-get cannot fetch one")
    return [program, *TOOLS.glob("usr/lib/*/*.so*")]


def _copied(files: list[Path], folder: Path) -> Path:
    """Where its user may read them; the first is the program."""
    for file in files:
        shutil.copy2(file, folder / file.name)
        (folder / file.name).chmod(0o755)
    return folder / files[0].name


def _until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        if process.poll() is not None:
            pytest.skip(f"pgbouncer does not run here: it ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
