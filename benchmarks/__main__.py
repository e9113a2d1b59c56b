"""`python -m benchmarks`, also `bandit-router bench`: every claim about speed beside its floor."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contest import Contest, Measured, measure

SECTIONS = ("kernels", "growth", "replay", "learner", "wire")
LONG = "soak"  # only where it is asked for
BASELINE = Path(__file__).with_name("baseline.json")
OUTPUT = Path("bench-output/bench.json")
MOST_ALONE_MS = 1.0


def main() -> None:
    """Measure the sections that are asked for; a claim that is missed is told, not raised."""
    parser = argparse.ArgumentParser(prog="bandit-router bench", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join((*SECTIONS, LONG))}"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help=f"of {LONG}, 10 if absent")
    parser.add_argument("--rounds", type=int, help="of each contest; absent: its own number")
    parser.add_argument("--json", type=Path, default=OUTPUT, help=f"where to write, else {OUTPUT}")
    parser.add_argument("--save", action="store_true", help="as the baseline to compare with")
    given = parser.parse_args()
    sections = given.sections or list(SECTIONS)
    if unknown := set(sections) - {*SECTIONS, LONG}:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    before = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    facts = machine()
    print(", ".join(str(fact) for fact in facts.values()))
    print(f"{'':62} {'ratio':>7} {'range':>15} {'floor':>6} {'aim':>6}  {'before':>7}")
    found: dict[str, object] = {}
    for section in sections:
        if section == LONG:
            _soak(given.minutes)
            continue
        for measured in _measured(section, given.rounds):
            found[measured.name] = asdict(measured) | {"ratio": measured.ratio}
            print(row(measured, before.get("contests", {}).get(measured.name)), flush=True)
    result = {"machine": facts, "contests": found}
    for path in (given.json, *([BASELINE] if given.save else [])):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {given.json}")


def machine() -> dict[str, object]:
    """What the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": f"{os.cpu_count()} cores",
        "load": f"load {os.getloadavg()[0]:.1f}",
        "python": f"Python {platform.python_version()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def row(measured: Measured, before: dict[str, float] | None) -> str:
    """One line: the median ratio, the range of the rounds, floor and aim, and the baseline's."""
    ratios = sorted(measured.ratios)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    was = f"{before['ratio']:7.2f}" if before else f"{'':7}"
    ours, other = statistics.median(measured.ours), statistics.median(measured.other)
    return (
        f"{measured.name:62} {measured.ratio:7.2f} {spread:>15} {measured.floor:6.2f} "
        f"{measured.aim:6.2f}  {was}  {measured.verdict:10} "
        f"{ours:,.4g} / {other:,.4g} {measured.unit}"
    )


def _measured(section: str, rounds: int | None) -> Iterator[Measured]:
    with _contests(section, rounds) as contests:
        for contest in contests:
            yield measure(contest, rounds=rounds)


def _soak(minutes: float) -> None:
    from benchmarks.wire.service import service
    from benchmarks.wire.soak import SHARE, soak

    with service() as running:
        rate, halves = soak(running, minutes=minutes)
    print(f"{minutes:g} minutes of {rate:,.0f} Select per second, {SHARE:.0%} of the capacity")
    for name, half in zip(("first half", "second half"), halves, strict=True):
        print(
            f"{name:12} answered {half.answered:7.2%}  p50 {half.p50_ms:6.2f} ms  "
            f"p99 {half.p99_ms:7.2f} ms  memory {half.memory_mb:5.0f} MB, "
            f"at most {half.most_memory_mb:5.0f}"
        )


@contextmanager
def _contests(section: str, rounds: int | None) -> Iterator[Iterable[Contest]]:
    # Imported here: each needs what the others do not.
    if section == "kernels":
        from benchmarks import kernels

        yield kernels.contests()
    elif section == "growth":
        from benchmarks import growth

        yield growth.contests(rounds)
    elif section == "replay":
        from benchmarks import replaying

        yield replaying.contests()
    elif section == "learner":
        from benchmarks import learner

        with learner.contests() as contests:
            yield contests
    else:
        from benchmarks.wire.contests import contests as wire_contests
        from benchmarks.wire.latency import alone
        from benchmarks.wire.service import service

        with service() as running:
            yield wire_contests(running)
            lone = alone(running)
            print(
                f"one caller alone: a decision {lone.decision_ms:.2f} ms, an echo "
                f"{lone.echo_ms:.2f} ms, a commit {lone.commit_ms:.2f} ms; besides wire and disk "
                f"{lone.overhead_ms:.2f} ms, {MOST_ALONE_MS:g} ms at most"
            )


if __name__ == "__main__":
    main()
