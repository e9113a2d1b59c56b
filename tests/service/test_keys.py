"""The life of a key, as those see it who call with it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import grpc
import pytest

from bandit.client import AsyncRouterClient, RouterClient, UnauthenticatedError, tls
from bandit.domain.credential import Scope
from bandit.routing.credentials import CredentialKeeper
from bandit.wire import catalog_pb2 as c
from bandit.wire import router_pb2 as r
from services.cli.main import run
from tests.service.calls import Calls, error_of, eventually, running_router, unpacked
from tests.service.keys import a_key, keeper, with_key, with_metadata

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
WITHIN_S = 1.0  # of a change, on every router
POLICY = "chat"

_names = count()


@dataclass(frozen=True)
class Service:
    """Two routers on one database, where there is a key; one policy, of the tenant "acme"."""

    database_url: str
    channels: tuple[grpc.Channel, grpc.Channel]
    targets: tuple[str, str]
    keys: CredentialKeeper

    def calls(self, key: str, *, at: int = 0) -> Calls:
        return Calls(with_key(self.channels[at], key))

    def answers(self, key: str, *, at: int = 0) -> tuple[grpc.StatusCode, str]:
        """Code and reason of a `Select` with that key."""
        return answer_of(lambda: self.calls(key, at=at).select(POLICY))


def answer_of(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    try:
        call()
    except grpc.RpcError as error:
        code, details = error_of(error)
        return code, details["ErrorInfo"].reason
    return grpc.StatusCode.OK, ""


def id_of(key: str) -> str:
    return key.split("_")[1]


@pytest.fixture(scope="module")
def service(new_database, template) -> Iterator[Service]:
    with (
        new_database(template) as url,
        running_router(url) as one,
        running_router(url) as other,
        grpc.insecure_channel(f"127.0.0.1:{one}") as first,
        grpc.insecure_channel(f"127.0.0.1:{other}") as second,
    ):
        targets = (f"127.0.0.1:{one}", f"127.0.0.1:{other}")
        service = Service(url, (first, second), targets, keeper(url))
        calls = service.calls(a_key(service.keys))
        context = c.ContextSettings(vector=c.VectorContext(length=3))
        calls.catalog.CreatePolicy(
            c.CreatePolicyRequest(
                name=POLICY,
                settings=c.PolicySettings(context=context),
                arms=[c.Arm(name="a", price=c.Price(input_usd_per_million=1.0))],
            )
        )
        yield service


def test_the_first_key_closes_a_service_that_was_open_to_this_machine(new_database, template):
    with (
        new_database(template) as url,
        running_router(url) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        open_to_all = Calls(channel)
        open_to_all.catalog.ListPolicies(c.ListPoliciesRequest())

        keys = keeper(url)
        key = a_key(keys)
        time.sleep(WITHIN_S)

        closed = answer_of(lambda: open_to_all.catalog.ListPolicies(c.ListPoliciesRequest()))
        assert closed == (UNAUTHENTICATED, "MISSING_KEY")
        Calls(with_key(channel, key)).catalog.ListPolicies(c.ListPoliciesRequest())

        keys.revoke(id_of(key))
        time.sleep(WITHIN_S)

        still = answer_of(lambda: open_to_all.catalog.ListPolicies(c.ListPoliciesRequest()))
        assert still == (UNAUTHENTICATED, "MISSING_KEY")


def test_a_new_key_is_good_at_once_on_every_router(service: Service):
    key = a_key(service.keys)

    assert [service.answers(key, at=at)[0] for at in (0, 1)] == [grpc.StatusCode.OK] * 2


def test_a_revoked_key_is_refused_within_a_second_on_every_router(service: Service):
    key = a_key(service.keys)
    for at in (0, 1):
        assert service.answers(key, at=at)[0] is grpc.StatusCode.OK

    service.keys.revoke(id_of(key))
    time.sleep(WITHIN_S)

    for at in (0, 1):
        assert service.answers(key, at=at) == (UNAUTHENTICATED, "REVOKED_KEY")


def test_a_key_that_is_renewed_overlaps_with_its_successor(service: Service):
    old = a_key(service.keys, scopes=frozenset([Scope.SELECT]))

    new = service.keys.rotate(id_of(old), overlap=timedelta(seconds=2 * WITHIN_S)).token

    time.sleep(WITHIN_S)
    for key in (old, new):
        assert service.answers(key) == (grpc.StatusCode.OK, "")
    time.sleep(1.5 * WITHIN_S)
    assert service.answers(old) == (UNAUTHENTICATED, "EXPIRED_KEY")
    assert service.answers(new) == (grpc.StatusCode.OK, "")


def test_a_key_has_so_many_calls_a_second(service: Service):
    key = a_key(service.keys, calls_per_second=5)
    calls = service.calls(key)

    def many() -> None:
        for _ in range(20):
            calls.select(POLICY)

    with pytest.raises(grpc.RpcError) as raised:
        many()

    code, details = error_of(raised.value)
    assert code is EXHAUSTED
    assert details["ErrorInfo"].reason == "RATE_LIMITED"
    assert [v.subject for v in details["QuotaFailure"].violations] == ["calls"]
    retry_s = details["RetryInfo"].retry_delay.ToTimedelta().total_seconds()
    assert 0 < retry_s <= 0.2
    time.sleep(retry_s)
    calls.select(POLICY)


def test_one_keys_calls_are_not_anothers(service: Service):
    busy, calm = a_key(service.keys, calls_per_second=1), a_key(service.keys, calls_per_second=1)

    answers = [service.answers(busy)[0] for _ in range(3)]

    assert EXHAUSTED in answers
    assert service.answers(calm)[0] is grpc.StatusCode.OK


def test_a_key_has_its_own_size_of_batches(service: Service):
    calls = service.calls(a_key(service.keys, max_batch=2))
    one = r.SelectRequest(policy=POLICY, vector=r.Vector(values=[1, 2, 3]))

    def asked(items: int) -> tuple[grpc.StatusCode, str]:
        request = r.BatchSelectRequest(requests=[one] * items)
        return answer_of(lambda: calls.router.BatchSelect(request))

    assert asked(2) == (grpc.StatusCode.OK, "")
    assert asked(3) == (EXHAUSTED, "TOO_LARGE")


def test_a_stream_ends_with_the_key_that_it_was_begun_with(service: Service):
    key = a_key(service.keys)
    one = r.SelectRequest(policy=POLICY, vector=r.Vector(values=[1, 2, 3]))

    answered = threading.Event()

    def requests() -> Iterator[r.SelectStreamRequest]:
        yield r.SelectStreamRequest(request=one)
        answered.wait(10)
        service.keys.revoke(id_of(key))
        time.sleep(WITHIN_S)
        yield r.SelectStreamRequest(request=one)

    stream = service.calls(key).router.SelectStream(requests())
    before = next(stream)
    answered.set()
    after = next(stream)

    assert before.item.response.arm == "a"
    assert unpacked(after.item.error)["ErrorInfo"].reason == "REVOKED_KEY"


def test_a_key_has_so_many_streams_at_once(service: Service, new_database, template):
    with (
        running_router(service.database_url, max_streams=2) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        keys = [a_key(service.keys) for _ in range(2)]
        one = r.SelectStreamRequest(
            request=r.SelectRequest(policy=POLICY, vector=r.Vector(values=[1, 2, 3]))
        )

        def opened(key: str) -> Any:
            def requests() -> Iterator[r.SelectStreamRequest]:
                yield one
                time.sleep(2)

            stream = Calls(with_key(channel, key)).router.SelectStream(requests())
            next(stream)
            return stream

        streams = [opened(keys[0]) for _ in range(2)]

        with pytest.raises(grpc.RpcError) as raised:
            opened(keys[0])
        opened(keys[1]).cancel()

        assert error_of(raised.value)[1]["ErrorInfo"].reason == "RATE_LIMITED"
        for stream in streams:
            stream.cancel()
        eventually(
            lambda: answer_of(lambda: opened(keys[0]).cancel())[0],
            lambda code: code is grpc.StatusCode.OK,
        )


@pytest.mark.parametrize(
    ("metadata", "request_id"),
    [
        ({"x-request-id": "order-4711"}, "order-4711"),
        ({"traceparent": f"00-{'ab' * 16}-{'01' * 8}-01"}, "ab" * 16),
        ({"x-request-id": "a", "traceparent": f"00-{'ab' * 16}-{'01' * 8}-01"}, "a"),
        ({"x-request-id": "not one word"}, None),
        ({"x-request-id": "x" * 129}, None),
        ({"traceparent": f"00-{'0' * 32}-{'01' * 8}-01"}, None),
        ({}, None),
    ],
)
def test_an_error_names_its_request(service: Service, metadata, request_id):
    channel = with_metadata(service.channels[0], *metadata.items())

    with pytest.raises(grpc.RpcError) as raised:
        Calls(channel).select(POLICY)

    told = error_of(raised.value)[1]["ErrorInfo"].metadata["request_id"]
    trailing = dict(raised.value.trailing_metadata())["x-request-id"]
    assert told == trailing
    assert told == request_id if request_id else len(told) == 32


def test_the_client_sends_its_key_and_says_what_is_wrong_with_it(service: Service):
    key = a_key(service.keys)
    with RouterClient(service.targets[0], key=key) as client:
        assert client.select(POLICY, vector=[1, 2, 3]).arm == "a"
    with (
        RouterClient(service.targets[0], key=key + "x") as client,
        pytest.raises(UnauthenticatedError) as raised,
    ):
        client.select(POLICY, vector=[1, 2, 3])

    assert raised.value.reason == "UNKNOWN_KEY"
    assert raised.value.request_id


@pytest.mark.parametrize("client", [RouterClient, AsyncRouterClient])
def test_a_key_does_not_travel_in_the_open_unless_that_is_wanted(client):
    for target in ("router.example:50051", "10.0.0.1:50051", "router.example"):
        with pytest.raises(ValueError, match="in the open"):
            client(target, key="br_a_b")

    RouterClient("router.example:50051", key="br_a_b", plaintext=True).close()
    RouterClient("router.example:50051", key="br_a_b", credentials=tls()).close()
    RouterClient("router.example:50051").close()


def test_the_shell_does_not_send_its_key_in_the_open_either(capsys, monkeypatch):
    monkeypatch.setenv("BANDIT_KEY", "br_a_b")

    assert run(["policy", "list", "--target", "router.example:50051"]) == 2

    error = capsys.readouterr().err
    assert "BANDIT_KEY would travel to router.example:50051 in the open" in error
    assert "br_a_b" not in error


def test_keys_are_managed_from_the_shell(service: Service, capsys, monkeypatch):
    monkeypatch.setenv("BANDIT_DATABASE_URL", service.database_url)
    monkeypatch.setenv("BANDIT_TARGET", service.targets[0])
    name = f"shell-{next(_names)}"

    def shell(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code
        captured = capsys.readouterr()
        return captured.out if code == 0 else captured.err

    made = json.loads(
        shell(
            *("key", "create", "--tenant", "acme", "--name", name),
            *("--scope", "read", "--scope", "select", "--days", "30", "--json"),
        )
    )
    monkeypatch.setenv("BANDIT_KEY", made["key"])
    assert POLICY in shell("policy", "list")
    assert name in shell("key", "list", "--tenant", "acme")
    assert made["key"] not in shell("key", "list")
    refused = shell("policy", "archive", POLICY, code=1)
    assert "the key lacks the scope 'admin'" in refused

    renewed = shell("key", "rotate", made["id"], "--overlap-hours", "1")
    monkeypatch.setenv("BANDIT_KEY", renewed.split()[-1])
    assert POLICY in shell("policy", "list")

    assert "revoked" in shell("key", "revoke", made["id"])
    assert "there is nothing to renew" in shell("key", "rotate", made["id"], code=2)
    assert "does not exist" in shell("key", "revoke", "nothing", code=1)
    assert "select, report, read, admin" in shell(
        "key", "create", "--name", name, "--scope", "everything", code=2
    )
    monkeypatch.setenv("BANDIT_KEY", "")
    assert "BANDIT_KEY" in shell("policy", "list", code=1)
