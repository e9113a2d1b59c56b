"""
What a call can fail with: one class per kind of failure, all of them a `RouterError`.

A value that is wrong in itself (a negative weight, a price that is not a number) never leaves the
caller's process: it raises `bandit.domain.errors.InvalidInput`, which names the field.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

STATUS_TRAILER = "grpc-status-details-bin"

M = TypeVar("M", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that is wrong, by its path, and what is wrong with it."""

    field: str
    problem: str


@dataclass(frozen=True, slots=True)
class Precondition:
    """
    Something that stood in the way.

    kind          what kind of thing, such as `NO_ELIGIBLE_ARM`
    subject       what it stopped: the arm
    description   how: the filter that removed it, such as `max_cost_usd`
    """

    kind: str
    subject: str
    description: str


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """
    Something that would go beyond a limit.

    subject       the limit, or the arm that it removed
    description   what is beyond it, or the filter, such as `budget_limit`
    """

    subject: str
    description: str


class RouterError(Exception):
    """
    The service refused, or could not be asked.

    code               the gRPC status
    reason             what a program may match on, such as `UNKNOWN_POLICY`; empty if not told
    field_violations   which fields of the request are wrong
    preconditions      what stood in the way, such as the filter that removed each arm
    quota_violations   which limits would be exceeded, such as that of a budget
    retry_after_s      seconds after which the same call may succeed; None: no such promise
    request_id         under which the service's log tells of the call; empty if not told
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        field_violations: tuple[FieldViolation, ...] = (),
        preconditions: tuple[Precondition, ...] = (),
        quota_violations: tuple[QuotaViolation, ...] = (),
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field_violations = field_violations
        self.preconditions = preconditions
        self.quota_violations = quota_violations
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class UnauthenticatedError(RouterError):
    """The service asks for a key, or the key is not (or no longer) good: `reason` says which."""


class PermissionDeniedError(RouterError):
    """The key lacks the scope that the call needs."""


class InvalidArgumentError(RouterError):
    """The request is wrong as it stands; `field_violations` says where."""


class NotFoundError(RouterError):
    """No such policy, arm or decision; `retry_after_s` is set where it may still be on its way."""


class AlreadyExistsError(RouterError):
    """The name is taken."""


class ConflictError(RouterError):
    """Another writer was first: read again, then decide again."""


class NoEligibleArmError(RouterError):
    """Every arm was removed by a filter; `preconditions` says which by which."""


class LimitExceededError(RouterError):
    """
    A stated limit of the service: of a message or, reason `OVERLOADED`, of calls at once; reason
    `RATE_LIMITED`, of the key; or, reason `BUDGET_EXHAUSTED`, that of the policy's budget.
    """


class UnavailableError(RouterError):
    """The service cannot be reached or cannot do this now; the same call may succeed later."""


class DeadlineError(RouterError):
    """No answer in the time allowed; whether the call took effect is unknown."""


_KINDS: dict[grpc.StatusCode, type[RouterError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: NoEligibleArmError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_from_status(status: Status) -> RouterError:
    """The error that a `google.rpc.Status` tells of, as a batch item or a trailer carries it."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    information = _first(status, details.ErrorInfo)
    retry = _first(status, details.RetryInfo)
    return _KINDS.get(code, RouterError)(
        status.message or code.name,
        code=code,
        reason=information.reason if information else "",
        field_violations=tuple(
            FieldViolation(violation.field, violation.description)
            for request in _all(status, details.BadRequest)
            for violation in request.field_violations
        ),
        preconditions=tuple(
            Precondition(violation.type, violation.subject, violation.description)
            for failure in _all(status, details.PreconditionFailure)
            for violation in failure.violations
        ),
        quota_violations=tuple(
            QuotaViolation(violation.subject, violation.description)
            for failure in _all(status, details.QuotaFailure)
            for violation in failure.violations
        ),
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
        request_id=information.metadata.get("request_id", "") if information else "",
    )


def error_from_call(error: grpc.RpcError) -> RouterError:
    """The error of a call that failed, blocking or asynchronous."""
    code: grpc.StatusCode = _asked(error, "code", grpc.StatusCode.UNKNOWN)
    message: str = _asked(error, "details", "") or code.name
    trailers: Iterable[tuple[str, bytes]] = _asked(error, "trailing_metadata", ()) or ()
    for key, value in trailers:
        if key == STATUS_TRAILER:
            return error_from_status(Status.FromString(value))
    return _KINDS.get(code, RouterError)(message, code=code)


def _asked(error: grpc.RpcError, name: str, default: T) -> T:
    """gRPC's errors have these methods, but their common base does not say so."""
    method: Callable[[], T] | None = getattr(error, name, None)
    return method() if method is not None else default


def _all(status: Status, kind: type[M]) -> Iterable[M]:
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):  # False: it is of another kind
            yield message


def _first(status: Status, kind: type[M]) -> M | None:
    return next(iter(_all(status, kind)), None)
