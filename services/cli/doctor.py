"""`bandit-router doctor`: is everything in order, and what to do where it is not."""

from typing import Annotated

import typer

from services.cli.failures import FAILED
from services.cli.options import DEFAULT_TARGET, DatabaseUrl, Json, Target
from services.cli.output import escaped, show, show_json

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    database_url: DatabaseUrl = None,
    target: Target = DEFAULT_TARGET,
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure too.")] = False,
    as_json: Json = False,
) -> None:
    """
    Check this machine, the database and the service, and say what to do.

    Exit code 1 if a check fails.

    \b
    bandit-router doctor
    bandit-router doctor --database-url postgresql://user@host/database --json
    """
    from services.cli.checks import check_all

    findings = []
    for finding in check_all(database_url=database_url, target=target):
        findings.append(finding)
        if not as_json:
            colour = _COLOURS[finding.level.value]
            advice = f": {finding.advice}" if finding.advice else ""
            show(
                f"[{colour}]{finding.level.value:<4}[/]  {finding.subject:<9}  "
                f"{escaped(finding.fact)}{escaped(advice)}"
            )
    if as_json:
        show_json(findings)
    bad = {"fail", "warn"} if strict else {"fail"}
    if any(finding.level.value in bad for finding in findings):
        raise typer.Exit(FAILED)
