"""What the supervisor does when a restart fails, or takes longer than anybody waits."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bandit.store.postgres.embedded import EmbeddedPostgres, PostgresStartFailed
from services import supervisor
from services.interrupts import Interrupts
from services.settings import Settings
from services.supervisor import Stack
from tests.service.calls import eventually
from tests.service.test_embedded_postgres import open_folder


class FakeChild:
    """A child that is dead, until one is made that is not."""

    def __init__(self, role: str, number: int = 1, *, runs: bool = True) -> None:
        self.name = self.role = role
        self.number, self.pid, self.started_at = number, 1, time.monotonic()
        self.runs = runs

    def is_running(self) -> bool:
        return self.runs

    def order(self, orders: bytes) -> None:
        """Obeys."""

    def tell_to_stop(self) -> None:
        """Waits for more."""

    def stop(self, *, within_s: float) -> None:
        self.runs = False


class FakePostgres:
    """A server that is down, and whose restarts do what the test says."""

    def __init__(self, restart: Callable[[], None]) -> None:
        self.restart_now = restart
        self.runs = False
        self.stopped = threading.Event()

    def is_running(self) -> bool:
        return self.runs

    def stop(self) -> None:
        self.stopped.set()


@pytest.fixture
def watched() -> Iterator[Callable[..., Stack]]:
    """`watched(postgres=..., child=...)`: a stack of these parts, whose watch has begun."""
    stacks = []

    def made(*, postgres: Any = None, child: Any = None) -> Stack:
        stack = Stack(Settings.load(grace_s=0.1), Interrupts())
        stack._postgres = postgres
        stack._children = {} if child is None else {child.name: child}
        stack._watching = threading.Thread(target=stack._watch, daemon=True)
        stack._watching.start()
        stacks.append(stack)
        return stack

    yield made
    for stack in stacks:
        stack._ending.set()


def test_a_child_that_cannot_be_started_is_tried_again_and_told_of_once(
    watched: Callable[..., Stack],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempts = []

    def start(name: str, number: int) -> FakeChild:
        attempts.append(name)
        if len(attempts) < 3:
            raise BlockingIOError("no more processes")
        return FakeChild(name)

    monkeypatch.setattr(supervisor, "ChildProcess", start)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_S", 0.2)

    stack = watched(child=FakeChild("router", runs=False))

    eventually(lambda: stack._children["router"].is_running(), bool)
    assert attempts == ["router"] * 3
    told = capsys.readouterr().out
    assert told.count("starting the router again fails") == 1
    assert told.count("a process died") == 1


def test_an_error_that_nobody_foresaw_does_not_end_the_watch_over_postgres(
    watched: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def restart() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("no more processes")
        postgres.runs = True

    monkeypatch.setattr(supervisor, "_POSTGRES_INTERVAL_S", 0.1)
    postgres = FakePostgres(restart)

    watched(postgres=postgres)

    eventually(postgres.is_running, bool)
    assert len(attempts) == 3


def test_the_end_does_not_wait_for_a_recovery(
    watched: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = threading.Event()

    def restart() -> None:
        entered.set()
        if not postgres.stopped.wait(30):
            raise AssertionError("nobody let go of it")
        raise PostgresStartFailed("let go of")

    monkeypatch.setattr(supervisor, "_POSTGRES_INTERVAL_S", 0.1)
    postgres = FakePostgres(restart)
    child = FakeChild("router")
    stack = watched(postgres=postgres, child=child)
    assert entered.wait(10)
    started = time.monotonic()

    stack._stop()

    assert time.monotonic() - started < 10
    assert stack._watching is not None
    assert not stack._watching.is_alive()
    assert not child.is_running()


def test_a_real_recovery_is_left_when_its_owner_stops() -> None:
    """A restore that takes for ever stands for a long recovery."""
    with open_folder() as folder:
        data = folder / "data"
        postgres = EmbeddedPostgres.start(data, durable=False)
        with psycopg.connect(postgres.url) as connection:
            connection.execute("select 1")
        postgres.kill()
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'touch " + str(folder / "busy") + "; sleep 100'\n")
        failures: list[Exception] = []
        restarting = threading.Thread(target=_restart, args=(postgres, failures))
        restarting.start()
        eventually(Path(folder / "busy").exists, bool)
        started = time.monotonic()

        postgres.stop()

        restarting.join(10)
        assert not restarting.is_alive()
        assert time.monotonic() - started < 20
        assert [type(failure) for failure in failures] == [PostgresStartFailed]


def _restart(postgres: EmbeddedPostgres, failures: list[Exception]) -> None:
    try:
        postgres.restart_now()
    except Exception as error:
        failures.append(error)
