"""What Postgres alone can meet with: damage, missing partitions, rivals, and its own absence."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import psycopg
import pytest

from bandit.domain.errors import InvalidInput, Unavailable
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition
from bandit.routing.ports import StoredSums
from bandit.store.postgres import schema
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.listener import changes
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from bandit.store.postgres.posteriors import PostgresPosteriors
from tests.builders import NOW, a_decision, a_policy, a_uuid7, an_event, an_outcome
from tests.contract.comparing import assert_same_stored
from tests.contract.test_learning_port import SCHEMA, stored, write

pytestmark = pytest.mark.asyncio

QUALITY = Objective.QUALITY


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def policy(engine):
    policy = a_policy()
    PostgresCatalog(engine).create(policy, an_event())
    return policy


@asynccontextmanager
async def closed_after(log):
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
async def decisions(database_url):
    async with closed_after(PostgresDecisionLog(database_url)) as log:
        yield log


@pytest.fixture
async def outcomes(database_url):
    async with closed_after(PostgresOutcomeLog(database_url)) as log:
        yield log


def execute(url, statement, parameters=()):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def hang_up_on_everybody(url):
    execute(
        url,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()",
    )


# Damage


@pytest.mark.parametrize("position", [0, 1, 4, 5, 77, -1])
async def test_a_flipped_bit_is_a_fault_of_its_cell_alone(database_url, engine, policy, position):
    bad, good = (policy.arms[0].id, QUALITY), (policy.arms[1].id, QUALITY)
    learning = PostgresLearning(engine)
    with learning.begin(policy.id) as fold:
        write(fold, {bad: stored(seed=1), good: stored(seed=2)})
    ((kept,),) = execute(database_url, "select sums from posterior where arm_id = %s", [bad[0]])
    damaged = bytearray(kept)
    damaged[position] ^= 0x10

    execute(
        database_url,
        "update posterior set sums = %s where arm_id = %s",
        [bytes(damaged), bad[0]],
    )

    _, read = PostgresPosteriors(engine).learned(policy.id, SCHEMA, known={})
    with learning.begin(policy.id) as fold:
        folded = fold.sums(SCHEMA, [bad, good])
    for held in (read, folded):
        assert (held[bad].version, held[bad].sums) == (1, None)
        assert held[bad].fault
        assert_same_stored(held[good], stored(seed=2))


async def test_sums_cut_short_are_a_fault(database_url, engine, policy):
    cell = (policy.arms[0].id, QUALITY)
    with PostgresLearning(engine).begin(policy.id) as fold:
        write(fold, {cell: stored()})

    faults = []
    for kept in (b"", b"\x01", b"\x01\x00\x00\x00\x00", b"\x02abcdefgh"):
        execute(database_url, "update posterior set sums = %s", [kept])
        faults.append(PostgresPosteriors(engine).learned(policy.id, SCHEMA, known={})[1][cell])

    assert all(isinstance(held, StoredSums) and held.sums is None for held in faults)


# Days


async def test_a_day_without_a_partition_harms_no_other(decisions, policy):
    late = a_decision(policy, id=a_uuid7(datetime(2020, 5, 1, tzinfo=UTC)))
    made = [a_decision(policy), late, a_decision(policy)]

    answers = await decisions.record(made)

    assert isinstance(answers[1], InvalidInput)
    assert answers[1].field == "decision_id"
    assert set(await decisions.find(policy.id, [d.id for d in made])) == {made[0].id, made[2].id}


async def test_an_outcome_of_a_day_without_a_partition_is_refused_alone(outcomes, policy):
    decision = a_decision(policy)
    late = a_decision(policy, id=a_uuid7(datetime(2020, 5, 1, tzinfo=UTC)))

    good, bad, other = await asyncio.gather(
        outcomes.append(policy.id, [an_outcome(decision)]),
        outcomes.append(policy.id, [an_outcome(late)]),
        outcomes.append(policy.id, [an_outcome(decision, source="judge")]),
        return_exceptions=True,
    )

    assert list(good) == list(other) == [Disposition.ACCEPTED]
    assert isinstance(bad, InvalidInput)


# Groups


async def test_what_arrives_during_a_commit_is_written_together(database_url, decisions, policy):
    await decisions.record([a_decision(policy)])
    rivals = [a_decision(policy) for _ in range(100)]

    await asyncio.gather(*(decisions.record([rival]) for rival in rivals))

    ((transactions, most),) = execute(
        database_url,
        "select count(*), max(n) from"
        " (select count(*) as n from decision group by xmin::text) as per_transaction",
    )
    assert transactions <= 4
    assert most >= 90


async def test_a_caller_who_leaves_harms_nobody(decisions, policy):
    made = [a_decision(policy) for _ in range(20)]
    calls = [asyncio.create_task(decisions.record([decision])) for decision in made]
    await asyncio.sleep(0.001)

    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert [answer[0].replayed for answer in answers[1::2]] == [False] * 10
    assert len(await decisions.find(policy.id, [decision.id for decision in made])) == 20


async def test_one_that_cannot_be_stored_does_not_harm_its_group(decisions, policy):
    bad = replace(a_decision(policy), input_tokens=2**70)
    made = [a_decision(policy), a_decision(policy), bad, a_decision(policy)]

    answers = await decisions.record(made)

    assert [isinstance(answer, Exception) for answer in answers] == [False, False, True, False]


async def test_too_many_in_line_are_refused(database_url, policy):
    async with closed_after(PostgresDecisionLog(database_url)) as log:
        log._writes._most_waiting = 10
        calls = [asyncio.create_task(log.record([a_decision(policy)])) for _ in range(30)]
        answers = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(answer) for answer in answers} == {list, Unavailable}


# Rivals


async def test_two_processes_with_the_same_ids_agree(database_url, decisions, policy):
    ids = [a_uuid7() for _ in range(200)]
    async with closed_after(PostgresDecisionLog(database_url)) as other:
        pairs = await asyncio.gather(
            decisions.record([a_decision(policy, id=id_, propensity=0.25) for id_ in ids]),
            other.record([a_decision(policy, id=id_, propensity=0.75) for id_ in ids[::-1]]),
        )

    one, two = pairs[0], pairs[1][::-1]
    for mine, theirs in zip(one, two, strict=True):
        assert mine.replayed != theirs.replayed
        assert mine.decision.propensity == theirs.decision.propensity


async def test_two_processes_with_the_same_outcomes_count_each_once(
    database_url, outcomes, engine, policy
):
    rows = [an_outcome(a_decision(policy)) for _ in range(200)]
    async with closed_after(PostgresOutcomeLog(database_url)) as other:
        one, two = await asyncio.gather(
            outcomes.append(policy.id, rows), other.append(policy.id, rows[::-1])
        )

    for mine, theirs in zip(one, two[::-1], strict=True):
        assert {mine, theirs} == {Disposition.ACCEPTED, Disposition.DUPLICATE}
    assert PostgresPosteriors(engine).pending(policy.id) == 200
    assert execute(database_url, "select count(*) from dirty_key") == [(200,)]


async def test_an_outcome_waits_for_a_rival_that_then_fails(database_url, outcomes, policy):
    """The rival's row was there first, but was never committed."""
    decision = a_decision(policy)
    with psycopg.connect(database_url) as rival:
        rival.execute(
            "insert into outcome values (%s, %s, %s, 0, 'default', 0, 0.1, now())",
            [policy.id, NOW.date(), decision.id],
        )
        call = asyncio.create_task(outcomes.append(policy.id, [an_outcome(decision)]))
        await asyncio.sleep(0.1)
        assert not call.done()
        rival.rollback()
        assert list(await call) == [Disposition.ACCEPTED]


async def test_a_row_that_is_locked_for_too_long_is_unavailable_for_that_time(database_url, policy):
    decision = a_decision(policy)
    async with closed_after(PostgresDecisionLog(database_url, statement_timeout_ms=200)) as log:
        await log.record([decision])
        with psycopg.connect(database_url) as rival:
            rival.execute("lock table decision in access exclusive mode")
            (refused,) = await log.record([a_decision(policy)])
            with pytest.raises(Unavailable):
                await log.find(policy.id, [decision.id])
        (answer,) = await log.record([a_decision(policy)])
        found = await log.find(policy.id, [decision.id])

    assert isinstance(refused, Unavailable)
    assert not isinstance(answer, Exception)
    assert set(found) == {decision.id}


# Learners


async def test_a_hung_learner_loses_its_lock(engine, policy):
    learning = PostgresLearning(engine, hold_timeout_ms=100)

    with pytest.raises(Unavailable), learning.begin(policy.id) as fold:  # noqa: PT012 - one transaction
        fold.advance()
        time.sleep(0.3)
        with learning.begin(policy.id) as other:
            assert other is not None
        fold.advance()

    assert PostgresCatalog(engine).versions()[policy.id].learned == 0


async def test_an_outcome_is_due_at_once_whatever_the_clocks_say(outcomes, engine, policy):
    """The router's clock is an hour ahead of the learner's."""
    decision = a_decision(policy)
    ahead = NOW + timedelta(hours=1)
    await outcomes.append(policy.id, [an_outcome(decision, received_at=ahead)])

    learning = PostgresLearning(engine)
    with learning.begin(policy.id) as fold:
        due = fold.due(now=NOW, limit=10)

    assert learning.policies_with_due(now=NOW) == [policy.id]
    assert [item.key for item in due] == [(decision.id, QUALITY)]


async def test_a_change_is_notified_at_commit(database_url, engine, policy):
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"listen {schema.CHANGED}")
        with PostgresLearning(engine).begin(policy.id) as fold:
            fold.advance()
            early = list(listener.notifies(timeout=0.1))
        PostgresCatalog(engine).replace(replace(policy, version=2), an_event())
        late = [notice.payload for notice in listener.notifies(timeout=0.2)]

    assert early == []
    assert late == [str(policy.id)] * 2


async def test_events_are_kept(database_url, engine, policy):
    PostgresCatalog(engine).replace(replace(policy, version=2), an_event("set_price", arm="small"))

    kept = execute(database_url, "select kind, who, detail from policy_event order by id")

    assert kept == [("create_policy", "somebody", {}), ("set_price", "somebody", {"arm": "small"})]


async def test_of_two_changes_at_once_one_is_stale(engine, policy):
    barrier = threading.Barrier(2)

    def change(temperature):
        changed = replace(policy.settings, temperature=temperature)
        barrier.wait()
        PostgresCatalog(engine).replace(replace(policy, version=2, settings=changed), an_event())

    results = await asyncio.gather(
        *(asyncio.to_thread(change, number) for number in (0.5, 0.6)), return_exceptions=True
    )

    assert sorted(type(result).__name__ for result in results) == ["NoneType", "StalePolicy"]


# News


async def test_news_of_a_change_arrives_also_after_the_connection_was_lost(
    database_url, engine, policy
):
    async with asyncio.timeout(10):
        news = changes(database_url)
        assert await anext(news) is None
        PostgresCatalog(engine).replace(replace(policy, version=2), an_event())
        assert await anext(news) == policy.id

        hang_up_on_everybody(database_url)
        assert await anext(news) is None
        PostgresCatalog(engine).replace(replace(policy, version=3), an_event())
        assert await anext(news) == policy.id
        await news.aclose()


# Absence


async def test_an_idle_connection_that_was_closed_is_made_again(
    database_url, decisions, outcomes, engine, policy
):
    decision = a_decision(policy)
    await decisions.record([decision])
    await decisions.find(policy.id, [decision.id])
    await outcomes.append(policy.id, [an_outcome(decision)])

    hang_up_on_everybody(database_url)
    await asyncio.sleep(0.05)

    assert not isinstance((await decisions.record([a_decision(policy)]))[0], Exception)
    assert set(await decisions.find(policy.id, [decision.id])) == {decision.id}
    assert list(await outcomes.append(policy.id, [an_outcome(decision)])) == [Disposition.DUPLICATE]
    assert PostgresCatalog(engine).get(policy.name) == policy


async def test_a_database_that_refuses_is_unavailable_everywhere(tmp_path, policy):
    url = f"postgresql://nobody@/nothing?host={tmp_path}"
    engine = make_engine(url)
    decision = a_decision(policy)
    decisions, outcomes = PostgresDecisionLog(url), PostgresOutcomeLog(url)

    (answer,) = await decisions.record([decision])
    with pytest.raises(Unavailable):
        await decisions.find(policy.id, [decision.id])
    with pytest.raises(Unavailable):
        await outcomes.append(policy.id, [an_outcome(decision)])
    for read in (
        PostgresCatalog(engine).list,
        PostgresCatalog(engine).versions,
        lambda: PostgresPosteriors(engine).pending(policy.id),
        lambda: PostgresLearning(engine).policies_with_due(now=NOW),
    ):
        with pytest.raises(Unavailable):
            read()
    with pytest.raises(Unavailable), PostgresLearning(engine).begin(policy.id):
        pass

    assert isinstance(answer, Unavailable)
    assert answer.retry_after_s > 0


async def test_a_database_not_migrated_is_unavailable(new_database, policy):
    with new_database() as url:
        async with closed_after(PostgresDecisionLog(url)) as log:
            (answer,) = await log.record([a_decision(policy)])

    assert isinstance(answer, Unavailable)


async def test_a_server_that_falls_silent_is_left(database_url, tmp_path, policy):
    """Through a relay that stops passing bytes on; then through one that works again."""
    async with (
        relay(database_url, tmp_path) as (url, is_open),
        closed_after(PostgresDecisionLog(url, statement_timeout_ms=100)) as log,
    ):
        await log.record([a_decision(policy)])
        is_open.clear()
        started = time.monotonic()
        (lost,) = await log.record([a_decision(policy)])
        waited_s = time.monotonic() - started
        is_open.set()
        (answer,) = await log.record([a_decision(policy)])

    assert isinstance(lost, Unavailable)
    assert waited_s < 3
    assert not isinstance(answer, Exception)


@asynccontextmanager
async def relay(database_url, folder):
    """A socket that passes bytes to the server and back for as long as the event is set."""
    server = psycopg.conninfo.conninfo_to_dict(database_url)
    is_open = asyncio.Event()
    is_open.set()
    tasks = set()

    async def pass_on(reader, writer):
        while data := await reader.read(65536):
            await is_open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accept(reader, writer):
        there, back = await asyncio.open_unix_connection(f"{server['host']}/.s.PGSQL.5432")
        tasks.add(asyncio.create_task(pass_on(reader, back)))
        tasks.add(asyncio.create_task(pass_on(there, writer)))

    listener = await asyncio.start_unix_server(accept, str(tmp_socket(folder)))
    try:
        with closing(listener):
            yield relayed(server, folder), is_open
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def tmp_socket(folder):
    return folder / ".s.PGSQL.5432"


def relayed(server, folder):
    host = quote(str(folder), safe="")
    return f"postgresql://{server['user']}@/{server['dbname']}?host={host}&port=5432"
