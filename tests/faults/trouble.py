"""A database that errs: its disk is full, its statements take too long, its bytes rot."""

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from tests.faults.schedule import Fault

T = TypeVar("T")

PATIENCE_S = 60.0

# by kind: the tables of which one is hit, and what a write to it meets
_ERRORS = {
    "disk full": (
        ("outcome", "decision", "contribution"),
        "raise exception 'could not extend file' using errcode = '53100'",
    ),
    "statement timeout": (("outcome", "decision"), "perform pg_sleep(60)"),
}


def trouble(url: str, fault: Fault) -> None:
    """An error of the database that lasts; errors of the attempt itself are tried again."""
    if fault.kind == "corrupt sums":
        _corrupt(url, fault)
        return
    name = f"{fault.kind.replace(' ', '_')}_{int(fault.choice * 1e9)}"
    tables, body = _ERRORS[fault.kind]
    table = tables[int(fault.choice * len(tables))]
    _execute(
        url,
        f"create or replace function {name}() returns trigger language plpgsql as"
        f" $$ begin {body}; return null; end $$;"
        f"create or replace trigger {name} before insert on {table}"
        f" for each statement execute function {name}()",
    )
    time.sleep(fault.lasts_s)
    _execute(url, f"drop trigger if exists {name} on {table}; drop function if exists {name}()")


def _corrupt(url: str, fault: Fault) -> None:
    """Flip a byte of the sums of one arm's head; it is as it was when the fault is over."""
    place = 5 + int(fault.choice * 64)

    def flip(identity: tuple[object, ...], before: int, after: int) -> None:
        _execute(
            url,
            f"update posterior set sums = set_byte(sums, {place}, {after})"
            " where (policy_id, schema_id, arm_id, head, version) = (%s, %s, %s, %s, %s)"
            f" and get_byte(sums, {place}) = {before}",
            identity,
        )

    rows = persistently(
        lambda: _rows(
            url,
            f"select policy_id, schema_id, arm_id, head, version, get_byte(sums, {place})"
            " from posterior order by policy_id, arm_id, head",
        )
    )
    if not rows:
        return
    *identity, byte = rows[int(fault.choice * len(rows))]
    flip(tuple(identity), byte, byte ^ 0xFF)
    time.sleep(fault.lasts_s)
    flip(tuple(identity), byte ^ 0xFF, byte)


def persistently(attempt: Callable[[], T], *, within_s: float = PATIENCE_S) -> T:
    """What comes of an attempt on a database that may be away at the moment."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return attempt()
        except (psycopg.Error, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _execute(url: str, statement: str, parameters: tuple[object, ...] | None = None) -> None:
    def attempt() -> None:
        with psycopg.connect(url, connect_timeout=2) as connection:
            connection.execute("set local lock_timeout = '5s'")
            connection.execute(statement, parameters)

    persistently(attempt)


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, connect_timeout=2) as connection:
        return connection.execute(query).fetchall()


def scalar(url: str, query: str) -> object:
    return _rows(url, query)[0][0]
