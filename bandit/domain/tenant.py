"""Whose a policy is."""

from typing import NewType

from bandit.domain.arm import checked_name
from bandit.domain.errors import InvalidInput

Tenant = NewType("Tenant", str)

# Whose everything is while no key says otherwise.
DEFAULT_TENANT = Tenant("default")


def checked_tenant(name: str) -> Tenant:
    """The tenant of that name; `InvalidInput` where it is no name, or has a slash."""
    if "/" in name:
        raise InvalidInput("tenant", "must have no slash")
    return Tenant(checked_name("tenant", name))
