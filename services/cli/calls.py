"""`bandit-router select` and `bandit-router report`: one call each, for people at a prompt."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import parsing
from services.cli.budget_view import charged
from services.cli.options import DEFAULT_TARGET, Json, PolicyName, Target, Timeout, connect
from services.cli.output import amount, escaped, show, show_json, table, with_deviation

if TYPE_CHECKING:
    from rich.table import Table

    from bandit.client import Candidate, Decision, Estimate, Prediction, ReportResult


def select(
    policy: PolicyName,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="What is to be answered; - reads it.")
    ] = None,
    vector: Annotated[
        str | None, typer.Option(metavar="X,Y,...", help="A vector in place of the text.")
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A named number; repeat for more."),
    ] = None,
    preference: Annotated[
        str | None,
        typer.Option(metavar="quality=W,cost=W,latency=W", help="What matters now."),
    ] = None,
    willingness_to_pay: Annotated[
        float | None,
        typer.Option(
            metavar="USD", help="In place of a preference: what a unit of quality is worth."
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="In place of both: one of the policy's profiles."),
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="ARM", help="Only this arm; repeat for more.")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(metavar="ARM", help="Not this arm; repeat for more.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Most that the call may be predicted to cost."),
    ] = None,
    max_latency: Annotated[
        float | None, typer.Option(metavar="MS", help="Longest that it may be predicted to take.")
    ] = None,
    min_quality: Annotated[
        float | None, typer.Option(metavar="Q", help="Least quality that may be predicted.")
    ] = None,
    switch_cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARM=USD",
            help="What turning to this arm costs besides the call; repeat for more.",
        ),
    ] = None,
    input_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Length of the input; absent: characters / 4.")
    ] = None,
    max_output_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="The longest answer that will be asked for.")
    ] = None,
    decision_id: Annotated[
        str | None, typer.Option(metavar="UUID", help="An id of your own; absent: one is made.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            help="Recorded with the decision; the policy's rules may go by it. Repeat for more.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every arm, and what removed it.")
    ] = False,
    defer_activation: Annotated[
        bool,
        typer.Option(
            "--defer-activation", help="Nothing is learned from it before `activate` is called."
        ),
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would be chosen; record nothing.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> None:
    """
    Choose an arm for one request, and record the decision.

    \b
    bandit-router select chat "What is the capital of France?"
    bandit-router select chat "Prove it." --preference quality=1 --max-cost 0.002 --explain
    bandit-router select chat "My name is Ann." --profile premium --label pii=yes
    bandit-router select search --vector 0.1,0.7,0.2 --json
    bandit-router select chat "Draft a reply." --defer-activation
    """
    if text == "-":
        text = typer.get_text_stream("stdin").read()
    with connect(target, timeout_s=timeout) as client:
        decision = (client.preview if preview else client.select)(
            policy,
            text=text,
            vector=None if vector is None else parsing.vector(vector),
            features=parsing.feature_values(feature or []),
            preference=None if preference is None else parsing.preference(preference),
            willingness_to_pay_usd=willingness_to_pay,
            preference_profile=profile,
            allow_arms=allow or [],
            deny_arms=deny or [],
            max_cost_usd=max_cost,
            max_latency_ms=max_latency,
            min_quality=min_quality,
            switch_cost_usd=parsing.switch_costs(switch_cost or []),
            input_tokens=input_tokens,
            max_output_tokens=max_output_tokens,
            decision_id=decision_id,
            explain=explain,
            defer_activation=defer_activation,
            labels=parsing.labels(label or []),
        )
    if as_json:
        show_json(decision)
    else:
        _show_decision(decision)


def activate(
    policy: PolicyName,
    decision_id: Annotated[str, typer.Argument(metavar="DECISION", help="Id of the decision.")],
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> None:
    """
    Let a decision be learned from that was made with --defer-activation.

    \b
    bandit-router activate chat 0198c5de-6f2b-7c3a-9d41-3f0f5a1b2c3d
    """
    with connect(target, timeout_s=timeout) as client:
        was_active = client.activate(policy, decision_id=decision_id)
    if as_json:
        show_json({"already_active": was_active})
    else:
        show("active already" if was_active else "active from now on")


def report(
    policy: PolicyName,
    decision_id: Annotated[str, typer.Argument(metavar="DECISION", help="Id of the decision.")],
    arm: Annotated[str, typer.Argument(metavar="ARM", help="The arm that really answered.")],
    quality: Annotated[float | None, typer.Option(metavar="Q", help="0 to 1.")] = None,
    cost: Annotated[float | None, typer.Option(metavar="USD", help="What the call cost.")] = None,
    latency: Annotated[
        float | None, typer.Option(metavar="MS", help="How long the answer took.")
    ] = None,
    output_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Gives the cost at the price of the decision.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The arm did not answer.")] = False,
    sequence: Annotated[
        int, typer.Option(metavar="N", help="A higher one corrects an earlier report.")
    ] = 0,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Under whose name the outcome counts.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of it; record nothing.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> None:
    """
    Report the outcome of a decision, or a part of it.

    \b
    bandit-router report chat 0198c5de-6f2b-7c3a-9d41-3f0f5a1b2c3d small --quality 0.9 --latency 840
    bandit-router report chat 0198c5de-6f2b-7c3a-9d41-3f0f5a1b2c3d small --quality 0.4 --sequence 1
    """
    with connect(target, timeout_s=timeout, source=source) as client:
        result = client.report(
            policy,
            decision_id=decision_id,
            arm=arm,
            quality=quality,
            cost_usd=cost,
            latency_ms=latency,
            output_tokens=output_tokens,
            failed=failed,
            sequence=sequence,
            dry_run=dry_run,
        )
    if as_json:
        show_json(result)
    else:
        _show_result(result)


def _show_decision(decision: "Decision") -> None:
    show(f"[bold]{escaped(decision.arm)}[/bold] with propensity {amount(decision.propensity)}")
    show(f"  decision   {decision.id or 'none: a preview'}{_remarks(decision)}")
    for name, estimate in _named(decision.predicted):
        if estimate is not None:
            show(f"  {name:<10} {with_deviation(estimate.mean, estimate.deviation)}")
    if decision.budget is not None:
        show(f"  budget     {charged(decision.budget)}")
    fallbacks = [arm for arm in decision.ranked if arm != decision.arm]
    if fallbacks:
        show(f"  fallbacks  {escaped(', '.join(fallbacks))}")
    if decision.candidates:
        show(_explained(decision.candidates, chosen=decision.arm))


def _remarks(decision: "Decision") -> str:
    if decision.id is None:
        return ""
    if not decision.is_durable:
        return " [yellow](not known to be stored)[/yellow]"
    return " (answered before)" if decision.is_replayed else ""


def _explained(candidates: "tuple[Candidate, ...]", *, chosen: str) -> "Table":
    numbers = ["utility", "propensity", "quality", "cost $", "latency ms"]
    listed = table("", ["arm", *numbers, "removed by"], numbers=numbers)
    for candidate in candidates:
        estimates = [
            "-" if estimate is None else with_deviation(estimate.mean, estimate.deviation)
            for _, estimate in _named(candidate.predicted)
        ]
        listed.add_row(
            escaped(candidate.arm),
            amount(candidate.utility),
            amount(candidate.propensity),
            *estimates,
            f"[yellow]{escaped(candidate.removed_by)}[/yellow]" if candidate.removed_by else "",
            style="bold" if candidate.arm == chosen else None,
        )
    return listed


def _named(predicted: "Prediction") -> "list[tuple[str, Estimate | None]]":
    return [
        ("quality", predicted.quality),
        ("cost $", predicted.cost_usd),
        ("latency ms", predicted.latency_ms),
    ]


def _show_result(result: "ReportResult") -> None:
    for receipt in result.receipts:
        reason = f" ({receipt.reason})" if receipt.reason else ""
        show(f"{receipt.objective.label:<8} {receipt.disposition.value}{reason}")
    if not result.receipts:
        show("nothing to learn from: the arm has no price that the tokens could give a cost by")
