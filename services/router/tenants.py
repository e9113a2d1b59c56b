"""What each tenant is served by: its own policies, and no others."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bandit.domain.policy import Policy
from bandit.domain.tenant import Tenant
from bandit.routing.snapshot import Snapshot
from services.router.freshness import (
    FreshActivation,
    FreshCatalog,
    FreshFeedback,
    FreshLearning,
    FreshRouter,
)
from services.router.history import ServedHistory
from services.router.snapshots import ServedSnapshots


class TenantSnapshots:
    """
    What is served of one tenant's policies; there are no others here.

    Implements `routing.router.Snapshots` and `routing.feedback.Policies`.
    """

    def __init__(self, served: ServedSnapshots, tenant: Tenant) -> None:
        self._served = served
        self._tenant = tenant

    def get(self, policy: str) -> Snapshot:
        """See `ServedSnapshots.get`."""
        return self._served.get(policy, self._tenant)

    def policy(self, name: str) -> Policy:
        """See `ServedSnapshots.policy`."""
        return self._served.policy(name, self._tenant)

    def refresh(self) -> Awaitable[bool]:
        """See `ServedSnapshots.refresh`."""
        return self._served.refresh()

    def look_again(self) -> Awaitable[bool]:
        """See `ServedSnapshots.look_again`."""
        return self._served.look_again()


@dataclass(frozen=True, slots=True)
class TenantParts:
    """The use cases over one tenant's policies: no name given to them can mean another's."""

    router: FreshRouter
    activation: FreshActivation
    feedback: FreshFeedback
    catalog: FreshCatalog
    learning: FreshLearning
    history: ServedHistory


class Tenants:
    """
    The parts of each tenant, made when they are first asked for.

    Only tenants of known credentials are asked for, so there are not many.
    """

    def __init__(self, make: Callable[[Tenant], TenantParts]) -> None:
        self._make = make
        self._made: dict[Tenant, TenantParts] = {}

    def of(self, tenant: Tenant) -> TenantParts:
        """What serves that tenant."""
        parts = self._made.get(tenant)
        if parts is None:
            parts = self._made[tenant] = self._make(tenant)
        return parts
