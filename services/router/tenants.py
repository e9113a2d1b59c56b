"""What each tenant is served by: its own policies, and no others."""

from collections.abc import Callable
from dataclasses import dataclass

from bandit.domain.tenant import Tenant
from services.router.freshness import (
    FreshActivation,
    FreshCatalog,
    FreshFeedback,
    FreshLearning,
    FreshRouter,
)
from services.router.history import ServedHistory


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
