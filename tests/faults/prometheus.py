"""A Prometheus of a test's own, with the rules of the repository."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.service.test_life import free_port

TOOLS = Path(__file__).resolve().parents[2] / ".cache" / "tools" / "prometheus"
ALERTS = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "alerts.yml"
_DOWNLOAD_S = 120.0
_START_S = 30.0
_CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: bandit-router
    static_configs:
      - targets: ["{target}"]
"""


def tool(name: str) -> Path:
    """
    `prometheus` or `promtool`: an installed one, or Debian's, kept for the next time.

    Skips the test where there is neither.
    """
    found = shutil.which(name)
    if found:
        return Path(found)
    program = TOOLS / "usr" / "bin" / name
    if not program.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            pytest.skip("there is no Prometheus, and no apt-get to fetch one with")
        TOOLS.mkdir(parents=True, exist_ok=True)
        with suppress(subprocess.SubprocessError):
            subprocess.run(
                ["apt-get", "download", "prometheus"],
                cwd=TOOLS,
                capture_output=True,
                timeout=_DOWNLOAD_S,
                check=False,
            )
        for archive in TOOLS.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, TOOLS], check=True)
            archive.unlink()
    if not program.exists():
        pytest.skip("there is no Prometheus, and apt-get cannot fetch one")
    return program


class Prometheus:
    """A running one, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._address}/-/ready", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expression: str) -> list[Any]:
        """The series of an instant query; an error fails the test with what is said of it."""
        asked = urllib.parse.urlencode({"query": expression})
        return list(self._get(f"query?{asked}")["result"])

    def rules(self) -> list[Any]:
        """The alert rules, with how they are."""
        (group,) = self._get("rules")["groups"]
        return list(group["rules"])

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self._address}/api/v1/{path}", timeout=10) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None


@contextmanager
def prometheus(metrics_url: str) -> Iterator[Prometheus]:
    """One that scrapes that endpoint every second, and evaluates the rules as often."""
    program, port = tool("prometheus"), free_port()
    target = metrics_url.removeprefix("http://").removesuffix("/metrics")
    with tempfile.TemporaryDirectory(prefix="bandit-prometheus-", dir="/tmp") as name:
        configuration = Path(name) / "prometheus.yml"
        configuration.write_text(_CONFIGURATION.format(alerts=ALERTS, target=target))
        log = Path(name) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={name}/data",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=output,
                stderr=output,
            )
        try:
            made, deadline = Prometheus(port), time.monotonic() + _START_S
            while not made.is_ready():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "Prometheus is not ready"
                time.sleep(0.1)
            yield made
        finally:
            process.terminate()
            process.wait(20)
