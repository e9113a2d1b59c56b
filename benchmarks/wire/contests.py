"""The service against what the wire and the driver allow."""

from collections.abc import Iterator

from benchmarks.contest import Contest
from benchmarks.wire.reports import inserted, reported
from benchmarks.wire.service import BATCH, BATCH_SELECT, SELECT, Service

ROUNDS = 12


def contests(service: Service) -> Iterator[Contest]:
    """In the order of the table."""
    yield Contest(
        "Select, 64 in flight / bare echo",
        lambda: service.rate(service.router),
        lambda: service.rate(service.echo),
        floor=0.60,
        aim=0.85,
        rounds=ROUNDS,
    )
    yield Contest(
        "the same, nothing written / bare echo",
        lambda: service.rate(service.unwritten),
        lambda: service.rate(service.echo),
        floor=0.75,
        aim=0.95,
        rounds=ROUNDS,
    )
    yield Contest(
        "two workers / one, over two echoes / one",
        lambda: service.rate(service.workers) / service.rate(service.router),
        lambda: service.rate(service.echoes) / service.rate(service.echo),
        floor=0.80,
        aim=0.95,
        unit="times one",
        rounds=ROUNDS,
    )
    yield Contest(
        f"BatchSelect of {BATCH} / Select",
        lambda: service.rate(service.router, BATCH_SELECT, streams=1, each=BATCH),
        lambda: service.rate(service.router, SELECT),
        floor=8,
        aim=16,
        rounds=ROUNDS,
    )
    yield Contest(
        "BatchReport of 100, 8 in flight / the rows by psycopg",
        lambda: reported(service),
        lambda: inserted(service),
        floor=0.5,
        aim=0.9,
        unit="rows per second",
    )
