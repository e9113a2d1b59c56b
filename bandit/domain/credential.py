"""Who may call: a tenant's keys and client certificates, and what they may do."""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bandit.domain.arm import checked_name
from bandit.domain.errors import InvalidInput
from bandit.domain.tenant import Tenant, checked_tenant

DIGEST_BYTES = 32
MOST_CALLS_PER_SECOND = 1e6
MOST_IN_BATCH = 65_536


class Scope(StrEnum):
    """What a credential allows; none includes another."""

    SELECT = "select"  # to choose, to preview and to activate
    REPORT = "report"  # outcomes
    READ = "read"  # policies, budgets, what was learned
    ADMIN = "admin"  # to change policies, and what was learned


@dataclass(frozen=True, slots=True)
class Credential:
    """
    A key or a client certificate of a tenant.

    id                of a key its public part, of a certificate `certificate_id` of its common name
    name              under which its outcomes count and its changes are told; stays when it is
                      rotated
    digest            SHA-256 of the key's secret, which is stored nowhere; None: a certificate
    expires_at        None: never
    calls_per_second  of a router's process group, together; None: as many as the service takes
    max_batch         None: as the service allows
    """

    id: str
    tenant: Tenant
    name: str
    scopes: frozenset[Scope]
    digest: bytes | None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    calls_per_second: float | None = None
    max_batch: int | None = None

    def __post_init__(self) -> None:
        checked_tenant(self.tenant)
        checked_name("name", self.name)
        if not self.scopes:
            raise InvalidInput("scopes", f"at least one of {', '.join(Scope)}")
        if self.digest is not None and len(self.digest) != DIGEST_BYTES:
            raise InvalidInput("digest", f"must be {DIGEST_BYTES} bytes")
        if self.expires_at is not None and self.expires_at <= self.created_at:
            raise InvalidInput("expires_at", "must be after the key is made")
        if self.calls_per_second is not None and not (
            math.isfinite(self.calls_per_second)
            and 0 < self.calls_per_second <= MOST_CALLS_PER_SECOND
        ):
            raise InvalidInput(
                "calls_per_second", f"must be above 0, up to {MOST_CALLS_PER_SECOND:g}"
            )
        if self.max_batch is not None and not 1 <= self.max_batch <= MOST_IN_BATCH:
            raise InvalidInput("max_batch", f"must be from 1 to {MOST_IN_BATCH}")

    @property
    def is_certificate(self) -> bool:
        """Whether it is shown by a client certificate, and not by a key."""
        return self.digest is None


def certificate_id(common_name: str) -> str:
    """The id of the client certificate with that common name."""
    return f"certificate:{checked_name('common_name', common_name)}"
