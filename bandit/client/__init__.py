"""The Python client: typed results over the generated stubs, blocking or asynchronous."""

from bandit.client.asynchronous import AsyncRouterClient
from bandit.client.blocking import RouterClient
from bandit.client.errors import (
    AlreadyExistsError,
    ConflictError,
    DeadlineError,
    FieldViolation,
    InvalidArgumentError,
    LimitExceededError,
    NoEligibleArmError,
    NotFoundError,
    Precondition,
    RouterError,
    UnavailableError,
)
from bandit.client.open_decision import OpenDecision
from bandit.client.requests import outcome, query
from bandit.client.results import (
    Arm,
    ArmState,
    Candidate,
    Decision,
    Estimate,
    HeadState,
    Policy,
    PolicyState,
    Prediction,
    ReportResult,
)

__all__ = [
    "AlreadyExistsError",
    "Arm",
    "ArmState",
    "AsyncRouterClient",
    "Candidate",
    "ConflictError",
    "DeadlineError",
    "Decision",
    "Estimate",
    "FieldViolation",
    "HeadState",
    "InvalidArgumentError",
    "LimitExceededError",
    "NoEligibleArmError",
    "NotFoundError",
    "OpenDecision",
    "Policy",
    "PolicyState",
    "Precondition",
    "Prediction",
    "ReportResult",
    "RouterClient",
    "RouterError",
    "UnavailableError",
    "outcome",
    "query",
]
