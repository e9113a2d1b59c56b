"""
Every call of the API, once: its arguments, its request and how its answer is read.

What a function here returns is a `Call`, which either client can carry out.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from google.protobuf.message import Message

from bandit.client import history, requests, responses
from bandit.client.conversation import Call, Method, Stub, ask, report_all
from bandit.client.errors import RouterError
from bandit.client.history import Rebuilt, Snapshot
from bandit.client.results import (
    Arm,
    BudgetStatus,
    Decision,
    Policy,
    PolicyState,
    ReportResult,
)
from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Budget
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.wire import (
    catalog_pb2,
    feedback_pb2,
    learning_pb2,
    router_pb2,
)
from bandit.wire.catalog_pb2_grpc import CatalogStub
from bandit.wire.feedback_pb2_grpc import FeedbackStub
from bandit.wire.learning_pb2_grpc import LearningStub
from bandit.wire.router_pb2_grpc import RouterStub

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _with_arguments_of(
    build: Callable[P, R],
) -> Callable[[Callable[[R], Call[T]]], Callable[P, Call[T]]]:
    """A call that takes the arguments from which `build` makes its request."""

    def decorate(make: Callable[[R], Call[T]]) -> Callable[P, Call[T]]:
        @wraps(build)
        def call(*args: P.args, **kwargs: P.kwargs) -> Call[T]:
            return make(build(*args, **kwargs))

        call.__name__ = call.__qualname__ = make.__name__
        call.__doc__ = f"{make.__doc__}\n{_arguments_in(build.__doc__)}"
        return call

    return decorate


def _arguments_in(doc: str | None) -> str:
    """A docstring without its summary."""
    return (doc or "").strip().partition("\n")[2]


@_with_arguments_of(requests.query)
def select(request: router_pb2.SelectRequest) -> Call[Decision]:
    """Choose an arm, and record the decision before the answer."""
    return _select(request)


@_with_arguments_of(requests.query)
def decision(request: router_pb2.SelectRequest) -> Call[Decision]:
    """
    Choose an arm for a block of code; its duration, or its failure, is reported when it ends.

    An exception in the block is reported as the arm's failure, and goes on its way.
    """
    return _select(request)


@_with_arguments_of(requests.query)
def preview(request: router_pb2.SelectRequest) -> Call[Decision]:
    """What `select` would answer, with every candidate explained; nothing is recorded."""

    def read(response: router_pb2.PreviewResponse) -> Decision:
        return responses.decision(response.response, policy=request.policy)

    return _call(RouterStub, "Preview", router_pb2.PreviewRequest(request=request), read)


def batch_select(
    queries: Iterable[router_pb2.SelectRequest],
) -> Call[list[Decision | RouterError]]:
    """Choose for up to 1,024 queries at once, each made by `query`; one that fails fails alone."""
    batch = router_pb2.BatchSelectRequest(
        requests=[requests.with_decision_id(query) for query in queries]
    )

    def read(response: router_pb2.BatchSelectResponse) -> list[Decision | RouterError]:
        return [
            responses.decision_item(item, policy=request.policy)
            for request, item in zip(batch.requests, response.items, strict=True)
        ]

    return _call(RouterStub, "BatchSelect", batch, read)


def activate(policy: str, *, decision_id: UUID | str) -> Call[bool]:
    """
    Let a decision be learned from that was made with `defer_activation`; may be repeated.

    Answers whether it was active before.
    """

    def read(response: router_pb2.ActivateResponse) -> bool:
        return response.already_active

    request = router_pb2.ActivateRequest(policy=policy, decision_id=str(decision_id))
    return _call(RouterStub, "Activate", request, read)


@_with_arguments_of(requests.outcome)
def report(request: feedback_pb2.ReportRequest) -> Call[ReportResult]:
    """Record what is known of a decision's outcome; answered when it is stored."""
    return _call(FeedbackStub, "Report", request, responses.report_result)


def batch_report(
    outcomes: Sequence[feedback_pb2.ReportRequest],
) -> Call[list[ReportResult | RouterError]]:
    """Report up to 1,024 outcomes at once, each made by `outcome`; one that fails fails alone."""
    return partial(report_all, method=Method(FeedbackStub, "BatchReport"), requests=tuple(outcomes))


def create_policy(
    policy: str,
    *,
    settings: PolicySettings | None = None,
    arms: Iterable[Arm] = (),
    key: bytes | None = None,
) -> Call[Policy]:
    """
    Make a policy.

    key   32 secret bytes that seed every draw, for runs that must repeat exactly; None: random
    """
    request = catalog_pb2.CreatePolicyRequest(
        name=policy,
        settings=None if settings is None else requests.settings_message(settings),
        arms=[requests.arm_message(arm) for arm in arms],
        key=key,
    )
    return _catalog("CreatePolicy", request)


def get_policy(policy: str) -> Call[Policy]:
    """One policy, archived ones too."""
    return _catalog("GetPolicy", catalog_pb2.GetPolicyRequest(policy=policy))


def list_policies(*, include_archived: bool = False) -> Call[list[Policy]]:
    """All policies, in order of name."""

    def read(response: catalog_pb2.ListPoliciesResponse) -> list[Policy]:
        return [responses.policy(policy) for policy in response.policies]

    request = catalog_pb2.ListPoliciesRequest(include_archived=include_archived)
    return _call(CatalogStub, "ListPolicies", request, read)


def update_policy(
    policy: str, settings: PolicySettings, *, expected_policy_version: int = 0
) -> Call[Policy]:
    """
    Replace a policy's settings, whole.

    expected_policy_version   the version that was read: another writer's change since raises a
                              `ConflictError` and is not overwritten; 0: whatever it is
    """
    request = catalog_pb2.UpdatePolicyRequest(
        policy=policy,
        settings=requests.settings_message(settings),
        expected_policy_version=expected_policy_version,
    )
    return _catalog("UpdatePolicy", request)


def archive_policy(policy: str) -> Call[Policy]:
    """Take a policy out of service for good."""
    return _catalog("ArchivePolicy", catalog_pb2.ArchivePolicyRequest(policy=policy))


def add_arm(policy: str, arm: Arm) -> Call[Policy]:
    """Add an arm to a policy."""
    return _catalog(
        "AddArm", catalog_pb2.AddArmRequest(policy=policy, arm=requests.arm_message(arm))
    )


def update_arm(
    policy: str,
    *,
    arm: str,
    context_window_tokens: int | None = None,
    explore_limit_usd: float | None = None,
) -> Call[Policy]:
    """
    Replace an arm's limits; None: no limit.

    explore_limit_usd   what its trials may cost together while it is new
    """
    request = catalog_pb2.UpdateArmRequest(
        policy=policy,
        arm=arm,
        context_window_tokens=context_window_tokens,
        explore_limit_usd=explore_limit_usd,
    )
    return _catalog("UpdateArm", request)


def set_arm_status(policy: str, *, arm: str, status: ArmStatus) -> Call[Policy]:
    """Move an arm to another status; `remove_arm` retires."""
    request = catalog_pb2.SetArmStatusRequest(
        policy=policy, arm=arm, status=requests.STATUSES[status]
    )
    return _catalog("SetArmStatus", request)


def remove_arm(policy: str, *, arm: str) -> Call[Policy]:
    """Retire an arm for good; its statistics are kept."""
    return _catalog("RemoveArm", catalog_pb2.RemoveArmRequest(policy=policy, arm=arm))


def set_price(
    policy: str, *, arm: str, price: Price, valid_from: datetime | None = None
) -> Call[Policy]:
    """Tell what an arm charges, from now or a later moment on."""
    request = catalog_pb2.SetPriceRequest(
        policy=policy,
        arm=arm,
        price=requests.price_message(price),
        valid_from=None if valid_from is None else requests.timestamp(valid_from),
    )
    return _catalog("SetPrice", request)


def set_budget(policy: str, budget: Budget | None) -> Call[Policy]:
    """
    Say what a policy may spend, or what quality its spending has to buy; None: take that away.

    The account begins at nothing; what was taken of a limit in its window stays taken.
    """
    request = catalog_pb2.SetBudgetRequest(
        policy=policy, budget=None if budget is None else requests.budget_message(budget)
    )
    return _catalog("SetBudget", request)


def budget(policy: str) -> Call[BudgetStatus | None]:
    """What a policy may spend and what it has spent; None: it has no budget."""
    request = catalog_pb2.GetBudgetRequest(policy=policy)
    return _call(CatalogStub, "GetBudget", request, responses.budget_status)


def state(policy: str) -> Call[PolicyState]:
    """What the router that answers serves, per arm and objective."""

    def read(response: learning_pb2.GetStateResponse) -> PolicyState:
        return responses.state(response.state)

    return _call(LearningStub, "GetState", learning_pb2.GetStateRequest(policy=policy), read)


def list_snapshots(policy: str) -> Call[list[Snapshot]]:
    """The learned states that are kept of a policy, newest first."""
    request = learning_pb2.ListSnapshotsRequest(policy=policy)
    return _call(LearningStub, "ListSnapshots", request, history.snapshots)


def rebuild(
    policy: str,
    *,
    until: datetime | None = None,
    without_sources: Iterable[str] = (),
    promote: bool = False,
    accept_loss: bool = False,
) -> Call[Rebuilt]:
    """
    Make the learned state of a policy anew from its log; allow it time (`client.within`).

    until             leave out what was received since
    without_sources   leave out what these reported so far
    promote           put it in place of what is served; False: only show what would change
    accept_loss       promote although the log no longer holds all that was learned
    """
    request = learning_pb2.RebuildRequest(
        policy=policy,
        until=None if until is None else requests.timestamp(until),
        without_sources=list(without_sources),
        promote=promote,
        accept_loss=accept_loss,
    )
    return _call(LearningStub, "Rebuild", request, history.rebuilt)


def rollback(
    policy: str, snapshot_id: int, *, dry_run: bool = False, accept_loss: bool = False
) -> Call[Rebuilt]:
    """
    Go back to a snapshot: what was received after it counts no longer.

    dry_run       only show what would change
    accept_loss   go back although the log no longer holds all that was learned
    """
    request = learning_pb2.RollbackRequest(
        policy=policy, snapshot_id=snapshot_id, dry_run=dry_run, accept_loss=accept_loss
    )
    return _call(LearningStub, "Rollback", request, history.rebuilt)


def _select(request: router_pb2.SelectRequest) -> Call[Decision]:
    def read(response: router_pb2.SelectResponse) -> Decision:
        return responses.decision(response, policy=request.policy)

    return _call(RouterStub, "Select", requests.with_decision_id(request), read)


def _call(stub: Stub, name: str, request: Message, read: Callable[[Any], T]) -> Call[T]:
    return partial(ask, method=Method(stub, name), request=request, read=read)


def _catalog(name: str, request: Message) -> Call[Policy]:
    """A change of the catalog, or a look at it, that answers with the policy."""

    def read(response: Any) -> Policy:
        return responses.policy(response.policy)

    return _call(CatalogStub, name, request, read)
