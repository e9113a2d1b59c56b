"""A learner that fails at any of its writes has written nothing, and the next one makes it good."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from bandit.domain.errors import Unavailable
from tests.faults.populated import Populated, outcomes_of, populated

FULL = "raise exception 'could not extend file' using errcode = '53100'"
SLOW = "raise exception 'canceling statement due to statement timeout' using errcode = '57014'"
KILLED = "perform pg_terminate_backend(pg_backend_pid())"
WRITES = (
    ("posterior", "insert or update"),
    ("contribution", "insert or update"),
    ("drift_monitor", "insert or update"),
    ("policy", "update"),
    ("dirty_key", "delete"),
)


@pytest.fixture
def world(new_database, template) -> Iterator[Populated]:
    with new_database(template) as url, populated(url) as made:
        yield made


@contextmanager
def failing(url: str, table: str, event: str, body: str) -> Iterator[None]:
    """Within the block such writes to the table fail, after they were done."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create function fails() returns trigger language plpgsql as"
            f" $$ begin {body}; return null; end $$;"
            f"create trigger fails after {event} on {table}"
            " for each statement execute function fails()"
        )
    yield
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"drop trigger fails on {table}; drop function fails()")


def learned(url: str) -> list[tuple[object, ...]]:
    """Everything that a fold writes."""
    with psycopg.connect(url) as connection:
        rows = [
            connection.execute(f"select {table}::text from {table}").fetchall()
            for table, _ in WRITES
        ]
    return [tuple(sorted(each)) for each in rows]


@pytest.mark.parametrize("body", [FULL, SLOW, KILLED], ids=["disk full", "timeout", "killed"])
@pytest.mark.parametrize(("table", "event"), WRITES)
async def test_a_fold_that_fails_at_a_write_leaves_no_trace(
    world: Populated, table: str, event: str, body: str
) -> None:
    draw = random.Random(3)
    decisions = await world.decide(20, draw)
    await world.report(outcomes_of(decisions, draw))
    world.fold_all()
    await world.report(outcomes_of(decisions[:10], draw, sequence=1))
    await world.report(outcomes_of(await world.decide(10, draw), draw))
    before = learned(world.url)

    with failing(world.url, table, event, body), pytest.raises(Unavailable):
        world.fold()

    assert learned(world.url) == before
    world.fold_all()
    assert world.checked().findings == []
