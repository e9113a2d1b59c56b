"""Load from a generator that is not Python: `h2load`, of Debian's package nghttp2-client."""

import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS, STREAMS = 8, 8
_FINISHED = re.compile(r"finished in .*?, ([\d.]+) req/s")
_TRAFFIC = re.compile(r"\((\d+)\) data")
_REQUESTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


class NoGenerator(Exception):
    """`h2load` is not installed."""

    def __init__(self) -> None:
        super().__init__("h2load is needed: apt-get install nghttp2-client")


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    What one round of load came to.

    per_second  calls answered
    answered    calls in all
    bytes_each  of an answer's data: errors have none, and are not counted as failures by h2load
    """

    per_second: float
    answered: int
    bytes_each: float


def body_of(message: bytes) -> bytes:
    """A message as it travels in a gRPC call."""
    return struct.pack(">?I", False, len(message)) + message


def load(
    port: int,
    method: str,
    body: Path,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
    streams: int = STREAMS,
) -> Loaded:
    """The same call over and over, `connections` x `streams` of them in flight."""
    output = _run(
        port,
        method,
        body,
        *(f"-c{connections}", f"-m{streams}", "-D", f"{seconds * 1000:.0f}ms"),
        within_s=seconds + 30,
    )
    finished, requests = _FINISHED.search(output), _REQUESTS.search(output)
    traffic = _TRAFFIC.search(output)
    if finished is None or requests is None or traffic is None:
        raise RuntimeError(f"h2load told something else:\n{output}")
    succeeded, *lost = (int(count) for count in requests.groups())
    if any(lost) or not succeeded:
        raise RuntimeError(f"calls were lost:\n{output}")
    return Loaded(float(finished[1]), succeeded, int(traffic[1]) / succeeded)


def steady(port: int, body: Path, log: Path, *, seconds: float, per_connection: int) -> None:
    """
    So many `Select` per second on each of the connections, whether answers come or not.

    log  to be written: per call a line of microseconds since the epoch, status, microseconds taken
    """
    _run(
        port,
        "/bandit.router.v1.Router/Select",
        body,
        *(f"-c{CONNECTIONS}", "-m400", "-D", f"{seconds:.0f}s"),
        *(f"--rps={per_connection}", f"--log-file={log}"),
        within_s=seconds + 60,
    )


def _run(port: int, method: str, body: Path, *options: str, within_s: float) -> str:
    program = shutil.which("h2load")
    if program is None:
        raise NoGenerator
    return subprocess.run(
        [
            program,
            *options,
            *("-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://127.0.0.1:{port}{method}",
        ],
        capture_output=True,
        text=True,
        timeout=within_s,
        check=True,
    ).stdout
