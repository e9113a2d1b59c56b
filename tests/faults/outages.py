"""The ways in which Postgres may be slow or away, each ended with its block."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bandit.store.postgres.embedded import EmbeddedPostgres
from tests.faults.proxy import Mode, Proxy

DELAY_S = 0.25  # each way
_FULL_DISK = """
    create function full_disk() returns trigger language plpgsql as $$
    begin raise exception 'could not extend file: No space left' using errcode = '53100'; end $$;
    create trigger full_disk before insert on decision execute function full_disk();
"""
_ROOM_AGAIN = "drop trigger full_disk on decision; drop function full_disk()"


@dataclass(frozen=True)
class Outage:
    """
    hits_all   outcomes cannot be stored either, and nothing can be read
    is_silent  nobody is told: connections are given up after a while
    """

    name: str
    during: Callable[[EmbeddedPostgres, Proxy], AbstractContextManager[None]]
    hits_all: bool = True
    is_silent: bool = False


def cut_off(mode: Mode) -> Callable[[EmbeddedPostgres, Proxy], AbstractContextManager[None]]:
    """The network does that."""

    @contextmanager
    def during(_postgres: EmbeddedPostgres, proxy: Proxy) -> Iterator[None]:
        proxy.mode = mode
        try:
            yield
        finally:
            proxy.mode = "pass"

    return during


@contextmanager
def far_away(_postgres: EmbeddedPostgres, proxy: Proxy) -> Iterator[None]:
    """Everything takes long, and is done in the end."""
    proxy.delay_s = DELAY_S
    try:
        yield
    finally:
        proxy.delay_s = 0.0


@contextmanager
def stopped(postgres: EmbeddedPostgres, _proxy: Proxy) -> Iterator[None]:
    """Every process of the server is stopped, as by a machine that swaps or a hypervisor."""
    pids = server_pids(postgres)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def crashed(postgres: EmbeddedPostgres, _proxy: Proxy) -> Iterator[None]:
    """Shut down immediately; it recovers from its log when it is started again."""
    postgres.kill()
    try:
        yield
    finally:
        postgres.restart_now()


@contextmanager
def locked(postgres: EmbeddedPostgres, _proxy: Proxy) -> Iterator[None]:
    """A migration holds the table, so that every insert runs into its timeout."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute("lock table decision in share row exclusive mode")
        yield
        connection.rollback()


@contextmanager
def full(postgres: EmbeddedPostgres, _proxy: Proxy) -> Iterator[None]:
    """The server says that its disk is full."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(_FULL_DISK)
        try:
            yield
        finally:
            connection.execute(_ROOM_AGAIN)


OUTAGES = [
    Outage("refused", cut_off("refuse")),
    Outage("reset", cut_off("reset")),
    Outage("black hole", cut_off("stall"), is_silent=True),
    Outage("far away", far_away, hits_all=False),
    Outage("stopped", stopped, is_silent=True),
    Outage("crashed", crashed),
    Outage("locked", locked, hits_all=False),
    Outage("disk full", full, hits_all=False),
]


def server_pids(postgres: EmbeddedPostgres) -> list[int]:
    """The postmaster and its children, in that order."""
    with psycopg.connect(postgres.url) as connection:
        backend = connection.info.backend_pid
        parents = _parents()
    postmaster = parents[backend]
    children = [pid for pid, parent in parents.items() if parent == postmaster and pid != backend]
    return [postmaster, *children]


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    return parents


def at_once(calls: list[Callable[[], object]]) -> list[object]:
    """What each call gave, or failed with; all made at the same moment."""
    results: list[object] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(position: int) -> None:
        start.wait()
        try:
            results[position] = calls[position]()
        except Exception as error:
            results[position] = error

    threads = [threading.Thread(target=run, args=[position]) for position in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
