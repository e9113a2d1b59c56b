"""One release takes over from another under load, across a migration: no request fails."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.store.postgres.schema import metadata
from migrations.current import revisions
from migrations.upgrade import upgrade
from services.child import SUPERVISED
from tests.faults.acknowledged import Acknowledged
from tests.faults.checker import checked
from tests.faults.deployment import POLICIES, Deployment
from tests.faults.load import Load
from tests.faults.test_migrating_while_serving import HERE, NEXT
from tests.service.test_life import free_port

PROJECT = HERE.parent
FLOW = 40
GRACE_S = 3.0
START_S = 60.0


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.start(durable=False) as started:
        upgrade(started.url)
        yield started


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """What comes before this release's folder in the path of a later one: one more migration."""
    folder = tmp_path / "next"
    shutil.copytree(HERE, folder / "migrations")
    tables = [table.name for table in metadata.sorted_tables]
    text = NEXT.format(newest=revisions()[-1], tables=tables)
    newer = text.replace('revision = "next"', 'revision = "9999"', 1)
    (folder / "migrations/versions/9999_next.py").write_text(newer)
    return folder


class Process:
    """A router or learner of some release."""

    def __init__(self, role: str, release: Path, settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"services.{role}", SUPERVISED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{release}{os.pathsep}{PROJECT}"},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        self._process.stdin.flush()

    def until_ready(self) -> None:
        """Return when it says so."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_S)
        assert readable
        assert self._process.stdout.readline()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def drain(self) -> float:
        """Tell it to end, and wait until it has; seconds."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(2 * GRACE_S) == 0
        return time.monotonic() - began

    def kill(self) -> None:
        """End it, if it is still there."""
        self._process.kill()
        self._process.communicate()


def failed(told: Acknowledged) -> list[str]:
    return [asked.failure for asked in told.asked if asked.failure] + told.put_off


@pytest.mark.parametrize(
    ("first", "way"), [("the schema", "one port"), ("the processes", "two addresses")]
)
def test_the_next_release_takes_over_and_no_request_fails(
    server: EmbeddedPostgres, next_release: Path, first: str, way: str
) -> None:
    """
    Whichever goes first, the schema or the processes that wait for it; and whether routers share a
    port, or callers know the addresses of both.
    """
    old_port = free_port()
    shared = way == "one port"
    new_port = old_port if shared else free_port()
    workers = 2 if shared else 1  # several are allowed to share
    target = (
        f"127.0.0.1:{old_port}" if shared else f"ipv4:127.0.0.1:{old_port},127.0.0.1:{new_port}"
    )
    told = Acknowledged()
    with ExitStack() as stack:

        def start(role: str, release: Path, **settings: Any) -> Process:
            shared = {"database_url": server.url, "log_level": "error", "grace_s": GRACE_S}
            process = Process(role, release, shared | settings)
            stack.callback(process.kill)
            return process

        old = start("router", PROJECT, port=old_port, workers=workers)
        old_learner = start("learner", PROJECT)
        old.until_ready()
        service = Deployment([f"127.0.0.1:{old_port}"], server.url)
        load = Load([target], list(POLICIES), seed=11, told=told, callers=4, pace_s=0.1)
        load.start()
        load.flow(FLOW, within_s=30)

        if first == "the schema":
            upgrade(server.url, scripts=next_release / "migrations")
            load.flow(FLOW, within_s=30)
        new = start("router", next_release, port=new_port, workers=workers)
        new_learner = start("learner", next_release)
        if first == "the processes":
            time.sleep(1.0)  # they wait
            upgrade(server.url, scripts=next_release / "migrations")
        new.until_ready()
        new_learner.until_ready()
        load.flow(FLOW, within_s=30)

        took_s = old.drain()
        old_learner.drain()
        load.flow(2 * FLOW, within_s=30)
        load.stop()
        service.targets = [f"127.0.0.1:{new_port}"]
        service.calm()
        assert new.is_running()
        assert new_learner.is_running()

    assert failed(told) == []
    assert took_s < GRACE_S + 1.0
    assert checked(server.url, told).findings == []
    assert len(told.decisions) >= 4 * FLOW
    assert stored(server.url) >= {str(id_) for _, id_ in told.decisions}


def stored(url: str) -> set[str]:
    """The decisions in the log; none is there twice."""
    with psycopg.connect(url) as connection:
        ids = [str(id_) for (id_,) in connection.execute("select id from decision")]
    assert len(ids) == len(set(ids))
    return set(ids)
