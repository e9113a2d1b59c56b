"""
Whatever is sent to a router: it lives, says what is wrong, and changes nothing that it refused.

A real router on a real Postgres; nobody learns, so that the tables change by calls alone.
"""

import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from psycopg import sql

from bandit.store.postgres.schema import metadata
from bandit.wire import catalog_pb2 as c
from bandit.wire import router_pb2 as r
from services.settings import Settings
from services.supervisor import ChildProcess
from tests.faults.form import Form, Tally
from tests.faults.memory import resident_bytes
from tests.faults.messages import (
    Drawing,
    Known,
    Method,
    damaged,
    strange_tails,
    unary_methods,
    wire,
)
from tests.faults.rubbish import KINDS as RUBBISH
from tests.service.calls import Calls, error_of, router_process, unpacked

# Accounts are kept in the background, and after what was accepted.
_BOOKS = ("budget_account", "allowance", "reservation")
_TABLES = [table.name for table in metadata.sorted_tables if table.name not in _BOOKS]
_MARK = sql.SQL(" union all ").join(
    sql.SQL("select {}, count(*), coalesce(max(xmin::text::bigint), 0) from {}").format(
        sql.Literal(name), sql.Identifier(name)
    )
    for name in _TABLES
)
_READING = ("Get", "List", "Preview")
MOST_BYTES = Settings.model_fields["max_message_bytes"].default
_CHUNK = 25  # examples under one seed
_PATIENCE_S = 20.0

Mark = dict[str, tuple[int, int]]


@dataclass
class Target:
    """
    A router, the policy of an ordinary caller, and policies that anybody may harm.

    told   how often each status was given
    sent   bytes
    """

    child: ChildProcess
    channel: grpc.Channel
    port: int
    database: psycopg.Connection
    told: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    def __post_init__(self) -> None:
        self.calls = Calls(self.channel)
        self.numbers = count()
        self.ordinary = self._new_policy("ordinary")
        self.renew()

    def renew(self) -> None:
        """Other policies to be harmed."""
        self.policy, self.plain = self._new_policy("harmed"), self._new_policy("plain")
        self.decision = self.calls.select(self.policy)

    @property
    def known(self) -> Known:
        """What an attacker who knows the service would fill in."""
        price = c.Price(input_usd_per_million=1.0)
        vectors = c.ContextSettings(vector=c.VectorContext(length=3))
        return {
            "policy": (self.policy, self.policy, self.plain),
            "arm": ("a", "b"),
            "allow_arms": (["a"], ["a", "b"], []),
            "deny_arms": (["b"], [], []),
            "decision_id": (self.decision.decision_id, str(uuid4()), ""),
            "ReportRequest.quality": (0.5, 1.0),
            "Preference.quality": (0.5, 1.0),
            "SelectRequest.text": ("hello",),
            "switch_cost_usd": ("a", "b"),
            "name": (f"new {next(self.numbers)}",),
            "Arm.name": ("a", "b", f"arm {next(self.numbers)}"),
            "snapshot_id": (1, 2),
            "price": (price,),
            "SelectRequest.vector": (r.Vector(values=[1.0, 2.0, 3.0]),),
            "PolicySettings.context": (vectors, c.ContextSettings()),
            "AddArmRequest.arm": (c.Arm(name=f"arm {next(self.numbers)}", price=price),),
            "SetBudgetRequest.budget": (c.Budget(limit_usd=1.0), c.Budget()),
            "CreatePolicyRequest.arms": ([c.Arm(name="a", price=price), c.Arm(name="b")],),
        }

    def mark(self) -> Mark:
        """
        Rows and newest transaction of every table: no row can come, go or change without a trace.
        """
        rows = self.database.execute(_MARK, prepare=True).fetchall()
        return {name: (rows_, newest) for name, rows_, newest in rows}

    def send(self, method: Method, payload: bytes) -> tuple[grpc.RpcError | None, Message | None]:
        """A call with these bytes: its error, or else its answer."""
        self.sent += len(payload)
        ask = self.channel.unary_unary(method.path, None, None)
        try:
            answer = ask(payload, timeout=_PATIENCE_S)
        except grpc.RpcError as error:
            self.told[error.code().name] += 1
            return error, None
        self.told["OK"] += 1
        return None, method.response.FromString(answer)

    def clear_away(self, answer: Message) -> None:
        """After a change that was accepted: what was made goes, what was harmed is replaced."""
        made = getattr(answer, "policy", None)
        for name in {self.policy, self.plain, *([made.name] if made is not None else [])}:
            try:
                self.calls.catalog.ArchivePolicy(c.ArchivePolicyRequest(policy=name))
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.NOT_FOUND, error  # noqa: PT017
        self.renew()

    def assert_serves(self) -> None:
        """The process is the same, and decides for others."""
        assert self.child.is_running(), f"the router died; it was told {self.told}"
        assert self.calls.select(self.ordinary).durable

    def _new_policy(self, name: str) -> str:
        name = f"{name} {next(self.numbers)}"
        context = c.ContextSettings()
        if not name.startswith("plain"):
            context.vector.length = 3
        arms = [c.Arm(name=arm, price=c.Price(input_usd_per_million=1.0)) for arm in "ab"]
        self.calls.catalog.CreatePolicy(
            c.CreatePolicyRequest(name=name, settings=c.PolicySettings(context=context), arms=arms)
        )
        return name


@pytest.fixture(scope="module")
def target(module_database_url: str) -> Iterator[Target]:
    """A router whose decisions are all stored when they are told, however slow the machine is."""
    with router_process(module_database_url, commit_wait_ms=20_000) as child:
        port = child.readiness(within_s=60.0)["port"]
        options = [("grpc.max_receive_message_length", -1)]
        with (
            grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
            psycopg.connect(module_database_url, autocommit=True) as database,
        ):
            # Of tables in many parts a plan takes ten times as long to make as to carry out.
            database.execute("set plan_cache_mode = force_generic_plan")
            yield Target(child, channel, port, database)


def fuzzed(
    example: Callable[..., None], strategy: Any, seeds: Iterator[int], *, lasting_s: float
) -> None:
    """Try examples for that long; each chunk of them has its own seed."""
    end = time.monotonic() + lasting_s
    for number in seeds:
        if time.monotonic() > end:
            return
        chunk = settings(
            max_examples=_CHUNK,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(strategy)(example))
        seed(number)(chunk)()


@st.composite
def requests_to(draw: Callable[[Any], Any], target: Target) -> tuple[Method, bytes]:
    """Bytes for one of the methods: of a message, of one with a tail, or damaged."""
    method = draw(st.sampled_from(unary_methods()))
    drawing = Drawing(draw, target.known, madness=draw(st.sampled_from((0.0, 0.05, 0.2, 0.5))))
    whole = wire(drawing.message(method.request))
    if draw(st.integers(0, 2)) == 0:
        return method, draw(damaged(whole))
    return method, whole + draw(strange_tails())


def test_whatever_message_comes_is_answered_or_refused_by_name_and_a_refusal_changes_nothing(
    target: Target, form: Form, tally: Tally
) -> None:
    """
    Every unary method; messages of every kind, whole and damaged.

    Memory, in the long form: after a minute of it the process may not grow by more than 64 MiB.
    That is 16 messages of the largest size: two heaps, each of which keeps a few that it held.
    A leak of a thousandth of the bytes sent, or of 2 KiB a call, would be more.
    """

    def example(sent: tuple[Method, bytes]) -> None:
        method, payload = sent
        before = target.mark()
        error, answer = target.send(method, payload)
        after = target.mark()
        if error is not None:
            assert_told(method, payload, error)
            assert after == before, (method.name, payload, error)
        else:
            assert answer is not None
            if method.name.startswith(_READING):
                assert after == before, (method.name, payload)
            elif method.name.startswith("Batch"):
                assert_items(method, answer, before, after)
            else:
                target.clear_away(answer)
        target.assert_serves()

    requests, seeds = requests_to(target), count()
    fuzzed(example, requests, seeds, lasting_s=form.warm_up_s)
    warm, calls, sent = resident_bytes(target.child.pid), target.told.total(), target.sent
    fuzzed(example, requests, seeds, lasting_s=form.fuzzing_s)
    grown = resident_bytes(target.child.pid) - warm

    tally.tell(
        f"{target.told.total()} calls, {target.sent / 2**20:.0f} MiB: {dict(target.told)};"
        f" {warm / 2**20:.0f} MiB resident, then {grown / 2**20:+.1f} MiB in"
        f" {target.told.total() - calls} calls with {(target.sent - sent) / 2**20:.0f} MiB"
    )
    assert target.told["INVALID_ARGUMENT"] >= 5
    assert target.told["OK"] >= 5
    assert grown < 64 * 2**20


def assert_told(method: Method, payload: bytes, error: Any) -> None:
    """A refusal that a program can read."""
    code, details = error_of(error)
    what = (method.name, payload[:2_000], code, error.details())
    assert code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ), what
    if len(payload) > MOST_BYTES and code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return  # by gRPC itself, which read no message
    assert_detailed(code, details, what)


def assert_detailed(code: Any, details: dict[str, Any], what: object) -> None:
    assert details, what
    assert details["ErrorInfo"].domain == "bandit.router", what
    assert details["ErrorInfo"].reason, what
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        assert [v.field for v in details["BadRequest"].field_violations if v.field], what


def assert_items(method: Method, answer: Any, before: Mark, after: Mark) -> None:
    """Items that failed say why; of the others, each left its trace and nothing else did."""
    made = 0
    for item in answer.items:
        if item.HasField("error"):
            status: Status = item.error
            (code,) = (each for each in grpc.StatusCode if each.value[0] == status.code)
            assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), status
            assert_detailed(code, unpacked(status), (method.name, status))
        elif method.name == "BatchSelect":
            made += not item.response.replayed
        else:
            made += sum(head.disposition in (1, 3) for head in item.response.heads)
    table = "decision" if method.name == "BatchSelect" else "outcome"
    assert after[table][0] - before[table][0] <= made
    if not made:
        assert after == before


@pytest.mark.parametrize("method", unary_methods(), ids=lambda method: method.name)
def test_bytes_that_are_no_message_are_refused_like_any_other_request(
    target: Target, method: Method
) -> None:
    before = target.mark()

    error, _ = target.send(method, b"\xff" * 20)

    assert error is not None
    code, details = error_of(error)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in details["BadRequest"].field_violations] == ["request"]
    assert target.mark() == before


@pytest.mark.parametrize("path", ["Router/SelectStream", "Feedback/ReportStream"])
def test_bytes_that_are_no_message_end_their_stream_after_what_came_before(
    target: Target, path: str
) -> None:
    ask = target.channel.stream_stream(f"/bandit.router.v1.{path}", None, None)

    answers = ask(iter([b"", b"\xff" * 20, b""]), timeout=_PATIENCE_S)

    assert next(answers)
    with pytest.raises(grpc.RpcError) as raised:
        next(answers)
    code, details = error_of(raised.value)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in details["BadRequest"].field_violations] == ["request"]


def test_whatever_bytes_come_to_the_port_the_router_serves_others(
    target: Target, form: Form, tally: Tally
) -> None:
    """Each on a connection of its own: other protocols, broken frames, broken calls."""
    generator = random.Random(0)
    before = target.mark()
    tried: Counter[str] = Counter()
    end = time.monotonic() + form.rubbish_s
    while time.monotonic() < end or len(tried) < len(RUBBISH):
        name = list(RUBBISH)[tried.total() % len(RUBBISH)]
        rubbish = RUBBISH[name](generator)
        with socket.create_connection(("127.0.0.1", target.port), timeout=_PATIENCE_S) as peer:
            try:
                peer.sendall(rubbish)
                peer.settimeout(0.01)
                while peer.recv(65_536):
                    pass
            except OSError:
                pass  # closed before all was sent, or nothing to be read: either will do
        tried[name] += 1
        try:
            target.assert_serves()
        except (AssertionError, grpc.RpcError) as error:
            raise AssertionError(f"after {name}: {rubbish[:2_000]!r}") from error

    after = target.mark()
    decisions = after.pop("decision")[0] - before.pop("decision")[0]
    tally.tell(f"{tried.total()} connections, {len(tried)} kinds")
    assert decisions == tried.total()
    assert after == before
