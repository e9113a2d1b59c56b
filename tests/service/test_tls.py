"""On a network: certificates, who may listen where, and changing all of it under load."""

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from bandit.client import RouterClient, tls
from bandit.domain.credential import Scope
from bandit.wire import catalog_pb2 as c
from tests.service.calls import Calls, error_of, eventually, router_process, running_router
from tests.service.keys import EVERY_SCOPE, a_key, keeper, with_key
from tests.service.tls import Served

PROGRAM = [sys.executable, "-c", "from services.cli.main import main; main()"]


@pytest.fixture
def files(tmp_path: Path) -> Served:
    return Served(tmp_path)


@pytest.fixture
def url(new_database, template) -> Iterator[str]:
    with new_database(template) as url:
        yield url


def a_policy(calls: Calls, name: str = "chat") -> None:
    calls.catalog.CreatePolicy(
        c.CreatePolicyRequest(
            name=name,
            settings=c.PolicySettings(context=c.ContextSettings(vector=c.VectorContext(length=3))),
            arms=[c.Arm(name="a", price=c.Price(input_usd_per_million=1.0))],
        )
    )


def shown_certificate(port: int) -> str:
    """What a new connection is shown, in short."""
    context = ssl._create_unverified_context()  # noqa: S323 - to see whatever it is
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as connection,
    ):
        return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def refusal(**settings: object) -> str:
    """What `serve` says of settings that it refuses."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BANDIT_")}
    environment |= {f"BANDIT_{key.upper()}": str(value) for key, value in settings.items()}
    environment["BANDIT_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    ended = subprocess.run(
        [*PROGRAM, "serve"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


@contextmanager
def reached(port: int, files: Served, common_name: str | None = None) -> Iterator[grpc.Channel]:
    credentials = files.authority.credentials(common_name)
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        yield channel


def test_others_than_this_machine_are_not_served_in_the_open(files: Served, tmp_path: Path):
    assert "host: 0.0.0.0 is open to other machines" in refusal(host="0.0.0.0")
    assert "must be set where the other one is" in refusal(tls_key=files.key)
    assert "needs tls_certificate and tls_key" in refusal(tls_client_ca=files.key)
    assert "No such file" in refusal(tls_certificate=tmp_path / "none", tls_key=files.key)
    stranger = Served(tmp_path_of(tmp_path, "stranger"))
    assert "cannot be used" in refusal(tls_certificate=files.certificate, tls_key=stranger.key)
    assert "allow_plaintext" in refusal(host="0.0.0.0", allow_plaintext="perhaps")


def tmp_path_of(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def test_a_service_that_others_can_reach_asks_for_a_key_before_there_is_one(url: str):
    with (
        running_router(url, host="0.0.0.0", allow_plaintext=True) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        Calls(channel).catalog.ListPolicies(c.ListPoliciesRequest())

    code, details = error_of(raised.value)
    assert (code, details["ErrorInfo"].reason) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "MISSING_KEY",
    )


def test_a_unix_socket_is_served_to_this_machine(url: str, tmp_path: Path):
    target = f"unix:{tmp_path}/router.sock"
    with router_process(url, host=target) as child:
        child.readiness(within_s=60.0)
        with RouterClient(target) as client:
            assert client.list_policies() == []


def test_a_client_certificate_names_its_tenant(url: str, files: Served):
    settings = files.settings | {"tls_client_ca": str(files.authority.file)}
    keys = keeper(url)
    keys.create(tenant="acme", name="edge", scopes=EVERY_SCOPE, common_name="edge.example")
    keys.create(tenant="acme", name="old", scopes=EVERY_SCOPE, common_name="old.example")
    keys.revoke("certificate:old.example")
    key = a_key(keys, tenant="other")

    def reason(channel: grpc.Channel) -> str:
        try:
            Calls(channel).select("chat")
        except grpc.RpcError as error:
            code, details = error_of(error)
            return details["ErrorInfo"].reason if details else code.name
        return ""

    with running_router(url, **settings) as port:
        with reached(port, files, "edge.example") as channel:
            a_policy(Calls(channel))
            assert reason(channel) == ""
            assert reason(with_key(channel, key)) == "UNKNOWN_POLICY"  # a key says more
        with reached(port, files, "old.example") as channel:
            assert reason(channel) == "REVOKED_KEY"
        with reached(port, files, "stranger.example") as channel:
            assert reason(channel) == "UNKNOWN_KEY"
        with reached(port, files) as channel:
            assert reason(channel) == "UNAVAILABLE"  # there is no connection


def test_the_client_takes_its_certificates_from_files(url: str, files: Served, tmp_path: Path):
    certificate, key = tmp_path / "me.pem", tmp_path / "me.key"
    files.authority.issue(certificate=certificate, key=key, common_name="me.example")
    keeper(url).create(tenant="acme", name="me", scopes=EVERY_SCOPE, common_name="me.example")
    settings = files.settings | {"tls_client_ca": str(files.authority.file)}

    with (
        running_router(url, **settings) as port,
        RouterClient(
            f"localhost:{port}",
            credentials=tls(ca=files.authority.file, certificate=certificate, certificate_key=key),
        ) as client,
    ):
        assert client.list_policies() == []


def test_a_renewed_certificate_is_shown_to_new_connections_and_a_broken_one_is_not(
    url: str, files: Served
):
    with running_router(url, **files.settings) as port, reached(port, files) as channel:
        calls = Calls(with_key(channel, a_key(keeper(url))))
        first = shown_certificate(port)

        files.renew()
        renewed = shown_certificate(port)
        files.certificate.write_text("nonsense")
        broken = shown_certificate(port)
        files.renew()

        assert first != renewed == broken
        assert shown_certificate(port) not in (first, renewed)
        calls.catalog.ListPolicies(c.ListPoliciesRequest())  # on the first connection


class Load:
    """Callers that select without a break, over ever new connections, with the present key."""

    def __init__(self, port: int, files: Served, key: str) -> None:
        self._port, self._files = port, files
        self.key = key
        self.answered = 0
        self.failures: list[BaseException] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(3)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        # Without the client's retries: nothing is papered over.
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        credentials = self._files.authority.credentials()
        while not self._ending.is_set():
            with grpc.secure_channel(f"localhost:{self._port}", credentials, options) as channel:
                for _ in range(20 if number else 10_000):
                    if self._ending.is_set():
                        break
                    try:
                        Calls(with_key(channel, self.key)).select("chat")
                        self.answered += 1
                    except grpc.RpcError as error:
                        self.failures.append(error)


def test_everything_is_renewed_under_load_and_no_request_fails(url: str, files: Served):
    keys = keeper(url)
    admin = a_key(keys, name="admin")
    selecting = a_key(keys, scopes=frozenset([Scope.SELECT]))
    with running_router(url, **files.settings) as port, reached(port, files) as channel:
        calls = Calls(with_key(channel, admin))
        a_policy(calls)
        certificates = {shown_certificate(port)}
        rounds = 4
        with Load(port, files, selecting) as load:
            for number in range(rounds):
                files.renew()
                old = load.key
                renewed = keys.rotate(old.split("_")[1], overlap=timedelta(seconds=30))
                assert renewed.token is not None
                load.key = renewed.token
                calls.catalog.AddArm(
                    c.AddArmRequest(policy="chat", arm=c.Arm(name=f"arm {number}"))
                )
                time.sleep(0.5)
                keys.revoke(old.split("_")[1])
                time.sleep(0.3)
                certificates.add(shown_certificate(port))
        assert load.failures == []
        assert load.answered > 100
        assert len(certificates) == rounds + 1
        policy = calls.catalog.GetPolicy(c.GetPolicyRequest(policy="chat")).policy
        assert len(policy.arms) == rounds + 1
        eventually(
            lambda: calls.select("chat").policy_version, lambda v: v == policy.policy_version
        )
