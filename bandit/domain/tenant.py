"""Whose a policy is."""

from typing import NewType

from bandit.domain.arm import checked_name

Tenant = NewType("Tenant", str)

# Whose everything is while no key says otherwise.
DEFAULT_TENANT = Tenant("default")


def checked_tenant(name: str) -> Tenant:
    """The tenant of that name; `InvalidInput` where it is no name."""
    return Tenant(checked_name("tenant", name))
