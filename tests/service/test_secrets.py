"""A password is told to nobody: not in a log, not in an error, not in the list of processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from bandit.store.postgres.embedded import EmbeddedPostgres
from services.cli.main import run

PROJECT = Path(__file__).resolve().parents[2]
SECRET = "hunter2"  # noqa: S105 - of nobody
LOOKED_S = 20.0


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The URL of a Postgres that asks for a password, with another one."""
    with EmbeddedPostgres.start(durable=False) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("create role outsider login password 'another'")
            row = connection.execute("show hba_file").fetchone()
            assert row is not None
            rules = Path(row[0])
            asked = "local all outsider scram-sha-256\nhost all outsider all scram-sha-256\n"
            rules.write_text(asked + rules.read_text())
            connection.execute("select pg_reload_conf()")
        url = make_url(server.url).set(username="outsider", password=SECRET)
        yield url.render_as_string(hide_password=False)


def told_by(module: str, url: str, log_format: str) -> str:
    """What a process says at level debug until it has met its database, and at its end."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": str(PROJECT),
            "BANDIT_DATABASE_URL": url,
            "BANDIT_PORT": "0",
            "BANDIT_LOG_LEVEL": "debug",
            "BANDIT_LOG_FORMAT": log_format,
        },
    )
    lines = []
    try:
        assert process.stderr is not None
        deadline = time.monotonic() + LOOKED_S
        for line in process.stderr:
            lines.append(line)
            if "fails" in line or time.monotonic() > deadline:
                break
        listed = Path(f"/proc/{process.pid}/cmdline").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=30)
    return "".join([*lines, rest, out, listed])


@pytest.mark.parametrize(
    ("module", "log_format"), [("services.router", "json"), ("services.learner", "console")]
)
def test_a_process_that_is_not_let_in_says_so_without_the_password(
    guarded: str, module: str, log_format: str
) -> None:
    told = told_by(module, guarded, log_format)

    assert " fails" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "command",
    [["migrate"], ["tail", "chat"], ["doctor", "--target", "127.0.0.1:1"], ["config", "show"]],
    ids=" ".join,
)
@pytest.mark.parametrize("is_debugging", [False, True])
def test_a_command_that_is_not_let_in_says_so_without_the_password(
    guarded: str,
    command: list[str],
    is_debugging: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BANDIT_DATABASE_URL", guarded)
    monkeypatch.setenv("BANDIT_DEBUG", "1" if is_debugging else "")

    code = run(command)

    told = capfd.readouterr()
    assert code == (0 if command[0] == "config" else 1)
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:a%{SECRET}@host/db",  # no escape
        f"postgresql://me:a@{SECRET}@host/db",
        f"postgresql://me:a/{SECRET}@host/db",
        f"postgresql://me:5432/{SECRET}@host/db",
        f"postgresql://me:{SECRET}@host:port/db",
        f"postgresql://me:{SECRET}@[host/db",
        f"postgresql://host/db?password:{SECRET}",
    ],
)
@pytest.mark.parametrize("command", [["migrate"], ["tail", "chat"], ["serve"], ["learn"]])
def test_a_url_that_cannot_be_read_is_not_repeated(
    url: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unescaped character of a password makes another part of the URL of what follows it."""
    monkeypatch.setenv("BANDIT_DATABASE_URL", url)

    code = run(command)

    told = capfd.readouterr()
    assert code == 2
    assert "database_url (from BANDIT_DATABASE_URL): must be" in told.err
    assert "percent-encoded" in told.err
    assert SECRET not in told.out + told.err
