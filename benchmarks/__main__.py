"""`python -m benchmarks`: every contest in turn, ABAB..., medians and the range of the ratio."""

import os
import platform
import statistics
import time
from collections.abc import Callable

from benchmarks.kernels import Contest, contests

ROUNDS = 9
ROUND_S = 0.03


def main() -> None:
    """Print a row per contest."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'':54} {'ours us':>9} {'plain us':>9} {'ratio':>7}  range")
    for contest in contests():
        print(row(contest))


def row(contest: Contest) -> str:
    """One line: median microseconds of both, the median of the paired ratios and its range."""
    ours, plain = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(contest.ours) / contest.units)
        plain.append(_seconds(contest.plain) / contest.units)
    ratios = sorted(b / a for a, b in zip(ours, plain, strict=True))
    return (
        f"{contest.name:54} {statistics.median(ours) * 1e6:9.1f} "
        f"{statistics.median(plain) * 1e6:9.1f} {statistics.median(ratios):6.1f}x  "
        f"{ratios[0]:.1f} to {ratios[-1]:.1f}"
    )


def _seconds(work: Callable[[], object]) -> float:
    """Seconds per call, over about `ROUND_S`."""
    work()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < ROUND_S:
        work()
        calls += 1
    return (time.perf_counter() - started) / calls


if __name__ == "__main__":
    main()
