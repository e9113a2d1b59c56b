"""A caller who has given up holds nothing: no place, no drain."""

import time
from collections import Counter
from uuid import uuid4

import grpc

from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from tests.faults.proxy import Proxy, proxied
from tests.faults.test_start_and_end import GRACE_S, a_policy, router
from tests.service.calls import eventually

MOST_CALLS = 4
DEADLINE_S = 0.3


def test_calls_whose_deadline_is_over_leave_their_places_and_do_not_hold_the_end(
    postgres: EmbeddedPostgres, proxy: Proxy
) -> None:
    """The database has fallen silent, and a commit is waited for much longer than callers do."""
    with router(
        proxied(postgres.url, proxy), max_calls=MOST_CALLS, commit_wait_ms=60_000
    ) as running:
        running.until_ready()
        policy = a_policy(running.calls)
        request = r.SelectRequest(policy=policy, vector=r.Vector(values=[1, 2, 3]))
        made = running.calls.select(policy)
        report = f.ReportRequest(
            policy=policy, decision_id=made.decision_id, arm=made.arm, quality=0.5
        )
        proxy.mode = "stall"
        codes: Counter[grpc.StatusCode] = Counter()
        for _ in range(3):  # each wave fills all places
            selects = [
                running.calls.router.Select.future(request, timeout=DEADLINE_S)
                for _ in range(MOST_CALLS - 1)
            ]
            reports = [running.calls.feedback.Report.future(report, timeout=DEADLINE_S)]
            codes.update(call.code() for call in [*selects, *reports])
            time.sleep(0.1)

        took_s = running.end()

    assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 0  # no place was held any longer
    assert codes[grpc.StatusCode.DEADLINE_EXCEEDED] >= 3 * (MOST_CALLS - 1) - 1
    assert took_s < GRACE_S + 3.0
    assert running.process.returncode == 0


def test_what_a_caller_gave_up_is_found_by_its_id_once_the_database_is_back(
    postgres: EmbeddedPostgres, proxy: Proxy
) -> None:
    """It was decided; whether it was heard is not known, and asking again gives the same answer."""
    decision_id = str(uuid4())
    with router(proxied(postgres.url, proxy), commit_wait_ms=60_000) as running:
        running.until_ready()
        policy = a_policy(running.calls)
        request = r.SelectRequest(
            policy=policy, vector=r.Vector(values=[1, 2, 3]), decision_id=decision_id
        )
        proxy.mode = "stall"
        call = running.calls.router.Select.future(request, timeout=DEADLINE_S)
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        proxy.mode = "pass"

        answers = [
            eventually(lambda: running.calls.router.Select(request), lambda each: each.durable)
            for _ in range(2)
        ]

    assert all(answer.replayed for answer in answers)
    assert answers[0] == answers[1]
