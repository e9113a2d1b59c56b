"""Whether a database has the schema that this version needs."""

from functools import lru_cache
from pathlib import Path

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
    known = revisions()
    return revision is not None and (revision == known[-1] or revision not in known)


@lru_cache(maxsize=1)
def revisions() -> tuple[str, ...]:
    """
    The migrations that are known here, in their order.

    From the names of their files, as the library that runs them would hold 10 MB of every router.
    """
    files = (Path(__file__).parent / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(file.name.partition("_")[0] for file in files))
