"""One statement in one round trip, and the columns it takes, on a real server."""

import asyncio
import math
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
import uvloop
from psycopg import errors as postgres
from psycopg import sql

from bandit.store.postgres.arrays import array
from bandit.store.postgres.lane import Lane
from bandit.store.postgres.statements import prepared
from tests.faults.proxy import Proxy, proxied, target_of

_KEEP = prepared(
    sql.SQL("insert into kept select * from unnest(%b::bigint[]) returning 1"), name="keep"
)
_BACKEND = prepared(sql.SQL("select pg_backend_pid() from unnest(%b::bigint[])"), name="backend")
_TIMEOUT = prepared(
    sql.SQL("select current_setting('statement_timeout')::text from unnest(%b::int8[])")
)
_SLEEP = prepared(sql.SQL("select pg_sleep(10) from unnest(%b::bigint[])"), name="sleep")
ONE = [array("BIGINT", [1])]


@pytest.fixture
def url(new_database, template):
    with new_database(template) as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table kept (number bigint primary key)")
        yield url


@pytest.fixture
async def lane(url):
    lane = Lane(url, statement_timeout_ms=1500)
    yield lane
    await lane.close()


def kept(url):
    with psycopg.connect(url) as connection:
        return [number for (number,) in connection.execute("select number from kept order by 1")]


async def keep(lane, *numbers):
    return (await lane.committed(_KEEP, [array("BIGINT", numbers)])).ntuples


async def backend(lane):
    return (await lane.committed(_BACKEND, ONE)).get_value(0, 0)


@pytest.mark.asyncio
async def test_what_was_answered_is_committed(lane, url):
    assert await keep(lane, 3, 1) == 2
    assert await keep(lane, 2) == 1
    assert kept(url) == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_statement_is_planned_once_per_connection(lane, url):
    """The server would refuse a second plan of that name."""
    first = await backend(lane)
    await asyncio.gather(keep(lane, 1))
    await keep(lane, 2)

    assert await backend(lane) == first


@pytest.mark.asyncio
async def test_an_error_undoes_it_and_leaves_the_connection_as_it_was(lane, url):
    first = await backend(lane)
    await keep(lane, 1)

    with pytest.raises(postgres.UniqueViolation):
        await keep(lane, 5, 1)

    assert kept(url) == [1]
    assert await keep(lane, 6) == 1
    assert await backend(lane) == first


@pytest.mark.asyncio
async def test_a_first_statement_that_fails_does_not_end_the_keeping_of_plans(lane, url):
    await keep(lane, 1)
    await lane.close()

    with pytest.raises(postgres.UniqueViolation):
        await keep(lane, 1)
    await keep(lane, 2)
    first = await backend(lane)
    await keep(lane, 3)

    async with lane.transaction() as connection:
        cursor = await connection.execute("select name from pg_prepared_statements order by name")
        assert await cursor.fetchall() == [("backend",), ("keep",)]
    assert await backend(lane) == first
    assert kept(url) == [1, 2, 3]


@pytest.mark.asyncio
async def test_the_statement_is_under_the_lanes_timeout(lane):
    result = await lane.committed(_TIMEOUT, ONE)

    assert result.get_value(0, 0) == b"1500ms"
    with pytest.raises(postgres.QueryCanceled):
        await lane.committed(_SLEEP, ONE)


@pytest.mark.asyncio
async def test_the_timeout_is_not_left_in_the_session(lane):
    await lane.committed(_TIMEOUT, ONE)

    async with lane.transaction() as connection:
        await connection.execute("commit")
        cursor = await connection.execute("show statement_timeout")
        assert await cursor.fetchone() == ("0",)
        await connection.execute("begin")


@pytest.mark.asyncio
@pytest.mark.parametrize("statement", ["deallocate all", "prepare keep as select 1"])
async def test_a_session_with_other_plans_is_served_without_plans(lane, url, statement):
    """As a pooler hands them around: the plan is gone, or somebody else made one of that name."""
    if statement == "deallocate all":
        await keep(lane, 1)
    async with lane.transaction() as connection:
        await connection.execute(statement)

    assert await keep(lane, 2) == 1
    assert await keep(lane, 3) == 1
    assert kept(url)[-2:] == [2, 3]


@pytest.mark.asyncio
async def test_a_connection_that_is_lost_in_between_is_told_and_made_anew(lane, url):
    first = await backend(lane)
    waiting = asyncio.create_task(lane.committed(_SLEEP, ONE))
    await asyncio.sleep(0.1)

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(%s)", [int.from_bytes(first, "big")])

    with pytest.raises(psycopg.OperationalError):
        await waiting
    assert await keep(lane, 1) == 1
    assert await backend(lane) != first


@pytest.mark.asyncio
async def test_after_a_cancellation_the_next_statement_finds_a_clean_connection(lane, url):
    waiting = asyncio.create_task(lane.committed(_SLEEP, ONE))
    await asyncio.sleep(0.1)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await keep(lane, 1) == 1
    assert kept(url) == [1]


@pytest.mark.asyncio
async def test_more_than_a_socket_takes_at_once(lane, url):
    numbers = list(range(50_000))

    assert await keep(lane, *numbers) == len(numbers)
    assert kept(url) == numbers


COLUMNS = {
    "boolean": ("BOOLEAN", [True, False, None]),
    "bytea": ("BYTEA", [b"", b"\0\xff", None, bytes(100_000)]),
    "bigint": ("BIGINT", [0, -1, 2**63 - 1, -(2**63), None]),
    "smallint": ("SMALLINT", [0, -1, 2**15 - 1]),
    "text": ("TEXT", ["", "a", "ü\u2028\U0001f600", None]),
    "json": ("JSON", ['{"a": "\\u0000"}', "{}"]),
    "double precision": (
        "DOUBLE PRECISION",
        [0.1, -0.0, 5e-324, math.pi * 1e300, math.inf, None],
    ),
    "date": ("DATE", [date(1970, 1, 1), date(2000, 1, 1), date(9000, 12, 31), date(1, 1, 1)]),
    "timestamptz": (
        "TIMESTAMP WITH TIME ZONE",
        [
            datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(microseconds=1),
            datetime(1, 1, 1, tzinfo=UTC),
            None,
        ],
    ),
    "uuid": ("UUID", [UUID(int=0), uuid4(), UUID(int=2**128 - 1)]),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("type_", COLUMNS)
async def test_a_column_arrives_as_it_was(url, type_):
    """Read back by the driver, which has its own idea of every type."""
    name, values = COLUMNS[type_]
    echo = sql.SQL("select to_json({}) from unnest(%b::{}[]) as t (v)")
    whole = "v" if type_ != "double precision" else "v::text"
    statement = prepared(echo.format(sql.SQL(whole), sql.SQL(type_)))
    lane = Lane(url)
    try:
        result = await lane.committed(statement, [array(name, values)])
    finally:
        await lane.close()

    found = [result.get_value(row, 0) for row in range(result.ntuples)]
    with psycopg.connect(url) as connection:
        connection.execute("set timezone = 'UTC'")
        expected = connection.execute(
            sql.SQL("select to_json({})::text from unnest(%s::{}[]) as t (v)").format(
                sql.SQL(whole), sql.SQL(type_)
            ),
            [values],
        ).fetchall()
    assert [None if text is None else text.decode() for text in found] == [
        text for (text,) in expected
    ]


@pytest.mark.asyncio
async def test_a_column_without_values_is_an_empty_array(url):
    count = prepared(sql.SQL("select cardinality(%b::bigint[])::text"), name="count")
    lane = Lane(url)
    try:
        result = await lane.committed(count, [array("BIGINT", [])])
    finally:
        await lane.close()

    assert result.get_value(0, 0) == b"0"


@pytest.mark.asyncio
async def test_a_server_that_falls_silent_holds_nobody(url):
    """What the network swallows is given up, and the connection with it."""
    with Proxy(target_of(url)) as proxy:
        lane = Lane(proxied(url, proxy), statement_timeout_ms=50)
        try:
            await keep(lane, 1)
            proxy.mode = "stall"
            with pytest.raises(psycopg.OperationalError):
                await keep(lane, 2)
            proxy.mode = "pass"
            assert await keep(lane, 3) == 1
        finally:
            await lane.close()

    assert {1, 3} <= set(kept(url))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_socket_that_gets_the_number_of_a_lost_one_is_heard(new_loop, new_database, template):
    """Connections come and go while others wait, over and over, so that numbers are used again."""

    async def run(url):
        lanes = [Lane(url, statement_timeout_ms=1500) for _ in range(4)]
        try:
            for number in range(15):
                busy = [asyncio.create_task(lane.committed(_SLEEP, ONE)) for lane in lanes]
                await asyncio.sleep(0.02)
                terminate_others(url)
                answers = await asyncio.gather(*busy, return_exceptions=True)
                assert all(isinstance(answer, psycopg.OperationalError) for answer in answers)
                for place, lane in enumerate(lanes):
                    async with asyncio.timeout(5):
                        await keep(lane, 10 * number + place)
        finally:
            for lane in lanes:
                await lane.close()

    with new_database(template) as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table kept (number int8 primary key)")
        loop = new_loop()
        try:
            loop.run_until_complete(run(url))
        finally:
            loop.close()


def terminate_others(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
