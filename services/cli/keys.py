"""`bandit-router key ...`: who may call, from the database of the service."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import DEFAULT_TENANT, DatabaseUrl, Json, Tenant
from services.cli.output import escaped, show, show_json, table

if TYPE_CHECKING:
    from bandit.domain.credential import Credential, Scope
    from bandit.routing.credentials import CredentialKeeper, Issued

app = typer.Typer(
    no_args_is_help=True,
    help="Make, renew and take back the keys by which tenants call. "
    "Works on the database, which only operators reach.",
)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="As `key list` shows it.")]


@app.command()
def create(
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Under which its outcomes count and its changes are told."
        ),
    ],
    scope: Annotated[
        list[str],
        typer.Option(metavar="SCOPE", help="select, report, read or admin; repeat for more."),
    ],
    tenant: Tenant = DEFAULT_TENANT,
    days: Annotated[
        float | None, typer.Option(metavar="N", help="For so long it is good; absent: for ever.")
    ] = None,
    calls_per_second: Annotated[
        float | None,
        typer.Option(metavar="N", help="As many calls a service takes of it; absent: no limit."),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option(metavar="N", help="So many items in a batch at most.")
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="COMMON_NAME",
            help="No key: let in who shows a client certificate of that name.",
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """
    Make a key; it is shown once, and stored nowhere.

    \b
    bandit-router key create --name backend --scope select --scope report
    bandit-router key create --tenant acme --name ops --scope read --scope admin --days 90
    bandit-router key create --name edge --scope select --certificate edge.example.org
    """
    issued = _keeper(database_url).create(
        tenant=tenant,
        name=name,
        scopes=_scopes(scope),
        lifetime=None if days is None else _days(days),
        calls_per_second=calls_per_second,
        max_batch=max_batch,
        common_name=certificate,
    )
    _show_issued(issued, as_json=as_json)


@app.command("list")
def list_(
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this tenant alone.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """
    List all keys, without their secrets.

    \b
    bandit-router key list
    bandit-router key list --tenant acme --json
    """
    credentials = _keeper(database_url).list(tenant=tenant)
    if as_json:
        show_json([_plain(credential) for credential in credentials])
        return
    listed = table("", ["id", "tenant", "name", "scopes", "state", "calls / s", "batch"])
    for credential in credentials:
        listed.add_row(
            escaped(credential.id),
            escaped(credential.tenant),
            escaped(credential.name),
            " ".join(sorted(credential.scopes)),
            _state(credential),
            "-" if credential.calls_per_second is None else f"{credential.calls_per_second:g}",
            "-" if credential.max_batch is None else str(credential.max_batch),
        )
    show(listed if credentials else "no key exists")


@app.command()
def revoke(id_: KeyId, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """
    Take a key back: every router refuses it within a second.

    \b
    bandit-router key revoke lq3k7m2zd5x4ab6c
    """
    revoked = _keeper(database_url).revoke(id_)
    if as_json:
        show_json(_plain(revoked))
    else:
        show(f"{escaped(revoked.id)} of {escaped(revoked.tenant)} is {_state(revoked)}")


@app.command()
def rotate(
    id_: KeyId,
    overlap_hours: Annotated[
        float, typer.Option(metavar="H", help="For so long the old key is good beside the new one.")
    ] = 24.0,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """
    Make a new key in place of another: same tenant, name, scopes and limits.

    \b
    bandit-router key rotate lq3k7m2zd5x4ab6c --overlap-hours 2
    """
    overlap = _days(overlap_hours / 24, field="overlap_hours")
    _show_issued(_keeper(database_url).rotate(id_, overlap=overlap), as_json=as_json)


def _keeper(database_url: str | None) -> "CredentialKeeper":
    import secrets

    from bandit.routing.credentials import CredentialKeeper
    from bandit.store.postgres.credentials import PostgresCredentials
    from bandit.store.postgres.engine import make_engine
    from services.settings import Settings

    engine = make_engine(Settings.load(database_url=database_url).database_dsn, pool_size=1)
    return CredentialKeeper(
        PostgresCredentials(engine),
        clock=lambda: datetime.now(UTC),
        random_bytes=secrets.token_bytes,
    )


def _scopes(names: list[str]) -> list["Scope"]:
    from bandit.domain.credential import Scope

    known = set(Scope)
    for name in names:
        if name not in known:
            allowed = ", ".join(Scope)
            raise typer.BadParameter(f"{name!r} is none of {allowed}", param_hint="--scope")
    return [Scope(name) for name in names]


def _days(days: float, *, field: str = "days") -> timedelta:
    try:
        return timedelta(days=days)
    except (OverflowError, ValueError):
        raise typer.BadParameter("is too long", param_hint=f"--{field}") from None


def _show_issued(issued: "Issued", *, as_json: bool) -> None:
    if as_json:
        show_json({**_plain(issued.credential), "key": issued.token})
        return
    credential = issued.credential
    scopes = " ".join(sorted(credential.scopes))
    show(
        f"{escaped(credential.id)} of {escaped(credential.tenant)}, {escaped(credential.name)}: "
        f"{scopes}, {_state(credential)}"
    )
    if issued.token is not None:
        show("  [yellow]the key, which is shown this once:[/]")
        print(issued.token)  # as it is, to be copied or piped


def _plain(credential: "Credential") -> dict[str, object]:
    """What may be shown of a credential."""
    return {
        "id": credential.id,
        "tenant": credential.tenant,
        "name": credential.name,
        "scopes": sorted(credential.scopes),
        "created_at": credential.created_at,
        "expires_at": credential.expires_at,
        "revoked_at": credential.revoked_at,
        "calls_per_second": credential.calls_per_second,
        "max_batch": credential.max_batch,
    }


def _state(credential: "Credential") -> str:
    if credential.revoked_at is not None:
        return f"revoked {credential.revoked_at:%Y-%m-%d %H:%M}"
    if credential.expires_at is None:
        return "good for ever"
    is_over = credential.expires_at <= datetime.now(UTC)
    return f"{'expired' if is_over else 'good until'} {credential.expires_at:%Y-%m-%d %H:%M}"
