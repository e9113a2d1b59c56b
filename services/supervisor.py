"""What `up` and `serve` run as one: routers, a learner, Postgres, started and ended together."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bandit.domain.host import UNIX
from bandit.store.postgres.embedded import EmbeddedPostgres, PostgresStartFailed
from services.child import SUPERVISED
from services.interrupts import Interrupts
from services.listening import address_of
from services.logs import Outage, logger
from services.settings import Settings
from services.telemetry.endpoint import CannotTellMetrics, ServiceMetrics

START_TIMEOUT_S = 60.0
SHORTEST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
_STEADY_S = 10.0  # a child that lived so long is restarted without a pause that grew before
_WATCH_INTERVAL_S = 0.2
_POSTGRES_INTERVAL_S = 1.0
_END_ALLOWANCE_S = 3.0  # beyond the grace that a child takes itself
_WATCH_ALLOWANCE_S = 2.0

_log = logger(__name__)
_PROJECT = Path(__file__).resolve().parents[1]
_ROUTER, _LEARNER = "router", "learner"


class StackStartFailed(Exception):
    """Why the service did not start."""


_NOTHING_TOLD: Mapping[str, str] = MappingProxyType({})
# Each thread of gRPC's would have a heap of its own, and keep what it once needed.
_LEAN = {"MALLOC_ARENA_MAX": "2"}


class ChildProcess:
    """
    A process of ours in a session of its own, so that a terminal's Ctrl-C is for us alone.

    It ends by itself when we do, since its standard input ends then; see `services/child.py`.

    role    the module in `services` that it runs
    number  of several in that role
    told    by its environment, beside what we are told by ours
    """

    def __init__(
        self, role: str, number: int = 1, *, told: Mapping[str, str] = _NOTHING_TOLD
    ) -> None:
        self.role, self.number = role, number
        self.name = role if number == 1 else f"{role} {number}"
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            # -P: what lies in the current folder is not what we mean.
            [sys.executable, "-P", "-m", f"services.{role}", SUPERVISED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_LEAN, **os.environ, "PYTHONPATH": _search_path(), **told},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def order(self, orders: bytes) -> None:
        """Tell the process the settings to use."""
        assert self._process.stdin is not None  # noqa: S101 - as asked for above
        try:
            self._process.stdin.write(orders + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it is dead: whoever waits for it finds out

    def readiness(self, *, within_s: float) -> dict[str, int]:
        """What the process tells when it is ready."""
        assert self._process.stdout is not None  # noqa: S101 - as asked for above
        readable, _, _ = select.select([self._process.stdout], [], [], within_s)
        if not readable:
            raise StackStartFailed(f"the {self.name} is not ready after {within_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise StackStartFailed(f"the {self.name} ended with status {status}")
        facts: dict[str, int] = json.loads(line)
        return facts

    def tell_to_stop(self) -> None:
        """Tell the process to end in good order."""
        if self.is_running():
            self._process.send_signal(signal.SIGTERM)

    def stop(self, *, within_s: float) -> None:
        """End the process in good order, or else without."""
        self.tell_to_stop()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # orders that it died too early to read
                    pipe.close()


def _place(role: str, number: int) -> str:
    """Under which a process counts: the same for whoever is started in its place."""
    return f"{role}-{number}"


def _search_path() -> str:
    """Where a child finds this project, and what else this process was told."""
    told = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_PROJECT), *([told] if told else [])])


class Stack:
    """
    A running service.

    target         "host:port" of the router, or "unix:path"
    database_url   of the Postgres in use
    metrics_url    where Prometheus finds the metrics; None: they are not told
    """

    target: str
    database_url: str
    metrics_url: str | None = None

    def __init__(self, settings: Settings, interrupts: Interrupts) -> None:
        self._settings = settings
        self._interrupts = interrupts
        self._postgres: EmbeddedPostgres | None = None
        self._metrics: ServiceMetrics | None = None
        self._children: dict[str, ChildProcess] = {}
        self._orders = b""
        self._watching: threading.Thread | None = None
        self._ending = threading.Event()
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def start(
        cls, settings: Settings, *, durable: bool = True, routers_only: bool = False
    ) -> Iterator["Stack"]:
        """
        A service that is ready, ended with the block: routers, then learner, then Postgres.

        In the main thread SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the block, once.
        durable       False: the Postgres of our own does not wait for the disk (for tests)
        routers_only  on a database that is migrated, and where somebody else learns
        Raises StackStartFailed, or `Unavailable` where the settings' database is away.
        """
        interrupts = Interrupts()
        with interrupts.watched():
            stack = cls(settings, interrupts)
            try:
                if settings.metrics_port is not None:
                    with interrupts.held():
                        stack._metrics = ServiceMetrics(settings)
                if routers_only:
                    stack._start_routers()
                else:
                    stack._start(durable=durable)
                yield stack
            finally:
                interrupts.ignore()
                stack._stop()

    def wait(self) -> None:
        """Wait until the process is told to end: for a KeyboardInterrupt."""
        while True:
            signal.pause()

    def pids(self) -> dict[str, int]:
        """The id of each child's process, by its name."""
        with self._lock:
            return {name: child.pid for name, child in self._children.items()}

    def _start(self, *, durable: bool) -> None:
        # The children load their kernels while Postgres starts.
        self._spawn(_ROUTER, self._settings.workers)
        self._spawn(_LEARNER, 1)
        self.database_url = self._database(durable=durable)
        # Imported here: the children's start should not wait for it.
        from migrations.upgrade import upgrade

        upgrade(self.database_url)
        self._run()

    def _start_routers(self) -> None:
        self._spawn(_ROUTER, self._settings.workers)
        self.database_url = self._settings.database_dsn
        self._run()

    def _spawn(self, role: str, count: int) -> None:
        for number in range(1, count + 1):
            with self._interrupts.held():
                child = self._child(role, number)
                self._children[child.name] = child

    def _child(self, role: str, number: int) -> ChildProcess:
        if self._metrics is None:
            return ChildProcess(role, number)
        return ChildProcess(role, number, told=self._metrics.environment(_place(role, number)))

    def _run(self) -> None:
        """
        Give the children their orders, wait until all are ready, and watch them from then on.

        The first router finds the port; the others, like any that is started again, share it.
        """
        deadline = time.monotonic() + START_TIMEOUT_S

        def facts_of(child: ChildProcess) -> dict[str, int]:
            return child.readiness(within_s=max(0.0, deadline - time.monotonic()))

        if self._metrics is not None:
            self._tell_metrics(self._metrics)
        if self._settings.workers > 1:
            if self._settings.host.startswith(UNIX):
                raise StackStartFailed("workers cannot share a Unix socket: workers must be 1")
            self._find_free(self._settings.host, self._settings.port)
        first = self._children[_ROUTER]
        others = [child for child in self._children.values() if child is not first]
        self._orders = self._settings_line(self._settings.port)
        for child in (first, *(child for child in others if child.role != _ROUTER)):
            child.order(self._orders)
        port = facts_of(first)["port"]
        self._orders = self._settings_line(port)
        for child in others:
            if child.role == _ROUTER:
                child.order(self._orders)
        for child in others:
            facts_of(child)
        self.target = address_of(self._settings.host, port)
        with self._interrupts.held():
            self._watching = threading.Thread(target=self._watch, name="supervisor", daemon=True)
            self._watching.start()

    def _tell_metrics(self, metrics: ServiceMetrics) -> None:
        places = [_place(child.role, child.number) for child in self._children.values()]
        try:
            metrics.listen(places)
        except CannotTellMetrics as error:
            raise StackStartFailed(str(error)) from error
        self.metrics_url = metrics.url

    @staticmethod
    def _find_free(host: str, port: int) -> None:
        """Routers that share a port would share it with a stranger, too, without a word."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            raise StackStartFailed(f"cannot listen on {host}:{port}: {error.strerror}") from error

    def _database(self, *, durable: bool) -> str:
        if self._settings.database_url is not None:
            return self._settings.database_dsn
        try:
            self._postgres = EmbeddedPostgres.start(self._settings.data_dir, durable=durable)
        except PostgresStartFailed as error:
            raise StackStartFailed(str(error)) from error
        return self._postgres.url

    def _settings_line(self, port: int) -> bytes:
        orders: dict[str, Any] = self._settings.model_dump(mode="json")
        return json.dumps(orders | {"port": port, "database_url": self.database_url}).encode()

    # While it runs

    def _watch(self) -> None:
        """Start again what died; what fails in that, whatever it is, is tried again."""
        pauses = dict.fromkeys(self._children, SHORTEST_PAUSE_S)
        outages = {name: Outage(_log, f"starting the {name} again") for name in self._children}
        due: dict[str, float] = {}
        postgres_at = time.monotonic()
        postgres_outage = Outage(_log, "restarting Postgres")
        was_there = True
        while not self._ending.wait(_WATCH_INTERVAL_S):
            now = time.monotonic()
            for name, child in list(self._children.items()):
                if child.is_running():
                    if now - child.started_at > _STEADY_S:
                        pauses[name] = SHORTEST_PAUSE_S
                elif name not in due:
                    _log.error("a process died and is started again", died=name, pid=child.pid)
                    if self._metrics is not None:
                        self._metrics.died(_place(child.role, child.number))
                    due[name] = now + pauses[name]
                    pauses[name] = min(2 * pauses[name], LONGEST_PAUSE_S)
                elif now >= due[name]:
                    try:
                        self._start_again(name)
                    except Exception as error:
                        outages[name].began(error)
                        due[name] = now + pauses[name]
                        pauses[name] = min(2 * pauses[name], LONGEST_PAUSE_S)
                    else:
                        outages[name].ended()
                        del due[name]
            if self._postgres is not None and now - postgres_at >= _POSTGRES_INTERVAL_S:
                postgres_at = now
                try:
                    if not self._postgres.is_running():
                        if was_there:
                            _log.error("Postgres died and is started again")
                        was_there = False
                        self._postgres.restart_now()
                    was_there = True
                    postgres_outage.ended()
                except Exception as error:
                    if self._ending.is_set():  # and it was taken away from us
                        return
                    postgres_outage.began(error)

    def _start_again(self, name: str) -> None:
        with self._lock:
            if self._ending.is_set():
                return
            dead = self._children[name]
            dead.stop(within_s=0.0)
            self._children[name] = self._child(dead.role, dead.number)
            self._children[name].order(self._orders)
            if self._metrics is not None:
                self._metrics.started_again(_place(dead.role, dead.number))

    # At the end

    def _stop(self) -> None:
        self._ending.set()
        with ExitStack() as ending:  # in the reverse of this order, whatever fails
            if self._metrics is not None:
                ending.callback(self._metrics.close)
            if self._postgres is not None:
                ending.callback(self._postgres.stop)
            for role in (_LEARNER, _ROUTER):
                ending.callback(self._stop_children, role)
            ending.callback(self._stop_watching)

    def _stop_children(self, role: str) -> None:
        """All at once: each takes its time to finish what has come."""
        with self._lock:
            children = [child for child in self._children.values() if child.role == role]
        for child in children:
            child.tell_to_stop()
        with ExitStack() as ending:
            for child in children:
                ending.callback(child.stop, within_s=self._settings.grace_s + _END_ALLOWANCE_S)

    def _stop_watching(self) -> None:
        if self._watching is None:
            return
        self._watching.join(_WATCH_ALLOWANCE_S)
        if self._watching.is_alive() and self._postgres is not None:
            # It waits for Postgres to recover, which may take minutes that nobody has now.
            self._postgres.stop()
            self._watching.join(_WATCH_ALLOWANCE_S)
