"""A source turns out to be poisoned: what operators do about it, while the service goes on."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from bandit.client import RebuiltHead, RouterClient, Snapshot
from bandit.domain.arm import ArmStatus
from bandit.learning.decay import Forgetting, as_of
from bandit.routing.ports import Cell, StoredSums
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.engine import make_engine
from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import learning_pb2 as pb
from bandit.wire import router_pb2 as r
from services.supervisor import Stack
from tests.service.calls import Calls, error_of, eventually, router_process
from tests.service.test_learning import sums_of

OFF = c.DRIFT_DETECTOR_OFF
LIAR = (("bandit-source", "liar"),)


@pytest.fixture
def client(stack: Stack) -> Iterator[RouterClient]:
    with RouterClient(stack.target, timeout_s=60.0) as made:
        yield made


@pytest.fixture
def twins(new_policy: Callable[..., str]) -> tuple[str, str]:
    """Two policies that are alike: one will be lied to."""
    off = c.DriftSettings(quality=OFF, cost=OFF, latency=OFF)
    return new_policy(drift=off), new_policy(drift=off)


def chosen_of(calls: Calls, policy: str, count: int, seed: int = 1) -> list[r.SelectResponse]:
    """Decisions for arms in turn, at random vectors that depend on the seed alone."""
    rng = random.Random(seed)
    requests = [
        r.SelectRequest(
            policy=policy,
            vector=r.Vector(values=[rng.gauss(0, 1) for _ in range(3)]),
            allow_arms=["ab"[number % 2]],
        )
        for number in range(count)
    ]
    return [
        item.response
        for start in range(0, count, 100)
        for item in calls.router.BatchSelect(
            r.BatchSelectRequest(requests=requests[start : start + 100])
        ).items
    ]


def say(
    calls: Calls,
    policy: str,
    chosen: list[r.SelectResponse],
    values: list[float],
    *,
    metadata: Any = (),
    sequence: int = 0,
) -> None:
    requests = [
        f.ReportRequest(
            policy=policy,
            decision_id=each.decision_id,
            arm=each.arm,
            quality=value,
            sequence=sequence,
        )
        for each, value in zip(chosen, values, strict=True)
    ]
    for start in range(0, len(requests), 100):
        batch = f.BatchReportRequest(requests=requests[start : start + 100])
        items = calls.feedback.BatchReport(batch, metadata=metadata).items
        assert all(item.WhichOneof("result") == "response" for item in items)


def by_arm(stack: Stack, policy: str) -> dict[tuple[str, Any], tuple[int, NDArray[np.float64]]]:
    """Observations and sums per (arm's name, objective)."""
    engine = make_engine(stack.database_url)
    stored = PostgresCatalog(engine).get(policy)
    held: dict[Cell, StoredSums] = sums_of(engine, stored)
    engine.dispose()
    now = datetime.now(UTC)
    found = {}
    for (arm_id, head), kept in held.items():
        assert kept.sums is not None
        current = as_of(kept.sums, now, Forgetting(None, kept.alarms))
        found[stored.arm(arm_id).name, head] = (kept.observations, current.values)
    return found


def assert_alike(stack: Stack, one: str, other: str) -> None:
    actual, expected = by_arm(stack, one), by_arm(stack, other)
    assert actual.keys() == expected.keys()
    for cell, (observations, values) in expected.items():
        assert actual[cell][0] == observations
        assert np.abs(actual[cell][1] - values).max() <= 1e-9 * (1 + np.abs(values).max())


def taken(client: RouterClient, policy: str) -> list[Snapshot]:
    """The snapshots before changes; the learner takes others when it is their time."""
    return [each for each in client.list_snapshots(policy) if each.reason != "scheduled"]


def is_same(head: RebuiltHead) -> bool:
    return head.difference is not None and head.difference <= 1e-9 * (1 + head.scale)


def test_without_the_liar_all_is_as_if_it_had_never_spoken_while_outcomes_go_on_coming(
    stack: Stack, calls: Calls, client: RouterClient, twins: tuple[str, str]
) -> None:
    """Two worlds: in one of them every fifth decision was lied about."""
    lied_to, honest = twins
    rng = random.Random(2)
    truth = [rng.random() for _ in range(600)]
    worlds = {policy: chosen_of(calls, policy, 600) for policy in twins}
    for policy in twins:
        say(calls, policy, worlds[policy][:300], truth[:300])
    say(calls, lied_to, worlds[lied_to][:300:5], [0.0] * 60, metadata=LIAR)
    calls.learned(lied_to)
    shown = client.rebuild(lied_to)
    assert all(is_same(head) for head in shown.heads)
    assert client.rebuild(lied_to, without_sources=["liar"]).learned_version is None

    going_on = threading.Event()

    def report_on() -> None:
        for number in range(300, 600):
            for policy in twins:
                say(calls, policy, [worlds[policy][number]], [truth[number]])
            if number == 320:
                going_on.set()

    reporting = threading.Thread(target=report_on)
    reporting.start()
    assert going_on.wait(30)
    result = client.rebuild(lied_to, without_sources=["liar"], promote=True)
    served = calls.select(lied_to)
    reporting.join()

    assert result.rows_left_out == 60
    assert served.snapshot_version >= (result.learned_version or 0)
    calls.learned(lied_to)
    calls.learned(honest)
    assert_alike(stack, lied_to, honest)

    # Later corrections and another source's words, on what was lied about: the lies stay out.
    for policy in twins:
        say(calls, policy, worlds[policy][:20:5], [0.9] * 4, sequence=7)
        say(calls, policy, worlds[policy][20:40:5], [0.1] * 4, metadata=(("bandit-source", "b"),))
        calls.learned(policy)
    assert_alike(stack, lied_to, honest)

    # And it can be undone.
    assert result.snapshot_before is not None
    back = client.rollback(lied_to, result.snapshot_before, dry_run=True)
    assert [snapshot.id for snapshot in taken(client, lied_to)] == [result.snapshot_before]
    assert back.snapshot is not None
    assert back.snapshot.reason == "rebuild"


def test_a_rollback_goes_back_to_before_a_change_and_learning_goes_on(
    stack: Stack, calls: Calls, client: RouterClient, twins: tuple[str, str]
) -> None:
    policy, other = twins
    rng = random.Random(4)
    truth = [rng.random() for _ in range(300)]
    chosen, twin = chosen_of(calls, policy, 300), chosen_of(calls, other, 300)
    say(calls, policy, chosen[:100], truth[:100])
    say(calls, other, twin[:100], truth[:100])
    calls.learned(policy)
    client.set_arm_status(policy, arm="b", status=ArmStatus.DRAINING)
    say(calls, policy, chosen[100:200], truth[100:200])
    calls.learned(policy)
    (snapshot,) = taken(client, policy)

    result = client.rollback(policy, snapshot.id)
    say(calls, policy, chosen[200:], truth[200:])
    say(calls, other, twin[200:], truth[200:])

    assert snapshot.reason == "set_arm_status"
    assert result.rows_left_out == 100
    assert all(is_same(head) for head in result.against_snapshot)
    calls.learned(policy)
    calls.learned(other)
    assert_alike(stack, policy, other)


def test_a_crash_in_the_middle_of_a_promotion_leaves_the_old_state_whole(
    stack: Stack, calls: Calls, database: psycopg.Connection, policy: str
) -> None:
    """The router dies with contributions rewritten, when it comes to the posteriors."""
    chosen = chosen_of(calls, policy, 50)
    say(calls, policy, chosen, [0.8] * 50)
    say(calls, policy, chosen, [0.1] * 50, metadata=LIAR)
    calls.learned(policy)
    before = kept(database, policy)
    with router_process(stack.database_url) as doomed:
        port = doomed.readiness(within_s=60.0)["port"]
        with (
            psycopg.connect(stack.database_url) as rival,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            rival.execute(
                "select from posterior where policy_id = (select id from policy where name = %s)"
                " for update",
                [policy],
            )
            request = pb.RebuildRequest(policy=policy, without_sources=["liar"], promote=True)
            call = Calls(channel).learning.Rebuild.future(request)
            eventually(lambda: waiting(database), lambda count: count == 1, within_s=30)
            os.kill(doomed.pid, signal.SIGKILL)
            assert call.exception() is not None
            rival.rollback()

    eventually(lambda: kept(database, policy), lambda now: now == before)
    say(calls, policy, chosen[:1], [0.5], sequence=3)
    calls.learned(policy)
    state = {arm.arm: arm.heads[0] for arm in calls.state(policy).arms}
    assert state["a"].observations + state["b"].observations == 50
    with RouterClient(stack.target) as client:
        assert all(is_same(head) for head in client.rebuild(policy).heads)


def waiting(database: psycopg.Connection) -> int:
    row = database.execute(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and query like '%update posterior set%'"
        " and pid <> pg_backend_pid()"
    ).fetchone()
    assert row is not None
    return int(row[0])


def kept(database: psycopg.Connection, policy: str) -> list[Any]:
    """All that a promotion touches."""
    found: list[Any] = []
    for query in (
        "select learned_version from policy where id = {}",
        "select arm_id, head, version, sums from posterior where policy_id = {} order by 1, 2",
        "select decision_id, head, value from contribution where policy_id = {} order by 1, 2",
        "select count(*) from exclusion where policy_id = {}",
        "select count(*) from posterior_snapshot where reason = 'rebuild' and policy_id = {}",
        "select count(*) from policy_event where policy_id = {}",
    ):
        id_ = "(select id from policy where name = %s)"
        found.append(database.execute(query.format(id_), [policy]).fetchall())  # type: ignore[arg-type]
    return found


def test_a_corrupt_posterior_is_healed_and_what_waited_for_it_goes_on(
    calls: Calls, client: RouterClient, database: psycopg.Connection, policy: str
) -> None:
    chosen = chosen_of(calls, policy, 20)
    say(calls, policy, chosen[:10], [0.7] * 10)
    calls.learned(policy)
    database.execute(
        "update posterior set sums = '\\xdeadbeef' where policy_id ="
        " (select id from policy where name = %s)",
        [policy],
    )
    say(calls, policy, chosen[10:], [0.7] * 10)
    eventually(lambda: calls.state(policy).arms[0].heads[0].fault, bool)

    result = client.rebuild(policy, promote=True)

    assert all(head.before.fault for head in result.heads)
    assert result.values == 20
    state = calls.state(policy)
    assert [arm.heads[0].fault for arm in state.arms] == ["", ""]
    assert sum(arm.heads[0].observations for arm in state.arms) == 20
    calls.learned(policy)  # within 10 s, when what was put off comes up again
    assert sum(arm.heads[0].observations for arm in calls.state(policy).arms) == 20


def test_what_the_log_no_longer_holds_is_not_forgotten_unasked(
    calls: Calls, client: RouterClient, database: psycopg.Connection, policy: str
) -> None:
    chosen = chosen_of(calls, policy, 10)
    say(calls, policy, chosen, [0.7] * 10)
    calls.learned(policy)
    for table, column in (("decision", "id"), ("outcome", "decision_id")):
        database.execute(
            f"delete from {table} where {column} = any(%s)",  # type: ignore[arg-type]
            [[each.decision_id for each in chosen[:4]]],
        )

    shown = client.rebuild(policy)
    with pytest.raises(grpc.RpcError) as refused:
        calls.learning.Rebuild(pb.RebuildRequest(policy=policy, promote=True))
    assert sum(arm.heads[0].observations for arm in calls.state(policy).arms) == 10
    accepted = client.rebuild(policy, promote=True, accept_loss=True)

    assert {head.arm: head.lost for head in shown.heads} == {"a": 2, "b": 2}
    code, details = error_of(refused.value)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert details["ErrorInfo"].reason == "INCOMPLETE_LOG"
    assert [v.subject for v in details["PreconditionFailure"].violations] == [
        "a/quality",
        "b/quality",
    ]
    assert accepted.values == 6
    assert all(head.lost == 0 for head in client.rebuild(policy).heads)


def test_what_cannot_be_learned_is_set_aside_and_keeps_nothing_else_waiting(
    stack: Stack, calls: Calls, client: RouterClient, database: psycopg.Connection, policy: str
) -> None:
    chosen = chosen_of(calls, policy, 12)
    damages = [
        "context = '\\x010203'",
        "context = '\\x00000000'",
        "candidates = '\\x01'",
        "schema_id = 'of another release'",
        "arm_id = gen_random_uuid()",
        "list_usd = 0",
    ]
    for each, damage in zip(chosen, damages, strict=False):
        database.execute(
            f"update decision set {damage} where id = %s",  # type: ignore[arg-type]
            [each.decision_id],
        )
    insert = (
        "insert into outcome (policy_id, day, decision_id, head, source, sequence, value,"
        " received_at) select policy_id, day, id, %s, 'behind', 0, %s, now()"
        " from decision where id = %s"
    )
    line = (
        "insert into dirty_key (policy_id, decision_id, head, due_at)"
        " select policy_id, id, %s, '-infinity' from decision where id = %s"
    )
    for number, each in enumerate(chosen[:6]):
        head = 1 if number == 5 else 0  # without a list price a cost cannot be judged
        database.execute(insert, [head, 0.5, each.decision_id])
        database.execute(line, [head, each.decision_id])
    for each, (head, value) in zip(chosen[6:8], [(0, float("nan")), (9, 0.5)], strict=True):
        database.execute(insert, [head, value, each.decision_id])
        database.execute(line, [head, each.decision_id])

    say(calls, policy, chosen[8:], [0.6] * 4)
    state = calls.learned(policy)

    assert sum(arm.heads[0].observations for arm in state.arms) == 4
    assert state.quarantined == 8
    reasons = database.execute(
        "select reason from quarantine where policy_id = (select id from policy where name = %s)",
        [policy],
    ).fetchall()
    assert len({reason for (reason,) in reasons}) == 8

    # What was put right is learned by a rebuild; the rest stays aside.
    database.execute("update decision set list_usd = 0.01 where id = %s", [chosen[5].decision_id])
    result = client.rebuild(policy, promote=True)
    assert result.values == 5
    assert calls.state(policy).quarantined == result.misfit_count == 6


def test_of_two_rebuilds_at_once_each_is_whole(
    calls: Calls, other_worker: Calls, client: RouterClient, policy: str
) -> None:
    chosen = chosen_of(calls, policy, 60)
    say(calls, policy, chosen, [0.7] * 60)
    say(calls, policy, chosen[:30], [0.0] * 30, metadata=LIAR)
    calls.learned(policy)

    request = pb.RebuildRequest(policy=policy, without_sources=["liar"], promote=True)
    answers = [each.learning.Rebuild.future(request) for each in (calls, other_worker)]
    versions = sorted(answer.result(timeout=60).report.learned_version for answer in answers)

    assert versions[1] == versions[0] + 1
    assert all(is_same(head) for head in client.rebuild(policy).heads)
