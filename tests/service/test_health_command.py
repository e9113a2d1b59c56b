"""`bandit-router health`, as a container's health check asks."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.cli.main import run
from services.supervisor import Stack
from tests.service.calls import router_process
from tests.service.test_life import SERVICES, free_port

SERVING = health_pb2.HealthCheckResponse.SERVING


def test_a_router_that_is_ready_is_exit_code_0(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["health", "--target", stack.target])

    assert code == 0
    assert capsys.readouterr().out == f"{stack.target} is ready\n"


def test_a_router_without_its_database_is_alive_and_not_ready(
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    target = ["--target", f"127.0.0.1:{port}"]
    with (
        router_process("postgresql://nobody@127.0.0.1:1/nowhere", port=port, log_level="error"),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        grpc.channel_ready_future(channel).result(timeout=60)
        codes = [run(["health", *target]), run(["health", "--alive", *target])]

    told = capsys.readouterr()
    assert codes == [1, 0]
    assert told.err == f"error: 127.0.0.1:{port} is not ready\n"
    assert told.out == f"127.0.0.1:{port} is alive\n"


def test_nobody_there_is_exit_code_1_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["health", "--target", "127.0.0.1:1"])

    told = capsys.readouterr().err
    assert code == 1
    assert told.startswith("error: 127.0.0.1:1 does not answer: UNAVAILABLE")
    assert told.count("\n") == 1


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and a certificate that vouches for itself, of a name that is not ours."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=bandit-router"),
            *("-addext", "subjectAltName=DNS:bandit-router"),
            *("-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(params=[False, True], ids=["one side", "both sides"])
def of_tls(request: pytest.FixtureRequest, pems: Path) -> Iterator[tuple[str, bool]]:
    """Where health is told over TLS, and whether the caller has to show a certificate."""
    both: bool = request.param
    certificate, key = (pems / "tls.crt").read_bytes(), (pems / "tls.key").read_bytes()
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set(SERVICES[0], SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], certificate if both else None, require_client_auth=both
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}", both
    server.stop(None)


def test_it_asks_over_tls(of_tls: tuple[str, bool], pems: Path) -> None:
    target, both = of_tls
    crt = str(pems / "tls.crt")
    known = ["--tls-ca", crt, "--tls-name", "bandit-router"]
    own = ["--tls-certificate", crt, "--tls-key", str(pems / "tls.key")]

    assert run(["health", "--target", target, *known, *(own if both else [])]) == 0
    assert run(["health", "--target", target, *own, "--tls-ca", crt]) == 1  # of another name
    assert run(["health", "--target", target]) == 1
    if both:
        assert run(["health", "--target", target, *known]) == 1


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["health", "--tls-ca", "nowhere.crt"])

    assert code == 1
    assert "nowhere.crt" in capsys.readouterr().err
