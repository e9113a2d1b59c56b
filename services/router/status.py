"""From an error of the domain to the status that a caller sees."""

from collections.abc import Iterable, Mapping

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from bandit.domain import errors

DOMAIN = "bandit.router"
STATUS_BY_KIND: dict[type[errors.BanditError], StatusCode] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.Conflict: StatusCode.ABORTED,
    errors.NoEligibleArm: StatusCode.FAILED_PRECONDITION,
    errors.IncompleteLog: StatusCode.FAILED_PRECONDITION,
    errors.BudgetExhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.TooLarge: StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    errors.RateLimited: StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: StatusCode.UNAUTHENTICATED,
    errors.MissingScope: StatusCode.PERMISSION_DENIED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
}
FRESH_DECISION_RETRY_S = 0.2
TOO_LARGE_RETRY_S = 60.0  # the same request never fits: only another limit would help

# A status travels in the trailing metadata, of which gRPC takes 8 KiB by default.
_LONGEST_MESSAGE = 512
_LONGEST_FIELD = 256
_MOST_VIOLATION_BYTES = 3000


def code_of(error: errors.BanditError) -> StatusCode:
    """The status of the nearest kind above `error`; INTERNAL for an unlisted kind."""
    kinds = type(error).__mro__
    return next((STATUS_BY_KIND[k] for k in kinds if k in STATUS_BY_KIND), StatusCode.INTERNAL)


def status_of(error: errors.BanditError, *, request_id: str = "") -> Status:
    """
    The whole status of `error`, for a failed call and for a failed item of a batch alike.

    request_id   of the call, under which the log tells of it; an item has none of its own
    """
    number: int = code_of(error).value[0]
    info = _info(error.reason, request_id)
    return Status(
        code=number,
        message=_clipped(str(error), _LONGEST_MESSAGE),
        details=[_packed(info), *map(_packed, _details(error))],
    )


def internal_status(request_id: str) -> Status:
    """What is told of an error that nobody foresaw: where to find it in the log."""
    return Status(
        code=StatusCode.INTERNAL.value[0],
        message=f"internal error in request {request_id}",
        details=[_packed(_info("INTERNAL", request_id))],
    )


def _info(reason: str, request_id: str) -> details.ErrorInfo:
    known = {"request_id": request_id} if request_id else {}
    return details.ErrorInfo(reason=reason, domain=DOMAIN, metadata=known)


def _details(error: errors.BanditError) -> Iterable[Message]:
    match error:
        case errors.InvalidInput():
            violation = details.BadRequest.FieldViolation(
                field=_clipped(error.field, _LONGEST_FIELD),
                description=_clipped(error.problem, _LONGEST_MESSAGE),
            )
            yield details.BadRequest(field_violations=[violation])
        case errors.UnknownDecision(is_fresh=True):
            yield _retry_after(FRESH_DECISION_RETRY_S)
        case errors.NoEligibleArm():
            yield _precondition(error.reason, error.removed)
        case errors.IncompleteLog():
            lost = {cell: f"{count} outcomes are gone" for cell, count in error.lost.items()}
            yield _precondition(error.reason, lost)
        case errors.BudgetExhausted():
            yield _quota(error)
            yield _retry_after(error.retry_after_s)
        case errors.TooLarge():
            limit = f"{error.actual} exceeds the limit of {error.limit}"
            violation_of_quota = details.QuotaFailure.Violation(
                subject=_clipped(error.field, _LONGEST_FIELD), description=limit
            )
            yield details.QuotaFailure(violations=[violation_of_quota])
            yield _retry_after(TOO_LARGE_RETRY_S)
        case errors.Overloaded():
            enough = "as many as are answered in time"
            yield details.QuotaFailure(
                violations=[details.QuotaFailure.Violation(subject="calls", description=enough)]
            )
            yield _retry_after(error.retry_after_s)
        case errors.RateLimited():
            violation_of_key = details.QuotaFailure.Violation(
                subject=error.subject, description=error.limit
            )
            yield details.QuotaFailure(violations=[violation_of_key])
            yield _retry_after(error.retry_after_s)
        case errors.Unavailable():
            yield _retry_after(error.retry_after_s)


def _precondition(reason: str, problems: Mapping[str, str]) -> details.PreconditionFailure:
    """One violation per subject, such as a removed arm, as far as they fit."""
    failure = details.PreconditionFailure()
    for told, (subject, problem) in enumerate(problems.items()):
        if failure.ByteSize() > _MOST_VIOLATION_BYTES:
            rest = f"and {len(problems) - told} more"
            failure.violations.add(type=reason, description=rest)
            break
        failure.violations.add(type=reason, subject=subject, description=problem)
    return failure


def _quota(error: errors.BudgetExhausted) -> details.QuotaFailure:
    """What would have been needed, then one violation per removed arm, as far as they fit."""
    failure = details.QuotaFailure()
    needed = f"a call may cost {error.lacking_usd:.4g} USD"
    failure.violations.add(subject="budget.limit_usd", description=needed)
    for told, (arm, removed_by) in enumerate(error.removed.items()):
        if failure.ByteSize() > _MOST_VIOLATION_BYTES:
            rest = f"and {len(error.removed) - told} more"
            failure.violations.add(description=rest)
            break
        failure.violations.add(subject=arm, description=removed_by)
    return failure


def _retry_after(seconds: float) -> details.RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    return details.RetryInfo(retry_delay=delay)


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _clipped(text: str, most_bytes: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= most_bytes:
        return text
    return encoded[:most_bytes].decode(errors="ignore") + "..."
