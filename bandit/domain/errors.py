"""
What can go wrong, in the caller's terms.

A few kinds; beneath them one class per event, which keeps the values involved and writes its own
message.  `reason` is what a program may match on; it never changes once released.
"""

import math
from collections.abc import Mapping
from datetime import timedelta


class BanditError(Exception):
    """Anything this project refuses or cannot do."""

    reason = "INTERNAL"


class InvalidInput(BanditError):
    """The request is wrong as it stands; `field` is the path of the offending field."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class DecisionIdReused(InvalidInput):
    """The decision id was used before, with a different request."""

    reason = "DECISION_ID_REUSED"

    def __init__(self) -> None:
        super().__init__("decision_id", "was used before with a different request")


class UnknownArmNamed(InvalidInput):
    """A list of the request names an arm that the policy never had."""

    def __init__(self, field: str, name: str) -> None:
        super().__init__(field, f"the policy has no arm {name!r}")
        self.name = name


class RetentionTooShort(InvalidInput):
    """Outcomes of a policy may still count when their decisions would no longer be kept."""

    def __init__(self, policy: str, *, retention: timedelta, least: timedelta) -> None:
        days = math.ceil(least / timedelta(days=1))
        super().__init__(
            "retention_days",
            f"must be at least {days} (the longest reward window of policy {policy!r} and 7 days),"
            f" not {retention / timedelta(days=1):g}; nothing is dropped",
        )
        self.policy = policy
        self.least = least


class NotFound(BanditError):
    """Something named in the request does not exist."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} does not exist")
        self.kind = kind
        self.name = name


class UnknownPolicy(NotFound):
    """No policy of that name, or it is archived."""

    reason = "UNKNOWN_POLICY"

    def __init__(self, name: str) -> None:
        super().__init__("policy", name)


class UnknownArm(NotFound):
    """The policy has no arm of that name."""

    reason = "UNKNOWN_ARM"

    def __init__(self, name: str) -> None:
        super().__init__("arm", name)


class UnknownDecision(NotFound):
    """No such decision is stored; `is_fresh` says that it may still be on its way."""

    reason = "UNKNOWN_DECISION"

    def __init__(self, decision_id: str, *, is_fresh: bool) -> None:
        super().__init__("decision", decision_id)
        self.is_fresh = is_fresh


class Conflict(BanditError):
    """Another writer was first, or the name is taken."""

    reason = "CONFLICT"


class StalePolicy(Conflict):
    """The policy was changed since the version that the caller had seen."""

    reason = "STALE_POLICY"

    def __init__(self, name: str, *, expected: int) -> None:
        super().__init__(f"policy {name!r} is no longer at version {expected}")
        self.name = name
        self.expected = expected


class AlreadyExists(Conflict):
    """The name is taken."""

    reason = "ALREADY_EXISTS"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} exists already")
        self.kind = kind
        self.name = name


class NoEligibleArm(BanditError):
    """Every arm was removed by a filter; `removed` says which by which."""

    reason = "NO_ELIGIBLE_ARM"

    def __init__(self, removed: Mapping[str, str]) -> None:
        what = ", ".join(f"{arm} by {filter_}" for arm, filter_ in removed.items())
        super().__init__(f"no eligible arm: {what}" if what else "no eligible arm: there is none")
        self.removed = dict(removed)


class BudgetExhausted(BanditError):
    """
    Only the limit of the window stands against an arm that could be chosen.

    removed      the filter that removed each arm
    lacking_usd  what the dearest of them may cost
    """

    reason = "BUDGET_EXHAUSTED"

    def __init__(
        self, removed: Mapping[str, str], lacking_usd: float, *, retry_after_s: float = 1.0
    ) -> None:
        what = ", ".join(f"{arm} by {filter_}" for arm, filter_ in removed.items())
        super().__init__(f"the budget's limit leaves no arm: {what}")
        self.removed = dict(removed)
        self.lacking_usd = lacking_usd
        self.retry_after_s = retry_after_s


class TooLarge(BanditError):
    """A stated limit of the service was exceeded."""

    reason = "TOO_LARGE"

    def __init__(self, field: str, *, limit: int, actual: int) -> None:
        super().__init__(f"{field}: {actual} exceeds the limit of {limit}")
        self.field = field
        self.limit = limit
        self.actual = actual


class Overloaded(BanditError):
    """So many calls are under way that another one would come too late; it was not begun."""

    reason = "OVERLOADED"

    def __init__(self, *, retry_after_s: float = 0.5) -> None:
        super().__init__("as many calls are under way as are answered in time")
        self.retry_after_s = retry_after_s


class Unavailable(BanditError):
    """The service cannot do this now; the same request may succeed after `retry_after_s`."""

    reason = "UNAVAILABLE"

    def __init__(self, problem: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class Unconfirmed(Unavailable):
    """Lost while it was being stored: it may have been carried out, or not."""


class Contended(Unavailable):
    """Other writers were in the way; at once or a moment later it goes."""

    def __init__(self, problem: str = "too many writers at once") -> None:
        super().__init__(problem, retry_after_s=0.1)


class UnknownCredentialId(NotFound):
    """There is no key or certificate of that id."""

    reason = "UNKNOWN_CREDENTIAL"

    def __init__(self, credential_id: str) -> None:
        super().__init__("credential", credential_id)


class Unauthenticated(BanditError):
    """The service does not know who calls; the subclass says why."""

    reason = "UNAUTHENTICATED"


class MissingKey(Unauthenticated):
    """The call brings no key, and the service asks for one."""

    reason = "MISSING_KEY"

    def __init__(self) -> None:
        super().__init__("a key is needed: metadata `authorization: Bearer <key>`")


class UnknownKey(Unauthenticated):
    """The call brings a key or a certificate that is none of ours."""

    reason = "UNKNOWN_KEY"

    def __init__(self) -> None:
        super().__init__("the key is not known")


class ExpiredKey(Unauthenticated):
    """The key was good, and is too old."""

    reason = "EXPIRED_KEY"

    def __init__(self) -> None:
        super().__init__("the key is expired")


class RevokedKey(Unauthenticated):
    """The key was good, and was taken back."""

    reason = "REVOKED_KEY"

    def __init__(self) -> None:
        super().__init__("the key is revoked")


class MissingScope(BanditError):
    """The caller is known, and may not do this."""

    reason = "MISSING_SCOPE"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the key lacks the scope {scope!r}")
        self.scope = scope


class RateLimited(BanditError):
    """The caller's key allows so many of these, and they are used up for now."""

    reason = "RATE_LIMITED"

    def __init__(self, subject: str, limit: str, *, retry_after_s: float) -> None:
        super().__init__(f"{subject}: the key allows {limit}")
        self.subject = subject
        self.limit = limit
        self.retry_after_s = retry_after_s


class UnknownSnapshot(NotFound):
    """The policy's history has no snapshot of that id, or no longer."""

    reason = "UNKNOWN_SNAPSHOT"

    def __init__(self, snapshot_id: int) -> None:
        super().__init__("snapshot", str(snapshot_id))


class IncompleteLog(BanditError):
    """
    The log no longer holds all that was learned, so a state made from it would know less.

    lost   outcomes that are gone, per arm and objective
    """

    reason = "INCOMPLETE_LOG"

    def __init__(self, lost: Mapping[str, int], *, hint: str = "") -> None:
        what = ", ".join(f"{count} of {cell}" for cell, count in lost.items())
        super().__init__(f"the log no longer holds outcomes that were learned: {what}{hint}")
        self.lost = dict(lost)


class CorruptPosterior(BanditError):
    """Stored sums that cannot be used; decisions go on without them."""

    reason = "CORRUPT_POSTERIOR"
