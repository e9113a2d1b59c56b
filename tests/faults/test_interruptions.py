"""A network that comes and goes between the service and Postgres: nobody dies of it."""

from bandit.store.postgres.embedded import EmbeddedPostgres
from tests.faults.deployment import Connected
from tests.faults.form import Form, Tally, run
from tests.faults.proxy import Proxy


def test_a_database_that_is_cut_off_is_waited_for_and_nothing_is_lost(
    form: Form, tally: Tally, postgres: EmbeddedPostgres, proxy: Proxy
) -> None:
    with Connected.start(postgres.url, proxy=proxy) as service:
        run(service, form.cuts, tally, select_within_s=form.select_within_s)

        assert service.dead() == []
    assert tally.findings == []
