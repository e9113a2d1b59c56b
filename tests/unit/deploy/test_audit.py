"""An audit that could not ask is no success."""

import pytest

from scripts.audit import judged

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
VULNERABLE = {"name": "old", "version": "1.0", "vulns": [{"id": "PYSEC-1"}, {"id": "CVE-2"}]}
SKIPPED = {"name": "alembic", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("looked_up", "status", "told"),
    [
        ([CLEAN], 0, "osv knows of 0 vulnerable in 1 packages"),
        ([CLEAN, VULNERABLE], 1, "old 1.0: PYSEC-1, CVE-2"),
        ([], 2, "osv could not be asked, so nothing is known: no route"),
        ([CLEAN, SKIPPED], 2, "osv did not answer for 1 of 2 packages (alembic"),
        ([VULNERABLE, SKIPPED], 2, "old 1.0: PYSEC-1, CVE-2"),
    ],
)
def test_what_an_audit_comes_to(looked_up, status, told, capsys):
    assert judged(looked_up, service="osv", complaint="trace\nno route\n") == status

    captured = capsys.readouterr()
    assert told in captured.out + captured.err
