"""A Postgres per test process, and in it a template database that is migrated once and copied."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.store.postgres.schema import metadata
from migrations.upgrade import upgrade
from tests.builders import NOW

TEMPLATE = "bandit_template"

_numbers = count()
_EMPTIED = sql.SQL(";").join(
    [
        sql.SQL(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        ),
        *(
            sql.SQL("delete from {}").format(sql.Identifier(table.name))
            for table in reversed(metadata.sorted_tables)
        ),
    ]
)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of an empty database on a server of this test process's own."""
    with EmbeddedPostgres.start(durable=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def new_database(server_url: str) -> Callable[..., object]:
    """`with new_database() as url`: an empty database, dropped at the end of the block."""

    @contextmanager
    def made(template: str = "template1") -> Iterator[str]:
        name = f"bandit_{next(_numbers)}"
        _execute(
            server_url,
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template)
            ),
        )
        try:
            yield url_of(server_url, name)
        finally:
            _execute(
                server_url,
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name)),
            )

    return made


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """A migrated database to be copied, with partitions for the tests' `NOW` and for today."""
    _execute(server_url, sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    url = url_of(server_url, TEMPLATE)
    upgrade(url)
    upgrade(url, today=NOW.date())
    return TEMPLATE


@pytest.fixture(scope="session")
def _session_database_url(new_database, template) -> Iterator[str]:
    with new_database(template) as url:
        yield url


@pytest.fixture
def database_url(_session_database_url) -> Iterator[str]:
    """
    A migrated database without a row, for this test alone.

    It is emptied after each test: that takes 20 ms, and a copy of its own ten times that.  A test
    that changes tables or partitions takes a copy: `with new_database(template) as url`.
    """
    yield _session_database_url
    _execute(_session_database_url, _EMPTIED)


@pytest.fixture(scope="module")
def module_database_url(new_database, template) -> Iterator[str]:
    """A migrated database that the tests of one module share."""
    with new_database(template) as url:
        yield url


def url_of(server_url: str, database: str) -> str:
    """The URL of another database on the same server."""
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)


def _execute(url: str, statement: sql.Composable) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
