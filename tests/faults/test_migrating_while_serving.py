"""A schema that moves under a running service: old code on the new one, new code on the old one."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import migrations
from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.store.postgres.schema import metadata
from migrations.upgrade import upgrade
from tests.faults.acknowledged import Acknowledged
from tests.faults.checker import checked
from tests.faults.deployment import POLICIES, Connected
from tests.faults.load import Load

FLOW = 40
HERE = Path(migrations.__file__).parent
NEXT = '''
"""What a later release may add: columns without a default, and a table."""

from alembic import op

revision = "next"
down_revision = {newest!r}
branch_labels = None
depends_on = None


def upgrade():
    for table in {tables!r}:
        op.execute("alter table " + table + " add column of_the_next_release text")
    op.execute("create table of_the_next_release (policy_id uuid primary key)")
'''


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.start() as started:
        yield started


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    return ScriptDirectory.from_config(config)


def test_this_release_serves_on_while_the_next_one_migrates(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(HERE, folder)
    newest = scripts().get_current_head()
    tables = [table.name for table in metadata.sorted_tables]
    (folder / "versions" / "next.py").write_text(NEXT.format(newest=newest, tables=tables))
    upgrade(server.url)
    told = Acknowledged()
    with Connected.start(server.url, names=("router", "learner")) as service:
        load = Load(service.targets, list(POLICIES), seed=7, told=told)
        load.start()
        load.flow(FLOW, within_s=30)

        upgrade(server.url, scripts=folder)

        load.flow(FLOW, within_s=30)
        load.stop()
        service.calm()
        assert service.dead() == []
    assert checked(server.url, told).findings == []
    assert len(told.decisions) >= 2 * FLOW
    with psycopg.connect(server.url) as connection:
        assert connection.execute("select version_num from alembic_version").fetchone() == ("next",)


def test_processes_that_were_there_before_their_schema_serve_once_it_is(
    server: EmbeddedPostgres,
) -> None:
    """Routers and learners of this release are started on the schema of the one before."""
    newest = scripts().get_current_head()
    assert newest is not None
    before = scripts().get_revision(newest).down_revision
    assert isinstance(before, str)
    upgrade(server.url, revision=before)
    upgraded = threading.Timer(3.0, upgrade, args=[server.url])
    upgraded.start()
    told = Acknowledged()

    with Connected.start(server.url, names=("router", "learner")) as service:
        upgraded.join()
        load = Load(service.targets, list(POLICIES), seed=8, told=told)
        load.start()
        load.flow(FLOW, within_s=60)
        load.stop()
        service.calm()
        assert service.dead() == []

    assert checked(server.url, told).findings == []
    assert len(told.decisions) >= FLOW
