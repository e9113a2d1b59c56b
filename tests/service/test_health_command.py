"""`bandit-router health`, as a container's health check asks."""

from pathlib import Path

import grpc
import pytest

from services.cli.main import run
from services.supervisor import Stack
from tests.service.calls import router_process, running_router
from tests.service.test_life import free_port
from tests.service.tls import HOST, Served


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


@pytest.mark.parametrize("asks", [False, True], ids=["anybody", "who shows a certificate"])
def test_it_asks_over_tls(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    served = Served(tmp_path)
    settings = served.settings
    if asks:
        settings["tls_client_ca"] = str(served.authority.file)
    with running_router(stack.database_url, **settings) as port:
        target = ["health", "--target", f"127.0.0.1:{port}"]
        assert run(target) == 1  # no TLS

        monkeypatch.setenv("BANDIT_CA", str(served.authority.file))
        without = run(target)
        monkeypatch.setenv("BANDIT_CERTIFICATE", str(served.certificate))
        monkeypatch.setenv("BANDIT_CERTIFICATE_KEY", str(served.key))

        assert without == int(asks)
        assert run(target) == 0
        assert run([*target, "--tls-name", HOST]) == 0
        assert run([*target, "--tls-name", "another"]) == 1
