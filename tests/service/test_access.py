"""Every method, by every kind of caller, over TLS: who may do what, and what others can tell."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.message import Message

from bandit.domain.credential import Scope
from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import learning_pb2 as n
from bandit.wire import router_pb2 as r
from services.router.gate import SCOPES
from tests.service.calls import Calls, error_of, running_router, unpacked
from tests.service.keys import a_key, keeper, with_key
from tests.service.tls import Served

OWN, FOREIGN = "acme", "other"
OK = grpc.StatusCode.OK
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
MISSING = grpc.StatusCode.NOT_FOUND
VECTOR = r.Vector(values=[1.0, 2.0, 3.0])
PRICE = c.Price(input_usd_per_million=1.0)


@dataclass(frozen=True)
class Case:
    """
    A policy of the own tenant with a decision that waits to be activated.

    new  a name that no policy has
    """

    policy: str
    decision_id: str
    arm: str
    new: str


# What each method is asked, such that whoever may ask it is answered.
REQUESTS: dict[str, Callable[[Case], Message]] = {
    "Router/Select": lambda case: r.SelectRequest(policy=case.policy, vector=VECTOR),
    "Router/BatchSelect": lambda case: r.BatchSelectRequest(
        requests=[r.SelectRequest(policy=case.policy, vector=VECTOR)]
    ),
    "Router/SelectStream": lambda case: r.SelectStreamRequest(
        request=r.SelectRequest(policy=case.policy, vector=VECTOR)
    ),
    "Router/Preview": lambda case: r.PreviewRequest(
        request=r.SelectRequest(policy=case.policy, vector=VECTOR)
    ),
    "Router/Activate": lambda case: r.ActivateRequest(
        policy=case.policy, decision_id=case.decision_id
    ),
    "Feedback/Report": lambda case: _report(case),
    "Feedback/BatchReport": lambda case: f.BatchReportRequest(requests=[_report(case)]),
    "Feedback/ReportStream": lambda case: f.ReportStreamRequest(report=_report(case)),
    "Catalog/CreatePolicy": lambda case: c.CreatePolicyRequest(
        name=case.new, settings=_settings(), arms=[c.Arm(name="a")]
    ),
    "Catalog/GetPolicy": lambda case: c.GetPolicyRequest(policy=case.policy),
    "Catalog/ListPolicies": lambda case: c.ListPoliciesRequest(),
    "Catalog/UpdatePolicy": lambda case: c.UpdatePolicyRequest(
        policy=case.policy, settings=_settings()
    ),
    "Catalog/ArchivePolicy": lambda case: c.ArchivePolicyRequest(policy=case.policy),
    "Catalog/AddArm": lambda case: c.AddArmRequest(policy=case.policy, arm=c.Arm(name="new")),
    "Catalog/UpdateArm": lambda case: c.UpdateArmRequest(
        policy=case.policy, arm="a", context_window_tokens=100
    ),
    "Catalog/SetArmStatus": lambda case: c.SetArmStatusRequest(
        policy=case.policy, arm="b", status=c.ARM_STATUS_DRAINING
    ),
    "Catalog/RemoveArm": lambda case: c.RemoveArmRequest(policy=case.policy, arm="b"),
    "Catalog/SetPrice": lambda case: c.SetPriceRequest(policy=case.policy, arm="a", price=PRICE),
    "Catalog/SetBudget": lambda case: c.SetBudgetRequest(policy=case.policy),
    "Catalog/GetBudget": lambda case: c.GetBudgetRequest(policy=case.policy),
    "Learning/GetState": lambda case: n.GetStateRequest(policy=case.policy),
    "Learning/ListSnapshots": lambda case: n.ListSnapshotsRequest(policy=case.policy),
    "Learning/Rebuild": lambda case: n.RebuildRequest(policy=case.policy),
    "Learning/Rollback": lambda case: n.RollbackRequest(policy=case.policy, snapshot_id=1),
}
# A rollback is to a snapshot that a test would first have to let come: the owner gets that far.
ANSWERED_OTHERWISE = {"Learning/Rollback": (MISSING, "UNKNOWN_SNAPSHOT")}
# Names no policy: a foreign tenant is answered, with its own.
NAMELESS = {"Catalog/CreatePolicy", "Catalog/ListPolicies"}


def _report(case: Case) -> f.ReportRequest:
    return f.ReportRequest(
        policy=case.policy, decision_id=case.decision_id, arm=case.arm, quality=0.5
    )


def _settings() -> c.PolicySettings:
    return c.PolicySettings(context=c.ContextSettings(vector=c.VectorContext(length=3)))


class Service:
    """A router over TLS, and callers of all kinds."""

    def __init__(self, channel: grpc.Channel, database_url: str) -> None:
        self.channel = channel
        keys = keeper(database_url)
        long_ago = datetime.now(UTC) - timedelta(days=2)
        self.own = a_key(keys, tenant=OWN)
        self.foreign = a_key(keys, tenant=FOREIGN)
        self.scoped = {
            scope: a_key(keys, tenant=OWN, scopes=frozenset([scope]), name=scope) for scope in Scope
        }
        self.expired = a_key(
            keeper(database_url, lambda: long_ago), tenant=OWN, lifetime=timedelta(days=1)
        )
        self.revoked = a_key(keys, tenant=OWN)
        keys.revoke(self.revoked.split("_")[1])
        time.sleep(1.0)  # by when it is refused

    def case(self) -> Case:
        calls = Calls(with_key(self.channel, self.own))
        policy = f"policy-{uuid4()}"
        arms = [c.Arm(name="a", price=PRICE), c.Arm(name="b", price=PRICE)]
        calls.catalog.CreatePolicy(
            c.CreatePolicyRequest(name=policy, settings=_settings(), arms=arms)
        )
        chosen = calls.select(policy, defer_activation=True)
        return Case(policy, chosen.decision_id, chosen.arm, f"policy-{uuid4()}")

    def called(self, method: str, request: Message, key: str | None) -> tuple[Any, ...]:
        """Code, reason, whole message; an item's own status stands for that of its call."""
        channel = self.channel if key is None else with_key(self.channel, key)
        service, name = method.split("/")
        stub = getattr(Calls(channel), service.lower())
        call = getattr(stub, name)
        try:
            if name.endswith("Stream"):
                (item,) = (answer.item for answer in call(iter([request])))
            else:
                response = call(request)
                item = response.items[0] if name.startswith("Batch") else None
        except grpc.RpcError as error:
            code, details = error_of(error)
            return code, details["ErrorInfo"].reason, error.details()
        if item is not None and item.WhichOneof("result") == "error":
            status = item.error
            code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
            return code, unpacked(status)["ErrorInfo"].reason, status.message
        return OK, "", ""


@pytest.fixture(scope="module")
def service(tmp_path_factory, new_database, template) -> Iterator[Service]:
    files = Served(tmp_path_factory.mktemp("tls"))
    with (
        new_database(template) as url,
        running_router(url, **files.settings) as port,
        grpc.secure_channel(f"localhost:{port}", files.authority.credentials()) as channel,
    ):
        yield Service(channel, url)


def test_the_table_has_every_method():
    assert {f"/bandit.router.v1.{method}" for method in REQUESTS} == set(SCOPES)
    services = [file.DESCRIPTOR.services_by_name.values() for file in (r, f, c, n)]
    declared = {
        f"/{service.full_name}/{method.name}"
        for of_file in services
        for service in of_file
        for method in service.methods
    }
    assert declared == set(SCOPES)


@pytest.mark.parametrize("method", REQUESTS)
def test_who_may_call(service: Service, method: str):
    case = service.case()
    request = REQUESTS[method](case)
    needed = SCOPES[f"/bandit.router.v1.{method}"]

    def answer(key: str | None) -> tuple[Any, ...]:
        return service.called(method, request, key)[:2]

    assert answer(None) == (UNAUTHENTICATED, "MISSING_KEY")
    assert answer(service.expired) == (UNAUTHENTICATED, "EXPIRED_KEY")
    assert answer(service.revoked) == (UNAUTHENTICATED, "REVOKED_KEY")
    for wrong in (service.own[:-1], service.own + "x", "br_unknown_secret", "secret", ""):
        assert answer(wrong) == (UNAUTHENTICATED, "UNKNOWN_KEY")
    for scope, key in service.scoped.items():
        if scope != needed:
            assert answer(key) == (DENIED, "MISSING_SCOPE"), scope
    assert answer(service.scoped[needed]) == ANSWERED_OTHERWISE.get(method, (OK, ""))


@pytest.mark.parametrize("method", sorted(set(REQUESTS) - NAMELESS))
def test_anothers_policy_is_answered_like_one_that_does_not_exist(service: Service, method: str):
    case = service.case()
    absent = Case(f"policy-{uuid4()}", case.decision_id, case.arm, case.new)

    foreign = service.called(method, REQUESTS[method](case), service.foreign)
    nothing = service.called(method, REQUESTS[method](absent), service.foreign)

    assert foreign[:2] == (MISSING, "UNKNOWN_POLICY")
    assert foreign[2].replace(case.policy, "it") == nothing[2].replace(absent.policy, "it")


def test_a_list_shows_a_tenants_own_policies_alone(service: Service):
    case = service.case()

    own, foreign = (
        [
            policy.name
            for policy in Calls(with_key(service.channel, key))
            .catalog.ListPolicies(c.ListPoliciesRequest())
            .policies
        ]
        for key in (service.own, service.foreign)
    )

    assert case.policy in own
    assert not set(own) & set(foreign)


def test_two_tenants_may_use_the_same_name_and_learn_apart(service: Service):
    case = service.case()
    own, foreign = (Calls(with_key(service.channel, key)) for key in (service.own, service.foreign))
    foreign.catalog.CreatePolicy(
        c.CreatePolicyRequest(name=case.policy, settings=_settings(), arms=[c.Arm(name="theirs")])
    )

    assert foreign.select(case.policy).arm == "theirs"
    assert own.select(case.policy).arm in ("a", "b")
    with pytest.raises(grpc.RpcError) as raised:
        foreign.feedback.Report(_report(case))
    assert error_of(raised.value)[0] is MISSING


def test_outcomes_count_under_the_keys_name_whatever_the_caller_says(service: Service):
    case = service.case()
    metadata = [("bandit-source", "somebody else")]

    calls = Calls(with_key(service.channel, service.own))
    calls.feedback.Report(_report(case), metadata=metadata)
    same = calls.feedback.Report(_report(case))
    other = Calls(with_key(service.channel, service.scoped[Scope.REPORT]))
    another = other.feedback.Report(_report(case))

    assert same.heads[0].disposition == f.DISPOSITION_DUPLICATE
    assert another.heads[0].disposition == f.DISPOSITION_ACCEPTED  # under another name
