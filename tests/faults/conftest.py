"""A Postgres of each test's own, which may be stopped, killed and cut off."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime

import pytest

from bandit.store.postgres.embedded import EmbeddedPostgres
from migrations.upgrade import upgrade
from tests.faults.form import LONG, SHORT, Form, Tally
from tests.faults.proxy import Proxy, target_of


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server with a migrated database and room for today's decisions; durable as by default."""
    with EmbeddedPostgres.start() as server:
        upgrade(server.url, today=datetime.now(UTC).date())
        yield server


@pytest.fixture
def proxy(postgres: EmbeddedPostgres) -> Iterator[Proxy]:
    """The network before that server."""
    with Proxy(target_of(postgres.url)) as made:
        yield made


TALLIES = pytest.StashKey[list[Tally]]()
LONGEST_TEST_S = 2700


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long-faults", action="store_true", help="kill for half an hour")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLIES] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long-faults", default=False):
        for item in items:
            item.add_marker(pytest.mark.timeout(LONGEST_TEST_S))


@pytest.fixture(scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    """How much goes wrong."""
    return LONG if request.config.getoption("--long-faults", default=False) else SHORT


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """What the test comes to; told at the end of the run."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    terminal = request.config.pluginmanager.getplugin("terminalreporter")

    def tell(line: str) -> None:
        if capture is not None and terminal is not None:  # neither is there in a worker of xdist
            with capture.global_and_fixture_disabled():
                terminal.write_line(line)

    made = Tally(request.node.name, tell=tell)
    request.config.stash[TALLIES].append(made)
    return made


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for tally in config.stash[TALLIES]:
        terminalreporter.section(tally.name)
        for field in fields(tally):
            if field.name not in ("name", "findings", "tell"):
                value = getattr(tally, field.name)
                shown = f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
                terminalreporter.write_line(f"{field.name.replace('_', ' '):>18}  {shown}")
        terminalreporter.write_line(f"{'findings':>18}  {len(tally.findings)}")
        for finding in tally.findings:
            terminalreporter.write_line(f"{'':>18}  {finding}")
