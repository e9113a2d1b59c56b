"""News of changed policies, as soon as they are committed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import psycopg
from psycopg import sql

from bandit.domain.policy import PolicyId
from bandit.store.postgres.codecs import uuid_from
from bandit.store.postgres.engine import conninfo_of
from bandit.store.postgres.schema import CHANGED

_LISTEN = sql.SQL("listen {}").format(sql.Identifier(CHANGED))
_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_QUIET_S = 30.0  # after which the connection is tried
_ANSWER_S = 5.0


async def changes(url: str) -> AsyncGenerator[PolicyId | None, None]:
    """
    The id of each policy whose versions moved; None: any may have.  Never ends.

    It connects again, with growing pauses, whenever the connection is lost, and says None then.
    Only a hint: news can be lost, poolers swallow it, and whoever must know polls.
    """
    pause_s = _SHORTEST_PAUSE_S
    while True:
        try:
            async with aclosing(_heard(url)) as heard:
                async for news in heard:
                    pause_s = _SHORTEST_PAUSE_S
                    yield news
        except (psycopg.Error, TimeoutError):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _heard(url: str) -> AsyncGenerator[PolicyId | None, None]:
    """What one connection hears, until it is lost."""
    connection = await psycopg.AsyncConnection.connect(
        conninfo_of(url), autocommit=True, prepare_threshold=None
    )
    try:
        async with asyncio.timeout(_ANSWER_S):
            await connection.execute(_LISTEN)
        yield None
        while True:
            async for notice in connection.notifies(timeout=_QUIET_S):
                named = uuid_from(notice.payload)
                yield PolicyId(named) if named is not None else None
            async with asyncio.timeout(_ANSWER_S):
                await connection.execute("select 1")
    finally:
        await connection.close()
