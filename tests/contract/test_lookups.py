"""What is asked for by key is looked up by key, whatever is known of the table."""

from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from bandit.store.postgres import decisions, outcomes
from bandit.store.postgres.arrays import array
from bandit.store.postgres.exchange import rows_of
from bandit.store.postgres.lane import Lane
from tests.builders import NOW, a_uuid7

pytestmark = pytest.mark.asyncio
POLICY, MANY, ASKED = uuid4(), 60_000, 300

_OUTCOMES = """
    insert into outcome (policy_id, day, decision_id, head, source, sequence, value, received_at)
    select %s, %s, gen_random_uuid(), 0, 'x', 0, 0.5, %s from generate_series(1, %s)
"""
_DECISIONS = """
    insert into decision (policy_id, day, id, at, arm_id, propensity, context, schema_id,
        fingerprint, input_tokens, list_usd, policy_version, snapshot_version, candidates, labels)
    select %s, %s, gen_random_uuid(), %s, gen_random_uuid(), 1, '', '', '', 1, 1, 1, 1,
        decode(repeat('00', 500), 'hex'), '{}' from generate_series(1, %s)
"""


@pytest.fixture
def url(new_database, template):
    """A day that has filled up since anybody last looked at it."""
    with new_database(template) as url:
        with psycopg.connect(url) as connection:
            for table in ("outcome", "decision"):
                connection.execute(
                    f"alter table {table}_p{NOW:%Y%m%d} set (autovacuum_enabled = off)"
                )
            day = NOW.date()
            connection.execute(_OUTCOMES, [POLICY, day, NOW, MANY])
            connection.execute(_DECISIONS, [POLICY, day, NOW, MANY // 3])
        yield url


async def plan(url, statement, arrays):
    lane = Lane(url)
    explained = replace(statement, name=b"", text=b"explain " + statement.text)
    try:
        return "\n".join(line for (line,) in rows_of(await lane.committed(explained, arrays)))
    finally:
        await lane.close()


@pytest.mark.parametrize("statement", [outcomes._SEQUENCES, outcomes._APPEND_AT_ONCE])
async def test_outcomes_are_found_by_their_keys(url, statement):
    values = [(POLICY, NOW.date(), a_uuid7(), 0, "x", 0, 0.5, NOW, None) for _ in range(ASKED)]

    found = await plan(url, statement, outcomes._arrays(values))

    assert "Seq Scan on outcome" not in found, found
    assert "Index" in found


async def test_decisions_are_found_by_their_keys(url):
    ids = [a_uuid7() for _ in range(ASKED)]
    columns = ([POLICY] * ASKED, [NOW.date()] * ASKED, ids)
    arrays = [array(type_, each) for type_, each in zip(decisions._KEY_TYPES, columns, strict=True)]

    found = await plan(url, decisions._FIND, [*arrays, array("DATE", [NOW.date()])])

    assert "Seq Scan on decision" not in found, found
    assert "Index" in found
