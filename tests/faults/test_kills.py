"""Whoever is killed, whenever: nothing acknowledged is lost, nothing counts twice."""

from tests.faults.deployment import Supervised
from tests.faults.form import Form, Tally, run


def test_processes_and_servers_that_are_killed_lose_and_double_nothing(
    form: Form, tally: Tally
) -> None:
    """Routers, learners, sessions and Postgres itself; full disks, timeouts and rotten bytes."""
    with Supervised.start() as service:
        run(service, form.kills, tally, select_within_s=form.select_within_s)

    assert tally.findings == []
