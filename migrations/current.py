"""Whether a database has the schema that this version needs."""

from functools import lru_cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from bandit.store.postgres.engine import transaction


def is_current(engine: Engine) -> bool:
    """
    Whether the newest migration known here has been run.

    So it has where the database is at a migration of a later release, which is unknown here: old
    code runs on the schema in between.  Raises Unavailable where the database cannot be read.
    """
    with transaction(engine) as connection:
        if connection.execute(text("select to_regclass('alembic_version')")).scalar() is None:
            return False
        revision = connection.execute(text("select version_num from alembic_version")).scalar()
    newest, known = _revisions()
    return revision is not None and (revision == newest or revision not in known)


@lru_cache(maxsize=1)
def _revisions() -> tuple[str | None, frozenset[str]]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    known = frozenset(script.revision for script in scripts.walk_revisions())
    return scripts.get_current_head(), known
