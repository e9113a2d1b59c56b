"""The migrations: the schema they leave, and that they may be run by anybody at any time."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from bandit.domain.decision import NO_DAY
from bandit.domain.errors import Unavailable
from bandit.store.postgres.engine import driver_url, make_engine, transaction
from bandit.store.postgres.partitions import ensure_partitions
from bandit.store.postgres.schema import PARTITIONED, metadata
from migrations.current import revisions
from migrations.upgrade import upgrade
from tests.builders import NOW

PROJECT = Path(__file__).resolve().parents[2]
TODAY = NOW.date()
PARTITION = re.compile(r"_p\d{8}$")

COLUMNS = """
    select table_name, ordinal_position, column_name, data_type, is_nullable, column_default,
        is_identity, identity_generation
    from information_schema.columns where table_schema = 'public'
"""
CONSTRAINTS = """
    select conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n'
"""
INDEXES = "select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'"
TABLES = """
    select relname, relkind, relpersistence, reloptions, pg_get_partkeydef(oid)
    from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
"""


@pytest.fixture
def copy_url(new_database, template):
    with new_database(template) as url:
        yield url


@pytest.fixture
def empty_url(new_database):
    with new_database() as url:
        yield url


def rows(url, query):
    """The rows about tables that are neither partitions nor Alembic's own."""
    with psycopg.connect(url) as connection:
        found = connection.execute(query).fetchall()
    return sorted(
        (row for row in found if not PARTITION.search(row[0]) and row[0] != "alembic_version"),
        key=repr,
    )


def partitions(url):
    with psycopg.connect(url) as connection:
        return {
            (table, name, bounds)
            for table, name, bounds in connection.execute(
                "select inhparent::regclass::text, relname, pg_get_expr(relpartbound, pg_class.oid)"
                " from pg_inherits join pg_class on pg_class.oid = inhrelid where relkind = 'r'"
            )
        }


def test_alembic_sees_no_difference_to_the_metadata(database_url):
    engine = make_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: (
                    not (kind == "table" and PARTITION.search(name))
                ),
            },
        )
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


@pytest.mark.parametrize("catalogue", [COLUMNS, CONSTRAINTS, INDEXES, TABLES])
def test_the_migrated_schema_is_the_one_that_the_metadata_creates(
    database_url, empty_url, catalogue
):
    engine = make_engine(empty_url)
    metadata.create_all(engine)
    engine.dispose()

    assert rows(database_url, catalogue) == rows(empty_url, catalogue)
    assert rows(database_url, catalogue)


def test_every_key_begins_with_the_policy(database_url):
    keys = [
        (table, definition)
        for table, _, definition in rows(database_url, CONSTRAINTS)
        if definition.startswith("PRIMARY KEY") and table not in ("policy", "credential")
    ]

    assert len(keys) == len(metadata.tables) - 2
    assert all(definition.startswith("PRIMARY KEY (policy_id, ") for _, definition in keys)


def test_migrating_twice_changes_nothing(empty_url):
    upgrade(empty_url, today=TODAY)
    once = [rows(empty_url, query) for query in (COLUMNS, CONSTRAINTS, INDEXES, TABLES)]

    upgrade(empty_url, today=TODAY)

    assert [rows(empty_url, query) for query in (COLUMNS, CONSTRAINTS, INDEXES, TABLES)] == once


def test_several_may_migrate_at_once(empty_url):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upgrade(empty_url, today=TODAY), range(4)))

    assert len(rows(empty_url, TABLES)) == len(metadata.tables)


def test_any_folder_and_any_spelling_of_the_url_will_do(empty_url, tmp_path):
    url = empty_url.replace("postgresql://", "postgresql+psycopg://")

    subprocess.run(
        [sys.executable, "-c", f"from migrations.upgrade import upgrade; upgrade({url!r})"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        check=True,
    )

    assert len(rows(empty_url, TABLES)) == len(metadata.tables)


def test_a_database_that_is_away_is_unavailable(tmp_path):
    with pytest.raises(Unavailable):
        upgrade(f"postgresql://nobody@/nothing?host={tmp_path}")


def test_partitions_reach_from_two_days_ago_to_a_week_ahead(empty_url):
    upgrade(empty_url, today=TODAY)

    days = [NO_DAY, *(TODAY + timedelta(days=n) for n in range(-2, 8))]
    assert partitions(empty_url) == {
        (
            table.name,
            f"{table.name}_p{day:%Y%m%d}",
            f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')",
        )
        for table in PARTITIONED
        for day in days
    }


def test_the_next_day_makes_one_partition_of_each_table(empty_url):
    upgrade(empty_url, today=TODAY)
    engine = make_engine(empty_url)

    with transaction(engine) as connection:
        made = ensure_partitions(connection, TODAY + timedelta(days=1))
    with transaction(engine) as connection:
        made_again = ensure_partitions(connection, TODAY + timedelta(days=1))

    engine.dispose()
    assert (made, made_again) == (len(PARTITIONED), 0)


def test_several_may_make_partitions_at_once(copy_url):
    engine = make_engine(copy_url, pool_size=4)
    far = date(2031, 1, 1)

    def ensure(_):
        with transaction(engine) as connection:
            return ensure_partitions(connection, far)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(ensure, range(4)))

    engine.dispose()
    assert sum(made) == 10 * len(PARTITIONED)


def test_partitions_are_made_while_a_writer_is_at_work(copy_url):
    """Attaching does not wait for a transaction that has written to the table."""
    engine = make_engine(copy_url)
    with psycopg.connect(copy_url) as writer:
        writer.execute(
            "insert into contribution values (gen_random_uuid(), %s, gen_random_uuid(), 0, 1)",
            [TODAY],
        )
        with transaction(engine, statement_timeout_ms=1000) as connection:
            made = ensure_partitions(connection, TODAY + timedelta(days=100))

    engine.dispose()
    assert made == 10 * len(PARTITIONED)


def test_a_url_of_another_database_is_refused():
    with pytest.raises(ValueError, match="postgresql"):
        driver_url("sqlite://")


def test_the_names_of_the_files_say_which_migrations_there_are():
    config = Config()
    config.set_main_option("script_location", str(PROJECT / "migrations"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)

    assert revisions() == tuple(
        script.revision for script in reversed(list(scripts.walk_revisions()))
    )
