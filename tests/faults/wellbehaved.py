"""A caller who asks at a steady pace, and how long that takes while somebody else misbehaves."""

import asyncio
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bandit.wire import router_pb2, router_pb2_grpc

PATIENCE_S = 10.0
_PROJECT = Path(__file__).resolve().parents[2]


class Hostile:
    """The process that attacks when it is told to."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @classmethod
    @contextmanager
    def start(cls, kind: str, port: int, policy: str) -> Iterator["Hostile"]:
        """A process that waits for its orders, ended with the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hostile", kind, str(port), policy],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_PROJECT,
        )
        try:
            yield cls(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def told(self, order: str) -> dict[str, int]:
        """Have it go "on", its connections open, or "off"; what it has done until then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order.encode() + b"\n")
        self._process.stdin.flush()
        line = await asyncio.to_thread(self._process.stdout.readline)
        done: dict[str, int] = json.loads(line)
        return done


@dataclass
class Windows:
    """
    Latencies in seconds, window by window; infinite for a call that failed.

    without, during   the attack
    done              what the attacker did
    """

    without: list[list[float]] = field(default_factory=list)
    during: list[list[float]] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def quantiles(self, share: float) -> tuple[float, float]:
        """Without and during the attack: the median window's."""
        return middle(self.without, share), middle(self.during, share)

    def noise(self, share: float) -> float:
        """How far two halves of the windows without an attack lie apart."""
        return abs(middle(self.without[::2], share) - middle(self.without[1::2], share))

    def failures(self) -> int:
        """Calls that failed."""
        return sum(math.isinf(each) for window in self.without + self.during for each in window)

    def told(self, share: float) -> str:
        """In one line."""
        without, during = self.quantiles(share)
        pooled = [
            1000 * quantile([each for window in windows for each in window], share)
            for windows in (self.without, self.during)
        ]
        return (
            f"p{100 * share:.0f} {1000 * without:.1f} -> {1000 * during:.1f} ms"
            f" (x {during / without:.2f}; A/A {1000 * self.noise(share):.1f} ms;"
            f" pooled {pooled[0]:.1f} -> {pooled[1]:.1f};"
            f" {sum(map(len, self.without))} + {sum(map(len, self.during))} calls); {self.done}"
        )


def quantile(latencies: Sequence[float], share: float) -> float:
    """One that was measured, never one in between."""
    return float(np.quantile(latencies, share, method="higher"))


def middle(windows: Sequence[Sequence[float]], share: float) -> float:
    """The median of the windows' quantiles."""
    return statistics.median(quantile(window, share) for window in windows)


async def latencies(
    router: "router_pb2_grpc.RouterAsyncStub", request: Any, *, lasting_s: float, per_second: float
) -> list[float]:
    """
    Of calls at a steady pace, whether or not answers come; from the moment each was due.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def asked(due: float) -> float:
        try:
            await router.Select(request, timeout=PATIENCE_S)
        except Exception:
            return math.inf
        return loop.time() - due

    calls = []
    for number in range(round(lasting_s * per_second)):
        due = started + number / per_second
        await asyncio.sleep(max(0.0, due - loop.time()))
        calls.append(asyncio.create_task(asked(due)))
    return list(await asyncio.gather(*calls))


async def alternated(
    router: "router_pb2_grpc.RouterAsyncStub",
    request: router_pb2.SelectRequest,
    hostile: Hostile,
    *,
    windows: int,
    lasting_s: float,
    per_second: float,
    pause_s: float,
) -> Windows:
    """Windows without and with the attack in turn; its connections are open before they begin."""
    made = Windows()
    for _ in range(windows):
        made.without.append(
            await latencies(router, request, lasting_s=lasting_s, per_second=per_second)
        )
        await hostile.told("on")
        await asyncio.sleep(pause_s)
        made.during.append(
            await latencies(router, request, lasting_s=lasting_s, per_second=per_second)
        )
        made.done = await hostile.told("off")
        await asyncio.sleep(pause_s)
    return made
