"""The way the command line helps and the way it fails, without a service."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.failures import was_interrupted
from services.cli.main import app, run

HEAVY = ("numba", "numpy", "sqlalchemy", "psycopg", "river", "alembic", "pydantic", "grpc")
NOBODY = "127.0.0.1:1"


def commands() -> list[list[str]]:
    import typer

    def below(command: object, path: list[str]) -> list[list[str]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return [path]
        return [found for name, child in inner.items() for found in below(child, [*path, name])]

    return below(typer.main.get_command(app), [])


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("BANDIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_help_is_quick_and_imports_nothing_heavy():
    program = (
        "import sys; from services.cli.main import run; code = run(['--help']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); "
        "sys.exit(code)"
    )

    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    # Of the processor's time: 0.5 s, however busy the machine is with other things.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_helps_with_an_example(
    path: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "200")

    code = run([*path, "--help"])

    assert code == 0
    assert f"bandit-router {' '.join(path)}" in capsys.readouterr().out.partition("Usage:")[2][40:]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bogus"], "bogus"),
        (["select"], "POLICY"),
        (["state", "chat", "--colour"], "--colour"),
        (["select", "chat", "hi", "--preference", "speed=1"], "--preference: 'speed'"),
        (["select", "chat", "hi", "--max-cost", "much"], "--max-cost"),
        (["select", "chat", "hi", "--vector", "1"], "query: is a text or a vector"),
        (["policy", "create", "chat", "--arm", "small=1"], "--arm small"),
        (
            ["policy", "create", "chat", "--objectives", "quality"],
            "settings.default_preference.cost",
        ),
        (["policy", "create", "chat", "--vector", "3", "--no-text"], "--vector"),
        (["policy", "update", "chat"], "nothing to change"),
        (["price", "set", "chat", "small", "1"], "price"),
        (["serve", "--port", "99999"], "port (from argument)"),
        (["learn"], "database_url"),
        (["migrate", "--database-url", "mysql://x"], "database_url"),
        (["config", "show", "nothing"], "KEY"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    code = run(arguments)

    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert told in captured.err
    assert captured.err.count("\n") == 1


def test_a_service_that_is_not_there_is_exit_code_1_with_advice(
    capsys: pytest.CaptureFixture[str],
):
    code = run(["policy", "list", "--target", NOBODY])

    error = capsys.readouterr().err
    assert code == 1
    assert "bandit-router up" in error
    assert error.count("\n") == 1


def test_a_database_that_is_not_there_is_exit_code_1(capsys: pytest.CaptureFixture[str]):
    url = "postgresql://nobody@127.0.0.1:1/nothing"

    code = run(["tail", "chat", "--database-url", url])

    assert code == 1
    assert capsys.readouterr().err.startswith("error: the database is away")


def test_the_settings_in_force_are_told_with_their_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bandit-router.toml").write_text("poll_interval_ms = 250\n")
    monkeypatch.setenv("BANDIT_DATABASE_URL", "postgresql://me:secret@db/x")

    code = run(["config", "show", "--json"])

    printed = capsys.readouterr().out
    settings = json.loads(printed)
    assert code == 0
    assert settings["poll_interval_ms"] == {"value": "250", "source": "bandit-router.toml"}
    assert settings["database_url"]["source"] == "BANDIT_DATABASE_URL"
    assert settings["port"]["source"] == "default"
    assert "secret" not in printed


def test_the_configuration_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "bandit-router.toml").write_text("port = 1\n")

    code = run(["config", "path", "--json"])

    assert code == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": str(tmp_path / "bandit-router.toml"),
        "exists": True,
    }


def test_ctrl_c_stays_ctrl_c_though_a_library_fails_while_it_tidies_up():
    def hit() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("the connection is in use")

    with pytest.raises(RuntimeError) as failed:
        hit()

    assert was_interrupted(failed.value)
    assert not was_interrupted(RuntimeError("by itself"))
