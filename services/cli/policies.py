"""`bandit-router policy ...`: what may be chosen, and how."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandit.domain.offline_prior import DEFAULT_STRENGTH
from bandit.domain.policy import (
    Algorithm,
    ContextSettings,
    ContextSource,
    CostForm,
    DriftSettings,
    PolicySettings,
    WhenOffline,
)
from services.cli import parsing
from services.cli.budget_view import show_spending, spends
from services.cli.catalog_view import show_policy
from services.cli.options import DEFAULT_TARGET, Json, PolicyName, Target, connect
from services.cli.output import escaped, show, show_json, table
from services.cli.priors import PriorFrom, PriorStrength, PriorVectors, with_priors

if TYPE_CHECKING:
    pass

app = typer.Typer(no_args_is_help=True, help="Make, show and change policies.")


AlgorithmOption = Annotated[
    Algorithm | None, typer.Option("--algorithm", help="From beliefs to a choice.")
]
Temperature = Annotated[
    float | None, typer.Option(help="Thompson sampling: factor on the deviations, >= 0.")
]
Alpha = Annotated[float | None, typer.Option(help="LinUCB: the bonus in deviations, >= 0.")]
Epsilon = Annotated[
    float | None, typer.Option(help="Epsilon-greedy: the share of uniform choice, 0 to 1.")
]
PreferenceOption = Annotated[
    str | None,
    typer.Option(
        "--preference",
        metavar="quality=W,cost=W,latency=W",
        help="For requests without one of their own.",
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option("--objectives", metavar="quality,cost,latency", help="What is learned."),
]
CostRange = Annotated[
    str | None,
    typer.Option(
        "--cost-range",
        metavar="LO,HI",
        help="USD per call between which a saving matters; default from the first arms' prices.",
    ),
]
LatencyRange = Annotated[
    str | None,
    typer.Option(
        "--latency-range", metavar="LO,HI", help="Milliseconds between which speed matters."
    ),
]
CostFormOption = Annotated[
    CostForm | None, typer.Option("--cost-form", help="How cost enters utility.")
]
Profiles = Annotated[
    list[str] | None,
    typer.Option(
        "--profile",
        metavar="NAME=quality=W,cost=W",
        help="A trade-off that requests may name; NAME=USD: what a unit of quality is worth; "
        "NAME= takes it away. Repeat for more.",
    ),
]
Drift = Annotated[
    str | None,
    typer.Option(
        "--drift",
        metavar="DETECTOR",
        help="What watches for change: cusum, page-hinkley, adwin or off; for some objectives "
        "only, as in quality=adwin,cost=off.",
    ),
]
ExploreQuota = Annotated[
    int | None,
    typer.Option(
        "--explore-quota",
        metavar="N",
        help="Decisions for which an arm added later is tried before it stands on its record.",
    ),
]
RewardWindows = Annotated[
    list[str] | None,
    typer.Option(
        "--reward-window",
        metavar="OBJECTIVE=HOURS,DEFAULT",
        help="How long outcomes are waited for, and what counts when none came; without a default "
        "nothing does. OBJECTIVE= takes it away. Repeat for more.",
    ),
]
WhenOfflineOption = Annotated[
    WhenOffline | None,
    typer.Option(
        "--when-offline",
        help="While decisions cannot be stored: serve them as not durable, or refuse.",
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="LABEL=VALUE:ARM,ARM",
        help="Requests with that label only go to these arms; without arms the rule is taken away. "
        "Repeat for more.",
    ),
]


@app.command()
def create(
    policy: PolicyName,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IN,OUT,FEE",
            help="An arm and its price in USD per million input and output tokens, and per call; "
            "repeat for more. The fee, or the whole price, may be left out.",
        ),
    ] = None,
    algorithm: AlgorithmOption = None,
    temperature: Temperature = None,
    alpha: Alpha = None,
    epsilon: Epsilon = None,
    preference: PreferenceOption = None,
    objectives: Objectives = None,
    cost_range: CostRange = None,
    latency_range: LatencyRange = None,
    cost_form: CostFormOption = None,
    vector: Annotated[
        int | None,
        typer.Option(metavar="N", help="Requests bring a vector of N numbers and no text."),
    ] = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Requests bring neither text nor vector.")
    ] = False,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MEAN,DEVIATION",
            help="A number that requests bring, and what is usual for it; repeat for more.",
        ),
    ] = None,
    half_life_hours: Annotated[
        str | None,
        typer.Option(metavar="quality=H,cost=H", help="The age at which an outcome counts half."),
    ] = None,
    prior_from: PriorFrom = None,
    prior_strength: PriorStrength = DEFAULT_STRENGTH,
    prior_vectors: PriorVectors = None,
    quality_prior: Annotated[
        float | None, typer.Option(help="Quality expected of an arm that was never tried.")
    ] = None,
    profile: Profiles = None,
    rule: Rules = None,
    drift: Drift = None,
    explore_quota: ExploreQuota = None,
    reward_window: RewardWindows = None,
    when_offline: WhenOfflineOption = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Make a policy with its first arms.

    \b
    bandit-router policy create chat --arm small=0.1,0.4 --arm large=2.5,10
    bandit-router policy create search --vector 768 --arm bm25 --arm dense=0.02,0,0.0001
    bandit-router policy create chat --arm a=1,2 --arm b=2,8 --prior-from outcomes.parquet
    bandit-router policy create chat --arm a=1,2 --preference quality=0.7,cost=0.2,latency=0.1
    bandit-router policy create chat --arm a=1,2 --arm b=2,8 \\
        --profile premium=quality=0.9,cost=0.1 --rule pii=yes:a
    bandit-router policy create chat --arm a=1,2 --arm b=2,8 --reward-window quality=24,0
    """
    settings = _changed(
        PolicySettings(),
        algorithm=algorithm,
        temperature=temperature,
        alpha=alpha,
        epsilon=epsilon,
        default_preference=preference and parsing.preference(preference),
        objectives=objectives and parsing.objectives(objectives),
        cost_range=cost_range and parsing.range_of("--cost-range", cost_range),
        latency_range_ms=latency_range and parsing.range_of("--latency-range", latency_range),
        cost_form=cost_form,
        context=_context(vector, no_text=no_text, features=feature or []),
        half_life_hours=half_life_hours and parsing.half_lives(half_life_hours),
        quality_prior_mean=quality_prior,
        profiles=parsing.profiles(profile or [], kept={}),
        rules=parsing.rules(rule or [], kept=()),
        drift=drift and parsing.drift(drift, kept=DriftSettings()),
        explore_quota=explore_quota,
        reward_windows=parsing.reward_windows(reward_window or [], kept={}),
        when_offline=when_offline,
    )
    arms = with_priors(
        [parsing.arm(text) for text in arm or []],
        settings,
        file=prior_from,
        vectors=prior_vectors,
        strength=prior_strength,
    )
    with connect(target) as client:
        made = client.create_policy(policy, settings=settings, arms=arms)
    show_policy(made, as_json=as_json)


@app.command()
def get(policy: PolicyName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """
    Show a policy: its settings, its arms and their prices.

    \b
    bandit-router policy get chat
    bandit-router policy get chat --json
    """
    with connect(target) as client:
        found = client.get_policy(policy)
        show_policy(found, as_json=as_json)
        if not as_json and not found.is_archived and spends(found):
            show_spending(client.state(policy))


@app.command("list")
def list_(
    include_archived: Annotated[
        bool, typer.Option("--archived", help="Archived policies too.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    List the policies.

    \b
    bandit-router policy list
    bandit-router policy list --archived --json
    """
    with connect(target) as client:
        policies = client.list_policies(include_archived=include_archived)
    if as_json:
        show_json(policies)
        return
    listed = table("", ["policy", "algorithm", "arms", "version", "learned"], numbers=["learned"])
    for policy in policies:
        listed.add_row(
            escaped(policy.name) + (" (archived)" if policy.is_archived else ""),
            policy.settings.algorithm.value,
            str(len(policy.arms)),
            str(policy.policy_version),
            str(policy.learned_version),
        )
    show(listed if policies else "No policy yet: bandit-router policy create --help")


@app.command()
def update(
    policy: PolicyName,
    algorithm: AlgorithmOption = None,
    temperature: Temperature = None,
    alpha: Alpha = None,
    epsilon: Epsilon = None,
    preference: PreferenceOption = None,
    objectives: Objectives = None,
    cost_range: CostRange = None,
    latency_range: LatencyRange = None,
    cost_form: CostFormOption = None,
    profile: Profiles = None,
    rule: Rules = None,
    drift: Drift = None,
    explore_quota: ExploreQuota = None,
    reward_window: RewardWindows = None,
    when_offline: WhenOfflineOption = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Change settings of a policy; what is not given stays.

    Refused if somebody else changes the policy at the same moment.

    \b
    bandit-router policy update chat --preference quality=0.6,cost=0.4
    bandit-router policy update chat --algorithm epsilon-greedy --epsilon 0.1
    bandit-router policy update chat --profile thrifty=quality=0.4,cost=0.6 --profile premium=
    bandit-router policy update chat --rule pii=yes:small,large --rule region=eu:small
    bandit-router policy update chat --reward-window quality=48,0.5 --reward-window latency=1
    bandit-router policy update chat --when-offline refuse
    """
    given = {
        "algorithm": algorithm,
        "temperature": temperature,
        "alpha": alpha,
        "epsilon": epsilon,
        "default_preference": preference and parsing.preference(preference),
        "objectives": objectives and parsing.objectives(objectives),
        "cost_range": cost_range and parsing.range_of("--cost-range", cost_range),
        "latency_range_ms": latency_range and parsing.range_of("--latency-range", latency_range),
        "cost_form": cost_form,
        "explore_quota": explore_quota,
        "when_offline": when_offline,
    }
    if not (profile or rule or drift or reward_window) and all(
        value is None for value in given.values()
    ):
        raise typer.BadParameter("nothing to change: see --help")
    with connect(target) as client:
        found = client.get_policy(policy)
        # A range that was not declared follows the prices; sent back, it would be declared.
        settings = replace(
            found.settings,
            cost_range=None,
            profiles=parsing.profiles(profile or [], kept=found.settings.profiles),
            rules=parsing.rules(rule or [], kept=found.settings.rules),
            drift=parsing.drift(drift or "", kept=found.settings.drift),
            reward_windows=parsing.reward_windows(
                reward_window or [], kept=found.settings.reward_windows
            ),
        )
        changed = client.update_policy(
            policy,
            _changed(settings, **given),
            expected_policy_version=found.policy_version,
        )
    show_policy(changed, as_json=as_json)


@app.command()
def archive(policy: PolicyName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """
    Take a policy out of service for good; what it learned is kept.

    \b
    bandit-router policy archive chat
    """
    with connect(target) as client:
        show_policy(client.archive_policy(policy), as_json=as_json)


def _changed(settings: PolicySettings, **given: Any) -> PolicySettings:
    return replace(settings, **{key: value for key, value in given.items() if value is not None})


def _context(vector: int | None, *, no_text: bool, features: list[str]) -> ContextSettings:
    if vector is not None and no_text:
        raise typer.BadParameter(
            "a vector is asked for or nothing is, not both", param_hint="--vector"
        )
    named = tuple(parsing.feature(text) for text in features)
    if vector is not None:
        return ContextSettings(ContextSource.VECTOR, vector, named)
    return ContextSettings(ContextSource.NONE if no_text else ContextSource.TEXT, named=named)
