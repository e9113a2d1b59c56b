"""`bandit-router arm ...` and `bandit-router price ...`: the models and what they charge."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bandit.domain.arm import ArmStatus
from bandit.domain.offline_prior import DEFAULT_STRENGTH
from services.cli import parsing
from services.cli.catalog_view import show_arms
from services.cli.options import DEFAULT_TARGET, ArmName, Json, PolicyName, Target, connect
from services.cli.output import show, show_json
from services.cli.priors import PriorFrom, PriorStrength, PriorVectors, with_priors

if TYPE_CHECKING:
    from bandit.client import Policy

app = typer.Typer(no_args_is_help=True, help="Add arms to a policy, change and remove them.")
price_app = typer.Typer(no_args_is_help=True, help="Tell what arms charge.")

Window = Annotated[
    int | None,
    typer.Option(
        "--context-window",
        metavar="TOKENS",
        help="Input plus output tokens that the arm can take; absent: no limit.",
    ),
]
ExploreLimit = Annotated[
    float | None,
    typer.Option(
        "--explore-limit",
        metavar="USD",
        help="What its trials may cost together while it is new; absent: no limit.",
    ),
]
PriceText = Annotated[
    str,
    typer.Argument(
        metavar="IN,OUT,FEE",
        help="USD per million input and output tokens, and per call; the fee may be left out.",
    ),
]


@app.command()
def add(
    policy: PolicyName,
    arm: ArmName,
    price: Annotated[
        str | None,
        typer.Option(metavar="IN,OUT,FEE", help="USD per million tokens, and per call."),
    ] = None,
    status: Annotated[
        ArmStatus | None, typer.Option(help="Where it starts; absent: explore.")
    ] = None,
    context_window: Window = None,
    explore_limit: ExploreLimit = None,
    prior_from: PriorFrom = None,
    prior_strength: PriorStrength = DEFAULT_STRENGTH,
    prior_vectors: PriorVectors = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Add an arm to a policy; it is tried within a second.

    \b
    bandit-router arm add chat medium --price 0.5,1.5
    bandit-router arm add chat medium --price 0.5,1.5 --prior-from outcomes.parquet
    bandit-router arm add chat candidate --price 1,3 --status shadow --context-window 128000
    bandit-router arm add chat costly --price 15,75 --explore-limit 0.5
    """
    from bandit.client import Arm

    made = Arm(
        arm,
        status=status,
        price=None if price is None else parsing.price(price, field="--price"),
        context_window_tokens=context_window,
        explore_limit_usd=explore_limit,
    )
    with connect(target) as client:
        if prior_from is not None or prior_vectors is not None:
            settings = client.get_policy(policy).settings
            (made,) = with_priors(
                [made], settings, file=prior_from, vectors=prior_vectors, strength=prior_strength
            )
        _show(client.add_arm(policy, made), as_json=as_json)


@app.command()
def update(
    policy: PolicyName,
    arm: ArmName,
    context_window: Window = None,
    explore_limit: ExploreLimit = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Replace an arm's limits; without an option there are none.

    \b
    bandit-router arm update chat large --context-window 200000
    bandit-router arm update chat costly --explore-limit 2
    """
    with connect(target) as client:
        changed = client.update_arm(
            policy,
            arm=arm,
            context_window_tokens=context_window,
            explore_limit_usd=explore_limit,
        )
    _show(changed, as_json=as_json)


@app.command()
def status(
    policy: PolicyName,
    arm: ArmName,
    status: Annotated[ArmStatus, typer.Argument(help="Where to move it.")],
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Move an arm to another status; `arm remove` retires it.

    \b
    bandit-router arm status chat candidate active
    bandit-router arm status chat large draining
    """
    with connect(target) as client:
        _show(client.set_arm_status(policy, arm=arm, status=status), as_json=as_json)


@app.command()
def remove(
    policy: PolicyName, arm: ArmName, target: Target = DEFAULT_TARGET, as_json: Json = False
) -> None:
    """
    Retire an arm for good; its statistics are kept.

    \b
    bandit-router arm remove chat large
    """
    with connect(target) as client:
        _show(client.remove_arm(policy, arm=arm), as_json=as_json)


@app.command("list")
def list_(policy: PolicyName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """
    List a policy's arms, retired ones too.

    \b
    bandit-router arm list chat
    """
    with connect(target) as client:
        _show(client.get_policy(policy), as_json=as_json)


@price_app.command("set")
def set_(
    policy: PolicyName,
    arm: ArmName,
    price: PriceText,
    valid_from: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"],
            help="From when on, in local time unless an offset is given; absent: now.",
        ),
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Tell what an arm charges from now, or a later moment, on.

    \b
    bandit-router price set chat large 1.25,5
    bandit-router price set chat large 1,4 --from 2030-01-01T00:00:00+0000
    """
    with connect(target) as client:
        changed = client.set_price(
            policy, arm=arm, price=parsing.price(price, field="price"), valid_from=valid_from
        )
    _show(changed, as_json=as_json)


@price_app.command("list")
def list_prices(policy: PolicyName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """
    List the prices now in force.

    \b
    bandit-router price list chat
    bandit-router price list chat --json
    """
    with connect(target) as client:
        found = client.get_policy(policy)
    if as_json:
        show_json(
            {arm.name: arm.price for arm in found.arms if arm.status is not ArmStatus.RETIRED}
        )
    else:
        show_arms(tuple(arm for arm in found.arms if arm.status is not ArmStatus.RETIRED))


def _show(policy: "Policy", *, as_json: bool) -> None:
    if as_json:
        show_json(policy)
    else:
        show(f"version {policy.policy_version} of {policy.name}")
        show_arms(policy.arms)
